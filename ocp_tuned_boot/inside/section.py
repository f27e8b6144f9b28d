"""One section of a profile, as its plugin compares it: one comparison after the other."""

import logging
import os
from typing import Any, Callable, Optional

from ocp_tuned_boot.inside.quiet import Quiet, Reading, Replaced, first
from ocp_tuned_boot.inside.scheduling import Processes

#: Options that set nothing: they say how others are applied.
_PARAMETERS = {
    "bootloader": "grub2_cfg_file initrd_dst_img initrd_remove_dir skip_grub_config",
    "cpu": "load_threshold latency_low latency_high",
    "disk": "dynamic model_map",
    "irq": "mode",
    "net": "dynamic",
    "scheduler": "runtime perf_mmap_pages perf_process_fork ps_whitelist ps_blacklist"
    " cgroup_ps_blacklist kthread_process irq_process default_irq_smp_affinity"
    " cgroup_mount_point cgroup_mount_point_init cgroup_groups_init",
}
#: Plugins that compare all options in one method, and the attribute that contains these.
_AT_ONCE = {"sysctl": "_sysctl", "sysfs": "_sysfs", "modules": "_modules", "service": "_services"}
#: Of processes, and of interrupts. TuneD compares the latter only, if it sets them.
_ISOLATED = ("scheduler", "isolated_cores")
#: Only while it applies, TuneD learns which interrupts cannot be moved.
_ONLY_APPLYING = {_ISOLATED, ("irq", "affinity")}
#: TuneD makes this option of all whose names begin so.
_MERGED = ("bootloader", "cmdline")
#: They install a file in /boot.
_INITRD = {("bootloader", "initrd_add_dir"), ("bootloader", "initrd_add_img")}
#: Commands of hdparm. It says of no disk which spindown it has: TuneD always reads 253.
_HDPARM = {("disk", "apm"), ("disk", "spindown")}
_UNREADABLE = {("disk", "spindown")}
_UNSAID = "the disk does not say it"
_MISSING = "this machine does not have it"
#: Why TuneD sets nothing of an option.
NO_OPTION, NO_PLUGIN = "TuneD does not know this option", "failed to initialize plugin"


def is_parameter(plugin: "str", option: "str") -> "bool":
    """Whether an option sets nothing, but says how others are applied."""
    return option in _PARAMETERS.get(plugin, "").split()


def text(value: "Any") -> "str":
    """A value as a text: what is compared may be a number, or parameters of ethtool."""
    if isinstance(value, dict):
        return " ".join(f"{name} {it}" for name, it in sorted(value.items()))
    return str(value).strip()


def _is_blank(value: "Any") -> "bool":
    return not text(value).strip('"')


class _Heard(Replaced):
    """What the base class of all plugins says during one comparison (tuned/plugins/base.py).

    `results`: name, success, expected and found of each comparison; `missing`: there is no value to
    compare with; `satisfied`: the value that needs no change for `>` or `<`; `current`: the value
    that was read.
    """

    def __init__(self, plugin: "Any") -> "None":
        super().__init__()
        self._plugin = plugin
        self.forget()

    def start(self) -> "None":
        for name in (
            "_log_verification_result",
            "_verify_value",
            "_process_assignment_modifiers",
            "_get_current_value",
        ):
            self.replace(self._plugin, name, getattr(self, name))

    def forget(self) -> "None":
        """Before the next comparison."""
        self.results = []  # type: list[tuple[str, bool, Any, Any]]
        self.missing = False
        self.satisfied = None  # type: Any
        self.current = None  # type: Any

    def _log_verification_result(self, real: "Any") -> "Any":
        def log(
            name: "Any", success: "Any", new: "Any", current: "Any", *rest: "Any", **more: "Any"
        ) -> "Any":
            self.results.append((str(name), bool(success), new, current))
            return real(name, success, new, current, *rest, **more)

        return log

    def _verify_value(self, real: "Any") -> "Any":
        def verify_value(
            name: "Any", new: "Any", current: "Any", *rest: "Any", **more: "Any"
        ) -> "Any":
            self.missing = new is not None and current is None
            noted = len(self.results)
            result = real(name, new, current, *rest, **more)
            # TuneD strips zeros before it compares, and takes 0 for the same as nothing.
            same = _is_blank(new) == _is_blank(current)
            self.results[noted:] = [
                (it[0], it[1] and same, new, current) for it in self.results[noted:]
            ]
            return result if same else False

        return verify_value

    def _process_assignment_modifiers(self, real: "Any") -> "Any":
        def process(new: "Any", current: "Any") -> "Any":
            found = real(new, current)
            if new is not None and found is None:
                self.satisfied = current
            return found

        return process

    def _get_current_value(self, real: "Any") -> "Any":
        def get(*args: "Any", **options: "Any") -> "Any":
            self.current = real(*args, **options)
            return self.current

        return get


