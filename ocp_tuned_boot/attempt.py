"""One attempt at putting the profile in force: image, container, TuneD, judgement."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ocp_tuned_boot.errors import BootError, PodmanError
from ocp_tuned_boot.host import files, systemd
from ocp_tuned_boot.host.deadline import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.progress import Progress
from ocp_tuned_boot.host.retry import Passing
from ocp_tuned_boot.images import ensure as images
from ocp_tuned_boot.images import pins
from ocp_tuned_boot.images.ensure import Asked, Had
from ocp_tuned_boot.plan import Decision
from ocp_tuned_boot.podman.client import ContainerState, Image, Podman
from ocp_tuned_boot.record import store as record
from ocp_tuned_boot.record.account import Account
from ocp_tuned_boot.requested import inputs, lastgood
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.settings import handover, holds, values
from ocp_tuned_boot.settings import residue as settings
from ocp_tuned_boot.settings.handover import Guard
from ocp_tuned_boot.settings.holds import Standing, State
from ocp_tuned_boot.settings.residue import Settings
from ocp_tuned_boot.tuned import container, layout, prepare, profiles
from ocp_tuned_boot.tuned import log as tunedlog
from ocp_tuned_boot.tuned.container import ContainerSpec
from ocp_tuned_boot.tuned.judge import (
    Outcome,
    Result,
    TunedRun,
    amend,
    judge,
    parse_bootcmdline,
    with_holds,
    with_stand_in,
    with_values_asked,
)
from ocp_tuned_boot.tuned.layout import Layout
from ocp_tuned_boot.tuned.prepare import Overlay
from ocp_tuned_boot.tuned.profiles import Setting

log = logging.getLogger(__name__)

UNASKED = Standing.UNASKED
#: What TuneD writes of itself is one line (bytes).
_WRITTEN_LIMIT = 64 * 1024
#: An attempt that found its image broken.
DAMAGED = "damaged-image"


@dataclass(frozen=True)
class Run:
    """One run: what it is to do, under which deadline, and what is taken down of it. `useless`:
    image archives that could not be loaded in it."""

    paths: Paths
    config: Config
    asked: Inputs
    decision: Decision
    account: Account
    progress: Progress
    useless: set[Path] = field(default_factory=set)


@dataclass(frozen=True)
class _Tuning:
    """What is prepared for one run of TuneD. `open_files` are the settings that need one; `known`
    are the settings of this boot, those that the profile asks for included; `guard` is None where
    nobody owns anything yet."""

    spec: ContainerSpec
    asked: tuple[Setting, ...]
    open_files: tuple[Setting, ...]
    known: Settings
    guard: Guard | None
    over: Overlay


def attempt(run: Run) -> Passing | None:
    """From a connection to Podman to a profile that is in force, or is known not to be.

    Returns why another attempt may do better, or None if this was the last one. Raises
    `BootError` for what will fail again.
    """
    progress, account = run.progress, run.account
    try:
        with progress.step("podman", "Connecting to Podman…"):
            podman = Podman(run.config.socket, progress.deadline)
        with podman:
            before = account.attempts[-1].message if account.attempts else ""
            asked = Asked(run.asked.image, run.config.images, before, run.useless)
            had = images.have(run.paths, podman, asked, progress)
            try:
                return _attempt_with(run, podman, had)
            except PodmanError as error:
                # Once: what is still broken when it was had anew is broken otherwise.
                again = any(each.kind == DAMAGED for each in account.attempts)
                if account.concluded or again or not images.is_damage(error, before):
                    raise
                images.discard(run.paths, podman, had.image.id, error)
                return Passing(DAMAGED, error.message)
    except BootError as error:
        if account.concluded or not (error.may_pass and progress.has_time()):
            raise
        return Passing(error.kind, error.message)


def _attempt_with(run: Run, podman: Podman, had: Had) -> Passing | None:
    """With an image that is on the node."""
    progress, account = run.progress, run.account
    with ExitStack() as without_tuned, container.sole(podman, run.paths):
        with progress.step("prepare", "Preparing the container…"):
            tuning = _prepare(run, podman, had.image)
        account.begins(had)
        with progress.step("create", "Creating the container…"):
            created = container.create(podman, tuning.spec)
        without_tuned.enter_context(_guarded(run, tuning.guard))
        tuned = _tune(run, podman, created, tuning)
        outcome = judge(run.asked.profile, tuned, run.config.accept)
        outcome = with_values_asked(outcome, {it.key: it.value for it in tuning.open_files})
        outcome = with_stand_in(outcome, run.asked.image, had.stand_in, run.config.accept)
        if outcome.may_pass and progress.has_time():
            return Passing(outcome.findings[0].kind, outcome.findings[0].message)
        held: tuple[State, ...] = ()
        if outcome.result is not Result.FAILED:
            held = _hold(run, tuning, tuned)
            outcome = with_holds(outcome, held, run.config.accept)
        account.judged(outcome, tuple(it.hold for it in held if it.standing is not UNASKED))
        if outcome.result is not Result.FAILED:
            # CRI-O, which reads it, may be one of those who wait.
            _pin(run, had)
        account.ready(progress.notifier)
        # Now nobody waits any more.
        if outcome.result is not Result.FAILED:
            _settle(run, tuning, outcome, held)
    if outcome.result is not Result.FAILED:
        _tidy(run, podman, had)
    return None


def _pin(run: Run, had: Had) -> None:
    """What this node relies on is not to be collected. The profile is in force without it."""
    references = [run.asked.image, had.image.reference, *had.image.names]
    try:
        pins.keep(run.paths, run.config.images.store, references)
    except BootError as error:
        log.warning("%s", error)


def _tidy(run: Run, podman: Podman, had: Had) -> None:
    """Images that are not needed any more go. The profile is in force without it."""
    paths, keep = run.paths, run.config.images.keep
    try:
        lastgood.remember(paths, had.image.reference, had.image.id)
        container.remove_check(podman, paths)
        # Another one may be asked for since this run began, and have been brought in.
        also = images.wanted(paths, podman, inputs.read_image(paths, run.config.image))
        for gone in images.prune(paths, podman, had.image.id, keep, also):
            log.info("the image %s is not needed any more and was removed", gone)
    except BootError as error:
        log.warning("%s", error)


def _prepare(run: Run, podman: Podman, image: Image) -> _Tuning:
    """Everything on the host that the container needs, and the container's description."""
    paths, asked = run.paths, run.asked
    prepare.directories(paths)
    seen = layout.of(paths, podman, image.id)
    layout.check(seen, asked.contract, image.reference)
    texts = _texts(asked, seen)
    wanted = profiles.resolve(asked.profile, texts)
    known = settings.before(paths.root, settings.load(paths, asked.boot_id), wanted)
    settings.store(paths, known)
    guard, over = None, prepare.NOTHING
    if run.decision.guarded:
        owners, obedient = run.config.handover, asked.contract == "tuned"
        sections = profiles.sections(asked.profile, texts)
        guard = Guard(paths, owners, wanted, sections, obedient=obedient)
        over = Overlay(handover.PROFILE, guard.profile(), reapply=not owners.sysctl_d)
    prepare.etc_tuned(paths, asked, seen.variables, over)
    spec = container.specify(paths, asked.contract, image.id, seen)
    opened = profiles.open_files(asked.profile, texts)
    return _Tuning(spec, wanted, opened, known, guard, over)


