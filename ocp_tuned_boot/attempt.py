"""One attempt to apply the profile: image, container, TuneD, judgement, READY=1."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Union

from ocp_tuned_boot import advice
from ocp_tuned_boot.errors import BootError, DeadlineExceeded, PodmanError
from ocp_tuned_boot.host import files, systemd
from ocp_tuned_boot.host.clock import Deadline, Progress
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import ensure, pins, prune
from ocp_tuned_boot.images.ensure import Available, ImageSession
from ocp_tuned_boot.podman import pulling
from ocp_tuned_boot.podman.client import ContainerState, Image, Podman
from ocp_tuned_boot.record.amend import (
    with_fallback_image,
    with_fallback_profile,
    with_findings,
    with_holds,
    with_values,
)
from ocp_tuned_boot.record.model import Decision, Standing, State
from ocp_tuned_boot.record.recorder import Recorder
from ocp_tuned_boot.requested import inputs, lastgood
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.requested.lastgood import LastProfile
from ocp_tuned_boot.settings import compare, handover, holds, kubelet, residue
from ocp_tuned_boot.settings.handover import Guard
from ocp_tuned_boot.settings.kubelet import Kubelet
from ocp_tuned_boot.settings.residue import Settings
from ocp_tuned_boot.tuned import container, layout, ours, prepare, profiles, reach
from ocp_tuned_boot.tuned import log as tunedlog
from ocp_tuned_boot.tuned.container import ContainerSpec
from ocp_tuned_boot.tuned.judge import (
    NOT_LOADED,
    Outcome,
    Result,
    TunedRun,
    judge,
    parse_bootcmdline,
    with_existing,
    with_files,
    with_requested_values,
)
from ocp_tuned_boot.tuned.prepare import Overlay
from ocp_tuned_boot.tuned.profiles import Setting

log = logging.getLogger(__name__)

#: The limit for a file that TuneD writes to /etc/tuned (bytes); each has one line.
_WRITTEN_LIMIT = 64 * 1024
_MORE_TIME = "Raise timeout in boot.conf."
#: An attempt that found its image damaged.
DAMAGED = "damaged-image"


@dataclass(frozen=True)
class Attempting:
    """What all attempts of a run share: what is requested, the deadline, the record."""

    paths: Paths
    config: Config
    requested: Inputs
    decision: Decision
    images: ImageSession
    recorder: Recorder
    progress: Progress
    #: Whether there is a profile to use instead of one that TuneD cannot load.
    has_fallback: bool = False


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


@dataclass(frozen=True)
class _Tuning:
    """What is prepared for one run of TuneD. `open_files`: the settings that need a file descriptor
    that stays open; `known`: the settings of this boot, those that the profile requests included;
    `guard` is None while nothing is owned by others; `texts`: see `reach.texts`; `reached`: the
    fingerprint with the files that the profile can reach."""

    spec: ContainerSpec
    requested: tuple[Setting, ...]
    open_files: tuple[Setting, ...]
    known: Settings
    guard: Guard | None
    over: Overlay
    texts: Mapping[str, str]
    kubelet: Kubelet
    reached: str


def attempt(run: Attempting) -> Failure | None:
    """From a connection to Podman to a profile that is applied, or is known not to be.

    Returns why another attempt may succeed, or None if this was the last one. Raises `BootError`
    for what will fail again.
    """
    progress, recorder = run.progress, run.recorder
    try:
        with progress.step("podman", "Connecting to Podman…"):
            podman = Podman(run.config.socket, progress.deadline)
        with podman:
            podman.check_running()
            previous = recorder.attempts[-1].message if recorder.attempts else ""
            image = run.images.ensure(podman, previous)
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
        return TemporaryFailure(error.kind, error.message)


def _attempt_with(run: Attempting, podman: Podman, available: Available) -> Failure | None:
    """With an image that is on the node."""
    progress, recorder, accept = run.progress, run.recorder, run.config.accept
    image = available.image
    with ExitStack() as without_tuned, ours.sole(podman, run.paths):
        with progress.step("prepare", "Preparing the container…"):
            tuning = _prepare(run, podman, image)
        recorder.tuning(image.reference, image.id, available.source)
        without_tuned.enter_context(_guarded(run, tuning.guard))
        with progress.step("create", "Creating the container…"):
            created = container.create(podman, run.paths, tuning.spec)
        tuned = _tune(run, podman, created, tuning)
        outcome = _judged(run, tuning, tuned)
        outcome = with_fallback_image(outcome, run.requested.image, available.fallback, accept)
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
        held = _hold(run, tuning, tuned)
        outcome = with_holds(outcome, held, accept)
        given = [it.hold for it in held if it.standing is not Standing.UNASKED]
        recorder.judged(outcome, tuple(given), tuning.reached)
        # Before READY=1: CRI-O reads the list of pinned images and may wait for this unit.
        _pin(run, available)
        done = recorder.conclude()
        progress.notifier.ready(done.summary())
        # From here on nothing waits for this run.
        _settle(run, tuning, outcome, held)
    _remember(run, image)
    _tidy(run, podman, available)
    return None


def _judged(run: Attempting, tuning: _Tuning, tuned: TunedRun) -> Outcome:
    """What TuneD left behind, judged, with the values and files that its log does not name."""
    outcome = judge(run.requested.profile, tuned, run.config.accept)
    root, accept = run.paths.root, run.config.accept
    outcome = with_existing(outcome, lambda path: os.path.isfile(f"{root}{path}"), accept)
    outcome = with_requested_values(outcome, {it.key: it.value for it in tuning.open_files})
    return with_files(
        outcome, lambda it: advice.file_for(run.paths, run.requested, tuning.texts, it)
    )


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


def _prepare(run: Attempting, podman: Podman, image: Image) -> _Tuning:
    """Everything on the host that the container needs, and the container's description."""
    paths, requested = run.paths, run.requested
    prepare.directories(paths)
    seen = layout.of(paths, podman, image.id)
    layout.check(seen, requested.contract, image.reference)
    image_texts = layout.texts(seen)
    texts = reach.texts(requested.files, image_texts)
    files = reach.reached(requested.profile, requested.provider, requested.files, image_texts)
    wanted = profiles.resolve(requested.profile, texts)
    known = residue.before(paths.root, residue.load(paths, requested.boot_id), wanted)
    residue.store(paths, known)
    guard, over = None, prepare.NOTHING
    if run.decision.guarded:
        owners, sections = run.config.handover, profiles.sections(requested.profile, texts)
        complete = not any(each.plugin == "include" for each in wanted)
        guard = Guard(paths, owners, sections, complete=complete)
        # The program of contract = operand does not read the generated profile.
        text = guard.profile() if requested.contract == "tuned" else ""
        over = Overlay(handover.PROFILE, text, reapply=not owners.sysctl_d)
    over = replace(over, reapply=over.reapply and requested.reapply_sysctl)
    if requested.contract == "tuned":
        prepare.etc_tuned(paths, requested.profile, requested.files, seen.variables, over)
    else:
        prepare.empty_etc_tuned(paths)
        prepare.keep_pid_file(paths)
    guarded = guard is not None
    spec = container.specify(paths, requested.contract, image.id, seen, guarded=guarded)
    opened = profiles.open_files(requested.profile, texts)
    reached, its_kubelet = requested.fingerprint_with(files), kubelet.look(paths)
    return _Tuning(spec, wanted, opened, known, guard, over, texts, its_kubelet, reached)


