"""What speaks against `applied`, found in TuneD's log. Pure.

Judged by structure: whatever TuneD or a plugin logs as an ERROR, and every traceback, is a finding
even if no rule below knows its text; a rule only gives it a better name. The texts are those of
TuneD 2.20 to 2.28 (tuned/daemon, units, profiles, plugins) and of the operator's wrapper.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ocp_tuned_boot.errors import Defect
from ocp_tuned_boot.host.paths import sysctl_key

if TYPE_CHECKING:
    from ocp_tuned_boot.tuned.log import LogRecord


@dataclass(frozen=True)
class Kind:
    """`fatal`: the profile is not in force. `acceptable`: a site may accept it in boot.conf."""

    fatal: bool
    acceptable: bool
    advice: str


def _fatal(advice: str) -> Kind:
    return Kind(True, False, advice)


def _degrading(advice: str) -> Kind:
    return Kind(False, True, advice)


#: Every kind of finding that TuneD's run can have; `advice` is for people.
KINDS = {
    "unknown-profile": _fatal("No such profile is on the node or in the image; correct its name."),
    "broken-profile": _fatal("The profile cannot be read; correct the line that is named."),
    "missing-include": _fatal("The profile includes one that is nowhere; correct include=."),
    "broken-recommend": _fatal("TuneD cannot read the recommend file; it has to say [<profile>]."),
    "wrong-profile": _fatal("Another profile than the one asked for was applied; start again."),
    "not-applied": _fatal("TuneD ended without applying the profile; its log says how far it got."),
    "exit-status": _fatal("TuneD ended with an error; its log says which."),
    "timeout": _fatal("TuneD hung in the step named; mend it, or raise tuned_timeout."),
    "rolled-back": _fatal("TuneD took its settings back when it ended; see its tuned-main.conf."),
    "crashed": _fatal("TuneD itself failed; this is a defect of TuneD or of its image."),
    "killed": _fatal("TuneD was killed, by a person, its wrapper or for want of memory."),
    "unknown-plugin": _degrading("The image's TuneD has no such plugin; its section does nothing."),
    "plugin-failed": _degrading("The plugin could not be loaded; its section does nothing."),
    "no-such-setting": _degrading("This kernel has no such setting; leave it out of the profile."),
    "setting-refused": _degrading("The kernel refused the value; it is not in force."),
    "script-refused": _degrading("TuneD did not run the script; it has to lie in its profile."),
    "script-failed": _degrading("The profile's script reported an error; what it sets may not be."),
    "command-failed": _degrading("A command that TuneD runs is not in the image, or it failed."),
    "overridden": _degrading("A file of the host's sysctl.d sets another value, and it wins."),
    "lost-after-exit": _degrading(
        "It takes an open file; `systemctl reload-or-restart ocp-tuned` has systemd hold it again."
    ),
    "still-held": _degrading("`systemctl reload-or-restart ocp-tuned` lets go of it."),
    "bad-value": _degrading("TuneD cannot make out the value; correct it in the profile."),
    "value-differs": _degrading(
        "Somebody has set another one since, or the kernel rounds it: see ocp-tuned-boot drift."
    ),
    "missing-kernel-argument": _degrading(
        "This boot's kernel has no such argument; it takes the argument and another boot."
    ),
    "image-stand-in": _degrading("Make the image that is asked for available, and reload."),
    "torn-image-env": Kind(
        False, False, "Have image.env written again, whole: NTO_IMAGE=<image reference>"
    ),
    "change-failed": Kind(
        False, False, "Mend the cause and reload again; until then see what is told to be in force."
    ),
    "defect": Kind(False, False, Defect.advice),
    "incomplete-log": Kind(False, False, "The log ends early; what came after is not known."),
    "error": Kind(False, False, "TuneD logged an error; some setting may not be in force."),
    "traceback": Kind(False, False, "A part of TuneD failed; what it sets may not be in force."),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was not as it should be.

    `kind` is a stable word, `subject` the plugin, key, file or profile concerned, `message`
    TuneD's own words or ours, `advice` one sentence for people.
    """

    kind: str
    subject: str
    message: str
    advice: str = ""
    accepted: bool = False

    @property
    def fatal(self) -> bool:
        return self.kind not in KINDS or KINDS[self.kind].fatal

    @property
    def degrades(self) -> bool:
        return not self.accepted


