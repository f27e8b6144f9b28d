"""File systems that are mounted late are waited for, and nothing is opened below them; what the
container has of the host's files."""

from __future__ import annotations

import os

import pytest

from tests.lab import operatorimage
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.test_gate import shown
from tests.lab.workload import RESET, furnish, has_ended, record

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
        # The credentials for the image, which is pulled after the go unit at the earliest.
        mounted = int(shown(node, KUBELET, "ActiveEnterTimestampMonotonic"))
        started = int(shown(node, "ocp-tuned-go.service", "InactiveExitTimestampMonotonic"))
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


MODPROBE, IMAGE = "/etc/modprobe.d", "localhost/modinfo"
#: What the kernel says of two modules of its own.
MODINFO = "".join(
    f"{module}.license=GPL\0{module}.parm={name}\0{module}.parmtype={name}\0"
    for module, name in (("kvm", "nx_huge_pages:bool"), ("kvm_intel", "ple_gap:uint"))
)
NEEDS_THE_HOST = """
[modules]
kvm=nx_huge_pages=0

[disk_lab]
type=disk
devices_udev_regex=^ID_LAB=1$
"""
#: Of TuneD, as the script of cpu-partitioning calls them.
FUNCTIONS = "#!/bin/bash\n. /usr/lib/tuned/functions\nsetup_kvm_mod_low_latency\n"


def image_with_modinfo(node: Node, contract: str) -> str:
    """Debian's image of TuneD does not have it; the operator's does."""
    commands = (
        f"podman create --quiet --name modinfo localhost/tuned:{node.suite} true",
        "podman cp /usr/bin/kmod modinfo:/usr/sbin/modinfo",
        f"podman commit --quiet modinfo {IMAGE} && podman rm modinfo",
    )
    node.run("sh", "-c", " && ".join(commands))
    return operatorimage.make(node, IMAGE) if contract == "operand" else IMAGE


@pytest.mark.parametrize("contract", ["tuned", "operand"])
def test_tuned_has_what_it_needs_of_the_host_at_every_boot(contract: str) -> None:
    with KernelKnobs(RESET), Node() as node:
        modules = f"/lib/modules/{os.uname().release}"
        names = "".join(f"kernel/arch/x86/kvm/{name}.ko\n" for name in ("kvm", "kvm-intel"))
        node.write(f"{modules}/modules.builtin", names)
        node.write(f"{modules}/modules.builtin.modinfo", MODINFO)
        node.write(f"{modules}/modules.order", "")
        node.write(f"{MODPROBE}/site.conf", "# the site's\n")
        # What udev knows of a disk.
        node.write("/etc/tmpfiles.d/lab.conf", "f /run/udev/data/b7:0 0644 - - - E:ID_LAB=1\\n\n")
        node.boot()
        node.run("depmod")
        image = image_with_modinfo(node, contract)
        script = "" if contract == "operand" else "[script]\nscript=${i:PROFILE_DIR}/s.sh\n"
        furnish(node, PROFILE.format(37) + NEEDS_THE_HOST + script)
        node.write("/var/lib/ocp-tuned/image.env", f"NTO_IMAGE={image}\n")
        node.write("/var/lib/ocp-tuned/profiles/openshift-node-lab/s.sh", FUNCTIONS, 0o755)
        node.write("/etc/ocp-tuned-boot/boot.conf", f"[tuning]\ncontract = {contract}\n")
        # The files of a boot must survive the next one.
        for _ in range(2):
            node.reboot()
            has_ended(node)
            assert record(node)["result"] == "applied", node.journal("ocp-tuned")
            assert "options kvm nx_huge_pages=0" in node.read(f"{MODPROBE}/tuned.conf")
            assert "instance disk_lab (disk): assigning devices loop0" in node.read(
                "/run/ocp-tuned-boot/tuned.log"
            )
            if script:
                kvm = node.read(f"{MODPROBE}/kvm.rt.tuned.conf")
                assert kvm == "options kvm nx_huge_pages=0\noptions kvm_intel ple_gap=0\n"
            # Without an archive of Podman's.
            wrote = node.read("/run/ocp-tuned-boot/etc-tuned/active_profile")
            assert wrote == "openshift-node-lab\n"
