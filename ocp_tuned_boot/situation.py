"""What a decision depends on, as it is on this node now."""

from __future__ import annotations

from ocp_tuned_boot import plan
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.plan import Situation
from ocp_tuned_boot.record import store
from ocp_tuned_boot.record.model import Decision, InForce, Why
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.requested.inputs import Inputs


def look(
    paths: Paths, config: Config, requested: Inputs, in_force: InForce | None, why: Why
) -> Situation:
    """Which workloads run is found out only for the first profile of a boot: after that some
    always do."""
    first = in_force is None or in_force.boot_id != requested.boot_id
    workloads = systemd.running(paths, systemd.workloads()) if first else ()
    tuned = not first or _was_tuned(paths, requested)
    return Situation(why, config.on_change, config.late, workloads, tuned)


def fallback(config: Config, in_force: InForce | None) -> str:
    """What is used instead of a profile that cannot be loaded: nothing if one is applied in this
    boot already, which stays."""
    return config.fallback_profile if in_force is None else "none"


def _was_tuned(paths: Paths, requested: Inputs) -> bool:
    """Whether a profile was applied in this boot, and is not recorded any more."""
    from ocp_tuned_boot.settings import residue  # noqa: PLC0415  # not for a run that keeps

    return bool(residue.load(paths, requested.boot_id).applied_at)


def pending(paths: Paths, config: Config) -> tuple[Decision, Inputs]:
    """What `apply` would decide now, without asking Podman. Raises `BootError`."""
    in_force = store.in_force(paths, inputs.boot_id(paths))
    requested = inputs.read(
        paths, config.contract, config.image, config.profile, fallback(config, in_force)
    )
    now = look(paths, config, requested, in_force, Why.START)
    return plan.decide(requested, in_force, now), requested