def _texts(asked: Inputs, seen: Layout) -> dict[str, str]:
    """Every text that a profile may be made of, by its path in the container."""
    texts = dict(seen.profiles)
    texts.update((f"{profiles.CUSTOM}/{name}", text) for name, text in seen.variables.items())
    texts.update((f"{profiles.CUSTOM}/{file.path}", file.text) for file in asked.files)
    return texts


@contextmanager
def _guarded(run: Run, guard: Guard | None) -> Iterator[None]:
    """Around a run of TuneD: what others own is as it was, whatever has ended it."""
    if guard is None:
        yield
        return
    guard.save(run.asked.boot_id)
    try:
        yield
    finally:
        run.account.handed_over(guard.put_back())


def _tune(run: Run, podman: Podman, created: ContainerState, tuning: _Tuning) -> TunedRun:
    """Runs TuneD in the container and collects what it left behind."""
    with run.progress.step("tuned", f"TuneD is applying {run.asked.profile}…"):
        # Room to stop a TuneD that hangs, before the deadline.
        left = max(0.0, run.progress.deadline.left() - container.TERM_GRACE)
        allowed = min(run.config.tuned_timeout, left)
        ended = container.run(podman, created, run.paths, Deadline(allowed))
    if tuning.guard is not None:
        run.account.handed_over(tuning.guard.put_back())
    with run.progress.step("collect", "Collecting what TuneD has left…"):
        active_profile, bootcmdline = _written(run, podman, created)
        tuned = TunedRun(
            ended.status, tuple(tunedlog.parse(ended.log)), active_profile, allowed,
            tuning.over.name if tuning.over.text else "",
            parse_bootcmdline(bootcmdline), inputs.kernel_arguments(run.paths),
        )  # fmt: skip
        run.account.asks_of_the_kernel(tuned.asked_arguments)
        return tuned