def make(kind: str, subject: str, message: str) -> Finding:
    """A finding with its kind's advice."""
    return Finding(kind, subject, message, KINDS[kind].advice)


@dataclass(frozen=True)
class _Rule:
    """`logger` and `message` are matched from the start; group 1 of the message is the subject."""

    kind: str
    logger: str
    #: A pattern. Compiled when it is first needed: most runs read no log.
    message: str
    #: Matches below ERROR, too.
    any_level: bool = False


_PLUGIN, _INITIAL = "tuned.plugins.", "Cannot set initial profile. No tunings will be enabled: "
_SCHEDULER = _PLUGIN + "plugin_scheduler"
_NO_FILE = r"'([^']*)'?:? (?:error: )?'?\[Errno 2\]"
_RULES = (
    _Rule("unknown-profile", "tuned.daemon.daemon", _INITIAL + r"Requested profile '([^']*)'"),
    _Rule("missing-include", "tuned.daemon.daemon", _INITIAL + r".*Cannot find profile '([^']*)'"),
    _Rule("broken-profile", "tuned.daemon.daemon", _INITIAL + r".*Cannot parse '([^']*)'"),
    _Rule("broken-profile", "tuned.daemon.daemon", re.escape(_INITIAL)),
    _Rule("broken-recommend", "tuned.utils.profile_recommender", r"error processing '([^']*)'"),
    _Rule("plugin-failed", "tuned.units.manager", r"failed to initialize plugin (\S+)"),
    _Rule("plugin-failed", "tuned.units.manager", r"BUG: Unhandled exception in ([^:]+)"),
    _Rule("unknown-plugin", "tuned.units.manager",
          r"No module named 'tuned\.plugins\.plugin_(\w+)'"),
    _Rule("no-such-setting", "tuned.utils.commands", r"Error when reading file " + _NO_FILE),
    _Rule("setting-refused", "tuned.utils.commands", r"Error when reading file '([^']*)'"),
    _Rule("no-such-setting", "tuned.utils.commands", r"Writing to file " + _NO_FILE),
    _Rule("setting-refused", "tuned.utils.commands", r"Writing to file '([^']*)'"),
    _Rule("no-such-setting", _PLUGIN + "plugin_sysctl", r"sysctl option (\S+) will not be set"),
    # TuneD before 2.24 has its own words for these.
    _Rule("no-such-setting", _PLUGIN + "plugin_sysctl",
          r"Failed to \w+ sysctl parameter '([^']*)'.*the parameter does not exist"),
    _Rule("setting-refused", _PLUGIN + "plugin_sysctl",
          r"Failed to \w+ sysctl parameter '([^']*)'"),
    _Rule("setting-refused", _PLUGIN + "plugin_sysctl", r"Refusing to set deprecated .* (\S+)$"),
    _Rule("setting-refused", _PLUGIN + "plugin_sysfs", r"rejecting write to '([^']*)'"),
    _Rule("script-refused", _PLUGIN, r"Paths outside of the profile directories .*'([^']*)'"),
    _Rule("script-refused", _PLUGIN, r"Relative paths cannot be used in script.*'([^']*)'"),
    _Rule("script-failed", _PLUGIN, r"script '([^']*)'"),
    _Rule("overridden", _PLUGIN + "plugin_sysctl", r"Overriding sysctl parameter '([^']*)'", True),
    _Rule("rolled-back", "tuned.daemon.daemon", r"terminating TuneD, rolling back all()", True),
    _Rule("bad-value", _PLUGIN + "plugin_cpu", r"unable to evaluate latency value()"),
    # Both need a file that stays open; a one-shot TuneD closes it when it ends. See holds.py.
    _Rule("lost-after-exit", _PLUGIN + "plugin_cpu", r"setting new cpu latency()", True),
    _Rule("lost-after-exit", _PLUGIN + "plugin_rtentsk", r"opened SOF_TIMESTAMPING_\w+()", True),
    _Rule("no-such-setting", _SCHEDULER, r"Error reading '([^']*)'"),
    _Rule("setting-refused", _SCHEDULER, r"Error writing value '[^']*' to '([^']*)'"),
    _Rule("setting-refused", _SCHEDULER, r"Failed to set .*? of (IRQ \d+|PID \d+)"),
    _Rule("command-failed", "tuned.utils.commands", r"Executing '?([^\s']+)"),
    # The wrapper of the operator's image, which itself exits with 0.
    _Rule("killed", "controller.go", r"failed to run TuneD.*signal: (\w+)"),
    _Rule("exit-status", "controller.go", r"failed to run TuneD.*exit status (\d+)"),
)  # fmt: skip

