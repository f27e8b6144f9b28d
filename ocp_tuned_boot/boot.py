"""The boot flow, top to bottom.

boot.conf, image.env, recommend file, profiles → inputs → decision → prepared directories
→ TuneD in its container → the word → outcome → record → readiness

What is needed only when TuneD runs is imported only then: most runs touch nothing.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from pathlib import Path

from ocp_tuned_boot import cleanup, early, kept, plan, situation, textfile, watching
from ocp_tuned_boot.early import Start
from ocp_tuned_boot.errors import BootError, ConfigurationError, CutOff, NotRequested, defects
from ocp_tuned_boot.gate import Gate
from ocp_tuned_boot.host import systemd, userspace
from ocp_tuned_boot.host.clock import Progress
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.lock import locked
from ocp_tuned_boot.record import entries, store
from ocp_tuned_boot.record.model import Action, Decision, Record, Why
from ocp_tuned_boot.record.recorder import recording, remember
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import inputs, settled
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.tuned import findings
from ocp_tuned_boot.tuned.judge import Result

log = logging.getLogger(__name__)


def apply(paths: Paths, config_file: Path | None, notifier: Notifier) -> Record:
    """Applies TuneD's profile, once per boot.

    Returns the record of the run, which may say `failed`. Raises `BootError` when TuneD did not
    get to run, having recorded that. READY=1 is sent when, and only when, the profile is applied
    and that is recorded. With `gate = closed` it returns only then, or when a signal ends it.
    """
    gate, times = Gate(paths, config_file, notifier), 1
    while True:
        try:
            with early.waited(paths, config_file, notifier) as start:
                this = replace(start, times=times)
                done = _run(paths, config_file, notifier, Why.START, this)
        except NotRequested:
            # The agent that would request a profile may itself wait for the gate.
            gate.open()
            raise
        except BootError as error:
            if not gate.holds(f"Failed: {error.message}", error.hint, [findings.of(error)]):
                watching.watch(paths)
                raise
            times = times * 2 if isinstance(error, CutOff) else 1
        else:
            if done.result is not Result.FAILED:
                gate.passed()
                return done
            if not gate.holds(done.summary(), "", done.findings):
                return done
            times = 1


def reload(paths: Paths, config_file: Path | None, notifier: Notifier, *, force: bool) -> Record:
    """Applies what is requested now, if that has changed or with `force`.

    When that fails, the profile that was applied stays recorded with the failure, and the unit
    stays active. Raises `BootError` as `apply` does.

    No RELOADING=1 is sent: systemd shows `reloading` by itself while ExecReload= runs
    (systemd.service(5)), and after that message it would wait for ever for the READY=1 of a run
    that was killed.
    """
    start = Start(time.monotonic())
    return _run(paths, config_file, notifier, Why.FORCE if force else Why.RELOAD, start)


def notice(paths: Paths, config_file: Path | None) -> Record | None:
    """For the path units: records that what is requested has changed and waits. If it is to be
    applied at once, a reload of the unit is queued, whose own processes alone run TuneD.

    None if no profile is applied in this boot: then the unit is started. Waits for a run that is
    active: it may have read the files before they were changed. Raises `BootError`.
    """
    watching.watch(paths)
    with locked(paths, math.inf):
        pass
    if store.in_force(paths, inputs.boot_id(paths)) is None:
        if situation.has_missed(paths, config_file):
            systemd.reload(systemd.UNIT)
        return None
    situation.wait_for_others(paths, config_file)
    with defects(), locked(paths), textfile.after(paths, config_file):
        # A run that began meanwhile was killed: only the unit's own processes run TuneD.
        if store.in_force(paths, inputs.boot_id(paths)) is None:
            return None
        done = _run_once(paths, config_file, Notifier(), Why.NOTICE, Start(time.monotonic()))
    if situation.is_eager(paths, config_file, done):
        systemd.reload(systemd.UNIT)
    return done


def _run(
    paths: Paths, config_file: Path | None, notifier: Notifier, why: Why, start: Start
) -> Record:
    """One run at a time."""
    # Also before there is a recorder: what holds the gate, and why, is in the status line.
    with defects(), start.locked(paths), textfile.after(paths, config_file), kept.running(paths):
        return _run_once(paths, config_file, notifier, why, start)


def _run_once(
    paths: Paths, config_file: Path | None, notifier: Notifier, why: Why, start: Start
) -> Record:
    """One run within one deadline: from what is requested to what is recorded."""
    with recording(paths, notifier, start.at, why) as recorder:
        cleanup.temporary(paths)
        userspace.count_restarts(paths)
        config = settled.config(paths, config_file)
        times = start.times if config.gate == "closed" else 1
        deadline = start.deadline(paths, early.allowed(config.timeout, times), recorder)
        progress = Progress(deadline, notifier, recorder.steps, paths.console)
        kept.catch_up(paths, config, recorder)
        if recorder.in_force is None:
            cleanup.foreign(paths)
            systemd.wake(config.socket)  # most likely TuneD runs

        with progress.step("inputs", "Reading which image and profile are requested…"):
            fallback = situation.fallback(config, recorder.before)
            requested = settled.requested(paths, config, fallback)
            requested = situation.beside_others(paths, config, requested)
            if times > 1:
                about = (paths, config_file, config, requested, fallback)
                progress.look = lambda: situation.end_if_changed(*about)
            this = (requested, recorder.in_force, why, start.workloads)
            now = situation.look(paths, config, *this)
            decision = plan.decide(requested, recorder.in_force, now)
        recorder.decided(requested, decision, now.workloads)
        _log(requested, decision, config)

        if decision.action is Action.APPLY:
            from ocp_tuned_boot import tuning  # noqa: PLC0415
            from ocp_tuned_boot.applying import Attempting as This  # noqa: PLC0415

            tuning.run(This(paths, config, requested, decision, recorder, progress, start.ahead))
        else:
            recorder.kept(config.accept)
            kept.restore(paths, config, recorder, notifier, why)
            notifier.ready(recorder.conclude().summary())
            cleanup.containers(paths, config.socket)
            if why is Why.START:
                watching.watch(paths)  # a stop of the unit has stopped some of these
    done = recorder.record()
    if decision.action is Action.APPLY or recorder.defers_anew:
        remember(paths, done)
    return done


def _log(requested: Inputs, decision: Decision, config: Config) -> None:
    """What is about to be done, and why."""
    for words in boot_conf.overruled(config, requested):
        log.info("%s", words)
    entries.decided(requested, decision)
    if decision.action is not Action.APPLY:
        try:
            config.images.check(requested.image)
        except ConfigurationError as error:
            log.warning("the next boot will fail: %s", error.message)
