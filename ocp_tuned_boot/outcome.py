"""Judges a run of TuneD by all it left behind: log, exit status, files. Pure.

No single sign is trusted: the wrapper exits 0 after every failure, TuneD logs `applied` when
settings were refused, and it applies a profile of its own choice when it is not told one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ocp_tuned_boot.tunedlog import LogRecord

_APPLIED = re.compile(r"static tuning from profile '([^']*)' applied\Z")


class Result(str, Enum):
    """What a run came to. `APPLYING` is a run that has not ended, or was killed."""

    APPLYING = "applying"
    APPLIED = "applied"
    DEGRADED = "degraded"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One thing that was not as it should be; `kind` is a stable word, `message` for people."""

    kind: str
    subject: str
    message: str


@dataclass(frozen=True)
class Outcome:
    """A result and why."""

    result: Result
    findings: tuple[Finding, ...] = ()


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


def judge(expected: str, run: TunedRun) -> Outcome:
    """Applied, degraded or failed, and what speaks against `applied`."""
    fatal = _fatal(expected, run)
    errors = _errors(run.log)
    if fatal:
        return Outcome(Result.FAILED, (*fatal, *errors))
    return Outcome(Result.DEGRADED if errors else Result.APPLIED, tuple(errors))


def _fatal(expected: str, run: TunedRun) -> list[Finding]:
    """Whatever means that the expected profile is not in force."""
    findings = []
    if run.exit_status is None:
        findings.append(Finding("timeout", "tuned", _timeout_message(run)))
    elif run.exit_status != 0:
        findings.append(
            Finding("exit-status", "tuned", f"TuneD exited with status {run.exit_status}")
        )
    applied = [match[1] for record in run.log if (match := _APPLIED.match(record.message))]
    if not applied:
        findings.append(Finding("not-applied", expected, "TuneD did not report a profile applied"))
    elif applied[-1] != expected:
        findings.append(
            Finding(
                "wrong-profile", applied[-1],
                f"TuneD applied the profile {applied[-1]!r} instead of {expected!r}",
            )
        )  # fmt: skip
    elif run.active_profile != expected:
        findings.append(
            Finding(
                "wrong-profile", run.active_profile,
                f"TuneD's active_profile says {run.active_profile!r} instead of {expected!r}",
            )
        )  # fmt: skip
    return findings


def _timeout_message(run: TunedRun) -> str:
    last = run.log[-1].message if run.log else "nothing at all"
    return (
        f"TuneD did not finish within {run.seconds:.0f} s and was stopped; its last words: {last}"
    )


def _errors(log: Sequence[LogRecord]) -> list[Finding]:
    return [
        Finding("error", record.logger, "\n".join([record.message, *record.more]))
        for record in log
        if record.is_error
    ]
