"""How long a test waits for what should not hang: far longer than any machine needs, however busy.

A deadline that a test gives is this long, unless the test is about its running out. Then what it
waits for never comes, and the deadline is what ends the wait.
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
        # No Exception: nothing that is tested takes it for an error of its own.
        pytest.fail(f"it hangs: it has taken more than {PATIENCE:g} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
