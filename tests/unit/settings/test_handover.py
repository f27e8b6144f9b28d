"""The hand-over list: left out of a run, or put back after it, unless the owner has changed it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record.model import HandedOver
from ocp_tuned_boot.requested.config import Owners
from ocp_tuned_boot.settings import handover
from ocp_tuned_boot.settings.handover import IRQBALANCE, Guard
from ocp_tuned_boot.tuned.profiles import Setting

FORWARD = "/proc/sys/net/ipv4/ip_forward"
ETH = "/proc/sys/net/ipv4/conf/eth0.1/forwarding"
IRQ = "/proc/irq/7/smp_affinity"
HOST = "/proc/sys/kernel/pid_max"
OTHER = "/proc/sys/vm/other"
OWNERS = Owners(
    (IRQBALANCE, "/proc/irq/*/smp_affinity"),
    ("net.ipv4.ip_forward", "net.ipv4.conf.*.forwarding"), True,
)  # fmt: skip
ASK_FORWARD = Setting("sysctl", "net.ipv4.ip_forward", "0", section="sysctl")
ASK_HOST = Setting("sysctl", "kernel.pid_max", "5", section="more")
ASK_OTHER = Setting("sysctl", "vm.other", "2", section="sysctl")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A node on which others have set what is theirs."""
    paths = Paths(tmp_path)
    for path, text in {
        FORWARD: "1\n", ETH: "1\n", IRQ: "f\n", HOST: "9\n", OTHER: "1\n",
        IRQBALANCE: "# mine\nIRQBALANCE_BANNED_CPULIST=3\n",
        "/etc/sysctl.d/10.conf": "# x\nkernel.pid_max = 9\nnothing\n",
    }.items():  # fmt: skip
        put(paths, path, text)
    paths.run.mkdir(parents=True)
    return paths


def put(paths: Paths, path: str, text: str) -> None:
    file = paths.root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def found(paths: Paths, path: str) -> str:
    return (paths.root / path.lstrip("/")).read_text().strip()


def guarded(
    paths: Paths, *asked: Setting, obedient: bool = True, sections: Mapping[str, str] = {}
) -> Guard:
    """About to run TuneD."""
    guard = Guard(paths, OWNERS, asked, sections, obedient=obedient)
    guard.save("boot")
    return guard


def test_what_this_host_has_of_the_list(paths: Paths) -> None:
    assert handover.owned(paths, OWNERS) == {FORWARD, ETH, IRQ, HOST, IRQBALANCE}
    assert handover.owned(paths, Owners((), ("net.ipv4.*",), False)) == {FORWARD}
    assert handover.owned(paths, Owners((), (), False)) == set()


def test_what_is_owned_is_left_out_and_nothing_else(paths: Paths) -> None:
    guard = guarded(
        paths, ASK_FORWARD, ASK_OTHER, ASK_HOST, sections={"sysctl": "sysctl", "irq": "irqbalance"}
    )
    assert guard.profile().splitlines()[2:] == [
        "[sysctl]", "type=sysctl", "drop=net.ipv4.ip_forward",
        "[more]", "type=sysctl", "drop=kernel.pid_max",
        "[irq]", "type=irqbalance", "enabled=0",
    ]  # fmt: skip
    assert guarded(paths, ASK_OTHER).profile() == ""
    # With contract = operand TuneD does not read the generated profile.
    assert guarded(paths, ASK_FORWARD, obedient=False).profile() == ""


def test_a_wildcard_that_covers_more_is_not_left_out(paths: Paths) -> None:
    put(paths, "/sys/a/x", "1\n")
    put(paths, "/sys/b/x", "1\n")
    every = Setting("sysfs", "/sys/*/x", "2", section="sysfs")
    assert Guard(paths, Owners(("/sys/a/x",)), [every], {}, obedient=True).profile() == ""
    both = Guard(paths, Owners(("/sys/[ab]/x",)), [every], {}, obedient=True)
    assert "drop=/sys/*/x\n" in both.profile()


def test_what_was_left_out_is_reported_with_its_values(paths: Paths) -> None:
    guard = guarded(paths, ASK_FORWARD, sections={"x": "irqbalance"})
    banned = "IRQBALANCE_BANNED_CPULIST=3"
    assert guard.put_back() == (
        HandedOver("net.ipv4.ip_forward", "left-out", "1", "0", "1"),
        HandedOver(IRQBALANCE, "left-out", banned, "[irqbalance]", banned),
    )
    assert guard.put_back() == ()
    assert not paths.handover.exists()


