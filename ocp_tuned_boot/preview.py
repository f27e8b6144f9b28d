"""What `apply` would do now (`ocp-tuned-boot plan`). Touches nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ocp_tuned_boot import situation
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import archives, ensure, known
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.record import store
from ocp_tuned_boot.record.model import Action, Decision, Standing, State
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.settings import holds
from ocp_tuned_boot.tuned import container, layout
from ocp_tuned_boot.tuned.container import ContainerSpec


@dataclass(frozen=True)
class Preview:
    """`container` is None when none would be started; `image`: where the image would come from;
    `lost`: what systemd would be given again; `notes`: what else is known to matter, a sentence
    each."""

    decision: Decision
    requested: Inputs
    image: str
    container: ContainerSpec | None
    lost: tuple[State, ...] = ()
    notes: tuple[str, ...] = ()


def preview(paths: Paths, config_file: Path | None) -> Preview:
    """Finds out what `apply` would do. Raises `BootError`."""
    config = boot_conf.load(paths, config_file)
    decision, requested = situation.pending(paths, config)
    requested = situation.beside_others(paths, config, requested)
    config.images.check(requested.image)
    notes = tuple(_notes(paths, config, requested))
    if decision.action is not Action.APPLY:
        if decision.action is Action.DEFER:
            seen = known.layout_of(paths, requested.image)
            notes += situation.search(paths, config, requested, seen).notes()
        return Preview(decision, requested, "not checked", None, _lost(paths), notes)
    with Podman(config.socket, Deadline(config.timeout)) as podman:
        image = ensure.find(paths, podman, requested.image)
    image_id = requested.image if image is None else image.id
    seen = layout.cached(paths, image_id)
    notes += situation.search(paths, config, requested, seen).notes()
    guarded = decision.guarded
    spec = container.specify(
        paths, requested.contract, image_id, seen or layout.Layout(),
        guarded=guarded, asked=requested.contract == "tuned",
    )  # fmt: skip
    source = _source(paths, config, requested.image) if image is None else "in Podman's store"
    return Preview(decision, requested, source, spec, (), notes)


def _notes(paths: Paths, config: Config, requested: Inputs) -> Iterator[str]:
    """What keeps the request, or a part of it, from having an effect."""
    yield from boot_conf.overruled(config, requested)
    state = systemd.file_state(systemd.UNIT) if paths.root == Paths().root else ""
    if state.startswith(("disabled", "masked")):
        verb = "unmask" if state.startswith("masked") else "enable"
        yield (
            f"{systemd.UNIT} is {state}: systemd does not start it at boot. "
            f"To change that: systemctl {verb} {systemd.UNIT}"
        )


def _source(paths: Paths, config: Config, reference: str) -> str:
    """Where an image that is not in Podman's store would come from (`images.ensure`)."""
    known = archives.all_of(paths, config.images.archives)
    archive = next((str(it.path) for it in known if it.has(reference)), "")
    never = ensure.never_pulled(config.images, reference)
    if archive and (ensure.digest_of(reference) or never):
        return f"to be loaded from {archive}"
    if archive:
        return f"to be pulled; or loaded from {archive}, if it cannot be pulled"
    return f"NOT on the node, and {never}" if never else "to be pulled"


def _lost(paths: Paths) -> tuple[State, ...]:
    in_force = store.in_force(paths, inputs.boot_id(paths))
    if in_force is None or not in_force.holds:
        return ()
    states = holds.look(paths, in_force.holds, systemd.stored(systemd.UNIT))
    return tuple(state for state in states if state.standing is Standing.LOST)
