"""What systemd says about units, with one question for all of them: for people, who wait for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.systemd import UNIT, WORKLOADS

log = logging.getLogger(__name__)

_PROPERTIES = (
    "LoadState", "ActiveState", "UnitFileState", "ConditionResult",
    "ConditionTimestampMonotonic", "Before", "Result", "StatusText", "NFileDescriptorStore",
)  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """Properties of org.freedesktop.systemd1(5). `state`: ActiveState; `result` of the last run of
    a service; `text`: the line `Status:`; `file`: UnitFileState, such as enabled or masked;
    `skipped`: a condition of the unit was not met; `before`: the units ordered after it; `stored`:
    the number of file descriptors that systemd keeps open for it."""

    state: str = ""
    result: str = ""
    text: str = ""
    file: str = ""
    skipped: bool = False
    before: tuple[str, ...] = ()
    stored: int = 0


def look(names: Sequence[str]) -> dict[str, Unit]:
    """The units among these that systemd knows, and the services that are ordered after `UNIT`, in
    this order. Empty if systemd cannot be reached."""
    asked = list(dict.fromkeys([UNIT, *names, *WORKLOADS]))
    try:
        found = _shown(asked)
        ours = UNIT.partition(".")[0]
        later = found[UNIT].before if UNIT in found else ()
        others = [name for name in later if name.endswith(".service") and name not in asked]
        found.update(_shown([name for name in sorted(others) if not name.startswith(ours)]))
    except HostError as error:
        log.debug("%s", error)
        return {}
    return found


def _shown(names: Sequence[str]) -> dict[str, Unit]:
    """Raises `HostError`."""
    found = {}
    for name, shown in systemd.properties(names, _PROPERTIES).items():
        # A unit that is masked is known, and so is one whose file was removed while it is active.
        if shown.get("LoadState") in ("loaded", "masked") or shown.get("ActiveState") == "active":
            stored = shown.get("NFileDescriptorStore", "")
            found[name] = Unit(
                shown.get("ActiveState", ""),
                shown.get("Result", ""),
                shown.get("StatusText", ""),
                shown.get("UnitFileState", "") or shown.get("LoadState", ""),
                shown.get("ConditionResult") == "no"
                and shown.get("ConditionTimestampMonotonic") != "0",
                tuple(shown.get("Before", "").split()),
                int(stored) if stored.isdecimal() else 0,
            )
    return found
