"""What TuneD says about a profile, and what this machine says about its settings. Pure.

TuneD is asked in ask.py, the machine in machine.py.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ocp_tuned_boot.commands.check import lines, sysctls
from ocp_tuned_boot.commands.check.lines import Text
from ocp_tuned_boot.commands.check.machine import Machine
from ocp_tuned_boot.commands.check.problem import KINDS, Problem, Severity, lowered, problem
from ocp_tuned_boot.commands.check.profiles import Sources
from ocp_tuned_boot.host import kernelargs
from ocp_tuned_boot.host.paths import sysctl_file
from ocp_tuned_boot.inside.section import NO_OPTION, NO_PLUGIN
from ocp_tuned_boot.record.model import Value
from ocp_tuned_boot.settings import holds, kubelet, notation
from ocp_tuned_boot.tuned import wanted
from ocp_tuned_boot.tuned.asked import Asked, Comparison, Section, Verified
from ocp_tuned_boot.tuned.profiles import CUSTOM

#: The most problems of one kind about one profile.
_MOST = 100
_VARIABLE = re.compile(r"(?<!\\)\$\{(\w+)\}")
_NO_MODULE = "No module named 'tuned.plugins."
#: Kernel arguments, and options of the scheduler plugin, that are lists of CPUs.
_CPU_ARGUMENTS = ("isolcpus", "nohz_full", "rcu_nocbs", "irqaffinity")
_CPU_OPTIONS = ("isolated_cores", "no_balance_cores")
_CPUS = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?(?::[0-9]+/[0-9]+)?\Z", re.ASCII)


@dataclass(frozen=True)
class _Place:
    """Where something is set: keyword arguments of `problem`."""

    file: str
    line: int
    is_stock: bool

    def problem(self, kind: str, message: str, advice: str = "") -> Problem:
        return problem(kind, self.file, self.line, message, advice, is_stock=self.is_stock)


class Places:
    """Where the sections and options of a profile come from."""

    def __init__(self, meaning: Asked, sources: Sources) -> None:
        texts = sources.texts
        self._sources = sources
        # The requested one first: it is merged last, and wins.
        self._files = [
            (path, lines.read(texts[path])) for _, path in meaning.profiles if path in texts
        ]
        self._first = meaning.profiles[0][1] if meaning.profiles else ""

    def of(self, section: str, option: str = "", *values: str) -> _Place:
        """The file and line of an option, else of its section, else the requested profile. Of
        several files, one that has one of the `values` is preferred."""
        having = [each for each in self._files if option and each[1].find(section, option)]
        same = [each for each in having if _value(each[1], section, option) in values]
        named = [each for each in self._files if each[1].find(section)]
        for path, text in [*same, *having, *named][:1]:
            return self._place(path, text.line(section, option))
        return self._place(self._first, 1)

    def mentioning(self, words: str) -> _Place | None:
        """The first line whose value is in `words`, a message of TuneD; None if there is none."""
        for path, text in self._files:
            for entry in text.options():
                name = entry.value.rpartition("/")[2]
                if len(name) > 3 and name in words:
                    return self._place(path, entry.line)
        return None

    def _place(self, path: str, line: int) -> _Place:
        is_stock = not path.startswith(f"{CUSTOM}/")
        return _Place(self._sources.on_host(path), line, is_stock)


def _value(text: Text, section: str, option: str) -> str:
    found = text.find(section, option)
    return found.value if found else ""


def check(
    meaning: Asked, held: Verified | None, sources: Sources, machine: Machine | None
) -> Iterator[Problem]:
    """All that is wrong with one profile. `held`: what TuneD has compared, if it has; `machine`:
    None if the profile is for another one."""
    places = Places(meaning, sources)
    yield from _load(meaning, places)
    rows = held.rows if held is not None else ()
    yield from _plugins(meaning, rows, places)
    yield from _limits(meaning, places)
    if machine is not None:
        yield from _devices(meaning, rows, places)
        yield from _settings(machine, places)
        yield from _elsewhere(machine, places)
        yield from _kubelet(machine, places)
        yield from _arguments(meaning, machine, places)
        yield from _cpus(meaning, machine, places)
        yield from _latency(meaning, machine, places)


# What TuneD says.


def _load(meaning: Asked, places: Places) -> Iterator[Problem]:
    for words in dict.fromkeys(meaning.warnings):
        # A function of the profile runs a command that writes: here, and only here, it cannot.
        if os.strerror(errno.EROFS) in words:
            continue
        where = places.mentioning(words)
        found = (where or places.of("main")).problem("tuned-warning", f"TuneD says: {words}")
        # It may be about anything, also about what the image itself has.
        yield found if where is not None else replace(found, severity=Severity.NOTE)
    for section in meaning.sections:
        for option in section.options:
            for name in dict.fromkeys(_VARIABLE.findall(option.value)):
                place = places.of(section.name, option.option, option.value, option.raw)
                yield place.problem(
                    "unknown-variable",
                    f"[{section.name}] {option.option}: there is no variable {name!r}",
                    "Define it in the section [variables].",
                )


def _plugins(meaning: Asked, rows: Sequence[Comparison], places: Places) -> Iterator[Problem]:
    told = set()
    for row in rows:
        if row.why.startswith(NO_PLUGIN) and row.section not in told:
            told.add(row.section)
            unknown = _NO_MODULE in row.why
            kind = "unknown-plugin" if unknown else "plugin-failed"
            words = f"TuneD {meaning.tuned} has no plugin {row.plugin!r}"
            why = words if unknown else f"the plugin {row.plugin!r} fails: {row.why}"
            yield places.of(row.section).problem(kind, f"[{row.section}]: {why}")
        elif row.why == NO_OPTION:
            yield places.of(row.section, row.option).problem(
                "unknown-option",
                f"[{row.section}]: TuneD {meaning.tuned} does not know the option "
                f"{row.option!r} of the plugin {row.plugin}",
            )


def _limits(meaning: Asked, places: Places) -> Iterator[Problem]:
    for section in wanted.in_effect(meaning):
        for option in section.options if section.type == "sysctl" else ():
            why = sysctls.refused(option.option, option.value)
            if why:
                place = places.of(section.name, option.option, option.value, option.raw)
                found = place.problem("value-out-of-range", f"{option.option}: {why}")
                is_conditional = sysctls.is_conditional(option.value)
                yield lowered(found, Severity.WARNING) if is_conditional else found


def _devices(meaning: Asked, rows: Sequence[Comparison], places: Places) -> Iterator[Problem]:
    named = wanted.named_devices(meaning)
    found = {
        row.section for row in rows
        if row.section in named and row.state == "not-applicable" and "no matching" in row.why
    }  # fmt: skip
    for section in meaning.sections:
        if section.name in found:
            yield places.of(section.name, "devices").problem(
                "no-devices",
                f"[{section.name}]: this machine has none of the devices {section.devices!r}",
            )


# What the machine says.


def _settings(machine: Machine, places: Places) -> Iterator[Problem]:
    for value in machine.values:
        place = places.of(value.section, value.key, value.expected)
        if value.path in machine.missing or (value.plugin == "sysfs" and not value.path):
            yield place.problem("no-such-setting", f"{value.key}: this kernel has no such setting")
        elif value.path in machine.read_only:
            yield place.problem("read-only-setting", f"{value.key}: {value.path} is read-only")
        elif why := _not_accepted(value, machine.choices.get(value.path, ())):
            yield place.problem("value-not-accepted", f"{value.key}: {why}")


def _not_accepted(value: Value, choices: Sequence[str]) -> str:
    """Why the kernel refuses a value, by what its file shows now; empty if it does not, or if that
    is not known without writing. `choices`: the words that the file shows, if it takes no
    others."""
    if value.state != "different" or not value.path or "${" in value.expected:
        return ""
    words = sysctls.words(value.expected)
    if notation.takes_numbers(value.found, value.path):
        wrong = next((word for word in words if not sysctls.is_number(word)), None)
        if wrong is not None or not words:
            return f"found {value.expected!r}, expected a number such as {value.found!r}"
        if len(value.expected.split()) > len(value.found.split()) and "|" not in value.expected:
            return f"found {value.expected!r}, expected not more numbers than {value.found!r}"
    elif choices and value.expected.strip() not in choices:
        return f"found {value.expected!r}, expected one of {', '.join(choices)}"
    return ""


def _elsewhere(machine: Machine, places: Places) -> Iterator[Problem]:
    for value in machine.values:
        other = machine.sysctl_d.get(value.path)
        if value.plugin != "sysctl" or other is None:
            continue
        if notation.same(value.expected, other.value, value.path, "sysctl"):
            continue
        wins = "this value wins" if machine.reapply else "the profile's value wins"
        place = replace(places.of(value.section, value.key, value.expected), is_stock=False)
        found = place.problem(
            "set-elsewhere",
            f"{value.key}: {other.file}, line {other.line}, sets {other.value!r}, and {wins}",
            "Remove the setting there or from the profile.",
        )
        yield found if machine.reapply else replace(found, severity=Severity.NOTE)


def _kubelet(machine: Machine, places: Places) -> Iterator[Problem]:
    if machine.protected_by is None:
        return
    for key, required in kubelet.REQUIRED.items():
        for value in machine.values:
            if value.path != sysctl_file(key) or notation.equal(required, value.expected):
                continue
            found = places.of(value.section, value.key, value.expected).problem(
                "kubelet-default",
                f"{key}: with protectKernelDefaults in {machine.protected_by}, the kubelet starts "
                f"only with {required!r}",
                f"Remove the setting, or protectKernelDefaults from {machine.protected_by}.",
            )
            yield replace(found, severity=KINDS[found.kind].severity)


def arguments(meaning: Asked) -> tuple[tuple[Section, str, str], ...]:
    """The kernel arguments of the profile, with their section and option, as TuneD merges the
    options `cmdline…` (tuned/plugins/plugin_bootloader.py): `+` adds, `-` removes."""
    found: list[tuple[Section, str, str]] = []
    for section in wanted.in_effect(meaning):
        for option in section.options if section.type == "bootloader" else ():
            if not option.option.startswith("cmdline"):
                continue
            value = option.value.strip()
            words = kernelargs.split(value[1:] if value[:1] in ("+", "-", "\\") else value)
            if value.startswith("-"):
                found = [each for each in found if each[2] not in words]
            else:
                found += [(section, option.option, word) for word in words]
    return tuple(found)


def _arguments(meaning: Asked, machine: Machine, places: Places) -> Iterator[Problem]:
    present = {kernelargs.plain(each) for each in machine.arguments}
    for section, option, argument in arguments(meaning)[:_MOST]:
        if kernelargs.plain(argument) not in present:
            yield places.of(section.name, option).problem(
                "missing-kernel-argument",
                f"the kernel argument {argument!r} is not set in this boot",
                "Add it to the kernel command line (grubby(8), rpm-ostree kargs), and reboot.",
            )


def _cpus(meaning: Asked, machine: Machine, places: Places) -> Iterator[Problem]:
    said = [
        (section, option.option, option.value)
        for section in wanted.in_effect(meaning)
        for option in section.options
        if section.type == "scheduler" and option.option in _CPU_OPTIONS
    ]
    for section, option, argument in arguments(meaning):
        name, _, value = kernelargs.plain(argument).partition("=")
        if name in _CPU_ARGUMENTS:
            said.append((section, option, value))
    for section, option, value in said:
        beyond = sorted(_named(value) - machine.cpus) if machine.cpus else []
        if beyond:
            last = max(machine.cpus)
            yield places.of(section.name, option, value).problem(
                "no-such-cpu",
                f"[{section.name}] {option}: {value!r} names CPU {beyond[0]}; the last CPU of this "
                f"machine is {last}",
            )


def _named(text: str) -> set[int]:
    """The CPUs of a list; words such as `managed_irq` are none."""
    found: set[int] = set()
    for each in re.split(r"[,\s]+", text):
        if match := _CPUS.match(each):
            first, last = int(match[1]), int(match[2] or match[1])
            found |= {first, last} if last - first > _MOST else set(range(first, last + 1))
    return found


def _latency(meaning: Asked, machine: Machine, places: Places) -> Iterator[Problem]:
    for setting in wanted.open_files(meaning):
        value = setting.value
        if setting.key != "force_latency" or setting.unknown or "cstate." not in value:
            continue
        if "none" in value.lower().split("|") or holds.latency(value, machine.cstates) is not None:
            continue
        cpu = next(it for it in wanted.in_effect(meaning) if it.type == "cpu")
        names = ", ".join(it.name for it in machine.cstates) or "none"
        yield places.of(cpu.name, "force_latency", value).problem(
            "no-such-cstate",
            f"force_latency = {value}: the idle states of this machine are: {names}",
            "Add an alternative: force_latency=cstate.name:NAME|10",
        )
