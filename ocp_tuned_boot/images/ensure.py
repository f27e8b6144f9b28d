"""Having the image: it is on the node, or pulled, or in an archive, or another one stands in.

A boot must not depend on a registry: one image is asked for, and what is had in the end is that
one, or a stand-in with the reason why.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ocp_tuned_boot.errors import (
    BootError,
    DeadlineExceeded,
    ImageError,
    PodmanError,
)
from ocp_tuned_boot.host.deadline import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.progress import Progress
from ocp_tuned_boot.images import archives
from ocp_tuned_boot.images import known as brought
from ocp_tuned_boot.images.archives import Archive
from ocp_tuned_boot.images.known import Brought
from ocp_tuned_boot.podman import credentials
from ocp_tuned_boot.podman.client import Image, Podman, Removal
from ocp_tuned_boot.requested import lastgood
from ocp_tuned_boot.requested.config import Images
from ocp_tuned_boot.requested.lastgood import LastGood
from ocp_tuned_boot.tuned import container

log = logging.getLogger(__name__)

#: Where something may stand in, a registry is asked for this share of the time allowed; where an
#: archive has the very name that is asked for, once, and for at most so many seconds.
SHARE = 1 / 3
PATIENCE = 10.0

# What containers/storage says of an image that a power cut has damaged; each was seen with Podman
# 4.3 or 5.4 (tests/lab/test_fallback.py, DAMAGE). Of a layer its folder or its diff: what is
# missing in a container that is mounted is the container's.
_DAMAGED = re.compile(
    r"layer not known|does not match expected|locating item named"
    r"|/overlay/[0-9a-f]+(?:/diff[^\s:]*)?: no such file",
    re.IGNORECASE,
)
# What Podman 4.3 makes of several of them, and any Podman of a mistake of its own.
_PANIC = "nil pointer dereference"
_ID = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Asked:
    """An image that is to be had, and by which rules. `before`: why the attempt before has failed;
    `useless`: archives that could not be loaded, for the attempts that follow; `mends`: whether a
    damaged one may be removed, for which nobody else may be at work."""

    reference: str
    rules: Images
    before: str = ""
    useless: set[Path] = field(default_factory=set)
    mends: bool = True


@dataclass(frozen=True)
class Had:
    """An image that is on the node now. `source`: `store`, `registry`, `archive` or `last-good`;
    `stand_in`: why it is not the one asked for, empty where it is."""

    image: Image
    source: str
    stand_in: str = ""


def is_damage(error: BootError, before: str = "") -> bool:
    """Whether this is what Podman says when an image in its store is broken. `before`: what it has
    said the time before; a panic is one only when it comes again."""
    if not isinstance(error, PodmanError):
        return False
    again = _PANIC in error.message and _PANIC in before
    return again or bool(_DAMAGED.search(error.message))


def digest_of(reference: str) -> str:
    """`sha256:…` of a reference by digest; empty for one by tag: that may mean another image
    today."""
    return reference.partition("@")[2]


def have(paths: Paths, podman: Podman, asked: Asked, progress: Progress) -> Had:
    """The image asked for, or what stands in for it.

    Raises `ConfigurationError`, `ImageError`, `PodmanError` and `DeadlineExceeded`; an
    `ImageError` that may pass is for the next attempt.
    """
    reference = asked.reference
    asked.rules.check(reference)
    with progress.step("image", f"Looking for the image {reference}…"):
        found = _sound(paths, podman, asked, reference)
    # Of a digest there is no newer one.
    if found is not None and (asked.rules.pull != "newer" or digest_of(reference)):
        return Had(found, "store")
    if digest_of(reference):
        # Nothing else can be meant by it, so no registry is needed.
        loaded = _from_archive(paths, podman, asked, reference, progress)
        if loaded is not None:
            return Had(loaded, "archive")
    try:
        allowed = _allowed(paths, podman, asked, progress, found)
        pulled = _pulled(paths, podman.until(allowed), asked, progress, found)
        # With `newer` Podman may have found nothing newer, or nobody to ask.
        same = found is not None and found.id == pulled.id
        return Had(pulled, "store" if same else "registry")
    except (ImageError, DeadlineExceeded) as error:
        if found is not None:
            log.warning("%s; the one on the node is taken", error.message)
            return Had(found, "store")
        if asked.before and isinstance(error, DeadlineExceeded):
            # That the time is over says nothing of what it went into.
            error = DeadlineExceeded(asked.before, error.hint)
        return _instead(paths, podman, asked, error, progress)


def in_store(paths: Paths, podman: Podman, reference: str) -> Image | None:
    """The image in Podman's store; one whose digest is another is not it. Touches nothing. Raises
    `PodmanError`, also where the image is damaged (`is_damage`)."""
    for name in _names(paths, reference):
        found = _called(podman, name, reference)
        if found is not None:
            return found
    return None


def _names(paths: Paths, reference: str) -> list[str]:
    """What an image may be found by: one by digest that came from an archive has no name there that
    has the digest, and yet it was taken down which one it is."""
    known = [each.id for each in brought.read(paths) if each.reference == reference]
    return [reference, *(known if digest_of(reference) else [])]


def _called(podman: Podman, name: str, reference: str) -> Image | None:
    found = podman.image(name)
    if found is None or (name == reference and digest_of(reference) not in ("", *found.digests)):
        return None
    return replace(found, reference=reference)


def _sound(paths: Paths, podman: Podman, asked: Asked, reference: str) -> Image | None:
    """As `in_store`, but that a damaged one is removed, and so it is not there."""
    for name in _names(paths, reference):
        try:
            found = _called(podman, name, reference)
        except PodmanError as error:
            if not (asked.mends and is_damage(error, asked.before)):
                raise
            discard(paths, podman, name, error)
            continue
        if found is not None:
            return found
    return None


def discard(paths: Paths, podman: Podman, image: str, why: BootError) -> None:
    """Removes a damaged image (a name or an ID), so that it can be had again; not one that somebody
    else's container has. Nobody else may be at work. Raises `PodmanError`, `ImageError`."""
    log.error("the image %s is damaged, and is removed: %s", image, why.message)
    # What a power cut has left of ours would keep it in use.
    container.remove_ours(podman, paths)
    container.remove_check(podman, paths)
    try:
        if podman.remove_image(image) is not Removal.IN_USE:
            return
    except PodmanError as error:
        # By its ID one with several names is refused; and it may be too broken for that.
        log.info("%s", error)
    # By a name it cannot be told whose containers have it.
    users = podman.users(image) if _ID.match(image) else ("unknown",)
    if users:
        raise ImageError(
            f"the image {image} is damaged ({why.message}) and cannot be removed: containers "
            f"that are not ours have it ({', '.join(users)})",
            f"Remove it when nobody needs it: podman rmi --force {image}",
        )
    podman.remove_image(image, force=True)


