"""Trying again, within one deadline, what may pass by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

#: The longest pause between two attempts (seconds).
LONGEST = 5.0
_FIRST = 0.1


@dataclass(frozen=True)
class Passing:
    """Why an attempt failed that is followed by another; `kind` as in a finding."""

    kind: str
    message: str


def pauses(longest: float = LONGEST) -> Iterator[float]:
    """Seconds to wait before the second attempt, the third, …: each about twice the one before,
    none the same on two nodes that were switched on together."""
    pause = _FIRST
    while True:
        yield pause * random.uniform(0.75, 1.25)  # noqa: S311  # not a secret
        pause = min(2 * pause, longest)
