"""Where nodes lie on this machine while they exist, and what is done about those of a test run
that was killed."""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path
from typing import Optional

from tests.lab import cache, mounts, nspawn


class Workplace:
    """A folder in memory under a machine name of its own, for as long as the process lives that
    made it. Memory: a copy of container storage takes a fifth of the time it takes on a disk."""

    def __init__(self) -> None:
        _reap_stale()
        with cache.lock(_folder() / "lock"):
            self.name = f"node-{uuid.uuid4().hex[:8]}"
            self.path = _folder() / self.name
            self._owned = _own(_owner_file(self.name))
            self.path.mkdir()
            mounts.tmpfs(self.path)

    def close(self) -> None:
        _remove(self.name)
        if self._owned is not None:
            os.close(self._owned)


def _reap_stale() -> None:
    """Removes the nodes of processes that are dead, with all their processes and mounts."""
    with cache.lock(_folder() / "lock"):
        for owner in _folder().glob("*.owner"):
            file = _own(owner)
            if file is not None:
                _remove(owner.stem)
                os.close(file)


def _remove(name: str) -> None:
    nspawn.clear(name)
    path = _folder() / name
    for point in _mounted_under(path):
        mounts.unmount(point)
    if path.exists():
        path.rmdir()
    _owner_file(name).unlink(missing_ok=True)


def _mounted_under(path: Path) -> list[Path]:
    """What is mounted there, the last mount first."""
    points = [
        Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    return [point for point in reversed(points) if point == path or path in point.parents]


def _own(owner: Path) -> Optional[int]:
    """Takes a node's lock for as long as the returned file is open, or returns None because its
    owner lives. Children do not inherit it."""
    file = os.open(owner, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def _owner_file(name: str) -> Path:
    return _folder() / f"{name}.owner"


def _folder() -> Path:
    folder = cache.directory() / "nodes"
    folder.mkdir(exist_ok=True)
    return folder
