"""Removing images that ocp-tuned-boot pulled or loaded and that are no longer needed."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ocp_tuned_boot.errors import PodmanError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import ensure, known
from ocp_tuned_boot.podman.client import Podman, Removal
from ocp_tuned_boot.requested import lastgood

log = logging.getLogger(__name__)


def needed(paths: Paths, podman: Podman, reference: str = "") -> tuple[str, ...]:
    """The IDs of the image that is requested now, by this name if any, and of the one that was
    pulled last, which may be requested next. Raises `PodmanError`."""
    names = ensure.names_of(paths, reference) if reference else []
    found = next((it for name in names if (it := ensure.undamaged(podman, name))), None)
    last = [each.id for each in known.read(paths)[:1]]
    return tuple(dict.fromkeys([*([found.id] if found else []), *last]))


def prune(
    paths: Paths, podman: Podman, current: str, keep: int, also: Iterable[str] = ()
) -> tuple[str, ...]:
    """Removes what this program pulled or loaded, except the last `keep`, the current one (an ID),
    the last that worked and `also` (IDs); never one that is in use. Returns the references of the
    removed images.

    Raises `PodmanError`, `DeadlineExceeded`, `HostError`, `Busy`.
    """
    ours = known.read(paths)
    good = lastgood.read(paths)
    kept = {current, good.image_id if good else current, *also}
    ids = list(dict.fromkeys([current, *(each.id for each in ours)]))
    removed = []
    for image_id in ids[keep:]:
        if image_id in kept:
            continue
        references = [each.reference for each in ours if each.id == image_id]
        removal = _remove(podman, image_id, references)
        if removal is Removal.REMOVED:
            removed += references
        if removal is not Removal.IN_USE:
            known.forget(paths, image_id)
    return tuple(removed)


def _remove(podman: Podman, image_id: str, references: list[str]) -> Removal:
    """Removes the names that this program gave the image: a name that others gave it stays, and the
    image with it. A damaged image stays, too, which is logged."""
    removal = Removal.MISSING
    try:
        # An image that had no name in its archive is known by its ID, which stands for all names.
        for name in (it for it in references if not it.startswith("sha256:")):
            named = podman.image(name)
            # A tag may mean another image now.
            if named is not None and named.id == image_id:
                removal = podman.remove_image(name)
                if removal is Removal.IN_USE:
                    return removal
        left = podman.image(image_id)
        if left is not None and not left.names:
            return podman.remove_image(image_id)
    except PodmanError as error:
        if not ensure.is_damage(error, error.message):
            raise
        log.warning("%s", error)
        return Removal.IN_USE
    return removal
