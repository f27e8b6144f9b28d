"""What the scheduler plugin sets of processes, and TuneD does not compare: policy and priority of
the groups, and the CPUs (tuned/plugins/plugin_scheduler.py of TuneD 2.20 to 2.28)."""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, Callable

from ocp_tuned_boot.inside.quiet import Quiet, Replaced, first

_US = "ocp-tuned-boot"
_NONE = "no process matches"
#: The letters of the profile (SchedulerUtils), and that of deadline, which it cannot request.
_POLICIES = {
    os.SCHED_OTHER: "o",
    os.SCHED_FIFO: "f",
    os.SCHED_RR: "r",
    os.SCHED_BATCH: "b",
    os.SCHED_IDLE: "i",
    6: "d",
}
# linux/sched.h
_NO_SETAFFINITY = 0x04000000


class _Moved(Replaced):
    """The processes and threads that the plugin moves away from the isolated CPUs. While it goes
    through them here, none is moved."""

    def __init__(self, plugin: "Any") -> "None":
        super().__init__()
        self._plugin = plugin
        self.processes = []  # type: list[int]

    def start(self) -> "None":
        self.replace(self._plugin, "_tune_process_affinity", lambda _: self._note)

    def _note(self, pid: "int", *_: "Any", **__: "Any") -> "bool":
        self.processes.append(pid)
        return True


class Processes:
    """The processes of one section. `row`: see `section.Section`.

    `fresh`: the plugin has set nothing in this process. Otherwise, only what it has set counts:
    others have been started since.
    """

    def __init__(
        self, instance: "Any", quiet: "Quiet", row: "Callable[..., None]", fresh: "bool"
    ) -> "None":
        self._instance, self._plugin = instance, instance.plugin
        self._quiet, self._row, self._fresh = quiet, row, fresh
        #: The processes whose CPUs a group sets.
        self._placed = set()  # type: set[int]

    def compare(self) -> "None":
        """One row for each group, and one for isolated_cores."""
        self._groups()
        affinity = getattr(self._plugin, "_affinity", None)
        if self._instance.options.get("isolated_cores") is not None and affinity is not None:
            self._isolated(set(self._plugin._cmd.cpulist_unpack(affinity)))

    def _groups(self) -> "None":
        rules = sorted(self._rules(), key=lambda rule: str(rule[1][0]))
        matched = {}  # type: dict[int, str]
        commands = self._commands() if rules else {}
        # As in _instance_apply_static: of two that match a process, the later one wins.
        for option, values, _ in rules:
            for pid, command in commands.items():
                if re.search(values[4], command) is not None:
                    matched[pid] = option
        for option, values, why in rules:
            these = [pid for pid, rule in matched.items() if rule == option]
            if values[3] is not None:
                self._placed.update(these)
            if why:
                self._row(option, "unchecked", why=why)
            else:
                self._said(option, these, _Wanted(*values[1:4]).found)

    def _commands(self) -> "dict[int, str]":
        """The command line of each process and thread."""
        if self._fresh:
            return dict(self._plugin.get_processes())
        known = self._plugin._scheduler_original.items()
        return {pid: was.cmdline for pid, was in known if was.cmdline is not None}

    def _moved(self, allowed: "set[int]") -> "list[int]":
        """The processes and threads that must not run on isolated CPUs."""
        if self._fresh:
            with _Moved(self._plugin) as moved:
                self._plugin._set_ps_affinity(sorted(allowed))
            return moved.processes
        known = self._plugin._scheduler_original.items()
        return [pid for pid, was in known if was.affinity is not None or was.cgroup is not None]

    def _rules(self) -> "Iterator[tuple[str, Any, str]]":
        """Option and values of each group, as TuneD reads them, and why it cannot be compared. What
        TuneD ignores is a row."""
        for option, value in self._instance.options.items():
            if not option.startswith("group."):
                continue
            parts, start = str(value).split(":", 4), len(self._quiet.texts)
            ignored = "it has less than five parts" if len(parts) < 5 else _invalid(parts[4])
            if ignored:
                self._row(option, "unchecked", why="TuneD ignores it: " + ignored)
                continue
            values = self._plugin._convert_sched_cfg(parts)
            why = self._quiet.since(start, logging.ERROR)
            if isinstance(values[3], str):
                why = "TuneD does not compare the cgroups of processes"
            yield option, values, why

    def _isolated(self, allowed: "set[int]") -> "None":
        def found(pid: "int") -> "str":
            cpus = os.sched_getaffinity(pid)
            may = cpus <= allowed or pid in self._placed or _is_fixed(pid) or self._left_alone(pid)
            return "" if may else f"CPUs {_text(cpus)}"

        # Later, a process may run there because its owner has placed it.
        self._said("isolated_cores", self._moved(allowed), found, placed=self._fresh)

    def _left_alone(self, pid: "int") -> "bool":
        """Whether it is in a cgroup whose processes the profile excludes."""
        pattern = self._plugin._cgroup_ps_blacklist_re
        if not pattern:
            return False
        with open(f"/proc/{pid}/cgroup") as file:
            cgroups = ",".join(reversed(file.read().splitlines()))
        return re.search(pattern, cgroups) is not None

    def _said(
        self,
        option: "str",
        processes: "Iterable[int]",
        found: "Callable[[int], str]",
        placed: "bool" = False,
    ) -> "None":
        """The row of an option. `found`: what a process has that differs; `placed`: its owner may
        have given it that."""
        there, differ = 0, []  # type: int, list[str]
        for pid in processes:
            try:
                words = found(pid)
                if words:
                    differ.append(f"PID {pid} ({_name(pid)}): {words}")
            except (FileNotFoundError, ProcessLookupError):
                continue
            there += 1
        if not there:
            self._row(option, "not-applicable", why=_NONE)
        elif not differ:
            self._row(option, "passed", found=f"processes and threads: {there}", by=_US)
        elif placed:
            why = "started since, or placed by others: " + first(differ)
            self._row(option, "unchecked", why=why)
        else:
            self._row(option, "failed", found=first(differ), by=_US)


