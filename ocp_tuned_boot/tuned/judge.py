"""Judges a run of TuneD by all it left behind: log, exit status, files. Pure.

No single sign is trusted: the wrapper exits 0 after every failure, TuneD logs `applied` when
settings were refused, and it applies a profile of its own choice when it is not told one.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from ocp_tuned_boot.tuned import findings
from ocp_tuned_boot.tuned.findings import Finding, make

if TYPE_CHECKING:
    from ocp_tuned_boot.tuned.log import LogRecord

_APPLIED = re.compile(r"static tuning from profile '([^']*)' applied\Z")
# The last thing that every TuneD says before it ends (tuned/daemon/daemon.py).
_LAST_WORDS = "terminating TuneD"
#: So many lines of a traceback are told.
_TRACEBACK = 40
#: So many kernel arguments are looked at; no kernel takes more (4096 characters).
_ARGUMENTS = 512
# Kinds that say that something went wrong, but not what.
_EFFECTS = {"exit-status", "not-applied", "incomplete-log"}


class Result(str, Enum):
    """What a run came to. `APPLYING` is a run that has not ended, or was killed; `DEFERRED` one
    that had nothing in force before it and was told to leave it at that."""

    APPLYING = "applying"
    APPLIED = "applied"
    DEGRADED = "degraded"
    FAILED = "failed"
    DEFERRED = "deferred"


@dataclass(frozen=True)
class Outcome:
    """A result and why."""

    result: Result
    findings: tuple[Finding, ...] = ()

    @property
    def temporary(self) -> bool:
        """Whether another attempt may end better: TuneD hung, or somebody killed it."""
        return any(finding.kind in ("timeout", "killed") for finding in self.findings)


@dataclass(frozen=True)
class TunedRun:
    """What a run of TuneD left behind.

    `exit_status` is None when the container had to be killed; `seconds` is how long it was
    given in that case.
    """

    exit_status: int | None
    log: tuple[LogRecord, ...]
    active_profile: str = ""
    seconds: float = 0.0
    #: The profile of ours that was laid over the one asked for, if one was.
    laid_over: str = ""
    #: The kernel arguments that the profile asks for, and those that this boot has.
    asked_arguments: tuple[str, ...] = ()
    kernel_arguments: tuple[str, ...] = ()


def judge(expected: str, run: TunedRun, accepted: Sequence[tuple[str, str]] = ()) -> Outcome:
    """Applied, degraded or failed, and what speaks against `applied`.

    `accepted` are the site's `accept` pairs from boot.conf: kind, and subject with wildcards.
    """
    found = [_named(each, expected) for each in findings.read(run.log)]
    found = [*_ending(run), *_profile(expected, run), *found, *_missing_arguments(run)]
    # What stopped TuneD is told first; that it was stopped goes without saying then.
    causes = [each for each in found if each.fatal and each.kind not in _EFFECTS]
    effects = [each for each in found if each.kind in _EFFECTS and not causes]
    others = [each for each in found if not each.fatal and each.kind not in _EFFECTS]
    return conclude(findings.accept([*causes, *effects, *others], accepted))


def conclude(found: Sequence[Finding]) -> Outcome:
    """The result that these findings leave."""
    if any(each.fatal for each in found):
        result = Result.FAILED
    elif any(each.degrades for each in found):
        result = Result.DEGRADED
    else:
        result = Result.APPLIED
    return Outcome(result, tuple(found))


def with_requested_values(outcome: Outcome, asked: Mapping[str, str]) -> Outcome:
    """Adds what the profile has to each value that TuneD could not evaluate and did not log."""
    found = [
        replace(each, message=f"{each.subject} = {asked[each.subject]!r}: {each.message}")
        if each.kind == "bad-value" and each.subject in asked
        else each
        for each in outcome.findings
    ]
    return replace(outcome, findings=tuple(found))


def _named(finding: Finding, expected: str) -> Finding:
    """TuneD before 2.22 says of an unknown profile what it says of a missing include."""
    if finding.kind == "missing-include" and finding.subject == expected:
        return make("unknown-profile", expected, finding.message)
    return finding


def _ending(run: TunedRun) -> list[Finding]:
    """How TuneD ended, where that was not well."""
    status, last = run.exit_status, run.log[-1] if run.log else None
    if status is None:
        return [make("timeout", _last_step(run.log), _timeout_message(run))]
    if status > 128:
        name = _signal_name(status - 128)
        return [make("killed", name, f"TuneD was killed by {name}")]
    if last is not None and last.has_traceback and status != 0:
        words = "\n".join([last.message, *last.more[-_TRACEBACK:]])
        return [make("crashed", words.strip().rpartition("\n")[2], words)]
    if status != 0:
        return [make("exit-status", str(status), f"TuneD exited with status {status}")]
    if not any(record.message.startswith(_LAST_WORDS) for record in run.log):
        return [make("incomplete-log", "tuned", f"TuneD's log ends with: {_last_words(run.log)}")]
    return []


def _profile(expected: str, run: TunedRun) -> list[Finding]:
    """Whether it is the expected profile that was applied."""
    applied = [match[1] for record in run.log if (match := _APPLIED.match(record.message))]
    if not applied:
        return [make("not-applied", expected, "TuneD did not report a profile applied")]
    asked = f"{expected} {run.laid_over}".strip()
    for name, where in ((applied[-1], "its log says"), (run.active_profile, "active_profile says")):
        if name != asked:
            words = f"TuneD applied the profile {name!r} instead of {expected!r}, {where}"
            return [make("wrong-profile", name, words)]
    return []


def _missing_arguments(run: TunedRun) -> list[Finding]:
    return [
        make("missing-kernel-argument", argument, f"the profile asks for the argument {argument!r}")
        for argument in run.asked_arguments[:_ARGUMENTS]
        if argument not in run.kernel_arguments
    ]


def parse_bootcmdline(text: str) -> tuple[str, ...]:
    """The kernel arguments in TuneD's `bootcmdline` (tuned/plugins/plugin_bootloader.py)."""
    asked = re.search(r'(?m)^TUNED_BOOT_CMDLINE="?(.*?)"?$', text)
    return tuple(asked[1].split()[:_ARGUMENTS]) if asked else ()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_words(log: Sequence[LogRecord]) -> str:
    return log[-1].message if log else "nothing at all"


def _last_step(log: Sequence[LogRecord]) -> str:
    """The part of TuneD that spoke last."""
    return log[-1].logger.rpartition(".")[2] if log else "start"


def _timeout_message(run: TunedRun) -> str:
    return (
        f"TuneD did not finish within {run.seconds:.0f} s and was stopped; "
        f"its last words: {_last_words(run.log)}"
    )
