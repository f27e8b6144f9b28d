"""The whole table of decisions."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from ocp_tuned_boot.plan import Situation, decide
from ocp_tuned_boot.record.model import Action, InForce, Waits, Why
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.tuned.findings import make
from ocp_tuned_boot.tuned.judge import Result

ASKED = Inputs("localhost/a", "site", "tuned", "this-boot")
IN_FORCE = InForce(
    "this-boot", Result.APPLIED, "site", "localhost/a", "id", ASKED.fingerprint, "12:00"
)
NEW_IMAGE = replace(IN_FORCE, image="localhost/b")
CHANGED = replace(IN_FORCE, fingerprint="other")
ON_ITS_OWN = (Why.START, Why.NOTICE, Why.PREVIEW)
NO_RECORD = (None, replace(IN_FORCE, boot_id="other-boot"), replace(IN_FORCE, boot_id=""))


def decided(
    in_force: InForce | None, now: Situation = Situation()  # noqa: B008  # frozen
) -> tuple[Action, bool, Waits]:  # fmt: skip
    decision = decide(ASKED, in_force, now)
    return decision.action, decision.guarded, decision.waits


APPLY = (Action.APPLY, False, Waits.NOTHING)
GUARDED = (Action.APPLY, True, Waits.NOTHING)
KEEP = (Action.KEEP, False, Waits.NOTHING)
KEEP_THE_IMAGE = (Action.KEEP, False, Waits.IMAGE)
DEFER = (Action.DEFER, False, Waits.PROFILE)
DEFER_THE_FIRST = (Action.DEFER, False, Waits.FIRST)


@pytest.mark.parametrize("in_force", NO_RECORD)
@pytest.mark.parametrize("why", Why)
def test_the_first_of_a_boot_is_applied_whatever_started_it(
    in_force: InForce | None, why: Why
) -> None:
    for on_change in ("next-boot", "apply"):
        for late in ("apply", "defer"):
            assert decided(in_force, Situation(why, on_change, late)) == APPLY


@pytest.mark.parametrize("in_force", NO_RECORD)
def test_a_late_first_one_is_guarded_or_waits(in_force: InForce | None) -> None:
    for why in Why:
        now = Situation(why, workloads=("crio.service",))
        assert decided(in_force, now) == GUARDED
        waits = DEFER_THE_FIRST if why in ON_ITS_OWN else GUARDED
        assert decided(in_force, replace(now, late="defer")) == waits


def test_a_boot_that_had_a_profile_and_lost_it_is_guarded() -> None:
    # The run that was to put another one in force was killed.
    for why in Why:
        assert decided(None, Situation(why, tuned=True)) == GUARDED


@pytest.mark.parametrize("result", [Result.APPLIED, Result.DEGRADED])
def test_what_has_not_changed_is_kept_whatever_started_us(result: Result) -> None:
    same = replace(IN_FORCE, result=result)
    others = itertools.product(("next-boot", "apply"), ("apply", "defer"), ((), ("x",)), (0, 1))
    for on_change, late, workloads, tuned in others:
        for why in (*ON_ITS_OWN, Why.RELOAD):
            now = Situation(why, on_change, late, workloads, bool(tuned))
            assert decided(same, now) == KEEP
        now = Situation(Why.FORCE, on_change, late, workloads, bool(tuned))
        assert decided(same, now) == GUARDED


def test_a_new_image_waits_for_a_reload() -> None:
    for on_change in ("next-boot", "apply"):
        for why in ON_ITS_OWN:
            assert decided(NEW_IMAGE, Situation(why, on_change)) == KEEP_THE_IMAGE
        for why in (Why.RELOAD, Why.FORCE):
            assert decided(NEW_IMAGE, Situation(why, on_change)) == GUARDED


@pytest.mark.parametrize("in_force", [CHANGED, replace(CHANGED, image="localhost/b")])
def test_a_changed_profile_waits_or_is_applied(in_force: InForce) -> None:
    for why in ON_ITS_OWN:
        assert decided(in_force, Situation(why)) == DEFER
    assert decided(in_force, Situation(Why.START, "apply")) == GUARDED
    # The path unit's own process is none of the unit's: it asks for a reload, see boot.notice.
    assert decided(in_force, Situation(Why.NOTICE, "apply")) == DEFER
    for why, on_change in itertools.product((Why.RELOAD, Why.FORCE), ("next-boot", "apply")):
        assert decided(in_force, Situation(why, on_change)) == GUARDED


@pytest.mark.parametrize("why", Why)
def test_a_change_of_profiles_that_this_one_does_not_use_is_none(why: Why) -> None:
    for on_change in ("next-boot", "apply"):
        now = Situation(why, on_change, unaffected=True)
        assert decided(CHANGED, now) == (GUARDED if why is Why.FORCE else KEEP)
    assert (
        "profiles have changed that it does not use"
        in decide(ASKED, CHANGED, Situation(unaffected=True)).reason
    )
    # A new image is one all the same.
    image = replace(CHANGED, image="localhost/b")
    assert decided(image, Situation(unaffected=True)) == KEEP_THE_IMAGE


def test_what_another_tuned_has_applied_does_not_wait() -> None:
    for on_change in ("next-boot", "apply"):
        for why in ON_ITS_OWN:
            assert decided(CHANGED, Situation(why, on_change, applied_by="TuneD in a pod")) == KEEP
        for why in (Why.RELOAD, Why.FORCE):
            now = Situation(why, on_change, applied_by="TuneD in a pod")
            assert decided(CHANGED, now) == GUARDED
    words = decide(ASKED, CHANGED, Situation(applied_by="TuneD in a pod")).reason
    assert "has changed since" in words
    assert words.endswith("it is applied already, by TuneD in a pod")


@pytest.mark.parametrize(
    ("word", "content", "name"),
    [("never", GUARDED, GUARDED), ("update", DEFER, GUARDED), ("always", DEFER, DEFER),
     ("", DEFER, DEFER)],
)  # fmt: skip
def test_the_agent_says_when_a_change_is_applied(
    word: str, content: tuple[Action, bool, Waits], name: tuple[Action, bool, Waits]
) -> None:
    asked = replace(ASKED, on_change=word)
    for before, expected in ((CHANGED, content), (replace(CHANGED, profile="old"), name)):
        found = decide(asked, before, Situation(on_change="agent"))
        assert (found.action, found.guarded, found.waits) == expected
        # As with on_change = apply, the path unit's own process asks for a reload.
        assert decide(asked, before, Situation(Why.NOTICE, "agent")).action is Action.DEFER
        reload = decide(asked, before, Situation(Why.RELOAD, "agent"))
        assert (reload.action, reload.changed) == (Action.APPLY, True)
        # What boot.conf says wins.
        assert decide(asked, before, Situation()).action is Action.DEFER
        assert decide(asked, before, Situation(on_change="apply")).action is Action.APPLY


def test_the_agent_may_defer_a_first_profile_that_is_late() -> None:
    late = Situation(on_change="agent", workloads=("crio.service",))
    found = decide(replace(ASKED, on_change="always"), None, late)
    assert (found.action, found.waits) == (Action.DEFER, Waits.FIRST)
    assert "crio.service is already running (the agent defers changes)" in found.reason
    for word in ("", "update", "never"):
        assert decide(replace(ASKED, on_change=word), None, late).action is Action.APPLY
    # At a boot, nothing is late.
    boot = decide(replace(ASKED, on_change="always"), None, Situation(on_change="agent"))
    assert boot.action is Action.APPLY


@pytest.mark.parametrize(
    ("in_force", "now", "words"),
    [
        (None, Situation(), "no profile has been applied in this boot"),
        (None, Situation(workloads=("a", "b")), "in this boot, and a, b are already running"),
        (None, Situation(late="defer", workloads=("a",)), "a is already running (late = defer)"),
        (None, Situation(tuned=True), "the record of the applied profile is missing"),
        (IN_FORCE, Situation(), "'site' was applied at 12:00; nothing has changed"),
        (
            replace(IN_FORCE, result=Result.DEGRADED),
            Situation(),
            "'site' was applied at 12:00 (degraded)",
        ),
        (
            NEW_IMAGE,
            Situation(),
            "only the image has changed: it is used at the next",
        ),
        (NEW_IMAGE, Situation(Why.RELOAD), "the image has changed since 'site' was applied"),
        (IN_FORCE, Situation(Why.FORCE), "requested with --force; 'site' was applied at 12:00"),
        (CHANGED, Situation(), "at the next boot, or with: systemctl reload ocp-tuned"),
        (CHANGED, Situation(Why.NOTICE, "apply"), "by a reload, which follows (on_change = apply)"),
        (
            CHANGED,
            Situation(Why.RELOAD),
            "the requested profile has changed since 'site' was applied",
        ),
    ],
)
def test_the_reason_is_shown(in_force: InForce | None, now: Situation, words: str) -> None:
    assert words in decide(ASKED, in_force, now).reason


REFUSAL = make("unknown-profile", "site", 'No profile "site"')


@pytest.mark.parametrize("on_change", ["next-boot", "apply"])
def test_of_what_cannot_be_applied_nobody_says_that_it_will_be(on_change: str) -> None:
    refused = Situation(Why.NOTICE, on_change, refused=REFUSAL, failed=True)
    failed = replace(refused, refused=None)
    for now, words in (
        (refused, 'it cannot be applied: No profile "site"'), (failed, "applying it has failed"),
    ):  # fmt: skip
        decision = decide(ASKED, CHANGED, now)
        assert (decision.action, decision.waits) == (Action.DEFER, Waits.PROFILE)
        assert decision.reason.endswith(words)
        assert "is applied" not in decision.reason
    assert decide(ASKED, CHANGED, refused).advice == REFUSAL.advice
    assert "is used" not in decide(ASKED, NEW_IMAGE, failed).reason
    # Whoever asks for it gets the attempt.
    assert decide(ASKED, CHANGED, replace(refused, why=Why.RELOAD)).action is Action.APPLY
