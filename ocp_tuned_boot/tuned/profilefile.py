"""A file of a custom profile. A module of its own: runs that do not start TuneD need no more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ProfileFile:
    """One file of a custom profile. `path` is relative to the folder of all profiles; `mode` has
    its permission bits."""

    path: str
    data: bytes
    mode: int = 0o644

    @property
    def executable(self) -> bool:
        """Whether TuneD, which runs as root, may execute it. Of the mode only this can change the
        result."""
        return bool(self.mode & 0o111)

    @property
    def text(self) -> str:
        return self.data.decode(errors="replace")
