"""Decides what a run is to do, before it does anything. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ocp_tuned_boot.record.store import InForce
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.tuned.judge import Result


class Action(str, Enum):
    """`APPLY` starts TuneD; `KEEP` touches nothing, because nothing has changed; `DEFER` touches
    nothing, although something has."""

    APPLY = "apply"
    KEEP = "keep"
    DEFER = "defer"


class Why(str, Enum):
    """What has started a run: systemd, at boot or later; the path unit, where something is in
    force; `systemctl reload`; `reload --force`."""

    START = "start"
    NOTICE = "notice"
    RELOAD = "reload"
    FORCE = "force"


class Waits(str, Enum):
    """What waits for the next boot or a reload: a new image of the same profile, a changed
    profile, or, where nothing is in force yet, the first one."""

    NOTHING = ""
    IMAGE = "image"
    PROFILE = "profile"
    FIRST = "first"


@dataclass(frozen=True)
class Situation:
    """What a decision depends on besides what is asked for and what is in force.

    `on_change` and `late` are boot.conf's; `workloads` are those that run already; `tuned`: a
    profile was in force in this boot, even if none is now.
    """

    why: Why = Why.START
    on_change: str = "next-boot"
    late: str = "apply"
    workloads: Sequence[str] = ()
    tuned: bool = False


@dataclass(frozen=True)
class Decision:
    """What to do, and why, in words for the journal. `guarded`: others own settings by now."""

    action: Action
    reason: str
    guarded: bool = False
    waits: Waits = Waits.NOTHING


def decide(asked: Inputs, in_force: InForce | None, now: Situation) -> Decision:
    """`in_force` is what a run has recorded as being in force, or None.

    A record of another boot says nothing about this one: the kernel has forgotten all settings.
    """
    if in_force is None or in_force.boot_id != asked.boot_id:
        return _first(now)
    since = f"{in_force.profile!r} was applied in this boot, at {in_force.since}"
    if now.why is Why.FORCE:
        return Decision(Action.APPLY, f"it was asked for; {since}", guarded=True)
    if in_force.fingerprint != asked.fingerprint:
        return _changed(now, f"what is asked for has changed since {since}")
    if in_force.image != asked.image and now.why is Why.RELOAD:
        return Decision(Action.APPLY, f"the image has changed since {since}", guarded=True)
    word = "in force" if in_force.result is Result.APPLIED else "in force, degraded,"
    reason = f"{asked.profile!r} is {word} since {in_force.since} and nothing has changed"
    if in_force.image == asked.image:
        return Decision(Action.KEEP, reason)
    # A new image of the same profiles is no reason to disturb anybody.
    return Decision(Action.KEEP, f"{reason} but the image, which waits", waits=Waits.IMAGE)


def _first(now: Situation) -> Decision:
    late = ", ".join(now.workloads)
    if late and now.late == "defer" and now.why not in (Why.RELOAD, Why.FORCE):
        reason = f"it is late, {late} already runs (late = defer)"
        return Decision(Action.DEFER, reason, waits=Waits.FIRST)
    reason = "nothing is in force in this boot" + ("" if now.tuned else " yet")
    if late:
        reason += f", and it is late: {late} already runs"
    return Decision(Action.APPLY, reason, guarded=bool(late) or now.tuned)


def _changed(now: Situation, reason: str) -> Decision:
    eager = now.on_change == "apply"
    if now.why is Why.RELOAD or (eager and now.why is not Why.NOTICE):
        return Decision(Action.APPLY, reason, guarded=True)
    until = "a reload, which follows" if eager else "the next boot or a reload"
    words = f"{reason}, and waits for {until} (on_change = {now.on_change})"
    return Decision(Action.DEFER, words, waits=Waits.PROFILE)
