"""Findings: the reasons why a profile is not applied completely, read from TuneD's log. Pure.

Every ERROR that TuneD or a plugin logs, and every traceback, is a finding, even if no rule below
matches its text. A rule (rules.py) only gives the finding a more precise kind. A record below ERROR
is a finding only if a rule says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ocp_tuned_boot.errors import BootError, Defect, escaped
from ocp_tuned_boot.tuned import rules

if TYPE_CHECKING:
    from ocp_tuned_boot.tuned.log import LogRecord


@dataclass(frozen=True)
class Kind:
    """A kind of finding. `fatal`: the profile is not applied. `acceptable`: a site may accept the
    finding in boot.conf.

    `advice` says what to do. In it `{subject}` is the finding's subject, and `{file}` the file to
    change: `file`, or the exact one where that is known.
    """

    fatal: bool
    acceptable: bool
    advice: str
    file: str = ""


def _fatal(advice: str, file: str = "") -> Kind:
    return Kind(True, False, advice, file)


def _degrading(advice: str, file: str = "") -> Kind:
    return Kind(False, True, advice, file)


def _unclear(advice: str) -> Kind:
    """Not fatal, and not acceptable either."""
    return Kind(False, False, advice)


_BOOT_CONF = "/etc/ocp-tuned-boot/boot.conf"
_LOG = "/run/ocp-tuned-boot/tuned.log"
_PROFILES = "/var/lib/ocp-tuned/profiles"
_THE_PROFILE = "the profile"
_RECOMMEND = "/var/lib/ocp-tuned/recommend.d/50-openshift.conf"

#: How an advice ends that is carried out while the unit is not active.
START = "then: systemctl start ocp-tuned"
#: The same, while it is active.
RELOAD = "then: systemctl reload ocp-tuned"
AGAIN = "To try again: systemctl start ocp-tuned"
_RESTORE = "systemctl reload-or-restart ocp-tuned"
_NO_PROFILE = f'No profile "{{subject}}" in {_PROFILES} or in the image.'

#: Every kind of finding that a run of TuneD can have, and what to do about it.
KINDS = {
    "unknown-profile": _fatal(
        f"{_NO_PROFILE} It is named in {{file}}; fix it there, {START}",
        f"{_RECOMMEND} or in boot.conf",
    ),
    "broken-profile": _fatal(
        f"TuneD cannot load the profile. Fix {{file}}, {START}",
        f"its tuned.conf in {_PROFILES}",
    ),
    "missing-include": _fatal(
        f"{_NO_PROFILE} It is named by include= in {{file}}; fix it there, {START}",
        f"a tuned.conf in {_PROFILES}",
    ),
    "broken-recommend": _fatal(
        f"TuneD cannot read {{subject}}. Check that {_RECOMMEND} contains one line, [<profile>], "
        f"{START}"
    ),
    "wrong-profile": _fatal(
        f"The profile to apply is named in {{file}}. Check that file, {START}",
        f"{_RECOMMEND} or in boot.conf",
    ),
    "not-applied": _fatal(f"TuneD exited without applying the profile. See {_LOG}. {AGAIN}"),
    "exit-status": _fatal(f"TuneD exited with an error. See {_LOG}. {AGAIN}"),
    "timeout": _fatal(
        f"TuneD stopped responding in {{subject}}. See {_LOG}. Fix the cause, or increase "
        f"{{file}}, {START}",
        f"[tuning] tuned_timeout in {_BOOT_CONF}",
    ),
    "rolled-back": _fatal(
        "TuneD restored the previous settings when it exited. Set rollback = not_on_exit in "
        f"tuned-main.conf of the image, {START}"
    ),
    "crashed": _fatal(
        f"This is a defect of TuneD or of its image. Report it with {_LOG}. "
        "To use another image: ocp-tuned-boot image stage REFERENCE"
    ),
    "killed": _fatal(
        "TuneD was killed by a signal (administrator, wrapper or OOM killer). "
        f"To check for the OOM killer: journalctl -b -k --grep 'out of memory'. {AGAIN}"
    ),
    "not-guarded": _fatal(
        "TuneD was not started, because it would have changed a setting that is owned by others. "
        f"See {_LOG}. The profile is applied at the next boot."
    ),
    "unknown-plugin": _degrading(
        'TuneD in this image has no plugin "{subject}". Remove its section from the profile, or '
        "use an image that has the plugin."
    ),
    "unknown-option": _degrading(
        "TuneD ignores the option {subject} (plugin.option). Remove it from the profile, or use an "
        "image whose TuneD has it."
    ),
    "no-devices": _degrading(
        "This machine has none of the devices that the section [{subject}] names, and the section "
        "has no effect. Accept it with accept = no-devices:{subject} in [tuning] of "
        f"{_BOOT_CONF}, or change the section, {RELOAD}"
    ),
    "plugin-failed": _degrading(
        f'The plugin "{{subject}}" failed, and its section has no effect. See {_LOG}.'
    ),
    "no-such-setting": _degrading(
        "This kernel has no such setting. Accept it with accept = no-such-setting:{subject} in "
        f"[tuning] of {_BOOT_CONF}, or remove it from {{file}}, {RELOAD}",
        _THE_PROFILE,
    ),
    "setting-refused": _degrading(
        f"The value was refused, and the previous one remains. Fix it in {{file}}, {RELOAD}",
        _THE_PROFILE,
    ),
    "script-refused": _degrading(
        "TuneD runs a script only from the folder of its profile. Move the script there. If it is "
        f"there already, set contract = tuned in [tuning] of {_BOOT_CONF}."
    ),
    "script-failed": _degrading(
        f"A script of the profile failed. See {_LOG}. Fix {{file}}, {RELOAD}",
        "the script",
    ),
    "command-failed": _degrading(
        'The command "{subject}" is not in the image, or it failed. Use an image that has it, or '
        "remove from the profile what requires it."
    ),
    "hint": _degrading(
        "TuneD logged a hint as an error; another finding may say what it is about. Accept it with "
        f"accept = hint:{{subject}} in [tuning] of {_BOOT_CONF}."
    ),
    "overridden": _degrading(
        "{file} sets another value, and this value wins. Remove the setting there or from the "
        "profile, then: ocp-tuned-boot reload --force",
        "A file in /etc/sysctl.d",
    ),
    "lost-after-exit": _degrading(
        f"This setting requires a file descriptor that stays open. To restore it: {_RESTORE}"
    ),
    "still-held": _degrading(
        f"No profile requests this setting any more. To release it: {_RESTORE}"
    ),
    "bad-value": _degrading(
        f"TuneD cannot evaluate the value. Fix it in {{file}}, {RELOAD}", _THE_PROFILE
    ),
    "value-differs": _degrading(
        "Another program changed the value after TuneD, or the kernel rounds it. "
        "To apply it again: ocp-tuned-boot reload --force"
    ),
    "not-restored": _degrading(
        "The profile does not set {subject} any more, and the kernel refused its first value of "
        "this boot. To try again: systemctl reload ocp-tuned"
    ),
    "still-set": _degrading(
        "The profile does not set {subject} any more, and TuneD could not restore it. Reboot; if "
        "the message names a file, remove the setting from it first. To accept it: "
        f"accept = still-set:{{subject}} in [tuning] of {_BOOT_CONF}"
    ),
    "not-asked": _degrading(
        "TuneD in this image cannot say what the profile means, so no value was compared. Use "
        "another image, or accept it with accept = not-asked:{subject} in [tuning] of "
        f"{_BOOT_CONF}, {RELOAD}"
    ),
    "no-daemon": _degrading(
        "Dynamic tuning needs a TuneD that keeps running. See the other findings, or set "
        f"mode = oneshot in [tuning] of {_BOOT_CONF}, {RELOAD}"
    ),
    "tuned-exited": _degrading(
        "The settings remain. To see whether TuneD runs again: systemctl status ocp-tuned-daemon. "
        "To start it: systemctl reload-or-restart ocp-tuned"
    ),
    "kubelet-default": _degrading(
        "The kubelet does not start with this value. Remove the setting from the profile, or "
        "protectKernelDefaults from {file}, and reboot.",
        "the kubelet's configuration",
    ),
    "missing-kernel-argument": _degrading(
        "The kernel of this boot was started without the argument. Add it to the kernel command "
        "line (grubby(8), rpm-ostree kargs), and reboot."
    ),
    # In place of the file, what to do about the cause.
    "image-stand-in": _degrading(
        f"{{file}}, {RELOAD}",
        "Build, load or push the requested image, or request another one in "
        "/var/lib/ocp-tuned/image.env (or in boot.conf, [tuning] image)",
    ),
    "profile-fallback": _unclear(
        f"The last profile that was applied is used instead. Fix the requested one, {RELOAD}"
    ),
    "torn-image-env": _unclear(
        "Write {subject} again. It must be a regular file with one complete line: "
        "NTO_IMAGE=<image reference>"
    ),
    "agent-word": _unclear(
        "Write {subject} again with one of these words, or remove it. It is a file of the agent."
    ),
    "other-tuned": _degrading(
        "Let only one of the two tune this node: remove the pod, or systemctl disable ocp-tuned. "
        f"To accept both: accept = other-tuned:{{subject}} in [tuning] of {_BOOT_CONF}"
    ),
    "change-failed": _unclear(f"Fix the cause, {RELOAD}"),
    "defect": _unclear(Defect.advice),
    "incomplete-log": _unclear(
        "TuneD's log ends early, and later errors are not known. "
        "To apply the profile again: ocp-tuned-boot reload --force"
    ),
    "error": _unclear(f"TuneD logged an error; some setting may not be applied. See {_LOG}."),
    "traceback": _unclear(f"A part of TuneD failed; its settings may not be applied. See {_LOG}."),
}


@dataclass(frozen=True)
class Finding:
    """One reason why the profile is not applied completely.

    `kind` is a stable word, `subject` the plugin, key, file or profile concerned. `message` says
    what happened, TuneD's own words in quotes; `advice` says what to do.
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

    @property
    def about(self) -> str:
        """The kind and the subject, as a line about it begins; the subject only once."""
        known = not self.subject or self.message.startswith(self.subject)
        return self.kind if known else f"{self.kind} {self.subject}"

    @property
    def words(self) -> tuple[str, str]:
        """The message and the advice in the order in which people read them: TuneD's own words
        last, because an advice on these begins with a sentence about what is wrong."""
        if self.advice and self.message.startswith(_QUOTE):
            return self.advice, self.message
        return self.message, self.advice


