"""Runs TuneD: first stops the host's own TuneD, then makes attempts until one is the last."""

from __future__ import annotations

import logging
from dataclasses import replace

from ocp_tuned_boot import situation, watching
from ocp_tuned_boot.applying import Attempting
from ocp_tuned_boot.attempt import NotLoaded, attempt
from ocp_tuned_boot.errors import DeadlineExceeded, HostError
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.clock import Progress, pauses
from ocp_tuned_boot.images.ensure import ImageSession
from ocp_tuned_boot.record import entries
from ocp_tuned_boot.requested import inputs, lastgood

log = logging.getLogger(__name__)


def run(this: Attempting) -> None:
    """Applies the profile, in as many attempts as it takes; what is done `ahead` is for the first
    one. Raises `BootError` when that cannot succeed."""
    paths, recorder, progress = this.paths, this.recorder, this.progress
    if systemd.running(paths, (systemd.HOST_TUNED,)):
        with progress.step("host-tuned", "Stopping the host's own TuneD…"):
            _stop_host_tuned(progress)
    if paths.daemon.exists():
        from ocp_tuned_boot import daemon  # noqa: PLC0415  # only with mode = daemon

        with progress.step("stop-tuned", "Stopping the TuneD that keeps running…"):
            daemon.stop(paths, progress)
    images = ImageSession(paths, this.config.images, this.requested.image, progress)
    this = replace(this, has_fallback=_has_fallback(this))
    try:
        _attempts(this, images)
    finally:
        progress.sum_up()
        if images.cut_off:
            watching.fetch(paths)
    recorder.neighbours(systemd.unit_states((*systemd.workloads(), systemd.HOST_TUNED)))
    recorder.write()
    watching.after_run(paths, progress.deadline.spent())


def _attempts(this: Attempting, images: ImageSession) -> None:
    """Makes attempts until one is the last."""
    for pause in pauses():
        failure = attempt(this, images)
        this = replace(this, ahead=None)
        if failure is None:
            return
        this.recorder.attempt_failed(failure.kind, failure.message)
        if isinstance(failure, NotLoaded):
            this = _with_fallback(this, failure)
        else:
            this.progress.pause(pause, failure.message, failure.kind)


def _has_fallback(this: Attempting) -> bool:
    """Whether there is a profile to use if TuneD cannot load the requested one. If one is applied
    in this boot already, it stays instead (`record.change`)."""
    allowed = situation.fallback(this.config, this.recorder.before) == "last-good"
    is_fallback = bool(this.requested.fallback)
    return allowed and not is_fallback and lastgood.profile(this.paths) is not None


def _with_fallback(this: Attempting, failure: NotLoaded) -> Attempting:
    """The next attempt is made with the last profile that was applied."""
    instead = inputs.last_applied(this.paths, this.requested, failure.message, failure.advice)
    assert instead is not None  # noqa: S101  # _has_fallback
    entries.fallback(instead.profile)
    this.recorder.decided(instead, this.decision, this.recorder.record().late)
    return replace(this, requested=instead, has_fallback=False)


def _stop_host_tuned(progress: Progress) -> None:
    """It would set other values. When it exits it restores the values that it found, also those
    that this program has changed since. So TuneD is not started before systemd has said that the
    unit is stopped. Raises `DeadlineExceeded`."""
    also = _stopped_with_it()
    log.warning("stopping %s: it would set other values%s", systemd.HOST_TUNED, also)
    for pause in pauses():
        try:
            systemd.stop(systemd.HOST_TUNED, progress.deadline.left())
            return
        except HostError as error:
            if not progress.has_time():
                raise DeadlineExceeded(
                    f"cannot stop {systemd.HOST_TUNED}, which would set other values: "
                    f"{error.message}",
                    f"To keep it from starting: systemctl disable {systemd.HOST_TUNED}",
                ) from error
            progress.pause(pause, error.message)


def _stopped_with_it() -> str:
    """For the journal: the units that systemd stops with it, such as microshift-tuned.service."""
    try:
        others = systemd.requiring(systemd.HOST_TUNED)
    except HostError:
        return ""
    return f"; with it, systemd stops what requires it: {', '.join(others)}" if others else ""
