"""Time: the one deadline of a run, its steps as systemd and the journal see them, and the pauses
between attempts. All times are seconds on the monotonic clock."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from ocp_tuned_boot.errors import DeadlineExceeded, one_line
from ocp_tuned_boot.host import messages
from ocp_tuned_boot.host.systemd import Notifier

log = logging.getLogger(__name__)

Clock = Callable[[], float]
#: Draws how far a transfer has got: bytes done, bytes in all (0: not known), and words.
Draw = Callable[[int, int, str], None]
#: Opens a bar for what it is called with, on a terminal.
Bar = Callable[[str], AbstractContextManager[Draw]]

#: What Podman may take beyond the deadline of a run to remove the container (seconds). If it does
#: not answer, `cleanup` adds `cleanup.BRIEF`: the kubelet starts at most 3 s after the deadline.
OVERRUN = 0.75
#: systemd kills a run that takes so much longer than its deadline (seconds): more than `OVERRUN`,
#: since a busy node may take a while for what needs no Podman.
GRACE = 10.0
#: With less than this left, another attempt would only be cut off (seconds).
WORTHWHILE = 4.0
#: How often `Progress.look` is called during a transfer (seconds).
LOOK = 5.0
#: The first and the longest pause between two attempts (seconds).
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0

# The port of this end of a connection, which differs with each attempt: "read udp
# [::1]:35201->[::1]:53: connection refused", in the words of Go's net package.
_SOURCE = re.compile(r":\d+->")


class Deadline:
    """A point on the monotonic clock that nothing may outlast.

    `seconds` counts from `started` (default: now); `clock` returns seconds and never goes back.
    """

    def __init__(
        self, seconds: float, clock: Clock = time.monotonic, started: float | None = None
    ) -> None:
        self.clock = clock
        self.restart(seconds, started)

    def restart(self, seconds: float, started: float | None = None) -> None:
        """Sets it anew, for all who share it."""
        self.seconds = seconds
        self.end = (self.clock() if started is None else started) + seconds

    def left(self) -> float:
        """Seconds that remain; raises `DeadlineExceeded` when there are none."""
        left = self.end - self.clock()
        if left <= 0:
            raise DeadlineExceeded(f"the time allowed ({self.seconds:g} s) has run out")
        return left

    def spent(self) -> float:
        """Seconds since it was set."""
        return self.clock() - (self.end - self.seconds)

    def passed(self) -> bool:
        """Whether no time remains."""
        return self.clock() >= self.end

    def within(self, seconds: float) -> Deadline:
        """A deadline `seconds` from now, but never later than this one."""
        return Deadline(max(0.0, min(seconds, self.end - self.clock())), self.clock)

    def beyond(self, seconds: float, most: float) -> Deadline:
        """For cleaning up: a deadline `seconds` from now, and at most `most` after this one."""
        left = self.end + most - self.clock()
        return Deadline(max(0.0, min(seconds, left)), self.clock)


def pauses(longest: float = LONGEST_PAUSE) -> Iterator[float]:
    """Seconds to wait before the second attempt, the third, …: each about twice the one before,
    and different on nodes that were switched on together."""
    import random  # noqa: PLC0415  # few runs need a second attempt

    pause = FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.75, 1.25)  # noqa: S311  # not a secret
        pause = min(2 * pause, longest)


@dataclass(frozen=True)
class Step:
    """One step of a run, how long it took (seconds), and when it began (`at`, seconds on the
    monotonic clock; None in a record of an earlier release)."""

    name: str
    seconds: float
    at: float | None = None


@dataclass
class Progress:
    """The steps of one run, under one deadline."""

    deadline: Deadline
    notifier: Notifier
    steps: list[Step] = field(default_factory=list)
    #: For a person at the console of a node that does not finish booting; None: no messages there.
    console: Path | None = None
    #: Called every `LOOK` seconds during a transfer, and before each pause; what it raises ends the
    #: run.
    look: Callable[[], None] | None = None
    #: For a person who waits at a terminal; None: how far a transfer has got is logged.
    bar: Bar | None = None
    #: Why the last attempt failed, and how many more have failed in the same way.
    _reported: str = field(default="", init=False)
    _repeated: int = field(default=0, init=False)
    _looked: float = field(default=-math.inf, init=False)

    @contextmanager
    def step(self, name: str, status: str) -> Iterator[None]:
        """Announces and measures a step. A deadline that passes in it names the step."""
        # systemd gets exactly the time that boot.conf allows, and that for the clean-up.
        self.notifier.status(status, extend=self.deadline.left() + GRACE)
        started, how = self.deadline.clock(), "failed after"
        try:
            yield
            how = "done in"
        except DeadlineExceeded as error:
            seconds = self.deadline.clock() - started
            message = f"{error.message}; the step '{name}' took {seconds:.1f} s of it"
            raise type(error)(message, error.hint) from error
        finally:
            took = self.deadline.clock() - started
            self.steps.append(Step(name, took, started))
            extra = messages.extra(step=name, seconds=took)
            log.info("%s: %s %.2f s", status.rstrip("…"), how, took, extra=extra)

    def tell(self, status: str) -> None:
        """How far a step has got, for systemd. Raises what `look` raises."""
        if self.look is not None and self.deadline.clock() - self._looked >= LOOK:
            self.look()
            self._looked = self.deadline.clock()
        self.notifier.status(status, extend=self.deadline.left() + GRACE)

    def tell_console(self, status: str) -> None:
        """The same for a person at the console."""
        if self.console is not None:
            tell_console(self.console, status)

    def longest(self) -> Step:
        """The step that took most of the time; an attempt may have repeated it."""
        took: dict[str, float] = {}
        for step in self.steps:
            took[step.name] = took.get(step.name, 0.0) + step.seconds
        name = max(took, key=lambda each: took[each], default="")
        return Step(name, took.get(name, 0.0))

    def has_time(self) -> bool:
        """Whether there is time for another attempt."""
        return self.deadline.within(WORTHWHILE).seconds >= WORTHWHILE

    def pause(self, seconds: float, why: str, kind: str = "") -> None:
        """Reports why the attempt failed, and waits so many seconds before the next one. A reason
        is logged once, and again after another one: an attempt may fail every few seconds. `kind`:
        the word for it in the record. Raises what `look` raises."""
        if self.look is not None:
            self.look()
        level, same = logging.DEBUG, _SOURCE.sub("->", why)
        if same == self._reported:
            self._repeated += 1
        else:
            self.sum_up()
            level, self._reported = logging.WARNING, same
        extra = messages.ATTEMPT_FAILED.extra(finding=kind)
        log.log(level, "%s; trying again in %.1f s", why, seconds, extra=extra)
        self.notifier.status(f"Trying again: {why}", extend=self.deadline.left() + GRACE)
        time.sleep(self.shortened(seconds))

    def shortened(self, seconds: float) -> float:
        """A pause that is never so long that nothing is left for the attempt after it."""
        return min(seconds, self.deadline.left() / 2)

    def sum_up(self) -> None:
        """Logs how many attempts have failed like one that was logged."""
        if self._repeated:
            what = "attempt" if self._repeated == 1 else "attempts"
            log.warning("%d more %s failed in the same way", self._repeated, what)
        self._repeated = 0


def tell_console(console: Path, words: str) -> None:
    """Writes one line to the console, if the node has one."""
    with suppress(OSError), console.open("w", encoding="utf-8") as device:
        device.write(f"ocp-tuned-boot: {one_line(words)}\n")