# From a registry.


def _pulled(
    paths: Paths, podman: Podman, asked: Asked, progress: Progress, found: Image | None
) -> Image:
    """Pulls the image. It was brought here unless it is what was there before (`found`)."""
    reference, rules = asked.reference, asked.rules
    if rules.pull == "never":
        raise ImageError(
            f"the image {reference} is not on the node, and boot.conf says pull = never"
        )
    with progress.step("pull", f"Pulling the image {reference}…"):
        policy = "newer" if rules.pull == "newer" else "missing"
        podman.pull(reference, policy, credentials.headers(paths), progress.tell)
        image = podman.image(reference)
    if image is None:
        raise ImageError(f"the image {reference} is not in the store, although it was pulled")
    if digest_of(reference) not in ("", *image.digests):
        raise ImageError(
            f"the image {reference} was pulled and has another digest: {', '.join(image.digests)}"
        )
    if found is None or found.id != image.id:
        brought.remember(paths, Brought(reference, image.id))
    return image


def _allowed(
    paths: Paths, podman: Podman, asked: Asked, progress: Progress, found: Image | None
) -> Deadline:
    """A registry that does not answer must not take the time that another step needs."""
    deadline, share = progress.deadline, max(0.0, _to_insist(progress))
    if found is None and any(it.has(asked.reference) for it in _usable(paths, asked)):
        return deadline.within(min(PATIENCE, share))
    if found is not None or _may_stand_in(paths, podman, asked):
        return deadline.within(share)
    return deadline


