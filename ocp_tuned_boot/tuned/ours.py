"""The containers of this program: created, found in whatever state, and removed.

A power cut, or the end of Podman in mid-work, may leave half of a container. Podman then refuses to
inspect it, or does not know it although its name is taken. The container is ours

- if it has our label, where Podman can still read its labels: the list of containers has them for
  most of those that cannot be inspected;
- if its name is noted, where Podman cannot: an empty file of that name is on disk before the
  container is created, and is removed after it.

The name alone does not tell: upstream's unit uses the same one. A container that is not ours, or
cannot be removed, is left alone, and this run's container gets another name.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ocp_tuned_boot.errors import (
    BootError,
    Busy,
    DeadlineExceeded,
    HostError,
    NameTaken,
    NotRemoved,
    PodmanError,
    Refused,
)
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.clock import OVERRUN
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.podman.client import ContainerState, Podman
from ocp_tuned_boot.tuned import orphans, prepare, staying

log = logging.getLogger(__name__)

#: The name of our container, and the label that marks it as ours.
CONTAINER = "openshift-tuned"
LABEL = "ocp-tuned-boot"
#: The container in which `image stage` tries an image.
CHECK = "ocp-tuned-boot-check"
#: The time to wait for another `image stage` (seconds).
CHECKING = 90.0
#: The time that Podman has to clean up before and after TuneD was stopped (seconds). It ends
#: `clock.OVERRUN` after the deadline, if that is earlier.
CLEARING = 7.0
#: Of a container, while the machine is stopped.
LATER = "The system is shutting down: the next run removes containers that remain"
#: What to do if Podman did not remove the container in time.
REMAINS = "The next start of ocp-tuned.service removes it. To remove it now: ocp-tuned-boot cleanup"

# In these states Podman knows the processes of a container, and ends them itself.
_STARTED = ("running", "paused", "stopping", "stopped", "exited")


def create(podman: Podman, paths: Paths, arguments: dict[str, Any]) -> ContainerState:
    """Creates a container of ours; the arguments are those of podman-py's `containers.create`. If
    its name is taken by a container that was not removed, it gets another one. Raises
    `PodmanError`."""
    name = str(arguments["name"])
    new = _note(paths, name)
    try:
        return podman.create(arguments)
    except NameTaken as error:
        # It is somebody else's, unless it was noted before.
        if new:
            _forget(paths, name)
        other = f"{name}-{os.urandom(4).hex()}"
        log.error(
            "%s; the name %s is used instead. To remove the other one: podman rm -f %s",
            error.message, other, name,
        )  # fmt: skip
        _note(paths, other)
        return podman.create({**arguments, "name": other})


@contextmanager
def sole(podman: Podman, paths: Paths) -> Iterator[None]:
    """Removes our containers before the block and after it, however the block ends.

    They are removed by name: a request to create one may have been interrupted before its ID was
    known. Raises `PodmanError`, also if a container that can be inspected has our name and is not
    ours: it may be upstream's, which tunes as well. One that cannot be removed is reported.
    """
    _clear(podman, paths)
    try:
        yield
    except BaseException:
        # The first failure is the one to report, even if Podman fails again.
        try:
            remove_all(patient(podman), paths)
        except BootError as error:
            late = isinstance(error, DeadlineExceeded)
            why = "Podman did not answer in time" if late else error.message
            log.warning("cannot remove the container %s: %s\n%s", CONTAINER, why, REMAINS)
        raise
    _clear(patient(podman), paths)


def _clear(podman: Podman, paths: Paths) -> None:
    try:
        remove_all(podman, paths)
    except NotRemoved as error:
        log.error("%s", error)


def patient(podman: Podman) -> Podman:
    """For cleaning up, with a deadline of its own: that of the run may have passed."""
    return podman.until(podman.deadline.beyond(CLEARING, OVERRUN))


def remove_all(podman: Podman, paths: Paths) -> bool:
    """Removes our containers, except those of `image stage` and the one in which TuneD keeps
    running, and the PID file that a killed TuneD leaves on the host. Returns whether there was one.

    Raises `PodmanError`; `NotRemoved` once all that can be removed is removed.
    """
    removed, failed = False, None
    known = staying.read(paths)
    stays = known.container if known else ""
    for name in dict.fromkeys([CONTAINER, *noted(paths)]):
        if not name.startswith(CHECK):
            try:
                removed = _remove(podman, paths, name, stays) or removed
            except NotRemoved as error:
                failed = error
    if not stays:
        prepare.forget_tuned(paths)
    if failed is not None:
        raise failed
    return removed


@contextmanager
def checking(podman: Podman, paths: Paths, patience: float = CHECKING) -> Iterator[None]:
    """Removes the container `CHECK` before and after an image is tried, one image at a time.
    Raises `PodmanError`, and `Busy` if another one does not finish in `patience` seconds."""
    files.directory(paths.run, paths.root)
    with files.locked(paths.check_lock, patience, "image stage"):
        try:
            _remove_checks(podman, paths)
        except NotRemoved as error:
            log.error("%s", error)
        try:
            yield
        finally:
            _remove_checks(patient(podman), paths)


def remove_check(podman: Podman, paths: Paths) -> bool:
    """Removes the container of a killed `image stage`, and returns whether there was one. The
    container of a running `image stage` is not touched. Raises `PodmanError`."""
    files.directory(paths.run, paths.root)
    try:
        with files.locked(paths.check_lock, 0, "image stage"):
            return _remove_checks(podman, paths)
    except Busy:
        return False


def _remove_checks(podman: Podman, paths: Paths) -> bool:
    names = [CHECK, *(name for name in noted(paths) if name.startswith(CHECK))]
    removed = [_remove(podman, paths, name) for name in dict.fromkeys(names)]
    return any(removed)


def _remove(podman: Podman, paths: Paths, name: str, stays: str = "") -> bool:
    """Removes the container of this name, and what is left of it. Returns whether there was one.
    The one with the ID `stays` is left alone.

    Raises `PodmanError` for one that can be inspected and is not ours, and `NotRemoved`.
    """
    in_time = podman.until(podman.deadline.within(CLEARING))
    try:
        found = in_time.container(name)
    except (Refused, DeadlineExceeded) as error:
        podman.deadline.left()
        return _remove_half(podman, paths, name, error)
    if stays and found is not None and found.id == stays:
        return False
    if found is None and name not in noted(paths):
        return False
    if found is not None and LABEL not in found.labels:
        # Created by somebody else after ours was removed.
        _forget(paths, name)
        raise PodmanError(
            f"the container {name} exists, but ocp-tuned-boot did not create it ({found.id})",
            f"If it is not needed, remove it: podman rm -f {name}",
        )
    # One that is noted and that Podman does not know may exist in its storage.
    removed = _delete(podman, name, found.id if found else name)
    if found is None or found.status not in _STARTED:
        orphans.end(name)
    _forget(paths, name)
    return removed


def _remove_half(podman: Podman, paths: Paths, name: str, why: BootError) -> bool:
    """Removes a container that cannot be inspected, if it is ours."""
    try:
        labels = podman.labels(name)
    except Refused as error:
        log.info("%s", error)
        labels = None
    if not (name in noted(paths) if labels is None else LABEL in labels):
        raise NotRemoved(
            f"the container {name} is left alone: ocp-tuned-boot did not create it, "
            f"or cannot tell: {why.message}",
            f"If it is not needed, remove it: podman rm -f {name}",
        )
    log.warning("removing the container %s, which is damaged: %s", name, why.message)
    _delete(podman, name, name)
    orphans.end(name)
    _forget(paths, name)
    return True


def _delete(podman: Podman, name: str, which: str) -> bool:
    """Raises `NotRemoved`, also if Podman does not answer and there is time to do without."""
    try:
        return podman.until(podman.deadline.within(CLEARING)).remove(which)
    except (Refused, DeadlineExceeded) as error:
        podman.deadline.left()
        raise NotRemoved(
            f"the container {name} cannot be removed: {error.message}",
            f"Remove it: podman rm -f {name}",
        ) from error


# Notes.


def noted(paths: Paths) -> tuple[str, ...]:
    """The names of the containers that may exist. Raises `HostError`."""
    with files.explained("list", paths.containers):
        try:
            return tuple(sorted(os.listdir(paths.containers)))
        except FileNotFoundError:
            return ()


def _note(paths: Paths, name: str) -> bool:
    """Notes that a container of this name is about to be created, and returns whether that is new.
    Without the note only its label tells that it is ours, which is no reason to fail."""
    try:
        files.directory(paths.containers, paths.root)
        return files.touch(paths.containers / name)
    except HostError as error:
        log.warning("%s", error)
        return False


def _forget(paths: Paths, name: str) -> None:
    """The container of this name does not exist any more."""
    note = paths.containers / name
    with files.explained("remove", note):
        note.unlink(missing_ok=True)
