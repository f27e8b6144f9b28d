"""The images that this program has brought onto the node: those it may remove again."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass

from ocp_tuned_boot.errors import Busy, HostError, NewerVersion
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record.store import check_version, many

log = logging.getLogger(__name__)

VERSION = 1
#: More are not remembered.
LIMIT = 50
#: As long as another one may take to write it (seconds).
PATIENCE = 2.0


@dataclass(frozen=True)
class Brought:
    """What it was asked for as, or is called in the store, and its ID there."""

    reference: str
    id: str


def read(paths: Paths) -> tuple[Brought, ...]:
    """The last one first; none where the file cannot be read, which is told in the journal."""
    try:
        return _known(paths)
    except HostError as error:
        log.warning("%s", error)
        return ()


def _known(paths: Paths) -> tuple[Brought, ...]:
    """None of a broken file. Raises `NewerVersion` for one that must not be written over."""
    try:
        content = files.from_json(files.read(paths.brought))
        check_version(content["version"], VERSION, str(paths.brought))
        return many(Brought, content["images"])
    except NewerVersion:
        raise
    except FileNotFoundError:
        return ()
    except (HostError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: found no list of images, expected one: %s", paths.brought, error)
        return ()


def remember(paths: Paths, *new: Brought) -> None:
    """Takes down that these images are on the node because of us. Without that none of them is ever
    removed, which is no reason to fail: it is told in the journal."""
    try:
        with _alone(paths):
            known = _known(paths)
            if known[: len(new)] != new:
                _write(paths, [*new, *(each for each in known if each not in new)])
    except (HostError, Busy) as error:
        log.warning("%s", error)


def forget(paths: Paths, image_id: str) -> None:
    """It is gone. Raises `HostError`, `Busy`."""
    with _alone(paths):
        _write(paths, [each for each in _known(paths) if each.id != image_id])


def _alone(paths: Paths) -> AbstractContextManager[None]:
    """A run, `image fetch` and `image stage` may write at the same time."""
    files.directory(paths.run, paths.root)
    return files.locked(paths.brought_lock, PATIENCE, "another process")


def _write(paths: Paths, images: Iterable[Brought]) -> None:
    content = {"version": VERSION, "images": [asdict(each) for each in images][:LIMIT]}
    files.directory(paths.state, paths.root)
    files.write(paths.brought, (json.dumps(content, indent=1) + "\n").encode())