def _to_insist(progress: Progress) -> float:
    """For so many more seconds the registry is asked again."""
    whole = progress.deadline.seconds
    return progress.deadline.within(whole).seconds - whole * (1 - SHARE)


# What stands in.


def _usable(paths: Paths, asked: Asked) -> Iterator[Archive]:
    return (it for it in archives.all_of(paths) if it.path not in asked.useless)


def _last_good(paths: Paths, asked: Asked) -> LastGood | None:
    good = lastgood.read(paths)
    if good is None or (asked.rules.require_digest and not digest_of(good.image)):
        return None
    return good


def _may_stand_in(paths: Paths, podman: Podman, asked: Asked) -> bool:
    """Whether there is anything to take: not what was there once."""
    if asked.rules.fallback == "none":
        return False
    good = _last_good(paths, asked)
    if good is not None and _there(podman, good.image_id) is not None:
        return True
    return any(
        (good is not None and it.has(good.image)) or not asked.rules.require_digest
        for it in _usable(paths, asked)
    )


def _there(podman: Podman, name: str) -> Image | None:
    """None for a damaged one, too."""
    try:
        return podman.image(name)
    except PodmanError as error:
        if not is_damage(error, error.message):
            raise
        return None


def _instead(
    paths: Paths, podman: Podman, asked: Asked, error: BootError, progress: Progress
) -> Had:
    """Raises the error again where there is nothing, or still time to ask the registry."""
    loaded = _from_archive(paths, podman, asked, asked.reference, progress)
    if loaded is not None:
        # The name asked for; whether the registry has another by that name today nobody can tell.
        log.warning("%s; an archive on the node has it", error.message)
        return Had(loaded, "archive")
    may_stand_in = _may_stand_in(paths, podman, asked)
    if error.may_pass and (not may_stand_in or _to_insist(progress) > 0):
        raise error
    for had in _stand_ins(paths, podman, asked, progress) if may_stand_in else ():
        reason = f"{error.message}; {had.image.reference} stands in for it"
        return Had(had.image, had.source, reason)
    if isinstance(error, DeadlineExceeded) and not progress.deadline.passed():
        # The registry was cut short for something that is of no use: it has all that is left.
        return Had(_pulled(paths, podman, asked, progress, None), "registry")
    raise error


def _stand_ins(paths: Paths, podman: Podman, asked: Asked, progress: Progress) -> Iterator[Had]:
    """The last image that worked, which is known to suit this node; else one of an archive."""
    good = _last_good(paths, asked)
    if good is not None:
        # By its ID: its name may mean another one by now.
        found = _sound(paths, podman, asked, good.image_id)
        if found is not None:
            yield Had(replace(found, reference=good.image), "last-good")
        loaded = _from_archive(paths, podman, asked, good.image, progress)
        if loaded is not None:
            yield Had(loaded, "archive")
    for archive in () if asked.rules.require_digest else _usable(paths, asked):
        name = next(iter(archive.names), "")
        loaded = _loaded(paths, podman, asked, archive, name, progress)
        if loaded is not None:
            yield Had(loaded, "archive")


def _from_archive(
    paths: Paths, podman: Podman, asked: Asked, reference: str, progress: Progress
) -> Image | None:
    """The image of that name or digest, loaded from the first archive that has it whole."""
    for archive in _usable(paths, asked):
        if archive.has(reference):
            loaded = _loaded(paths, podman, asked, archive, reference, progress)
            if loaded is not None:
                return loaded
    return None


