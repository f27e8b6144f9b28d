"""Tells systemd and the journal which step a run is in, and measures each step."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ocp_tuned_boot.errors import DeadlineExceeded, one_line
from ocp_tuned_boot.host.deadline import Deadline
from ocp_tuned_boot.host.systemd import Notifier

log = logging.getLogger(__name__)

#: What a run may take beyond its deadline to stop and remove the container (seconds): TuneD's
#: time to end itself, and twice Podman's to clear up (container.py).
GRACE = 20.0
#: With less than this left, another attempt would only be cut off (seconds).
WORTHWHILE = 4.0


def tell_console(console: Path, words: str) -> None:
    """Without a console there is nobody to tell."""
    with suppress(OSError), console.open("w") as device:
        device.write(f"ocp-tuned-boot: {one_line(words)}\n")


@dataclass(frozen=True)
class Step:
    """One step of a run and how long it took, in seconds."""

    name: str
    seconds: float


@dataclass
class Progress:
    """The steps of one run, under one deadline."""

    deadline: Deadline
    notifier: Notifier
    steps: list[Step] = field(default_factory=list)
    #: For who stands before a node that does not come up.
    console: Path | None = None

    @contextmanager
    def step(self, name: str, status: str) -> Iterator[None]:
        """Announces and measures a step; a deadline that passes in it is blamed on it."""
        log.debug("%s", status)
        # systemd is asked for exactly what boot.conf allows, and for the clean-up after it.
        self.notifier.status(status, extend=self.deadline.left() + GRACE)
        started = self.deadline.clock()
        try:
            yield
        except DeadlineExceeded as error:
            seconds = self.deadline.clock() - started
            message = f"{error.message}; {seconds:.1f} s of it went into the step '{name}'"
            raise DeadlineExceeded(message, error.hint) from error
        finally:
            self.steps.append(Step(name, self.deadline.clock() - started))

    def tell(self, status: str) -> None:
        """How far a step has got, also on the console."""
        self.notifier.status(status, extend=self.deadline.left() + GRACE)
        if self.console is not None:
            tell_console(self.console, status)

    def has_time(self) -> bool:
        """Whether another attempt is worth it."""
        return self.deadline.within(WORTHWHILE).seconds >= WORTHWHILE

    def again(self, pause: float, why: str) -> None:
        """Says why, and waits so many seconds before another attempt."""
        log.warning("%s; trying again in %.1f s", why, pause)
        self.notifier.status(f"Trying again: {why}", extend=self.deadline.left() + GRACE)
        # Never so long that nothing is left for the attempt.
        time.sleep(min(pause, self.deadline.left() / 2))
