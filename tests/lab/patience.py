"""How long the lab waits for what should not hang: far longer than any machine needs, however busy.

A deadline that a test gives is this long, unless the test is about its running out. Then what it
waits for never comes, the deadline is what ends the wait, and it is still long enough for all that
has to come before.
"""

from __future__ import annotations

from ocp_tuned_boot.host.clock import GRACE

#: Seconds.
PATIENCE = 300.0
#: The same for `timeout` in boot.conf.
AMPLE = "[tuning]\ntimeout = 600\n"


def at_the_latest(timeout: float) -> float:
    """When a run with this `timeout` in boot.conf must have ended, in seconds after its start: it
    asks systemd for no more."""
    return timeout + GRACE
