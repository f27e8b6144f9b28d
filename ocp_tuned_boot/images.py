"""Having the image: it is on the node, or pulled, or in an archive, or another one stands in.

A boot must not depend on a registry: one image is asked for, and what is had in the end is that
one, or a stand-in with the reason why.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ocp_tuned_boot import archives, brought, credentials, lastgood
from ocp_tuned_boot.config import Images
from ocp_tuned_boot.errors import (
    BootError,
    ConfigurationError,
    DeadlineExceeded,
    ImageError,
    PodmanError,
)
from ocp_tuned_boot.paths import Paths
from ocp_tuned_boot.podman import Image, Podman
from ocp_tuned_boot.progress import Progress

log = logging.getLogger(__name__)

#: Where something may stand in, a registry is asked for this share of the time allowed; where an
#: archive has the very name that is asked for, once, and for so many seconds.
SHARE = 1 / 3
PATIENCE = 10.0

# What containers/storage says of an image that a power cut has damaged; each was seen with Podman
# 4.3 or 5.4, tests/lab/test_damage.py has them. "nil pointer" is what 4.3 makes of several.
_DAMAGED = re.compile(
    r"layer not known|nil pointer dereference|does not match expected|locating item named"
    r"|/overlay/[0-9a-f]+\S*: no such file|exec format error",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Had:
    """An image that is on the node now. `source`: `store`, `registry`, `archive` or `last-good`;
    `stand_in`: why it is not the one asked for, empty where it is."""

    image: Image
    source: str
    stand_in: str = ""


def is_damage(error: BootError) -> bool:
    """Whether this is what Podman says when an image in its store is broken."""
    return isinstance(error, PodmanError) and bool(_DAMAGED.search(error.message))


def digest_of(reference: str) -> str:
    """`sha256:…` of a reference by digest; empty for one by tag: that may mean another image
    today."""
    return reference.partition("@")[2]


def have(
    paths: Paths, podman: Podman, asked: str, rules: Images, progress: Progress, before: str = ""
) -> Had:
    """The image asked for, or what stands in for it. `before`: why the attempt before has failed.

    Raises `ConfigurationError`, `ImageError`, `PodmanError` and `DeadlineExceeded`; an
    `ImageError` that may pass is for the next attempt.
    """
    if rules.require_digest and not digest_of(asked):
        raise ConfigurationError(
            f"found the image {asked!r}, expected one by its digest (…@sha256:…): "
            "boot.conf says require_digest = yes"
        )
    with progress.step("image", f"Looking for the image {asked}…"):
        found = in_store(paths, podman, asked)
    if found is not None and rules.pull != "newer":
        return Had(found, "store")
    if digest_of(asked):
        # Nothing else can be meant by it, so no registry is needed.
        loaded = _from_archive(paths, podman, asked, progress)
        if loaded is not None:
            return Had(loaded, "archive")
    try:
        pulled = _pulled(paths, podman, asked, rules, progress)
        # With `newer` Podman may have found nothing newer, or nobody to ask.
        same = found is not None and found.id == pulled.id
        return Had(pulled, "store" if same else "registry")
    except (ImageError, DeadlineExceeded) as error:
        if found is not None:
            log.warning("%s; the one on the node is taken", error.message)
            return Had(found, "store")
        if before and isinstance(error, DeadlineExceeded):
            # That the time is over says nothing of what it went into.
            error = DeadlineExceeded(before, error.hint)
        return _instead(paths, podman, asked, rules, error, progress)


def in_store(paths: Paths, podman: Podman, reference: str) -> Image | None:
    """The image in Podman's store. A damaged one is removed, and so it is not there; one whose
    digest is another neither. Raises `PodmanError`."""
    # One by digest that came from an archive has no name there that it could be found by.
    known = [each.id for each in brought.read(paths) if each.reference == reference]
    for name in [reference, *(known if digest_of(reference) else [])]:
        try:
            found = podman.image(name)
        except PodmanError as error:
            if not is_damage(error):
                raise
            discard(podman, name, error)
            continue
        if found is not None and digest_of(reference) in ("", *found.digests):
            return found
    return None


def discard(podman: Podman, reference: str, why: BootError) -> None:
    """Removes a damaged image, so that it can be had again. Raises `PodmanError`."""
    log.error("the image %s is damaged, and is removed: %s", reference, why.message)
    podman.remove_image(reference, force=True)


def fetch(paths: Paths, podman: Podman, reference: str, rules: Images, progress: Progress) -> Image:
    """Pulls an image, and takes down that it was brought here. Raises `ImageError`,
    `DeadlineExceeded`, `PodmanError`, `HostError`."""
    with progress.step("pull", f"Pulling the image {reference}…"):
        policy = "newer" if rules.pull == "newer" else "missing"
        headers = credentials.headers(paths)
        podman.pull(reference, policy, headers, progress.tell)
        image = podman.image(reference)
    if image is None:
        raise ImageError(f"the image {reference} is not in the store, although it was pulled")
    if digest_of(reference) not in ("", *image.digests):
        raise ImageError(
            f"the image {reference} was pulled and has another digest: {', '.join(image.digests)}"
        )
    brought.remember(paths, reference, image.id)
    return image


def _pulled(paths: Paths, podman: Podman, asked: str, rules: Images, progress: Progress) -> Image:
    if rules.pull == "never":
        raise ImageError(f"the image {asked} is not on the node, and boot.conf says pull = never")
    deadline = progress.deadline
    # A registry that does not answer must not take the time that another step needs.
    if _has_archive(paths, asked):
        deadline = deadline.within(PATIENCE)
    elif rules.fallback != "none" and _may_stand_in(paths):
        deadline = deadline.within(max(0.0, _to_insist(progress)))
    return fetch(paths, podman.until(deadline), asked, rules, progress)


def _to_insist(progress: Progress) -> float:
    """For so many more seconds the registry is asked again."""
    whole = progress.deadline.seconds
    return progress.deadline.within(whole).seconds - whole * (1 - SHARE)


# What stands in.


def _has_archive(paths: Paths, reference: str) -> bool:
    return any(reference in archive.names for archive in archives.all_of(paths))


def _may_stand_in(paths: Paths) -> bool:
    return lastgood.read(paths) is not None or any(True for _ in archives.all_of(paths))


def _instead(
    paths: Paths, podman: Podman, asked: str, rules: Images, error: BootError, progress: Progress
) -> Had:
    """Raises the error again where there is nothing, or still time to ask the registry."""
    loaded = _from_archive(paths, podman, asked, progress)
    if loaded is not None:
        # The name asked for; whether the registry has another by that name today nobody can tell.
        log.warning("%s; an archive on the node has it", error.message)
        return Had(loaded, "archive")
    may_stand_in = rules.fallback != "none" and _may_stand_in(paths)
    if error.may_pass and (not may_stand_in or _to_insist(progress) > 0):
        raise error
    for had in _stand_ins(paths, podman, progress) if may_stand_in else ():
        reason = f"{error.message}; {had.image.reference} stands in for it"
        return Had(had.image, had.source, reason)
    raise error


def _stand_ins(paths: Paths, podman: Podman, progress: Progress) -> Iterator[Had]:
    """The last image that worked, which is known to suit this node; else one of an archive."""
    good = lastgood.read(paths)
    if good is not None:
        # By its ID: its name may mean another one by now.
        found = in_store(paths, podman, good.image_id)
        if found is not None:
            yield Had(Image(good.image, found.id, found.digests), "last-good")
        loaded = _from_archive(paths, podman, good.image, progress)
        if loaded is not None:
            yield Had(loaded, "archive")
    for archive in archives.all_of(paths):
        for name in archive.names[:1]:
            loaded = _from_archive(paths, podman, name, progress)
            if loaded is not None:
                yield Had(loaded, "archive")


def _from_archive(paths: Paths, podman: Podman, reference: str, progress: Progress) -> Image | None:
    """The image of that name or digest, loaded from the first archive that has it whole."""
    digest = digest_of(reference)
    for archive in archives.all_of(paths):
        if reference not in archive.names and (not digest or digest not in archive.digests):
            continue
        try:
            with progress.step("load", f"Loading the image {reference} from {archive.path}…"):
                names = podman.load(archive.path)
        except (ImageError, PodmanError) as error:
            log.error("%s", error)
            continue
        for name in (reference, *names):
            found = podman.image(name)
            if found is not None and digest in ("", *found.digests):
                brought.remember(paths, reference, found.id)
                return Image(reference, found.id, found.digests)
    return None


# What does not have to stay.


def prune(paths: Paths, podman: Podman, current: str, keep: int) -> tuple[str, ...]:
    """Removes what this program has brought, but the last `keep`, the current one (an ID) and the
    last that worked; never one that is in use. Returns the references of those removed.

    Raises `PodmanError`, `DeadlineExceeded`, `HostError`.
    """
    known = brought.read(paths)
    good = lastgood.read(paths)
    needed = {current, good.image_id if good else current}
    ids = list(dict.fromkeys([current, *(each.id for each in known)]))
    removed = []
    for image_id in ids[keep:]:
        if image_id in needed:
            continue
        references = [each.reference for each in known if each.id == image_id]
        # By its names: whoever has given it another one still has it.
        if all(podman.remove_image(name) for name in references):
            removed += references
            brought.forget(paths, image_id)
    return tuple(removed)
