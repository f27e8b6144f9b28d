"""How a record comes about: it never claims what did not happen."""

from __future__ import annotations

import errno
import json
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest

from ocp_tuned_boot.errors import Defect, HostError, Interrupted, PodmanError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.clock import Step
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.record import store as record
from ocp_tuned_boot.record.model import (
    Action,
    Decision,
    Deferred,
    HandedOver,
    Hold,
    InForce,
    Moments,
    Record,
    Residue,
    Value,
    Waits,
    Why,
)
from ocp_tuned_boot.record.recorder import Recorder, recording
from ocp_tuned_boot.requested import config
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.tuned.findings import Finding, make
from ocp_tuned_boot.tuned.judge import Outcome, Result

ASKED = Inputs("localhost/a", "site", "tuned", "boot")
IMAGE = ("localhost/a", "id-a", "store")
EARLIER = InForce("boot", Result.APPLIED, "old", "localhost/old", "id-old", "f", "11:00")
REFUSED = Finding("setting-refused", "vm.x", "no")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Where an earlier run in this boot has applied `old`."""
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    paths.boot_id.parent.mkdir(parents=True)
    paths.boot_id.write_text("boot\n")
    record.write(paths, Record(Result.APPLIED, "11:00", profile="old", in_force=EARLIER))
    return paths


def opened(paths: Paths) -> Recorder:
    """As far as the decision to apply."""
    recorder = Recorder(paths, time.monotonic())
    recorder.decided(ASKED, Decision(Action.APPLY, "because"))
    return recorder


def on_disk(paths: Paths) -> Record:
    found = record.read(paths)
    assert found is not None
    return found


def test_while_tuned_runs_nothing_is_called_in_force(paths: Paths) -> None:
    recorder = opened(paths)
    assert on_disk(paths).in_force == EARLIER
    recorder.tuning(*IMAGE)
    found = on_disk(paths)
    assert (found.result, found.in_force, found.image_id) == (Result.APPLYING, None, "id-a")


@pytest.mark.parametrize("result", [Result.APPLIED, Result.DEGRADED])
def test_what_was_judged_to_be_in_force_is(paths: Paths, result: Result) -> None:
    recorder = opened(paths)
    recorder.tuning(*IMAGE)
    recorder.judged(Outcome(result, (REFUSED,)))
    assert recorder.write() == on_disk(paths)
    found = on_disk(paths).in_force
    assert found is not None
    assert (found.result, found.profile, found.image_id, found.boot_id, found.fingerprint) == (
        result, "site", "id-a", "boot", ASKED.fingerprint,
    )  # fmt: skip
    assert found.findings == (REFUSED,)


def test_what_failed_is_not_in_force_and_neither_is_what_was(paths: Paths) -> None:
    recorder = opened(paths)
    recorder.tuning(*IMAGE)
    recorder.judged(Outcome(Result.FAILED, (REFUSED,)))
    recorder.write()
    assert (on_disk(paths).result, on_disk(paths).in_force) == (Result.FAILED, None)


@pytest.mark.parametrize("changed", [False, True])
def test_a_change_that_fails_still_waits(paths: Paths, changed: bool) -> None:
    """`status` says so, and the conditions have to say the same."""
    for _ in range(2):
        recorder = Recorder(paths, time.monotonic(), Why.RELOAD)
        recorder.decided(ASKED, Decision(Action.APPLY, "because", changed=changed))
        recorder.failed("podman", "no socket")
        recorder.write()
        found = on_disk(paths)
        assert found.action == "change-failed"
        waits = found.deferred.profile if found.deferred else ""
        assert waits == ("site" if changed else "")
        reason = json.loads(paths.status.read_text())["conditions"][0]["reason"]
        assert reason == ("Deferred" if changed else "AsExpected")


def test_a_notice_that_is_interrupted_has_changed_nothing_and_says_nothing(paths: Paths) -> None:
    """It is restarted for each change."""
    before = paths.status.read_text()

    def interrupted() -> None:
        with recording(paths, Notifier(), time.monotonic(), Why.NOTICE) as recorder:
            recorder.decided(ASKED, Decision(Action.DEFER, "because", waits=Waits.PROFILE))
            raise Interrupted(15)

    with pytest.raises(Interrupted):
        interrupted()
    assert paths.status.read_text() == before


def test_what_is_deferred_again_is_no_news(paths: Paths) -> None:
    news = []
    for _ in range(2):
        recorder = Recorder(paths, time.monotonic())
        recorder.decided(ASKED, Decision(Action.DEFER, "because", waits=Waits.PROFILE))
        recorder.kept(())
        recorder.write()
        news.append(recorder.defers_anew)
    assert news == [True, False]


def test_a_run_that_ends_before_tuned_ran_leaves_what_is_in_force(paths: Paths) -> None:
    recorder = opened(paths)
    recorder.failed("podman", "no socket")
    recorder.write()
    found = on_disk(paths)
    assert (found.result, found.in_force) == (Result.FAILED, EARLIER)
    assert [(each.kind, each.message) for each in found.findings] == [("podman", "no socket")]


def test_what_is_kept_has_the_result_and_the_image_it_was_applied_with(paths: Paths) -> None:
    recorder = Recorder(paths, time.monotonic())
    recorder.decided(ASKED, Decision(Action.KEEP, "because"))
    recorder.kept(())
    recorder.write()
    found = on_disk(paths)
    assert (found.action, found.result, found.in_force) == ("keep", Result.APPLIED, EARLIER)
    assert (found.image, found.image_id) == ("localhost/old", "id-old")


@pytest.mark.parametrize("image", ["localhost/a", "localhost/old"])
def test_the_fallback_finding_ends_when_that_image_is_requested(paths: Paths, image: str) -> None:
    told = make("image-stand-in", "localhost/before", "cannot be pulled")
    degraded = replace(EARLIER, image=image, result=Result.DEGRADED, findings=(told,))
    record.write(paths, Record(Result.DEGRADED, "11:00", in_force=degraded))
    recorder = Recorder(paths, time.monotonic())
    recorder.decided(ASKED, Decision(Action.KEEP, "because"))
    recorder.kept(())
    recorder.write()
    found = on_disk(paths)
    assert found.in_force is not None
    asked = image == ASKED.image
    assert found.result is (Result.APPLIED if asked else Result.DEGRADED)
    assert found.findings == found.in_force.findings == (() if asked else (told,))


def test_the_time_it_took_stands_when_it_is_judged(paths: Paths) -> None:
    recorder = opened(paths)
    recorder.judged(Outcome(Result.APPLIED))
    first = recorder.record().seconds
    assert 0 < first < 60
    assert recorder.record().seconds == first


def test_a_result_stands_when_it_is_on_disk_and_not_before(paths: Paths) -> None:
    recorder = opened(paths)
    recorder.judged(Outcome(Result.APPLIED))
    paths.status.unlink()
    paths.status.mkdir()
    with pytest.raises(HostError):
        recorder.conclude()
    assert not recorder.concluded
    paths.status.rmdir()
    recorder.conclude()
    assert recorder.concluded


def test_a_run_that_was_not_judged_has_the_time_it_took_too(paths: Paths) -> None:
    recorder = Recorder(paths, time.monotonic() - 5)
    recorder.failed("podman", "no socket")
    assert 5 <= recorder.record().seconds < 60


LATENCY = Hold("force_latency", "7", "7", "12:00")


def test_what_is_held_is_on_record_and_a_failed_reload_leaves_it(paths: Paths) -> None:
    recorder = opened(paths)
    recorder.tuning(*IMAGE)
    recorder.judged(Outcome(Result.APPLIED), (LATENCY,))
    recorder.write()
    again = Recorder(paths, time.monotonic(), Why.RELOAD)
    again.decided(ASKED, Decision(Action.APPLY, "because"))
    again.tuning(*IMAGE)
    again.failed("podman", "no socket")
    again.write()
    found = on_disk(paths).in_force
    assert found is not None
    assert found.holds == (LATENCY,)


def test_what_is_held_again_changes_what_is_in_force_and_its_result(paths: Paths) -> None:
    recorder = Recorder(paths, time.monotonic())
    recorder.decided(ASKED, Decision(Action.KEEP, "because"))
    recorder.kept(())
    lost = make("lost-after-exit", "force_latency", "no")
    recorder.held(Outcome(Result.DEGRADED, (lost,)), (LATENCY,))
    done = recorder.record()
    assert (done.result, done.findings) == (Result.DEGRADED, (lost,))
    assert done.in_force == replace(
        EARLIER, result=Result.DEGRADED, findings=(lost,), holds=(LATENCY,)
    )


@pytest.mark.parametrize("result", [Result.APPLIED, Result.DEGRADED])
def test_what_was_read_back_changes_the_result_and_what_is_in_force(
    paths: Paths, result: Result
) -> None:
    recorder = opened(paths)
    recorder.tuning(*IMAGE)
    recorder.judged(Outcome(Result.APPLIED))
    values = (Value("vm.x", "different", "1", "2"),)
    recorder.checked(values, Outcome(result, (REFUSED,)))
    done = recorder.record()
    assert (done.values, done.result, done.findings) == (values, result, (REFUSED,))
    assert done.in_force is not None
    assert (done.in_force.result, done.in_force.findings) == (result, (REFUSED,))


def test_what_else_is_taken_down(paths: Paths) -> None:
    recorder = Recorder(paths, time.monotonic() - 5)
    recorder.attempt_failed("podman", "no socket")
    recorder.attempt_failed("timeout", "it hung")
    recorder.kernel_arguments(("a=1",))
    recorder.neighbours({"kubelet.service": "inactive"})
    recorder.steps.append(Step("inputs", 0.1))
    done = recorder.record()
    assert [(each.kind, each.message) for each in done.attempts] == [
        ("podman", "no socket"), ("timeout", "it hung"),
    ]  # fmt: skip
    assert all(5 <= each.at < 60 for each in done.attempts)
    assert done.kernel_arguments == ("a=1",)
    assert done.units == {"kubelet.service": "inactive"}
    assert done.steps == (Step("inputs", 0.1),)


def test_where_nothing_ran_yet_nothing_is_in_force(tmp_path: Path) -> None:
    recorder = Recorder(Paths(tmp_path), 0.0)
    recorder.checked((), Outcome(Result.DEGRADED))
    assert recorder.in_force is None


CHANGE = (Why.RELOAD, Why.FORCE, Why.NOTICE)


def changing(paths: Paths, why: Why) -> Recorder:
    recorder = Recorder(paths, time.monotonic(), why)
    recorder.decided(ASKED, Decision(Action.APPLY, "because", guarded=True))
    return recorder


@pytest.mark.parametrize("why", CHANGE)
def test_a_change_that_fails_before_tuned_leaves_what_is_in_force(paths: Paths, why: Why) -> None:
    recorder = changing(paths, why)
    recorder.failed("podman", "no socket")
    recorder.write()
    found = on_disk(paths)
    assert (found.action, found.result, found.in_force) == (
        "change-failed", Result.DEGRADED, EARLIER,
    )  # fmt: skip
    assert [(each.kind, each.subject) for each in found.findings] == [("change-failed", "podman")]
    assert "no socket" in found.findings[0].message
    assert "already" not in found.findings[0].message
    # A start of the unit does not request a change.
    recorder = changing(paths, Why.START)
    recorder.failed("podman", "no socket")
    assert recorder.record().result is Result.FAILED


@pytest.mark.parametrize("why", CHANGE)
def test_a_change_that_fails_in_tuned_degrades_what_is_in_force(paths: Paths, why: Why) -> None:
    recorder = changing(paths, why)
    recorder.tuning(*IMAGE)
    recorder.judged(Outcome(Result.FAILED, (make("timeout", "x", "it hung"),)))
    recorder.write()
    found = on_disk(paths)
    assert found.in_force is not None
    assert (found.in_force.profile, found.in_force.result) == ("old", Result.DEGRADED)
    assert "it hung; some settings may already be those of 'site'" in found.findings[0].message
    assert found.in_force.findings == found.findings
    # The next failure takes the place of this one.
    recorder = changing(paths, why)
    recorder.failed("podman", "no socket")
    assert [each.subject for each in recorder.record().findings] == ["podman"]


def test_a_profile_that_tuned_refuses_has_changed_nothing(paths: Paths) -> None:
    recorder = changing(paths, Why.RELOAD)
    recorder.tuning(*IMAGE)
    recorder.judged(Outcome(Result.FAILED, (make("unknown-profile", "x", "no such"),)))
    assert recorder.record().in_force == EARLIER


def test_what_another_boot_has_left_says_nothing(paths: Paths) -> None:
    other = replace(EARLIER, boot_id="other")
    record.write(paths, Record(Result.APPLIED, "11:00", boot_id="other", in_force=other))
    assert Recorder(paths, 0.0).in_force is None
    recorder = changing(paths, Why.RELOAD)
    recorder.failed("podman", "no socket")
    assert (recorder.record().result, recorder.record().in_force) == (Result.FAILED, None)
    # Nothing is applied, and a deferred first run does not change that.
    recorder = Recorder(paths, 0.0)
    recorder.decided(ASKED, Decision(Action.DEFER, "late", waits=Waits.FIRST))
    recorder.kept(())
    assert (recorder.record().result, recorder.record().in_force) == (Result.DEFERRED, None)


def test_what_waits_is_on_record_since_it_was_first_seen(paths: Paths) -> None:
    def seen(waits: Waits, asked: Inputs = ASKED) -> Record:
        recorder = Recorder(paths, time.monotonic())
        recorder.decided(asked, Decision(Action.DEFER, "because", waits=waits))
        recorder.kept(())
        return recorder.write()

    first = seen(Waits.PROFILE)
    assert first.deferred is not None
    assert first.deferred.fingerprint == ASKED.fingerprint
    assert (first.action, first.result, first.in_force) == ("defer", Result.APPLIED, EARLIER)
    time.sleep(0.002)  # record.now() counts milliseconds
    assert seen(Waits.PROFILE).deferred == first.deferred
    other = seen(Waits.PROFILE, replace(ASKED, profile="other")).deferred
    assert other is not None
    assert other.since > first.deferred.since
    assert seen(Waits.NOTHING).deferred is None


def test_of_the_hand_over_list_the_last_attempt_is_recorded(paths: Paths) -> None:
    recorder = opened(paths)
    recorder.handed_over(
        (HandedOver("a", "lost", "1", "0", "0"), HandedOver("b", "lost", "1", "0", "0"))
    )
    recorder.handed_over((HandedOver("a", "put-back", "1", "0", "1"),))
    assert [(each.key, each.how) for each in recorder.record().handover] == [
        ("a", "put-back"), ("b", "lost"),
    ]  # fmt: skip


DETAILED = Record(
    Result.APPLIED, "11:00", in_force=EARLIER, values=(Value("vm.x", "verified", "1"),),
    kernel_arguments=("a=1",), late=("crio.service",),
    handover=(HandedOver("x", "left-out", "1", "0", "1"),),
    residue=(Residue("y", "put-back", "1", "2", "1"),),
    deferred=Deferred("profile", "f", "site", "localhost/a", "10:00"),
)  # fmt: skip
DETAILS = ("values", "kernel_arguments", "late", "handover", "residue")


def details(found: Record) -> list[object]:
    return [getattr(found, name) for name in DETAILS]


def test_a_kept_profile_keeps_its_details(paths: Paths) -> None:
    record.write(paths, DETAILED)
    recorder = Recorder(paths, time.monotonic())
    recorder.decided(ASKED, Decision(Action.KEEP, "because"))
    recorder.kept(())
    assert details(recorder.record()) == details(DETAILED)


def test_what_is_accepted_by_now_counts_when_the_profile_is_kept(paths: Paths) -> None:
    degraded = replace(EARLIER, result=Result.DEGRADED, findings=(REFUSED,))
    record.write(paths, Record(Result.DEGRADED, "11:00", in_force=degraded))
    for accept, result in ((((REFUSED.kind, "vm.*"),), Result.APPLIED), ((), Result.DEGRADED)):
        recorder = Recorder(paths, time.monotonic())
        recorder.decided(ASKED, Decision(Action.KEEP, "because"))
        recorder.kept(accept)
        recorder.write()
        found = on_disk(paths)
        assert found.in_force is not None
        assert (found.result, found.in_force.result) == (result, result)


@pytest.mark.parametrize("why", CHANGE)
def test_so_does_one_that_a_failed_change_has_not_touched(paths: Paths, why: Why) -> None:
    record.write(paths, DETAILED)
    # boot.conf cannot be read, for example: what is requested is not known.
    recorder = Recorder(paths, time.monotonic(), why)
    recorder.failed("configuration", "boot.conf:1: no")
    assert details(recorder.record()) == details(DETAILED)
    assert recorder.record().deferred == DETAILED.deferred
    recorder = changing(paths, why)
    recorder.failed("podman", "no socket")
    assert details(recorder.record()) == details(DETAILED)
    assert recorder.record().deferred is None
    recorder = changing(paths, why)
    recorder.tuning(*IMAGE)
    recorder.judged(Outcome(Result.FAILED, (make("timeout", "x", "it hung"),)))
    assert recorder.record().values is None


def test_a_first_one_that_waits_is_deferred_and_nothing_is_in_force(tmp_path: Path) -> None:
    recorder = Recorder(Paths(tmp_path), time.monotonic())
    recorder.decided(ASKED, Decision(Action.DEFER, "late", waits=Waits.FIRST), ["crio.service"])
    recorder.kept(())
    found = recorder.record()
    assert (found.result, found.in_force, found.late) == (
        Result.DEFERRED, None, ("crio.service",),
    )  # fmt: skip


def test_a_doubt_about_the_inputs_degrades_each_run_and_not_what_is_in_force(paths: Paths) -> None:
    doubt = make("torn-image-env", "image.env", "torn")
    doubtful = replace(ASKED, doubts=(doubt,))
    for _ in range(2):
        recorder = Recorder(paths, time.monotonic())
        recorder.decided(doubtful, Decision(Action.KEEP, "because"))
        recorder.kept(())
        found = recorder.write()
        assert (found.result, found.findings, found.in_force) == (
            Result.DEGRADED, (doubt,), EARLIER,
        )  # fmt: skip
    recorder = Recorder(paths, time.monotonic())
    recorder.decided(doubtful, Decision(Action.APPLY, "because"))
    recorder.judged(Outcome(Result.APPLIED))
    recorder.checked((), Outcome(Result.APPLIED))
    found = recorder.record()
    assert (found.result, found.findings) == (Result.DEGRADED, (doubt,))
    assert found.in_force is not None
    assert (found.in_force.result, found.in_force.findings) == (Result.APPLIED, ())


def test_an_earlier_record_that_cannot_be_read_is_logged_and_ignored(
    paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    paths.status.write_text("torn {")
    with caplog.at_level(logging.WARNING):
        assert Recorder(paths, 0.0).in_force is None
    assert f"{paths.status}: found no record of a run" in caplog.text


def test_a_record_that_cannot_be_written_does_not_hide_what_failed(
    paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = opened(paths)
    recorder.failed("podman", "no socket")
    paths.status.unlink()
    paths.status.mkdir()
    recorder.write_if_possible()
    assert f"cannot write {paths.status}" in caplog.text


def test_an_exception_of_others_is_recorded_with_its_place_and_its_traceback_is_logged(
    paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    def run() -> None:
        with recording(paths, Notifier(), time.monotonic(), Why.START) as recorder:
            recorder.decided(ASKED, Decision(Action.APPLY, "because"))
            recorder.tuning(*IMAGE)
            config.parse([("boot.conf", None)])  # type: ignore[list-item]

    with pytest.raises(Defect, match=r"^TypeError: .* \(requested/config\.py:\d+\)\n"):
        run()
    found = on_disk(paths)
    assert (found.result, found.in_force, found.action) == (Result.FAILED, None, "apply")
    (finding,) = found.findings
    assert (finding.kind, finding.message[:9]) == ("defect", "TypeError")
    assert "journalctl" in finding.advice
    assert 'config.parse([("boot.conf", None)])' in caplog.text


def test_what_else_a_run_that_fails_has_found_is_logged_and_the_failure_is_not(
    paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    """That is done by who reports it (cli.py, gate.py)."""
    doubt = make("torn-image-env", "image.env", "image.env is torn")

    def run() -> None:
        with recording(paths, Notifier(), time.monotonic(), Why.START) as recorder:
            recorder.decided(replace(ASKED, doubts=(doubt,)), Decision(Action.APPLY, "because"))
            raise PodmanError("no socket")

    with pytest.raises(PodmanError) as raised:
        run()
    assert raised.value.recorded
    assert [each.getMessage() for each in caplog.records] == [f"{doubt.message}\n{doubt.advice}"]


def test_one_that_comes_after_the_profile_is_applied_degrades_it(paths: Paths) -> None:
    with recording(paths, Notifier(), time.monotonic(), Why.START) as recorder:
        recorder.decided(ASKED, Decision(Action.APPLY, "because"))
        recorder.tuning(*IMAGE)
        recorder.judged(Outcome(Result.APPLIED, ()))
        recorder.conclude()
        raise ImportError("libssl.so.3: no such file")
    found = on_disk(paths)
    assert found.result is Result.DEGRADED
    assert found.in_force is not None
    assert found.in_force.result is Result.DEGRADED
    assert [each.kind for each in found.findings] == ["defect"]


def test_a_fallback_degrades_until_the_applied_profile_is_the_requested_one(paths: Paths) -> None:
    fallback = make("profile-fallback", "new", "TuneD cannot load it")
    recorder = Recorder(paths, time.monotonic())
    recorder.decided(
        replace(ASKED, fallback=(fallback,)), Decision(Action.APPLY, "because"), ["crio.service"]
    )
    recorder.tuning(*IMAGE)
    recorder.judged(Outcome(Result.DEGRADED, (fallback,)))
    found = recorder.write()
    assert (found.result, found.findings) == (Result.DEGRADED, (fallback,))
    for action, kept in ((Action.DEFER, (fallback,)), (Action.KEEP, ())):
        recorder = Recorder(paths, time.monotonic())
        recorder.decided(ASKED, Decision(action, "because"))
        recorder.kept(())
        found = recorder.write()
        assert found.in_force is not None
        assert found.findings == found.in_force.findings == kept
        assert found.result is (Result.DEGRADED if kept else Result.APPLIED)


def test_while_tuned_runs_the_reason_of_the_previous_failure_is_on_record(tmp_path: Path) -> None:
    """A closed gate retries: whoever looks in the middle of it wants to know why it holds."""
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    paths.boot_id.parent.mkdir(parents=True)
    paths.boot_id.write_text("boot\n")
    recorder = opened(paths)
    recorder.tuning(*IMAGE)
    recorder.failed("image", "no such image")
    recorder.write()
    for _ in range(2):
        recorder = opened(paths)
        recorder.tuning(*IMAGE)
        found = on_disk(paths)
        assert found.result is Result.APPLYING
        assert "The previous run failed: no such image" in found.summary()
    recorder.judged(Outcome(Result.APPLIED))
    recorder.write()
    assert on_disk(paths).findings == ()


def test_a_failed_reload_has_the_advice_of_its_cause(paths: Paths) -> None:
    recorder = changing(paths, Why.RELOAD)
    recorder.tuning(*IMAGE)
    cause = make("unknown-profile", "x", "no such")
    recorder.judged(Outcome(Result.FAILED, (cause,)))
    (finding,) = recorder.record().findings
    assert "fix it there, then: systemctl reload ocp-tuned" in finding.advice
    assert "systemctl start" not in finding.advice


def full(paths: Paths, monkeypatch: pytest.MonkeyPatch, *, for_good: bool) -> None:
    """From now on nothing can be written to /run; where not `for_good`, until what is reserved is
    given back. The same with a real file system: tests/lab/test_full.py."""
    write = files.write

    def refuse(path: Path, data: bytes, mode: int = 0o644, *, durable: bool = True) -> None:
        if for_good or paths.reserve.exists():
            raise HostError("full") from OSError(errno.ENOSPC, "No space left on device")
        write(path, data, mode, durable=durable)

    monkeypatch.setattr(files, "write", refuse)


def failing(paths: Paths, first: Callable[[Recorder], None]) -> None:
    """A run that decides to apply, and fails after this."""
    with recording(paths, Notifier(), time.monotonic(), Why.START) as recorder:
        recorder.decided(ASKED, Decision(Action.APPLY, "because"))
        first(recorder)
        raise HostError("the disk")


def test_a_run_that_fills_run_is_recorded_in_the_space_set_aside(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:

    def fills_it(recorder: Recorder) -> None:
        recorder.tuning(*IMAGE)
        assert paths.reserve.stat().st_blocks * 512 >= record.RESERVE
        full(paths, monkeypatch, for_good=False)

    with pytest.raises(HostError, match="the disk"):
        failing(paths, fills_it)
    assert (on_disk(paths).result, on_disk(paths).findings[0].message) == (
        Result.FAILED, "the disk",
    )  # fmt: skip
    assert not paths.reserve.exists()


def test_the_space_is_given_back_after_a_run(paths: Paths) -> None:
    with recording(paths, Notifier(), time.monotonic(), Why.START) as recorder:
        recorder.decided(ASKED, Decision(Action.APPLY, "because"))
        recorder.tuning(*IMAGE)
        recorder.judged(Outcome(Result.APPLIED, ()))
        recorder.conclude()
    assert not paths.reserve.exists()


@pytest.mark.parametrize("before", [Result.APPLYING, Result.APPLIED])
def test_a_failure_that_cannot_be_recorded_leaves_no_record_that_tuned_is_running(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, before: Result
) -> None:
    """Not of this run, and not of one that was killed before it."""
    record.write(paths, replace(on_disk(paths), result=before))
    full(paths, monkeypatch, for_good=True)
    with pytest.raises(HostError, match="the disk"):
        failing(paths, lambda _: None)
    left = record.read(paths)
    # What is applied is not forgotten.
    assert (left and left.result) == (None if before is Result.APPLYING else Result.APPLIED)


def test_when_a_run_was_where_is_recorded(tmp_path: Path) -> None:
    recorder = Recorder(Paths(tmp_path), 5.0)
    assert recorder.record().moments == Moments(5.0)
    recorder.waited(2.0, [Step("ask", 0.5, 3.0)])
    assert recorder.record().moments == Moments(5.0, 2.0)
    assert recorder.record().early == (Step("ask", 0.5, 3.0),)
    before = time.monotonic()
    recorder.ready()
    moments = recorder.record().moments
    assert moments is not None
    assert moments.ready is not None
    assert before <= moments.ready <= time.monotonic()
    assert (moments.word, moments.began) == (5.0, 2.0)


# A change that has failed, and what is seen of it later.


def later(paths: Paths, why: Why, decision: Decision, asked: Inputs = ASKED) -> Record:
    recorder = Recorder(paths, time.monotonic(), why)
    recorder.decided(asked, decision)
    recorder.kept(())
    return recorder.write()


def kinds(done: Record) -> list[str]:
    return [each.kind for each in done.findings]


WAITING = Decision(Action.DEFER, "because", waits=Waits.PROFILE, changed=True)


@pytest.mark.parametrize("why", [Why.NOTICE, Why.START])
@pytest.mark.parametrize(
    "waiting", [WAITING, Decision(Action.KEEP, "because", waits=Waits.IMAGE)],
    ids=["profile", "image"],
)  # fmt: skip
def test_a_change_that_has_failed_is_known_while_the_same_is_requested(
    paths: Paths, why: Why, waiting: Decision
) -> None:
    recorder = changing(paths, Why.RELOAD)
    # The image that is used instead is not the requested one.
    recorder.tuning("localhost/other", "id-other", "archive")
    recorder.judged(Outcome(Result.FAILED, (make("unknown-profile", "site", "no such"),)))
    failed = recorder.write()
    for _ in range(2):
        done = later(paths, why, waiting)
        assert (done.result, done.findings) == (Result.DEGRADED, failed.findings)
        assert (done.in_force, done.action) == (EARLIER, waiting.action.value)
        assert done.image_id == EARLIER.image_id
        assert "no such" in done.summary()
        assert "apply it now" not in done.summary()
    # Another one, or the applied one again, has not failed.
    another = replace(ASKED, profile="another")
    assert kinds(later(paths, why, waiting, another)) == []
    recorder = changing(paths, Why.RELOAD)
    recorder.failed("podman", "no socket")
    recorder.write()
    assert kinds(later(paths, why, Decision(Action.KEEP, "because"))) == []


def test_what_could_not_be_loaded_is_recorded_with_what_is_used_instead(paths: Paths) -> None:
    recorder = Recorder(paths, time.monotonic())
    recorder.decided(replace(ASKED, instead_of="fp"), Decision(Action.APPLY, "because"))
    recorder.tuning(*IMAGE)
    recorder.judged(Outcome(Result.APPLIED))
    recorder.write()
    applied = on_disk(paths).in_force
    assert applied is not None
    assert applied.instead_of == "fp"
