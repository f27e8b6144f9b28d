"""What has become, by now, of what was done in this boot. Looked at, and left as it is."""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ocp_tuned_boot import situation
from ocp_tuned_boot.errors import BootError
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Stored
from ocp_tuned_boot.record.amend import with_holds
from ocp_tuned_boot.record.model import Action, Record, State, Waits
from ocp_tuned_boot.requested import config
from ocp_tuned_boot.settings import drift, holds
from ocp_tuned_boot.settings.drift import Drifted
from ocp_tuned_boot.tuned.judge import Outcome, Result


@dataclass(frozen=True)
class Now:
    """`units`: the state of each that is concerned; `drifted`: settings that are no longer as they
    were applied; `waits`: what has changed of what is asked for, or why that cannot be told;
    `holds`: what is to be held, and whether it is; `stored`: all that systemd holds, if it can be
    asked; `latency`: the CPU latency in force, in microseconds, if it can be read; `gated`: the
    workloads wait for the unit (gate = closed)."""

    units: dict[str, str] = field(default_factory=dict)
    drifted: tuple[Drifted, ...] = ()
    waits: str = ""
    holds: tuple[State, ...] = ()
    stored: Stored | None = None
    latency: int | None = None
    gated: bool = False

    @property
    def superfluous(self) -> int:
        """So many open files systemd holds beyond those that it should."""
        return max(0, self.stored.count - len(self.holds)) if self.stored else 0

    def told(self, done: Record, accepted: tuple[tuple[str, str], ...] = ()) -> Record:
        """The record with the findings that there are now."""
        if done.in_force is None or done.result not in (Result.APPLIED, Result.DEGRADED):
            return done
        now = with_holds(Outcome(done.result, done.findings), self.holds, accepted)
        return replace(done, result=now.result, findings=now.findings)

    def content(self) -> dict[str, Any]:
        """For programs."""
        return {
            "units": self.units,
            "waits": self.waits,
            "drift": [asdict(each) for each in self.drifted],
            "holds": [
                {**asdict(it.hold), "standing": it.standing.value, "why": it.why}
                for it in self.holds
            ],
            "latency": self.latency,
            "gated": self.gated,
            "stored": asdict(self.stored) if self.stored else None,
        }


def look(paths: Paths, config_file: Path | None, done: Record | None) -> tuple[Record | None, Now]:
    """The record, with the findings that there are now, and what else has become of it. Also for
    somebody who may not read everything."""
    units = systemd.unit_states((systemd.UNIT, *systemd.NEIGHBOURS))
    gated = config.gate(paths, config_file) == "closed" and units.get(systemd.UNIT) == "activating"
    now = Now(units, stored=systemd.stored(systemd.UNIT), gated=gated)
    if done is None or done.in_force is None:
        return done, now
    now = replace(
        now, holds=holds.look(paths, done.in_force.holds, now.stored), latency=_latency(paths)
    )
    try:
        said = config.load(paths, config_file)
    except BootError as error:
        words = f"what has changed cannot be told: {error.message}"
        return now.told(done), replace(now, waits=words)
    try:
        now = replace(now, waits=_waits(paths, said))
        now = replace(now, drifted=drift.look(paths, said.handover).drifted)
    except BootError as error:
        now = replace(now, waits=f"what has changed cannot be told: {error.message}")
    return now.told(done, said.accept), now


def _latency(paths: Paths) -> int | None:
    try:
        return holds.effective_latency(paths)
    except (OSError, struct.error):
        return None


def _waits(paths: Paths, said: config.Config) -> str:
    try:
        decision, _ = situation.pending(paths, said)
    except BootError as error:
        return f"what is asked for cannot be told: {error.message}"
    changed = decision.waits is not Waits.NOTHING or decision.action is not Action.KEEP
    return decision.reason if changed else ""
