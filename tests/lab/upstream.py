"""Upstream's unit, rebuilt from its description, around the lab's TuneD image: to compare with.

One-shot TuneD by way of `podman run`, whose failure is ignored, then `true`; no RemainAfterExit=.
"""

from __future__ import annotations

from tests.lab.node import Node

UNIT = "ocp-tuned-one-shot.service"
_TEXT = """\
[Unit]
Before=kubelet-dependencies.target
After=network.target
[Service]
Type=oneshot
ExecStart=-/usr/bin/podman run --rm --name openshift-tuned --privileged --network host --pid host \\
  --ipc host --uts host --security-opt label=disable \\
  -v /etc/lab/tuned:/etc/tuned:rslave -v /etc/sysctl.d:/etc/sysctl.d:rslave,ro \\
  -v /etc/sysconfig:/etc/sysconfig:rslave -v /run/tuned:/run/tuned:rslave -v /sys:/sys:rslave \\
  {image} /usr/sbin/tuned --no-dbus
ExecStart=/usr/bin/true
ExecReload=/bin/sh -c 'kill -HUP $(cat /run/tuned/tuned.pid)'
[Install]
RequiredBy=kubelet-dependencies.target
"""
_MAIN = """\
daemon = 0
rollback = not_on_exit
reapply_sysctl = 1
profile_dirs = /usr/lib/tuned/profiles,/usr/lib/tuned,/etc/tuned
"""


def furnish(node: Node, profile: str) -> None:
    """The unit, and what its image is configured with."""
    write_unit(node, UNIT)
    write_tuned(node, "/etc/lab/tuned")
    write_profile(node, profile)
    node.enable(UNIT)


def write_unit(node: Node, name: str) -> None:
    node.write(f"/etc/systemd/system/{name}", _TEXT.format(image=f"localhost/tuned:{node.suite}"))
    node.write("/usr/lib/tmpfiles.d/lab.conf", "d /run/tuned\nd /etc/sysconfig\n")


def write_tuned(node: Node, folder: str, *, daemon: bool = False) -> None:
    """What TuneD is configured with in /etc/tuned, but for the profile."""
    main = _MAIN.replace("daemon = 0", "daemon = 1") if daemon else _MAIN
    node.write(f"{folder}/tuned-main.conf", main)
    node.write(f"{folder}/profile_mode", "auto\n")
    node.write(f"{folder}/active_profile", "")
    node.write(f"{folder}/recommend.d/00.conf", "[openshift-node-lab]\n")


def write_profile(node: Node, profile: str) -> None:
    """What the operator's agent writes when the profile changes."""
    node.write("/etc/lab/tuned/openshift-node-lab/tuned.conf", profile)
