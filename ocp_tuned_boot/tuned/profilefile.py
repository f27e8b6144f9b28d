"""A file of a custom profile. A module of its own: runs that do not start TuneD need no more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ProfileFile:
    """One file of a custom profile. `path` is relative to the folder of all profiles."""

    path: str
    data: bytes
    executable: bool = False

    @property
    def text(self) -> str:
        return self.data.decode(errors="replace")
