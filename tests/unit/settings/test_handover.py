"""The hand-over list: TuneD writes to copies of it, and the host's files stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ocp_tuned_boot.host.paths import Paths, sysctl_file
from ocp_tuned_boot.record.model import HandedOver
from ocp_tuned_boot.requested.config import Owners
from ocp_tuned_boot.settings import handover
from ocp_tuned_boot.settings.handover import Guard

FORWARD = "/proc/sys/net/ipv4/ip_forward"
ALL = "/proc/sys/net/ipv4/conf/all/forwarding"
ETH = "/proc/sys/net/ipv4/conf/eth0.1/forwarding"
IRQ, LIST = "/proc/irq/7/smp_affinity", "/proc/irq/7/smp_affinity_list"
HOST = "/proc/sys/kernel/pid_max"
OTHER = "/proc/sys/vm/other"
IRQBALANCE = "/etc/sysconfig/irqbalance"
#: The container does not have it.
ELSEWHERE = "/etc/default/irqbalance"
OWNERS = Owners(
    (IRQBALANCE, "/proc/irq/*/smp_affinity", ELSEWHERE),
    ("net.ipv4.ip_forward", "net.ipv4.conf.*.forwarding"), True,
)  # fmt: skip


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A node on which others have set what is theirs."""
    paths = Paths(tmp_path)
    for path, text in {
        FORWARD: "1\n", ALL: "1\n", ETH: "1\n", IRQ: "f\n", LIST: "0-3\n", HOST: "9\n",
        OTHER: "1\n", IRQBALANCE: "# mine\nIRQBALANCE_BANNED_CPULIST=3\n",
        ELSEWHERE: "IRQBALANCE_ARGS=\n",
        "/etc/sysctl.d/10.conf": "# x\nkernel.pid_max = 9\nnothing\n//.//.etc.x = 1\n",
        "/etc/x": "",
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


def guarded(paths: Paths, owners: Owners = OWNERS) -> Guard:
    """About to run TuneD."""
    guard = Guard(paths, owners, {})
    guard.save()
    return guard


def written(paths: Paths, path: str, text: str) -> None:
    """TuneD writes, in its container."""
    copy = paths.guard / "files" / path.lstrip("/")
    assert copy.is_file()
    copy.write_text(text)


def test_what_this_host_has_of_the_list(paths: Paths) -> None:
    everything = {FORWARD, ALL, ETH, IRQ, LIST, HOST, IRQBALANCE, ELSEWHERE}
    assert handover.owned(paths, OWNERS) == everything
    assert handover.owned(paths, Owners((), (), False)) == set()


@pytest.mark.parametrize(
    "line",
    ["net/ipv4/conf/eth0.1/forwarding=1", "-net.ipv4.conf.eth0/1.forwarding = 1",
     "net.ipv4.conf.*.forwarding=1", "- net/ipv4/conf/eth*/forwarding=1"],
)  # fmt: skip
def test_what_sysctl_d_sets_is_found_in_each_form_that_systemd_reads(
    paths: Paths, line: str
) -> None:
    put(paths, "/etc/sysctl.d/10.conf", f"{line}\nnet/../../../etc/x=1\n")
    assert ETH in handover.owned(paths, Owners((), (), True))
    assert not any("x" in path for path in handover.owned(paths, Owners((), (), True)))


@pytest.mark.parametrize(
    ("listed", "also"),
    [
        ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"),
        ("net.ipv4.conf.eth0/1.forwarding", "net.ipv4.ip_forward"),
        ("net.ipv4.conf.all.accept_redirects", "net.ipv4.ip_forward"),
        ("net.ipv4.conf.eth0/1.rp_filter", "net.ipv4.conf.default.rp_filter"),
        ("net.ipv6.conf.eth0/1.forwarding", "net.ipv6.conf.all.forwarding"),
        ("net.ipv6.conf.eth0/1.disable_ipv6", "net.ipv6.conf.all.disable_ipv6"),
        ("vm.dirty_ratio", "vm.dirty_bytes"),
        ("vm.dirty_background_bytes", "vm.dirty_background_ratio"),
        ("vm.overcommit_ratio", "vm.overcommit_kbytes"),
    ],
)
def test_what_the_kernel_changes_together_is_owned_together(
    tmp_path: Path, listed: str, also: str
) -> None:
    paths = Paths(tmp_path)
    files = {sysctl_file(key) for key in (listed, also)}
    for path in (*files, "/proc/sys/net/ipv4/conf/all/rp_filter", "/proc/sys/vm/swappiness"):
        put(paths, path, "1\n")
    assert handover.owned(paths, Owners((), (listed,), False)) == files


@pytest.mark.parametrize(
    ("sections", "complete", "disabled"),
    [
        ({"sysctl": "sysctl", "irq": "irqbalance"}, True, ["irq"]),
        ({"sysctl": "sysctl"}, True, []),
        # It may be in a profile whose name only TuneD can compute.
        ({"sysctl": "sysctl"}, False, ["irqbalance"]),
        ({"irqbalance": "irqbalance"}, False, ["irqbalance"]),
    ],
)
def test_a_run_does_not_restart_irqbalance(
    paths: Paths, sections: Mapping[str, str], complete: bool, disabled: list[str]
) -> None:
    text = Guard(paths, OWNERS, sections, complete=complete).profile()
    lines = [line for name in disabled for line in (f"[{name}]", "type=irqbalance", "enabled=0")]
    assert text.splitlines()[2:] == lines


def test_without_its_file_on_the_list_irqbalance_is_left_to_tuned(paths: Paths) -> None:
    nothing = Owners((), (), False)
    assert Guard(paths, nothing, {"irq": "irqbalance"}, complete=False).profile() == ""


def test_a_section_that_is_disabled_is_reported(paths: Paths) -> None:
    guard = Guard(paths, OWNERS, {"irq": "irqbalance"})
    guard.save()
    banned = "IRQBALANCE_BANNED_CPULIST=3"
    assert guard.collect() == (HandedOver(IRQBALANCE, "left-out", banned, "[irq]", banned),)


def test_the_copies_are_what_the_host_has_when_tuned_starts(paths: Paths) -> None:
    handover.prepare(paths)
    guard = Guard(paths, OWNERS, {})
    put(paths, ETH, "3\n")
    guard.save()
    copies = {
        "/" + str(path.relative_to(paths.guard / "files")): path.read_text()
        for path in (paths.guard / "files").rglob("*")
        if path.is_file()
    }
    covered = guard.owned - {ELSEWHERE}
    assert copies == {path: (paths.root / path[1:]).read_text() for path in covered}
    assert copies[ETH] == "3\n"
    assert {path.name for path in paths.guard.iterdir()} == {"enter", "cover.py", "files"}
    # Those of a killed run are gone.
    put(paths, str(paths.guard.relative_to(paths.root) / "files/proc/sys/x"), "1")
    handover.prepare(paths)
    assert not (paths.guard / "files/proc/sys/x").exists()


def test_what_tuned_writes_is_reported_and_does_not_reach_the_host(paths: Paths) -> None:
    guard = guarded(paths)
    written(paths, FORWARD, "0\n")
    written(paths, IRQBALANCE, "# mine\nIRQBALANCE_BANNED_CPULIST=0-2\n")
    # Another notation of the same value.
    written(paths, HOST, "0x9")
    mine = "IRQBALANCE_BANNED_CPULIST=3"
    assert guard.collect() == (
        HandedOver(IRQBALANCE, "left-out", mine, "IRQBALANCE_BANNED_CPULIST=0-2", mine),
        HandedOver("net.ipv4.ip_forward", "left-out", "1", "0", "1"),
    )
    assert found(paths, FORWARD) == "1"
    assert not paths.guard.exists()
    assert guard.collect() == ()


def test_what_its_owner_sets_meanwhile_stays_and_is_reported(paths: Paths) -> None:
    guard = guarded(paths)
    put(paths, FORWARD, "2")
    put(paths, IRQ, "3")
    put(paths, LIST, "0-1")
    written(paths, FORWARD, "0")
    assert guard.collect() == (
        HandedOver(IRQ, "changed", "f", "", "3"),
        HandedOver("net.ipv4.ip_forward", "left-out", "1", "0", "2"),
    )
    assert (found(paths, IRQ), found(paths, FORWARD)) == ("3", "2")


def test_the_word_in_brackets_is_the_value(paths: Paths) -> None:
    path = "/sys/kernel/mm/transparent_hugepage/enabled"
    put(paths, path, "always [madvise] never\n")
    guard = guarded(paths, Owners((path,), (), False))
    written(paths, path, "madvise")
    assert guard.collect() == ()
    guard.save()
    written(paths, path, "never")
    assert guard.collect() == (HandedOver(path, "left-out", "madvise", "never", "madvise"),)


def test_a_file_or_copy_that_is_gone_is_no_error(paths: Paths) -> None:
    guard = guarded(paths)
    (paths.root / ETH.lstrip("/")).unlink()
    (paths.guard / "files" / FORWARD.lstrip("/")).unlink()
    assert [(each.key, each.how, each.after) for each in guard.collect()] == [
        ("net.ipv4.conf.eth0/1.forwarding", "changed", ""),
    ]  # fmt: skip


def test_a_link_in_place_of_irqbalances_file_is_followed(paths: Paths) -> None:
    file = paths.root / IRQBALANCE.lstrip("/")
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")
    guarded(paths)
    assert "BANNED" in (paths.guard / "files" / IRQBALANCE.lstrip("/")).read_text()
