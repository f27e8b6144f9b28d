"""How long the lab waits for what should not hang: far longer than a busy machine needs.

A test sets this deadline, unless the deadline is what it tests. Then what the program waits for
never comes, and only the deadline ends the wait. It is still long enough for all earlier steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ocp_tuned_boot.host.clock import GRACE

#: Seconds.
PATIENCE = 300.0
#: The same for `timeout` in boot.conf.
AMPLE = "[tuning]\ntimeout = 600\n"


def eventually(condition: Callable[[], object]) -> float:
    """Asks until it is true, where nothing tells when it is, such as an object on a server. Returns
    how long that took (seconds). Raises `TimeoutError`."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > PATIENCE:
            raise TimeoutError("it has not come true")
        time.sleep(0.05)
    return time.monotonic() - began


def at_the_latest(timeout: float) -> float:
    """A run with this `timeout` in boot.conf has ended so many seconds after its start: it does not
    ask systemd for more time."""
    return timeout + GRACE
