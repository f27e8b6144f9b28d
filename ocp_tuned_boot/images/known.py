"""The images that this program pulled or loaded onto the node: those it may remove again."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass

from ocp_tuned_boot.errors import Busy, HostError, NewerVersion
from ocp_tuned_boot.host import files, machine
from ocp_tuned_boot.host.machine import OtherMachine
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.typedjson import Format, many
from ocp_tuned_boot.record import store
from ocp_tuned_boot.requested import lastgood
from ocp_tuned_boot.tuned import layout
from ocp_tuned_boot.tuned.layout import Layout

log = logging.getLogger(__name__)

FORMAT = Format(1)
#: More are not remembered.
LIMIT = 50
#: How long another process may take to write the list (seconds).
PATIENCE = 2.0


@dataclass(frozen=True)
class Known:
    """The reference it was requested by, or its name in the store, and its ID there."""

    reference: str
    id: str


def read(paths: Paths) -> tuple[Known, ...]:
    """The last one first; none where the file cannot be read, which is logged."""
    try:
        return _read(paths)
    except HostError as error:
        log.warning("%s", error)
        return ()


def layout_of(paths: Paths, reference: str) -> Layout | None:
    """What the image of this name contains, as far as that is known without asking Podman; None if
    it was not looked into yet. Only Podman knows whether the name means another image by now."""
    found = (layout.cached(paths, each) for each in _ids(paths, reference))
    return next(filter(None, found), None)


def _ids(paths: Paths, reference: str) -> Iterator[str]:
    """The IDs by which the image was obtained or used last."""
    yield from (each.id for each in read(paths) if each.reference == reference)
    with suppress(HostError, NewerVersion):
        done = store.read(paths)
        if done is not None and done.in_force is not None and done.in_force.image == reference:
            yield done.in_force.image_id
    good = lastgood.read(paths)
    if good is not None and good.image == reference:
        yield good.image_id


def _read(paths: Paths) -> tuple[Known, ...]:
    """None of a broken file. Raises `NewerVersion` for one that must not be overwritten."""
    try:
        content = FORMAT.read(paths.known_images)
        machine.check(paths, content, paths.known_images)
        return many(Known, content["images"])
    except NewerVersion:
        raise
    except OtherMachine as error:
        log.warning("%s", error)
        return ()
    except FileNotFoundError:
        return ()
    except (HostError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: found no list of images, expected one: %s", paths.known_images, error)
        return ()


def remember(paths: Paths, *new: Known) -> None:
    """Remembers that this program obtained these images. Without that none of them is ever removed,
    which is no reason to fail: it is logged."""
    try:
        with _alone(paths):
            known = _read(paths)
            if known[: len(new)] != new or not _is_named(paths):
                _write(paths, [*new, *(each for each in known if each not in new)])
    except (HostError, Busy) as error:
        log.warning("%s", error)


def _is_named(paths: Paths) -> bool:
    """Whether the file names this machine. Raises `HostError`."""
    try:
        return machine.is_named(paths, FORMAT.read(paths.known_images))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def forget(paths: Paths, image_id: str) -> None:
    """The image was removed. Raises `HostError`, `Busy`."""
    with _alone(paths):
        _write(paths, [each for each in _read(paths) if each.id != image_id])


def _alone(paths: Paths) -> AbstractContextManager[None]:
    """A run, `image fetch` and `image stage` may write at the same time."""
    files.directory(paths.run, paths.root)
    return files.locked(paths.known_images_lock, PATIENCE, "another process")


def _write(paths: Paths, images: Iterable[Known]) -> None:
    files.directory(paths.state, paths.root)
    content = {"images": [asdict(each) for each in images][:LIMIT]}
    FORMAT.write(paths.known_images, machine.named(paths, content))
