"""What the units may do: what systemd says of it, and what a process in their place is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.lab import upstream
from tests.lab.node import Node
from tests.lab.test_boot import SUITES, property_of
from tests.lab.workload import PROFILE

pytestmark = pytest.mark.lab

#: The units that run this program.
UNITS = ("ocp-tuned.service", "ocp-tuned-notice.service", "ocp-tuned-image.service",
         "ocp-tuned-retry.service", "ocp-tuned-daemon.service")  # fmt: skip
MOST = 2.5

# Says what it could do, of what it must not and of what it must.
PROBE = """\
#!/usr/bin/python3
import ctypes, json, os, socket

def can(deed, *arguments):
    try:
        deed(*arguments)
    except OSError:
        return False
    return True

def write(folder):
    path = f"{folder}/probe"
    open(path, "w").close()
    os.unlink(path)

def unshare(flag):
    if ctypes.CDLL(None, use_errno=True).unshare(flag):
        raise OSError(ctypes.get_errno(), "unshare")

status = dict(line.split(":", 1) for line in open("/proc/self/status"))
found = {
    "writes": [path for path in %(folders)r if can(write, path)],
    "devices": [path for path in %(devices)r if can(lambda: os.close(os.open(path, os.O_RDWR)))],
    "knobs": can(lambda: open("/proc/sys/net/ipv4/tcp_fin_timeout", "w").close()),
    "families": [
        name for name in ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET")
        if can(lambda: socket.socket(getattr(socket, name), socket.SOCK_DGRAM).close())
    ],
    "reads": can(lambda: open("/root/probe").close()),
    "sees": [path for path in ("/tmp/probe", "/var/tmp/probe") if os.path.exists(path)],
    "capabilities": int(status["CapBnd"], 16),
    "no_new_privileges": int(status["NoNewPrivs"]),
    "seccomp": int(status["Seccomp"]),
    "deeds": [name for name, deed in (
        ("chown", lambda: os.chown("/run/ocp-tuned-boot/probed", 1, 1)),
        ("mknod", lambda: os.mknod("/run/ocp-tuned-boot/null", 0o20600, os.makedev(1, 3))),
        ("setuid file", lambda: os.chmod("/run/ocp-tuned-boot/probed", 0o4755)),
        ("namespace", lambda: unshare(0x00020000)),
        ("realtime", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))),
        ("hostname", lambda: socket.sethostname("probe")),
    ) if can(deed)],
}
print(json.dumps(found), file=open("/run/ocp-tuned-boot/probed", "w"))
"""
FOLDERS = (
    "/etc", "/usr/bin", "/boot", "/root", "/var/lib", "/var/lib/containers", "/run", "/run/tuned",
    "/run/ocp-tuned-boot", "/var/lib/tuned", "/var/lib/ocp-tuned", "/var/lib/ocp-tuned-boot",
    "/etc/crio", "/etc/crio/crio.conf.d", "/etc/sysconfig", "/sys/fs/cgroup",
)  # fmt: skip
DEVICES = ("/dev/cpu_dma_latency", "/dev/null", "/dev/fuse", "/dev/kmsg", "/dev/tty")


@pytest.mark.parametrize("suite", SUITES)
def test_the_units_are_as_locked_down_as_is_said_and_upstreams_is_not(suite: str) -> None:
    with Node(suite, image=suite) as node:
        upstream.furnish(node, PROFILE)
        node.boot()

        def exposure(unit: str) -> float:
            said = node.run("systemd-analyze", "security", "--no-pager", unit).stdout
            found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
            assert found is not None, said
            return float(found[1])

        told = {unit: exposure(unit) for unit in (*UNITS, upstream.UNIT)}
        print(told)
        assert all(told[unit] <= MOST for unit in UNITS)
        assert told[upstream.UNIT] > 9


@pytest.mark.parametrize("suite", SUITES)
def test_systemd_has_nothing_to_say_about_the_units(suite: str) -> None:
    with Node(suite, image=suite) as node:
        node.boot()
        shipped = node.run("sh", "-c", "cd /usr/lib/systemd/system && ls -d ocp-tuned*").stdout
        units = {name for name in shipped.split() if not name.endswith(".d")}
        assert len(units) == 13
        instances = {
            f"ocp-tuned-podman@{name}.{kind}"
            for name in ("shared", "own", "quiet")
            for kind in ("socket", "service")
        }
        said = node.run("systemd-analyze", "verify", "--man=no", *sorted(units | instances))
        lines = (said.stdout + said.stderr).splitlines()
        # 252 does not know it, as the unit says.
        unknown = "FileDescriptorStorePreserve"
        assert [line for line in lines if unknown not in line or suite != "bookworm"] == []


@pytest.mark.parametrize("suite", SUITES)
def test_the_sandbox_is_shown_with_each_unit_and_an_administrator_can_change_it(suite: str) -> None:
    with Node(suite, image=suite) as node:
        node.boot()
        sandbox = node.read(f"/usr/lib/systemd/system/{UNITS[0]}.d/10-sandbox.conf")
        for unit in UNITS:
            # What `systemctl edit` writes.
            node.write(
                f"/etc/systemd/system/{unit}.d/override.conf",
                "[Service]\nProtectHome=tmpfs\nRestrictAddressFamilies=\n",
            )
        node.run("systemctl", "daemon-reload")
        for unit in UNITS:
            shown = node.run("systemctl", "cat", unit).stdout
            assert f"# /usr/lib/systemd/system/{unit}.d/10-sandbox.conf\n{sandbox}" in shown
            assert property_of(node, unit, "ProtectSystem") == "strict"
            assert property_of(node, unit, "ProtectHome") == "tmpfs"
            assert property_of(node, unit, "RestrictAddressFamilies") == "~"
        # What Podman mounts has to be seen by the host, and what it starts has all rights.
        for name in ("shared", "own", "quiet"):
            assert property_of(node, f"ocp-tuned-podman@{name}.service", "ProtectSystem") == "no"


def probed(node: Node, unit: str) -> dict[str, Any]:
    """What a process in the place of the unit's own finds that it can do."""
    node.write("/usr/local/bin/probe", PROBE % {"folders": FOLDERS, "devices": DEVICES}, 0o755)
    node.write(
        f"/etc/systemd/system/{unit}.d/probe.conf",
        "[Service]\nType=oneshot\nRemainAfterExit=no\nExecStart=\nExecStopPost=\n"
        "ExecStart=/usr/local/bin/probe\n[Unit]\nConditionPathExists=\n",
    )
    for path in ("/tmp/probe", "/var/tmp/probe", "/root/probe"):
        node.write(path, "")
    node.run("systemctl", "daemon-reload")
    node.run("systemctl", "restart", unit)
    content: dict[str, Any] = json.loads(node.read("/run/ocp-tuned-boot/probed"))
    return content


