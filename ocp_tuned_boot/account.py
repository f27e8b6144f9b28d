"""The record of the run under way, as far as it has got."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from ocp_tuned_boot import record
from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.findings import Finding
from ocp_tuned_boot.inputs import Inputs
from ocp_tuned_boot.outcome import Outcome, Result
from ocp_tuned_boot.paths import Paths
from ocp_tuned_boot.plan import Decision
from ocp_tuned_boot.podman import Image
from ocp_tuned_boot.progress import Step
from ocp_tuned_boot.record import Attempt, InForce, Record
from ocp_tuned_boot.retry import Passing
from ocp_tuned_boot.values import Value

log = logging.getLogger(__name__)


class Account:
    """Takes down what happens, in the order of the boot flow; `write` puts it on disk.

    `started` is monotonic seconds; `steps` is filled while they are done.
    """

    def __init__(self, paths: Paths, started: float) -> None:
        self._paths = paths
        self._started = started
        self._record = Record(Result.FAILED, record.now(), in_force=last_in_force(paths))
        self.steps: list[Step] = []
        self.concluded = False

    @property
    def in_force(self) -> InForce | None:
        """What earlier runs have put in force."""
        return self._record.in_force

    def decided(self, asked: Inputs, decision: Decision) -> None:
        """What is asked for, and what is to be done about it."""
        self._record = replace(
            self._record,
            boot_id=asked.boot_id,
            action=decision.action.value,
            reason=decision.reason,
            profile=asked.profile,
            image=asked.image,
            contract=asked.contract,
            fingerprint=asked.fingerprint,
        )

    def kept(self) -> None:
        """Nothing was touched: what is in force stays so."""
        in_force = self._record.in_force
        assert in_force is not None  # noqa: S101  # plan.decide keeps nothing else
        self._conclude(in_force.result, in_force.findings)
        self._record = replace(self._record, image=in_force.image, image_id=in_force.image_id)

    def begins(self, image: Image) -> None:
        """TuneD is about to run: from here on nothing is known to be in force, and a run that
        is killed must not leave a record that says so."""
        self._record = replace(self._record, image_id=image.id, in_force=None)
        record.write(self._paths, replace(self._record, result=Result.APPLYING))

    def judged(self, outcome: Outcome) -> None:
        """TuneD has run."""
        self._conclude(outcome.result, outcome.findings)
        if outcome.result is Result.FAILED:
            return
        done = self._record
        in_force = InForce(
            done.boot_id, outcome.result, done.profile, done.image, done.image_id,
            done.fingerprint, record.now(), outcome.findings,
        )  # fmt: skip
        self._record = replace(done, in_force=in_force)

    def attempted(self, passing: Passing) -> None:
        """An attempt has failed; another follows."""
        at = time.monotonic() - self._started
        attempt = Attempt(at, passing.kind, passing.message)
        self._record = replace(self._record, attempts=(*self._record.attempts, attempt))

    def asks_of_the_kernel(self, arguments: tuple[str, ...]) -> None:
        """The kernel arguments that the profile asks for, for whoever sets them (bootcmdline)."""
        self._record = replace(self._record, kernel_arguments=arguments)

    def checked(self, values: tuple[Value, ...], outcome: Outcome) -> None:
        """What was found on the host afterwards, and what that makes of the result."""
        in_force = self._record.in_force
        if in_force is not None:
            in_force = replace(in_force, result=outcome.result, findings=outcome.findings)
        self._record = replace(
            self._record, values=values, in_force=in_force,
            result=outcome.result, findings=outcome.findings,
        )  # fmt: skip

    def failed(self, kind: str, message: str) -> None:
        """The run ended before TuneD was judged. What was in force may still be."""
        self._record = replace(
            self._record, result=Result.FAILED, findings=(Finding(kind, "", message),)
        )

    def met(self, units: dict[str, str]) -> None:
        """The states in which other units were found after the run."""
        self._record = replace(self._record, units=units)

    def record(self) -> Record:
        """The record as it stands."""
        seconds = self._record.seconds if self.concluded else time.monotonic() - self._started
        return replace(self._record, steps=tuple(self.steps), seconds=seconds)

    def write(self) -> Record:
        """Puts the record on disk. Raises `HostError`."""
        current = self.record()
        record.write(self._paths, current)
        return current

    def write_if_possible(self) -> None:
        """Puts the record of a run that has failed on disk; its own error is what counts."""
        try:
            self.write()
        except HostError as error:
            log.error("%s", error)

    def _conclude(self, result: Result, findings: tuple[Finding, ...]) -> None:
        self._record = replace(
            self._record,
            result=result,
            findings=findings,
            seconds=time.monotonic() - self._started,
        )
        self.concluded = True


def last_in_force(paths: Paths) -> InForce | None:
    """What is on record as being in force. A record that cannot be read says nothing."""
    try:
        last = record.read(paths)
    except HostError as error:
        log.warning("%s", error)
        return None
    return last.in_force if last is not None else None
