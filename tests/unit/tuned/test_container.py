"""The requested container, and whether it is the one that Podman created."""

from __future__ import annotations

import copy
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

from ocp_tuned_boot.cleanup import BRIEF
from ocp_tuned_boot.errors import DeadlineExceeded, HostError
from ocp_tuned_boot.host.clock import GRACE, OVERRUN, WORTHWHILE, Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.podman.client import ContainerState, Podman
from ocp_tuned_boot.tuned import container
from ocp_tuned_boot.tuned.container import ContainerSpec, Mount
from ocp_tuned_boot.tuned.layout import LABEL, Layout
from tests.unit.fake_podman import listening, reply

LINKED = Layout(links=("/var/lib/ocp-tuned", "/var/lib/tuned"))


def mounts(spec: ContainerSpec) -> dict[str, Mount]:
    found = {mount.target: mount for mount in spec.mounts}
    assert len(found) == len(spec.mounts)
    return found


def test_what_the_host_lacks_is_not_mounted(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    (tmp_path / "etc/sysctl.d").mkdir(parents=True)
    found = mounts(container.specify(Paths(tmp_path), "operand", "id", Layout()))
    assert found == {
        "/host/var/lib/ocp-tuned": Mount(
            f"{tmp_path}/var/lib/ocp-tuned", "/host/var/lib/ocp-tuned"
        ),
        "/host/var/lib/tuned": Mount(f"{tmp_path}/var/lib/tuned", "/host/var/lib/tuned"),
        "/sys": Mount(f"{tmp_path}/sys", "/sys"),
        "/etc/sysctl.d": Mount(f"{tmp_path}/etc/sysctl.d", "/etc/sysctl.d", read_only=True),
    }


def test_the_contract_tuned_has_our_etc_tuned(tmp_path: Path) -> None:
    spec = container.specify(Paths(tmp_path), "tuned", "id", LINKED)
    found = mounts(spec)
    assert found["/etc/tuned"] == Mount(
        f"{tmp_path}/run/ocp-tuned-boot/etc-tuned", "/etc/tuned", executable=True
    )
    # Nothing can be mounted over the dangling links of the operator's image.
    assert "/var/lib/tuned" not in found
    assert spec.entrypoint == ("/usr/sbin/tuned", "--no-dbus")


def test_an_image_without_the_operators_links_sees_the_hosts_folders_there(tmp_path: Path) -> None:
    found = mounts(container.specify(Paths(tmp_path), "tuned", "id", Layout()))
    assert found["/var/lib/tuned"].source == f"{tmp_path}/var/lib/tuned"
    assert found["/var/lib/ocp-tuned"].source == f"{tmp_path}/var/lib/ocp-tuned"


def test_the_contract_operand_is_upstreams_command(tmp_path: Path) -> None:
    spec = container.specify(Paths(tmp_path), "operand", "id", LINKED)
    assert " ".join(spec.entrypoint) == (
        "/usr/bin/cluster-node-tuning-operator ocp-tuned --in-cluster=false --one-shot=true -v=1"
    )
    assert "/etc/tuned" not in mounts(spec)


def inspected(spec: ContainerSpec) -> dict[str, Any]:
    """What Podman says of exactly this container."""
    return {
        "ProcessLabel": "",
        "Config": {"Entrypoint": list(spec.entrypoint)},
        "HostConfig": {
            "Privileged": True,
            "NetworkMode": "host",
            "PidMode": "host",
            "IpcMode": "host",
            "UTSMode": "host",
            "LogConfig": {"Type": "k8s-file", "Path": spec.log},
        },
        "Mounts": [
            {
                "Source": mount.source,
                "Destination": mount.target,
                "RW": not mount.read_only,
                "Propagation": "rslave",
            }
            for mount in spec.mounts
        ],
    }


SPEC = ContainerSpec(
    "id", ("tuned", "--no-dbus"), (Mount("/sys", "/sys"), Mount("/a", "/b", read_only=True)),
    {}, "/log",
)  # fmt: skip


def test_what_podman_made_as_asked_has_no_differences() -> None:
    assert container.differences(SPEC, inspected(SPEC)) == []


def test_podman_4_reports_the_entrypoint_as_one_string() -> None:
    seen = inspected(SPEC)
    seen["Config"]["Entrypoint"] = "tuned --no-dbus"
    assert container.differences(SPEC, seen) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("privileged", lambda seen: seen["HostConfig"].update(Privileged=False)),
        ("network", lambda seen: seen["HostConfig"].update(NetworkMode="bridge")),
        ("pid", lambda seen: seen["HostConfig"].update(PidMode="private")),
        ("ipc", lambda seen: seen["HostConfig"].update(IpcMode="private")),
        ("uts", lambda seen: seen["HostConfig"].update(UTSMode="private")),
        ("SELinux label", lambda seen: seen.update(ProcessLabel="system_u:…:container_t:s0")),
        ("entrypoint", lambda seen: seen["Config"].update(Entrypoint=["tuned"])),
        ("log", lambda seen: seen["HostConfig"].update(LogConfig={"Type": "journald", "Path": ""})),
        ("mounts", lambda seen: seen["Mounts"].pop()),
        ("mounts", lambda seen: seen["Mounts"][1].update(RW=True)),
        ("mounts", lambda seen: seen["Mounts"][0].update(Propagation="rprivate")),
        ("mounts", lambda seen: seen["Mounts"].append({**seen["Mounts"][0], "Destination": "/x"})),
    ],
)
def test_each_difference_is_named(name: str, change: Callable[[dict[str, Any]], object]) -> None:
    seen = copy.deepcopy(inspected(SPEC))
    change(seen)
    (said,) = container.differences(SPEC, seen)
    assert said.startswith(f"{name}: requested ")


