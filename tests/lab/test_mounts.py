"""File systems that are mounted late are waited for, and nothing is opened below them."""

from __future__ import annotations

import pytest

from tests.lab.node import Node
from tests.lab.test_gate import shown
from tests.lab.workload import furnish, has_ended

pytestmark = pytest.mark.lab

FIN_TIMEOUT = "/proc/sys/net/ipv4/tcp_fin_timeout"
PROFILE = "[sysctl]\nnet.ipv4.tcp_fin_timeout={}\n"
AGENT, STORE = "/var/lib/ocp-tuned", "/var/lib/containers"
KUBELET = "var-lib-kubelet.mount"
#: A file system that is not local is not waited for by local-fs.target.
MOUNT = """\
[Unit]
DefaultDependencies=no
Requires={0}.service
After={0}.service
[Mount]
What={1}
Where={2}
Options=bind
[Install]
WantedBy=multi-user.target
"""
LATE = """\
[Unit]
After={}
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/sleep 2
"""


class LateNode(Node):
    """Its storage is where it is mounted from, later."""

    store = "/srv/store"


def prepare(node: Node) -> None:
    """What the agent wrote is on the late file system; below its mount point is something else."""
    furnish(node, PROFILE.format(37))
    node.write("/srv/kubelet/config.json", "{}\n", 0o600)
    (node.root / "var/lib/ocp-tuned").rename(node.root / "srv/agent")
    furnish(node, PROFILE.format(11))
    node.write("/etc/lab/watch", f"{FIN_TIMEOUT}\n")
    # Masked: it waits for the agent's files, too, and the unit for it.
    (node.root / "etc/systemd/system/ocp-tuned.path").symlink_to("/dev/null")
    units = {
        "late.service": LATE.format("basic.target"),
        "later.service": LATE.format("late.service"),
        "latest.service": LATE.format("later.service"),
        "var-lib-containers.mount": MOUNT.format("late", LateNode.store, STORE),
        "var-lib-ocp\\x2dtuned.mount": MOUNT.format("later", "/srv/agent", AGENT),
        KUBELET: MOUNT.format("latest", "/srv/kubelet", "/var/lib/kubelet"),
    }
    for name, text in units.items():
        node.write(f"/etc/systemd/system/{name}", text)
        if "[Install]" in text:
            node.enable(name)


def files_below(node: Node, mount_point: str) -> str:
    node.run("mount", "--bind", "/", "/mnt")
    return node.run("find", f"/mnt{mount_point}", "!", "-type", "d").stdout


def test_late_file_systems_are_waited_for_and_nothing_is_opened_below_them() -> None:
    with LateNode() as node:
        prepare(node)
        node.boot()
        has_ended(node)
        witness = node.witness("kubelet")
        assert witness is not None
        assert witness["values"] == {FIN_TIMEOUT: "37"}
        assert files_below(node, STORE) == ""
        # The credentials for the image.
        mounted = int(shown(node, KUBELET, "ActiveEnterTimestampMonotonic"))
        started = int(shown(node, "ocp-tuned.service", "InactiveExitTimestampMonotonic"))
        assert 0 < mounted < started


def test_without_the_kubelets_file_system_the_profile_is_applied_all_the_same() -> None:
    with LateNode() as node:
        prepare(node)
        broken = MOUNT.replace("Options=bind", "Type=nosuchfs").format(
            "late", "nothing", "/var/lib/kubelet"
        )
        node.write(f"/etc/systemd/system/{KUBELET}", broken)
        node.boot()
        has_ended(node)
        assert node.run("systemctl", "is-failed", KUBELET).stdout == "failed\n"
        witness = node.witness("kubelet")
        assert witness is not None
        assert witness["values"] == {FIN_TIMEOUT: "37"}


def test_a_file_system_that_cannot_be_mounted_holds_nobody_and_nothing_is_opened_below_it() -> None:
    with LateNode() as node:
        prepare(node)
        broken = MOUNT.replace("Options=bind", "Type=nosuchfs").format("late", "nothing", STORE)
        node.write("/etc/systemd/system/var-lib-containers.mount", broken)
        node.write("/etc/ocp-tuned-boot/boot.conf", "[tuning]\ntimeout = 5\n")
        node.boot()
        assert node.witness("kubelet") is not None
        failed = node.run("systemctl", "--failed", "--plain", "--no-legend").stdout
        assert {line.split()[0] for line in failed.splitlines()} >= {
            "ocp-tuned.service", "var-lib-containers.mount",
        }  # fmt: skip
        assert files_below(node, STORE) == ""
        # It is tried once by each of the three sockets, not over and over.
        journal = node.journal(None, "--grep=Dependency failed for .*podman@")
        assert len(journal.splitlines()) <= 6
