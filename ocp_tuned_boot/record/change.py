"""What remains in effect when a change fails. Pure."""

from __future__ import annotations

from dataclasses import replace

from ocp_tuned_boot.errors import ConfigurationError
from ocp_tuned_boot.record.model import InForce, Record
from ocp_tuned_boot.tuned.findings import AGAIN, RELOAD, START, Finding, make
from ocp_tuned_boot.tuned.judge import NOT_LOADED, Result


def failure(last: Record | None, fingerprint: str, image: str) -> Finding | None:
    """Why the change to this very request has failed, as the `last` run has recorded it; None if it
    has not, or if something else is requested by now."""
    if last is None or (last.fingerprint, last.image) != (fingerprint, image):
        return None
    return next((each for each in last.findings if each.kind == "change-failed"), None)


def failed_change(record: Record, before: InForce, cause: Finding) -> Record:
    """The record of a reload that failed. What was applied `before` stays recorded, with
    a finding that says why it was not replaced; degraded, if TuneD had begun to change it."""
    others = tuple(each for each in before.findings if each.kind != "change-failed")
    begun = record.in_force is None and cause.kind not in NOT_LOADED
    then = "the requested change was not applied"
    if begun:
        # TuneD sets one value after the other, and it is not known how far it got.
        then = f"some settings may already be those of {record.profile!r}"
    elif cause.kind == ConfigurationError.kind:
        # Whether a change is requested at all cannot be read.
        then = "nothing was changed"
    finding = make("change-failed", cause.kind, f"{cause.message}; {then}")
    if cause.advice:
        # The unit is active: what is fixed is applied by a reload.
        advice = cause.advice.replace(START, RELOAD).replace(f" {AGAIN}", "")
        finding = replace(finding, advice=advice)
    findings = (finding, *others)
    in_force = replace(before, findings=others)
    if begun:
        in_force = replace(before, result=Result.DEGRADED, findings=findings)
    return replace(
        record, action="change-failed", result=Result.DEGRADED, findings=findings,
        in_force=in_force, image_id=in_force.image_id,
    )  # fmt: skip
