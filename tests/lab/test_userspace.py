"""User space starts again under the same kernel: tuned anew, before the kubelet starts again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import inotify
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.workload import furnish, has_ended, record

pytestmark = pytest.mark.lab

SUITES = ("trixie", "bookworm")
UNIT = "ocp-tuned.service"
FIN_TIMEOUT = "/proc/sys/net/ipv4/tcp_fin_timeout"
KEEPALIVE = "/proc/sys/net/ipv4/tcp_keepalive_time"
#: Settings of the node's own network, and an open file for as long as the profile is applied.
PROFILE = "[sysctl]\nnet.ipv4.tcp_fin_timeout=37\nnet.ipv4.tcp_keepalive_time=601\n"
HELD = "[rtentsk]\n"


@contextmanager
def booted(suite: str, conf: str = "") -> Iterator[Node]:
    """A node whose own systemd-sysctl sets what the profile sets, and comes before it. `conf`: its
    boot.conf."""
    # One at a time: what holds timestamps is a switch of this machine's one kernel.
    with KernelKnobs({}), Node(suite, image=suite) as node:
        furnish(node, PROFILE + HELD)
        node.write("/etc/lab/watch", f"{FIN_TIMEOUT}\n{KEEPALIVE}\n")
        if conf:
            node.write("/etc/ocp-tuned-boot/boot.conf", conf)
        # Not in /etc: that is in TuneD's container, and TuneD lets it win.
        node.write("/usr/lib/sysctl.d/99-lab.conf", "net.ipv4.tcp_fin_timeout = 50\n")
        # Nothing inside the node could mount again what is mounted from outside.
        for mount in ("var-lib-containers", "var-lib-ocp\\x2dtuned\\x2dboot-storage"):
            drop_in = f"/etc/systemd/system/{mount}.mount.d/lab.conf"
            node.write(drop_in, "[Unit]\nDefaultDependencies=no\n")
        node.boot()
        has_ended(node)
        yield node


def found_by_kubelet(node: Node) -> list[tuple[str | None, str | None]]:
    """The two values at each of its starts in this boot."""
    values = [witness["values"] for witness in node.witnesses("kubelet")]
    return [(each[FIN_TIMEOUT], each[KEEPALIVE]) for each in values]


def stored(node: Node) -> int:
    shown = node.run("systemctl", "show", "--value", "-p", "NFileDescriptorStore", UNIT)
    return int(shown.stdout)


def soft_reboot(node: Node) -> None:
    """Returns when the kubelet has been started again."""
    starts = node.root / "var/lib/lab"
    node.run("mv", "/var/lib/lab/kubelet.json", "/var/lib/lab/before.json")
    node.run("systemctl", "--no-block", "soft-reboot")
    inotify.wait_for(starts / "kubelet.json", 60)


# The target may be reached before all units that it does not want are stopped.
_UNITS = "systemctl is-active ocp-tuned kubelet | sort -u"
STOPPED = f'until [ "$({_UNITS})" = inactive ]; do sleep 0.05; done'


def isolate(node: Node, target: str) -> None:
    node.run("systemctl", "isolate", target)
    if target != "multi-user.target":
        node.run("timeout", "20", "sh", "-c", STOPPED)


@pytest.mark.parametrize("suite", ["trixie"])
def test_after_a_soft_reboot_the_node_is_tuned_before_the_kubelet_starts_again(suite: str) -> None:
    with booted(suite) as node:
        soft_reboot(node)
        assert found_by_kubelet(node) == [("37", "601")]
        has_ended(node)
        assert node.read("/proc/sys/kernel/random/boot_id").strip() == node.boot_id
        assert record(node)["action"] == "apply"
        assert stored(node) == 1
        node.run("systemctl", "restart", UNIT)
        assert record(node)["action"] == "keep"

        # A change that waits for the next boot: one other value, and nothing else.
        changed = "[sysctl]\nnet.ipv4.tcp_fin_timeout=38\n"
        node.write("/var/lib/ocp-tuned/profiles/openshift-node-lab/tuned.conf", changed)
        node.run("systemctl", "restart", UNIT)
        assert record(node)["action"] == "defer"
        soft_reboot(node)
        ((fin_timeout, _),) = found_by_kubelet(node)
        assert fin_timeout == "38"
        has_ended(node)
        done = record(node)
        assert (done["action"], done["result"]) == ("apply", "applied")
        assert done["boot_id"] == done["in_force"]["boot_id"] == f"{node.boot_id}+2"
        assert (done["deferred"], done["handover"]) == (None, [])
        # What only the profile before the soft-reboot has set has its first value again.
        assert node.read(KEEPALIVE) == "7200\n"
        assert stored(node) == 0
        counted = node.run("systemctl", "show", "--value", "-p", "SoftRebootsCount").stdout
        assert counted == "2\n"
        boots = json.loads(node.run("ocp-tuned-boot", "history", "--json").stdout)
        names = [node.boot_id, f"{node.boot_id}+1", f"{node.boot_id}+2"]
        assert [boot["boot_id"] for boot in boots] == names


@pytest.mark.parametrize("suite", SUITES)
def test_what_systemd_tmpfiles_does_in_between_starts_nothing_anew(suite: str) -> None:
    """It counts the starts of user space; people and packages run it at other times."""
    with booted(suite) as node:
        node.run("sysctl", "-q", "-w", "net.ipv4.tcp_fin_timeout=44")
        for verb in ("restart", "stop"):
            refused = node.run("systemctl", verb, "systemd-tmpfiles-setup.service", check=False)
            assert "may be requested by dependency only" in refused.stderr
        for command in (
            ("systemctl", "start", "systemd-tmpfiles-setup.service"),
            ("systemctl", "restart", "systemd-sysctl.service"),
            ("systemd-tmpfiles", "--create"),
            ("systemctl", "daemon-reexec"),
        ):
            node.run(*command, check=False)
        node.run("systemctl", "restart", UNIT)
        assert node.read("/run/ocp-tuned-boot/restarts") == ""
        done = record(node)
        assert (done["action"], done["boot_id"]) == ("keep", node.boot_id)
        # Nobody has set it again but systemd-sysctl.
        assert node.read(FIN_TIMEOUT) == "50\n"


@pytest.mark.parametrize("suite", SUITES)
def test_rescue_keeps_the_settings_and_emergency_starts_user_space_anew(suite: str) -> None:
    with booted(suite) as node:
        isolate(node, "rescue.target")
        # Somebody sets it by hand; systemd-sysctl is not started again.
        node.run("sysctl", "-q", "-w", "net.ipv4.tcp_fin_timeout=44")
        isolate(node, "multi-user.target")
        has_ended(node)
        done = record(node)
        assert (done["action"], done["boot_id"]) == ("keep", node.boot_id)
        assert stored(node) == 1
        isolate(node, "emergency.target")
        isolate(node, "multi-user.target")
        has_ended(node)
        done = record(node)
        assert (done["action"], done["boot_id"]) == ("apply", f"{node.boot_id}+1")
        assert stored(node) == 1
        assert found_by_kubelet(node) == [("37", "601"), ("44", "601"), ("37", "601")]


@pytest.mark.slow
def test_after_a_soft_reboot_another_tuned_keeps_running() -> None:
    with booted("trixie", "[tuning]\nmode = daemon\n") as node:
        until = "until systemctl is-active -q ocp-tuned-daemon; do sleep 0.1; done"
        node.run("sh", "-c", until)
        before = node.read("/run/ocp-tuned-boot/daemon.json")
        soft_reboot(node)
        assert found_by_kubelet(node) == [("37", "601")]
        has_ended(node)
        node.run("sh", "-c", until)
        assert record(node)["action"] == "apply"
        assert node.read("/run/ocp-tuned-boot/daemon.json") != before
        # The one of before is gone, and its name was free.
        assert node.run("podman", "ps", "-a", "--format={{.Names}}").stdout == "openshift-tuned\n"
