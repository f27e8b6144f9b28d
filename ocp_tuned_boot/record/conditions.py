"""A run as the operator's status conditions, for an agent to copy. Pure.

Types, reasons and messages are those of cluster-node-tuning-operator, pkg/tuned/status.go, which
sets `lastTransitionTime` by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from ocp_tuned_boot.record.model import Record
from ocp_tuned_boot.tuned.findings import Finding
from ocp_tuned_boot.tuned.judge import Result


def of_record(record: Record) -> list[dict[str, str]]:
    """The conditions of a recorded run."""
    return conditions(record.result, record.findings, waiting(record))


def waiting(record: Record) -> str:
    """The profile that waits. A new image of the same profile is nothing to wait for."""
    if record.deferred is None or record.deferred.waits == "image":
        return ""
    return record.deferred.profile


def conditions(result: Result, found: Sequence[Finding], waits: str = "") -> list[dict[str, str]]:
    """`Applied` and `Degraded`; `waits` says which profile waits for the next boot, if one does."""
    if result is Result.APPLYING:
        return [_condition("Applied", "Unknown", "", ""), _condition("Degraded", "Unknown", "", "")]
    return [_applied(result, waits), _degraded(found, waits)]


def _applied(result: Result, waits: str) -> dict[str, str]:
    if waits:
        words = f"The TuneD daemon profile is waiting for the next node restart: {waits}"
        return _condition("Applied", "False", "Deferred", words)
    if result is Result.FAILED:
        words = "The TuneD daemon profile not yet applied, or application failed."
        return _condition("Applied", "False", "Failed", words)
    return _condition("Applied", "True", "AsExpected", "TuneD profile applied.")


def _degraded(found: Sequence[Finding], waits: str) -> dict[str, str]:
    degrading = [finding for finding in found if finding.degrades]
    overrides = all(finding.kind == "overridden" for finding in degrading)
    if waits and overrides:
        words = f"Profile will be applied at the next node restart: {waits}"
        return _condition("Degraded", "True", "TunedDeferredUpdate", words)
    words = "; ".join(f"{each.kind} {each.subject}: {each.message}" for each in degrading or found)
    if not found:
        words = "No warning or error messages observed applying the TuneD daemon profile."
        return _condition("Degraded", "False", "AsExpected", words)
    if not degrading:
        words = f"Only accepted by this site: {words}"
        return _condition("Degraded", "False", "TunedWarning", words)
    if overrides:
        return _condition("Degraded", "True", "TunedSysctlOverride", words)
    return _condition("Degraded", "True", "TunedError", words)


def _condition(kind: str, status: str, reason: str, message: str) -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}
