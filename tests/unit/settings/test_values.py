"""Reading back the requested settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot.record import amend
from ocp_tuned_boot.record.model import Value
from ocp_tuned_boot.settings import values
from ocp_tuned_boot.tuned.findings import make
from ocp_tuned_boot.tuned.judge import Outcome, Result
from ocp_tuned_boot.tuned.wanted import Setting

THP = "sys/kernel/mm/transparent_hugepage"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A kernel's settings."""
    for name, text in {
        "proc/sys/vm/dirty_ratio": "20\n",
        "proc/sys/vm/dirty_bytes": "0\n",
        "proc/sys/net/ipv4/tcp_rmem": "4096\t131072\t6291456\n",
        "proc/sys/net/ipv4/conf/eth0.1/forwarding": "1\n",
        "proc/sys/kernel/mask": "0x10\n",
        f"{THP}/enabled": "always [madvise] never\n",
        "sys/block/sda/queue/read_ahead_kb": "128\n",
        "sys/block/sdb/queue/read_ahead_kb": "256\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("plugin", "key", "value", "state"),
    [
        ("sysctl", "vm.dirty_ratio", "20", "verified"),
        ("sysctl", "vm.dirty_ratio", "21", "different"),
        ("sysctl", "vm.dirty_ratio", "024", "verified"),
        ("vm", "dirty_ratio", '"20"', "different"),
        ("sysfs", f"/{THP}/enabled", '"madvise"', "different"),
        ("sysctl", "vm.dirty_ratio", ">10", "verified"),
        ("sysctl", "vm.dirty_ratio", ">30", "different"),
        ("sysctl", "vm.dirty_ratio", "<30", "verified"),
        ("sysctl", "vm.dirty_ratio", "<10", "different"),
        ("sysctl", "vm.dirty_ratio", "twenty", "different"),
        ("sysctl", "net.ipv4.tcp_rmem", "4096 131072  6291456", "verified"),
        ("sysctl", "net.ipv4.tcp_rmem", "4096 131073", "different"),
        ("sysctl", "net.ipv4.conf.eth0/1.forwarding", "1", "verified"),
        ("sysctl", "kernel.mask", "16", "verified"),
        ("sysctl", "vm.nowhere", "1", "different"),
        ("vm", "dirty_ratio", "20", "verified"),
        ("vm", "dirty_bytes", "20%", "verified"),
        ("vm", "dirty_bytes", "4096", "different"),
        ("vm", "transparent_hugepages", "madvise", "verified"),
        ("vm", "transparent_hugepage", "never", "different"),
        ("vm", "new_option", "1", "unchecked"),
        ("sysfs", f"/{THP}/enabled", "madvise", "verified"),
        ("sysfs", f"/{THP}/enabled", "always", "different"),
        ("sysfs", "/sys/nowhere/*", "1", "unchecked"),
    ],
)
def test_one_setting(root: Path, plugin: str, key: str, value: str, state: str) -> None:
    (found,) = values.read_back(root, [Setting(plugin, key, value)])
    assert (found.state, found.expected) == (state, value.rstrip("%"))


def test_a_wildcard_is_one_value_for_each_file(root: Path) -> None:
    setting = Setting("sysfs", "/sys/block/sd*/queue/read_ahead_kb", "128")
    sda, sdb = (f"/sys/block/{disk}/queue/read_ahead_kb" for disk in ("sda", "sdb"))
    assert values.read_back(root, [setting]) == (
        Value(sda, "verified", "128", "128", path=sda, plugin="sysfs"),
        Value(sdb, "different", "128", "256", path=sdb, plugin="sysfs"),
    )


@pytest.mark.parametrize("value", ["20", "21"])
def test_what_others_own_is_neither_right_nor_wrong(root: Path, value: str) -> None:
    path = "/proc/sys/vm/dirty_ratio"
    asked = [Setting("sysctl", "vm.dirty_ratio", value), Setting("vm", "dirty_ratio", "30")]
    (found,) = values.read_back(root, asked, {path})
    assert (found.state, found.found, found.path) == ("handed-over", "20", path)
    assert amend.with_values(Outcome(Result.APPLIED), [found]).result is Result.APPLIED