def _written(run: Run, podman: Podman, created: ContainerState) -> tuple[str, str]:
    """What TuneD itself has left in /etc/tuned: the profile it says it has applied, and the kernel
    arguments it asks for. Empty where it says nothing."""
    names = ("active_profile", "bootcmdline")
    if run.asked.contract == "operand":
        found = podman.files(created.id, "/etc/tuned")
    else:
        found = {}
        for name in names:
            with suppress(FileNotFoundError):
                found[name] = files.read(run.paths.etc_tuned / name, _WRITTEN_LIMIT)
    active_profile, bootcmdline = (found.get(name, b"").strip() for name in names)
    return tunedlog.printable(active_profile), bootcmdline.decode(errors="replace")


def _hold(run: Run, tuning: _Tuning, tuned: TunedRun) -> tuple[State, ...]:
    """Has systemd keep open what TuneD has closed when it ended."""
    before = run.account.before
    with run.progress.step("hold", "Having systemd hold what has to stay open…"):
        known: tuple[State, ...] = ()
        if before is not None and before.holds:
            known = holds.look(run.paths, before.holds, systemd.stored(systemd.UNIT))
        asked = holds.wanted(run.paths, tuning.open_files, tuned.log)
        return holds.take(run.paths, run.progress.notifier, asked, known)


def _settle(run: Run, tuning: _Tuning, outcome: Outcome, held: tuple[State, ...]) -> None:
    """Takes back what the profile before has left, and compares what this one asks for with what
    the host has now."""
    root, account = run.paths.root, run.account
    # Why one was not given to systemd is known already.
    given = [state for state in held if state.hold.since and state.standing is not UNASKED]
    if given:
        now = holds.look(run.paths, [it.hold for it in given], systemd.stored(systemd.UNIT))
        others = [state for state in held if state not in given]
        outcome = with_holds(outcome, [*now, *others], run.config.accept)
    owned = tuning.guard.owned if tuning.guard else frozenset()
    known, residue = settings.put_back(root, tuning.known, tuning.asked, owned)
    account.took_back(residue)
    found = values.read_back(root, tuning.asked, owned)
    known = settings.after(root, known, found, tuning.asked, record.now())
    settings.store(run.paths, known)
    account.checked(found, amend(outcome, found, run.config.accept))
    run.progress.notifier.status(account.write().summary())
