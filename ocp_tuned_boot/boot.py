"""The boot flow, top to bottom.

boot.conf, image.env, recommend file, profiles → inputs → decision → prepared directories
→ TuneD in its container → outcome → record → readiness
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ocp_tuned_boot import config as boot_conf
from ocp_tuned_boot import container, files, inputs, layout, plan, prepare, systemd, tunedlog
from ocp_tuned_boot.account import Account, last_in_force
from ocp_tuned_boot.config import Config
from ocp_tuned_boot.container import ContainerSpec
from ocp_tuned_boot.deadline import Deadline
from ocp_tuned_boot.errors import BootError, Busy, ImageError, Interrupted
from ocp_tuned_boot.inputs import Inputs
from ocp_tuned_boot.outcome import Outcome, Result, TunedRun, judge
from ocp_tuned_boot.paths import Paths
from ocp_tuned_boot.plan import Decision
from ocp_tuned_boot.podman import Image, Podman
from ocp_tuned_boot.progress import GRACE, Progress
from ocp_tuned_boot.record import Record
from ocp_tuned_boot.systemd import Notifier

log = logging.getLogger(__name__)


def apply(paths: Paths, config_file: Path | None, notifier: Notifier) -> Record:
    """Puts TuneD's profile in force, once in a boot, and says how it went.

    Returns the record of the run, which may say `failed`. Raises `BootError` when TuneD did not
    get to run, having recorded that. READY=1 is sent when, and only when, the profile is in
    force and that is on record.
    """
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

        with progress.step("podman", "Connecting to Podman…"):
            podman = Podman(config.socket, progress.deadline)
        with podman:
            image = _image(podman, asked.image, progress)
            with container.sole(podman):
                with progress.step("prepare", "Preparing the container…"):
                    spec = _prepare(paths, podman, asked, image)
                account.begins(image)
                outcome = _tune(paths, podman, spec, config, asked, progress)
                account.judged(outcome)
                # The container is removed after this: nobody has to wait for it.
                _ready(account, notifier)
        account.met(systemd.unit_states(systemd.NEIGHBOURS))
        account.write()
    return account.record()


def _image(podman: Podman, reference: str, progress: Progress) -> Image:
    """The image, from Podman's store or else pulled."""
    with progress.step("image", f"Looking for the image {reference}…"):
        image = podman.image(reference)
    if image is not None:
        return image
    with progress.step("pull", f"Pulling the image {reference}…"):
        podman.pull(reference)
        image = podman.image(reference)
    if image is None:
        raise ImageError(f"the image {reference} is not in the store, although it was pulled")
    return image


def _prepare(paths: Paths, podman: Podman, asked: Inputs, image: Image) -> ContainerSpec:
    """Everything on the host that the container needs, and the container's description."""
    prepare.directories(paths)
    seen = layout.of(paths, podman, image.id) if asked.contract == "tuned" else layout.Layout()
    prepare.etc_tuned(paths, asked, seen.variables)
    return container.specify(paths, asked.contract, image.id, seen)


def _tune(
    paths: Paths, podman: Podman, spec: ContainerSpec, config: Config, asked: Inputs,
    progress: Progress,
) -> Outcome:  # fmt: skip
    """Runs TuneD in the container and judges what it left behind."""
    with progress.step("create", "Creating the container…"):
        created = container.create(podman, spec)
    with progress.step("tuned", f"TuneD is applying {asked.profile}…"):
        # Room to stop a TuneD that hangs, before the deadline.
        left = max(0.0, progress.deadline.left() - container.TERM_GRACE)
        allowed = min(config.tuned_timeout, left)
        ended = container.run(podman, created, paths, Deadline(allowed))
    with progress.step("judge", "Judging the result…"):
        log_records = tuple(tunedlog.parse(ended.log))
        active_profile = _active_profile(paths, podman, created.id, asked.contract)
        return judge(asked.profile, TunedRun(ended.status, log_records, active_profile, allowed))


def _active_profile(paths: Paths, podman: Podman, container_id: str, contract: str) -> str:
    """What TuneD says itself it has applied; empty where it says nothing."""
    if contract == "operand":
        name = podman.files(container_id, "/etc/tuned").get("active_profile", b"")
    else:
        try:
            name = files.read(paths.etc_tuned / "active_profile")
        except FileNotFoundError:
            name = b""
    return tunedlog.printable(name.strip())


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
            return container.remove_ours(podman)
