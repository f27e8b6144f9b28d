"""User space starts again under the same kernel: tuned anew, before the kubelet starts again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab import inotify
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.workload import PROFILE, RESET, WANTED, furnish, has_ended

pytestmark = pytest.mark.lab

SUITES = ("trixie", "bookworm")
UNIT = "ocp-tuned.service"
FIN_TIMEOUT = "/proc/sys/net/ipv4/tcp_fin_timeout"
SHMMNI = "/proc/sys/kernel/shmmni"
#: What the profile asks for, too: an open file, for as long as it is applied.
HELD = PROFILE + "[rtentsk]\n"


@contextmanager
def booted(suite: str) -> Iterator[Node]:
    """A node whose own systemd-sysctl sets what the profile sets, and comes before it."""
    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        furnish(node, HELD)
        # Not in /etc: that is in TuneD's container, and TuneD lets it win.
        node.write("/usr/lib/sysctl.d/99-lab.conf", "net.ipv4.tcp_fin_timeout = 50\n")
        node.boot()
        has_ended(node)
        yield node


def record(node: Node) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(node.read("/run/ocp-tuned-boot/status.json"))
    return content


def found_by_kubelet(node: Node) -> list[dict[str, str | None]]:
    """The values at each of its starts in this boot."""
    return [witness["values"] for witness in node.witnesses("kubelet")]


def stored(node: Node) -> int:
    shown = node.run("systemctl", "show", "--value", "-p", "NFileDescriptorStore", UNIT)
    return int(shown.stdout)


def soft_reboot(node: Node) -> None:
    """Returns when the kubelet has been started again."""
    starts = node.root / "var/lib/lab"
    node.run("mv", "/var/lib/lab/kubelet.json", "/var/lib/lab/before.json")
    node.run("systemctl", "--no-block", "soft-reboot")
    inotify.wait_for(starts / "kubelet.json", 60)


def isolate(node: Node, target: str) -> None:
    node.run("systemctl", "isolate", target)


def test_after_a_soft_reboot_the_node_is_tuned_before_the_kubelet_starts_again() -> None:
    with booted("trixie") as node:
        assert stored(node) == 1
        # A change that waits for the next boot: no shmmni, no file that has to stay open.
        changed = PROFILE.replace("tcp_fin_timeout=37", "tcp_fin_timeout=38")
        changed = changed.replace("kernel.shmmni=4097\n", "")
        node.write("/var/lib/ocp-tuned/profiles/openshift-node-lab/tuned.conf", changed)
        node.run("systemctl", "restart", UNIT)
        assert record(node)["action"] == "defer"
        soft_reboot(node)
        assert node.read("/proc/sys/kernel/random/boot_id").strip() == node.boot_id
        (found,) = found_by_kubelet(node)
        assert found == {**WANTED, FIN_TIMEOUT: "38", SHMMNI: "4097"}
        has_ended(node)
        done = record(node)
        assert (done["action"], done["result"]) == ("apply", "applied")
        assert done["boot_id"] == done["in_force"]["boot_id"] == f"{node.boot_id}+1"
        assert (done["deferred"], done["handover"]) == (None, [])
        # What only the profile before the soft-reboot has set is back at its first value.
        assert node.read(SHMMNI) == "4096\n"
        assert stored(node) == 0
        counted = node.run("systemctl", "show", "--value", "-p", "SoftRebootsCount").stdout
        assert counted == "1\n"
        boots = json.loads(node.run("ocp-tuned-boot", "history", "--json").stdout)
        assert [boot["boot_id"] for boot in boots] == [node.boot_id, f"{node.boot_id}+1"]


def test_after_a_soft_reboot_systemd_holds_what_the_profile_requires() -> None:
    with booted("trixie") as node:
        soft_reboot(node)
        has_ended(node)
        assert record(node)["action"] == "apply"
        assert stored(node) == 1
        node.run("systemctl", "restart", UNIT)
        assert record(node)["action"] == "keep"


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
        assert found_by_kubelet(node) == [WANTED, {**WANTED, FIN_TIMEOUT: "44"}, WANTED]
