"""What the removal of this program's data removes, and what remains (`cleanup --purge`)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ocp_tuned_boot.commands.terminal import Row, Style
from ocp_tuned_boot.errors import BootError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import ensure, known, pins
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.tuned import ours

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass(frozen=True)
class Item:
    """One thing that is removed. `kind`: image, container, folder or file; `size`: bytes, None if
    it has none; `note`: what else is to be known about it."""

    kind: str
    name: str
    size: int | None = None
    note: str = ""


def images(paths: Paths, podman: Podman, current: str) -> tuple[Item, ...]:
    """The images that this program pulled or loaded, except the one of this ID. Raises
    `PodmanError`."""
    references = known.read(paths)
    found = []
    for image_id in dict.fromkeys(each.id for each in references):
        image = ensure.undamaged(podman, image_id) if image_id != current else None
        if image is not None:
            names = dict.fromkeys(each.reference for each in references if each.id == image_id)
            users = podman.users(image_id)
            note = f"remains while the container {users[0]} exists" if users else ""
            found.append(Item("image", ", ".join(names), image.size, note))
    return tuple(found)


def containers(paths: Paths) -> tuple[Item, ...]:
    """The containers of runs that were killed. Raises `HostError`."""
    return tuple(Item("container", name) for name in ours.noted(paths))


def state(paths: Paths, kept: Sequence[Path]) -> tuple[Item, ...]:
    """The files on the disk of the node, except these."""
    found = [path for path in sorted(paths.state.glob("*")) if path not in kept]
    found += [path for path in pins.files_of(paths) if os.path.lexists(path)]
    return tuple(map(_on_disk, found))


def _on_disk(path: Path) -> Item:
    sizes = list(_sizes(path))
    if not path.is_dir() or path.is_symlink():
        return Item("file", str(path), sum(sizes))
    many = "1 file" if len(sizes) == 1 else f"{len(sizes)} files"
    return Item("folder", str(path), sum(sizes), many)


def _sizes(path: Path) -> Iterator[int]:
    """The size of each file; symbolic links are not followed."""
    with suppress(OSError):
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode):
            yield found.st_size
            return
        for entry in sorted(path.iterdir()):
            yield from _sizes(entry)


def rows(
    items: Sequence[Item], remains: Sequence[Path], problems: Sequence[BootError], would: str
) -> Iterator[Row]:
    """For people. `would`: the first line if nothing is removed now."""
    if items:
        words = would or "Removing:"
    else:
        words = "There is nothing to remove." if would else "Nothing to remove."
    yield Row(words, style=Style.STRONG, indented=False)
    for each in items:
        parts = [each.name, *([size(each.size)] if each.size is not None else []), each.note]
        yield Row(", ".join(filter(None, parts)), each.kind)
    total = sum(each.size or 0 for each in items)
    if total:
        yield Row(size(total), "total")
    for path in remains:
        if os.path.lexists(path):
            yield Row(str(path), "remains", Style.FAINT)
    for error in problems:
        yield Row(error.message, "problem", Style.WARNING)


def size(number: int) -> str:
    """Bytes for people, in powers of 1000."""
    for least, unit in _UNITS:
        if number >= least:
            return f"{number / least:.1f} {unit}"
    return f"{number} B"
