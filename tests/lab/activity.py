"""Reports what takes long while it runs, for a person at a terminal.

It is logged at the level INFO, which tests do not show.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

#: It is logged again after each of these intervals (seconds).
EVERY = 5.0


@contextmanager
def activity(what: str) -> Iterator[None]:
    """Around what may take long: logs `what` at once, and then again with the time so far."""
    if not log.isEnabledFor(logging.INFO):
        yield
        return
    log.info("%s…", what)
    started, ended = time.monotonic(), threading.Event()
    thread = threading.Thread(target=_remind, args=(what, started, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    seconds = time.monotonic() - started
    if seconds > EVERY:
        log.info("%s: done in %.0f s", what, seconds)


def _remind(what: str, started: float, ended: threading.Event) -> None:
    while not ended.wait(EVERY):
        log.info("%s… %.0f s so far", what, time.monotonic() - started)
