"""What an attempt does before TuneD is started. All else is tested with the real parts: the lab."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from ocp_tuned_boot import applying
from ocp_tuned_boot.applying import Attempting
from ocp_tuned_boot.errors import DeadlineExceeded
from ocp_tuned_boot.host.clock import Deadline, Progress, Step
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.tuned import running

NEEDED = running.LEAST + running.STOPPING


def at(left: float, *steps: Step, before: str = "") -> Attempting:
    """An attempt in a run of 90 s of which so much is left."""
    progress = Progress(Deadline(90, lambda: 0.0, started=left - 90), Notifier(), list(steps))
    attempts = [SimpleNamespace(message=before)] if before else []
    recorder = SimpleNamespace(attempts=attempts)
    return cast("Attempting", SimpleNamespace(progress=progress, recorder=recorder))


def test_tuned_is_started_while_there_is_time_to_stop_it() -> None:
    applying._check_time(at(NEEDED))


def test_a_pull_that_takes_the_time_is_reported_as_the_pull() -> None:
    steps = (Step("image", 1.0), Step("pull", 50.0), Step("prepare", 2.0), Step("pull", 34.5))
    with pytest.raises(DeadlineExceeded) as caught:
        applying._check_time(at(NEEDED - 0.5, *steps))
    assert caught.value.message == (
        "TuneD was not started: 3.5 s remain of 90 s, it needs at least 4 s; "
        "the step 'pull' took 84.5 s"
    )
    assert "ocp-tuned-boot image stage" in caught.value.hint
    assert "tuned_timeout" not in caught.value.hint


def test_the_failure_that_took_the_time_is_reported() -> None:
    with pytest.raises(DeadlineExceeded, match="before failed: TuneD crashed") as caught:
        applying._check_time(at(1.0, Step("tuned", 80.0), before="TuneD crashed"))
    assert caught.value.hint == "Raise timeout in boot.conf."
