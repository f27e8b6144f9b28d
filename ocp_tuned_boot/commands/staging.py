"""Images while workloads run: brought in, looked at, exported, pruned. Nothing is applied here."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ocp_tuned_boot.errors import ImageError, PodmanError, Unasked
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.deadline import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.progress import Progress
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.images import archives, pins
from ocp_tuned_boot.images import ensure as images
from ocp_tuned_boot.images import known as brought
from ocp_tuned_boot.images.ensure import Asked
from ocp_tuned_boot.podman.client import Image, Podman
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import inputs, lastgood
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.tuned import container, layout, prepare
from ocp_tuned_boot.tuned.layout import LABEL, Layout

log = logging.getLogger(__name__)

#: As long as a pull may take while nobody waits (seconds).
PATIENCE = 3600.0
#: As long as TuneD may take to say its version (seconds).
ANSWER = 60.0
#: Where Podman works at the least weight (units/ocp-tuned-podman-quiet.socket).
QUIET = Path("/run/ocp-tuned-boot/podman-quiet.sock")


@dataclass(frozen=True)
class Listed:
    """An image that this program knows of. `role`: what for; `id` is empty where Podman has it
    not; `archive`: the file it is in."""

    role: str
    reference: str
    id: str = ""
    archive: str = ""


def listing(paths: Paths, config_file: Path | None) -> tuple[Listed, ...]:
    """The image asked for, the last that worked, those brought here, those in archives. Raises
    `BootError`."""
    config = boot_conf.load(paths, config_file)
    good = lastgood.read(paths)
    with Podman(config.socket, Deadline(config.timeout)) as podman:
        rows = []
        with _nobody_asks():
            asked = inputs.read_image(paths, config.image)
            rows.append(Listed("asked for", asked, _id(paths, podman, asked)))
        if good is not None:
            rows.append(Listed("last good", good.image, _id(paths, podman, good.image_id)))
        rows += [
            Listed("brought", each.reference, _id(paths, podman, each.id))
            for each in brought.read(paths)
        ]
    for archive in archives.all_of(paths):
        names = archive.names or ("(no name)",)
        rows += [Listed("archive", name, archive=str(archive.path)) for name in names]
    return tuple(rows)


@contextmanager
def _nobody_asks() -> Iterator[None]:
    """What is there can be seen, and cleared up, all the same."""
    try:
        yield
    except Unasked as error:
        log.warning("%s", error.message)


def _id(paths: Paths, podman: Podman, name: str) -> str:
    """Empty where Podman has it not, or damaged, which is told."""
    try:
        found = images.in_store(paths, podman, name)
    except PodmanError as error:
        if not images.is_damage(error, error.message):
            raise
        log.warning("%s", error)
        return ""
    return found.id if found else ""


def fetch(paths: Paths, config_file: Path | None) -> Image | None:
    """Brings the image that is asked for onto the node, if it is not there; None where nobody asks
    for one, or where it would have to be pulled and boot.conf says never. For
    ocp-tuned-image.service: at the least weight, where the store is the shared one. Raises
    `BootError`."""
    config = boot_conf.load(paths, config_file)
    try:
        asked = inputs.settled_image(paths, config.image)
    except Unasked as error:
        log.info("%s", error.message)
        return None
    quiet = config.images.store == "shared" and config.socket in boot_conf.SOCKETS.values()
    with _working(QUIET if quiet else config.socket) as (podman, progress):
        try:
            image = _had(paths, podman, config, asked, progress)
        except ImageError as error:
            if config.images.pull != "never":
                raise
            log.info("%s", error.message)
            return None
    _pin(paths, config, image)
    return image


def stage(paths: Paths, config_file: Path | None, reference: str) -> Image:
    """Has `reference` on the node, lets the TuneD in it say its version, and only then asks for it
    in image.env. Raises `BootError`."""
    inputs.parse_image_reference(reference, "image stage")
    config = boot_conf.load(paths, config_file)
    with _working(config.socket) as (podman, progress):
        image = _had(paths, podman, config, reference, progress)
        with container.checking(podman, paths):
            _answers(podman, image)
    files.directory(paths.agent, paths.root)
    files.write(paths.image_env, f"NTO_IMAGE={reference}\n".encode())
    _pin(paths, config, image)
    return image


def _had(paths: Paths, podman: Podman, config: Config, reference: str, progress: Progress) -> Image:
    """That very image; a damaged one is for a run to mend, which is alone."""
    rules = replace(config.images, fallback="none")
    return images.have(paths, podman, Asked(reference, rules, mends=False), progress).image


def _pin(paths: Paths, config: Config, image: Image) -> None:
    pins.keep(paths, config.images.store, [image.reference, *image.names])


@contextmanager
def _working(socket: Path) -> Iterator[tuple[Podman, Progress]]:
    progress = Progress(Deadline(PATIENCE), Notifier())
    with Podman(socket, progress.deadline) as podman:
        yield podman, progress


def _answers(podman: Podman, image: Image) -> None:
    """Raises `ImageError` unless it is made for us and `tuned --version` ends well in it."""
    created = podman.create(
        {
            "name": container.CHECK, "image": image.id, "labels": {LABEL: "1"},
            "entrypoint": list(container.ENTRYPOINTS["tuned"][:1]), "command": ["--version"],
            # As it will be run, but for what it could reach.
            "privileged": True, "network_mode": "none",
        }
    )  # fmt: skip
    # Whether the program is there it says itself.
    made_for = created.labels.get(layout.LAYOUT_LABEL, "")
    has = Layout(programs=tuple(layout.PROGRAMS.values()), made_for=made_for)
    layout.check(has, "tuned", image.reference)
    timed = podman.until(podman.deadline.within(ANSWER))
    timed.start(created.id)
    timed.wait(created.id)
    ended = timed.container(created.id)
    if ended is None or not ended.started or ended.exit_code != 0:
        status = ended.exit_code if ended else "unknown"
        raise ImageError(
            f"the TuneD in {image.reference} does not say its version: exit status {status}",
            "image.env is as it was.",
        )


def prune(paths: Paths, config_file: Path | None) -> tuple[str, ...]:
    """Removes what is not needed any more, and returns its references. Raises `BootError`."""
    from ocp_tuned_boot.boot import locked  # noqa: PLC0415  # a run may be about to use one

    config = boot_conf.load(paths, config_file)
    prepare.run_directory(paths)
    with locked(paths), Podman(config.socket, Deadline(config.timeout)) as podman:
        container.remove_check(podman, paths)
        asked = ""
        with _nobody_asks():
            asked = inputs.read_image(paths, config.image)
        current = _id(paths, podman, asked) if asked else ""
        also = images.wanted(paths, podman, asked)
        return images.prune(paths, podman, current, config.images.keep, also)


def export(paths: Paths, config_file: Path | None, target: Path) -> str:
    """Writes the image asked for to an archive, whole or not at all, so that it is found there by
    what is asked for; returns its reference. Raises `BootError`."""
    config = boot_conf.load(paths, config_file)
    asked = inputs.read_image(paths, config.image)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    with Podman(config.socket, Deadline(PATIENCE)) as podman:
        image = images.in_store(paths, podman, asked)
        if image is None:
            raise ImageError(f"the image {asked} is not on the node", "ocp-tuned-boot image fetch")
        with files.explained("write", target):
            try:
                _export(podman, image, partial)
                partial.rename(target)
            finally:
                partial.unlink(missing_ok=True)
    return asked


def _export(podman: Podman, image: Image, target: Path) -> None:
    """Under its own name; one by digest under a tag, since its digest is not that of what is in an
    archive, see `archives.exported_as`. Raises `OSError` for the file."""
    name, by_digest = image.reference, bool(images.digest_of(image.reference))
    if by_digest:
        name = archives.exported_as(image.reference)
        podman.tag(image.id, name)
    try:
        with target.open("xb") as file:
            podman.export(name, file)
            file.flush()
            os.fsync(file.fileno())
    finally:
        # Its only name stays: with that the image would go.
        if by_digest and image.names and name not in image.names:
            podman.remove_image(name)