def test_a_write_returns_whether_the_kernel_accepted_it(root: Path) -> None:
    assert values.write(root, "/proc/sys/vm/dirty_ratio", "33")
    assert values.read(root, "/proc/sys/vm/dirty_ratio") == "33"
    assert not values.write(root, "/proc/sys/vm/nowhere", "1")
    assert not (root / "proc/sys/vm/nowhere").exists()


def test_the_host_itself() -> None:
    pid_max = Path("/proc/sys/kernel/pid_max").read_text().strip()
    fscaps = Path("/sys/kernel/fscaps").read_text().strip()
    settings = [
        Setting("sysctl", "kernel.pid_max", pid_max),
        Setting("sysfs", "/sys/kernel/fscap?", fscaps),
    ]
    found = values.read_back(Path("/"), settings)
    assert [(value.key, value.state) for value in found] == [
        ("kernel.pid_max", "verified"),
        ("/sys/kernel/fscaps", "verified"),
    ]


@given(
    plugin=st.sampled_from(["sysctl", "sysfs", "vm", "include"]),
    key=st.text(alphabet=st.sampled_from("./*[]?a\0-"), max_size=12),
    value=st.text(max_size=5),
)
def test_whatever_a_profile_has_in_it_can_be_looked_for(plugin: str, key: str, value: str) -> None:
    for found in values.read_back(Path("/nowhere"), [Setting(plugin, key, value)]):
        assert found.state in ("verified", "different", "unchecked")


def test_an_unknown_value_is_not_compared(root: Path) -> None:
    (found,) = values.read_back(root, [Setting("sysctl", "vm.dirty_ratio", "1", "computed")])
    path = "/proc/sys/vm/dirty_ratio"
    assert found == Value(
        "vm.dirty_ratio", "unchecked", "1", why="computed", path=path, plugin="sysctl"
    )


def test_of_two_sections_that_set_one_file_the_later_one_counts(root: Path) -> None:
    known, unknown = (
        Setting("sysctl", "vm.dirty_ratio", "20"),
        Setting("vm", "dirty_ratio", "3", "x"),
    )
    for order, expected in (
        ([known, Setting("vm", "dirty_ratio", "30")], ("different", "30")),
        ([Setting("vm", "dirty_ratio", "30"), known], ("verified", "20")),
        ([known, unknown], ("unchecked", "3")),
        ([unknown, known], ("verified", "20")),
    ):
        (found,) = values.read_back(root, order)
        assert (found.state, found.expected) == expected


def test_a_setting_that_its_counterpart_replaces_is_not_different(root: Path) -> None:
    put = root / "proc/sys/vm"
    (put / "dirty_ratio").write_text("0\n")
    (put / "dirty_bytes").write_text("8192\n")
    asked = [Setting("vm", "dirty_ratio", "40"), Setting("sysctl", "vm.dirty_bytes", "8192")]
    for order in (asked, asked[::-1]):
        found = {each.key: each for each in values.read_back(root, order)}
        assert found["vm.dirty_bytes"].state == "verified"
        replaced = found["dirty_ratio"]
        assert (replaced.state, replaced.expected) == ("unchecked", "40")
        assert "vm.dirty_bytes" in replaced.why
    # If the profile does not set the counterpart, another program has.
    (found_alone,) = values.read_back(root, asked[:1])
    assert found_alone.state == "different"
    (put / "dirty_bytes").write_text("4096\n")
    assert {each.state for each in values.read_back(root, asked)} == {"different"}
    (put / "dirty_ratio").write_text("5\n")
    (put / "dirty_bytes").write_text("0\n")
    assert {each.state for each in values.read_back(root, asked)} == {"different"}


