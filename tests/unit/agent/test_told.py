"""What the cluster is told is what the host has recorded, in the words that users know."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ocp_tuned_boot.agent import told
from ocp_tuned_boot.agent.told import Delivered, Seen
from ocp_tuned_boot.record.model import Deferred, InForce, Record
from ocp_tuned_boot.settings.drift import Drifted
from ocp_tuned_boot.tuned.findings import Finding, make
from ocp_tuned_boot.tuned.judge import Result
from tests.unit.agent.made import NOW

LATER = "2026-11-27T02:00:00Z"
OVERRIDE = make("overridden", "vm.x", "vm.x: /etc/sysctl.d/99.conf sets 1")
OTHER = make("no-such-setting", "net.x", "the kernel has no net.x")


def record(result: Result = Result.APPLIED, *found: Finding, **more: Any) -> Record:
    done = Record(
        result, "2026-11-27T00:59:58.000Z", "boot-1", "apply", profile="site",
        fingerprint="f1", findings=found, kernel_arguments=("skew_tick=1", "nohz=on"), seconds=1.0,
    )  # fmt: skip
    if result in (Result.APPLIED, Result.DEGRADED):
        in_force = InForce("boot-1", result, "site", "image", "id", "f1", "since", found)
        done = replace(done, in_force=in_force)
    return replace(done, **more)


def seen(done: Record | None = None, **more: Any) -> Seen:
    delivered = Delivered(3, "f1", "4.22.0,default:1")
    known: dict[str, Any] = {"record": done or record(), "delivered": delivered, **more}
    return Seen(**known)


def status(what: Seen, old: Any = None, now: str = NOW) -> dict[str, Any]:
    found = told.status(what, old or {}, now)
    assert found is not None
    return found


def conditions(what: Seen) -> list[tuple[str, str, str, str]]:
    return [
        (each["type"], each["status"], each["reason"], each["message"])
        for each in status(what)["conditions"]
    ]


def test_the_status_of_a_profile_that_is_applied() -> None:
    assert status(seen()) == {
        "tunedProfile": "site",
        "observedGeneration": 3,
        "conditions": [
            {
                "type": "Applied",
                "status": "True",
                "reason": "AsExpected",
                "message": "TuneD profile applied.",
                "lastTransitionTime": NOW,
            },
            {
                "type": "Degraded",
                "status": "False",
                "reason": "AsExpected",
                "message": (
                    "No warning or error messages observed applying the TuneD daemon profile."
                ),
                "lastTransitionTime": NOW,
            },
        ],
    }


WAITS = Deferred("profile", "f1", "other", "image", "since")


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        (record(Result.DEGRADED, OVERRIDE),
         [("True", "AsExpected", ""), ("True", "TunedSysctlOverride", "vm.x: /etc/sysctl.d")]),
        (record(Result.DEGRADED, OVERRIDE, OTHER),
         [("True", "AsExpected", ""), ("True", "TunedError", "the kernel has no net.x")]),
        (record(Result.APPLIED, replace(OTHER, accepted=True)),
         [("True", "AsExpected", ""), ("False", "TunedWarning", "the kernel has no net.x")]),
        (record(Result.FAILED, make("unknown-profile", "x", "there is no x")),
         [("False", "Failed", "not yet applied"), ("True", "TunedError", "there is no x")]),
        (record(deferred=WAITS),
         [("False", "Deferred", "waiting for the next node restart: other"),
          ("True", "TunedDeferredUpdate", "at the next node restart: other")]),
        (record(deferred=replace(WAITS, waits="image")),
         [("True", "AsExpected", ""), ("False", "AsExpected", "")]),
        (record(Result.APPLYING),
         [("Unknown", "", "is active, or was interrupted"), ("Unknown", "", "is active")]),
    ],
)  # fmt: skip
def test_the_reasons_are_those_of_the_operator(
    done: Record, expected: list[tuple[str, str, str]]
) -> None:
    found = conditions(seen(done))
    assert [(each[1], each[2]) for each in found] == [(each[0], each[1]) for each in expected]
    for (*_, message), (*_, words) in zip(found, expected):
        assert words in message
        assert message


def test_without_a_record_of_this_boot_nothing_is_known_and_the_message_says_why() -> None:
    old = status(seen())
    unknown = Seen(None, "no run in this boot", delivered=Delivered(4, "f2"))
    found = status(unknown, old, LATER)
    assert [(each["status"], each["message"]) for each in found["conditions"]] == [
        ("Unknown", "no run in this boot")
    ] * 2
    # What was known is not forgotten.
    assert (found["tunedProfile"], found["observedGeneration"]) == ("site", 3)
    assert status(unknown)["tunedProfile"] == ""
    assert "observedGeneration" not in status(unknown)


@pytest.mark.parametrize(
    ("done", "delivered", "expected"),
    [
        (record(), Delivered(4, "f2"), 2),
        (record(), Delivered(4, ""), 2),
        (record(fingerprint=""), Delivered(4, ""), 2),
        (record(), None, 2),
        (record(), Delivered(4, "f1"), 4),
        (record(deferred=WAITS), Delivered(4, "f1"), 4),
        (record(Result.FAILED), Delivered(4, "f1"), 4),
        (record(Result.APPLYING), Delivered(4, "f1"), 2),
    ],
)
def test_a_generation_is_observed_when_its_content_is_on_record(
    done: Record, delivered: Delivered | None, expected: int
) -> None:
    found = status(Seen(done, delivered=delivered), {"observedGeneration": 2})
    assert found["observedGeneration"] == expected


def test_the_profile_is_the_one_that_is_applied() -> None:
    other = record(deferred=WAITS, profile="other")
    assert status(seen(other))["tunedProfile"] == "site"
    assert status(seen(record(Result.FAILED)), {"tunedProfile": "old"})["tunedProfile"] == ""
    assert status(seen(record(Result.APPLYING)), {"tunedProfile": "old"})["tunedProfile"] == "old"


def test_a_status_that_says_the_same_is_not_written() -> None:
    old = status(seen())
    assert told.status(seen(), old, LATER) is None
    assert told.status(seen(delivered=Delivered(4, "f1")), old, LATER) is not None


def test_the_time_changes_with_what_is_said() -> None:
    old = status(seen())
    degraded = record(Result.DEGRADED, OTHER)
    found = status(seen(degraded), old, LATER)
    assert [each["lastTransitionTime"] for each in found["conditions"]] == [NOW, LATER]
    again = status(seen(record(Result.DEGRADED, OVERRIDE)), found, "2026-11-27T03:00:00Z")
    assert again["conditions"][1]["lastTransitionTime"] == "2026-11-27T03:00:00Z"


@pytest.mark.parametrize(
    "old",
    [
        {"conditions": "x", "tunedProfile": 5, "observedGeneration": "3"},
        {"conditions": [None, 5, {"type": None}, {"type": "Applied"}]},
        {"conditions": [{"type": "Applied", "status": "True", "lastTransitionTime": 5}]},
    ],
)
def test_a_status_that_somebody_has_overwritten_is_restored(old: dict[str, Any]) -> None:
    assert status(seen(), old) == status(seen())


def test_a_clock_that_was_ahead_changes_nothing() -> None:
    """The time of a condition is compared with nothing."""
    ahead = status(seen(), now="2999-01-01T00:00:00Z")
    assert told.status(seen(), ahead, NOW) is None
    degraded = status(seen(record(Result.DEGRADED, OTHER)), ahead)
    assert [each["lastTransitionTime"] for each in degraded["conditions"]] == [
        "2999-01-01T00:00:00Z", NOW,
    ]  # fmt: skip


def test_conditions_of_others_stay() -> None:
    other = {"type": "Site", "status": "True", "lastTransitionTime": NOW}
    found = status(seen(), {"conditions": [other]})
    assert found["conditions"][2] == other


def test_why_what_is_wanted_is_not_written_is_said_and_not_observed() -> None:
    what = seen(problem="cannot write image.env: No space left on device")
    found = status(what, {"observedGeneration": 2})
    assert found["observedGeneration"] == 2
    assert [(each["status"], each["reason"]) for each in found["conditions"]] == [
        ("False", "Failed"), ("True", "TunedError"),
    ]  # fmt: skip
    assert "No space left" in found["conditions"][1]["message"]
    assert ("TunedAgentProblem", True) in [(e.reason, e.warning) for e in told.events(what)]


def test_what_has_no_effect_is_said_and_does_not_degrade() -> None:
    notes = ("debug: true has no effect",)
    (_, degraded) = conditions(seen(notes=notes))
    assert degraded[1:3] == ("False", "TunedWarning")
    assert "debug: true has no effect" in degraded[3]
    (_, degraded) = conditions(seen(record(Result.DEGRADED, OTHER), notes=notes))
    assert degraded[1:3] == ("True", "TunedError")


def test_a_message_is_not_longer_than_the_server_allows_and_has_no_control_characters() -> None:
    found = make("error", "x", "œ\x1b[2J\ud800" * 10_000)
    what = seen(record(Result.DEGRADED, found))
    (_, degraded) = conditions(what)
    assert len(degraded[3].encode()) <= told.MESSAGE
    assert "\x1b" not in degraded[3]
    assert max(len(each.message.encode()) for each in told.events(what)) <= 1024


def test_kernel_arguments_are_those_of_a_profile_that_is_applied() -> None:
    assert told.node_annotations(seen()) == {
        "tuned.openshift.io/bootcmdline": "skew_tick=1 nohz=on",
        "tuned.openshift.io/bootcmdline-deps": "4.22.0,default:1",
    }
    # With the operator, an empty line is a line.
    empty = seen(record(kernel_arguments=()), delivered=Delivered(3, "f1"))
    assert told.node_annotations(empty) == {"tuned.openshift.io/bootcmdline": ""}


@pytest.mark.parametrize(
    "what",
    [
        Seen(None, "unknown"),
        seen(delivered=None),
        seen(delivered=Delivered(4, "f2", "4.23.0,default:2")),
        seen(record(Result.FAILED)),
        seen(record(deferred=WAITS)),
        seen(record(Result.APPLYING)),
        seen(record(left_out={"kernel_arguments": 1})),
        seen(record(kernel_arguments=("x" * 200_000,))),
    ],
)
def test_kernel_arguments_that_are_not_known_are_not_told(what: Seen) -> None:
    assert told.node_annotations(what) is None


def names(what: Seen, *drifted: Drifted) -> dict[str, str]:
    return {each.name("node-1"): each.reason for each in told.events(what, drifted)}


def test_one_event_for_each_thing_that_happens() -> None:
    applied = names(seen())
    assert list(applied.values()) == ["TunedApplied"]
    # A run that keeps what is applied, and the same run seen again, are no news.
    kept = record(action="keep", started="2026-11-27T05:00:00.000Z", seconds=0.1)
    assert names(seen(kept)) == applied
    degraded = names(seen(record(Result.DEGRADED, OTHER)))
    assert list(degraded.values()) == ["TunedDegraded"]
    failed = record(Result.FAILED, Finding("image", "", "no image"))
    again = replace(failed, started="2026-11-27T05:00:00.000Z")
    assert names(seen(failed)) == names(seen(again))
    deferred = names(seen(record(deferred=WAITS)))
    assert list(deferred.values()) == ["TunedApplied", "TunedDeferred"]
    another = replace(record(), boot_id="boot-2")
    assert set(names(seen(another))) != set(applied)
    assert names(seen(record(Result.APPLYING))) == {}


def test_drift_is_told_once() -> None:
    one = Drifted("vm.x", "/proc/sys/vm/x", "1", "7", "since", "2026-11-27T03:00:00Z")
    first = names(seen(), one)
    assert list(first.values()) == ["TunedApplied", "TunedDrift"]
    assert names(seen(), replace(one, found="8")) == first
    assert names(seen(), one, replace(one, key="vm.y")) != first


def test_the_name_of_an_event_is_one_that_the_server_accepts() -> None:
    (event,) = told.events(seen())
    assert event.name("node-1.example") == told.events(seen())[0].name("node-1.example")
    assert event.name("n").startswith("n.")
    assert len(event.name("n")) < 60
    assert told.problem("NotEvaluated", "x").reason == "NotEvaluated"