@contextmanager
def _guarded(run: Attempting, guard: Guard | None) -> Iterator[None]:
    """Around a run of TuneD: the copies that it writes instead of settings that others own."""
    if guard is None:
        yield
        return
    try:
        guard.save()
        yield
    finally:
        run.recorder.handed_over(guard.collect())


def _check_time(run: Attempting) -> None:
    """Raises `DeadlineExceeded` if TuneD could not be stopped before the deadline: then it is not
    started. The message names the step that took the time."""
    progress, least = run.progress, container.LEAST + container.STOPPING
    left = progress.deadline.left()
    if left >= least:
        return
    longest = progress.longest()
    words = (
        f"TuneD was not started: {left:.1f} s remain of {progress.deadline.seconds:g} s, "
        f"it needs at least {least:g} s; the step '{longest.name}' took {longest.seconds:.1f} s"
    )
    if run.recorder.attempts:
        words += f"; the attempt before failed: {run.recorder.attempts[-1].message}"
    raise DeadlineExceeded(words, pulling.SLOW if longest.name == "pull" else _MORE_TIME)


def _tune(run: Attempting, podman: Podman, created: ContainerState, tuning: _Tuning) -> TunedRun:
    """Runs TuneD in the container and collects what it left behind."""
    _check_time(run)
    with run.progress.step("tuned", f"TuneD is applying {run.requested.profile}…"):
        # Leave time to stop a TuneD that hangs, before the deadline.
        left = max(0.0, run.progress.deadline.left() - container.STOPPING)
        allowed = min(run.config.tuned_timeout, left)
        limit = "tuned_timeout" if run.config.tuned_timeout <= left else "timeout"
        ended = container.run(podman, created, run.paths, Deadline(allowed))
    if tuning.guard is not None:
        run.recorder.handed_over(tuning.guard.collect())
    with ExitStack() as collecting:
        if ended.status is None:
            # The record must say that TuneD hung, even if no time is left for this.
            podman = ours.patient(podman)
        else:
            words = "Collecting the files that TuneD wrote…"
            collecting.enter_context(run.progress.step("collect", words))
        active_profile, bootcmdline = _written(run, podman, created, tuning.spec)
        tuned = TunedRun(
            ended.status, tuple(tunedlog.parse(ended.log)), active_profile, allowed,
            tuning.over.name if tuning.over.text else "",
            parse_bootcmdline(bootcmdline), inputs.kernel_arguments(run.paths), limit,
            profiles.named_devices(run.requested.profile, tuning.texts),
        )  # fmt: skip
        run.recorder.kernel_arguments(tuned.requested_arguments)
        return tuned


