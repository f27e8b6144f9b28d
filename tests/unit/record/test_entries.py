"""What a run leaves in the journal: each finding in one entry, the result in the last one."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from ocp_tuned_boot.host import messages
from ocp_tuned_boot.host.messages import Message
from ocp_tuned_boot.record import entries
from ocp_tuned_boot.record.model import Action, Decision, InForce, Record
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.tuned.findings import make
from ocp_tuned_boot.tuned.judge import Result

FIRST = make("no-such-setting", "net.a", "no net.a")
SECOND = make("setting-refused", "net.b", "net.b was refused")
ACCEPTED = replace(make("hint", "net.c", "a hint"), accepted=True)
FATAL = make("unknown-profile", "x", "no profile x")
IN_FORCE = InForce("boot", Result.APPLIED, "site", "image", "id", "f", "12:00")
DONE = Record(
    Result.DEGRADED, "11:59", action="apply", reason="because", profile="site", image="localhost/a",
    findings=(ACCEPTED, FIRST, SECOND), seconds=1.5, in_force=IN_FORCE,
)  # fmt: skip


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str, dict[str, str]]]:
    def fields(record: Any) -> dict[str, str]:
        found: dict[str, str] = getattr(record, messages.ATTRIBUTE)
        return found

    found = [(each.levelno, each.getMessage(), fields(each)) for each in caplog.records]
    caplog.clear()
    return found


@pytest.fixture(autouse=True)
def _everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


def test_each_finding_is_in_one_entry_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    entries.result(DONE)
    accepted, second, result = logged(caplog)
    assert accepted[:2] == (logging.INFO, f"a hint\n{ACCEPTED.advice}")
    assert second == (logging.WARNING, f"net.b was refused\n{SECOND.advice}", {
        "MESSAGE_ID": messages.FINDING.id, "OCP_TUNED_FINDING": "setting-refused",
        "OCP_TUNED_SUBJECT": "net.b", "OCP_TUNED_ADVICE": SECOND.advice,
    })  # fmt: skip
    words = (
        f"Degraded: no-such-setting net.a (and 1 more): no net.a. {FIRST.advice}. "
        "Profile site in 1.50 s"
    )
    assert result == (logging.WARNING, words, {
        "MESSAGE_ID": messages.DEGRADED.id, "OCP_TUNED_RESULT": "degraded",
        "OCP_TUNED_PROFILE": "site", "OCP_TUNED_IMAGE": "localhost/a",
        "OCP_TUNED_SECONDS": "1.500", "OCP_TUNED_FINDING": "no-such-setting",
        "OCP_TUNED_SUBJECT": "net.a", "OCP_TUNED_ADVICE": FIRST.advice,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("done", "level", "message", "text"),
    [
        (replace(DONE, result=Result.APPLIED, findings=()), logging.INFO, messages.APPLIED,
         "Applied: site in 1.50 s"),
        (replace(DONE, action="keep"), logging.INFO, messages.KEPT, "Nothing was applied: because"),
        (replace(DONE, action="defer"), logging.WARNING, messages.DEFERRED,
         "Nothing was applied: because"),
        (replace(DONE, action="defer", result=Result.DEFERRED, in_force=None, findings=()),
         logging.WARNING, messages.DEFERRED,
         ("Deferred: site waits for the next boot or a reload: because. "
          "To apply it now: systemctl reload ocp-tuned")),
        (replace(DONE, result=Result.FAILED, in_force=None, findings=(FATAL,)), logging.ERROR,
         messages.FAILED, f"Failed: unknown-profile x: no profile x. {FATAL.advice}"),
        (replace(DONE, action="change-failed", findings=(FATAL, SECOND)), logging.ERROR,
         messages.FAILED,
         (f"Degraded: unknown-profile x (and 1 more): no profile x. {FATAL.advice}. "
          "Profile site. Unchanged since 12:00")),
    ],
)  # fmt: skip
def test_the_result_has_its_level_and_id(
    done: Record, level: int, message: Message, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    entries.result(done)
    (found,) = logged(caplog)
    assert (found[0], found[1], found[2]["MESSAGE_ID"]) == (level, text, message.id)


def test_a_gate_that_holds_names_the_cause_and_the_other_findings(
    caplog: pytest.LogCaptureFixture,
) -> None:
    entries.held("Held: no profile x", [FATAL, SECOND])
    other, held = logged(caplog)
    assert other[2]["OCP_TUNED_FINDING"] == "setting-refused"
    assert held[:2] == (logging.ERROR, "Held: no profile x")
    assert (held[2]["MESSAGE_ID"], held[2]["OCP_TUNED_FINDING"]) == (
        messages.HELD.id, "unknown-profile",
    )  # fmt: skip


def test_a_doubt_about_the_request_is_logged_where_nothing_is_applied(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = Inputs("image", "site", "tuned", "boot", doubts=(SECOND,), fallback=(FIRST,))
    entries.decided(asked, Decision(Action.APPLY, "because"))
    first, fallback = logged(caplog)
    assert (first[1], fallback[2]["MESSAGE_ID"]) == ("apply: because", messages.FALLBACK.id)
    entries.decided(asked, Decision(Action.KEEP, "because"))
    kinds = [each[2]["OCP_TUNED_FINDING"] for each in logged(caplog)]
    assert kinds == ["setting-refused", "no-such-setting"]


def test_what_has_drifted_is_named(caplog: pytest.LogCaptureFixture) -> None:
    entries.drifted("site", ["net.a", "net.b"])
    ((_, text, fields),) = logged(caplog)
    assert text == "2 settings of site have changed: net.a, net.b"
    assert fields["OCP_TUNED_SUBJECT"] == "net.a, net.b"