def _loaded(
    paths: Paths, podman: Podman, asked: Asked, archive: Archive, reference: str, progress: Progress
) -> Image | None:  # fmt: skip
    """That image of an archive, or its first one where `reference` is empty; None where it cannot
    be loaded, which is told. All that was not there before was brought here."""
    before = {it.id for it in (_there(podman, name) for name in archive.names) if it is not None}
    what = reference or "without a name"
    try:
        with progress.step("load", f"Loading the image {what} from {archive.path}…"):
            names = podman.load(archive.path)
    except ImageError as error:
        log.error("%s", error)
        asked.useless.add(archive.path)
        return None
    images = [it for it in (podman.image(name) for name in names) if it is not None]
    found = _which(podman, images, reference)
    new = [Brought(it.reference, it.id) for it in images if it.id not in before]
    if found is not None and digest_of(reference):
        new.insert(0, Brought(reference, found.id))
    brought.remember(paths, *dict.fromkeys(new))
    if found is None:
        log.error("%s: found no image %s in it when it was loaded", archive.path, what)
        asked.useless.add(archive.path)
    return found


def _which(podman: Podman, loaded: list[Image], reference: str) -> Image | None:
    """That one of those that were loaded."""
    digest = digest_of(reference)
    if not reference:
        return next(iter(loaded), None)
    if not digest:
        return podman.image(reference)
    exported = archives.exported_as(reference)
    for image in loaded:
        if digest in image.digests or exported in (image.reference, *image.names):
            return replace(image, reference=reference)
    return None


# What does not have to stay.


def wanted(paths: Paths, podman: Podman, reference: str = "") -> tuple[str, ...]:
    """The IDs of what is asked for by now, by this name if any, and of what was brought last: that
    may be asked for next. Raises `PodmanError`."""
    names = _names(paths, reference) if reference else []
    found = next((it for name in names if (it := _there(podman, name))), None)
    last = [each.id for each in brought.read(paths)[:1]]
    return tuple(dict.fromkeys([*([found.id] if found else []), *last]))


def prune(
    paths: Paths, podman: Podman, current: str, keep: int, also: Iterable[str] = ()
) -> tuple[str, ...]:
    """Removes what this program has brought, but the last `keep`, the current one (an ID), the last
    that worked and `also` (IDs); never one that is in use. Returns the references of those removed.

    Raises `PodmanError`, `DeadlineExceeded`, `HostError`, `Busy`.
    """
    known = brought.read(paths)
    good = lastgood.read(paths)
    needed = {current, good.image_id if good else current, *also}
    ids = list(dict.fromkeys([current, *(each.id for each in known)]))
    removed = []
    for image_id in ids[keep:]:
        if image_id in needed:
            continue
        references = [each.reference for each in known if each.id == image_id]
        removal = _removed(podman, image_id, references)
        if removal is Removal.REMOVED:
            removed += references
        if removal is not Removal.IN_USE:
            brought.forget(paths, image_id)
    return tuple(removed)


def _removed(podman: Podman, image_id: str, references: list[str]) -> Removal:
    """By those of its names that we have given it: whoever has given it another one still has it.
    One that is damaged stays, and is told of."""
    removal = Removal.MISSING
    try:
        # What an archive had no name for is called by its ID, which stands for all names.
        for name in (it for it in references if not it.startswith("sha256:")):
            named = podman.image(name)
            # A tag may mean another image by now.
            if named is not None and named.id == image_id:
                removal = podman.remove_image(name)
                if removal is Removal.IN_USE:
                    return removal
        left = podman.image(image_id)
        if left is not None and not left.names:
            return podman.remove_image(image_id)
    except PodmanError as error:
        if not is_damage(error, error.message):
            raise
        log.warning("%s", error)
        return Removal.IN_USE
    return removal