class Section:
    """The comparisons of one section. `row` is called with option and state, and `device`,
    `expected`, `found` and `why` where they are known. `reading`: see `comparing`."""

    def __init__(
        self,
        unit: "Any",
        instance: "Any",
        quiet: "Quiet",
        row: "Callable[..., None]",
        reading: "Optional[Reading]",
    ) -> "None":
        self._unit, self._instance, self._plugin = unit, instance, instance.plugin
        self._quiet, self._row, self._fresh = quiet, row, reading is None
        self._read = set() if reading is None else reading.read  # type: set[str]
        self._explained = False

    def compare(self) -> "None":
        """Has the plugin compare every option of the section."""
        with _Heard(self._plugin) as self._heard:
            if self._unit.type in _AT_ONCE:
                self._each()
                return
            self._heard.replace(self._plugin, "_verify_device_command", self._per_device)
            self._heard.replace(self._plugin, "_verify_non_device_command", self._without_device)
            start = len(self._quiet.texts)
            if self._verify() is False and not self._explained:
                self._row("", "failed", why=self._quiet.since(start, logging.ERROR))
            if self._unit.type == "scheduler":
                self._processes()

    def _processes(self) -> "None":
        processes = Processes(self._instance, self._quiet, self._row, self._fresh)
        try:
            processes.compare()
        except Exception as error:
            if _ISOLATED[1] in self._unit.options:
                self._row(_ISOLATED[1], "unchecked", why=f"it fails: {error!r}")
            raise

    def _verify(self) -> "Any":
        devices = self._instance.processed_devices | self._instance.assigned_devices
        return self._plugin._instance_verify_static(self._instance, True, devices)

    def _each(self) -> "None":
        """Has a plugin that compares all options at once compare one at a time."""
        kind, options = self._unit.type, self._unit.options
        owner = self._plugin if kind == "service" else self._instance
        whole = getattr(owner, _AT_ONCE[kind])
        # What the plugin calls an option, and what the profile does.
        names = {os.path.normpath(name) if kind == "sysfs" else name: name for name in options}
        try:
            for key in whole:
                setattr(owner, _AT_ONCE[kind], {key: whole[key]})
                option = "service." + key if kind == "service" else names.get(key, key)
                asked = self._plugin._variables.expand(options.get(option))
                self._noted(option, asked, None, None, self._verify)
        finally:
            setattr(owner, _AT_ONCE[kind], whole)

    def _per_device(self, real: "Any") -> "Any":
        def verify(
            instance: "Any", command: "Any", device: "Any", new: "Any", *rest: "Any"
        ) -> "Any":
            def run() -> "Any":
                return real(instance, command, device, new, *rest)

            return self._noted(command["name"], new, device, command, run)

        return verify

    def _without_device(self, real: "Any") -> "Any":
        def verify(instance: "Any", command: "Any", new: "Any", *rest: "Any") -> "Any":
            def run() -> "Any":
                return real(instance, command, new, *rest)

            return self._noted(command["name"], new, None, command, run)

        return verify

    def _noted(
        self, option: "str", asked: "Any", device: "Any", command: "Any", run: "Callable[[], Any]"
    ) -> "Any":
        """Runs one comparison, and notes what it says. Returns what it returns.

        A plugin also compares its own defaults, which the profile does not ask for.
        """
        asked_for = option in self._unit.options or (self._unit.type, option) == _MERGED
        if asked_for and not is_parameter(self._unit.type, option):
            result = self._compared(option, asked, device, command, run)
        else:
            result = run()
        self._explained |= result is False
        return result

    def _compared(
        self, option: "str", asked: "Any", device: "Any", command: "Any", run: "Callable[[], Any]"
    ) -> "Any":
        heard = self._heard
        heard.forget()
        self._read.clear()
        start = len(self._quiet.texts)
        try:
            result = run()
        except Exception as error:  # noqa: BLE001  # as TuneD does: a plugin may be a site's
            self._row(
                option, "unchecked", device=device, expected=asked, why=f"it fails: {error!r}"
            )
            return None
        words = self._quiet.since(start)
        if self._read:
            why = "on the hand-over list: " + first(sorted(self._read))
            self._row(option, "handed-over", device=device, expected=asked, why=why)
            return result
        if result is True and (self._unit.type, option) == _ISOLATED and not words:
            return result
        state, why = self._state(option, result, words, command)
        if (self._unit.type, option) in _UNREADABLE and heard.results:
            self._row(option, "unchecked", device=device, expected=asked, why=_UNSAID)
            return None
        for name, success, new, current in heard.results:
            # Some compare several values, each with a name.
            part = device if device is not None else name if name != option else None
            each = "passed" if success else state
            if self._unit.type == "sysctl" and current == "None":
                # TuneD could not read it, and takes this for the value.
                self._row(option, "not-applicable", expected=new, why=why)
                continue
            unchecked = why if each == "unchecked" else ""
            self._row(option, each, device=part, expected=new, found=current, why=unchecked)
        if not heard.results or (state == "failed" and all(it[1] for it in heard.results)):
            found = heard.current if heard.satisfied is None else heard.satisfied
            self._row(option, state, device=device, expected=asked, found=found, why=why)
        return result

    def _state(self, option: "str", result: "Any", why: "str", command: "Any") -> "tuple[str, str]":
        """What a result means, and why. `why`: what TuneD logged."""
        heard, key = self._heard, (self._unit.type, option)
        if result is False and self._fresh and key in _ONLY_APPLYING:
            return "unchecked", "only while it applies, TuneD learns what cannot be changed: " + why
        if result is False:
            # Of net, if ethtool has no such parameters for this device.
            absent = key[0] == "net" and not heard.results
            return ("not-applicable" if absent else "failed"), why
        if heard.results or heard.satisfied is not None:
            return "passed", ""
        lacking = heard.missing or self._lacks(command)
        if result is True and not lacking:
            return "passed", ""
        return self._uncompared(key, why, lacking)

    def _uncompared(self, key: "tuple[str, str]", why: "str", lacking: "bool") -> "tuple[str, str]":
        """The state of what TuneD has not compared, and why. `lacking`: it has found nothing."""
        if key in _HDPARM and not self._plugin._use_hdparm:
            return "unchecked", "the image has no hdparm"
        if lacking:
            return "not-applicable", why or _MISSING
        if key in _INITRD and not os.path.ismount("/boot"):
            return "not-applicable", "the container has no /boot of the host"
        return "unchecked", why or "TuneD does not compare it"

    def _lacks(self, command: "Any") -> "bool":
        """Whether a value was to be read, and there is none."""
        if command is None:
            return bool(self._unit.type == "sysfs")
        return command["custom"] is None and self._heard.current is None
