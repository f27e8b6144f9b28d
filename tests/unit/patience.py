"""How long a test waits for what should not hang: far longer than a busy machine needs.

A test sets this deadline, unless the deadline is what it tests. Then what the code waits for never
comes, and only the deadline ends the wait.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable

import pytest

#: Seconds.
PATIENCE = 60.0


@contextmanager
def no_hang() -> Iterator[None]:
    """Fails the test if the block takes longer than `PATIENCE`. Only in the main thread."""

    def hangs(*_: object) -> None:
        # What this raises is no `Exception`: the code under test does not catch it.
        pytest.fail(f"it hangs: it has taken more than {PATIENCE:g} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def eventually(condition: Callable[[], object], what: str = "") -> None:
    """Waits until the condition holds; fails after `PATIENCE`."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what or "it has not come true"
        time.sleep(0.01)
