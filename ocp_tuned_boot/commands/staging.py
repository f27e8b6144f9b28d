"""Lists, pulls, exports and prunes images while workloads run. Nothing is applied here."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from ocp_tuned_boot.commands import bar
from ocp_tuned_boot.errors import BootError, ImageError, NotRequested, PodmanError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.clock import Deadline, Progress
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.host.transfer import transfer
from ocp_tuned_boot.images import archives, ensure, known, pins
from ocp_tuned_boot.images import prune as pruning
from ocp_tuned_boot.images.ensure import ImageSession
from ocp_tuned_boot.lock import locked
from ocp_tuned_boot.podman.client import Image, Podman, Report
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import inputs, lastgood, settled
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.tuned import container, layout, ours
from ocp_tuned_boot.tuned.layout import Layout

log = logging.getLogger(__name__)

#: How long a pull may take while nothing waits for it (seconds).
PATIENCE = 3600.0
#: How long TuneD may take to print its version (seconds).
ANSWER = 60.0
#: The socket of the Podman service with low priority (units/ocp-tuned-podman@quiet.service.d).
QUIET = Path("/run/ocp-tuned-boot/podman-quiet.sock")


@dataclass(frozen=True)
class Listed:
    """An image that is known to this program. `role`: what it is for; `id`: empty if it is not in
    Podman's store; `archive`: the file that contains it."""

    role: str
    reference: str
    id: str = ""
    archive: str = ""


def listing(paths: Paths, config_file: Path | None) -> tuple[Listed, ...]:
    """The requested image, the last image that worked, the images that this program pulled or
    loaded, and the images in archives. Raises `BootError`."""
    config = boot_conf.load(paths, config_file)
    good = lastgood.read(paths)
    with Podman(config.socket, Deadline(config.timeout)) as podman:
        rows = []
        with _may_be_missing():
            requested = inputs.read_image(paths, config.image)
            rows.append(Listed("requested", requested, _id(paths, podman, requested)))
        if good is not None:
            rows.append(Listed("last good", good.image, _id(paths, podman, good.image_id)))
        rows += [
            Listed("pulled", each.reference, _id(paths, podman, each.id))
            for each in known.read(paths)
        ]
    for archive in archives.all_of(paths, config.images.archives):
        names = archive.names or ("(no name)",)
        rows += [Listed("archive", name, archive=str(archive.path)) for name in names]
    return tuple(rows)


@contextmanager
def _may_be_missing() -> Iterator[None]:
    """Around reading the request: without one, images can still be listed and removed."""
    try:
        yield
    except NotRequested as error:
        log.warning("%s", error.message)


def _id(paths: Paths, podman: Podman, name: str) -> str:
    """Empty if the image is not in Podman's store. Also if it is damaged, which is logged."""
    try:
        found = ensure.find(paths, podman, name)
    except PodmanError as error:
        if not ensure.is_damage(error, error.message):
            raise
        log.warning("%s", error)
        return ""
    return found.id if found else ""


def fetch(paths: Paths, config_file: Path | None) -> Image | None:
    """Makes the requested image available on the node. None if no image is requested, or if it
    would be pulled and boot.conf has `pull = never`. For ocp-tuned-image.service: with the lowest
    CPU and I/O weight if the store is the shared one. Raises `BootError`."""
    config = boot_conf.load(paths, config_file)
    try:
        requested = settled.image(paths, config)
    except NotRequested as error:
        log.info("%s", error.message)
        return None
    quiet = config.socket == boot_conf.SOCKETS["shared"]
    with _working(QUIET if quiet else config.socket) as (podman, progress):
        try:
            image = _ensured(paths, podman, config, requested, progress)
        except ImageError as error:
            if config.images.pull != "never":
                raise
            log.info("%s", error.message)
            return None
    _pin(paths, config, image)
    return image


def stage(paths: Paths, config_file: Path | None, reference: str) -> Image:
    """Makes `reference` available on the node, checks that TuneD in it prints its version, and only
    then writes the reference to image.env. Raises `BootError`."""
    inputs.parse_image_reference(reference, "image stage")
    config = boot_conf.load(paths, config_file)
    with _working(config.socket) as (podman, progress):
        image = _ensured(paths, podman, config, reference, progress)
        with ours.checking(podman, paths):
            _check_tuned(paths, podman, image)
    files.directory(paths.agent, paths.root)
    files.write(paths.image_env, f"NTO_IMAGE={reference}\n".encode())
    _pin(paths, config, image)
    return image