class _Wanted:
    """What a group asks of its processes: policy, priority, CPUs; None is any."""

    def __init__(self, policy: "Any", priority: "Any", cpus: "Any") -> "None":
        self._policy, self._priority = policy, priority
        self.cpus = None if cpus is None else set(cpus)

    def found(self, pid: "int") -> "str":
        """What a process has, if that differs; empty if not. Raises `ProcessLookupError`."""
        policy = os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK
        priority, cpus = os.sched_getparam(pid).sched_priority, os.sched_getaffinity(pid)
        same = self._policy in (None, policy) and self._priority in (None, priority)
        placed = self.cpus is None or cpus == self.cpus & _online() or _is_fixed(pid)
        return "" if same and placed else f"{_POLICIES.get(policy)}:{priority}:{_text(cpus)}"


def _invalid(regex: "str") -> "str":
    """What is wrong with a regular expression; empty if nothing is."""
    try:
        re.compile(regex)
    except re.error as error:
        return str(error)
    return ""


def _is_fixed(pid: "int") -> "bool":
    """Whether nobody can set the CPUs of a process, or it has exited (proc_pid_stat(5))."""
    with open(f"/proc/{pid}/stat", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return fields[0] in ("Z", "X") or bool(int(fields[6]) & _NO_SETAFFINITY)


def _online() -> "set[int]":
    with open("/sys/devices/system/cpu/online") as file:
        parts = [part.split("-") for part in file.read().strip().split(",")]
    return {cpu for part in parts for cpu in range(int(part[0]), int(part[-1]) + 1)}


def _name(pid: "int") -> "str":
    with open(f"/proc/{pid}/comm", errors="replace") as file:
        return file.read().rstrip("\n")


def _text(cpus: "Iterable[int]") -> "str":
    return ",".join(map(str, sorted(cpus)))
