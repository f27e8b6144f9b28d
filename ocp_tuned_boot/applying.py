"""One run of TuneD in its container, from what is prepared for it to what it left behind.

Under `contract = tuned`, the container is started before anything is applied: the program in it
says what the profile means, and waits. The first values of the settings are saved then, and the
files that others own are covered. After the word, TuneD applies the profile and compares.

A TuneD that cannot be asked is run all the same. The operator's program, `contract = operand`, is
always run as it is: TuneD is asked in another container before it, and compares after READY=1.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from ocp_tuned_boot.errors import BootError, DeadlineExceeded, PodmanError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.clock import Deadline, Progress
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images.ensure import Available
from ocp_tuned_boot.inside.program import SWITCHED_OFF
from ocp_tuned_boot.podman import pulling
from ocp_tuned_boot.podman.client import ContainerState, Image, Podman
from ocp_tuned_boot.record.model import Decision
from ocp_tuned_boot.record.recorder import Recorder
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.settings import compare, handover, kubelet, residue
from ocp_tuned_boot.settings.compare import Requested
from ocp_tuned_boot.settings.handover import Guard
from ocp_tuned_boot.settings.kubelet import Kubelet
from ocp_tuned_boot.settings.residue import Settings
from ocp_tuned_boot.tuned import (
    asked,
    beside,
    container,
    layout,
    ours,
    prepare,
    profiles,
    reach,
    running,
    said,
    wanted,
)
from ocp_tuned_boot.tuned import log as tunedlog
from ocp_tuned_boot.tuned.asked import Unverified
from ocp_tuned_boot.tuned.beside import Question
from ocp_tuned_boot.tuned.container import ContainerSpec
from ocp_tuned_boot.tuned.conversation import Listener, ProgramExited, Word
from ocp_tuned_boot.tuned.judge import Outcome, TunedRun, judge, parse_bootcmdline
from ocp_tuned_boot.tuned.layout import Layout
from ocp_tuned_boot.tuned.prepare import Overlay
from ocp_tuned_boot.tuned.running import Exit, Running
from ocp_tuned_boot.tuned.said import About, Said
from ocp_tuned_boot.tuned.wanted import Setting

log = logging.getLogger(__name__)

#: The limit for a file that TuneD writes to /etc/tuned (bytes); each has one line.
_WRITTEN_LIMIT = 64 * 1024
_MORE_TIME = "Raise timeout in boot.conf."
# The part of the time that TuneD may take in which it is asked beside the run: one in so many.
_PART = 4


@dataclass(frozen=True)
class Attempting:
    """What all attempts of a run share: what is requested, the deadline, the record."""

    paths: Paths
    config: Config
    requested: Inputs
    decision: Decision
    recorder: Recorder
    progress: Progress
    #: What was done before this run.
    ahead: Ahead | None = None
    #: Whether there is a profile to use instead of one that TuneD cannot load.
    has_fallback: bool = False


@dataclass(frozen=True)
class Prepared:
    """What every way to run TuneD needs. `texts`: see `profiles.texts`; `over` has no text yet:
    that depends on the profile."""

    available: Available
    seen: Layout
    texts: Mapping[str, str]
    over: Overlay

    @property
    def image_id(self) -> str:
        return self.available.image.id


@dataclass(frozen=True)
class Answered:
    """What TuneD said about the profile, and what follows from it for this run.

    `said` is None if it could not be asked; `profile`: what the profile requests; `known`: the
    settings of this boot, those of the profile included; `guard` is None while nothing is owned by
    others.
    """

    said: Said | None
    profile: Requested
    known: Settings
    guard: Guard | None
    over: Overlay

    @property
    def open_files(self) -> tuple[Setting, ...]:
        """The settings that need a file descriptor that stays open."""
        return wanted.open_files(self.profile.meaning) if self.profile.meaning else ()


@dataclass(frozen=True)
class Applied:
    """A run of TuneD. `reached`: the fingerprint with the files that the profile can reach."""

    tuned: TunedRun
    prepared: Prepared
    answered: Answered
    kubelet: Kubelet
    reached: str

    @property
    def profiles(self) -> tuple[str, ...]:
        """The profile and those that it includes, as far as TuneD has said which."""
        meaning = self.answered.profile.meaning
        return tuple(name for name, _ in meaning.profiles) if meaning else ()


@dataclass(frozen=True)
class Waiting:
    """TuneD in its container, asked what the profile means (empty: it did not answer), before the
    word. `mounted`: see `container.mounted_files`; `allowed`: how long it may take (seconds);
    `limit`: the key of boot.conf that says so."""

    prepared: Prepared
    created: ContainerState
    spec: ContainerSpec
    mounted: tuple[tuple[int, int], ...]
    listener: Listener
    running: Running
    meaning: bytes
    allowed: float
    limit: str

    def is_like(self, spec: ContainerSpec) -> bool:
        """Whether a container that is started now would not differ."""
        return spec == self.spec and container.mounted_files(spec) == self.mounted


class _NotAsked(Exception):
    """The container exited, or said what is no message, before TuneD was asked. Nothing has been
    applied."""


@dataclass(frozen=True)
class Ahead:
    """What was done before TuneD might be run: Podman answers, and TuneD waits in its container,
    unless `waiting` is None. Leaving `containers` removes it.

    `podman`, `containers` and the run share one `deadline`.
    """

    config: Config
    requested: Inputs
    deadline: Deadline
    podman: Podman
    waiting: Waiting | None
    containers: ExitStack

    def fits(self, run: Attempting, image: Image) -> bool:
        """Whether TuneD waits for just this run, with this image."""
        waiting = self.waiting
        return (
            waiting is not None
            and not waiting.running.has_exited()
            and not run.decision.guarded
            and (run.config, run.requested) == (self.config, self.requested)
            and image.id == waiting.prepared.image_id
            and waiting.is_like(_spec(run, waiting.prepared, asked=True))
        )


def apply(run: Attempting, podman: Podman, available: Available) -> Applied:
    """Runs TuneD with this image. Raises `BootError`."""
    if run.ahead is not None and run.ahead.waiting is not None:
        return _go(run, podman, run.ahead.waiting)
    ready = _prepare(run, podman, available)
    if run.requested.contract == "operand":
        what, unknown = _ask_beside(run, podman, ready)
        return _run_plainly(run, podman, ready, what, unknown)
    try:
        with _asked(run, podman, ready) as waiting:
            return _go(run, podman, waiting)
    except _NotAsked as error:
        unknown = str(error)
    log.warning("%s; TuneD is run without being asked", unknown)
    ours.remove_all(podman, run.paths)
    return _run_plainly(run, podman, _prepare(run, podman, available), None, unknown)


@contextmanager
def started_ahead(run: Attempting, podman: Podman, available: Available) -> Iterator[Waiting]:
    """Starts TuneD ahead of the run: it has loaded the profile, and waits. Raises `BootError`, also
    if TuneD cannot be asked what the profile means."""
    try:
        with _asked(run, podman, _prepare(run, podman, available)) as this:
            if not this.meaning:
                raise DeadlineExceeded("TuneD did not say in time what the profile means")
            yield this
    except _NotAsked as error:
        raise PodmanError(str(error)) from error


def resume(run: Attempting, podman: Podman, image_id: str) -> tuple[Outcome, str]:
    """Starts a TuneD that keeps running again, for what is applied already: it sets nothing again,
    and has copies of the files that others own. Returns what its log says, and the ID of the
    container, empty if it has exited. Raises `BootError`."""
    image = Image(run.requested.image, image_id, (), (), 0)
    ready = _prepare(run, podman, Available(image, "store"))
    try:
        with _asked(run, podman, ready) as waiting:
            if not isinstance(asked.parse(waiting.meaning), asked.Asked):
                raise PodmanError("TuneD cannot be asked what the profile means")
            guard = Guard(run.paths, run.config.handover, {})
            guard.save()
            prepare.keep_running(run.paths, ready.over)
            try:
                waiting.running.go(Word(guarded=True, verify=False, stays=True, resumes=True))
                ended = waiting.running.finish()
            finally:
                guard.collect()
    except _NotAsked as error:
        raise PodmanError(str(error)) from error
    container = waiting.created.id if ended.stays else ""
    active, _ = _written(run, podman, waiting.created, waiting.spec)
    log = tuple(tunedlog.parse(ended.log))
    tuned = TunedRun(ended.status, log, active, waiting.allowed, stays=container)
    return judge(run.requested.profile, tuned, run.config.accept), container


def verified(run: Attempting, podman: Podman, applied: Applied) -> Requested:
    """What the profile requests, with TuneD's own comparison. What TuneD said is kept for later
    runs. Raises `HostError`."""
    what, unheld = applied.answered.said, ""
    if what is None:
        return applied.answered.profile
    if run.requested.contract == "operand" and not run.config.verify:
        unheld = SWITCHED_OFF
    elif run.requested.contract == "operand":
        try:
            _, held = _beside(run, podman, applied.prepared)
            what = replace(what, held=held)
        except (BootError, ProgramExited, ValueError) as error:
            log.warning("TuneD has not compared the values: %s", error)
            unheld = str(error)
    said.store(run.paths.said, what)
    end = what.end() or Unverified(unheld)
    return compare.at_end(applied.answered.profile, end)


def _prepare(run: Attempting, podman: Podman, available: Available) -> Prepared:
    """Everything on the host that the container needs."""
    paths, requested, image = run.paths, run.requested, available.image
    with run.progress.step("prepare", "Preparing the container…"):
        prepare.directories(paths)
        if layout.cached(paths, image.id) is None:
            run.progress.tell(f"Looking into the image {image.reference}…")
        seen = layout.of(paths, podman, image.id)
        layout.check(seen, requested.contract, image.reference)
        over, guarded = prepare.NOTHING, run.decision.guarded
        if guarded:
            handover.prepare(paths)
            over = Overlay(handover.PROFILE, reapply=not run.config.handover.sysctl_d)
        over = replace(over, reapply=over.reapply and requested.reapply_sysctl)
        if requested.contract == "tuned":
            prepare.etc_tuned(paths, requested.profile, requested.files, seen.variables, over)
        else:
            prepare.empty_etc_tuned(paths)
            prepare.keep_pid_file(paths)
    texts = profiles.texts(requested.files, layout.texts(seen))
    return Prepared(available, seen, texts, over)


@contextmanager
def _asked(run: Attempting, podman: Podman, ready: Prepared) -> Iterator[Waiting]:
    """TuneD in its container, asked what the profile means; the container's process ends with the
    block. Raises `_NotAsked`."""
    spec = _spec(run, ready, asked=True)
    with Listener(run.paths) as listener, ExitStack() as stack:
        mounted = container.mounted_files(spec)
        created = _created(run, podman, spec)
        allowed, limit = _allowed(run)
        with run.progress.step("ask", "Asking TuneD what the profile means…"):
            # Its time counts from here on.
            started = running.started(podman, created, run.paths, Deadline(allowed))
            this = stack.enter_context(started)
            meaning = _heard(this, listener)
        yield Waiting(ready, created, spec, mounted, listener, this, meaning, allowed, limit)


def _go(run: Attempting, podman: Podman, waiting: Waiting) -> Applied:
    """The word, and the run."""
    ready, meaning, this, allowed, limit = (
        waiting.prepared, waiting.meaning, waiting.running, waiting.allowed, waiting.limit,
    )  # fmt: skip
    if run.ahead is not None:
        _check_time(run)
        # Its time counts from here on.
        allowed, limit = _allowed(run)
        this.allow(Deadline(allowed))
    with run.progress.step("tuned", f"TuneD is applying {run.requested.profile}…"):
        what = Said(_about(run, ready), meaning) if meaning else None
        this_run = _decided(run, ready, what, "" if meaning else "TuneD did not answer")
        with _guarded(run, ready, this_run.guard):
            if meaning:
                waiting.listener.restore(_to_restore(this_run))
                this.go(_word(run, ready, this_run))
            ended = this.finish()
    how = (ended, allowed, limit)
    return _collected(run, podman, (waiting.created, waiting.spec), ready, this_run, how)


def _word(run: Attempting, ready: Prepared, this_run: Answered) -> Word:
    """A TuneD that cannot be asked exits: nothing would tell when it has applied the profile."""
    stays = run.requested.mode == "daemon" and this_run.profile.meaning is not None
    if stays:
        prepare.keep_running(run.paths, ready.over)
    return Word(this_run.guard is not None, run.config.verify, stays)


def _heard(this: Running, listener: Listener) -> bytes:
    """What TuneD says first; empty if it hangs, for which it is stopped like in its run. Raises
    `_NotAsked`."""
    try:
        meaning = this.ask(listener)
        asked.parse(meaning)
    except DeadlineExceeded:
        return b""
    except (ProgramExited, ValueError) as error:
        raise _NotAsked(f"TuneD cannot be asked what the profile means: {error}") from error
    return meaning


def _run_plainly(
    run: Attempting, podman: Podman, ready: Prepared, what: Said | None, unknown: str
) -> Applied:
    """TuneD, or the operator's program, as it is."""
    this_run = _decided(run, ready, what, unknown)
    spec = _spec(run, ready)
    with _guarded(run, ready, this_run.guard):
        created = _created(run, podman, spec)
        allowed, limit = _allowed(run)
        with run.progress.step("tuned", f"TuneD is applying {run.requested.profile}…"):
            with running.started(podman, created, run.paths, Deadline(allowed)) as this:
                ended = this.finish()
    return _collected(run, podman, (created, spec), ready, this_run, (ended, allowed, limit))


