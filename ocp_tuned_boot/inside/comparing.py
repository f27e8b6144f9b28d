"""What holds: has TuneD's plugins compare what they set, and notes each comparison.

A row has `section`, `plugin`, `option`, `state`, and if they are known `device`, `expected`,
`found` and `why`; `by`, if this program has compared it and TuneD does not. The states:

- `passed`, `failed`: it has been compared.
- `not-applicable`: this machine has no such thing.
- `handed-over`: it is in a file that others own, and TuneD has compared the copy that it set.
- `parameter`: the option sets nothing, it says how others are applied.
- `unchecked`: TuneD does not compare it; `why` says the reason.
"""

import functools
import logging
import re
from typing import Any, Optional

from tuned.hardware.inventory import Inventory
from tuned.units.manager import Manager

from ocp_tuned_boot.inside import undo
from ocp_tuned_boot.inside.harmless import Harmless
from ocp_tuned_boot.inside.meaning import given, left_out
from ocp_tuned_boot.inside.quiet import Listening, Quiet, Reading, Replaced, Room, cut
from ocp_tuned_boot.inside.section import NO_OPTION, Section, is_parameter, text

#: Options of cpu that only the driver intel_pstate has.
_PSTATE = ("min_perf_pct", "max_perf_pct", "no_turbo")
#: Parameters of scheduler that only applying reads.
_SCHEDULER = (
    "kthread_process",
    "ps_whitelist",
    "ps_blacklist",
    "cgroup_ps_blacklist",
    "irq_process",
    "default_irq_smp_affinity",
)


class Watched(Replaced):
    """Compares in the process of TuneD, with the instances that have applied the profile, after
    TuneD has applied it and before it gives them up.

    `said`: the content of the message `verified`, or of `unverified`; `copies`: the files that are
    covered by copies (cover.py).
    """

    def __init__(self) -> "None":
        super().__init__()
        self.copies = frozenset()  # type: frozenset[str]
        self.said = {"reason": "TuneD has not applied the profile"}  # type: dict[str, Any]
        self._units = None  # type: Any
        self._failures = {}  # type: dict[str, str]
        self._off = ""

    def start(self) -> "None":
        self.replace(Manager, "create", self._create)
        self.replace(Manager, "destroy_all", self._destroy_all)

    def give_up(self, reason: "str") -> "None":
        """Has TuneD not compare."""
        self._off = reason

    def _create(self, real: "Any") -> "Any":
        def create(manager: "Any", units: "Any") -> "None":
            with Listening() as listening:
                real(manager, units)
            self._units, self._failures = units, _failures(listening)

        return create

    def _destroy_all(self, real: "Any") -> "Any":
        def destroy_all(manager: "Any") -> "None":
            self.note(manager)
            real(manager)

        return destroy_all

    def note(self, manager: "Any") -> "None":
        """Compares what TuneD has applied, once."""
        units, self._units = self._units, None
        if units is not None:
            self.said = {}
            try:
                self._note(manager, units)
            except Exception as error:  # noqa: BLE001  # TuneD must come to its end
                self.said["reason"] = f"TuneD cannot compare: {error!r}"

    def _note(self, manager: "Any", units: "dict[str, Any]") -> "None":
        room = Room()
        with Quiet() as quiet, Harmless() as harmless, Reading(self.copies) as reading:
            self.said["originals"] = undo.originals(manager, units, room)
            if self._off:
                self.said["reason"] = self._off
                return
            comparing = _Comparing(manager, units, quiet, room, reading)
            self.said.update(comparing.compare(self._failures, harmless))


def verify(application: "Any") -> "dict[str, Any]":
    """Compares with new instances of the plugins, which have applied nothing, and changes nothing.
    Returns the content of the message `verified`. Raises what TuneD raises."""
    manager, units = application._daemon._unit_manager, application._daemon.profile.units
    # An instance of this plugin is what it sets.
    created = {name: unit for name, unit in units.items() if unit.type != "rtentsk"}
    with Quiet() as quiet, Harmless() as harmless, Replaced() as replaced:
        # TuneD would tune a device that is added now.
        replaced.replace(Inventory, "start_processing_events", lambda _: lambda _: None)
        manager.create(created)
        failures = _failures(quiet)
        if harmless.refused:
            failures = {kind: "it would write a file: " + why for kind, why in failures.items()}
        for instance in manager.instances:
            _as_applied(application.variables, instance)
        comparing = _Comparing(manager, units, quiet, Room())
        failures["rtentsk"] = "it is set while TuneD runs"
        return comparing.compare(failures, harmless)


