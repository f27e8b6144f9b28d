"""Tells CRI-O which images of the shared store are not to be collected (crio.conf(5),
`pinned_images`): the kubelet's collector reaches all of them. Where there is no CRI-O, nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ocp_tuned_boot import files
from ocp_tuned_boot.paths import Paths

_NAME = "50-ocp-tuned-boot.conf"
_TEXT = """\
# Written by ocp-tuned-boot: the images that tune this node. Changes are lost.
[crio.image]
pinned_images = {images}
"""


def keep(paths: Paths, store: str, references: Iterable[str]) -> None:
    """Pins these and no others; none at all where they lie in a store of their own. CRI-O reads it
    when it starts, which is after us. Raises `HostError`."""
    path = paths.crio_conf / _NAME
    if not paths.crio_conf.is_dir():
        return
    if store != "shared":
        with files.explained("remove", path):
            path.unlink(missing_ok=True)
        return
    images = json.dumps(list(dict.fromkeys(references)))  # a list of JSON is one of TOML
    data = _TEXT.format(images=images).encode()
    try:
        same = files.read(path) == data
    except FileNotFoundError:
        same = False
    if not same:
        files.write(path, data)
