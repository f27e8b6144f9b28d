"""Tells CRI-O which images of the shared store are not to be collected (crio.conf(5),
`pinned_images`): the kubelet's collector reaches all of them. Where there is no CRI-O, nothing.

The last file that has the list has all of it, so ours comes late and repeats what is in those
before it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from contextlib import suppress

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import lastgood

log = logging.getLogger(__name__)

_NAME = "99-ocp-tuned-boot.conf"
#: What it was called before it had to come late.
_EARLIER = "50-ocp-tuned-boot.conf"
_TEXT = """\
# Written by ocp-tuned-boot: the images that tune this node, and those that are pinned by the files
# read before this one. Changes are lost.
[crio.image]
pinned_images = {images}
"""
# TOML: a list of strings on one line or more, with comments between them.
_LIST = re.compile(
    r"^[ \t]*pinned_images[ \t]*=[ \t]*\[((?:[^\]\"'#]|\"[^\"\n]*\"|'[^'\n]*'|#.*\n)*)\]",
    re.MULTILINE,
)
_STRING = re.compile(r"#.*|\"([^\"\n]*)\"|'([^'\n]*)'")


def keep(paths: Paths, store: str, references: Iterable[str]) -> None:
    """Pins these, the last image that worked, and what others have pinned; nothing at all where
    ours lie in a store of their own. CRI-O reads it when it starts, and on a reload of its own.
    Raises `HostError`."""
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
        files.write(path, data)


def _remove(paths: Paths, name: str) -> None:
    path = paths.crio_conf / name
    with files.explained("remove", path):
        path.unlink(missing_ok=True)


def _others(paths: Paths) -> list[str]:
    """What would be pinned without ours: what the last file says that says anything."""
    pinned: list[str] = []
    with files.explained("list", paths.crio_conf):
        drop_ins = sorted(paths.crio_conf.iterdir())
    for path in (paths.crio_conf.parent / "crio.conf", *drop_ins):
        if path.name == _NAME or path.is_dir():
            continue
        found = None
        with suppress(FileNotFoundError, UnicodeDecodeError, HostError):
            found = _LIST.search(files.read(files.resolved(path)).decode())
        if found is None:
            continue
        if path.name > _NAME and path.parent == paths.crio_conf:
            log.warning("%s: found pinned_images, which CRI-O reads last: ours do not count", path)
            break
        pinned = [text for pair in _STRING.findall(found[1]) for text in pair if text]
    return pinned