#: So many findings of one log are told, and so many characters of each: the record has to stay one
#: that can be read, whatever TuneD says.
_MOST, _LONGEST, _LONGEST_SUBJECT = 100, 1000, 200

# Two lines about one thing: the kind that says more is kept.
_TOGETHER = (("no-such-setting", "setting-refused"), ("unknown-plugin", "plugin-failed"))
_LOST = {"plugin_cpu": "force_latency", "plugin_rtentsk": "rtentsk"}


def read(log: Iterable[LogRecord]) -> list[Finding]:
    """Everything in TuneD's log that speaks against `applied`, in its order."""
    found: list[Finding] = []
    previous, left = "", 0
    for record in log:
        finding = _of(record, previous)
        if finding is not None:
            left += not _add(found, finding)
        previous = record.message
    if left:
        found.append(make("error", "tuned", f"{left} more errors are in TuneD's log"))
    return found


def _of(record: LogRecord, previous: str) -> Finding | None:
    words = "\n".join([record.message, *record.more[:_LONGEST]])[:_LONGEST]
    for rule in _RULES:
        if not (record.is_error or rule.any_level) or not record.logger.startswith(rule.logger):
            continue
        match = re.match(rule.message, record.message, re.DOTALL)
        if match:
            return make(rule.kind, _subject(record, match), words)
    if not record.is_error:
        return None
    # units.manager logs which plugin, and in a record of its own why.
    plugin = re.match(r"failed to initialize plugin (\S+)", previous)
    if plugin and record.logger == "tuned.units.manager":
        return make("plugin-failed", plugin[1], words)
    return make("traceback" if record.has_traceback else "error", record.logger, words)


def _subject(record: LogRecord, match: re.Match[str]) -> str:
    plugin = record.logger.rpartition(".")[2]
    # A setting is called what the profile calls it.
    subject = sysctl_key(match[1]) if match.re.groups else ""
    return (subject or _LOST.get(plugin, plugin))[:_LONGEST_SUBJECT]


def _add(found: list[Finding], finding: Finding) -> bool:
    """Adds it, or its words to an earlier one about the same thing. False where there are too many;
    what is fatal has as much room again."""
    for at, earlier in enumerate(found):
        kind = _one_kind(earlier.kind, finding.kind)
        if kind and earlier.subject == finding.subject:
            words = f"{earlier.message}\n{finding.message}"[:_LONGEST]
            found[at] = make(kind, earlier.subject, words)
            return True
    if len(found) >= _MOST * (1 + finding.fatal):
        return False
    found.append(finding)
    return True


def _one_kind(first: str, second: str) -> str:
    """The kind of two lines about one thing, or nothing where they are of two things."""
    if first == second:
        return first
    return next((pair[0] for pair in _TOGETHER if {first, second} == set(pair)), "")


def accept(found: Sequence[Finding], patterns: Sequence[tuple[str, str]]) -> list[Finding]:
    """Marks what a site accepts: `(kind, subject)` pairs, the subject with wildcards.

    What is fatal, and what no rule knows, is accepted by nothing.
    """

    def accepted(finding: Finding) -> bool:
        known = finding.kind in KINDS and KINDS[finding.kind].acceptable
        return known and any(
            finding.kind == kind and fnmatchcase(finding.subject, subject)
            for kind, subject in patterns
        )

    return [replace(each, accepted=accepted(each)) for each in found]
