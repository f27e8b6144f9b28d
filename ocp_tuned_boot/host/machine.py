"""Which machine this is: what is in /var may have been written by another one.

An image-based upgrade puts the /var of a seed node onto other nodes, and so does whoever clones a
disk. What worked there, what was pulled there and what was done there says nothing about this
machine. Each file that is kept for later boots names the machine that wrote it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths

# The machine ID itself is confidential: only what is derived from it may be shown (machine-id(5)).
_APPLICATION = bytes.fromhex("0d6ab25c7cf44be69b1a8f36d2b1a6c4")
_ID = re.compile(rb"([0-9a-f]{32})\n?")


class OtherMachine(HostError):
    """A file of this program was written on another machine."""


def identity(paths: Paths) -> str:
    """The name of this machine in our files, derived from its machine ID (32 hexadecimal digits).
    Empty if the machine has none yet."""
    with suppress(HostError, FileNotFoundError):
        if found := _ID.fullmatch(files.read(paths.machine_id)):
            return hashlib.sha256(_APPLICATION + found[1]).hexdigest()[:32]
    return ""


def named(paths: Paths, content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a file, with the machine that writes it."""
    machine = identity(paths)
    return {**({"machine": machine} if machine else {}), **content}


def is_named(paths: Paths, content: Mapping[str, Any]) -> bool:
    """Whether the content of a file names this machine, if that has a name. An earlier release did
    not name any."""
    return bool(content.get("machine", "") == identity(paths))


def check(paths: Paths, content: Mapping[str, Any], path: Path) -> None:
    """Raises `OtherMachine` if another machine has written this content of a file. What an earlier
    release has written names none, and is believed."""
    found, expected = content.get("machine", ""), identity(paths)
    if found and expected and found != expected:
        raise OtherMachine(f"{path}: it was written on another machine, and is ignored")
