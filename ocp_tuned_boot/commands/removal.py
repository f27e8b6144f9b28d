"""Removes this program's data when its package is removed. The tuning remains, and so does
everything that belongs to the agent, to the administrator or to others.

The record of this boot remains in /run: if the package is installed again in the same boot, nothing
is applied a second time.

The same is removed before the disk of this machine becomes a seed for others (`--seed`). Then this
machine stays as it is, with its units.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ocp_tuned_boot import cleanup, textfile
from ocp_tuned_boot.commands import inventory
from ocp_tuned_boot.commands.terminal import Row
from ocp_tuned_boot.errors import BootError
from ocp_tuned_boot.host import files, systemd
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import ensure, pins, prune
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.record import store
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import settled
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.tuned import staying

log = logging.getLogger(__name__)

#: The limit for removing images (seconds): the removal of the package waits for it.
PATIENCE = 30.0
#: The same for looking at them (seconds).
LOOKING = 10.0


def purge(paths: Paths, config_file: Path | None, *, seed: bool = False) -> None:
    """Removes the container of a killed run, the images that this program pulled and that are not
    requested, its drop-in for CRI-O, its metrics, and the records of all earlier boots. The
    separate image store is removed by the package, when its Podman service has exited. `seed`: the
    package stays, and with it what systemd keeps open for the unit.

    What cannot be removed is logged, and the rest is removed. Raises only `Interrupted`.
    """
    if not seed:
        with _logged():
            _end_daemon(paths)
        with _logged():
            _hold_until_reboot(paths)
    with _logged():
        cleanup.cleanup(paths, config_file)
    with _logged():
        pins.keep(paths, "none", ())
    with _logged():
        textfile.remove(paths, config_file)
    kept = [*_remains(paths, seed=seed)]
    with _logged():
        files.remove_tree(paths.last_good)
        # If an image cannot be removed, the list is needed to remove it later.
        kept.append(paths.known_images)
        _remove_images(paths, config_file)
        kept.remove(paths.known_images)
    for path in paths.state.glob("*"):
        if path not in kept:
            with _logged():
                files.remove_tree(path)


def _remains(paths: Paths, *, seed: bool) -> tuple[Path, ...]:
    """What a purge leaves: the administrator's archives, and what the package removes. On a seed,
    whose TuneD keeps running, also the note of its container."""
    stays = (paths.containers,) if seed and paths.daemon.exists() else ()
    return (*paths.archives, paths.own_store, *stays)


def listing(
    paths: Paths, config_file: Path | None, *, dry: bool = False, seed: bool = False
) -> Iterator[Row]:
    """What `purge` removes, for people; `dry`: it would. Touches nothing, and fails for nothing:
    what cannot be found out is said."""
    found: list[inventory.Item] = []
    problems: list[BootError] = []
    kept = [*_remains(paths, seed=seed)]
    try:
        config = boot_conf.load(paths, config_file)
        with _store(config, LOOKING) as podman:
            found += inventory.images(paths, podman, _current(paths, podman, config))
    except BootError as error:
        problems.append(error)
        kept.append(paths.known_images)
    try:
        found += inventory.containers(paths) if paths.containers not in kept else ()
    except BootError as error:
        problems.append(error)
    found += inventory.state(paths, kept)
    would = f"cleanup --{'seed' if seed else 'purge'} would remove:" if dry else ""
    return inventory.rows(found, kept, problems, would)


def _end_daemon(paths: Paths) -> None:
    """Stops a TuneD that keeps running. It restores nothing. Raises `HostError`."""
    if paths.daemon.exists():
        systemd.stop(systemd.DAEMON, PATIENCE)
        staying.forget(paths)


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
    with _store(config, PATIENCE) as podman:
        for gone in prune.prune(paths, podman, _current(paths, podman, config), 0):
            log.info("removed the image %s", gone)


@contextmanager
def _store(config: Config, seconds: float) -> Iterator[Podman]:
    """The Podman of the shared store: the own one is removed as a whole, by the package."""
    ours = config.socket in boot_conf.SOCKETS.values()
    socket = boot_conf.SOCKETS["shared"] if ours else config.socket
    with Podman(socket, Deadline(seconds)) as podman:
        yield podman


def _current(paths: Paths, podman: Podman, config: Config) -> str:
    """The ID of the requested image; empty if there is none. Raises `PodmanError`."""
    requested = _requested(paths, config)
    found = ensure.find(paths, podman, requested) if requested else None
    return found.id if found else ""


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
