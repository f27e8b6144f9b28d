"""The record of the current run, written while it proceeds."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from ocp_tuned_boot.errors import (
    BootError,
    DeadlineExceeded,
    Defect,
    HostError,
    Interrupted,
    defects,
)
from ocp_tuned_boot.host.clock import Step
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.record import entries, store
from ocp_tuned_boot.record.amend import (
    without_exit,
    without_fallback_image,
    without_fallback_profile,
)
from ocp_tuned_boot.record.change import failed_change, failure
from ocp_tuned_boot.record.model import (
    Action,
    Attempt,
    Decision,
    Deferred,
    HandedOver,
    Hold,
    InForce,
    Moments,
    Record,
    Residue,
    Value,
    Waits,
    Why,
    now,
)
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.tuned.findings import Finding, make
from ocp_tuned_boot.tuned.judge import NOT_LOADED, Outcome, Result, conclude

log = logging.getLogger(__name__)

#: The most failed attempts of one run that are recorded. A run with a long `timeout` makes one
#: every few seconds, each with a message of up to 4000 characters.
ATTEMPTS = 100


class Recorder:
    """Records what happens, in the order of the boot flow; `write` puts it on disk.

    `started` is monotonic seconds; `steps` is filled while they are done. A change that fails
    does not undo what is applied: see `change.failed_change`.
    """

    def __init__(self, paths: Paths, started: float, why: Why = Why.START) -> None:
        self._paths = paths
        self._started = started
        self._why = why
        boot_id = _boot_id(paths)
        self._last = store.of_this_boot(paths, boot_id)
        #: What was applied before this run.
        self.before = self._last.in_force if self._last else None
        self._doubts: tuple[Finding, ...] = ()
        self._changed = False
        self._image = self._instead_of = ""
        self._record = Record(Result.FAILED, now(), boot_id=boot_id, in_force=self.before)
        self._record = replace(self._record, moments=Moments(started))
        self.steps: list[Step] = []
        self._seconds: float | None = None
        #: The result is on disk: it is final, whatever fails afterwards.
        self.concluded = False

    @property
    def in_force(self) -> InForce | None:
        """What is applied."""
        return self._record.in_force

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The failed attempts of this run."""
        return self._record.attempts

    @property
    def defers_anew(self) -> bool:
        """Whether this run defers something, and the previous one did not defer the same."""
        last = self._last.deferred if self._last else None
        defers = self._record.action == Action.DEFER.value
        return defers and self._record.deferred != last

    # What happens, in order.

    def caught_up(
        self, values: tuple[Value, ...], residue: tuple[Residue, ...], outcome: Outcome
    ) -> None:
        """What an earlier run has applied, and was killed before it compared the values: they are
        compared now."""
        if self._last is None or self.before is None:
            return
        self.before = replace(
            self.before, result=outcome.result, findings=outcome.findings, compared=True
        )
        self._last = replace(self._last, values=values, residue=residue, in_force=self.before)
        self._record = replace(self._record, in_force=self.before)

    def waited(self, began: float, early: Sequence[Step]) -> None:
        """When the program began to wait for the word, and what it did until then."""
        moments = Moments(self._started, began)
        self._record = replace(self._record, moments=moments, early=tuple(early))

    def decided(self, requested: Inputs, decision: Decision, late: Sequence[str] = ()) -> None:
        """What is requested, and what is to be done about it; `late`: the workloads that run."""
        self._doubts = (*requested.doubts, *requested.fallback)
        self._changed = decision.changed
        self._image, self._instead_of = requested.image, requested.instead_of
        self._record = replace(
            self._record,
            boot_id=requested.boot_id,
            action=decision.action.value,
            reason=decision.reason,
            profile=requested.profile,
            image=requested.image,
            contract=requested.contract,
            mode=requested.mode,
            fingerprint=requested.fingerprint,
            late=tuple(late),
        )
        self._record = replace(self._record, deferred=self._deferred(decision.waits))

    def _deferred(self, waits: Waits) -> Deferred | None:
        if waits is Waits.NOTHING:
            return None
        asked = self._record
        new = Deferred(waits.value, asked.fingerprint, asked.profile, asked.image, now())
        known = self._last.deferred if self._last else None
        same = known is not None and replace(known, since=new.since) == new
        return known if same else new

    def kept(self, accept: Sequence[tuple[str, str]]) -> None:
        """Nothing was touched: what is applied stays recorded, with its details. What boot.conf
        accepts by now is accepted (`accept`)."""
        in_force = self._record.in_force
        if in_force is None:
            self._finish(Result.DEFERRED, ())
            return
        before = Outcome(in_force.result, in_force.findings)
        if self._why is not Why.NOTICE:
            before = without_exit(before)
        if before.findings:
            from ocp_tuned_boot.tuned import findings  # noqa: PLC0415  # most have none

            before = conclude(findings.accept(before.findings, accept))
        outcome = without_fallback_image(before, in_force.image, self._record.image)
        replaced = any(each.kind == "profile-fallback" for each in self._doubts)
        if self._record.action == Action.KEEP.value and not replaced:
            outcome = without_fallback_profile(outcome)
        in_force = replace(in_force, result=outcome.result, findings=outcome.findings)
        self._record = replace(self._record, in_force=in_force, image_id=in_force.image_id)
        failed = self._failure_before()
        if failed is None:
            self._record = replace(self._record, image=in_force.image)
        else:
            self._doubts = (failed, *self._doubts)
        self._finish(outcome.result, outcome.findings)
        self._keep_details()

    def _failure_before(self) -> Finding | None:
        """Why what waits was not applied by the run before. It stays known while the same is
        requested: this run has not tried it."""
        if self._record.deferred is None:
            return None
        return failure(self._last, self._record.fingerprint, self._record.image)

    def tuning(self, image: str, image_id: str, source: str) -> None:
        """TuneD is about to run: from here on nothing is known to be applied, and a run that is
        killed must not leave a record that says so. Raises `HostError`."""
        self._record = replace(
            self._record, image=image, image_id=image_id, image_source=source, in_force=None
        )
        # Why the previous run failed is shown until this one has a result.
        last, unfinished = self._last, (Result.FAILED, Result.APPLYING)
        previous = last.findings if last and last.result in unfinished else ()
        applying = replace(self._record, result=Result.APPLYING, findings=previous)
        store.reserve(self._paths)
        store.write(self._paths, applying)

    def attempt_failed(self, kind: str, message: str) -> None:
        """An attempt has failed; another follows. The last `ATTEMPTS` are recorded."""
        attempt = Attempt(time.monotonic() - self._started, kind, message)
        attempts, left_out = (*self._record.attempts, attempt), dict(self._record.left_out)
        if len(attempts) > ATTEMPTS:
            attempts = attempts[1:]
            left_out["attempts"] = left_out.get("attempts", 0) + 1
        self._record = replace(self._record, attempts=attempts, left_out=left_out)

    def kernel_arguments(self, arguments: tuple[str, ...]) -> None:
        """The kernel arguments that the profile requests (bootcmdline), for the agent that sets
        them."""
        self._record = replace(self._record, kernel_arguments=arguments)

    def handed_over(self, handed: tuple[HandedOver, ...]) -> None:
        """What others own, and what this run did about it."""
        # Of several attempts the last one counts.
        known = {each.key: each for each in (*self._record.handover, *handed)}
        self._record = replace(self._record, handover=tuple(known.values()))

    @property
    def left_out(self) -> dict[str, str]:
        """What TuneD would have set in a guarded run, by key."""
        return {each.key: each.tuned for each in self._record.handover if each.how == "left-out"}

    def judged(
        self,
        outcome: Outcome,
        holds: tuple[Hold, ...] = (),
        reached: str = "",
        profiles: tuple[str, ...] = (),
    ) -> None:
        """TuneD has run. `holds`, `reached` and `profiles` as in `InForce`."""
        if outcome.result is Result.FAILED:
            self._failed(outcome.findings)
            return
        self._finish(outcome.result, outcome.findings)
        done = self._record
        in_force = InForce(
            done.boot_id, outcome.result, done.profile, done.image, done.image_id,
            done.fingerprint, now(), outcome.findings, holds, compared=False, reached=reached,
            profiles=profiles, instead_of=self._instead_of,
        )  # fmt: skip
        self._record = replace(done, in_force=in_force)

    def residue(self, residue: tuple[Residue, ...]) -> None:
        """What was done about settings of the previous profile that this one does not name."""
        self._record = replace(self._record, residue=residue)

    def put_back_again(self, residue: tuple[Residue, ...], outcome: Outcome) -> None:
        """What became of the settings whose first value was refused before, and the result with
        that."""
        tried = {each.key for each in residue}
        others = [each for each in self._record.residue if each.key not in tried]
        self._record = replace(self._record, residue=(*others, *residue))
        self._amend(outcome)

    def checked(self, values: tuple[Value, ...], outcome: Outcome) -> None:
        """What was read back from the host, and the result with that."""
        self._record = replace(self._record, values=values)
        if self._record.in_force is not None:
            in_force = replace(self._record.in_force, compared=True)
            self._record = replace(self._record, in_force=in_force)
        self._amend(outcome)

    def held(self, outcome: Outcome, holds: tuple[Hold, ...]) -> None:
        """What systemd keeps open for what is applied, and the result with that."""
        if self._record.in_force is not None:
            self._record = replace(
                self._record, in_force=replace(self._record.in_force, holds=holds)
            )
        self._amend(outcome)

    def neighbours(self, units: dict[str, str]) -> None:
        """The states of other units after the run."""
        self._record = replace(self._record, units=units)

    def failed(self, kind: str, message: str, advice: str = "") -> None:
        """The run ended before TuneD was judged. What was applied before may still be in
        effect."""
        if kind == DeadlineExceeded.kind and self.attempts:
            # The deadline alone does not explain what the time was spent on.
            message += f"; the previous attempt failed: {self.attempts[-1].message}"
        self._failed((Finding(kind, "", message, advice),))

    def defect_afterwards(self, message: str) -> None:
        """The profile is applied, and what follows is not done: that degrades the result."""
        self._amend(conclude([*self._record.findings, make(Defect.kind, "", message)]))

    def interrupted(self) -> None:
        """The run was ended by a signal."""
        last, message = self._last, "the run was interrupted by a signal"
        if last is not None and last.result is Result.FAILED and last.findings:
            message += f"; the previous run failed: {last.findings[0].message}"
        self.failed("interrupted", message)

    # On disk.

    def record(self) -> Record:
        """The record so far."""
        seconds = self._seconds
        if seconds is None:
            seconds = time.monotonic() - self._started
        return replace(self._record, steps=tuple(self.steps), seconds=seconds)

    def ready(self) -> None:
        """READY=1 is about to be sent: what waits for it begins after this moment."""
        moments = self._record.moments or Moments(self._started)
        self._record = replace(self._record, moments=replace(moments, ready=time.monotonic()))

    def write(self) -> Record:
        """Puts the record on disk. Raises `HostError`."""
        current = self.record()
        store.write(self._paths, current)
        return current

    def conclude(self) -> Record:
        """Puts the result on disk; from then on it is final. Raises `HostError`."""
        done = self.write()
        self.concluded = True
        return done

    def write_if_possible(self) -> None:
        """Puts the record of a failed run on disk; the failure is reported, not its own error. The
        record that TuneD is running does not remain."""
        try:
            self.write()
        except HostError as error:
            log.error("%s", error)
            try:
                store.withdraw(self._paths)
            except HostError as worse:
                log.error("%s", worse)

    # How the result comes about.

    def _keep_details(self) -> None:
        """The details of what is applied are those of the run that applied it."""
        if self._last is None:
            return
        left_out = {
            name: number
            for name, number in self._last.left_out.items()
            if name not in ("attempts", "steps")
        }
        self._record = replace(
            self._record,
            values=self._last.values,
            kernel_arguments=self._last.kernel_arguments,
            handover=self._last.handover,
            residue=self._last.residue,
            late=self._last.late,
            left_out={**left_out, **self._record.left_out},
        )

    def _failed(self, findings: tuple[Finding, ...]) -> None:
        not_loaded = findings[0].kind in NOT_LOADED
        if self.before is not None and (self._why is not Why.START or not_loaded):
            # What was requested is not applied: the next boot, or a reload, tries again.
            deferred = self._deferred(Waits.PROFILE if self._changed else Waits.NOTHING)
            if not self._record.action and self._last is not None:
                # What is requested could not be read.
                deferred = self._last.deferred
            untouched = self._record.in_force is not None or not_loaded
            self._record = failed_change(self._record, self.before, findings[0])
            # Of the image that was used instead, nothing is applied.
            self._record = replace(self._record, deferred=deferred, image=self._image)
            if untouched:
                self._keep_details()
            self._finish(self._record.result, self._record.findings)
        else:
            self._finish(Result.FAILED, findings)

    def _amend(self, outcome: Outcome) -> None:
        in_force = self._record.in_force
        if in_force is not None:
            in_force = replace(in_force, result=outcome.result, findings=outcome.findings)
        self._record = replace(self._record, in_force=in_force)
        self._judge(outcome.result, outcome.findings)

    def _finish(self, result: Result, findings: tuple[Finding, ...]) -> None:
        self._seconds = time.monotonic() - self._started
        self._judge(result, findings)

    def _judge(self, result: Result, findings: tuple[Finding, ...]) -> None:
        """With what is doubtful about the inputs: it degrades this run, not what is applied."""
        if result is Result.APPLIED and any(each.degrades for each in self._doubts):
            result = Result.DEGRADED
        if result is Result.FAILED:
            # The failure comes first, and no fallback is in effect.
            doubts = [each for each in self._doubts if each.kind != "profile-fallback"]
            all_findings = (*findings, *doubts)
        else:
            # Of a fallback the applied profile has the finding, too.
            all_findings = tuple(dict.fromkeys((*self._doubts, *findings)))
        self._record = replace(self._record, result=result, findings=all_findings)


