"""Which settings are no longer what our last run has made of them. Nothing is ever mended here:
whoever has changed one may well own it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths, sysctl_key
from ocp_tuned_boot.host.typedjson import from_json
from ocp_tuned_boot.record.model import now
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.requested.config import Owners
from ocp_tuned_boot.settings import handover, residue, values

log = logging.getLogger(__name__)

VERSION = 1


@dataclass(frozen=True)
class Drifted:
    """One setting. It was still as applied at `known_good` and has had the value `found` since
    `seen` at the latest; both are UTC. `owned`: by the hand-over list it is somebody else's."""

    key: str
    path: str
    applied: str
    found: str
    known_good: str
    seen: str
    owned: bool = False


@dataclass(frozen=True)
class Drift:
    """`compared` settings were looked at; none where nothing was applied in this boot."""

    compared: int
    drifted: tuple[Drifted, ...]

    @property
    def unexpected(self) -> tuple[Drifted, ...]:
        """What nobody has a right to."""
        return tuple(each for each in self.drifted if not each.owned)


def look(paths: Paths, owners: Owners) -> Drift:
    """Compares, and remembers when it saw what. Raises `HostError`."""
    owned = handover.owned(paths, owners)
    known = residue.read(paths, inputs.boot_id(paths))
    at = now()
    looked, earlier = _earlier(paths, known.boot_id)
    applied = {path: each.applied for path, each in known.saved.items() if each.applied is not None}
    drifted = []
    for path, value in sorted(applied.items()):
        found = values.read(paths.root, path)
        if found == value:
            continue
        before = earlier.get(path)
        good, seen = max(known.applied_at, looked), at
        if before is not None and before.applied == value:
            good, seen = before.known_good, before.seen if before.found == found else at
        drifted.append(Drifted(sysctl_key(path), path, value, found, good, seen, path in owned))
    _remember(paths, known.boot_id, at, drifted)
    return Drift(len(applied), tuple(drifted))


def _earlier(paths: Paths, boot_id: str) -> tuple[str, Mapping[str, Drifted]]:
    """When it was last looked, and what was seen then."""
    try:
        content = from_json(files.read(paths.drift))
        if (content["version"], content["boot_id"]) != (VERSION, boot_id):
            return "", {}
        seen = [Drifted(**each) for each in content["drifted"]]
        return str(content["looked"]), {each.path: each for each in seen}
    except (FileNotFoundError, HostError, ValueError, KeyError, TypeError):
        return "", {}


def _remember(paths: Paths, boot_id: str, looked: str, drifted: list[Drifted]) -> None:
    """So that the next look can say since when. Who may not write there sees the drift anyway."""
    content = {
        "version": VERSION, "boot_id": boot_id, "looked": looked,
        "drifted": [asdict(each) for each in drifted],
    }  # fmt: skip
    try:
        files.write(paths.drift, (json.dumps(content, indent=1) + "\n").encode())
    except HostError as error:
        log.debug("%s", error)
