"""The operator's conditions, as pkg/tuned/status.go derives them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ocp_tuned_boot.record.conditions import conditions
from ocp_tuned_boot.tuned.findings import Finding, make
from ocp_tuned_boot.tuned.judge import Result

OVERRIDDEN = make("overridden", "vm.x", "…")
REFUSED = make("setting-refused", "vm.y", "no")


@pytest.mark.parametrize(
    ("result", "findings", "applied", "degraded"),
    [
        (Result.APPLIED, [], ("True", "AsExpected"), ("False", "AsExpected")),
        (Result.APPLIED, [replace(REFUSED, accepted=True)],
         ("True", "AsExpected"), ("False", "TunedWarning")),
        (Result.DEGRADED, [REFUSED], ("True", "AsExpected"), ("True", "TunedError")),
        (Result.DEGRADED, [OVERRIDDEN], ("True", "AsExpected"), ("True", "TunedSysctlOverride")),
        (Result.DEGRADED, [OVERRIDDEN, replace(REFUSED, accepted=True)],
         ("True", "AsExpected"), ("True", "TunedSysctlOverride")),
        (Result.DEGRADED, [OVERRIDDEN, REFUSED], ("True", "AsExpected"), ("True", "TunedError")),
        (Result.FAILED, [make("timeout", "x", "…")], ("False", "Failed"), ("True", "TunedError")),
        (Result.FAILED, [Finding("podman", "", "…")], ("False", "Failed"), ("True", "TunedError")),
        (Result.APPLYING, [], ("Unknown", ""), ("Unknown", "")),
    ],
)  # fmt: skip
def test_a_result_as_conditions(
    result: Result, findings: list[Finding], applied: tuple[str, str], degraded: tuple[str, str]
) -> None:
    found = {each["type"]: each for each in conditions(result, findings)}
    assert (found["Applied"]["status"], found["Applied"]["reason"]) == applied
    assert (found["Degraded"]["status"], found["Degraded"]["reason"]) == degraded


def test_the_message_names_what_degrades() -> None:
    degraded = conditions(Result.DEGRADED, [replace(OVERRIDDEN, accepted=True), REFUSED])[1]
    assert degraded["message"] == "setting-refused vm.y: no"


@pytest.mark.parametrize(
    ("findings", "degraded"),
    [([], "TunedDeferredUpdate"), ([OVERRIDDEN], "TunedDeferredUpdate"), ([REFUSED], "TunedError")],
)
def test_a_profile_that_waits(findings: list[Finding], degraded: str) -> None:
    found = {each["type"]: each for each in conditions(Result.APPLIED, findings, "new")}
    assert (found["Applied"]["status"], found["Applied"]["reason"]) == ("False", "Deferred")
    assert found["Applied"]["message"].endswith("waiting for the next node restart: new")
    assert (found["Degraded"]["status"], found["Degraded"]["reason"]) == ("True", degraded)