def follower(root: Path, said: bytes) -> container._Follower:
    paths = Paths(root)
    paths.run.mkdir(parents=True)
    paths.container_log.write_bytes(said)
    return container._Follower(paths)


LINE = b"2026-11-23T22:28:17+00:00 stderr F " + b"x" * 1000 + b"\n"


def test_a_long_log_is_read_in_parts(tmp_path: Path) -> None:
    with follower(tmp_path, LINE * 1000) as following:
        assert following.read()
        assert len(following._lines) < 100
        assert following.finish() == ("x" * 1000,) * 1000
        assert not following.read()
    assert Paths(tmp_path).tuned_log.read_text() == ("x" * 1000 + "\n") * 1000


def test_a_log_without_end_is_an_error(tmp_path: Path) -> None:
    with follower(tmp_path, LINE * 5_000) as following:
        with pytest.raises(HostError, match="TuneD logged more than 4194304 bytes"):
            following.finish()


def test_a_run_directory_that_is_full_is_an_error_with_words(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    paths.tuned_log.symlink_to("/dev/full")
    paths.container_log.write_bytes(LINE)
    with container._Follower(paths) as following:
        with pytest.raises(HostError, match=r"cannot write .*tuned.log: No space left"):
            following.finish()


def test_the_kubelet_starts_at_most_three_seconds_after_the_deadline() -> None:
    # The run itself, and after it ExecStopPost=. The rest is for a busy node to start programs.
    assert OVERRUN + BRIEF <= 1.25
    # systemd does not kill a run that keeps to it.
    assert OVERRUN + BRIEF < GRACE
    assert container.TERM_GRACE < container.STOPPING
    # Another attempt has the time to run TuneD.
    assert container.STOPPING + container.LEAST <= WORTHWHILE


class Hanging:
    """A Podman with one container, whose process it started; from then on it does not answer."""

    def __init__(self, pid: int) -> None:
        state = {"Pid": pid, "Status": "running", "StartedAt": "2026-01-01T00:00:00Z"}
        labels = {LABEL: "1"}
        inspect = {"Id": "abc", "Config": {"Labels": labels}, "State": state}
        self.container = reply(200, json.dumps(inspect))
        self.requests: list[str] = []

    def answer(self, request: str) -> bytes | None:
        self.requests.append(request)
        if request.startswith("POST") and "/start" in request:
            return reply(204, "")
        gets = sum(each.startswith("GET") for each in self.requests)
        return self.container if request.startswith("GET") and gets <= 2 else None


def test_tuned_is_ended_before_the_deadline_also_if_podman_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And if it ignores SIGTERM."""
    monkeypatch.setattr(container, "TERM_GRACE", 0.1)
    monkeypatch.setattr(container, "OVERRUN", 0.1)
    ignores = "import signal as s; s.signal(15, s.SIG_IGN); print(1, flush=True); s.pause()"
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    paths.container_log.write_bytes(LINE)
    with subprocess.Popen([sys.executable, "-c", ignores], stdout=subprocess.PIPE) as tuned:
        assert tuned.stdout is not None
        tuned.stdout.readline()
        service = Hanging(tuned.pid)
        with listening(service.answer) as path, Podman(path, Deadline(1.5)) as podman:
            state = ContainerState("abc", {}, "created", 0, 0, False, {})
            with pytest.raises(DeadlineExceeded):
                container.run(podman, state, paths, Deadline(0.5))
        assert tuned.wait(5) == -signal.SIGKILL


def test_what_podman_does_not_remove_in_time_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(container, "OVERRUN", 0.1)
    asked: list[str] = []

    def answer(request: str) -> bytes | None:
        asked.append(request)
        return reply(404, "{}") if len(asked) == 1 else None

    with listening(answer) as path, Podman(path, Deadline(0.2)) as podman:
        with pytest.raises(DeadlineExceeded, match="inspect image x"):
            with container.sole(podman, Paths(tmp_path)):
                podman.image("x")
    words = "cannot remove the container openshift-tuned: Podman did not answer in time"
    assert words in caplog.text
    assert "The next start of ocp-tuned.service removes it." in caplog.text


def test_cleaning_up_ends_soon_after_the_deadline() -> None:
    now = [100.0]
    with listening(lambda _: None) as path:
        with Podman(path, Deadline(60, lambda: now[0])) as podman:
            for passed, allowed in (
                (0, container.CLEARING), (58, 2 + OVERRUN), (60.5, OVERRUN - 0.5), (65, 0),
            ):  # fmt: skip
                now[0] = 100 + passed
                assert container._patient(podman).deadline.seconds == allowed
