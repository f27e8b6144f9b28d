"""The entries of a run in the journal: its result, and its findings. Each finding is in one."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ocp_tuned_boot.host import journal, messages, systemd
from ocp_tuned_boot.host.messages import Extra, Message
from ocp_tuned_boot.record.model import Action, Decision, Record
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.tuned import findings
from ocp_tuned_boot.tuned.findings import Finding
from ocp_tuned_boot.tuned.judge import Result

log = logging.getLogger(__name__)

_RESULTS = {
    Result.APPLIED: (logging.INFO, messages.APPLIED),
    Result.DEGRADED: (logging.WARNING, messages.DEGRADED),
    Result.DEFERRED: (logging.WARNING, messages.DEFERRED),
}


def decided(requested: Inputs, decision: Decision) -> None:
    """Logs what is about to be done, and why. Where nothing is applied, that is the result; then
    what is doubtful about the request is logged here."""
    if decision.action is Action.APPLY:
        extra = messages.extra(profile=requested.profile, image=requested.image)
        log.info("apply: %s", decision.reason, extra=extra)
        if requested.fallback:
            fallback(requested.profile)
        return
    for doubt in (*requested.doubts, *requested.fallback):
        finding(doubt)


# The findings are those of the profile that was applied before, and have been logged then.
_KNOWN = (Action.KEEP.value, Action.DEFER.value, "change-failed")


def result(done: Record) -> None:
    """Logs how a run has ended, with what it has found."""
    further(done)
    text, (level, message) = done.summary(), _kind(done)
    if message in (messages.KEPT, messages.DEFERRED) and done.in_force is not None:
        text = f"Nothing was applied: {done.reason}"
    log.log(level, "%s", text, extra=_extra(message, done))


def _kind(done: Record) -> tuple[int, Message]:
    if done.action == Action.KEEP.value:
        return logging.INFO, messages.KEPT
    if done.action == Action.DEFER.value:
        return logging.WARNING, messages.DEFERRED
    failed = (logging.ERROR, messages.FAILED)
    return failed if done.action == "change-failed" else _RESULTS.get(done.result, failed)


def _extra(message: Message, done: Record) -> Extra:
    first = findings.first(done.findings)
    return message.extra(result=done.result.value, profile=done.profile, image=done.image,
                         seconds=done.seconds, **(_about(first) if first else {}))  # fmt: skip


def _about(found: Finding) -> dict[str, str]:
    return {"finding": found.kind, "subject": found.subject, "advice": found.advice}


def held(words: str, found: Sequence[Finding]) -> None:
    """Logs that the gate is held (gate.py), and why; `words` has the first finding."""
    others(found)
    first = findings.first(found)
    about = _about(first) if first else {}
    log.error("%s", words, extra=messages.HELD.extra(result=Result.FAILED.value, **about))


def further(done: Record) -> None:
    """Logs what a run has found besides what the text of its result, or of its failure, names."""
    if done.action not in _KNOWN:
        others(done.findings)


def others(found: Sequence[Finding]) -> None:
    """Logs the findings that are not in the text of the result, each by itself."""
    first = findings.first(found)
    for each in found:
        if each != first:
            finding(each)


def finding(found: Finding) -> None:
    """Logs a finding, with what to do about it."""
    level = logging.ERROR if found.fatal else logging.WARNING
    text = f"{found.message}\n{found.advice}" if found.advice else found.message
    extra = messages.FINDING.extra(**_about(found))
    log.log(logging.INFO if found.accepted else level, "%s", text, extra=extra)


def by_hand(found: Finding) -> None:
    """Logs in the journal of the unit why a run has failed that a person has started: only their
    terminal shows it otherwise."""
    text = f"A reload that was not started by systemd has failed: {found.message}"
    journal.note(systemd.UNIT, text, messages.FAILED, **_about(found))


def drifted(profile: str, keys: Sequence[str]) -> None:
    """Logs which settings have changed since the profile was applied."""
    shown = ", ".join(keys)
    log.warning("%d settings of %s have changed: %s", len(keys), profile, shown,
                extra=messages.DRIFTED.extra(profile=profile, subject=shown))  # fmt: skip


def fallback(profile: str) -> None:
    """Logs that the last profile that was applied is used instead. Why is a finding of the run."""
    log.warning("using the last profile that was applied instead: %s", profile,
                extra=messages.FALLBACK.extra(profile=profile))  # fmt: skip
