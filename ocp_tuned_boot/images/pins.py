"""Pins images of the shared store in CRI-O's configuration (crio.conf(5), `pinned_images`), so that
the kubelet's garbage collection does not remove them. Does nothing without CRI-O.

CRI-O uses only the list of the last file that has one. So this program's file comes late, and
repeats the list of the files before it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import lastgood

log = logging.getLogger(__name__)

_NAME = "99-ocp-tuned-boot.conf"
#: The name of the file in earlier releases, when it was not read late.
_EARLIER = "50-ocp-tuned-boot.conf"
_TEXT = """\
# Written by ocp-tuned-boot, do not edit: the images that tune this node, and the images that files
# read before this one pin.
[crio.image]
pinned_images = {images}
"""
# TOML: a list of strings on one or more lines, with comments between them.
_LIST = re.compile(
    r"^[ \t]*pinned_images[ \t]*=[ \t]*\[((?:[^\]\"'#]|\"[^\"\n]*\"|'[^'\n]*'|#.*\n)*)\]",
    re.MULTILINE,
)
_STRING = re.compile(r"#.*|\"([^\"\n]*)\"|'([^'\n]*)'")


def keep(paths: Paths, store: str, references: Iterable[str]) -> None:
    """Pins these images, the last image that worked, and those that others pinned. If `store` is
    not `shared`, nothing is pinned: CRI-O does not use another store.

    CRI-O reads the file when it starts and when it is reloaded. Raises `HostError`."""
    if not paths.crio_conf.is_dir():
        return
    _remove(paths, _EARLIER)
    if store != "shared":
        _remove(paths, _NAME)
        return
    good = lastgood.read(paths)
    ours = [*references, *([good.image] if good else [])]
    images = json.dumps(list(dict.fromkeys([*_others(paths), *ours])))  # JSON's list is TOML's
    path, data = paths.crio_conf / _NAME, _TEXT.format(images=images).encode()
    try:
        same = files.read(path) == data
    except FileNotFoundError:
        same = False
    if not same:
        # CRI-O reads every file in the folder, also a hidden one.
        files.write(path, data, staging=paths.crio)


def files_of(paths: Paths) -> tuple[Path, ...]:
    """The files that this program, or an earlier release of it, may have written."""
    return tuple(paths.crio_conf / name for name in (_NAME, _EARLIER))


def _remove(paths: Paths, name: str) -> None:
    path = paths.crio_conf / name
    with files.explained("remove", path):
        path.unlink(missing_ok=True)


def _others(paths: Paths) -> list[str]:
    """The images that are pinned without our file: the list of the last file that has one. CRI-O
    also reads the files in folders of crio.conf.d, all in the order of their paths."""
    pinned: list[str] = []
    with files.explained("list", paths.crio_conf):
        drop_ins = sorted(paths.crio_conf.rglob("*"))
    ours = paths.crio_conf / _NAME
    for path in (paths.crio / "crio.conf", *drop_ins):
        # `.NAME.PID`: of a killed run of an earlier release (`files.replacing`).
        if path == ours or path.name.startswith(f".{_NAME}.") or path.is_dir():
            continue
        found = None
        with suppress(FileNotFoundError, UnicodeDecodeError, HostError):
            found = _LIST.search(files.read(files.resolved(path)).decode())
        if found is None:
            continue
        if path in drop_ins and path > ours:
            log.warning("%s: found pinned_images; CRI-O ignores those of ocp-tuned-boot", path)
            break
        pinned = [text for pair in _STRING.findall(found[1]) for text in pair if text]
    return pinned
