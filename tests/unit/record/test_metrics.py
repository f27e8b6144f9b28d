"""The metrics of the host say what the record says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ocp_tuned_boot import __version__
from ocp_tuned_boot.host.clock import Step
from ocp_tuned_boot.record.metrics import STATES, Looked, gauges
from ocp_tuned_boot.record.model import Attempt, Deferred, Hold, InForce, Record, Value
from ocp_tuned_boot.tuned.findings import KINDS, make
from ocp_tuned_boot.tuned.judge import Result

BOOTED = 1_700_000_000.4
SINCE = "2023-11-14T22:13:30.250Z"
FOUND = (
    make("no-such-setting", "net.x", ""), make("no-such-setting", "net.y", ""),
    replace(make("overridden", "vm.x", ""), accepted=True),
)  # fmt: skip
HOLDS = (Hold("force_latency", "7", "7", SINCE), Hold("rtentsk"))
IN_FORCE = InForce("b", Result.DEGRADED, "site", "image:1", "id", "f" * 64, SINCE, FOUND, HOLDS)
DONE = Record(
    Result.DEGRADED, "2023-11-14T22:13:20.000Z", "b", "apply", profile="site", findings=FOUND,
    steps=(Step("image", 1.0), Step("tuned", 2.0), Step("image", 0.5)), seconds=3.75,
    attempts=(Attempt(1.0, "podman", ""),), in_force=IN_FORCE,
    values=(Value("a", "verified", "1"), Value("b", "verified", "1"), Value("c", "different", "1")),
)  # fmt: skip


def value(name: str, record: Record = DONE, looked: Looked | None = None, **labels: str) -> object:
    """The value of the sample with exactly these labels, or None."""
    named = [it for it in gauges(record, BOOTED, looked) if it.name == f"ocp_tuned_boot_{name}"]
    found: list[tuple[float, Mapping[str, str]]] = [
        (each.value, each.labels) for it in named for each in it.samples
    ]
    return next((it for it, have in found if dict(have) == labels), None)


def test_the_result_is_a_set_of_states() -> None:
    for result in Result:
        states = [value("result", replace(DONE, result=result), result=it.value) for it in Result]
        assert states == [float(it is result) for it in Result]


def test_what_is_applied_and_since_when() -> None:
    assert value("info", version=__version__, profile="site", image="image:1") == 1
    assert value("applied") == 1
    assert value("applied_timestamp_seconds") == 1_700_000_010.25
    assert value("node_boot_time_seconds") == 1_700_000_000
    failed = Record(Result.FAILED, "", profile="site", image="image:1")
    assert value("info", failed, version=__version__, profile="", image="") == 1
    assert value("applied", failed) == 0
    assert value("applied_timestamp_seconds", failed) is None
    assert value("run_timestamp_seconds", failed) is None


def test_the_times_of_the_run() -> None:
    assert value("run_timestamp_seconds") == 1_700_000_000
    assert value("run_duration_seconds") == 3.75
    assert value("step_duration_seconds", step="image") == 1.5
    assert value("step_duration_seconds", step="tuned") == 2
    assert value("failed_attempts") == 1
    assert value("failed_attempts", replace(DONE, left_out={"attempts": 4})) == 5


def test_the_findings_by_kind_and_whether_they_are_accepted() -> None:
    assert value("findings", kind="no-such-setting", accepted="false") == 2
    assert value("findings", kind="overridden", accepted="true") == 1
    assert value("findings", kind="overridden", accepted="false") is None


def test_the_settings_by_state() -> None:
    found = {state: value("settings", state=state) for state in STATES}
    assert found == {"verified": 2, "different": 1, "unchecked": 0, "not-applicable": 0,
                     "handed-over": 0}  # fmt: skip
    assert value("settings", replace(DONE, values=None), state="verified") is None


def test_what_systemd_holds() -> None:
    assert (value("holds", state="held"), value("holds", state="lost")) == (1, 1)
    assert value("holds", Record(Result.FAILED, ""), state="lost") == 0


@pytest.mark.parametrize("waits", ["", "image", "profile", "first"])
def test_what_waits(waits: str) -> None:
    deferred = Deferred(waits, "f", "p", "i", SINCE) if waits else None
    for each in ("image", "profile", "first"):
        assert value("deferred", replace(DONE, deferred=deferred), waits=each) == (each == waits)


def test_the_fallbacks_are_findings_that_exist() -> None:
    for what, kind in {"image": "image-stand-in", "profile": "profile-fallback"}.items():
        assert kind in KINDS
        assert value("fallback", what=what) == 0
        assert value("fallback", replace(DONE, findings=(make(kind, "x", ""),)), what=what) == 1


def test_whether_it_was_late() -> None:
    assert value("late") == 0
    assert value("late", replace(DONE, late=("kubelet.service",))) == 1


def test_drift_has_the_time_at_which_it_was_looked_for() -> None:
    assert value("drifted_settings", owned="false") is None
    looked = Looked(BOOTED, 2, 1)
    assert value("drifted_settings", looked=looked, owned="false") == 2
    assert value("drifted_settings", looked=looked, owned="true") == 1
    assert value("drift_check_timestamp_seconds", looked=looked) == BOOTED


def test_no_label_has_what_differs_with_each_boot_or_change() -> None:
    """Each value of a label is a time series that Prometheus keeps."""
    labels = [each.labels for it in gauges(DONE, BOOTED) for each in it.samples]
    names = {name for each in labels for name in each}
    assert names == {"version", "profile", "image", "result", "waits", "what", "step", "kind",
                     "accepted", "state"}  # fmt: skip
    assert not {IN_FORCE.fingerprint, "b", "id"} & {it for each in labels for it in each.values()}
