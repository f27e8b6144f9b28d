"""The requested container, and whether it is the one that Podman created."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Callable

import pytest

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host.clock import GRACE
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.tuned import container, ours
from ocp_tuned_boot.tuned.container import ContainerSpec, Mount
from ocp_tuned_boot.tuned.layout import Layout

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


def test_a_volume_of_the_image_is_no_difference() -> None:
    seen = inspected(SPEC)
    seen["Mounts"].append({"Type": "volume", "Name": "0f", "Source": "/v", "Destination": "/data",
                           "RW": True, "Propagation": "rprivate"})  # fmt: skip
    assert container.differences(SPEC, seen) == []
    # And none is made where Podman can do without.
    assert SPEC.arguments()["image_volume_mode"] == "tmpfs"


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


def test_the_start_timeout_covers_the_time_for_cleaning_up() -> None:
    assert container.TERM_GRACE + 2 * ours.CLEARING < GRACE
