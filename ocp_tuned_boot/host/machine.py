"""Which machine this is: what is in /var may have been written by another one.

An image-based upgrade puts the /var of a seed node onto other nodes, and so does whoever clones a
disk. What worked there, what was pulled there and what was done there says nothing about this
machine. Each file that is kept for later boots names the machine that wrote it.

The machine ID alone does not tell: OpenShift's image-based upgrade copies all that was changed in
the seed's /etc, so the node that is upgraded has the machine ID of the seed. And where /etc is
read-only, each boot may have a machine ID of its own (machine-id(5)). The firmware of physical and
virtual machines has a UUID (SMBIOS, System Information), which no disk brings along, and which
remains. So this one decides if both are known.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths

log = logging.getLogger(__name__)

# The IDs themselves are confidential: only what is derived from them may be shown (machine-id(5)).
_APPLICATION = bytes.fromhex("0d6ab25c7cf44be69b1a8f36d2b1a6c4")
_ID = re.compile(rb"([0-9a-f]{32})\n?")
_UUID = re.compile(rb"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\n?")
# The beginning of a file of ours, of any version (typedjson.Format, `named`).
_NAMES = re.compile(
    rb'\s*\{\s*"version"\s*:\s*[0-9]{1,9}'
    rb'(?:\s*,\s*"machine"\s*:\s*"([0-9a-f]{32})")?'
    rb'(?:\s*,\s*"hardware"\s*:\s*"([0-9a-f]{32})")?'
)
_HEAD = 4096


class OtherMachine(HostError):
    """A file of this program was written on another machine."""


def identity(paths: Paths) -> dict[str, str]:
    """What this machine is called in our files: `machine`, derived from its machine ID, and
    `hardware`, from the UUID that its firmware has (32 hexadecimal digits each). What is not known
    is left out: early in the first boot there is no machine ID, not every machine has such a UUID,
    and only root may read it."""
    found = {}
    with suppress(HostError, FileNotFoundError):
        if match := _ID.fullmatch(files.read(paths.machine_id)):
            found["machine"] = _derived(match[1])
    with suppress(HostError, FileNotFoundError):
        match = _UUID.fullmatch(files.read(paths.product_uuid).lower())
        # Of zeros or ones alone: the manufacturer has set none (SMBIOS, 7.2.1).
        if match and set(match[1]) - {ord("-")} not in ({ord("0")}, {ord("f")}):
            found["hardware"] = _derived(match[1])
    return found


def _derived(found: bytes) -> str:
    return hashlib.sha256(_APPLICATION + found).hexdigest()[:32]


def named(paths: Paths, content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a file, with the machine that writes it."""
    return {**identity(paths), **content}


def is_named(paths: Paths, content: Mapping[str, Any]) -> bool:
    """Whether the content of a file names this machine, as far as it has a name. An earlier release
    did not name any."""
    return all(content.get(key) == name for key, name in identity(paths).items())


def check(paths: Paths, content: Mapping[str, Any], path: Path) -> None:
    """Raises `OtherMachine` if another machine has written this content of a file. What an earlier
    release has written names none, and is believed."""
    if _differs(identity(paths), content):
        raise OtherMachine(f"{path}: it was written on another machine, and is ignored")


def _differs(this: Mapping[str, str], content: Mapping[str, Any]) -> bool:
    for key in ("hardware", "machine"):
        if key in this and content.get(key):
            return bool(content[key] != this[key])
    return False


# The state of another machine, as a whole.


def discard(paths: Paths) -> None:
    """Removes the files below /var/lib/ocp-tuned-boot that another machine has written, and notes
    their names for `discarded`. Why one remains is logged: it is ignored all the same."""
    this = identity(paths)
    found = [path for path in _kept(paths) if _differs(this, _names(path))]
    if not found:
        return
    names = [str(path.relative_to(paths.state)) for path in found]
    log.warning(
        "%s was written on another machine, such as the seed of an upgrade. Removing what that "
        "has recorded: %s", paths.state, ", ".join(names),
    )  # fmt: skip
    try:
        # First the note: who is interrupted in between removes the rest in the next run.
        files.directory(paths.run, paths.root)
        known = [name for name in discarded(paths) if name not in names]
        files.write(paths.foreign, "".join(f"{it}\n" for it in [*known, *names]).encode(),
                    durable=False)  # fmt: skip
        for path in found:
            files.remove_tree(path)
    except HostError as error:
        log.warning("%s", error)


def discarded(paths: Paths) -> tuple[str, ...]:
    """The names of the files that `discard` has removed in this boot."""
    with suppress(HostError, FileNotFoundError):
        return tuple(files.read(paths.foreign).decode(errors="replace").splitlines())
    return ()


def _kept(paths: Paths) -> Iterator[Path]:
    """Every file that names a machine."""
    yield from (paths.last_good, paths.last_profile, paths.known_images)
    yield from sorted(paths.history.glob("*.json"))


def _names(path: Path) -> dict[str, str]:
    """The machine that a file names; also one of a later release, which is not read."""
    match = None
    with suppress(HostError, FileNotFoundError):
        match = _NAMES.match(files.read(path, _HEAD, cut=True))
    names = match.groups() if match else ()
    return {key: name.decode() for key, name in zip(("machine", "hardware"), names) if name}
