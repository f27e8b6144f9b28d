"""The boot flow, top to bottom.

boot.conf, image.env, recommend file, profiles → inputs → decision → prepared directories
→ TuneD in its container → outcome → record → readiness
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ocp_tuned_boot import config as boot_conf
from ocp_tuned_boot import (
    container,
    files,
    inputs,
    layout,
    plan,
    prepare,
    profiles,
    retry,
    systemd,
    tunedlog,
    values,
)
from ocp_tuned_boot.account import Account, last_in_force
from ocp_tuned_boot.config import Config
from ocp_tuned_boot.container import ContainerSpec
from ocp_tuned_boot.deadline import Deadline
from ocp_tuned_boot.errors import BootError, Busy, ImageError, Interrupted
from ocp_tuned_boot.gate import Gate
from ocp_tuned_boot.inputs import Inputs
from ocp_tuned_boot.outcome import Outcome, Result, TunedRun, amend, judge, parse_bootcmdline
from ocp_tuned_boot.paths import Paths
from ocp_tuned_boot.plan import Decision
from ocp_tuned_boot.podman import ContainerState, Image, Podman
from ocp_tuned_boot.progress import GRACE, Progress
from ocp_tuned_boot.record import Record
from ocp_tuned_boot.retry import Passing
from ocp_tuned_boot.systemd import Notifier

log = logging.getLogger(__name__)


def apply(paths: Paths, config_file: Path | None, notifier: Notifier) -> Record:
    """Puts TuneD's profile in force, once in a boot, and says how it went.

    Returns the record of the run, which may say `failed`. Raises `BootError` when TuneD did not
    get to run, having recorded that. READY=1 is sent when, and only when, the profile is in
    force and that is on record. With `gate = closed` it returns only then, or by a signal.
    """
    gate = Gate(paths, config_file, notifier)
    while True:
        try:
            done = _run(paths, config_file, notifier)
        except Busy:
            raise
        except BootError as error:
            if not gate.holds(error.message, error.hint):
                raise
        else:
            if done.result is not Result.FAILED:
                return done
            if not gate.holds(done.summary(), done.findings[0].advice):
                return done


@dataclass(frozen=True)
class Run:
    """One run: what it is to do, under which deadline, and what is taken down of it."""

    paths: Paths
    config: Config
    asked: Inputs
    account: Account
    progress: Progress


def _run(paths: Paths, config_file: Path | None, notifier: Notifier) -> Record:
    """Everything that is done within one deadline, from what is asked for to what is recorded."""
    started = time.monotonic()
    prepare.run_directory(paths)
    with locked(paths), _accounted(paths, notifier, started) as account:
        config = boot_conf.load(paths, config_file)
        progress = Progress(Deadline(config.timeout, started=started), notifier, account.steps)

        with progress.step("inputs", "Reading what is asked for…"):
            asked = inputs.read(paths, config.contract, config.image, config.profile)
            decision = plan.decide(asked, account.in_force)
        account.decided(asked, decision)
        log.info("%s: %s", decision.action.value, decision.reason)
        if decision.action is plan.Action.KEEP:
            account.kept()
            _ready(account, notifier)
            return account.record()

        run = Run(paths, config, asked, account, progress)
        for pause in retry.pauses():
            passing = _attempt(run)
            if passing is None:
                break
            account.attempted(passing)
            progress.again(pause, passing.message)
        account.met(systemd.unit_states(systemd.NEIGHBOURS))
        account.write()
    return account.record()


def _attempt(run: Run) -> Passing | None:
    """From a connection to Podman to a profile that is in force, or is known not to be.

    Returns why another attempt may do better, or None if this was the last one. Raises
    `BootError` for what will fail again.
    """
    progress, account = run.progress, run.account
    try:
        with progress.step("podman", "Connecting to Podman…"):
            podman = Podman(run.config.socket, progress.deadline)
        with podman:
            image = _image(run, podman)
            with container.sole(podman, run.paths):
                with progress.step("prepare", "Preparing the container…"):
                    spec = _prepare(run, podman, image)
                account.begins(image)
                with progress.step("create", "Creating the container…"):
                    created = container.create(podman, spec)
                outcome = _tune(run, podman, created)
                if outcome.may_pass and progress.has_time():
                    return Passing(outcome.findings[0].kind, outcome.findings[0].message)
                account.judged(outcome)
                _ready(account, progress.notifier)
                # Now nobody waits any more, and the container can still be looked into.
                if outcome.result is not Result.FAILED:
                    _read_back(run, podman, created, image, outcome)
    except BootError as error:
        if account.concluded or not (error.may_pass and progress.has_time()):
            raise
        return Passing(error.kind, error.message)
    return None


def _image(run: Run, podman: Podman) -> Image:
    """The image, from Podman's store or else pulled."""
    reference = run.asked.image
    with run.progress.step("image", f"Looking for the image {reference}…"):
        image = podman.image(reference)
    if image is not None:
        return image
    with run.progress.step("pull", f"Pulling the image {reference}…"):
        podman.pull(reference)
        image = podman.image(reference)
    if image is None:
        raise ImageError(f"the image {reference} is not in the store, although it was pulled")
    return image


