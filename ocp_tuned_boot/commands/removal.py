"""When the package goes for good: what is ours goes with it. The tuning stays, and so does what is
the agent's, the admin's or somebody else's.

The record of this boot stays in /run, too: put back in the same boot, the package touches nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ocp_tuned_boot import cleanup
from ocp_tuned_boot.errors import BootError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import ensure, pins, prune
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.record import store
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.requested.config import Config

log = logging.getLogger(__name__)

#: As long as it may take to remove images (seconds): the removal of the package waits for it.
PATIENCE = 30.0


def purge(paths: Paths, config_file: Path | None) -> None:
    """Removes the container of a killed run, the images brought here that nobody asks for, what
    CRI-O was told, and the records of all boots. The store of our own is the package's to remove,
    when its Podman has ended.

    What cannot be removed is told of, and the rest is. Raises nothing but what interrupts it.
    """
    with _told():
        _hold_until_reboot(paths)
    with _told():
        cleanup.cleanup(paths, config_file)
    with _told():
        pins.keep(paths, "none", ())
    kept = {*paths.archives, paths.own_store}
    with _told():
        files.remove_tree(paths.last_good)
        # Without the list of them nobody would ever know that they are to go.
        kept.add(paths.known_images)
        _remove_images(paths, config_file)
        kept.remove(paths.known_images)
    for path in paths.state.glob("*"):
        if path not in kept:
            with _told():
                files.remove_tree(path)


# Without its unit file a unit has no descriptor store, and systemd closes what was in it.
_STAND_IN = """\
# ocp-tuned-boot was removed; this is gone with the next boot.
[Unit]
Description=What the TuneD profile of this node needs held open
[Service]
Type=oneshot
RemainAfterExit=yes
FileDescriptorStoreMax=4
ExecStart=true
"""


def _hold_until_reboot(paths: Paths) -> None:
    """What systemd holds open belongs to the tuning, and stays. Raises `HostError`."""
    done = store.read(paths)
    if done is not None and done.in_force is not None and done.in_force.holds:
        files.directory(paths.runtime_unit.parent, paths.root)
        files.write(paths.runtime_unit, _STAND_IN.encode())


def _remove_images(paths: Paths, config_file: Path | None) -> None:
    """But the one that is asked for: whoever tunes this node next will need it. Raises
    `BootError`."""
    config = boot_conf.load(paths, config_file)
    ours = config.socket in boot_conf.SOCKETS.values()
    socket = boot_conf.SOCKETS["shared"] if ours else config.socket
    with Podman(socket, Deadline(PATIENCE)) as podman:
        asked = _asked(paths, config)
        current = ensure.find(paths, podman, asked) if asked else None
        for gone in prune.prune(paths, podman, current.id if current else "", 0):
            log.info("removed the image %s", gone)


def _asked(paths: Paths, config: Config) -> str | None:
    try:
        return inputs.settled_image(paths, config.image)
    except BootError as error:
        log.info("no image is asked for: %s", error.message)
        return None


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BootError as error:
        log.warning("%s", error)
