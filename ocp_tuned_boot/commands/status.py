"""The current state of what was applied in this boot. Read only: nothing is changed."""

from __future__ import annotations

import os
import struct
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ocp_tuned_boot import lock, situation
from ocp_tuned_boot.commands import daemon_status
from ocp_tuned_boot.errors import BootError
from ocp_tuned_boot.host import machine, space, systemd, units
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.space import Space
from ocp_tuned_boot.host.systemd import Stored
from ocp_tuned_boot.host.units import Unit
from ocp_tuned_boot.record import history, store
from ocp_tuned_boot.record.amend import with_holds
from ocp_tuned_boot.record.history import Run
from ocp_tuned_boot.record.model import Action, Hold, Record, State, Waits
from ocp_tuned_boot.requested import config, settled
from ocp_tuned_boot.settings import drift, holds
from ocp_tuned_boot.settings.drift import Drifted
from ocp_tuned_boot.tuned import findings, operand
from ocp_tuned_boot.tuned.findings import Finding
from ocp_tuned_boot.tuned.judge import Outcome, Result
from ocp_tuned_boot.tuned.staying import Supervised

_HIDDEN = (
    "Only root sees the log of a failed pull, a TuneD in another container, and which settings "
    "have changed since: sudo ocp-tuned-boot status"
)


#: How what waits begins where that cannot be found out.
UNCHECKED = "cannot check for changes: "
_SUCCESS = (Result.APPLIED.value, Result.DEGRADED.value)


@dataclass(frozen=True)
class Named:
    """Which file names image and profile; `overruled`: what has no effect, a sentence each."""

    image: str = ""
    image_in: str = ""
    profile: str = ""
    profile_in: str = ""
    overruled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Now:
    """`units`: the units concerned, by name; `drifted`: settings that no longer have the applied
    value; `waits`: what has changed in the request, or why this cannot be checked; `holds`: what
    systemd should keep open, and whether it does; `stored`: everything that systemd keeps open for
    the unit, None if unknown; `latency`: the CPU latency in effect (microseconds), None if unknown;
    `gate`: boot.conf's; `gated`: workloads wait for the unit now; `pull`: why the last pull of the
    requested image failed, empty if it did not; `named`: None if the request cannot be read, and
    `unread` says why; `other`: the finding if another TuneD tunes this node; `left`: how long the
    active run still has (seconds), None if none is active; `applied`: the runs of this boot that
    have applied a profile; `foreign`: the files of another machine that were removed in this boot;
    `before`: the record is of the time before a soft-reboot; `hidden`: what this user cannot
    see; `daemon`: TuneD where it keeps running, else None; `low`: where there is hardly space."""

    units: dict[str, Unit] = field(default_factory=dict)
    drifted: tuple[Drifted, ...] = ()
    waits: str = ""
    holds: tuple[State, ...] = ()
    stored: Stored | None = None
    latency: int | None = None
    gate: str = "open"
    gated: bool = False
    pull: str = ""
    named: Named | None = None
    unread: str = ""
    other: tuple[Finding, ...] = ()
    left: float | None = None
    applied: tuple[Run, ...] = ()
    foreign: tuple[str, ...] = ()
    before: bool = False
    hidden: str = ""
    daemon: Supervised | None = None
    low: tuple[Space, ...] = ()

    @property
    def unit(self) -> Unit:
        """ocp-tuned.service."""
        return self.units.get(systemd.UNIT, Unit())

    @property
    def running(self) -> bool:
        """Whether a run is under way, or waits to begin."""
        return self.unit.state in ("activating", "reloading") or self.left is not None

    @property
    def held(self) -> bool:
        """Whether the gate is closed after a run that has failed (`gate.Gate`)."""
        return self.unit.state == "activating" and self.unit.text.startswith("Held (")

    @property
    def workloads(self) -> tuple[str, ...]:
        """The kubelets and container engines of this host, and other services that wait."""
        ours = (systemd.UNIT, systemd.IMAGE, systemd.RETRY, systemd.HOST_TUNED)
        return tuple(name for name in self.units if name not in ours)

    @property
    def is_normal(self) -> bool:
        """Whether the unit and the workloads run, and no pull and no other TuneD."""
        needed = (systemd.UNIT, *self.workloads)
        return all(
            unit.state == ("active" if name in needed else "inactive")
            for name, unit in self.units.items()
        )

    @property
    def unexpected(self) -> tuple[Drifted, ...]:
        """The settings that have changed and are not owned by others."""
        return tuple(each for each in self.drifted if not each.owned)

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
            "units": {name: unit.state for name, unit in self.units.items()},
            "text": self.unit.text,
            "running": self.running,
            "left": self.left,
            "waits": self.waits,
            "named": asdict(self.named) if self.named else None,
            "unread": self.unread,
            "drift": [asdict(each) for each in self.drifted],
            "holds": [
                {**asdict(it.hold), "standing": it.standing.value, "why": it.why}
                for it in self.holds
            ],
            "latency": self.latency,
            "gate": self.gate,
            "gated": self.gated,
            "pull": self.pull,
            "stored": asdict(self.stored) if self.stored else None,
            "foreign": list(self.foreign),
            "hidden": self.hidden,
            "daemon": asdict(self.daemon) if self.daemon else None,
            "low": [it.words for it in self.low],
        }


