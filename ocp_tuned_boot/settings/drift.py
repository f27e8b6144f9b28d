"""Which settings have changed since our last run. None of them is set back here: the program that
changed it may own it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ocp_tuned_boot.errors import HostError, NewerVersion
from ocp_tuned_boot.host.paths import Paths, sysctl_key
from ocp_tuned_boot.host.typedjson import Format
from ocp_tuned_boot.record import store
from ocp_tuned_boot.record.model import now
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.requested.config import Owners
from ocp_tuned_boot.settings import handover, residue, values

log = logging.getLogger(__name__)

FORMAT = Format(1, durable=False)


@dataclass(frozen=True)
class Drifted:
    """One setting that has changed. At `known_good` it still had the value `applied`; at `seen` it
    first had the value `found`. Both times are UTC. `owned`: it is on the hand-over list."""

    key: str
    path: str
    applied: str
    found: str
    known_good: str
    seen: str
    owned: bool = False


@dataclass(frozen=True)
class Drift:
    """The settings that have changed, of `compared` ones. `profile` is empty if none was applied in
    this boot."""

    compared: int
    drifted: tuple[Drifted, ...]
    profile: str = ""

    @property
    def unexpected(self) -> tuple[Drifted, ...]:
        """Those that are not on the hand-over list."""
        return tuple(each for each in self.drifted if not each.owned)


def look(paths: Paths, owners: Owners) -> Drift:
    """Compares all applied settings with the host, and records the result for the next call.
    Raises `HostError`."""
    boot_id = inputs.boot_id(paths)
    in_force = store.in_force(paths, boot_id)
    if in_force is not None and not in_force.compared:
        raise HostError(
            f"the values of the profile {in_force.profile!r} have not been compared with the host "
            "yet: the run that applied it is still active, or was killed",
            "To compare them: systemctl restart ocp-tuned",
        )
    owned = handover.owned(paths, owners)
    known = residue.read(paths, boot_id)
    at = now()
    last, earlier = _earlier(paths, known.boot_id)
    # After a soft-reboot, there are settings of the profile that was applied before it.
    saved = known.saved if known.applied_at else {}
    applied = {path: each.applied for path, each in saved.items() if each.applied is not None}
    drifted = []
    for path, value in sorted(applied.items()):
        found = values.read(paths.root, path)
        if found == value:
            continue
        before = earlier.get(path)
        good, seen = max(known.applied_at, last), at
        if before is not None and before.applied == value:
            good, seen = before.known_good, before.seen if before.found == found else at
        drifted.append(Drifted(sysctl_key(path), path, value, found, good, seen, path in owned))
    _remember(paths, known.boot_id, at, drifted)
    profile = in_force.profile if in_force is not None else ""
    return Drift(len(applied), tuple(drifted), profile)


def recorded(paths: Paths, boot_id: str) -> tuple[Drifted, ...]:
    """What the last call of `look` in this boot has found. Nothing is compared."""
    return tuple(_earlier(paths, boot_id)[1].values())


def _earlier(paths: Paths, boot_id: str) -> tuple[str, Mapping[str, Drifted]]:
    """The time of the last call in this boot, and what had changed then."""
    try:
        content = FORMAT.read(paths.drift)
        if content["boot_id"] != boot_id:
            return "", {}
        seen = [Drifted(**each) for each in content["drifted"]]
        return str(content["looked"]), {each.path: each for each in seen}
    except (FileNotFoundError, HostError, ValueError, KeyError, TypeError):
        return "", {}


def _remember(paths: Paths, boot_id: str, looked: str, drifted: list[Drifted]) -> None:
    """Records since when each setting differs. The caller may not be allowed to write there: the
    result does not depend on it."""
    content = {
        "boot_id": boot_id, "looked": looked, "drifted": [asdict(each) for each in drifted],
    }  # fmt: skip
    try:
        FORMAT.write(paths.drift, content, cut="drifted")
    except NewerVersion as error:
        log.warning("%s", error)
    except HostError as error:
        log.debug("%s", error)