def _ensured(
    paths: Paths, podman: Podman, config: Config, reference: str, progress: Progress
) -> Image:
    """Exactly this image, no fallback. A damaged image is repaired by a run only: it has the
    lock."""
    rules = replace(config.images, fallback="none")
    session = ImageSession(paths, rules, reference, progress, repair=False)
    image = session.ensure(podman).image
    _look_into(paths, podman, image, progress)
    return image


def _look_into(paths: Paths, podman: Podman, image: Image, progress: Progress) -> None:
    """Finds out what the image contains, unless that is known: its profiles can be shown then, and
    the next run need not do it. The image is on the node without."""
    if layout.cached(paths, image.id) is not None:
        return
    try:
        words = f"Looking into the image {image.reference}…"
        with progress.step("look", words), ours.checking(podman, paths):
            log.info("%s", words)
            layout.of(paths, podman, image.id, ours.CHECK)
    except BootError as error:
        log.warning("what the image contains is not known yet: %s", error.message)


def _pin(paths: Paths, config: Config, image: Image) -> None:
    pins.keep(paths, config.images.store, [image.reference, *image.names])


@contextmanager
def _working(socket: Path) -> Iterator[tuple[Podman, Progress]]:
    progress = Progress(Deadline(PATIENCE), Notifier(), bar=bar.on(sys.stderr))
    with Podman(socket, progress.deadline) as podman:
        yield podman, progress


def _check_tuned(paths: Paths, podman: Podman, image: Image) -> None:
    """Raises `ImageError` if the image is made for another layout or `tuned --version` fails in
    it."""
    created = ours.create(
        podman, paths,
        {
            "name": ours.CHECK, "image": image.id, "labels": {ours.LABEL: "1"},
            "entrypoint": list(container.ENTRYPOINTS["tuned"][:1]), "command": ["--version"],
            # As it will be run, but without the network and the directories of the host.
            "privileged": True, "network_mode": "none", "image_volume_mode": "tmpfs",
        },
    )  # fmt: skip
    # Running the program shows whether it is there.
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
            f"tuned --version failed in the image {image.reference}: exit status {status}",
            "image.env was not changed.",
        )


def prune(paths: Paths, config_file: Path | None) -> tuple[str, ...]:
    """Removes the images that are not needed and returns their references. Raises `BootError`."""
    config = boot_conf.load(paths, config_file)
    # A run may be about to use one of them.
    with locked(paths), Podman(config.socket, Deadline(config.timeout)) as podman:
        ours.remove_check(podman, paths)
        requested = ""
        with _may_be_missing():
            requested = inputs.read_image(paths, config.image)
        current = _id(paths, podman, requested) if requested else ""
        also = pruning.needed(paths, podman, requested)
        return pruning.prune(paths, podman, current, config.images.keep, also)


def export(paths: Paths, config_file: Path | None, target: Path) -> str:
    """Writes the requested image to an archive, completely or not at all, and returns its
    reference, by which it is found in the archive. Raises `BootError`."""
    config = boot_conf.load(paths, config_file)
    requested = inputs.read_image(paths, config.image)
    with _working(config.socket) as (podman, progress):
        image = ensure.find(paths, podman, requested)
        if image is None:
            raise ImageError(
                f"the image {requested} is not on the node",
                "Pull it first: ocp-tuned-boot image fetch",
            )
        words = f"Exporting the image {requested} to {target}"
        with files.explained("write", target), files.replacing(target) as file:
            with transfer(progress, "export", words) as report:
                _export(podman, image, file, report)
    return requested


def _export(podman: Podman, image: Image, target: BinaryIO, report: Report) -> None:
    """Exports the image under its own name. An image that is requested by its digest gets a tag,
    because its digest is different in an archive (`archives.exported_as`). Raises `OSError` for the
    file."""
    name, by_digest = image.reference, bool(ensure.digest_of(image.reference))
    if by_digest:
        name = archives.exported_as(image.reference)
        podman.tag(image.id, name)
    try:
        podman.export(name, target, report)
    finally:
        # Podman removes an image with its last name.
        if by_digest and image.names and name not in image.names:
            podman.remove_image(name)
