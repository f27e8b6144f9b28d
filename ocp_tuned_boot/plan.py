"""Decides what a run is to do, before it does anything. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ocp_tuned_boot.record.model import Action, Decision, InForce, Waits, Why
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.tuned.judge import Result


@dataclass(frozen=True)
class Situation:
    """What a decision depends on besides what is requested and what is applied.

    `on_change` and `late` are boot.conf's; `workloads` are those that run already; `tuned`: a
    profile was applied in this boot, even if none is recorded now.
    """

    why: Why = Why.START
    on_change: str = "next-boot"
    late: str = "apply"
    workloads: Sequence[str] = ()
    tuned: bool = False


def decide(requested: Inputs, in_force: InForce | None, now: Situation) -> Decision:
    """`in_force` is what a run has recorded as applied, or None.

    A record of another boot says nothing about this one: the kernel has forgotten all settings.
    """
    if in_force is None or in_force.boot_id != requested.boot_id:
        return _first(now)
    since = f"{in_force.profile!r} was applied at {in_force.since}"
    if now.why is Why.FORCE:
        return Decision(Action.APPLY, f"requested with --force; {since}", guarded=True)
    if in_force.fingerprint != requested.fingerprint:
        return _changed(now, f"the requested profile has changed since {since}")
    if in_force.image != requested.image and now.why is Why.RELOAD:
        return Decision(Action.APPLY, f"the image has changed since {since}", guarded=True)
    reason = f"{since} (degraded)" if in_force.result is Result.DEGRADED else since
    if in_force.image == requested.image:
        return Decision(Action.KEEP, f"{reason}; nothing has changed")
    # A new image with the same profile is no reason to disturb running workloads.
    words = f"{reason}; only the image has changed: it is used at the next boot or on a reload"
    return Decision(Action.KEEP, words, waits=Waits.IMAGE)


def _first(now: Situation) -> Decision:
    verb = "is" if len(now.workloads) == 1 else "are"
    late = f"{', '.join(now.workloads)} {verb} already running" if now.workloads else ""
    if late and now.late == "defer" and now.why not in (Why.RELOAD, Why.FORCE):
        reason = f"{late} (late = defer)"
        return Decision(Action.DEFER, reason, waits=Waits.FIRST)
    reason = "no profile has been applied in this boot"
    if now.tuned:
        reason = "the record of the applied profile is missing"
    if late:
        reason += f", and {late}"
    return Decision(Action.APPLY, reason, guarded=bool(late) or now.tuned)


def _changed(now: Situation, reason: str) -> Decision:
    eager = now.on_change == "apply"
    if now.why is Why.RELOAD or (eager and now.why is not Why.NOTICE):
        return Decision(Action.APPLY, reason, guarded=True)
    how = "by a reload, which follows (on_change = apply)"
    if not eager:
        how = "at the next boot, or with: systemctl reload ocp-tuned"
    return Decision(Action.DEFER, f"{reason}; it is applied {how}", waits=Waits.PROFILE)
