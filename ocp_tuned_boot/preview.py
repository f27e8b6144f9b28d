"""What `apply` would do now (`ocp-tuned-boot plan`). Touches nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ocp_tuned_boot import situation
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import ensure
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.record import store
from ocp_tuned_boot.record.model import Action, Decision, Standing, State
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.settings import holds
from ocp_tuned_boot.tuned import container, layout
from ocp_tuned_boot.tuned.container import ContainerSpec


@dataclass(frozen=True)
class Preview:
    """`container` is None when none would be started; `image`: where the image would come from;
    `lost`: what systemd would be given again."""

    decision: Decision
    requested: Inputs
    image: str
    container: ContainerSpec | None
    lost: tuple[State, ...] = ()


def preview(paths: Paths, config_file: Path | None) -> Preview:
    """Finds out what `apply` would do. Raises `BootError`."""
    config = boot_conf.load(paths, config_file)
    decision, requested = situation.pending(paths, config)
    config.images.check(requested.image)
    if decision.action is not Action.APPLY:
        return Preview(decision, requested, "not checked", None, _lost(paths))
    with Podman(config.socket, Deadline(config.timeout)) as podman:
        image = ensure.find(paths, podman, requested.image)
    if image is None:
        source, image_id = "to be pulled", requested.image
    else:
        source, image_id = "in Podman's store", image.id
    seen = layout.cached(paths, image_id) or layout.Layout()
    guarded = decision.guarded
    spec = container.specify(paths, requested.contract, image_id, seen, guarded=guarded)
    return Preview(decision, requested, source, spec)


def _lost(paths: Paths) -> tuple[State, ...]:
    in_force = store.in_force(paths, inputs.boot_id(paths))
    if in_force is None or not in_force.holds:
        return ()
    states = holds.look(paths, in_force.holds, systemd.stored(systemd.UNIT))
    return tuple(state for state in states if state.standing is Standing.LOST)