def _with_unfinished(run: Attempting, known: Settings) -> Settings:
    """The settings of this boot, with those of a run that did not come to its end. From here on
    this run is the one that may not."""
    before = said.last(run.paths.said) if known.begun else None
    if before is not None and before.about.fingerprint == known.begun:
        known = compare.with_unfinished(known, compare.requested(before))
    return replace(known, begun=run.requested.fingerprint)


def _to_restore(this_run: Answered) -> list[dict[str, Any]]:
    if not this_run.known.others:
        return []
    from ocp_tuned_boot.settings import others  # noqa: PLC0415  # not for the first run of a boot

    return others.to_restore(this_run.known.others, this_run.profile.meaning)


def _spec(run: Attempting, ready: Prepared, *, asked: bool = False) -> ContainerSpec:
    return container.specify(
        run.paths, run.requested.contract, ready.image_id, ready.seen,
        guarded=run.decision.guarded, asked=asked,
    )  # fmt: skip


def _created(run: Attempting, podman: Podman, spec: ContainerSpec) -> ContainerState:
    with run.progress.step("create", "Creating the container…"):
        created = container.create(podman, run.paths, spec)
    _check_time(run)
    return created


def _about(run: Attempting, ready: Prepared) -> About:
    return About(run.requested.boot_id, ready.image_id, run.requested.fingerprint)


