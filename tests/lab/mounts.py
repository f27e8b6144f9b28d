"""The filesystems a node stands on."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path


def tmpfs(point: Path, size: str = "2g") -> None:
    """Memory, up to this much of it when it is written to."""
    _mount("tmpfs", f"mode=0755,size={size}", point)


def overlay(lower: Sequence[Path], upper: Path, work: Path, point: Path) -> None:
    """A tree where `upper` takes all writes; the first of `lower` hides the next."""
    layers = ":".join(str(path) for path in lower)
    _mount("overlay", f"lowerdir={layers},upperdir={upper},workdir={work}", point)


def bind(source: Path, point: Path) -> None:
    """The same directory at a second place."""
    subprocess.run(["mount", "--bind", source, point], check=True)


def unmount(point: Path) -> None:
    """Takes a mount away from here at once; it ends when its last user does."""
    subprocess.run(["umount", "--lazy", point], check=True)


def _mount(fstype: str, options: str, point: Path) -> None:
    subprocess.run(["mount", "-t", fstype, "-o", options, "ocp-tuned-lab", point], check=True)
