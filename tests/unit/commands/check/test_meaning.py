"""What TuneD and the machine say about a profile becomes problems, each with its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Optional

import pytest

from ocp_tuned_boot.commands.check import machine, meaning
from ocp_tuned_boot.commands.check.machine import Line, Machine
from ocp_tuned_boot.commands.check.problem import Problem, Severity
from ocp_tuned_boot.commands.check.profiles import Sources
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record.model import Value
from ocp_tuned_boot.settings.holds import CState
from ocp_tuned_boot.tuned.asked import Asked, Comparison, Option, Section, Verified
from ocp_tuned_boot.tuned.profilefile import ProfileFile

CONF = """\
[main]
include=stock
[variables]
include=/etc/tuned/ours-variables.conf
[sysctl]
vm.swappiness=10
[sysfs]
/sys/kernel/mm/transparent_hugepage/enabled=never
[net]
devices=eth9
[cpu]
force_latency=cstate.name:C6
[scheduler]
isolated_cores=1-3
[bootloader]
cmdline_ours=+nosmt isolcpus=managed_irq,domain,2-9
[odd]
option=1
"""
STOCK = "[sysctl]\nvm.swappiness=20\nkernel.absent=1\n"
STOCK_PATH = "/usr/lib/tuned/stock/tuned.conf"
OURS = "/profiles/ours/tuned.conf"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
SWAPPINESS = "/proc/sys/vm/swappiness"
MACHINE = Machine(
    values=(
        Value("vm.swappiness", "different", "10", "60", path=SWAPPINESS, section="sysctl",
              plugin="sysctl"),
        Value(THP, "different", "never", "always", path=THP, section="sysfs", plugin="sysfs"),
    ),
    choices={THP: ("always", "madvise", "never")},
    arguments=("nosmt", "isolcpus=managed_irq,domain,2-9"),
    cpus=frozenset(range(16)),
    cstates=(CState(1, "C6", 100),),
)  # fmt: skip
SOURCES = Sources(Path("/profiles"), (ProfileFile("ours/tuned.conf", CONF.encode()),),
                  {STOCK_PATH: STOCK})  # fmt: skip


def section(name: str, *options: tuple[str, str], devices: str = "*") -> Section:
    made = tuple(Option(key, value) for key, value in options)
    return Section(name, name, devices, {}, 0, "", made)


ASKED = Asked(
    tuned="2.25", python="3", profile="ours",
    sections=(
        section("sysctl", ("vm.swappiness", "10"), ("kernel.absent", "1")),
        section("sysfs", (THP, "never")),
        section("net", devices="eth9"),
        section("cpu", ("force_latency", "cstate.name:C6")),
        section("scheduler", ("isolated_cores", "1-3")),
        section("bootloader", ("cmdline_ours", "+nosmt isolcpus=managed_irq,domain,2-9")),
        section("odd", ("option", "1")),
    ),
    left=0, profiles=(("ours", "/etc/tuned/ours/tuned.conf"), ("stock", STOCK_PATH)),
    absent_profiles=(), files=(), absent=(), commands=(), warnings=(),
)  # fmt: skip
HELD = Verified((), 0, (), ())


def found(
    asked: Asked = ASKED, machine: Optional[Machine] = MACHINE, *rows: Comparison
) -> list[Problem]:
    return list(meaning.check(asked, replace(HELD, rows=rows), SOURCES, machine))


def places(problems: list[Problem]) -> list[tuple[str, str, int]]:
    return [(each.kind, each.file, each.line) for each in problems]


def changed(index: int, **values: str) -> Machine:
    each = list(MACHINE.values)
    each[index] = replace(each[index], **values)
    return replace(MACHINE, values=tuple(each))


def test_a_sound_profile_has_no_problem() -> None:
    assert found() == []


def test_what_tuned_does_not_know() -> None:
    why = "failed to initialize plugin odd: No module named 'tuned.plugins.plugin_odd'"
    rows = (
        Comparison("odd", "odd", "option", "unchecked", why=why),
        Comparison("cpu", "cpu", "force_latency", "unchecked",
                   why="TuneD does not know this option"),
        Comparison("scheduler", "scheduler", "isolated_cores", "unchecked",
                   why="failed to initialize plugin scheduler: No module named 'perf'"),
        Comparison("net", "net", "", "not-applicable", why="no matching devices, or nothing"),
        # A section for the machines that have such devices.
        Comparison("bootloader", "bootloader", "", "not-applicable", why="no matching devices"),
    )  # fmt: skip
    assert places(found(ASKED, MACHINE, *rows)) == [
        ("unknown-plugin", OURS, 17), ("unknown-option", OURS, 12), ("plugin-failed", OURS, 13),
        ("no-devices", OURS, 10),
    ]  # fmt: skip
    # On another machine there may be such devices.
    assert "no-devices" not in [it.kind for it in found(ASKED, None, *rows)]


def test_what_tuned_warns_of_is_at_its_line() -> None:
    words = "unable to find variables_file: '/etc/tuned/ours-variables.conf'"
    assert places(found(replace(ASKED, warnings=(words,)))) == [("tuned-warning", OURS, 4)]
    (problem,) = found(replace(ASKED, warnings=("?",)))
    assert (problem.file, problem.line, problem.severity) == (OURS, 1, Severity.NOTE)
    # In the container of a check nothing can be written.
    assert found(replace(ASKED, warnings=("mktemp: Read-only file system",))) == []


def test_a_variable_that_is_not_defined() -> None:
    sections = (section("sysctl", ("vm.swappiness", "${swap}"), ("kernel.x", r"\${y}")),)
    asked = replace(ASKED, sections=sections)
    assert places(found(asked, None)) == [("unknown-variable", OURS, 6)]


def test_a_value_that_is_only_known_when_it_is_computed() -> None:
    asked = replace(ASKED, sections=(section("sysctl", ("vm.swappiness", "300")),))
    (problem,) = found(asked, None)
    assert places([problem]) == [("value-out-of-range", OURS, 6)]
    assert problem.severity is Severity.ERROR
    # TuneD writes a maximum only if the kernel's value is above it.
    asked = replace(ASKED, sections=(section("sysctl", ("vm.swappiness", "<300")),))
    (problem,) = found(asked, None)
    assert problem.severity is Severity.WARNING


@pytest.mark.parametrize(
    ("machine", "kind", "line"),
    [
        (replace(MACHINE, missing=frozenset({SWAPPINESS})), "no-such-setting", 6),
        (changed(1, path=""), "no-such-setting", 8),
        (replace(MACHINE, read_only=frozenset({SWAPPINESS})), "read-only-setting", 6),
        (changed(0, expected="ten"), "value-not-accepted", 6),
        (changed(0, expected="1 2"), "value-not-accepted", 6),
        (changed(0, expected=""), "value-not-accepted", 6),
        (changed(1, expected="sometimes"), "value-not-accepted", 8),
        (replace(MACHINE, sysctl_d={SWAPPINESS: Line("/etc/sysctl.d/x.conf", 3, "1")}),
         "set-elsewhere", 6),
        (replace(MACHINE, arguments=("isolcpus=managed_irq,domain,2-9",)),
         "missing-kernel-argument", 16),
        (replace(MACHINE, cstates=(CState(0, "POLL", 0),)), "no-such-cstate", 12),
    ],
)  # fmt: skip
def test_what_the_machine_lacks_or_refuses(machine: Machine, kind: str, line: int) -> None:
    assert places(found(ASKED, machine)) == [(kind, OURS, line)]


def test_cpus_that_the_machine_does_not_have() -> None:
    three = replace(MACHINE, cpus=frozenset(range(3)))
    assert places(found(ASKED, three)) == [("no-such-cpu", OURS, 14), ("no-such-cpu", OURS, 16)]
    assert places(found(ASKED, replace(three, cpus=frozenset(range(4))))) == [
        ("no-such-cpu", OURS, 16)
    ]


def test_the_same_value_in_sysctl_d_is_no_mistake_and_another_may_lose() -> None:
    same = {SWAPPINESS: Line("/etc/sysctl.d/x.conf", 3, "10")}
    assert found(ASKED, replace(MACHINE, sysctl_d=same)) == []
    other = {SWAPPINESS: Line("/etc/sysctl.d/x.conf", 3, "1")}
    (problem,) = found(ASKED, replace(MACHINE, sysctl_d=other, reapply=False))
    assert problem.severity is Severity.NOTE
    assert "profile's value wins" in problem.message


def test_the_kubelet_does_not_start_with_this_value() -> None:
    value = Value("vm.panic_on_oom", "different", "1", "0", path="/proc/sys/vm/panic_on_oom",
                  section="sysctl", plugin="sysctl")  # fmt: skip
    here = replace(MACHINE, values=(value,), protected_by=Path("/etc/kubelet"))
    (problem,) = found(ASKED, here)
    assert (problem.kind, problem.severity) == ("kubelet-default", Severity.ERROR)
    assert found(ASKED, replace(here, values=(replace(value, expected="0"),))) == []
    assert found(ASKED, replace(here, protected_by=None)) == []


def test_what_an_image_of_many_machines_sets_is_a_note() -> None:
    value = Value("kernel.absent", "different", "1", "", path="/proc/sys/kernel/absent",
                  section="sysctl", plugin="sysctl")  # fmt: skip
    here = replace(MACHINE, values=(value,), missing=frozenset({"/proc/sys/kernel/absent"}))
    (problem,) = found(ASKED, here)
    assert (problem.file, problem.line, problem.is_stock) == (STOCK_PATH, 3, True)
    assert problem.severity is Severity.NOTE


@pytest.mark.parametrize(
    ("path", "shown", "expected", "is_refused"),
    [
        ("/proc/sys/kernel/core_pattern", "1", "core", False),
        ("/proc/sys/kernel/watchdog_cpumask", "0", "0-3", False),
        ("/proc/sys/net/ipv4/tcp_congestion_control", "cubic", "bbr", False),
        ("/proc/sys/kernel/printk", "4 4 1 7", "3", False),
        ("/proc/sys/kernel/printk", "4 4 1 7", "3 4 1 7 9", True),
        ("/proc/sys/vm/swappiness", "60", ">100", False),
        ("/proc/sys/vm/swappiness", "60", "10|20", False),
        ("/proc/sys/vm/swappiness", "60", "low", True),
        ("/sys/block/sda/queue/read_ahead_kb", "128", "lots", False),
    ],
)
def test_what_the_kernel_shows_tells_what_it_takes(
    path: str, shown: str, expected: str, is_refused: bool
) -> None:
    value = Value("key", "different", expected, shown, path=path, section="odd")
    kinds = [it.kind for it in found(ASKED, replace(MACHINE, values=(value,)))]
    assert kinds == (["value-not-accepted"] if is_refused else [])


def test_an_argument_that_is_taken_away_again_is_not_requested() -> None:
    asked = replace(ASKED, sections=(
        section("bootloader", ("cmdline_a", '+a=1 b="x y"'), ("cmdline_b", "-a=1"), ("x", "c")),
    ))  # fmt: skip
    assert [each[2] for each in meaning.arguments(asked)] == ['b="x y"']


def test_a_machine_is_read_and_not_written(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    for path, text in {
        SWAPPINESS: "60\n", THP: "[always] madvise never\n", "/proc/cmdline": "quiet nosmt\n",
        "/etc/sysctl.d/a.conf": "#\n\nvm.swappiness = 1\n",
        "/sys/devices/system/cpu/present": "0-2,5\n",
    }.items():  # fmt: skip
        file = tmp_path / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / SWAPPINESS[1:]).chmod(0o444)
    here = machine.read(paths, ASKED, reapply=True)
    assert here.missing == {"/proc/sys/kernel/absent"}
    assert here.read_only == {SWAPPINESS}
    assert here.choices == {THP: ("always", "madvise", "never")}
    assert here.cpus == {0, 1, 2, 5}
    assert here.arguments == ("quiet", "nosmt")
    assert here.sysctl_d == {SWAPPINESS: Line(str(tmp_path / "etc/sysctl.d/a.conf"), 3, "1")}
