"""How long the lab waits for what should not hang: far longer than a busy machine needs.

A test sets this deadline, unless the deadline is what it tests. Then what the program waits for
never comes, and only the deadline ends the wait. It is still long enough for all earlier steps.
"""

from __future__ import annotations

from ocp_tuned_boot.host.clock import GRACE

#: Seconds.
PATIENCE = 300.0
#: The same for `timeout` in boot.conf.
AMPLE = "[tuning]\ntimeout = 600\n"


def at_the_latest(timeout: float) -> float:
    """A run with this `timeout` in boot.conf has ended so many seconds after its start: it does not
    ask systemd for more time."""
    return timeout + GRACE