@pytest.mark.parametrize("suite", SUITES)
def test_a_process_in_their_place_is_refused_everything_else(suite: str) -> None:
    ours = {"/run/ocp-tuned-boot", "/var/lib/ocp-tuned-boot"}
    # The agent's folder belongs to the agent's user; only the agent and the administrator write it.
    tuneds = {"/run/tuned", "/var/lib/tuned"}
    # A temporary file must not be in CRI-O's drop-in folder.
    crio = {"/etc/crio", "/etc/crio/crio.conf.d"}
    with Node(suite) as node:
        for path in (*crio, "/etc/sysconfig", "/var/lib/containers", "/boot"):
            (node.root / path[1:]).mkdir(parents=True, exist_ok=True)
        node.boot()
        for unit, folders, families, devices in (
            (UNITS[0], ours | tuneds | crio, ["AF_UNIX", "AF_INET"],
             {"/dev/cpu_dma_latency", "/dev/null"}),
            (UNITS[1], ours, ["AF_UNIX"], {"/dev/null"}),
            (UNITS[2], ours | crio, ["AF_UNIX"], {"/dev/null"}),
            (UNITS[3], ours, ["AF_UNIX"], {"/dev/null"}),
        ):  # fmt: skip
            found = probed(node, unit)
            assert set(found["writes"]) == folders, unit
            assert found["families"] == families, unit
            assert set(found["devices"]) <= devices, unit
            assert found["sees"] == [], unit
            # A boot.conf may be a link to there.
            assert found["reads"], unit
            # A reload of the first puts settings back.
            assert found["knobs"] == (unit == UNITS[0])
            # CAP_DAC_READ_SEARCH, and CAP_NET_ADMIN to put network settings back.
            assert found["capabilities"] == (1 << 2 | 1 << 12 if unit == UNITS[0] else 1 << 2)
            assert (found["no_new_privileges"], found["seccomp"]) == (1, 2), unit
            assert found["deeds"] == [], unit