def test_what_its_owner_sets_meanwhile_stays(paths: Paths) -> None:
    guard = guarded(paths, ASK_FORWARD, ASK_OTHER, sections={"sysctl": "sysctl"})
    put(paths, ETH, "0")
    put(paths, IRQ, "3")
    put(paths, FORWARD, "2")
    assert [each.how for each in guard.put_back()] == ["left-out"]
    assert (found(paths, ETH), found(paths, IRQ), found(paths, FORWARD)) == ("0", "3", "2")


def test_what_tuned_changed_all_the_same_is_put_back(paths: Paths) -> None:
    guard = guarded(paths, ASK_FORWARD, obedient=False)
    put(paths, FORWARD, "0\n")
    put(paths, ETH, "0\n")
    put(paths, IRQBALANCE, "# mine\nIRQBALANCE_BANNED_CPULIST=0-2\n")
    assert guard.put_back() == (
        HandedOver(IRQBALANCE, "put-back", "IRQBALANCE_BANNED_CPULIST=3",
               "IRQBALANCE_BANNED_CPULIST=0-2", "IRQBALANCE_BANNED_CPULIST=3"),
        HandedOver("net.ipv4.conf.eth0/1.forwarding", "put-back", "1", "0", "1"),
        HandedOver("net.ipv4.ip_forward", "put-back", "1", "0", "1"),
    )  # fmt: skip
    assert found(paths, IRQBALANCE) == "# mine\nIRQBALANCE_BANNED_CPULIST=3"


def test_what_is_set_before_tuned_starts_is_what_is_put_back(paths: Paths) -> None:
    guard = Guard(paths, OWNERS, [ASK_FORWARD], {}, obedient=False)
    put(paths, ETH, "3\n")
    guard.save("boot")
    put(paths, ETH, "0\n")
    guard.put_back()
    assert found(paths, ETH) == "3"


@pytest.mark.parametrize(("plugin", "now"), [("scheduler", "f"), ("script", "f"), ("vm", "3")])
def test_interrupts_are_put_back_where_a_plugin_may_have_moved_them(
    paths: Paths, plugin: str, now: str
) -> None:
    guard = guarded(paths, sections={"x": plugin})
    put(paths, IRQ, "3\n")
    guard.put_back()
    assert found(paths, IRQ) == now


def test_what_cannot_be_put_back_is_reported(paths: Paths) -> None:
    guard = guarded(paths, sections={"x": "scheduler"})
    irq = paths.root / IRQ.lstrip("/")
    irq.unlink()
    irq.symlink_to("/dev/null")
    assert guard.put_back() == (HandedOver(IRQ, "lost", "f", "", ""),)


def test_what_a_killed_run_has_left_is_put_back_if_it_is_still_tuneds(paths: Paths) -> None:
    guarded(paths, ASK_FORWARD, ASK_HOST, obedient=False)
    put(paths, FORWARD, "0\n")
    put(paths, HOST, "7\n")
    put(paths, IRQ, "3\n")
    # The kernel does this with ip_forward.
    put(paths, ETH, "0\n")
    assert [(each.key, each.how) for each in handover.recover(paths, "boot")] == [
        ("net.ipv4.conf.eth0/1.forwarding", "put-back"), ("net.ipv4.ip_forward", "put-back"),
    ]  # fmt: skip
    assert (found(paths, FORWARD), found(paths, ETH)) == ("1", "1")
    # Time has gone by: these may be their owners'.
    assert (found(paths, HOST), found(paths, IRQ)) == ("7", "3")
    assert not paths.handover.exists()
    assert handover.recover(paths, "boot") == ()


def test_what_another_boot_has_left_is_forgotten(paths: Paths) -> None:
    guarded(paths, ASK_FORWARD, obedient=False)
    put(paths, FORWARD, "0\n")
    assert handover.recover(paths, "another") == ()
    assert found(paths, FORWARD) == "0"
    assert not paths.handover.exists()


@pytest.mark.parametrize("kind", ["folder", "link", "device", "larger"])
def test_what_nobody_can_read_is_logged_and_removed(
    paths: Paths, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    if kind == "folder":
        (paths.handover / "x").mkdir(parents=True)
    elif kind == "link":
        paths.handover.symlink_to("handover.json")
    elif kind == "device":
        os.mkfifo(paths.handover)
    else:
        paths.handover.write_bytes(b" " * (files.LIMIT + 1))
    assert handover.recover(paths, "boot") == ()
    assert f"{paths.handover}: found no values to put back" in caplog.text
    assert not os.path.lexists(paths.handover)


@pytest.mark.parametrize("text", ["", "torn {", "[]", '{"before": 1}'])
def test_a_broken_file_is_logged_and_removed(
    paths: Paths, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    paths.handover.write_text(text)
    assert handover.recover(paths, "boot") == ()
    assert f"{paths.handover}: found no values to put back" in caplog.text
    assert not paths.handover.exists()