def _decided(run: Attempting, ready: Prepared, what: Said | None, unknown: str) -> Answered:
    """Between what TuneD said and its run: the first value of each setting is saved, and it is
    decided what is covered. Raises `HostError`."""
    paths, requested = run.paths, run.requested
    profile = compare.requested(what, unknown)
    known = residue.load(paths, requested.boot_id)
    known = _with_unfinished(run, residue.before(paths.root, known, profile.settings))
    residue.store(paths, known)
    if what is not None:
        # For a run after this one, should it be killed.
        said.store(paths.said, what)
    guard, over = None, ready.over
    if run.decision.guarded:
        sections = wanted.plugins(profile.meaning) if profile.meaning else {}
        complete = profile.meaning is not None and not profile.meaning.left
        guard = Guard(paths, run.config.handover, sections, complete=complete)
        # The program of contract = operand does not read the generated profile.
        over = replace(over, text=guard.profile() if requested.contract == "tuned" else "")
    if over.text:
        prepare.lay_over(paths, requested.profile, over)
    return Answered(what, profile, known, guard, over)


@contextmanager
def _guarded(run: Attempting, ready: Prepared, guard: Guard | None) -> Iterator[None]:
    """Around a run of TuneD: from here on nothing is known to be applied, and TuneD writes copies
    of the files that others own."""
    image = ready.available.image
    run.recorder.tuning(image.reference, image.id, ready.available.source)
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
    progress, least = run.progress, running.LEAST + running.STOPPING
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


