"""File systems that are mounted late are waited for, and nothing is opened below them."""

from __future__ import annotations

import pytest

from tests.lab.node import Node
from tests.lab.workload import furnish, has_ended

pytestmark = pytest.mark.lab

FIN_TIMEOUT = "/proc/sys/net/ipv4/tcp_fin_timeout"
PROFILE = "[sysctl]\nnet.ipv4.tcp_fin_timeout={}\n"
AGENT, STORE = "/var/lib/ocp-tuned", "/var/lib/containers"
#: A file system that is not local is not waited for by local-fs.target.
MOUNT = """\
[Unit]
DefaultDependencies=no
Requires=late.service
After=late.service
[Mount]
What={}
Where={}
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
ExecStart=/usr/bin/sleep 3
"""
#: The store is mounted from outside when the node is started: it is moved out of the way.
AWAY = """\
[Unit]
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/mount --bind {0} /srv/store
ExecStart=/usr/bin/umount {0}
[Install]
WantedBy=sysinit.target
"""


def prepare(node: Node) -> None:
    """What the agent wrote is on the late file system; below its mount point is something else."""
    furnish(node, PROFILE.format(37))
    (node.root / "srv/store").mkdir(parents=True)
    (node.root / "var/lib/ocp-tuned").rename(node.root / "srv/agent")
    furnish(node, PROFILE.format(11))
    node.write("/etc/lab/watch", f"{FIN_TIMEOUT}\n")
    units = {
        "away.service": AWAY.format(STORE),
        "late.service": LATE.format("away.service"),
        "var-lib-containers.mount": MOUNT.format("/srv/store", STORE),
        "var-lib-ocp\\x2dtuned.mount": MOUNT.format("/srv/agent", AGENT),
    }
    for name, text in units.items():
        node.write(f"/etc/systemd/system/{name}", text)
        if "[Install]" in text:
            node.enable(name)


def test_late_file_systems_are_waited_for_and_nothing_is_opened_below_them() -> None:
    with Node() as node:
        prepare(node)
        node.boot()
        has_ended(node)
        witness = node.witness("kubelet")
        assert witness is not None
        assert witness["values"] == {FIN_TIMEOUT: "37"}
        # The files below the mount points.
        node.run("mount", "--bind", "/", "/mnt")
        assert node.run("ls", "-A", f"/mnt{STORE}").stdout == ""
        assert node.run("ls", f"/mnt{AGENT}").stdout.split() == [
            "image.env", "profiles", "recommend.d",
        ]  # fmt: skip
