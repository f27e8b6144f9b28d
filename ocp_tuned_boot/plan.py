"""Decides what a run is to do, before it does anything. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ocp_tuned_boot.inputs import Inputs
from ocp_tuned_boot.outcome import Result
from ocp_tuned_boot.record import InForce


class Action(str, Enum):
    """`APPLY` starts TuneD; `KEEP` touches nothing."""

    APPLY = "apply"
    KEEP = "keep"


@dataclass(frozen=True)
class Decision:
    """What to do, and why, in words for the journal."""

    action: Action
    reason: str


def decide(inputs: Inputs, in_force: InForce | None) -> Decision:
    """`in_force` is what a run has recorded as being in force, or None.

    A record of another boot says nothing about this one: the kernel has forgotten all settings.
    """
    if in_force is None or in_force.boot_id != inputs.boot_id:
        return Decision(Action.APPLY, "nothing is in force in this boot yet")
    if in_force.fingerprint != inputs.fingerprint:
        return Decision(
            Action.APPLY,
            f"what is asked for has changed since {in_force.profile!r} was applied in this boot",
        )
    word = "in force" if in_force.result is Result.APPLIED else "in force, degraded,"
    return Decision(
        Action.KEEP, f"{inputs.profile!r} is {word} since {in_force.since} and nothing has changed"
    )
