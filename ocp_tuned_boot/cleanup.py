"""What a killed run, or another machine, left behind."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ocp_tuned_boot.errors import (
    BootError,
    ConfigurationError,
    DeadlineExceeded,
    HostError,
    PodmanError,
)
from ocp_tuned_boot.host import files, systemd
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.lock import locked
from ocp_tuned_boot.record import store
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.tuned.judge import Result

log = logging.getLogger(__name__)

#: The time that Podman has to remove a container (seconds).
PATIENCE = 10.0
#: The same after a run that has failed and exited by itself: the kubelet waits until this ends.
BRIEF = 0.5


def cleanup(paths: Paths, config_file: Path | None) -> bool:
    """Removes what a killed run has left, and returns whether there was a container.

    Raises `Busy` while another run is active, `PodmanError` if the container was not created by
    this program.
    """
    with locked(paths):
        temporary(paths)
        if paths.daemon.exists():
            _unsupervised(paths)
        return _remove_containers(paths, config_file)


def _unsupervised(paths: Paths) -> None:
    """The run was ended before it started the unit of a TuneD that keeps running: then it does not.
    A failure is logged."""
    from ocp_tuned_boot.tuned import staying  # noqa: PLC0415  # only with mode = daemon

    try:
        if systemd.unit_states([systemd.DAEMON]).get(systemd.DAEMON) in ("inactive", "failed"):
            staying.release(paths)
    except HostError as error:
        log.warning("%s", error)


def _remove_containers(paths: Paths, config_file: Path | None) -> bool:
    from ocp_tuned_boot.podman.client import Podman  # noqa: PLC0415  # `temporary` is for each run
    from ocp_tuned_boot.tuned import ours  # noqa: PLC0415

    # Podman is stopping as well then, and may answer nobody any more.
    if systemd.is_shutting_down():
        log.info(ours.LATER)
        return False
    try:
        socket = boot_conf.load(paths, config_file).socket
    except ConfigurationError as error:
        # The run itself has logged why, and this runs after each.
        log.warning("boot.conf cannot be read; using the default socket")
        log.debug("%s", error)
        socket = boot_conf.parse(()).socket
    try:
        with Podman(socket, Deadline(BRIEF if _after_failure() else PATIENCE)) as podman:
            removed = ours.remove_all(podman, paths)
            return ours.remove_check(podman, paths) or removed
    except DeadlineExceeded as error:
        raise DeadlineExceeded(
            f"cannot look for containers to remove: {error.message}", ours.REMAINS
        ) from error
    except PodmanError as error:
        # Podman's socket may be stopped as well. The next run removes the container.
        if not error.temporary or _is_unfinished(paths):
            raise
        log.info("%s", error)
        return False


def _after_failure() -> bool:
    """Whether systemd runs this after a run that has failed and exited by itself
    (systemd.exec(5), $SERVICE_RESULT). That run has removed its container, unless Podman did not
    answer."""
    failed = os.environ.get("SERVICE_RESULT", "success") != "success"
    return failed and os.environ.get("EXIT_CODE") == "exited"


def foreign(paths: Paths) -> None:
    """Removes what another machine has recorded in `/var`. Why something remains is logged."""
    from ocp_tuned_boot.host import machine  # noqa: PLC0415  # not for a run that keeps

    machine.discard(paths)


def temporary(paths: Paths) -> None:
    """Removes the temporary files of runs that were killed. Why one remains is logged."""
    if os.path.lexists(paths.guard):
        files.remove_tree(paths.guard)
    folders = (
        *((folder, "*") for folder in (paths.run, paths.state, paths.history, paths.layouts)),
        (paths.archives[0], "*"),
        # Of others: only those of this program's files.
        (paths.crio, "*-ocp-tuned-boot.conf"),
        (paths.crio_conf, "*-ocp-tuned-boot.conf"),  # where earlier releases had them
        (paths.agent, paths.image_env.name),
    )
    for folder, names in folders:
        try:
            files.clear(folder, names)
        except HostError as error:
            log.warning("%s", error)


def containers(paths: Paths, socket: Path) -> None:
    """Removes the containers of a killed run where nothing is to be applied: then nothing else asks
    Podman. Why one remains is logged: the profile is applied all the same."""
    if not (paths.containers.is_dir() and os.listdir(paths.containers)):
        return

    from ocp_tuned_boot.podman.client import Podman  # noqa: PLC0415  # most runs have nothing to do
    from ocp_tuned_boot.tuned import ours  # noqa: PLC0415

    try:
        with Podman(socket, Deadline(PATIENCE)) as podman:
            if ours.remove_all(podman, paths):
                log.warning("removed the container of a run that was killed")
            ours.remove_check(podman, paths)
    except BootError as error:
        log.warning("%s", error)


def _is_unfinished(paths: Paths) -> bool:
    """Whether the last recorded run was interrupted."""
    last = store.of_this_boot(paths, inputs.boot_id(paths))
    return last is not None and last.result is Result.APPLYING
