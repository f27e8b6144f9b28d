"""How long a test waits for what should not hang: far longer than a busy machine needs.

A test sets this deadline, unless the deadline is what it tests. Then what the code waits for never
comes, and only the deadline ends the wait.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

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
