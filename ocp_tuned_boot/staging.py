"""Images while workloads run: brought in, looked at, exported, pruned. Nothing is applied here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ocp_tuned_boot import archives, brought, container, files, images, inputs, lastgood, prepare
from ocp_tuned_boot import config as boot_conf
from ocp_tuned_boot.deadline import Deadline
from ocp_tuned_boot.errors import ConfigurationError, ImageError
from ocp_tuned_boot.layout import LABEL
from ocp_tuned_boot.paths import Paths
from ocp_tuned_boot.podman import Image, Podman
from ocp_tuned_boot.progress import Progress
from ocp_tuned_boot.systemd import Notifier

#: As long as a pull may take while nobody waits (seconds).
PATIENCE = 3600.0
#: As long as TuneD may take to say its version (seconds).
ANSWER = 60.0
#: Where Podman works at the least weight (units/ocp-tuned-podman-quiet.socket).
QUIET = Path("/run/ocp-tuned-boot/podman-quiet.sock")
CONTAINER = "ocp-tuned-boot-check"


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
        asked = inputs.read(paths, config.contract, config.image, config.profile).image
        rows = [Listed("asked for", asked, _id(podman, asked))]
        if good is not None:
            rows.append(Listed("last good", good.image, _id(podman, good.image_id)))
        rows += [
            Listed("brought", each.reference, _id(podman, each.id)) for each in brought.read(paths)
        ]
    for archive in archives.all_of(paths):
        names = archive.names or ("(no name)",)
        rows += [Listed("archive", name, archive=str(archive.path)) for name in names]
    return tuple(rows)


def _id(podman: Podman, name: str) -> str:
    found = podman.image(name)
    return found.id if found else ""


def fetch(paths: Paths, config_file: Path | None) -> Image | None:
    """Brings the image that is asked for onto the node, if it is not there; None where nobody asks
    for one. For ocp-tuned-image.service: at the least weight, where the store is the shared one.
    Raises `BootError`."""
    config = boot_conf.load(paths, config_file)
    asked = inputs.settled(paths, config.contract, config.image, config.profile).image
    quiet = config.images.store == "shared" and config.socket in boot_conf.SOCKETS.values()
    with _working(QUIET if quiet else config.socket) as (podman, progress):
        found = images.in_store(paths, podman, asked)
        if found is None and config.images.pull != "never":
            found = images.fetch(paths, podman, asked, config.images, progress)
        return found


def stage(paths: Paths, config_file: Path | None, reference: str) -> Image:
    """Has `reference` on the node, lets the TuneD in it say its version, and only then asks for it
    in image.env. Raises `BootError`."""
    inputs.parse_image_reference(reference, "image stage")
    config = boot_conf.load(paths, config_file)
    if config.images.require_digest and not images.digest_of(reference):
        raise ConfigurationError(
            f"image stage: found {reference!r}, expected a digest (…@sha256:…): "
            "boot.conf says require_digest = yes"
        )
    with _working(config.socket) as (podman, progress):
        image = images.in_store(paths, podman, reference)
        if image is None:
            image = images.fetch(paths, podman, reference, config.images, progress)
        _answers(podman, image)
    files.directory(paths.agent, paths.root)
    files.write(paths.image_env, f"NTO_IMAGE={reference}\n".encode())
    return image


@contextmanager
def _working(socket: Path) -> Iterator[tuple[Podman, Progress]]:
    progress = Progress(Deadline(PATIENCE), Notifier())
    with Podman(socket, progress.deadline) as podman:
        yield podman, progress


def _answers(podman: Podman, image: Image) -> None:
    """Raises `ImageError` unless `tuned --version` ends well in it."""
    podman.remove(CONTAINER)
    created = podman.create(
        {
            "name": CONTAINER, "image": image.id, "labels": {LABEL: "1"},
            "entrypoint": list(container.ENTRYPOINTS["tuned"][:1]), "command": ["--version"],
            # As it will be run, but for what it could reach.
            "privileged": True, "network_mode": "none",
        }
    )  # fmt: skip
    try:
        timed = podman.until(podman.deadline.within(ANSWER))
        timed.start(created.id)
        timed.wait(created.id)
        ended = timed.container(created.id)
    finally:
        podman.remove(created.id)
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
    asked = inputs.read(paths, config.contract, config.image, config.profile).image
    with locked(paths), Podman(config.socket, Deadline(config.timeout)) as podman:
        return images.prune(paths, podman, _id(podman, asked), config.images.keep)


def export(paths: Paths, config_file: Path | None, target: Path) -> str:
    """Writes the image asked for to an archive, whole or not at all; returns its reference. Raises
    `BootError`."""
    config = boot_conf.load(paths, config_file)
    asked = inputs.read(paths, config.contract, config.image, config.profile).image
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    with Podman(config.socket, Deadline(PATIENCE)) as podman:
        if podman.image(asked) is None:
            raise ImageError(f"the image {asked} is not on the node", "ocp-tuned-boot image fetch")
        with files.explained("write", target):
            try:
                with partial.open("xb") as file:
                    podman.export(asked, file)
                    file.flush()
                    os.fsync(file.fileno())
                partial.rename(target)
            finally:
                partial.unlink(missing_ok=True)
    return asked