def _allowed(run: Attempting) -> tuple[float, str]:
    """How long TuneD may take (seconds), and the key of boot.conf that says so. Leaves time to stop
    a TuneD that hangs, before the deadline."""
    left = max(0.0, run.progress.deadline.left() - running.STOPPING)
    most = run.config.tuned_timeout
    return (most, "tuned_timeout") if most <= left else (left, "timeout")


def _collected(
    run: Attempting, podman: Podman, of: tuple[ContainerState, ContainerSpec], ready: Prepared,
    this_run: Answered, how: tuple[Exit, float, str],
) -> Applied:  # fmt: skip
    """What TuneD left behind."""
    paths, requested, (ended, allowed, limit) = run.paths, run.requested, how
    with ExitStack() as collecting:
        if ended.status is None:
            # The record must say that TuneD hung, even if no time is left for this.
            podman = ours.patient(podman)
        else:
            words = "Collecting the files that TuneD wrote…"
            collecting.enter_context(run.progress.step("collect", words))
        active_profile, bootcmdline = _written(run, podman, *of)
        meaning = this_run.profile.meaning
        tuned = TunedRun(
            ended.status, tuple(tunedlog.parse(ended.log)), active_profile, allowed,
            this_run.over.name if this_run.over.text else "",
            parse_bootcmdline(bootcmdline), inputs.kernel_arguments(paths), limit,
            wanted.named_devices(meaning) if meaning else frozenset(),
            wanted.needed_commands(meaning) if meaning else frozenset(),
            of[0].id if ended.stays else "",
        )  # fmt: skip
        run.recorder.kernel_arguments(tuned.requested_arguments)
    if this_run.said is not None:
        this_run = replace(this_run, said=replace(this_run.said, held=ended.said))
    reached = reach.reached(this_run.profile.meaning, requested.files)
    its_kubelet, fingerprint = kubelet.look(paths), requested.fingerprint_with(reached)
    return Applied(tuned, ready, this_run, its_kubelet, fingerprint)


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


def _ask_beside(run: Attempting, podman: Podman, ready: Prepared) -> tuple[Said | None, str]:
    """What the profile means, asked in another container; or why that is not known."""
    try:
        with run.progress.step("ask", "Asking TuneD what the profile means…"):
            meaning, _ = _beside(run, podman, ready)
    except (BootError, ProgramExited, ValueError) as error:
        log.warning("TuneD cannot be asked what the profile means: %s", error)
        return None, f"TuneD cannot be asked what the profile means: {error}"
    return Said(_about(run, ready), meaning), ""


def _beside(run: Attempting, podman: Podman, ready: Prepared) -> tuple[bytes, bytes]:
    """In a part of the time that is left: without an answer, TuneD is run all the same."""
    allowed, _ = _allowed(run)
    requested = run.requested
    about = Question(requested.profile, requested.files, ready.image_id, ready.seen)
    return beside.ask(podman, run.paths, about, Deadline(allowed / _PART))
