"""`mode = daemon`: TuneD keeps running in its container, as the process of
ocp-tuned-daemon.service.

A run applies the profile as with `mode = oneshot`, except that TuneD stays (applying.py). At its
end the unit is started (`follow`). Its ExecStart= (`start`) names conmon, the parent of the
container's first process, as the main process of the unit, and exits: nothing of this program
remains, and systemd sees how TuneD exits. Then ExecStopPost= (`ended`) judges that, and Restart=
comes back to `start`, which starts TuneD again: it sets nothing again (inside/staying.py), because
the kernel has kept the settings and others may have changed them since.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ocp_tuned_boot.errors import BootError, Busy, HostError, NotRequested, PodmanError, Refused
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.clock import Deadline, Progress
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import DAEMON, Notifier
from ocp_tuned_boot.inside.program import NAME
from ocp_tuned_boot.lock import locked
from ocp_tuned_boot.podman.client import ContainerState, Podman
from ocp_tuned_boot.record import entries, store
from ocp_tuned_boot.record.amend import with_exit
from ocp_tuned_boot.record.model import Action, Decision, InForce
from ocp_tuned_boot.record.recorder import Recorder
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import inputs, lastgood
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.tuned import log as tunedlog
from ocp_tuned_boot.tuned import ours, prepare, staying
from ocp_tuned_boot.tuned.findings import Finding, make
from ocp_tuned_boot.tuned.judge import Outcome, Result, signal_name
from ocp_tuned_boot.tuned.staying import Staying

log = logging.getLogger(__name__)

#: What a stop leaves.
STOPPED = (
    "TuneD is stopped. The settings remain until the next boot; dynamic tuning has ended. "
    "To start it again: systemctl reload-or-restart ocp-tuned"
)
#: How long the unit may take to stop TuneD (seconds): TimeoutStopSec= of the unit, and the same
#: for ExecStopPost=.
STOPPING = 25.0
#: How long `start` waits for a run that is active (seconds). The unit is started at the end of one.
PATIENCE = 60.0
#: The same for `ended`: a run that stops TuneD waits for it meanwhile.
BRIEF = 2.0
_NOTHING = "no TuneD is to keep running in this boot"
_RELOAD = "To apply the profile, and start TuneD: ocp-tuned-boot reload --force"
# The end of TuneD's log that is read for its last message (bytes).
_TAIL = 16 * 1024


# For a run.


def follow(paths: Paths) -> None:
    """At the end of a run: starts the unit, which may be active already, if TuneD is to keep
    running for what is applied now, or stops it. A failure is logged: the profile is applied."""
    try:
        known = staying.read(paths)
        if known is None:
            return
        if _is_for(known, store.in_force(paths, inputs.boot_id(paths))):
            if systemd.unit_states([DAEMON]).get(DAEMON) == "failed":
                systemd.reset_failed(DAEMON)  # also its limit on starts
            systemd.queue("start", [DAEMON])
        else:
            staying.forget(paths)
            systemd.queue("stop", [DAEMON])
    except BootError as error:
        log.warning("%s", error)


def _is_for(known: Staying, in_force: InForce | None) -> bool:
    """Whether TuneD has applied what is applied now."""
    applied = (in_force.boot_id, in_force.fingerprint) if in_force is not None else None
    return (known.boot_id, known.fingerprint) == applied


def stop(paths: Paths, progress: Progress) -> None:
    """Before TuneD applies something else. Raises `HostError`, `DeadlineExceeded`."""
    systemd.stop(DAEMON, min(progress.deadline.left(), STOPPING))
    # If the unit was not active: the run removes the container with the others.
    staying.release(paths)


# For the unit.


def start(paths: Paths, config_file: Path | None, notifier: Notifier) -> None:
    """Tells systemd which process is TuneD's, and starts TuneD again if it does not run. Raises
    `BootError`."""
    try:
        running = _started(paths, boot_conf.load(paths, config_file), notifier)
    except BootError:
        # For `ended`: it is not TuneD that has exited.
        staying.release(paths)
        raise
    notifier.ready_for(_parent(running), "TuneD keeps running, started at " + _since(running))


def _started(paths: Paths, config: Config, notifier: Notifier) -> ContainerState:
    known, progress = _known(paths), Progress(Deadline(config.timeout), notifier)
    with Podman(config.socket, progress.deadline) as podman:
        running = _running(podman, known)
        if running is None:
            with locked(paths, PATIENCE):
                progress.deadline.restart(config.timeout)
                # The run that was active may have started or stopped it.
                running = _running(podman, _known(paths))
                running = running or _started_again(paths, config, podman, progress)
    return running


def _known(paths: Paths) -> Staying:
    known = staying.read(paths)
    if known is None or not _is_for(known, store.in_force(paths, inputs.boot_id(paths))):
        raise NotRequested(_NOTHING, _RELOAD)
    return known


def _running(podman: Podman, known: Staying) -> ContainerState | None:
    """The container, if TuneD runs in it."""
    found = podman.container(known.container) if known.container else None
    return found if found is not None and found.status == "running" and found.pid else None


def _parent(running: ContainerState) -> int:
    """conmon: it exits with the exit status of the container's first process. Its own parent is
    systemd, which notices the exit of no other process."""
    pid = int(running.inspect["State"].get("ConmonPid") or 0)
    if not pid:
        raise PodmanError(f"Podman does not say which process supervises {running.id}")
    return pid


def _since(running: ContainerState) -> str:
    return str(running.inspect["State"].get("StartedAt", ""))[:19]


def _started_again(
    paths: Paths, config: Config, podman: Podman, progress: Progress
) -> ContainerState:
    """Starts TuneD for what is applied. Raises `BootError`."""
    from ocp_tuned_boot import applying  # noqa: PLC0415  # not if TuneD runs

    in_force = store.in_force(paths, inputs.boot_id(paths))
    requested = None if in_force is None else _applied(paths, in_force)
    if in_force is None or requested is None:
        raise NotRequested("the profile that is applied is not stored on this node", _RELOAD)
    decision = Decision(Action.KEEP, "TuneD has exited", guarded=True)
    recorder = Recorder(paths, time.monotonic())
    run = applying.Attempting(paths, config, requested, decision, recorder, progress)
    staying.release(paths)
    with ours.sole(podman, paths):
        outcome, container = applying.resume(run, podman, in_force.image_id)
        if outcome.result is Result.FAILED or not container:
            words = outcome.findings[0].message if outcome.findings else "it has exited"
            raise PodmanError(f"TuneD cannot be started again: {words}", _RELOAD)
        staying.note(paths, Staying(container, requested.boot_id, requested.fingerprint))
    for each in outcome.findings:
        entries.finding(each)
    found = podman.container(container)
    if found is None or not found.pid:
        raise PodmanError("TuneD has exited again", _RELOAD)
    return found


def _applied(paths: Paths, in_force: InForce) -> Inputs | None:
    """What was requested for what is applied: another profile may be requested by now."""
    last = lastgood.profile(paths)
    if last is None:
        return None
    found = Inputs(
        in_force.image, last.profile, "tuned", in_force.boot_id, last.provider, last.files,
        mode="daemon",
    )  # fmt: skip
    for reapply in (True, False):
        found = replace(found, reapply_sysctl=reapply)
        if found.fingerprint == in_force.fingerprint:
            return found
    return None


def ended(
    paths: Paths, config_file: Path | None, environ: Mapping[str, str], notifier: Notifier
) -> None:
    """TuneD has exited: why, in the record and in the journal, unless a stop was requested. Its
    container is removed. Raises `BootError`."""
    asked_for = _is_requested()
    known = staying.read(paths)
    config = _config(paths, config_file)
    found = None if asked_for or known is None else _finding(paths, known, environ)
    notifier.status(found.message if found else STOPPED)
    if found is not None:
        entries.finding(found)
        _record(paths, config, found)
    else:
        log.info("%s", STOPPED)
    if known is not None and known.container:
        try:
            if asked_for and systemd.is_shutting_down():
                log.info(ours.LATER)
                return
            with Podman(config.socket, Deadline(ours.CLEARING)) as podman:
                _remove(podman, known.container)
        except PodmanError as error:
            # Podman's socket may be stopped as well. The next run removes the container.
            if not (asked_for and error.temporary):
                raise
            log.info("%s", error)
        finally:
            prepare.forget_tuned(paths)


def _remove(podman: Podman, container: str) -> None:
    """A conmon that was killed leaves TuneD. Podman then stops it, but refuses to remove the
    container, because nobody can tell how it has exited; the next time it is not asked."""
    try:
        podman.remove(container)
    except Refused as error:
        log.info("%s", error)
        podman.remove(container)


def _config(paths: Paths, config_file: Path | None) -> Config:
    try:
        return boot_conf.load(paths, config_file)
    except BootError as error:
        log.warning("%s", error)
        return boot_conf.parse(())


def _is_requested() -> bool:
    """Whether the unit is being stopped or restarted on request."""
    try:
        job = systemd.jobs().get(DAEMON)
    except HostError as error:
        log.warning("%s", error)
        return False
    return job is not None and job.kind in ("stop", "restart")


def _finding(paths: Paths, known: Staying, environ: Mapping[str, str]) -> Finding:
    """How TuneD has exited (systemd.exec(5), $EXIT_CODE). What conmon exits with is TuneD's exit
    status, 128 and the number for a signal."""
    code, status = environ.get("EXIT_CODE", ""), environ.get("EXIT_STATUS", "")
    number = int(status) if status.isdecimal() else 0
    if not known.container:
        words = f"it cannot be started again (status {status}), see journalctl -b -u {DAEMON}"
        return make("tuned-exited", "start", f"TuneD does not keep running: {words}")
    if code in ("killed", "dumped"):
        how, words = f"SIG{status}", f"its supervisor, conmon, was killed by SIG{status}"
    elif number > 128:
        how = signal_name(number - 128)
        words = f"it was killed by {how}"
    else:
        how, words = status or "?", f"it exited with status {status or '?'}"
    last = _last_message(paths)
    return make("tuned-exited", how, f"TuneD does not keep running: {words}{last}")


def _last_message(paths: Paths) -> str:
    with suppress(OSError):
        with paths.container_log.open("rb") as source:
            source.seek(max(0, paths.container_log.stat().st_size - _TAIL))
            data = source.read(_TAIL)
        reader = tunedlog.LineReader()
        lines = [*reader.feed(data), *reader.finish()]
        records = [each for each in tunedlog.parse(lines) if each.logger != NAME]
        if records:
            return f'; its last message is "{records[-1].message}"'
    return ""


def _record(paths: Paths, config: Config, found: Finding) -> None:
    """Adds the finding to the record of what is applied, in place of an earlier one of the kind. A
    failure is logged."""
    try:
        with locked(paths, BRIEF):
            record = store.of_this_boot(paths, inputs.boot_id(paths))
            if record is None or record.in_force is None:
                return
            in_force = record.in_force
            applied = Outcome(in_force.result, in_force.findings)
            applied = with_exit(applied, found, config.accept)
            whole = with_exit(Outcome(record.result, record.findings), found, config.accept)
            in_force = replace(in_force, result=applied.result, findings=applied.findings)
            changed = replace(
                record, in_force=in_force, result=whole.result, findings=whole.findings
            )
            store.write(paths, changed)
    except (Busy, HostError) as error:
        log.warning("%s", error)
