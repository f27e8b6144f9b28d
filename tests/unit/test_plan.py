"""The whole table of decisions."""

from __future__ import annotations

import pytest

from ocp_tuned_boot.inputs import Inputs
from ocp_tuned_boot.outcome import Result
from ocp_tuned_boot.plan import Action, decide
from ocp_tuned_boot.record import InForce

ASKED = Inputs("localhost/a", "site", "tuned", "this-boot")


def in_force(boot: str, fingerprint: str, result: Result = Result.APPLIED) -> InForce:
    return InForce(boot, result, "site", "localhost/b", "id", fingerprint, "12:00")


SAME = ASKED.fingerprint


@pytest.mark.parametrize(
    ("recorded", "action", "words"),
    [
        (None, Action.APPLY, "nothing is in force in this boot yet"),
        (in_force("other-boot", SAME), Action.APPLY, "nothing is in force in this boot yet"),
        (in_force("", SAME), Action.APPLY, "nothing is in force in this boot yet"),
        (in_force("this-boot", "other"), Action.APPLY, "has changed since 'site' was applied"),
        (in_force("this-boot", ""), Action.APPLY, "has changed since 'site' was applied"),
        # The image is another one: that alone changes nothing.
        (in_force("this-boot", SAME), Action.KEEP, "'site' is in force since 12:00"),
        (in_force("this-boot", SAME, Result.DEGRADED), Action.KEEP, "in force, degraded, since"),
    ],
)
def test_the_decision(recorded: InForce | None, action: Action, words: str) -> None:
    decision = decide(ASKED, recorded)
    assert decision.action is action
    assert words in decision.reason
