"""The current state of what was applied in this boot. Read only: nothing is changed."""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ocp_tuned_boot import situation
from ocp_tuned_boot.errors import BootError
from ocp_tuned_boot.host import journal, systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Stored
from ocp_tuned_boot.record.amend import with_holds
from ocp_tuned_boot.record.model import Action, Record, State, Waits
from ocp_tuned_boot.requested import config, settled
from ocp_tuned_boot.settings import drift, holds
from ocp_tuned_boot.settings.drift import Drifted
from ocp_tuned_boot.tuned import findings, operand
from ocp_tuned_boot.tuned.findings import Finding
from ocp_tuned_boot.tuned.judge import Outcome, Result


@dataclass(frozen=True)
class Now:
    """`units`: the states of the units concerned; `drifted`: settings that no longer have the
    applied value; `waits`: what has changed in the request, or why this cannot be checked;
    `holds`: what systemd should keep open, and whether it does; `stored`: everything that systemd
    keeps open for the unit, None if unknown; `latency`: the CPU latency in effect (microseconds),
    None if unknown; `gated`: workloads wait for the unit (gate = closed); `pull`: why the last pull
    of the requested image failed, empty if it did not; `named`: which file decides about image and
    profile, and what has no effect, a sentence each; `other`: the finding if another TuneD tunes
    this node."""

    units: dict[str, str] = field(default_factory=dict)
    drifted: tuple[Drifted, ...] = ()
    waits: str = ""
    holds: tuple[State, ...] = ()
    stored: Stored | None = None
    latency: int | None = None
    gated: bool = False
    pull: str = ""
    named: tuple[str, ...] = ()
    other: tuple[Finding, ...] = ()

    @property
    def superfluous(self) -> int:
        """The number of file descriptors that systemd keeps open and should not."""
        return max(0, self.stored.count - len(self.holds)) if self.stored else 0

    def updated(self, done: Record, accepted: tuple[tuple[str, str], ...] = ()) -> Record:
        """The record with the current findings instead of those at the end of the run."""
        if done.in_force is None or done.result not in (Result.APPLIED, Result.DEGRADED):
            return done
        found = [each for each in done.findings if each.kind != "other-tuned"]
        found += findings.accept(self.other, accepted)
        now = with_holds(Outcome(done.result, tuple(found)), self.holds, accepted)
        return replace(done, result=now.result, findings=now.findings)

    def content(self) -> dict[str, Any]:
        """For programs."""
        return {
            "units": self.units,
            "waits": self.waits,
            "named": list(self.named),
            "drift": [asdict(each) for each in self.drifted],
            "holds": [
                {**asdict(it.hold), "standing": it.standing.value, "why": it.why}
                for it in self.holds
            ],
            "latency": self.latency,
            "gated": self.gated,
            "pull": self.pull,
            "stored": asdict(self.stored) if self.stored else None,
        }


def look(paths: Paths, config_file: Path | None, done: Record | None) -> tuple[Record | None, Now]:
    """The record with the current findings, and the current state of everything else. Does not
    fail for a user who may not read everything."""
    workloads = systemd.workloads()
    units = systemd.unit_states(
        (systemd.UNIT, systemd.IMAGE, *workloads, systemd.HOST_TUNED, systemd.RETRY)
    )
    starting = (units.get(systemd.UNIT), units.pop(systemd.RETRY, ""))
    gated = config.gate(paths, config_file) == "closed" and "activating" in starting
    # Started by hand, the unit is activating beside a kubelet that does not wait for it.
    gated = gated and "active" not in [units.get(name) for name in workloads]
    now = Now(
        units, stored=systemd.stored(systemd.UNIT), gated=gated, pull=_failed_pull(units),
        named=_named(paths, config_file),
    )  # fmt: skip
    if done is None or done.in_force is None:
        return done, now
    # While TuneD runs in our container, it may be the one that is found.
    if done.result is not Result.APPLYING and (other := operand.running(paths)):
        now = replace(now, other=(other.finding(),))
    now = replace(
        now, holds=holds.look(paths, done.in_force.holds, now.stored), latency=_latency(paths)
    )
    try:
        loaded = config.load(paths, config_file)
    except BootError as error:
        return now.updated(done), replace(now, waits=_unchecked(error))
    try:
        now = replace(now, waits=_waits(paths, loaded))
        now = replace(now, drifted=drift.look(paths, loaded.handover).drifted)
    except BootError as error:
        now = replace(now, waits=_unchecked(error))
    return now.updated(done, loaded.accept), now


def _named(paths: Paths, config_file: Path | None) -> tuple[str, ...]:
    """Where image and profile are named; empty where none can be read."""
    try:
        loaded = config.load(paths, config_file)
        requested = settled.read(paths, loaded)
    except BootError:
        return ()
    return (
        f"image {requested.image}, named in {requested.image_named_in}",
        f"profile {requested.profile}, named in {requested.named_in}",
        *config.overruled(loaded, requested),
    )


def _failed_pull(units: dict[str, str]) -> str:
    if systemd.IMAGE not in units or not systemd.has_failed(systemd.IMAGE):
        return ""
    return (
        systemd.last_logged(systemd.IMAGE, journal.ERROR) or f"see journalctl -b -u {systemd.IMAGE}"
    )


def _unchecked(error: BootError) -> str:
    return f"cannot check for changes: {error.message}"


def _latency(paths: Paths) -> int | None:
    try:
        return holds.effective_latency(paths)
    except (OSError, struct.error):
        return None


def _waits(paths: Paths, loaded: config.Config) -> str:
    try:
        decision, _ = situation.pending(paths, loaded)
    except BootError as error:
        return _unchecked(error)
    changed = decision.waits is not Waits.NOTHING or decision.action is not Action.KEEP
    return decision.reason if changed else ""
