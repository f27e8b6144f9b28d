"""How far a pull, a load or an export has got, as systemd, the journal and people see it."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, Union

from ocp_tuned_boot.host import journal
from ocp_tuned_boot.host.clock import Draw, Progress

log = logging.getLogger(__name__)

#: How often systemd is told, and a terminal is drawn anew (seconds).
TOLD, DRAWN = 1.0, 0.1
#: How often it is logged: in the journal, and elsewhere (seconds).
IN_JOURNAL, LOGGED = 10.0, 3.0


class Span(NamedTuple):
    """A part of a file (bytes)."""

    offset: int
    size: int


#: What is sent: bytes, or a part of a file.
Part = Union[bytes, Span]


@dataclass(frozen=True)
class Amount:
    """How far it has got. `done`, `total`: bytes; a total of 0 is not known. `words`: what Podman
    does now."""

    done: int = 0
    total: int = 0
    words: str = ""

    def __str__(self) -> str:
        shown = ""
        if self.total:
            percent = 100 * min(self.done, self.total) // self.total
            shown = f"{megabytes(self.done)} of {megabytes(self.total)} MB, {percent} %"
        elif self.done:
            shown = f"{megabytes(self.done)} MB"
        return "; ".join(filter(None, (shown, self.words)))


def megabytes(size: int) -> str:
    """Bytes as MB, without the unit."""
    return f"{size / 1e6:.1f}"


class Transfer:
    """One transfer. Called with each amount, however often that is. `what` is shown before the
    amount, `draw` draws it on a terminal."""

    def __init__(self, what: str, progress: Progress, draw: Draw | None = None) -> None:
        self._what, self._progress, self._draw = what, progress, draw
        self._clock = progress.deadline.clock
        self._started = self._clock()
        self._drawn = self._told = self._logged = -math.inf
        self._in_journal = journal.is_journal(sys.stderr)
        self._pace = IN_JOURNAL if self._in_journal else LOGGED
        self._last = Amount()

    def __call__(self, amount: Amount) -> None:
        # What Podman does now is never left out: it may remain so for long.
        is_new, now = amount.words != self._last.words, self._clock()
        self._last = amount
        words = f"{self._what}: {amount}"
        if is_new or now - self._told >= TOLD:
            self._told = now
            self._progress.tell(words)
        if self._draw is not None:
            if is_new or now - self._drawn >= DRAWN:
                self._drawn = now
                self._draw(amount.done, amount.total, amount.words)
        elif is_new or now - self._logged >= self._pace:
            self._logged = now
            self._progress.tell_console(words)
            log.info("%s", words)

    def finish(self) -> None:
        """Logs how much it was, and how long it took (seconds). The journal has that of each
        step."""
        if self._in_journal:
            return
        seconds = self._clock() - self._started
        size = f"{megabytes(self._last.done)} MB in " if self._last.done else ""
        log.info("%s: done, %s%.1f s", self._what, size, seconds)


@contextmanager
def transfer(progress: Progress, name: str, what: str) -> Iterator[Transfer]:
    """A step of a run that is a transfer."""
    with progress.step(name, f"{what}…"):
        with progress.bar(what) if progress.bar else nullcontext() as draw:
            this = Transfer(what, progress, draw)
            yield this
        this.finish()
