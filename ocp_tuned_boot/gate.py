"""`gate = closed`: nothing that waits for the profile starts without it, however long it takes.

A failed run is followed by another one until one succeeds. Each reads everything anew, so the boot
continues by itself once the cause is fixed. Until then the status line says what is wrong.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from ocp_tuned_boot.errors import Interrupted
from ocp_tuned_boot.host.clock import GRACE, pauses, tell_console
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.record.model import now
from ocp_tuned_boot.requested import settled

log = logging.getLogger(__name__)

#: The longest pause between two runs (seconds): after a fix the boot continues within that time.
LONGEST = 15.0

_RELEASE = (
    "Boot continues automatically once this is fixed. "
    "To start the kubelet without the profile: systemctl stop ocp-tuned"
)


class Gate:
    """Whether the units that wait for ours may start when a run has failed."""

    def __init__(self, paths: Paths, config_file: Path | None, notifier: Notifier) -> None:
        self._paths = paths
        self._config_file = config_file
        self._notifier = notifier
        self._pauses = pauses(LONGEST)
        self._since = now()

    def holds(self, why: str, advice: str = "") -> bool:
        """False when the gate is open, and in a run by hand, which nothing waits for. Else reports
        why the gate is closed, pauses, and returns True."""
        if not self._notifier.in_unit:
            return False
        if settled.gate(self._paths, self._config_file) != "closed":
            self.open()
            self._notifier.status("; ".join(filter(None, (why, advice))))
            return False
        pause = next(self._pauses)
        fix = ". ".join(filter(None, (why.rstrip("."), advice.rstrip("."), _RELEASE)))
        words = f"Held since {self._since} (gate = closed): {fix}"
        log.error("%s", words)
        tell_console(self._paths.console, words)
        # The text stays during the next run: a reader must see at any time why the gate is closed.
        self._notifier.hold(words)
        self._notifier.status(words, extend=pause + GRACE)
        try:
            time.sleep(pause)
        except Interrupted:
            self.open()
            self._notifier.status(f"Stopped; the kubelet starts without the profile: {why}")
            raise
        return True

    def open(self) -> None:
        """From now on the status line is that of the run."""
        self._notifier.hold("")
