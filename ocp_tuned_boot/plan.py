"""Decides what a run is to do, before it does anything. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ocp_tuned_boot.record.model import Action, Decision, InForce, Waits, Why
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.tuned.findings import Finding
from ocp_tuned_boot.tuned.judge import Result


@dataclass(frozen=True)
class Situation:
    """What a decision depends on besides what is requested and what is applied.

    `on_change` and `late` are boot.conf's; `workloads` are those that run already; `tuned`: a
    profile was applied in this boot, even if none is recorded now; `unaffected`: nothing has
    changed that the profile of this node uses; `applied_by`: another TuneD, which has applied what
    has changed; `refused`: why TuneD cannot load what is requested, as far as that is known without
    it; `failed`: to apply this very request has failed before.
    """

    why: Why = Why.START
    on_change: str = "next-boot"
    late: str = "apply"
    workloads: Sequence[str] = ()
    tuned: bool = False
    unaffected: bool = False
    applied_by: str = ""
    refused: Finding | None = None
    failed: bool = False


def decide(requested: Inputs, in_force: InForce | None, now: Situation) -> Decision:
    """`in_force` is what a run has recorded as applied, or None.

    A record of another boot says nothing about this one: the kernel has forgotten all settings.
    """
    if in_force is None or in_force.boot_id != requested.boot_id:
        return _first(requested, now)
    since = f"{in_force.profile!r} was applied at {in_force.since}"
    same = in_force.fingerprint == requested.fingerprint
    changed = not (same or now.unaffected)
    if now.why is Why.FORCE:
        reason = f"requested with --force; {since}"
        return Decision(Action.APPLY, reason, guarded=True, changed=changed)
    if changed:
        return _changed(
            requested, in_force, now, f"the requested profile has changed since {since}"
        )
    if in_force.image != requested.image and now.why is Why.RELOAD:
        return Decision(Action.APPLY, f"the image has changed since {since}", guarded=True)
    reason = f"{since} (degraded)" if in_force.result is Result.DEGRADED else since
    if in_force.image == requested.image:
        what = "nothing has changed" if same else "only profiles have changed that it does not use"
        return Decision(Action.KEEP, f"{reason}; {what}")
    # A new image with the same profile is no reason to disturb running workloads.
    when = "at the next boot, or with: systemctl reload ocp-tuned"
    words = f"{reason}; only the image has changed: it is used {when}"
    if now.failed:
        words = f"{reason}; only the image has changed, and a reload with it has failed"
    return Decision(Action.KEEP, words, waits=Waits.IMAGE)


def is_eager(on_change: str, word: str, *, renamed: bool) -> bool:
    """Whether a change is applied at once. `on_change` is boot.conf's, `word` what the agent says
    (`inputs.ON_CHANGE`); `renamed`: another profile is requested, not the same one with other
    content."""
    if on_change != "agent":
        return on_change == "apply"
    return word == "never" or (word == "update" and renamed)


def _first(requested: Inputs, now: Situation) -> Decision:
    verb = "is" if len(now.workloads) == 1 else "are"
    late = f"{', '.join(now.workloads)} {verb} already running" if now.workloads else ""
    # As with the operator, "always" is also about the first profile.
    always = now.on_change == "agent" and requested.on_change == "always"
    if late and (now.late == "defer" or always) and now.why not in (Why.RELOAD, Why.FORCE):
        reason = f"{late} ({'the agent defers changes' if always else 'late = defer'})"
        return Decision(Action.DEFER, reason, waits=Waits.FIRST)
    reason = "no profile has been applied in this boot"
    if now.tuned:
        reason = "the record of the applied profile is missing"
    if late:
        reason += f", and {late}"
    return Decision(Action.APPLY, reason, guarded=bool(late) or now.tuned)


def _changed(requested: Inputs, in_force: InForce, now: Situation, reason: str) -> Decision:
    if now.why is Why.RELOAD:
        return Decision(Action.APPLY, reason, guarded=True, changed=True)
    if now.applied_by:
        return Decision(Action.KEEP, f"{reason}; it is applied already, by {now.applied_by}")
    renamed = in_force.profile != requested.profile
    eager = is_eager(now.on_change, requested.on_change, renamed=renamed)
    if eager and now.why is not Why.NOTICE:
        return Decision(Action.APPLY, reason, guarded=True, changed=True)
    waits = Decision(Action.DEFER, reason, waits=Waits.PROFILE, changed=True)
    if now.refused is not None:
        reason = f"{reason}; it cannot be applied: {now.refused.message}"
        return replace(waits, reason=reason, advice=now.refused.advice)
    if now.failed:
        return replace(waits, reason=f"{reason}; applying it has failed")
    how = f"by a reload, which follows (on_change = {now.on_change})"
    if not eager:
        how = "at the next boot, or with: systemctl reload ocp-tuned"
    return replace(waits, reason=f"{reason}; it is applied {how}")
