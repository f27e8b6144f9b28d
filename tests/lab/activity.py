"""Reports what takes long while it runs, for a person at a terminal.

It is logged at the level INFO, which tests do not show.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Callable

log = logging.getLogger(__name__)

#: What is done is logged again after each of these intervals (seconds).
EVERY = 5.0
#: A wait is logged again only after this time (seconds), or if the holder is another one by then.
AGAIN = 30.0
#: Of a wait, a line is not longer. `make demo` puts the time before it: fewer than 80 with that.
WIDTH = 69


def activity(what: str) -> AbstractContextManager[None]:
    """Around what may take long: logs `what` at once, and then again with the time so far."""
    return _reported(what, lambda: what, 0, 1000)


def waiting(what: str, holder: Callable[[], str]) -> AbstractContextManager[None]:
    """Around a wait for `what`: logs who has it now, as `holder` says."""
    words = f"Waiting for {what}"
    return _reported(words, lambda: f"{words}: {holder()}", AGAIN, WIDTH)


@contextmanager
def _reported(what: str, now: Callable[[], str], again: float, width: int) -> Iterator[None]:
    """`now`: the words that are logged. The same words are logged only after `again` seconds."""
    if not log.isEnabledFor(logging.INFO):
        yield
        return
    words, started, ended = now(), time.monotonic(), threading.Event()
    log.info("%s", _line(words, "…", width))

    def remind() -> None:
        shown, at = words, started
        while not ended.wait(EVERY):
            found, time_now = now(), time.monotonic()
            if found != shown or time_now - at >= again:
                shown, at = found, time_now
                log.info("%s", _line(found, f"… {time_now - started:.0f} s so far", width))

    thread = threading.Thread(target=remind, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    seconds = time.monotonic() - started
    if seconds > EVERY:
        log.info("%s: done in %.0f s", what, seconds)


def _line(words: str, tail: str, width: int) -> str:
    return words[: width - len(tail)] + tail
