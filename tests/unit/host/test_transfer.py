"""How often it is reported how far a transfer has got, and to whom."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ocp_tuned_boot.errors import DeadlineExceeded
from ocp_tuned_boot.host import journal, messages
from ocp_tuned_boot.host.clock import Deadline, Draw, Progress
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.host.transfer import Amount, transfer

WHAT = "Pulling the image x"


class Time:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Told(Notifier):
    """What systemd is told."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def status(self, text: str, extend: float | None = None) -> None:
        self.said.append(text)
        assert extend is not None


class Drawn:
    """A bar."""

    def __init__(self) -> None:
        self.what: list[str] = []
        self.amounts: list[tuple[int, int, str]] = []
        self.closed = False

    @contextmanager
    def opened(self, what: str) -> Iterator[Draw]:
        self.what.append(what)
        yield lambda done, total, words: self.amounts.append((done, total, words))
        self.closed = True


def pulled(progress: Progress, time: Time, seconds: int) -> None:
    """A transfer of 100 bytes a second, with ten reports a second."""
    with transfer(progress, "pull", WHAT) as report:
        for tenth in range(seconds * 10):
            time.now = tenth / 10
            report(Amount(tenth * 10, 10 * 10 * seconds))


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is logged of it, but for the step."""
    return [each.message for each in caplog.records if not hasattr(each, messages.ATTRIBUTE)]


@pytest.mark.parametrize(("in_journal", "lines"), [(True, 4), (False, 11)])
def test_a_line_every_few_seconds(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    *, in_journal: bool, lines: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(journal, "is_journal", lambda _: in_journal)
    caplog.set_level(logging.INFO)
    time, told, console = Time(), Told(), tmp_path / "console"
    console.touch()
    progress = Progress(Deadline(600, time), told, console=console)
    pulled(progress, time, 31)
    said = logged(caplog)
    assert said[0] == f"{WHAT}: 0.0 of 0.0 MB, 0 %"
    # The journal has how long the step took.
    ends = [] if in_journal else [f"{WHAT}: done, 0.0 MB in 30.9 s"]
    assert said[lines:] == ends
    # systemd is told each second, with what the step began with.
    assert told.said[0] == f"{WHAT}…"
    assert len(told.said) == 1 + 31
    assert console.read_text().startswith(f"ocp-tuned-boot: {WHAT}: ")
    assert [step.name for step in progress.steps] == ["pull"]


def test_what_podman_does_now_is_never_left_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    time, told = Time(), Told()
    with transfer(Progress(Deadline(600, time), told), "load", "Loading x") as report:
        report(Amount(1_000_000, 2_000_000))
        report(Amount(2_000_000, 2_000_000, "Podman unpacks it"))
        report(Amount(2_000_000, 2_000_000, "Podman unpacks it"))
    words = "Loading x: 2.0 of 2.0 MB, 100 %; Podman unpacks it"
    assert told.said[-1] == words
    assert [each.message for each in caplog.records].count(words) == 1


def test_with_a_bar_nothing_is_logged_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    time, drawn = Time(), Drawn()
    pulled(Progress(Deadline(600, time), Told(), bar=drawn.opened), time, 31)
    assert (drawn.what, drawn.closed) == ([WHAT], True)
    assert len(drawn.amounts) > 100
    assert drawn.amounts[-1][1] == 3100
    assert logged(caplog) == [f"{WHAT}: done, 0.0 MB in 30.9 s"]


def test_a_deadline_that_passes_ends_the_transfer() -> None:
    time = Time()
    with pytest.raises(DeadlineExceeded, match="the step 'pull' took"):
        pulled(Progress(Deadline(5, time), Told()), time, 31)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Amount(), ""),
        (Amount(words="Copying"), "Copying"),
        (Amount(1_250_000), "1.2 MB"),
        (Amount(1_250_000, 5_000_000), "1.2 of 5.0 MB, 25 %"),
        # A file that grows meanwhile.
        (Amount(6_000_000, 5_000_000), "6.0 of 5.0 MB, 100 %"),
        (Amount(5_000_000, 5_000_000, "Podman unpacks it"),
         "5.0 of 5.0 MB, 100 %; Podman unpacks it"),
    ],
)  # fmt: skip
def test_an_amount_in_words(amount: Amount, text: str) -> None:
    assert str(amount) == text