def _failures(quiet: "Quiet") -> "dict[str, str]":
    """Why TuneD did not create a plugin, by its name (tuned/units/manager.py). The error itself is
    the next message."""
    found = {}
    lines = [line for _, line in quiet.texts]
    for line, following in zip(lines, [*lines[1:], ""]):
        match = re.match(r"skipping plugin '([^']*)'|failed to initialize plugin (\S+)", line)
        if match:
            why = f"{line}: {following}" if match.group(2) and following else line
            found[match.group(1) or match.group(2)] = cut(why, 1000)
    return found


def _as_applied(variables: "Any", instance: "Any") -> "None":
    """What applying would have left in an instance and its comparison depends on."""
    plugin = instance.plugin
    if plugin.name != "scheduler":
        return
    from tuned.plugins.plugin_scheduler import IRQAffinities  # noqa: PLC0415  # imports perf

    plugin._storage.set(plugin._irq_storage_key, IRQAffinities())
    for name in _SCHEDULER:
        value = variables.expand(instance.options.get(name))
        if value is not None and name in plugin._commands:
            plugin._execute_non_device_command(instance, plugin._commands[name], value)


class _Comparing:
    """All sections of a profile. `reading`: which copies of files are read; None if the plugins
    have applied nothing in this process."""

    def __init__(
        self,
        manager: "Any",
        units: "dict[str, Any]",
        quiet: "Quiet",
        room: "Room",
        reading: "Optional[Reading]" = None,
    ) -> "None":
        self._manager, self._units, self._quiet, self._reading = manager, units, quiet, reading
        self._rows = []  # type: list[dict[str, str]]
        self._room = room

    def compare(self, failures: "dict[str, str]", harmless: "Harmless") -> "dict[str, Any]":
        """The content of the message `verified`. `failures`: see `_failures`."""
        instances = {each.name: each for each in self._manager.instances}
        for unit in self._units.values():
            if left_out(self._manager, unit):
                continue
            instance = instances.get(unit.name)
            if instance is not None:
                self._section(unit, instance)
                continue
            why = failures.get(unit.type, "TuneD did not create the plugin")
            absent = why.startswith("skipping plugin")
            self._all(unit, "not-applicable" if absent else "unchecked", why)
        warnings = [
            cut(line, 1000) for level, line in self._quiet.texts if level == logging.WARNING
        ]
        return {
            "rows": self._rows,
            "refused": self._room.taken(sorted(set(harmless.refused))),
            "warnings": self._room.taken(warnings),
            "left": self._room.left,
        }

    def _all(self, unit: "Any", state: "str", why: "str") -> "None":
        for name, _ in given(unit):
            self._row(unit, name, state, why=why)

    def _row(self, unit: "Any", option: "str", state: "str", **more: "Any") -> "None":
        row = {
            "section": cut(unit.name),
            "plugin": cut(unit.type),
            "option": cut(option),
            "state": state,
        }
        row.update(
            (name, cut(text(it))) for name, it in more.items() if it is not None and it != ""
        )
        if self._room.takes(row):
            self._rows.append(row)

    def _section(self, unit: "Any", instance: "Any") -> "None":
        if not instance.active:
            self._all(unit, "not-applicable", "no matching devices, or nothing to set")
            return
        start, why = len(self._rows), "TuneD does not compare it"
        if unit.type != "script" and instance.has_static_tuning:
            row = functools.partial(self._row, unit)
            try:
                Section(unit, instance, self._quiet, row, self._reading).compare()
            except Exception as error:  # noqa: BLE001  # a plugin may be a site's
                why = f"TuneD cannot compare it: {error!r}"
        self._others(unit, instance, self._rows[start:], why)

    def _others(
        self, unit: "Any", instance: "Any", compared: "list[dict[str, str]]", why: "str"
    ) -> "None":
        """The options that TuneD has not compared, and why."""
        states = {row["option"]: row for row in compared}
        for name, value in given(unit):
            if name in states:
                continue
            if unit.type == "bootloader" and name.startswith("cmdline"):
                # TuneD makes one of all of them. It may be empty: `-x` takes an argument away.
                state = states.get("cmdline", {"state": "parameter"})["state"]
                self._row(unit, name, state, why="it is a part of cmdline")
            elif is_parameter(unit.type, name):
                self._row(unit, name, "parameter")
            elif name in ("script_pre", "script_post") or unit.type == "script":
                self._row(unit, name, "unchecked", expected=value, why="the script would run again")
            elif name in _PSTATE and not getattr(instance.plugin, "_has_intel_pstate", True):
                self._row(unit, name, "not-applicable", why="this machine has no intel_pstate")
            elif name in instance.options:
                self._row(unit, name, "unchecked", why=why)
            else:
                self._row(unit, name, "unchecked", why=NO_OPTION)
