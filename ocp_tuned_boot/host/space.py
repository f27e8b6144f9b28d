"""Space: how much is left in a file system, and what to do about one that is full."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ocp_tuned_boot.host.paths import Paths

_MIB = 1024 * 1024
#: What a run writes at most in /run and in /var (bytes), with some room.
RUN, STATE = 16 * _MIB, 16 * _MIB
_RUN = "a run"
# With less than that, it counts as full (bytes).
_NOTHING = _MIB


@dataclass(frozen=True)
class Space:
    """A folder, what is free there and what is needed (bytes), and what needs it. `lost`: what
    happens without, a sentence."""

    folder: Path
    free: int
    needed: int
    what: str
    lost: str = ""

    @property
    def is_low(self) -> bool:
        return self.free < self.needed

    @property
    def is_run(self) -> bool:
        """Whether the record of the last run is there."""
        return self.what == _RUN

    @property
    def is_full(self) -> bool:
        return self.free < _NOTHING

    @property
    def words(self) -> str:
        """For people."""
        left, needed = self.free // _MIB, self.needed // _MIB
        return f"{self.folder} has {left} MiB left; {self.what} may need {needed} MiB"


def of_own_files(paths: Paths) -> Iterator[Space]:
    """Where this program writes: what is in memory, and what remains."""
    lost = "Without space, the result of a run is not recorded: what is shown may be older"
    yield from left(paths.run, RUN, _RUN, lost)
    lost = "Without space, the applied profile is not remembered, and a fallback is an earlier one"
    yield from left(paths.state, STATE, "the record", lost)


def left(folder: Path, needed: int, what: str, lost: str = "") -> Iterator[Space]:
    """The space in the file system of a folder, which need not exist; none if it cannot be found
    out."""
    there = next((it for it in (folder, *folder.parents) if it.exists()), Path("/"))
    try:
        found = os.statvfs(there)
    except OSError:
        return
    yield Space(folder, found.f_bavail * found.f_frsize, needed, what, lost)


def mount_point(path: Path) -> Path:
    """Where the file system of a path is mounted."""
    return next((it for it in (path, *path.parents) if os.path.ismount(it)), Path("/"))


def full_hint(path: Path) -> str:
    """What to do about the file system of this path, which is full."""
    where = mount_point(path)
    if Path("/run") in (path, *path.parents):
        return (
            f"The file system {where} is full, and it is in memory: remove files that are not "
            f"needed there, and try again. To see what fills it: du -xhd2 {where}"
        )
    return f"The file system {where} is full: free disk space and try again."
