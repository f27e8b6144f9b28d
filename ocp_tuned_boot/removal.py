"""When the package goes for good: what is ours goes with it. The tuning stays, and so does what is
the agent's, the admin's or somebody else's.

The record of this boot stays in /run, too: put back in the same boot, the package touches nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ocp_tuned_boot import boot, files, images, inputs, pins
from ocp_tuned_boot import config as boot_conf
from ocp_tuned_boot.deadline import Deadline
from ocp_tuned_boot.errors import BootError
from ocp_tuned_boot.paths import Paths
from ocp_tuned_boot.podman import Podman

log = logging.getLogger(__name__)


def purge(paths: Paths, config_file: Path | None) -> None:
    """Removes the container of a killed run, the images brought here that nobody asks for, what
    CRI-O was told, and the records of all boots.

    What cannot be removed is told of, and the rest is. Raises nothing but what interrupts it.
    """
    with _told():
        boot.cleanup(paths, config_file)
    with _told():
        pins.keep(paths, "none", ())
    with _told():
        files.remove_tree(paths.last_good)
        _remove_images(paths, config_file)
    # Archives are the admin's.
    mine = [each for each in paths.state.glob("*") if each not in paths.archives]
    for path in mine:
        with _told():
            files.remove_tree(path)


def _remove_images(paths: Paths, config_file: Path | None) -> None:
    """But the one that is asked for: whoever tunes this node next will need it."""
    config = boot_conf.load(paths, config_file)
    if config.images.store == "own":
        return  # the whole store goes
    asked = inputs.settled_image(paths, config.image)
    with Podman(config.socket, Deadline(config.timeout)) as podman:
        current = images.in_store(paths, podman, asked)
        for gone in images.prune(paths, podman, current.id if current else "", 0):
            log.info("removed the image %s", gone)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BootError as error:
        log.warning("%s", error)
