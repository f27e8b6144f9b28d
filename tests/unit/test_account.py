"""How a record comes about: it never claims what did not happen."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from ocp_tuned_boot import record
from ocp_tuned_boot.account import Account
from ocp_tuned_boot.findings import Finding
from ocp_tuned_boot.inputs import Inputs
from ocp_tuned_boot.outcome import Outcome, Result
from ocp_tuned_boot.paths import Paths
from ocp_tuned_boot.plan import Action, Decision
from ocp_tuned_boot.podman import Image
from ocp_tuned_boot.progress import Step
from ocp_tuned_boot.record import InForce, Record
from ocp_tuned_boot.retry import Passing
from ocp_tuned_boot.values import Value

ASKED = Inputs("localhost/a", "site", "tuned", "boot")
IMAGE = Image("localhost/a", "id-a")
EARLIER = InForce("boot", Result.APPLIED, "old", "localhost/old", "id-old", "f", "11:00")
REFUSED = Finding("setting-refused", "vm.x", "no")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Where an earlier run in this boot has put `old` in force."""
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    record.write(paths, Record(Result.APPLIED, "11:00", profile="old", in_force=EARLIER))
    return paths


def opened(paths: Paths) -> Account:
    """As far as the decision to apply."""
    account = Account(paths, time.monotonic())
    account.decided(ASKED, Decision(Action.APPLY, "because"))
    return account


def on_disk(paths: Paths) -> Record:
    found = record.read(paths)
    assert found is not None
    return found


def test_while_tuned_runs_nothing_is_called_in_force(paths: Paths) -> None:
    account = opened(paths)
    assert on_disk(paths).in_force == EARLIER
    account.begins(IMAGE)
    found = on_disk(paths)
    assert (found.result, found.in_force, found.image_id) == (Result.APPLYING, None, "id-a")


@pytest.mark.parametrize("result", [Result.APPLIED, Result.DEGRADED])
def test_what_was_judged_to_be_in_force_is(paths: Paths, result: Result) -> None:
    account = opened(paths)
    account.begins(IMAGE)
    account.judged(Outcome(result, (REFUSED,)))
    assert account.write() == on_disk(paths)
    found = on_disk(paths).in_force
    assert found is not None
    assert (found.result, found.profile, found.image_id, found.boot_id, found.fingerprint) == (
        result, "site", "id-a", "boot", ASKED.fingerprint,
    )  # fmt: skip
    assert found.findings == (REFUSED,)


def test_what_failed_is_not_in_force_and_neither_is_what_was(paths: Paths) -> None:
    account = opened(paths)
    account.begins(IMAGE)
    account.judged(Outcome(Result.FAILED, (REFUSED,)))
    account.write()
    assert (on_disk(paths).result, on_disk(paths).in_force) == (Result.FAILED, None)


def test_a_run_that_ends_before_tuned_ran_leaves_what_is_in_force(paths: Paths) -> None:
    account = opened(paths)
    account.failed("podman", "no socket")
    account.write()
    found = on_disk(paths)
    assert (found.result, found.in_force) == (Result.FAILED, EARLIER)
    assert [(each.kind, each.message) for each in found.findings] == [("podman", "no socket")]


def test_what_is_kept_has_the_result_and_the_image_it_was_applied_with(paths: Paths) -> None:
    account = Account(paths, time.monotonic())
    account.decided(ASKED, Decision(Action.KEEP, "because"))
    account.kept()
    account.write()
    found = on_disk(paths)
    assert (found.action, found.result, found.in_force) == ("keep", Result.APPLIED, EARLIER)
    assert (found.image, found.image_id) == ("localhost/old", "id-old")


def test_the_time_it_took_stands_when_it_is_judged(paths: Paths) -> None:
    account = opened(paths)
    assert not account.concluded
    account.judged(Outcome(Result.APPLIED))
    assert account.concluded
    first = account.record().seconds
    assert 0 < first < 60
    assert account.record().seconds == first


def test_a_run_that_was_not_judged_has_the_time_it_took_too(paths: Paths) -> None:
    account = Account(paths, time.monotonic() - 5)
    account.failed("podman", "no socket")
    assert 5 <= account.record().seconds < 60


@pytest.mark.parametrize("result", [Result.APPLIED, Result.DEGRADED])
def test_what_was_read_back_changes_the_result_and_what_is_in_force(
    paths: Paths, result: Result
) -> None:
    account = opened(paths)
    account.begins(IMAGE)
    account.judged(Outcome(Result.APPLIED))
    values = (Value("vm.x", "different", "1", "2"),)
    account.checked(values, Outcome(result, (REFUSED,)))
    done = account.record()
    assert (done.values, done.result, done.findings) == (values, result, (REFUSED,))
    assert done.in_force is not None
    assert (done.in_force.result, done.in_force.findings) == (result, (REFUSED,))


def test_what_else_is_taken_down(paths: Paths) -> None:
    account = Account(paths, time.monotonic() - 5)
    account.attempted(Passing("podman", "no socket"))
    account.attempted(Passing("timeout", "it hung"))
    account.asks_of_the_kernel(("a=1",))
    account.met({"kubelet.service": "inactive"})
    account.steps.append(Step("inputs", 0.1))
    done = account.record()
    assert [(each.kind, each.message) for each in done.attempts] == [
        ("podman", "no socket"), ("timeout", "it hung"),
    ]  # fmt: skip
    assert all(5 <= each.at < 60 for each in done.attempts)
    assert done.kernel_arguments == ("a=1",)
    assert done.units == {"kubelet.service": "inactive"}
    assert done.steps == (Step("inputs", 0.1),)


def test_where_nothing_ran_yet_nothing_is_in_force(tmp_path: Path) -> None:
    account = Account(Paths(tmp_path), 0.0)
    account.checked((), Outcome(Result.DEGRADED))
    assert account.in_force is None


def test_an_earlier_record_that_cannot_be_read_says_nothing_but_is_told_of(
    paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    paths.status.write_text("torn {")
    with caplog.at_level(logging.WARNING):
        assert Account(paths, 0.0).in_force is None
    assert f"{paths.status}: found no record of a run" in caplog.text


def test_a_record_that_cannot_be_written_does_not_hide_what_failed(
    paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    account = opened(paths)
    account.failed("podman", "no socket")
    paths.status.unlink()
    paths.status.mkdir()
    account.write_if_possible()
    assert f"cannot write {paths.status}" in caplog.text
