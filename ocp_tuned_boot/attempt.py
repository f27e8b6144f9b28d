"""One attempt to apply the profile: image, TuneD (applying.py), judgement, READY=1."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Union

from ocp_tuned_boot import applying
from ocp_tuned_boot.applying import Applied, Attempting
from ocp_tuned_boot.errors import BootError, PodmanError
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.images import ensure, pins, prune
from ocp_tuned_boot.images.ensure import Available, ImageSession
from ocp_tuned_boot.podman import service
from ocp_tuned_boot.podman.client import Image, Podman
from ocp_tuned_boot.record.amend import (
    with_fallback_image,
    with_fallback_profile,
    with_findings,
    with_holds,
    with_values,
)
from ocp_tuned_boot.record.model import Standing, State
from ocp_tuned_boot.requested import inputs, lastgood
from ocp_tuned_boot.requested.lastgood import LastProfile
from ocp_tuned_boot.settings import compare, holds, kubelet, residue
from ocp_tuned_boot.tuned import ours, staying
from ocp_tuned_boot.tuned.findings import make
from ocp_tuned_boot.tuned.judge import (
    NOT_LOADED,
    Outcome,
    Result,
    judge,
    with_existing,
    with_requested_values,
)
from ocp_tuned_boot.tuned.staying import Staying

log = logging.getLogger(__name__)

#: An attempt that found its image damaged.
DAMAGED = "damaged-image"


@dataclass(frozen=True)
class TemporaryFailure:
    """Why an attempt failed that is followed by another; `kind` as in a finding."""

    kind: str
    message: str


@dataclass(frozen=True)
class NotLoaded:
    """TuneD cannot load the requested profile, and has changed nothing; see `TemporaryFailure`."""

    kind: str
    message: str
    advice: str


Failure = Union[TemporaryFailure, NotLoaded]


def attempt(run: Attempting, images: ImageSession) -> Failure | None:
    """From a connection to Podman to a profile that is applied, or is known not to be.

    Returns why another attempt may succeed, or None if this was the last one. Raises `BootError`
    for what will fail again.
    """
    progress, recorder = run.progress, run.recorder
    try:
        with _connected(run) as podman:
            previous = recorder.attempts[-1].message if recorder.attempts else ""
            image = images.ensure(podman, previous)
            try:
                return _attempt_with(run, podman, image)
            except PodmanError as error:
                # Once: what is still broken with a new copy of the image has another cause.
                again = any(each.kind == DAMAGED for each in recorder.attempts)
                if recorder.concluded or again or not ensure.is_damage(error, previous):
                    raise
                ensure.discard(run.paths, podman, image.image.id, error)
                return TemporaryFailure(DAMAGED, error.message)
    except BootError as error:
        if recorder.concluded or not (error.temporary and progress.has_time()):
            raise
        service.end_stale(run.config.socket, error, progress.deadline.left())
        return TemporaryFailure(error.kind, error.message)


@contextmanager
def _connected(run: Attempting) -> Iterator[Podman]:
    if run.ahead is not None:
        with run.ahead.containers:
            yield run.ahead.podman
        return
    with run.progress.step("podman", "Connecting to Podman…"):
        podman = Podman(run.config.socket, run.progress.deadline)
    with podman:
        podman.check_running()
        yield podman


def _attempt_with(run: Attempting, podman: Podman, available: Available) -> Failure | None:
    """With an image that is on the node."""
    progress, recorder, accept = run.progress, run.recorder, run.config.accept
    image = available.image
    if run.ahead is not None and not run.ahead.fits(run, image):
        run.ahead.containers.close()
        run = replace(run, ahead=None)
    with run.ahead.containers.pop_all() if run.ahead else ours.sole(podman, run.paths):
        applied = applying.apply(run, podman, available)
        outcome = _judged(run, applied)
        why, hint = available.fallback, available.hint
        outcome = with_fallback_image(outcome, run.requested.image, why, hint, accept)
        outcome = with_fallback_profile(outcome, run.requested.fallback)
        if outcome.temporary and progress.has_time():
            return TemporaryFailure(outcome.findings[0].kind, outcome.findings[0].message)
        if outcome.result is Result.FAILED:
            cause = outcome.findings[0]
            if cause.kind in NOT_LOADED and run.has_fallback:
                return NotLoaded(cause.kind, cause.message, cause.advice)
            recorder.judged(outcome)
            progress.notifier.status(recorder.conclude().summary())
            return None
        held = _hold(run, applied)
        outcome = with_holds(outcome, held, accept)
        given = [it.hold for it in held if it.standing is not Standing.UNASKED]
        recorder.judged(outcome, tuple(given), applied.reached, applied.profiles)
        # Before READY=1: CRI-O reads the list of pinned images and may wait for this unit.
        _pin(run, available)
        done = recorder.conclude()
        if applied.tuned.stays:
            # From here on this container belongs to ocp-tuned-daemon.service (daemon.py).
            id_ = (applied.tuned.stays, run.requested.boot_id, run.requested.fingerprint)
            staying.note(run.paths, Staying(*id_))
        recorder.ready()
        progress.notifier.ready(done.summary())
        # From here on nothing waits for this run.
        _settle(run, podman, applied, outcome, held)
    _remember(run, image)
    _tidy(run, podman, available)
    return None


def _judged(run: Attempting, applied: Applied) -> Outcome:
    """What TuneD left behind, judged, with the values and files that its log does not name."""
    accept, opened = run.config.accept, {it.key: it.value for it in applied.answered.open_files}
    outcome = judge(run.requested.profile, applied.tuned, accept)
    root = run.paths.root
    outcome = with_existing(outcome, lambda path: os.path.isfile(f"{root}{path}"), accept)
    outcome = with_requested_values(outcome, opened)
    outcome = _explained(run, applied, outcome)
    if outcome.result is Result.FAILED:
        return outcome
    unknown = applied.answered.profile.unknown
    found = [make("not-asked", "tuned", unknown)] if unknown else []
    if run.requested.mode == "daemon" and not applied.tuned.stays:
        words = "TuneD has applied the profile and does not keep running"
        found.append(make("no-daemon", "tuned", f"{words}{f': {unknown}' if unknown else ''}"))
    return with_findings(outcome, found, accept) if found else outcome


def _explained(run: Attempting, applied: Applied, outcome: Outcome) -> Outcome:
    """With the advice for this host."""
    if not outcome.findings:
        return outcome
    from ocp_tuned_boot import advice  # noqa: PLC0415  # most runs have nothing to explain
    from ocp_tuned_boot.requested.missing import Search  # noqa: PLC0415

    search = Search(run.paths, run.config, run.requested, applied.prepared.texts)
    found = tuple(advice.explained(each, search) for each in outcome.findings)
    return replace(outcome, findings=found)


def _pin(run: Attempting, available: Available) -> None:
    """Keeps the kubelet from collecting the images of this node. The profile is applied without."""
    image = available.image
    references = [run.requested.image, image.reference, *image.names]
    try:
        pins.keep(run.paths, run.config.images.store, references)
    except BootError as error:
        log.warning("%s", error)


def _remember(run: Attempting, image: Image) -> None:
    """What worked, for a boot in which what is requested cannot be used."""
    applied = run.requested
    try:
        lastgood.remember(run.paths, image.reference, image.id)
        if not applied.fallback:
            lastgood.remember_profile(
                run.paths, LastProfile(applied.profile, applied.provider, applied.files)
            )
    except BootError as error:
        log.warning("%s", error)


def _tidy(run: Attempting, podman: Podman, available: Available) -> None:
    """Removes images that are no longer needed. The profile is applied without."""
    paths, image = run.paths, available.image
    try:
        ours.remove_check(podman, paths)
        # Another one may have been requested, and pulled, since this run began.
        requested = inputs.read_image(paths, run.config.image)
        also = prune.needed(paths, podman, requested)
        for gone in prune.prune(paths, podman, image.id, run.config.images.keep, also):
            log.info("removed the image %s, which is no longer needed", gone)
    except BootError as error:
        log.warning("%s", error)


def _hold(run: Attempting, applied: Applied) -> tuple[State, ...]:
    """Gives systemd the file descriptors that TuneD closed when it exited."""
    before = run.recorder.before
    with run.progress.step("hold", "Giving systemd the file descriptors that must stay open…"):
        known: tuple[State, ...] = ()
        if before is not None and before.holds:
            known = holds.look(run.paths, before.holds, systemd.stored(systemd.UNIT))
        asked, tuned = applied.answered.open_files, applied.tuned
        wanted = holds.wanted(run.paths, asked, tuned.log, stays=bool(tuned.stays))
        return holds.store(run.paths, run.progress.notifier, wanted, known)


def _settle(
    run: Attempting, podman: Podman, applied: Applied, outcome: Outcome, held: tuple[State, ...]
) -> None:
    """Restores the settings that only the previous profile set, and compares the values that this
    profile requests with those on the host."""
    recorder, accept = run.recorder, run.config.accept
    # Of those that were not given to systemd, the reason is already known.
    given = [it for it in held if it.hold.since and it.standing is not Standing.UNASKED]
    if given:
        stored = systemd.stored(systemd.UNIT)
        seen = holds.look(run.paths, [it.hold for it in given], stored)
        held = (*seen, *(state for state in held if state not in given))
        outcome = with_holds(outcome, held, accept)
    profile = applying.verified(run, podman, applied)
    guard, known = applied.answered.guard, applied.answered.known
    owned = guard.owned if guard else frozenset()
    found, left = compare.compare(run.paths, known, profile, owned, held)
    recorder.residue(left)
    outcome = with_values(outcome, found, accept)
    outcome = with_findings(outcome, tuple(residue.findings(left)), accept)
    named = residue.named(run.paths.root, profile.settings)
    refused = kubelet.refused(run.paths, applied.kubelet, named, owned, recorder.left_out)
    recorder.checked(found, with_findings(outcome, tuple(refused), accept))
    run.progress.notifier.status(recorder.write().summary())
