"""`gate = closed`: nothing that waits for the profile starts without it, however long it takes.

A failed run is followed by another one until one succeeds. Each reads everything anew, so the boot
continues by itself once the cause is fixed. Until then the status line says what is wrong. If this
program is killed or does not start, ocp-tuned-retry.service holds the boot (packaging/gate.sh).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ocp_tuned_boot.errors import BootError, HostError
from ocp_tuned_boot.host import files, messages, systemd
from ocp_tuned_boot.host.clock import GRACE, pauses, tell_console
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.record import entries, store
from ocp_tuned_boot.record.model import InForce, now
from ocp_tuned_boot.requested import inputs, settled
from ocp_tuned_boot.tuned.findings import AGAIN, START, Finding

log = logging.getLogger(__name__)

#: The longest pause between two runs (seconds), before it is varied by up to a quarter: after a fix
#: the next run starts within 18.75 s.
LONGEST = 15.0

#: What a failure means where the gate is closed.
RELEASE = (
    "Boot continues automatically once this is fixed. "
    "To start the kubelet without the profile: systemctl stop ocp-tuned"
)

#: What a failure means where the gate is open, and after a stop.
OPENED = "The kubelet runs without the profile. Once this is fixed: systemctl start ocp-tuned"


class Gate:
    """Whether the units that wait for ours may start when a run has failed."""

    def __init__(self, paths: Paths, config_file: Path | None, notifier: Notifier) -> None:
        self._paths = paths
        self._config_file = config_file
        self._notifier = notifier
        self._pauses = pauses(LONGEST)
        self._since = now()
        self._has_held = False

    def holds(self, why: str, advice: str = "", found: Sequence[Finding] = ()) -> bool:
        """False when the gate is open, and in a run by hand, which nothing waits for. Else reports
        why the gate is closed, pauses, and returns True. `found`: the findings, `why` has the first
        one."""
        if not self._notifier.in_unit:
            return False
        if settled.gate(self._paths, self._config_file) != "closed":
            self.open()
            if self._has_held:
                self._released("it is open now; the kubelet starts without the profile")
            self._notifier.status(_failure(why, advice, _remains(self._paths) or OPENED))
            return False
        pause = next(self._pauses)
        then = f"Held since {self._since}. {RELEASE}"
        fix = _failure(why.removeprefix("Failed: "), advice, then)
        words = f"Held (gate = closed): {fix}"
        self._has_held = True
        entries.held(words, [replace(it, advice=without_start(it.advice)) for it in found])
        tell_console(self._paths.console, words)
        # The text stays during the next run: a reader must see at any time why the gate is closed.
        self._notifier.hold(words)
        self._notifier.status(words, extend=pause + GRACE)
        time.sleep(pause)
        return True

    def open(self) -> None:
        """From now on the status line is that of the run."""
        self._notifier.hold("")

    def passed(self) -> None:
        """The profile is applied: ocp-tuned-retry.service, which ends by failing, no longer counts
        as failed. Nothing is asked of systemd in a boot that it has not held."""
        retried = self._notifier.in_unit and self._paths.retried.exists()
        if self._has_held or retried:
            self._released("the profile is applied")
        if not retried:
            return
        try:
            systemd.reset_failed(systemd.RETRY)
            with files.explained("remove", self._paths.retried):
                self._paths.retried.unlink()
        except HostError as error:
            log.warning("%s", error)

    def _released(self, why: str) -> None:
        log.info("The gate was closed, and the boot continues: %s", why,
                 extra=messages.RELEASED.extra())  # fmt: skip
        self._has_held = False


def last_words(paths: Paths, config_file: Path | None, environment: Mapping[str, str]) -> str:
    """The status line of the unit when it is no longer active: what ended it, and what that means
    for the units that wait. Empty if the program itself has said so.

    `environment`: $SERVICE_RESULT, $EXIT_STATUS and $INVOCATION_ID of ExecStopPost= (systemd.exec).
    """
    result, status = (environment.get(name, "") for name in ("SERVICE_RESULT", "EXIT_STATUS"))
    applied = _remains(paths)
    if result == "success" or _stop_was_requested(paths, environment.get("INVOCATION_ID", "")):
        return _sentences("Stopped", applied or OPENED.replace("Once this is fixed", "To apply it"))
    if result in ("", "exit-code"):
        return ""
    ended = f"ocp-tuned-boot was ended before it was done ({result} {status})"
    closed = settled.gate(paths, config_file) == "closed"
    return _sentences(ended, applied or (f"Held (gate = closed). {RELEASE}" if closed else OPENED))


def _remains(paths: Paths) -> str:
    """What a failure means in a boot in which a profile was applied before."""
    in_force = _in_force(paths)
    return f"The profile {in_force.profile!r} remains applied" if in_force else ""


def _failure(why: str, advice: str, then: str) -> str:
    """What failed, and what to do; `then` says what to type, or that nothing is to be typed."""
    return _sentences(without_start(why), without_start(advice), then)


def without_start(advice: str) -> str:
    """An advice without its end, which is to start the unit: what to type depends on the gate."""
    for command in (f", {START}", f" {AGAIN}"):
        advice = advice.replace(command, "")
    return advice


def _in_force(paths: Paths) -> InForce | None:
    try:
        return store.in_force(paths, inputs.boot_id(paths))
    except BootError:
        return None


def _stop_was_requested(paths: Paths, invocation: str) -> bool:
    with suppress(FileNotFoundError, HostError):
        return bool(invocation) and files.read(paths.stopped).decode().strip() == invocation
    return False


def _sentences(*texts: str) -> str:
    return ". ".join(text.rstrip(".") for text in texts if text)
