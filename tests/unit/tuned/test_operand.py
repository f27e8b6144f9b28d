"""Another TuneD on the node. tests/lab/test_operator.py shows the same with a real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.tuned import operand

TUNED = ("/usr/bin/python3", "-Es", "/usr/sbin/tuned", "--no-dbus")
POD = "/kubepods.slice/kubepods-burstable.slice/kubepods-pod1.slice/crio-2.scope"


def process(paths: Paths, pid: int, *arguments: str, group: str = POD) -> None:
    folder = paths.root / f"proc/{pid}"
    folder.mkdir(parents=True)
    (folder / "cmdline").write_text("".join(f"{each}\0" for each in arguments))
    (folder / "cgroup").write_text(f"0::{group}\n")


def pod(paths: Paths, *pids: int, group: str = POD) -> None:
    folder = paths.cgroups / group.lstrip("/")
    folder.mkdir(parents=True)
    (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(tmp_path)
    found.tuned_run.mkdir(parents=True)
    return found


def test_without_one_there_is_none(paths: Paths) -> None:
    assert operand.running(paths) is None
    process(paths, 17, "sleep", "infinity")
    pod(paths, 17, 18)
    for text in ("17", "18", "", "x", "9" * 80):
        paths.tuned_pid.write_text(text)
        assert operand.running(paths) is None


@pytest.mark.parametrize("group", [POD, "/kubepods/pod1/2"])
def test_one_in_a_pod_is_found_without_a_pid_file(paths: Paths, group: str) -> None:
    process(paths, 17, "/usr/bin/operator", "ocp-tuned", group=group)
    process(paths, 18, *TUNED, group=group)
    pod(paths, 17, 18, group=group)
    found = operand.running(paths)
    assert found is not None
    assert (found.pid, found.place) == (18, "pod")
    finding = found.finding()
    assert (finding.kind, finding.subject) == ("other-tuned", "pod")
    assert finding.message.startswith("TuneD in a pod (process 18) tunes this node as well; ")
    assert "accept = other-tuned:pod in [tuning]" in finding.advice


def test_one_elsewhere_is_found_by_its_pid_file(paths: Paths) -> None:
    process(paths, 18, *TUNED, group="/machine.slice/libpod-1.scope")
    paths.tuned_pid.write_text("18")
    found = operand.running(paths)
    assert found is not None
    assert found.place == "libpod-1.scope"


def test_the_hosts_own_is_not_meant(paths: Paths) -> None:
    process(paths, 18, *TUNED, group="/system.slice/tuned.service")
    paths.tuned_pid.write_text("18\n")
    assert operand.running(paths) is None


def test_a_pod_that_ends_meanwhile_is_no_error(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    process(paths, 17, "sleep", "infinity")
    pod(paths, 17)
    other = paths.cgroups / "kubepods.slice/kubepods-pod0.slice"
    other.mkdir()
    scandir = os.scandir

    def vanishing(path: str) -> object:
        if Path(path) == other and other.exists():
            other.rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert operand.running(paths) is None
    assert not other.exists()
