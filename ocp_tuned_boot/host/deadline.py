"""One deadline for a whole run."""

from __future__ import annotations

import time
from typing import Callable

from ocp_tuned_boot.errors import DeadlineExceeded

Clock = Callable[[], float]


class Deadline:
    """A point on the monotonic clock that nothing may outlast.

    `seconds` counts from `started` (default: now); `clock` returns seconds and never goes back.
    """

    def __init__(
        self, seconds: float, clock: Clock = time.monotonic, started: float | None = None
    ) -> None:
        self.seconds = seconds
        self.clock = clock
        self.end = (clock() if started is None else started) + seconds

    def left(self) -> float:
        """Seconds that remain; raises `DeadlineExceeded` when there are none."""
        left = self.end - self.clock()
        if left <= 0:
            raise DeadlineExceeded(f"the time allowed ({self.seconds:g} s) has run out")
        return left

    def passed(self) -> bool:
        """Whether no time remains."""
        return self.clock() >= self.end

    def within(self, seconds: float) -> Deadline:
        """A deadline `seconds` from now, but never later than this one."""
        return Deadline(max(0.0, min(seconds, self.end - self.clock())), self.clock)