def _prepare(run: Run, podman: Podman, image: Image) -> ContainerSpec:
    """Everything on the host that the container needs, and the container's description."""
    prepare.directories(run.paths)
    seen = layout.Layout()
    if run.asked.contract == "tuned":
        seen = layout.of(run.paths, podman, image.id)
    prepare.etc_tuned(run.paths, run.asked, seen.variables)
    return container.specify(run.paths, run.asked.contract, image.id, seen)


def _tune(run: Run, podman: Podman, created: ContainerState) -> Outcome:
    """Runs TuneD in the container and judges what it left behind."""
    with run.progress.step("tuned", f"TuneD is applying {run.asked.profile}…"):
        # Room to stop a TuneD that hangs, before the deadline.
        left = max(0.0, run.progress.deadline.left() - container.TERM_GRACE)
        allowed = min(run.config.tuned_timeout, left)
        ended = container.run(podman, created, run.paths, Deadline(allowed))
    with run.progress.step("judge", "Judging the result…"):
        active_profile, bootcmdline = _written(run, podman, created)
        tuned = TunedRun(
            ended.status, tuple(tunedlog.parse(ended.log)), active_profile, allowed,
            parse_bootcmdline(bootcmdline), inputs.kernel_arguments(run.paths),
        )  # fmt: skip
        run.account.asks_of_the_kernel(tuned.asked_arguments)
        return judge(run.asked.profile, tuned, run.config.accept)


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
                found[name] = files.read(run.paths.etc_tuned / name)
    active_profile, bootcmdline = (found.get(name, b"").strip() for name in names)
    return tunedlog.printable(active_profile), bootcmdline.decode(errors="replace")


def _read_back(
    run: Run, podman: Podman, created: ContainerState, image: Image, outcome: Outcome
) -> None:
    """Compares what the profile asks for with what the host has now, and amends the record."""
    seen = layout.cached(run.paths, image.id) or layout.Layout()
    try:
        texts = layout.stock_profiles(run.paths, podman, image.id, created.id)
    except BootError as error:
        log.warning("the values were not read back: %s", error)
        return
    texts.update((f"{profiles.CUSTOM}/{name}", text) for name, text in seen.variables.items())
    texts.update((f"{profiles.CUSTOM}/{file.path}", file.text) for file in run.asked.files)
    found = values.read_back(run.paths.root, profiles.resolve(run.asked.profile, texts))
    run.account.checked(found, amend(outcome, found, run.config.accept))
    run.progress.notifier.status(run.account.write().summary())


def _ready(account: Account, notifier: Notifier) -> None:
    """Puts the result on record, then tells systemd: in this order."""
    record = account.write()
    if record.result is Result.FAILED:
        notifier.status(record.summary())
    else:
        notifier.ready(record.summary())


@contextmanager
def _accounted(paths: Paths, notifier: Notifier, started: float) -> Iterator[Account]:
    """Whatever ends a run before it was judged goes on record, too."""
    account = Account(paths, started)
    try:
        yield account
    except BootError as error:
        if account.concluded:
            # What is on record stands: clearing up afterwards went wrong, not the tuning.
            log.warning("%s", error)
            return
        account.failed(error.kind, error.message)
        notifier.status(account.record().summary())
        account.write_if_possible()
        raise
    except Interrupted:
        if not account.concluded:
            account.failed("interrupted", "the run was interrupted by a signal")
            account.write_if_possible()
        raise


@contextmanager
def locked(paths: Paths) -> Iterator[None]:
    """One run at a time. Raises `Busy`."""
    with files.explained("open", paths.lock):
        lock = paths.lock.open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another run holds {paths.lock}", "Wait for it to end.") from None
        yield


@dataclass(frozen=True)
class Preview:
    """What `apply` would do now. `container` is None when it would start none."""

    decision: Decision
    asked: Inputs
    image: str
    container: ContainerSpec | None


def preview(paths: Paths, config_file: Path | None) -> Preview:
    """Finds out what `apply` would do, and touches nothing. Raises `BootError`."""
    config = boot_conf.load(paths, config_file)
    asked = inputs.read(paths, config.contract, config.image, config.profile)
    decision = plan.decide(asked, last_in_force(paths))
    if decision.action is plan.Action.KEEP:
        return Preview(decision, asked, "not needed", None)
    with Podman(config.socket, Deadline(config.timeout)) as podman:
        image = podman.image(asked.image)
    if image is None:
        state, image_id = "to be pulled", asked.image
    else:
        state, image_id = "in Podman's store", image.id
    seen = layout.cached(paths, image_id) or layout.Layout()
    return Preview(decision, asked, state, container.specify(paths, asked.contract, image_id, seen))


def cleanup(paths: Paths, config_file: Path | None) -> bool:
    """Removes our container if a killed run has left it, and says whether there was one.

    Raises `Busy` while a run is under way, `PodmanError` if the container is somebody else's.
    """
    prepare.run_directory(paths)
    with locked(paths):
        config = boot_conf.load(paths, config_file)
        with Podman(config.socket, Deadline(GRACE)) as podman:
            return container.remove_ours(podman, paths)