def test_a_file_that_cannot_be_read_is_not_compared(root: Path) -> None:
    (root / "proc/sys/vm/compact").mkdir()
    for expected in ("", "1"):
        (found,) = values.read_back(root, [Setting("sysctl", "vm.compact", expected)])
        assert (found.state, found.why) == ("unchecked", "the file cannot be read")
        (found,) = values.read_back(root, [Setting("sysctl", "vm.nowhere", expected)])
        assert found.state == "different"


DIFFERENT = Value("vm.x", "different", "1", "2")


def test_a_difference_degrades() -> None:
    judged = amend.with_values(Outcome(Result.APPLIED), [DIFFERENT, Value("vm.y", "verified", "1")])
    assert judged.result is Result.DEGRADED
    (finding,) = judged.findings
    assert (finding.kind, finding.subject) == ("value-differs", "vm.x")
    assert finding.message == "vm.x: expected '1', found '2'"


def test_a_difference_that_has_a_finding_gets_no_second_one() -> None:
    before = Outcome(Result.DEGRADED, (make("overridden", "vm.x", "…"),))
    assert amend.with_values(before, [DIFFERENT]) == before


@pytest.mark.parametrize("kind", ["overridden", "setting-refused"])
def test_a_setting_that_has_its_value_was_neither_overridden_nor_refused(kind: str) -> None:
    path = "/proc/sys/vm/x"
    before = Outcome(Result.DEGRADED, (make(kind, "vm.x", "…"), make(kind, "vm.y", "…")))
    verified = Value("vm/x", "verified", ">1", "2", path=path)
    after = amend.with_values(before, [verified])
    assert [(each.kind, each.subject) for each in after.findings] == [(kind, "vm.y")]
    assert amend.with_values(Outcome(Result.DEGRADED, before.findings[:1]), [verified]) == Outcome(
        Result.APPLIED
    )
    # The option of [vm] has another name than the sysctl.
    different = Value("x", "different", "1", "2", path=path)
    assert amend.with_values(before, [different]) == before


def test_a_difference_that_a_site_accepts_does_not_degrade() -> None:
    judged = amend.with_values(Outcome(Result.APPLIED), [DIFFERENT], [("value-differs", "vm.*")])
    assert judged.result is Result.APPLIED
    assert [finding.accepted for finding in judged.findings] == [True]


def test_what_was_not_compared_does_not_degrade() -> None:
    unchecked = Value("vm.x", "unchecked", "1", why="…")
    assert amend.with_values(Outcome(Result.APPLIED), [unchecked]).result is Result.APPLIED


@pytest.mark.parametrize(
    ("plugin", "key"),
    [
        ("sysfs", "/etc/shadow"), ("sysfs", "/sys/../etc/shadow"), ("sysfs", "/sys/*/../../etc/*"),
        ("sysctl", "//.etc.shadow"), ("sysctl", "//.//.etc.shadow"), ("sysfs", "/proc/sys/vm/x"),
    ],
)  # fmt: skip
def test_no_other_file_of_the_host_is_read(root: Path, plugin: str, key: str) -> None:
    (root / "etc").mkdir()
    (root / "etc/shadow").write_text("secret")
    (root / "sys/kernel").mkdir(exist_ok=True, parents=True)
    assert values.targets(root, Setting(plugin, key, "x"))[0] == []
    (found,) = values.read_back(root, [Setting(plugin, key, "x")])
    assert (found.state, found.found) == ("unchecked", "")


@pytest.mark.parametrize("kind", ["fifo", "large", "zero"])
def test_what_is_no_file_of_the_kernels_is_not_waited_for(root: Path, kind: str) -> None:
    path = root / "sys/odd"
    path.parent.mkdir(exist_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "large":
        path.write_bytes(b"x" * 2_000_000)
    else:
        path.symlink_to("/dev/zero")
    assert values.read(root, "/sys/odd") == ""