def of(error: BootError) -> Finding:
    """The finding for what has ended a run."""
    return Finding(error.kind, "", error.message, error.hint)


def first(found: Iterable[Finding]) -> Finding | None:
    """The one that a short text names: the first that is not accepted."""
    return next((each for each in found if each.degrades), None)


def make(kind: str, subject: str, message: str, file: str = "") -> Finding:
    """A finding with the advice of its kind; `file` is the file to change, if it is known."""
    known = KINDS[kind]
    advice = known.advice.format(subject=subject, file=escaped(file[:_LONGEST]) or known.file)
    return Finding(kind, subject, message, advice)


_QUOTE = 'TuneD logged: "'


def timeout(step: str, message: str, key: str) -> Finding:
    """TuneD was stopped; `key`: the key of [tuning] that allows the time, `timeout` of the whole
    run or `tuned_timeout`."""
    return make("timeout", step, message, f"[tuning] {key} in {_BOOT_CONF}")


def unquoted(message: str) -> str:
    """The message of a finding, from where TuneD's own words begin."""
    return message[len(_QUOTE) :] if message.startswith(_QUOTE) else message


#: The most findings of one log, and the most characters of a message and of a subject. The record
#: must remain small enough to be read, whatever TuneD logs.
_MOST, _LONGEST, _LONGEST_SUBJECT = 100, 1000, 200

