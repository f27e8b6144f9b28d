"""The record of the run under way, as far as it has got."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ocp_tuned_boot.errors import BootError, DeadlineExceeded, HostError, NewerVersion
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.progress import Step
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.plan import Decision, Waits, Why
from ocp_tuned_boot.record import store as record
from ocp_tuned_boot.record.store import Attempt, Deferred, Handed, Hold, InForce, Record, Residue
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.settings.values import Value
from ocp_tuned_boot.tuned.findings import Finding, make
from ocp_tuned_boot.tuned.judge import Outcome, Result, without_stand_in

if TYPE_CHECKING:
    from ocp_tuned_boot.host.retry import Passing
    from ocp_tuned_boot.images.ensure import Had

log = logging.getLogger(__name__)


# What TuneD finds out before it sets anything (tuned/daemon/daemon.py, set_all_profiles).
_BEFORE_TUNING = ("unknown-profile", "missing-include", "broken-profile")


class Account:
    """Takes down what happens, in the order of the boot flow; `write` puts it on disk.

    `started` is monotonic seconds; `steps` is filled while they are done. A reload that fails
    does not unmake what is in force: that stays on record, with the failure as a finding.
    """

    def __init__(self, paths: Paths, started: float, why: Why = Why.START) -> None:
        self._paths = paths
        self._started = started
        self._why = why
        boot_id = _boot_id(paths)
        self._last = of_this_boot(paths, boot_id)
        #: What was in force before this run.
        self.before = self._last.in_force if self._last else None
        self._doubts: tuple[Finding, ...] = ()
        self._record = Record(Result.FAILED, record.now(), boot_id=boot_id, in_force=self.before)
        self.steps: list[Step] = []
        self._seconds: float | None = None
        #: The result is on disk, and whoever waits for it has been told: from here on it stands.
        self.concluded = False

    @property
    def in_force(self) -> InForce | None:
        """What earlier runs have put in force."""
        return self._record.in_force

    def decided(self, asked: Inputs, decision: Decision, late: Sequence[str] = ()) -> None:
        """What is asked for, and what is to be done about it; `late`: what runs already."""
        self._doubts = asked.doubts
        self._record = replace(
            self._record,
            boot_id=asked.boot_id,
            action=decision.action.value,
            reason=decision.reason,
            profile=asked.profile,
            image=asked.image,
            contract=asked.contract,
            fingerprint=asked.fingerprint,
            late=tuple(late),
            deferred=self._deferred(asked, decision.waits),
        )

    def _deferred(self, asked: Inputs, waits: Waits) -> Deferred | None:
        if waits is Waits.NOTHING:
            return None
        new = Deferred(waits.value, asked.fingerprint, asked.profile, asked.image, record.now())
        known = self._last.deferred if self._last else None
        same = known is not None and replace(known, since=new.since) == new
        return known if same else new

    def kept(self) -> None:
        """Nothing was touched: what is in force stays so, and what was told of it."""
        in_force = self._record.in_force
        if in_force is None:
            self._conclude(Result.DEFERRED, ())
            return
        before = Outcome(in_force.result, in_force.findings)
        outcome = without_stand_in(before, in_force.image, self._record.image)
        in_force = replace(in_force, result=outcome.result, findings=outcome.findings)
        self._record = replace(self._record, in_force=in_force)
        self._conclude(outcome.result, outcome.findings)
        self._record = replace(self._record, image=in_force.image, image_id=in_force.image_id)
        if self._last is not None:
            self._record = replace(
                self._record,
                values=self._last.values,
                kernel_arguments=self._last.kernel_arguments,
                handover=self._last.handover,
                residue=self._last.residue,
                late=self._last.late,
            )

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Those of this run that have failed."""
        return self._record.attempts

    def begins(self, had: Had) -> None:
        """TuneD is about to run: from here on nothing is known to be in force, and a run that
        is killed must not leave a record that says so."""
        self._record = replace(
            self._record, image=had.image.reference, image_id=had.image.id,
            image_source=had.source, in_force=None,
        )  # fmt: skip
        record.write(self._paths, replace(self._record, result=Result.APPLYING))

    def judged(self, outcome: Outcome, holds: tuple[Hold, ...] = ()) -> None:
        """TuneD has run. `holds`: what systemd is to keep open for it."""
        if outcome.result is Result.FAILED and self._may_fall_back():
            self._fell_back(outcome.findings)
            return
        self._conclude(outcome.result, outcome.findings)
        if outcome.result is Result.FAILED:
            return
        done = self._record
        in_force = InForce(
            done.boot_id, outcome.result, done.profile, done.image, done.image_id,
            done.fingerprint, record.now(), outcome.findings, holds,
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

    def handed_over(self, handed: tuple[Handed, ...]) -> None:
        """What others own by now, and what this run had to do with it."""
        # Of several attempts the last one counts.
        told = {each.key: each for each in (*self._record.handover, *handed)}
        self._record = replace(self._record, handover=tuple(told.values()))

    def took_back(self, residue: tuple[Residue, ...]) -> None:
        """What became of the settings that the profile before had set and this one does not."""
        self._record = replace(self._record, residue=residue)

    def checked(self, values: tuple[Value, ...], outcome: Outcome) -> None:
        """What was found on the host afterwards, and what that makes of the result."""
        self._record = replace(self._record, values=values)
        self._amend(outcome)

    def held(self, outcome: Outcome, holds: tuple[Hold, ...]) -> None:
        """What systemd is to keep open for what is in force, and what the result is with that."""
        if self._record.in_force is not None:
            self._record = replace(
                self._record, in_force=replace(self._record.in_force, holds=holds)
            )
        self._amend(outcome)

    def _amend(self, outcome: Outcome) -> None:
        in_force = self._record.in_force
        if in_force is not None:
            in_force = replace(in_force, result=outcome.result, findings=outcome.findings)
        self._record = replace(self._record, in_force=in_force)
        self._judge(outcome.result, outcome.findings)

    def failed(self, kind: str, message: str, advice: str = "") -> None:
        """The run ended before TuneD was judged. What was in force may still be."""
        attempts = self._record.attempts
        if kind == DeadlineExceeded.kind and attempts:
            # That the time is over says nothing of what it went into.
            message += f"; the attempt before failed: {attempts[-1].message}"
        found = (Finding(kind, "", message, advice),)
        if self._may_fall_back():
            self._fell_back(found)
        else:
            self._record = replace(self._record, result=Result.FAILED, findings=found)

    def earlier(self) -> str:
        """Why the run before has failed, for one that did not get as far."""
        last = self._last
        if last is None or last.result is not Result.FAILED or not last.findings:
            return ""
        return f"; the one before had failed: {last.findings[0].message}"

    def _may_fall_back(self) -> bool:
        return self._why is not Why.START and self.before is not None

    def _fell_back(self, found: tuple[Finding, ...]) -> None:
        """A change has failed: what was in force is on record again, and this finding with it."""
        assert self.before is not None  # noqa: S101  # _may_fall_back
        words = f"what was asked for is not in force: {found[0].message}"
        in_force = replace(self.before, findings=_other(self.before.findings))
        begun = self._record.in_force is None and found[0].kind not in _BEFORE_TUNING
        if begun:
            # TuneD sets one thing after the other, and where it ended nobody knows.
            words += f"; some settings may be those of {self._record.profile!r} already"
        finding = make("change-failed", found[0].kind, words)
        told = (finding, *in_force.findings)
        if begun:
            in_force = replace(in_force, result=Result.DEGRADED, findings=told)
        self._record = replace(
            self._record, action="change-failed", in_force=in_force, image_id=in_force.image_id
        )
        self._conclude(Result.DEGRADED, told)

    def met(self, units: dict[str, str]) -> None:
        """The states in which other units were found after the run."""
        self._record = replace(self._record, units=units)

    def record(self) -> Record:
        """The record as it stands."""
        seconds = self._seconds
        if seconds is None:
            seconds = time.monotonic() - self._started
        return replace(self._record, steps=tuple(self.steps), seconds=seconds)

    def write(self) -> Record:
        """Puts the record on disk. Raises `HostError`."""
        current = self.record()
        record.write(self._paths, current)
        return current

    def ready(self, notifier: Notifier) -> None:
        """Puts the result on disk, then tells systemd: in this order. Raises `HostError`."""
        done = self.write()
        if done.result is Result.FAILED:
            notifier.status(done.summary())
        else:
            notifier.ready(done.summary())
        self.concluded = True

    def write_if_possible(self) -> None:
        """Puts the record of a run that has failed on disk; its own error is what counts."""
        try:
            self.write()
        except HostError as error:
            log.error("%s", error)

    def _conclude(self, result: Result, findings: tuple[Finding, ...]) -> None:
        self._seconds = time.monotonic() - self._started
        self._judge(result, findings)

    def _judge(self, result: Result, findings: tuple[Finding, ...]) -> None:
        """With what is doubtful about the inputs: it degrades this run, not what it has done."""
        if self._doubts and result is Result.APPLIED:
            result = Result.DEGRADED
        self._record = replace(self._record, result=result, findings=(*self._doubts, *findings))


def _other(found: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Without an earlier failure of that kind."""
    return tuple(finding for finding in found if finding.kind != "change-failed")


def _boot_id(paths: Paths) -> str:
    """Empty where it cannot be read: then reading what is asked for fails, and says so."""
    try:
        return inputs.boot_id(paths)
    except BootError:
        return ""


def of_this_boot(paths: Paths, boot_id: str) -> Record | None:
    """The last run on record. One that cannot be read, or is of another boot, says nothing: the
    kernel has forgotten all of its settings. Raises `NewerVersion`."""
    try:
        last = record.read(paths)
    except NewerVersion:
        raise
    except HostError as error:
        log.warning("%s", error)
        return None
    if last is None:
        return None
    in_force = last.in_force
    if in_force is not None and in_force.boot_id != boot_id:
        return None
    return last if in_force is not None or last.boot_id == boot_id else None