def look(paths: Paths, config_file: Path | None, boot_id: str) -> tuple[Record | None, Now]:
    """The record of this boot with the current findings, and the current state of everything else.
    Does not fail for a user who may not read everything. Raises `HostError` for a record that
    cannot be read."""
    done = store.read(paths)
    # A soft-reboot keeps the record of the time before it.
    before = done is not None and not store.is_of(done, boot_id)
    if before:
        done = None
    found = replace(_units(paths, config_file), hidden=_HIDDEN if os.geteuid() else "")
    runs = (run for run in history.of_boot(paths, boot_id) if run.result in _SUCCESS)
    now = replace(
        found, left=lock.left(paths), applied=tuple(run for run in runs if run.action == "apply"),
        foreign=machine.discarded(paths), before=before,
        pull=systemd.failed_pull(found.units.get(systemd.IMAGE, Unit()).result),
        daemon=daemon_status.look(paths),
        low=tuple(it for it in space.of_own_files(paths) if it.is_low),
    )  # fmt: skip
    now = _with_request(paths, config_file, now)
    if done is None or done.in_force is None:
        return done, now
    return _since(paths, config_file, done, now, done.in_force.holds)


def _units(paths: Paths, config_file: Path | None) -> Now:
    every = units.look((systemd.UNIT, systemd.IMAGE, systemd.RETRY, systemd.HOST_TUNED))
    starting = [every[name].state for name in (systemd.UNIT, systemd.RETRY) if name in every]
    shown = {name: unit for name, unit in every.items() if name != systemd.RETRY}
    now = Now(shown, stored=_stored(every))
    gate = config.gate(paths, config_file)
    gated = gate == "closed" and "activating" in starting
    # Started by hand, the unit is activating beside a kubelet that does not wait for it.
    gated = gated and "active" not in [every[name].state for name in now.workloads]
    return replace(now, gate=gate, gated=gated)


def _stored(every: dict[str, Unit]) -> Stored | None:
    """What systemd keeps open; it is only asked for names if there is something."""
    if systemd.UNIT not in every:
        return None
    return systemd.stored(systemd.UNIT) if every[systemd.UNIT].stored else Stored(0)


def _with_request(paths: Paths, config_file: Path | None, now: Now) -> Now:
    try:
        loaded = config.load(paths, config_file)
        requested = settled.read(paths, loaded)
    except BootError as error:
        return replace(now, unread=error.message)
    named = Named(
        requested.image, requested.image_named_in, requested.profile, requested.named_in,
        config.overruled(loaded, requested),
    )  # fmt: skip
    return replace(now, named=named)


def _since(
    paths: Paths, config_file: Path | None, done: Record, now: Now, requires: tuple[Hold, ...]
) -> tuple[Record, Now]:
    """What has become of the profile that is applied, and of what it `requires` to be held."""
    # While TuneD runs in our container, it may be the one that is found.
    if done.result is not Result.APPLYING and (other := operand.running(paths)):
        now = replace(now, other=(other.finding(),))
    now = replace(now, holds=holds.look(paths, requires, now.stored), latency=_latency(paths))
    try:
        loaded = config.load(paths, config_file)
    except BootError as error:
        return now.updated(done), replace(now, waits=_unchecked(error))
    try:
        now = replace(now, waits=_waits(paths, loaded, done))
        now = replace(now, drifted=drift.look(paths, loaded.handover).drifted)
    except BootError as error:
        # `hidden` says what other users do not see.
        if not (now.hidden and isinstance(error.__cause__, PermissionError)):
            now = replace(now, waits=_unchecked(error))
    return now.updated(done, loaded.accept), now


def _unchecked(error: BootError) -> str:
    return f"{UNCHECKED}{error.message}"


def _latency(paths: Paths) -> int | None:
    try:
        return holds.effective_latency(paths)
    except (OSError, struct.error):
        return None


def _waits(paths: Paths, loaded: config.Config, done: Record) -> str:
    try:
        decision, requested = situation.pending(paths, loaded)
    except BootError as error:
        return _unchecked(error)
    fallback = ("image-stand-in", requested.image)
    if decision.waits is Waits.IMAGE and fallback in (
        (it.kind, it.subject) for it in done.findings
    ):
        # Nothing has changed: the last run could not get this image, and has a finding about it.
        return ""
    if decision.waits is Waits.NOTHING and decision.action is Action.KEEP:
        return ""
    if not decision.advice or decision.advice in (it.advice for it in done.findings):
        return decision.reason
    return f"{decision.reason}\n{decision.advice}"