_FAILED = r"failed to initialize plugin (\S+)|BUG: Unhandled exception in ([^:]+)"

# Two records about the same subject: the first, more precise kind is kept.
_TOGETHER = (("no-such-setting", "setting-refused"), ("unknown-plugin", "plugin-failed"))


def read(log: Iterable[LogRecord]) -> list[Finding]:
    """All findings in TuneD's log, in the order of the log."""
    found: list[Finding] = []
    # TuneD has several threads: what belongs together may be apart.
    previous: dict[str, str] = {}
    last, directly, left = None, False, 0
    for record in log:
        finding = _of(record, previous.get(record.logger, ""), last, directly=directly)
        if finding is not None:
            left += not _add(found, finding)
            last = finding
        directly = finding is not None and record.logger == "tuned.utils.commands"
        previous[record.logger] = record.message
    if left:
        found.append(make("error", "tuned", f"TuneD's log has {left} more errors"))
    return found


def _of(
    record: LogRecord, previous: str, last: Finding | None, *, directly: bool
) -> Finding | None:
    """The finding of a record. `previous`: the message before it of the same part of TuneD;
    `last`: the finding before it; `directly`: it is that of the record before, and of what the
    plugin has called."""
    words = _quoted("\n".join([record.message, *record.more[:_LONGEST]]))
    known = rules.match(record)
    if known is not None:
        same = last is not None and (directly or known.subject in last.subject)
        if known.explains and last is not None and same:
            return replace(last, message=words)
        return make(known.kind, known.subject[:_LONGEST_SUBJECT], words)
    if not record.is_error:
        return None
    # units.manager logs what failed in one record, and the reason in the next.
    failed = re.match(_FAILED, previous)
    if failed and record.logger == "tuned.units.manager":
        return make("plugin-failed", failed[1] or failed[2], words)
    return make("traceback" if record.has_traceback else "error", record.logger, words)


def _quoted(words: str) -> str:
    """TuneD's own words, in quotes. No longer than a message may be."""
    return f'{_QUOTE}{words[: _LONGEST - len(_QUOTE) - 1]}"'


def _add(found: list[Finding], finding: Finding) -> bool:
    """Adds a finding, or its message to an earlier one with the same subject. False if there are
    too many; as many fatal ones again are added beyond that."""
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
    """The kind that covers both kinds; empty if they are two different findings."""
    if first == second:
        return first
    return next((pair[0] for pair in _TOGETHER if {first, second} == set(pair)), "")


def accept(found: Sequence[Finding], patterns: Sequence[tuple[str, str]]) -> list[Finding]:
    """Marks the findings that a site accepts: `(kind, subject)` pairs, the subject with wildcards.

    Fatal findings, and errors that no rule matches, cannot be accepted.
    """

    def accepted(finding: Finding) -> bool:
        known = finding.kind in KINDS and KINDS[finding.kind].acceptable
        return known and any(
            finding.kind == kind and fnmatchcase(finding.subject, subject)
            for kind, subject in patterns
        )

    return [replace(each, accepted=accepted(each)) for each in found]
