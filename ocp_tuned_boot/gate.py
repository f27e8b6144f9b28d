"""`gate = closed`: nobody who waits for the profile starts without it, however long it takes.

A run that fails is followed by another until one succeeds, with everything read anew, so that a
node goes on by itself as soon as what is wrong is mended. Until then it says so.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from ocp_tuned_boot.errors import Interrupted
from ocp_tuned_boot.host import retry
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.progress import GRACE, tell_console
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.record import store as record
from ocp_tuned_boot.requested import config as boot_conf

log = logging.getLogger(__name__)


#: The longest pause between two runs (seconds): so long a node may take to see that it is mended.
LONGEST = 15.0


_LETS_GO = "Mended, it goes on by itself; systemctl stop ocp-tuned lets the kubelet go."


class Gate:
    """What becomes of those who wait when a run has failed."""

    def __init__(self, paths: Paths, config_file: Path | None, notifier: Notifier) -> None:
        self._paths = paths
        self._config_file = config_file
        self._notifier = notifier
        self._pauses = retry.pauses(LONGEST)
        self._since = record.now()

    def holds(self, why: str, advice: str = "") -> bool:
        """False when the gate is open, or this is a run by hand: nobody waits for that. Else says
        why it holds, waits a while, and is True."""
        if not self._notifier.in_unit:
            return False
        if boot_conf.gate(self._paths, self._config_file) != "closed":
            self.lets_go()
            self._notifier.status("; ".join(filter(None, (why, advice))))
            return False
        pause = next(self._pauses)
        mend = ". ".join(filter(None, (why.rstrip("."), advice.rstrip("."), _LETS_GO)))
        words = f"Held since {self._since} (gate = closed): {mend}"
        log.error("%s", words)
        tell_console(self._paths.console, words)
        # It stays through the next run: who looks in the middle of it wants to know why it waits.
        self._notifier.hold(words)
        self._notifier.status(words, extend=pause + GRACE)
        try:
            time.sleep(pause)
        except Interrupted:
            self.lets_go()
            self._notifier.status(f"Stopped; the kubelet starts without the profile: {why}")
            raise
        return True

    def lets_go(self) -> None:
        """Who waits starts now, whatever was said before."""
        self._notifier.hold("")
