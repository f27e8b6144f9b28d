"""Removes this program's data when its package is removed. The tuning remains, and so does
everything that belongs to the agent, to the administrator or to others.

The record of this boot remains in /run: if the package is installed again in the same boot, nothing
is applied a second time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ocp_tuned_boot import cleanup, textfile
from ocp_tuned_boot.errors import BootError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import ensure, pins, prune
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.record import store
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import settled
from ocp_tuned_boot.requested.config import Config

log = logging.getLogger(__name__)

#: The limit for removing images (seconds): the removal of the package waits for it.
PATIENCE = 30.0


def purge(paths: Paths, config_file: Path | None) -> None:
    """Removes the container of a killed run, the images that this program pulled and that are not
    requested, its drop-in for CRI-O, its metrics, and the records of all earlier boots. The
    separate image store is removed by the package, when its Podman service has exited.

    What cannot be removed is logged, and the rest is removed. Raises only `Interrupted`.
    """
    with _logged():
        _hold_until_reboot(paths)
    with _logged():
        cleanup.cleanup(paths, config_file)
    with _logged():
        pins.keep(paths, "none", ())
    with _logged():
        textfile.remove(paths, config_file)
    kept = {*paths.archives, paths.own_store}
    with _logged():
        files.remove_tree(paths.last_good)
        # If an image cannot be removed, the list is needed to remove it later.
        kept.add(paths.known_images)
        _remove_images(paths, config_file)
        kept.remove(paths.known_images)
    for path in paths.state.glob("*"):
        if path not in kept:
            with _logged():
                files.remove_tree(path)


# systemd closes the stored file descriptors of a unit that has no unit file any more.
_PLACEHOLDER = """\
# ocp-tuned-boot was removed. This file lasts until the next boot.
[Unit]
Description=File descriptors that the TuneD profile of this node needs
[Service]
Type=oneshot
RemainAfterExit=yes
FileDescriptorStoreMax=4
ExecStart=true
"""


def _hold_until_reboot(paths: Paths) -> None:
    """Keeps open what systemd holds for the profile: the tuning remains. Raises `HostError`."""
    done = store.read(paths)
    if done is not None and done.in_force is not None and done.in_force.holds:
        files.directory(paths.runtime_unit.parent, paths.root)
        files.write(paths.runtime_unit, _PLACEHOLDER.encode())


def _remove_images(paths: Paths, config_file: Path | None) -> None:
    """All images that this program pulled, except the requested one: it is still needed if another
    program tunes this node. Raises `BootError`."""
    config = boot_conf.load(paths, config_file)
    ours = config.socket in boot_conf.SOCKETS.values()
    socket = boot_conf.SOCKETS["shared"] if ours else config.socket
    with Podman(socket, Deadline(PATIENCE)) as podman:
        requested = _requested(paths, config)
        current = ensure.find(paths, podman, requested) if requested else None
        for gone in prune.prune(paths, podman, current.id if current else "", 0):
            log.info("removed the image %s", gone)


def _requested(paths: Paths, config: Config) -> str | None:
    try:
        return settled.image(paths, config)
    except BootError as error:
        log.info("no image is kept: %s", error.message)
        return None


@contextmanager
def _logged() -> Iterator[None]:
    """Logs a failure: everything else is removed all the same."""
    try:
        yield
    except BootError as error:
        log.warning("%s", error)
