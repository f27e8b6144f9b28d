"""The boot flow, top to bottom.

boot.conf, image.env, recommend file, profiles → inputs → decision → prepared directories
→ TuneD in its container → outcome → record → readiness

What is started only when TuneD is to run is imported only then: most runs touch nothing.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ocp_tuned_boot import plan
from ocp_tuned_boot.errors import (
    BootError,
    ConfigurationError,
    HostError,
    Interrupted,
    PodmanError,
    Unasked,
)
from ocp_tuned_boot.gate import Gate
from ocp_tuned_boot.host import files, systemd
from ocp_tuned_boot.host.deadline import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.progress import GRACE, Progress
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.plan import Action, Decision, Situation, Waits, Why
from ocp_tuned_boot.record.account import Account, of_this_boot
from ocp_tuned_boot.record.store import Handed, InForce, Record
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.tuned import prepare
from ocp_tuned_boot.tuned.judge import Outcome, Result, with_holds

if TYPE_CHECKING:
    from ocp_tuned_boot.settings.holds import State
    from ocp_tuned_boot.tuned.container import ContainerSpec

log = logging.getLogger(__name__)

#: How long a run waits for another one to end (seconds): the path unit's looks are that short.
PATIENCE = 2.0
_TICK = 0.02


def apply(paths: Paths, config_file: Path | None, notifier: Notifier) -> Record:
    """Puts TuneD's profile in force, once in a boot, and says how it went.

    Returns the record of the run, which may say `failed`. Raises `BootError` when TuneD did not
    get to run, having recorded that. READY=1 is sent when, and only when, the profile is in
    force and that is on record. With `gate = closed` it returns only then, or by a signal.
    """
    gate = Gate(paths, config_file, notifier)
    while True:
        try:
            done = _run(paths, config_file, notifier, Why.START)
        except Unasked:
            # Whoever is to say what is wanted may be one of those who would wait.
            gate.lets_go()
            raise
        except BootError as error:
            if not gate.holds(error.message, error.hint):
                raise
        else:
            if done.result is not Result.FAILED:
                return done
            if not gate.holds(done.summary()):
                return done


def reload(paths: Paths, config_file: Path | None, notifier: Notifier, *, force: bool) -> Record:
    """Puts in force what is asked for now, if that has changed or by `force`.

    When that fails, what was in force stays on record, and the record says so; the unit stays
    active. Raises `BootError` as `apply` does.

    No RELOADING=1 is sent: systemd says `reloading` by itself for as long as ExecReload= runs
    (systemd.service(5)), and after that message it would wait for ever for the READY=1 of a run
    that was killed.
    """
    return _run(paths, config_file, notifier, Why.FORCE if force else Why.RELOAD)


def notice(paths: Paths, config_file: Path | None) -> Record | None:
    """For the path unit: sees whether what is asked for has changed, and puts on record that it
    waits. With `on_change = apply` it waits for a reload of the unit, which is asked for here: a
    run of TuneD is always one of the unit's own.

    None where nothing is in force in this boot: then the unit has been started by now. A run that
    is under way is waited for: it may have read what was there before. Raises `BootError`.
    """
    prepare.run_directory(paths)
    with locked(paths, math.inf):
        pass
    if _in_force(paths) is None:
        return None
    done = _run(paths, config_file, Notifier(), Why.NOTICE)
    waits = done.deferred is not None and done.deferred.waits == Waits.PROFILE.value
    if waits and boot_conf.load(paths, config_file).on_change == "apply":
        systemd.reload(systemd.UNIT)
    return done


def _run(paths: Paths, config_file: Path | None, notifier: Notifier, why: Why) -> Record:
    """Everything that is done within one deadline, from what is asked for to what is recorded."""
    started = time.monotonic()
    prepare.run_directory(paths)
    with locked(paths):
        with _accounted(paths, notifier, started, why) as account:
            config = boot_conf.load(paths, config_file)
            deadline = Deadline(config.timeout, started=started)
            progress = Progress(deadline, notifier, account.steps, paths.console)

            with progress.step("inputs", "Reading what is asked for…"):
                asked = inputs.settled(paths, config.contract, config.image, config.profile)
                account.handed_over(_recovered(paths, asked.boot_id))
                now = _situation(paths, config, asked, account.in_force, why)
                decision = plan.decide(asked, account.in_force, now)
            account.decided(asked, decision, now.workloads)
            _tell(asked, decision, config)
            if decision.action is Action.APPLY:
                _tune(paths, config, asked, decision, account, progress)
            else:
                account.kept()
                _hold_on(paths, config, account, notifier)
                account.ready(notifier)
        done = account.record()
        if decision.action is not Action.KEEP:
            _remember(paths, done)
        return done


def _situation(
    paths: Paths, config: Config, asked: Inputs, in_force: InForce | None, why: Why
) -> Situation:
    """What the decision depends on besides the inputs. Who runs is asked only for the first
    profile of a boot: after that somebody always does."""
    first = in_force is None or in_force.boot_id != asked.boot_id
    workloads = systemd.running(paths, systemd.WORKLOADS) if first else ()
    return Situation(
        why, config.on_change, config.late, workloads, tuned=not first or _was_tuned(paths, asked)
    )


def _was_tuned(paths: Paths, asked: Inputs) -> bool:
    """Whether a profile was in force in this boot, and is on record no more."""
    from ocp_tuned_boot.settings import residue as settings  # noqa: PLC0415

    return bool(settings.load(paths, asked.boot_id).applied_at)


def _recovered(paths: Paths, boot_id: str) -> tuple[Handed, ...]:
    """What a killed run has left undone is done first. Raises `HostError`."""
    if not paths.handover.exists():
        return ()

    from ocp_tuned_boot.settings import handover  # noqa: PLC0415

    return handover.recover(paths, boot_id)


def _tell(asked: Inputs, decision: Decision, config: Config) -> None:
    for doubt in asked.doubts:
        log.error("%s", doubt.message)
    level = logging.WARNING if decision.action is Action.DEFER else logging.INFO
    log.log(level, "%s: %s", decision.action.value, decision.reason)
    if decision.action is not Action.APPLY:
        try:
            config.images.check(asked.image)
        except ConfigurationError as error:
            log.warning("the next boot will fail: %s", error.message)


def _tune(
    paths: Paths, config: Config, asked: Inputs, decision: Decision,
    account: Account, progress: Progress,
) -> None:  # fmt: skip
    """Runs TuneD, again as long as that may help and there is time."""
    from ocp_tuned_boot.attempt import Run, attempt  # noqa: PLC0415
    from ocp_tuned_boot.host import retry  # noqa: PLC0415

    if systemd.running(paths, (systemd.HOST_TUNED,)):
        with progress.step("host-tuned", "Stopping the host's own TuneD…"):
            _displace_host_tuned(progress.deadline)
    run = Run(paths, config, asked, decision, account, progress)
    for pause in retry.pauses():
        passing = attempt(run)
        if passing is None:
            break
        account.attempted(passing)
        progress.again(pause, passing.message)
    account.met(systemd.unit_states(systemd.NEIGHBOURS))
    account.write()


_NOT_STOPPED = ("active", "activating", "deactivating", "reloading")


def _displace_host_tuned(deadline: Deadline) -> None:
    """It would tune against us; and when it ends it takes back what it has set, which may be what
    we set. Raises `HostError`, `DeadlineExceeded`."""
    log.warning("%s runs and would tune against this; it is stopped", systemd.HOST_TUNED)
    systemd.stop(systemd.HOST_TUNED)
    # Not its processes: between the last one and what it does after that there may be none.
    while systemd.unit_states((systemd.HOST_TUNED,)).get(systemd.HOST_TUNED) in _NOT_STOPPED:
        deadline.left()
        time.sleep(_TICK)


def _hold_on(paths: Paths, config: Config, account: Account, notifier: Notifier) -> None:
    """What systemd is to hold for what is in force is held again if it was lost."""
    in_force = account.in_force
    if in_force is None:
        return

    from ocp_tuned_boot.settings import holds  # noqa: PLC0415

    states = holds.hold_on(paths, notifier, in_force)
    # What the unit should not hold any more it has let go of by now.
    found = [it for it in in_force.findings if not (notifier.in_unit and it.kind == "still-held")]
    outcome = with_holds(Outcome(in_force.result, tuple(found)), states, config.accept)
    account.held(outcome, tuple(state.hold for state in states))


def _remember(paths: Paths, done: Record) -> None:
    """For the boots to come. The profile is in force without it, so it is no failure."""
    from ocp_tuned_boot.record import history  # noqa: PLC0415

    try:
        if done.boot_id:
            history.add(paths, done)
    except HostError as error:
        log.warning("%s", error)


@contextmanager
def _accounted(paths: Paths, notifier: Notifier, started: float, why: Why) -> Iterator[Account]:
    """Whatever ends a run before it was judged goes on record, too."""
    account = Account(paths, started, why)
    try:
        yield account
    except BootError as error:
        if account.concluded:
            # What is on record stands: clearing up afterwards went wrong, not the tuning.
            log.warning("%s", error)
            return
        account.failed(error.kind, error.message, error.hint)
        notifier.status(account.record().summary())
        account.write_if_possible()
        _remember(paths, account.record())
        raise
    except Interrupted:
        if not account.concluded:
            account.failed("interrupted", f"the run was interrupted by a signal{account.earlier()}")
            account.write_if_possible()
        raise


def locked(paths: Paths, patience: float = PATIENCE) -> AbstractContextManager[None]:
    """One run at a time. Raises `Busy` when the other one does not end in so many seconds."""
    return files.locked(paths.lock, patience, "another run")


def _in_force(paths: Paths) -> InForce | None:
    """What is on record as being in force in this boot."""
    done = of_this_boot(paths, inputs.boot_id(paths))
    return done.in_force if done else None


@dataclass(frozen=True)
class Preview:
    """What `apply` would do now. `container` is None when it would start none; `lost` is what it
    would have systemd hold again."""

    decision: Decision
    asked: Inputs
    image: str
    container: ContainerSpec | None
    lost: tuple[State, ...] = ()


def preview(paths: Paths, config_file: Path | None) -> Preview:
    """Finds out what `apply` would do, and touches nothing. Raises `BootError`."""
    config = boot_conf.load(paths, config_file)
    decision, asked = pending(paths, config)
    config.images.check(asked.image)
    if decision.action is not Action.APPLY:
        return Preview(decision, asked, "not needed", None, _lost(paths))

    from ocp_tuned_boot.images import ensure as images  # noqa: PLC0415
    from ocp_tuned_boot.podman.client import Podman  # noqa: PLC0415
    from ocp_tuned_boot.tuned import container, layout  # noqa: PLC0415

    with Podman(config.socket, Deadline(config.timeout)) as podman:
        image = images.in_store(paths, podman, asked.image)
    if image is None:
        state, image_id = "to be pulled", asked.image
    else:
        state, image_id = "in Podman's store", image.id
    seen = layout.cached(paths, image_id) or layout.Layout()
    return Preview(decision, asked, state, container.specify(paths, asked.contract, image_id, seen))


def _lost(paths: Paths) -> tuple[State, ...]:
    from ocp_tuned_boot.settings import holds  # noqa: PLC0415

    in_force = _in_force(paths)
    if in_force is None or not in_force.holds:
        return ()
    states = holds.look(paths, in_force.holds, systemd.stored(systemd.UNIT))
    return tuple(state for state in states if state.standing is holds.Standing.LOST)


def pending(paths: Paths, config: Config) -> tuple[Decision, Inputs]:
    """What `apply` would decide now, without asking Podman. Raises `BootError`."""
    asked = inputs.read(paths, config.contract, config.image, config.profile)
    in_force = _in_force(paths)
    now = _situation(paths, config, asked, in_force, Why.START)
    return plan.decide(asked, in_force, now), asked


def cleanup(paths: Paths, config_file: Path | None) -> bool:
    """Removes our container if a killed run has left it, puts back what that run has not, and says
    whether there was a container.

    Raises `Busy` while a run is under way, `PodmanError` if the container is somebody else's.
    """
    from ocp_tuned_boot.podman.client import Podman  # noqa: PLC0415
    from ocp_tuned_boot.tuned import container  # noqa: PLC0415

    prepare.run_directory(paths)
    with locked(paths):
        for each in _recovered(paths, inputs.boot_id(paths)):
            log.warning("%s: put back to %r from %r", each.key, each.after, each.tuned)
        try:
            socket = boot_conf.load(paths, config_file).socket
        except ConfigurationError as error:
            log.warning("%s; the default socket is used", error)
            socket = boot_conf.parse(()).socket
        try:
            with Podman(socket, Deadline(GRACE)) as podman:
                removed = container.remove_ours(podman, paths)
                return container.remove_check(podman, paths) or removed
        except PodmanError as error:
            # At a shutdown Podman's socket is closed by now, and with the machine all ends.
            if not error.may_pass or _is_unfinished(paths):
                raise
            log.info("%s", error)
            return False


def _is_unfinished(paths: Paths) -> bool:
    """Whether the last run on record has not come to its end."""
    last = of_this_boot(paths, inputs.boot_id(paths))
    return last is not None and last.result is Result.APPLYING