def _release(paths: Paths) -> None:
    """The record is written, or cannot be."""
    try:
        store.release(paths)
    except HostError as error:
        log.warning("%s", error)


def remember(paths: Paths, done: Record) -> None:
    """Adds a run to the history of its boot."""
    from ocp_tuned_boot.record import history  # noqa: PLC0415  # not for a run that keeps

    history.remember(paths, done)


def _boot_id(paths: Paths) -> str:
    """Empty where it cannot be read: then reading the inputs fails, and reports it."""
    try:
        return inputs.boot_id(paths)
    except BootError:
        return ""


@contextmanager
def recording(paths: Paths, notifier: Notifier, started: float, why: Why) -> Iterator[Recorder]:
    """Around a run: a failure or a signal that ends it is recorded, too."""
    recorder = Recorder(paths, started, why)
    try:
        with defects():
            yield recorder
    except BootError as error:
        if recorder.concluded:
            # The result is final: the clean-up afterwards failed, not the tuning.
            log.warning("%s", error)
            if isinstance(error, Defect):
                recorder.defect_afterwards(error.message)
                notifier.status(recorder.record().summary())
                recorder.write_if_possible()
            return
        recorder.failed(error.kind, error.message, error.hint)
        error.recorded = True
        entries.further(recorder.record())
        notifier.status(recorder.record().summary())
        recorder.write_if_possible()
        remember(paths, recorder.record())
        raise
    except Interrupted:
        # Another notice follows, and this one has changed nothing.
        if not recorder.concluded and why is not Why.NOTICE:
            recorder.interrupted()
            recorder.write_if_possible()
        raise
    finally:
        _release(paths)