def _written(
    run: Attempting, podman: Podman, created: ContainerState, spec: ContainerSpec
) -> tuple[str, str]:
    """What TuneD wrote to /etc/tuned: the profile that it says it applied, and the kernel arguments
    that the profile requests. Empty where it wrote nothing."""
    names = ("active_profile", "bootcmdline")
    if not any(mount.target == "/etc/tuned" for mount in spec.mounts):
        found = podman.files(created.id, "/etc/tuned")
    else:
        found = {}
        for name in names:
            with suppress(FileNotFoundError):
                found[name] = files.read(run.paths.etc_tuned / name, _WRITTEN_LIMIT)
    active_profile, bootcmdline = (found.get(name, b"").strip() for name in names)
    return tunedlog.printable(active_profile), bootcmdline.decode(errors="replace")


def _hold(run: Attempting, tuning: _Tuning, tuned: TunedRun) -> tuple[State, ...]:
    """Gives systemd the file descriptors that TuneD closed when it exited."""
    before = run.recorder.before
    with run.progress.step("hold", "Giving systemd the file descriptors that must stay open…"):
        known: tuple[State, ...] = ()
        if before is not None and before.holds:
            known = holds.look(run.paths, before.holds, systemd.stored(systemd.UNIT))
        wanted = holds.wanted(run.paths, tuning.open_files, tuned.log)
        return holds.store(run.paths, run.progress.notifier, wanted, known)


def _settle(run: Attempting, tuning: _Tuning, outcome: Outcome, held: tuple[State, ...]) -> None:
    """Restores the settings that only the previous profile set, and compares the values that this
    profile requests with those on the host."""
    recorder, accept = run.recorder, run.config.accept
    # Of those that were not given to systemd, the reason is already known.
    given = [it for it in held if it.hold.since and it.standing is not Standing.UNASKED]
    if given:
        stored = systemd.stored(systemd.UNIT)
        seen = holds.look(run.paths, [it.hold for it in given], stored)
        others = [state for state in held if state not in given]
        outcome = with_holds(outcome, [*seen, *others], accept)
    owned = tuning.guard.owned if tuning.guard else frozenset()
    found, left = compare.compare(run.paths, tuning.known, tuning.requested, owned)
    recorder.residue(left)
    outcome = with_values(outcome, found, accept)
    outcome = with_findings(outcome, residue.refused(left), accept)
    named = residue.named(run.paths.root, tuning.requested)
    refused = kubelet.refused(run.paths, tuning.kubelet, named, owned, recorder.left_out)
    recorder.checked(found, with_findings(outcome, tuple(refused), accept))
    run.progress.notifier.status(recorder.write().summary())
