"""The deadline, and the steps of a run under it."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator

import pytest

from ocp_tuned_boot.errors import CutOff, DeadlineExceeded, PodmanError
from ocp_tuned_boot.host.clock import GRACE, Deadline, Progress, Step
from ocp_tuned_boot.host.systemd import Notifier


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_time_that_remains_of_a_deadline(clock: Clock) -> None:
    deadline = Deadline(10, clock)
    clock.now += 9.5
    assert deadline.left() == 0.5
    assert not deadline.passed()
    clock.now += 0.5
    assert deadline.passed()
    with pytest.raises(DeadlineExceeded, match=r"the time allowed \(10 s\) has run out"):
        deadline.left()


def test_a_deadline_that_began_earlier(clock: Clock) -> None:
    assert Deadline(10, clock, started=96.0).left() == 6


def test_a_deadline_within_another_never_outlasts_it(clock: Clock) -> None:
    outer = Deadline(10, clock)
    assert outer.within(3).left() == 3
    assert outer.within(30).left() == 10
    clock.now += 20
    assert outer.within(3).passed()


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with tempfile.TemporaryDirectory(prefix="otb-") as folder:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
            bound.bind(f"{folder}/notify")
            bound.setblocking(False)
            monkeypatch.setenv("NOTIFY_SOCKET", f"{folder}/notify")
            yield bound


def test_each_step_is_reported_to_systemd_with_the_time_that_remains(
    manager: socket.socket, clock: Clock
) -> None:
    progress = Progress(Deadline(90, clock), Notifier())
    with progress.step("pull", "Pulling…"):
        clock.now += 5
    with progress.step("tuned", "Applying…"):
        clock.now += 2
    assert manager.recv(999).decode() == (
        f"STATUS=Pulling…\nEXTEND_TIMEOUT_USEC={int((90 + GRACE) * 1e6)}"
    )
    assert manager.recv(999).decode() == (
        f"STATUS=Applying…\nEXTEND_TIMEOUT_USEC={int((85 + GRACE) * 1e6)}"
    )
    assert progress.steps == [Step("pull", 5, 100), Step("tuned", 2, 105)]


def test_another_attempt_is_announced_and_time_is_left_for_it(
    manager: socket.socket, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    Progress(Deadline(0.25, clock), Notifier()).pause(3600, "no socket")
    assert "no socket; trying again in 3600.0 s" in caplog.text
    assert manager.recv(999).decode() == (
        f"STATUS=Trying again: no socket\nEXTEND_TIMEOUT_USEC={int((0.25 + GRACE) * 1e6)}"
    )


def test_a_reason_is_logged_once_until_another_one_follows(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    progress = Progress(Deadline(0.001, clock), Notifier())
    for why in ("no socket", "no socket", "refused", "no socket"):
        progress.pause(0, why)
    warned = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    progress.sum_up()
    assert [words.partition(";")[0] for words in warned] == [
        "no socket", "1 more attempt failed in the same way", "refused", "no socket",
    ]  # fmt: skip


def test_attempts_that_fail_in_the_same_way_are_counted_at_the_end(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    progress = Progress(Deadline(0.001, clock), Notifier())
    for port in range(22):
        progress.pause(0, f"read udp [::1]:{port}->[::1]:53: connection refused")
    progress.sum_up()
    progress.sum_up()
    warned = [each for each in caplog.records if each.levelname == "WARNING"]
    assert [each.getMessage().partition(";")[0] for each in warned] == [
        "read udp [::1]:0->[::1]:53: connection refused", "21 more attempts failed in the same way",
    ]  # fmt: skip


def test_a_step_that_fails_is_measured_too(clock: Clock) -> None:
    progress = Progress(Deadline(90, clock), Notifier())
    with pytest.raises(PodmanError), progress.step("create", "…"):  # noqa: PT012
        clock.now += 1
        raise PodmanError("refused")
    assert progress.steps == [Step("create", 1, 100)]


def test_what_a_step_had_not_finished_is_still_known_after_it(clock: Clock) -> None:
    progress = Progress(Deadline(90, clock), Notifier())
    words = "not complete; the step 'pull' took"
    with pytest.raises(CutOff, match=words), progress.step("pull", "…"):
        raise CutOff("not complete")


def test_a_deadline_that_passes_names_the_step_that_used_the_time(clock: Clock) -> None:
    progress = Progress(Deadline(90, clock), Notifier())
    words = r"silence; the step 'image' took 90\.5 s of it"
    with pytest.raises(DeadlineExceeded, match=words), progress.step("image", "…"):  # noqa: PT012
        clock.now += 90.5
        raise DeadlineExceeded("silence")
    # No further step starts.
    with pytest.raises(DeadlineExceeded), progress.step("create", "…"):
        pytest.fail("a step began after the deadline")
