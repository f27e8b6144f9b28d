"""Which kind of finding a record of TuneD's log is, by its text. Pure.

The texts are those of TuneD 2.20 to 2.28 (tuned/daemon, units, profiles, plugins) and of the
operator's wrapper. A WARNING is a finding if TuneD leaves out something that the profile requests.
It is none if the machine has no such thing (boost on a virtual machine), if TuneD uses another
value that the profile allows, or if another record or the kernel command line shows the same. That
of hdparm counts only if the profile requests something of it (judge.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocp_tuned_boot.host.paths import sysctl_key

if TYPE_CHECKING:
    from ocp_tuned_boot.tuned.log import LogRecord


@dataclass(frozen=True)
class Known:
    """A record that a rule matches. `explains`: if the error before it is about the same subject,
    or comes directly before it, both are one finding."""

    kind: str
    subject: str
    explains: bool = False


@dataclass(frozen=True)
class _Rule:
    """Gives a log record its kind. `logger` and `message` are matched from the start; group 1 of
    the message is the subject. If there is a group 2, it is the class of the plugin."""

    kind: str
    logger: str
    #: A pattern. Compiled on first use: most runs read no log.
    message: str
    #: The lowest level of a record that it matches.
    level: str = "ERROR"
    explains: bool = False


_LEVELS = ("INFO", "WARNING", "ERROR")
_INFO, _WARNING = "INFO", "WARNING"
_PLUGIN, _INITIAL = "tuned.plugins.", "Cannot set initial profile. No tunings will be enabled: "
_BASE, _BOOTLOADER, _CPU = _PLUGIN + "base", _PLUGIN + "plugin_bootloader", _PLUGIN + "plugin_cpu"
_IRQBALANCE, _MODULES = _PLUGIN + "plugin_irqbalance", _PLUGIN + "plugin_modules"
_NET, _SCHEDULER = _PLUGIN + "plugin_net", _PLUGIN + "plugin_scheduler"
_SYSCTL, _VM = _PLUGIN + "plugin_sysctl", _PLUGIN + "plugin_vm"
_NO_FILE = r"'([^']*)'?:? (?:error: )?'?\[Errno 2\]"
_RULES = (
    # Written by inside/cover.py.
    _Rule("not-guarded", "ocp-tuned-boot.guard", r"cannot protect (.+?): "),
    # The profile.
    _Rule("unknown-profile", "tuned.daemon.daemon", _INITIAL + r"Requested profile '([^']*)'"),
    _Rule("missing-include", "tuned.daemon.daemon", _INITIAL + r".*Cannot find profile '([^']*)'"),
    _Rule("broken-profile", "tuned.daemon.daemon", _INITIAL + r".*Cannot parse '([^']*)'"),
    _Rule("broken-profile", "tuned.daemon.daemon", re.escape(_INITIAL)),
    _Rule("broken-recommend", "tuned.utils.profile_recommender", r"error processing '([^']*)'"),
    _Rule("bad-value", "tuned.profiles.functions", r".* builtin function '([^']*)'"),
    _Rule("bad-value", "tuned.profiles.functions", r"assertion '([^']*)' failed"),
    _Rule("bad-value", "tuned.profiles.functions", r"function '([^']*)' not implemented"),
    _Rule("bad-value", "tuned.profiles.functions", r"invalid .*: '([^']*)'"),
    _Rule("bad-value", "tuned.profiles.variables", r".* variables_file: '([^']*)'"),
    _Rule("bad-value", "tuned.profiles.variables", r"variable definition '([^']*)'"),
    _Rule("rolled-back", "tuned.daemon.daemon", r"terminating TuneD, rolling back all()", _INFO),
    # A plugin, and sections and options that it leaves out.
    _Rule("plugin-failed", "tuned.units.manager", r"failed to initialize plugin (\S+)"),
    _Rule("plugin-failed", "tuned.units.manager", r"BUG: Unhandled exception in ([^:]+)"),
    _Rule("unknown-plugin", "tuned.units.manager",
          r"No module named 'tuned\.plugins\.plugin_(\w+)'"),
    _Rule("unknown-option", _PLUGIN, r"Unknown option '(.*)' for plugin '(\w+)'", _WARNING),
    _Rule("no-devices", _BASE, r"instance (.+): no matching devices available", _WARNING),
    _Rule("no-devices", _BASE, r"Instance '(.+)': no device to call script", _WARNING),
    # Files.
    _Rule("no-such-setting", "tuned.utils.commands", r"Error when reading file " + _NO_FILE),
    _Rule("setting-refused", "tuned.utils.commands", r"Error when reading file '([^']*)'"),
    _Rule("no-such-setting", "tuned.utils.commands", r"Writing to file " + _NO_FILE),
    _Rule("setting-refused", "tuned.utils.commands", r"Writing to file '([^']*)'"),
    _Rule("setting-refused", _PLUGIN + "plugin_sysfs", r"rejecting write to '([^']*)'"),
    _Rule("no-such-setting", _SYSCTL, r"sysctl option (\S+) will not be set"),
    # The texts of TuneD before 2.24.
    _Rule("no-such-setting", _SYSCTL,
          r"Failed to \w+ sysctl parameter '([^']*)'.*the parameter does not exist"),
    _Rule("setting-refused", _SYSCTL, r"Failed to \w+ sysctl parameter '([^']*)'"),
    _Rule("setting-refused", _SYSCTL, r"Refusing to set deprecated .* (\S+)$"),
    _Rule("overridden", _SYSCTL, r"Overriding sysctl parameter '([^']*)'", _INFO),
    # A line without "=", which sysctl.d(5) allows after "-".
    _Rule("hint", _SYSCTL, r"Syntax error in file (.+), line"),
    _Rule("no-such-setting", _VM, r"Option '([^']*)' is not supported", _WARNING),
    _Rule("hint", _VM, r"Conflicting options '([^']*)'"),
    # Scripts and commands.
    _Rule("script-refused", _PLUGIN, r"Paths outside of the profile directories .*'([^']*)'"),
    _Rule("script-refused", _PLUGIN, r"Relative paths cannot be used in script.*'([^']*)'"),
    _Rule("script-failed", _PLUGIN, r"script '([^']*)'"),
    _Rule("command-failed", "tuned.utils.commands", r"Executing '(.*?)' error: "),
    # TuneD before 2.24 names only the program.
    _Rule("command-failed", "tuned.utils.commands", r"Executing (\S+ error: [^\n]*)"),
    _Rule("command-failed", _PLUGIN + "plugin_disk", r"(hdparm) command not found", _WARNING),
    _Rule("command-failed", _NET, r"(ip) command not found, ignoring", _WARNING),
    # Both require a file descriptor that stays open. A one-shot TuneD closes it when it exits;
    # see settings/holds.py.
    _Rule("lost-after-exit", _CPU, r"setting new cpu latency()", _INFO),
    _Rule("lost-after-exit", _PLUGIN + "plugin_rtentsk", r"opened SOF_TIMESTAMPING_\w+()", _INFO),
    # Single plugins.
    _Rule("no-such-setting", _CPU, r"Failed to set (\w+) on cpu .* because .* does not exist"),
    _Rule("bad-value", _CPU, r"unable to evaluate latency value()"),
    _Rule("bad-value", _CPU, r"The '(governor)' option contains an empty value"),
    _Rule("setting-refused", _CPU, r"None of the scaling (governor)s is supported", _WARNING),
    _Rule("no-such-setting", _SCHEDULER, r"Error reading '([^']*)'", explains=True),
    _Rule("setting-refused", _SCHEDULER, r"Error writing value '[^']*' to '([^']*)'",
          explains=True),
    _Rule("setting-refused", _SCHEDULER, r"Failed to set .*? of (IRQ \d+|PID \d+)"),
    _Rule("setting-refused", _SCHEDULER, r"Failed to set default SMP (IRQ affinity)"),
    _Rule("hint", _SCHEDULER, r"This may not work with Secure Boot()"),
    _Rule("command-failed", _MODULES, r"'(modprobe)' command not found, cannot", _WARNING,
          explains=True),
    _Rule("no-such-setting", _MODULES, r"kernel module '([^']*)' not found", explains=True),
    _Rule("setting-refused", _MODULES, r"cannot insert/reinsert module '([^']*)'", _WARNING,
          explains=True),
    _Rule("command-failed", _BOOTLOADER, r"(error generating initrd image)", explains=True),
    _Rule("setting-refused", _BOOTLOADER, r"requested changes to (initrd) will not", _WARNING),
    _Rule("setting-refused", _BOOTLOADER, r"Detected .* support (initrd) overlays", _WARNING),
    _Rule("no-such-setting", _IRQBALANCE, r"(irqbalance) sysconfig file is missing", _WARNING),
    _Rule("command-failed", _IRQBALANCE, r"Failed to (restart irqbalance)", _WARNING),
    _Rule("no-such-setting", _NET, r"(\w+ parameter \S+) is not supported by device", _WARNING),
    _Rule("bad-value", _NET, r"(?:invalid|ignoring unknown) (\w+) parameter", _WARNING),
    # All others.
    _Rule("bad-value", _PLUGIN, r"The value of '([^']*)' must be "),
    _Rule("bad-value", _PLUGIN, r"Incorrect '([^']*)' value", _WARNING),
    _Rule("bad-value", _PLUGIN, r"(\w+) value '.*' is not integer", _WARNING),
    _Rule("bad-value", _PLUGIN, r"Invalid '?(\w+)'? (?:value |specified)", _WARNING),
    _Rule("bad-value", _PLUGIN, r"Invalid (?:option for|value .* for) (\w+)", _WARNING),
    _Rule("setting-refused", _PLUGIN, r"Failed to set (\w+)(?: on cpu| for |[.:])", _WARNING),
    _Rule("setting-refused", _PLUGIN, r"Cannot set (\w+) for device", _WARNING),
    # The wrapper of the operator's image. It exits with 0 after every failure.
    _Rule("killed", "controller.go", r"failed to run TuneD.*signal: (\w+)"),
    _Rule("exit-status", "controller.go", r"failed to run TuneD.*exit status (\d+)"),
)  # fmt: skip

_LOST = {"plugin_cpu": "force_latency", "plugin_rtentsk": "rtentsk"}
#: The plugins whose class has another name.
_CLASSES = {
    "CPULatencyPlugin": "cpu", "NetTuningPlugin": "net", "EeePCSHEPlugin": "eeepc_she",
    "SCSIHostPlugin": "scsi_host",
}  # fmt: skip


def match(record: LogRecord) -> Known | None:
    """What the first rule that matches a record says of it."""
    # CRITICAL is an error, and so is a traceback at any level.
    level = "ERROR" if record.is_error else record.level
    for rule in _RULES:
        if level not in _LEVELS[_LEVELS.index(rule.level) :]:
            continue
        if not record.logger.startswith(rule.logger):
            continue
        found = re.match(rule.message, record.message, re.DOTALL)
        if found:
            return Known(rule.kind, _subject(record, found), rule.explains)
    return None


def _subject(record: LogRecord, found: re.Match[str]) -> str:
    plugin = record.logger.rpartition(".")[2]
    # The file of a sysctl becomes its key, which is what the profile contains.
    subject = sysctl_key(found[1]) if found.re.groups else ""
    if record.logger == "tuned.utils.commands":
        subject = _command(subject)
    if found.re.groups > 1:
        name = _CLASSES.get(found[2], re.sub(r"Plugin\Z", "", found[2]).lower())
        return f"{name}.{subject}"
    return subject or _LOST.get(plugin, plugin.replace("plugin_", ""))


def _command(text: str) -> str:
    """A command; TuneD logs that of a shell with a space after each character."""
    spaced = len(text) > 1 and not text[1::2].strip(" ")
    return text[::2] if spaced else text
