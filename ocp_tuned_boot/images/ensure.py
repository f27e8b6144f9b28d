"""Making an image available on this node: from Podman's store, a registry, or an archive; or a
fallback instead.

A boot must not depend on a registry. One image is requested, and what is available in the end is
that one, or a fallback with the reason why.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ocp_tuned_boot.errors import (
    BootError,
    CutOff,
    DeadlineExceeded,
    ImageError,
    NotRemoved,
    PodmanError,
)
from ocp_tuned_boot.host import messages
from ocp_tuned_boot.host.clock import Deadline, Progress
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.transfer import Part, transfer
from ocp_tuned_boot.images import archives, known
from ocp_tuned_boot.images.archives import Archive
from ocp_tuned_boot.images.known import Known
from ocp_tuned_boot.podman import credentials, pulling
from ocp_tuned_boot.podman.client import Image, Podman, Removal
from ocp_tuned_boot.requested import lastgood
from ocp_tuned_boot.requested.config import Images
from ocp_tuned_boot.requested.lastgood import LastGood
from ocp_tuned_boot.tuned import ours

log = logging.getLogger(__name__)

#: Where a fallback is available, the registry gets this share of the time allowed; where an archive
#: has the very name that is requested, one try of at most so many seconds.
SHARE = 1 / 3
PATIENCE = 10.0

#: How the names begin that Podman gives to images that were built, or loaded without a name.
LOCAL = "localhost/"
LOCAL_HINT = (
    "Build it (podman build --tag NAME), load it (podman load --input FILE), or request another "
    "image in /var/lib/ocp-tuned/image.env (or in boot.conf, [tuning] image)."
)

# The errors of containers/storage for an image that a power cut has damaged; each was seen with
# Podman 4.3 or 5.4 (tests/lab/test_fallback.py, DAMAGE). Only a layer's folder or its diff: a path
# that is missing elsewhere below a layer is one of a mounted container.
_DAMAGED = re.compile(
    r"layer not known|does not match expected|locating item named"
    r"|/overlay/[0-9a-f]+(?:/diff[^\s:]*)?: no such file|readlink \S*/overlay/l\S*: invalid arg",
    re.IGNORECASE,
)
# The error of Podman 4.3 for several of them, and of any Podman with a bug.
_PANIC = "nil pointer dereference"
_ID = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Available:
    """An image that is on the node now. `source`: `store`, `registry`, `archive` or `last-good`;
    `fallback`: why it is not the requested one, and `hint`: what to do about that; empty where it
    is."""

    image: Image
    source: str
    fallback: str = ""
    hint: str = ""


def is_damage(error: BootError, previous: str = "") -> bool:
    """Whether this error of Podman means that an image in its store is damaged. `previous`: the
    error of the previous attempt; a panic means damage only when it is repeated."""
    if not isinstance(error, PodmanError):
        return False
    again = _PANIC in error.message and _PANIC in previous
    return again or bool(_DAMAGED.search(error.message))


def digest_of(reference: str) -> str:
    """`sha256:…` of a reference by digest; empty for one by tag: that may mean another image
    today."""
    return reference.partition("@")[2]


def never_pulled(rules: Images, reference: str) -> str:
    """Why no registry is asked for this image; empty if one is."""
    if rules.pull == "never":
        return "boot.conf says pull = never"
    # Podman would ask a registry on the node itself, where any web server may answer.
    return f"no registry has images below {LOCAL}" if reference.startswith(LOCAL) else ""


def find(paths: Paths, podman: Podman, reference: str) -> Image | None:
    """The image in Podman's store, or None; an image with another digest is not it. Touches
    nothing. Raises `PodmanError`, also where the image is damaged (`is_damage`)."""
    for name in names_of(paths, reference):
        found = _called(podman, name, reference)
        if found is not None:
            return found
    return None


def names_of(paths: Paths, reference: str) -> list[str]:
    """The names by which an image may be found in the store. An image that is requested by digest
    and came from an archive has no name with this digest, but its ID was remembered."""
    ids = [each.id for each in known.read(paths) if each.reference == reference]
    return [reference, *(ids if digest_of(reference) else [])]


def _called(podman: Podman, name: str, reference: str) -> Image | None:
    found = podman.image(name)
    if found is None or (name == reference and digest_of(reference) not in ("", *found.digests)):
        return None
    return replace(found, reference=reference)


def undamaged(podman: Podman, name: str) -> Image | None:
    """The image of that name or ID; None for a damaged one, too. Raises `PodmanError`."""
    try:
        return podman.image(name)
    except PodmanError as error:
        if not is_damage(error, error.message):
            raise
        return None


def discard(paths: Paths, podman: Podman, image: str, why: BootError) -> None:
    """Removes a damaged image (a name or an ID), so that it can be pulled or loaded again; but not
    one that containers of other programs use. No other run may be using it.

    Raises `PodmanError`, `ImageError`."""
    log.error("the image %s is damaged, removing it: %s", image, why.message)
    # A container of this program that a power cut left behind would keep it in use.
    try:
        ours.remove_all(podman, paths)
        ours.remove_check(podman, paths)
    except NotRemoved as error:
        log.error("%s", error)
    try:
        if podman.remove_image(image) is not Removal.IN_USE:
            return
    except PodmanError as error:
        # Podman refuses to remove an image with several names by its ID; or it is too damaged.
        log.info("%s", error)
    # Only by its ID can Podman say whose containers use it.
    users = podman.users(image) if _ID.match(image) else ("unknown",)
    if users:
        raise ImageError(
            f"the image {image} is damaged ({why.message}) and cannot be removed: it is used by "
            f"containers of other programs ({', '.join(users)})",
            f"Remove it when these containers are gone: podman rmi --force {image}",
        )
    podman.remove_image(image, force=True)


class ImageSession:
    """Makes one requested image available. It lives as long as a run, and remembers from attempt to
    attempt which archives could not be loaded.

    `repair`: whether a damaged image may be removed, which only a run may do: it is alone.
    `cut_off`: whether a pull was cut off by the deadline, also if a fallback is used.
    """

    def __init__(
        self, paths: Paths, rules: Images, reference: str, progress: Progress, *,
        repair: bool = True,
    ) -> None:  # fmt: skip
        self._paths = paths
        self._rules = rules
        self._reference = reference
        self._progress = progress
        self._repair = repair
        self.cut_off = False
        self._unusable: set[Path] = set()
        # Reading a large one takes a while, and an attempt asks several times.
        self._archives_known: archives.Known = {}
        self._not_loaded: ImageError | None = None
        self._previous = ""

    def ensure(self, podman: Podman, previous: str = "") -> Available:
        """The requested image, or a fallback. `previous`: the error of the previous attempt.

        Raises `ConfigurationError`, `ImageError`, `PodmanError` and `DeadlineExceeded`; a temporary
        `ImageError` is for the next attempt.
        """
        reference, self._previous = self._reference, previous
        self._rules.check(reference)
        with self._progress.step("image", f"Looking for the image {reference}…"):
            found = self._in_store(podman, reference)
        # There is no newer image of the same digest.
        newer = self._rules.pull == "newer" and not digest_of(reference)
        if found is not None and (not newer or never_pulled(self._rules, reference)):
            return Available(found, "store")
        if digest_of(reference):
            # A digest means one image only, so no registry is needed.
            loaded = self._from_archive(podman, reference)
            if loaded is not None:
                return Available(loaded, "archive")
        try:
            pulled = self._pull(podman.until(self._allowed(podman, found)), found)
            # With `newer` Podman may have found nothing newer, or no registry.
            same = found is not None and found.id == pulled.id
            return Available(pulled, "store" if same else "registry")
        except (ImageError, DeadlineExceeded) as error:
            self.cut_off = isinstance(error, CutOff)
            if found is not None:
                log.warning("%s; using the image on the node", error.message)
                return Available(found, "store")
            if previous and isinstance(error, DeadlineExceeded):
                # It does not say what the time was spent on; `CutOff` says how far it was.
                words = f"{error.message}; the attempt before failed: {previous}"
                message = words if self.cut_off else previous
                error = type(error)(message, pulling.SILENT)
            return self._fallback(podman, error)

    def _in_store(self, podman: Podman, reference: str) -> Image | None:
        """As `find`, but a damaged image is removed, and so is not there."""
        for name in names_of(self._paths, reference):
            try:
                found = _called(podman, name, reference)
            except PodmanError as error:
                if not (self._repair and is_damage(error, self._previous)):
                    raise
                discard(self._paths, podman, name, error)
                continue
            if found is not None:
                return found
        return None

    # From a registry.

    def _pull(self, podman: Podman, found: Image | None) -> Image:
        """Pulls the image, and remembers that unless it is the one that was there (`found`)."""
        reference = self._reference
        reason = never_pulled(self._rules, reference)
        if reason:
            hint = LOCAL_HINT if reference.startswith(LOCAL) else ""
            raise ImageError(f"the image {reference} is not on the node, and {reason}", hint)
        with transfer(self._progress, "pull", f"Pulling the image {reference}") as report:
            policy = "newer" if self._rules.pull == "newer" else "missing"
            headers = credentials.headers(self._paths, reference)
            podman.pull(reference, policy, headers, report)
            image = podman.image(reference)
        if image is None:
            raise ImageError(f"the image {reference} is not in the store, although it was pulled")
        if digest_of(reference) not in ("", *image.digests):
            digests = ", ".join(image.digests)
            raise ImageError(f"the image {reference} was pulled and has another digest: {digests}")
        if found is None or found.id != image.id:
            known.remember(self._paths, Known(reference, image.id))
        return image

    def _allowed(self, podman: Podman, found: Image | None) -> Deadline:
        """A registry that does not answer must not take the time that another step needs."""
        deadline, share = self._progress.deadline, max(0.0, self._registry_time())
        if found is None and any(it.has(self._reference) for it in self._archives()):
            return deadline.within(min(PATIENCE, share))
        if found is not None or self._has_fallback(podman):
            return deadline.within(share)
        return deadline

    def _registry_time(self) -> float:
        """For so many more seconds the registry is tried again; negative when they are over."""
        deadline = self._progress.deadline
        return deadline.within(deadline.seconds).seconds - deadline.seconds * (1 - SHARE)

    # From an archive.

    def _archives(self) -> Iterator[Archive]:
        found = archives.all_of(self._paths, self._rules.archives, self._archives_known)
        return (it for it in found if it.path not in self._unusable)

    def _from_archive(self, podman: Podman, reference: str) -> Image | None:
        """The image of that name or digest, loaded from the first archive that has it whole."""
        for archive in self._archives():
            if archive.has(reference):
                loaded = self._load(podman, archive, reference)
                if loaded is not None:
                    return loaded
        return None

    def _load(self, podman: Podman, archive: Archive, reference: str) -> Image | None:
        """That image of an archive, or its first one where `reference` is empty; None where it
        cannot be loaded, which is logged. Images that were not there before are remembered."""
        before = [undamaged(podman, name) for name in archive.names]
        what = reference or "without a name"
        words = f"Loading the image {what} from {archive.path}"
        try:
            with transfer(self._progress, "load", words) as report:
                names = podman.load(archive.path, report, _parts(archive, reference))
        except ImageError as error:
            log.error("%s", error)
            self._unusable.add(archive.path)
            self._not_loaded = error
            return None
        images = [it for it in (podman.image(name) for name in names) if it is not None]
        found = _which(podman, images, reference)
        ids = {it.id for it in before if it is not None}
        new = [Known(it.reference, it.id) for it in images if it.id not in ids]
        if found is not None and digest_of(reference):
            new.insert(0, Known(reference, found.id))
        known.remember(self._paths, *dict.fromkeys(new))
        if found is None:
            log.error(
                "%s: the image %s is not in it, although its index names it", archive.path, what
            )
            self._unusable.add(archive.path)
        return found

    # A fallback.

    def _last_good(self) -> LastGood | None:
        good = lastgood.read(self._paths)
        if good is None or (self._rules.require_digest and not digest_of(good.image)):
            return None
        return good

    def _has_fallback(self, podman: Podman) -> bool:
        """Whether there is one now, not whether there once was."""
        if self._rules.fallback == "none":
            return False
        good = self._last_good()
        if good is not None and undamaged(podman, good.image_id) is not None:
            return True
        return any(
            (good is not None and it.has(good.image))
            or not (self._rules.require_digest or it.foreign)
            for it in self._archives()
        )

    def _fallback(self, podman: Podman, error: BootError) -> Available:
        """What is used instead of an image that cannot be pulled. Raises `error` where there is
        nothing, or while there is time to try the registry again."""
        loaded = self._from_archive(podman, self._reference)
        if loaded is not None:
            # The requested name. Whether the registry has another image by that name is unknown.
            log.warning("%s; using the one in an archive on the node", error.message)
            return Available(loaded, "archive")
        has_fallback = self._has_fallback(podman)
        if error.temporary and (not has_fallback or self._registry_time() > 0):
            raise self._with_archive(error)
        for image, source in self._candidates(podman) if has_fallback else ():
            log.warning("using the image %s instead", image.reference,
                        extra=messages.FALLBACK.extra(image=image.reference))  # fmt: skip
            reason = f"{error.message}; {image.reference} is used instead"
            return Available(image, source, reason, error.hint)
        if isinstance(error, DeadlineExceeded) and not self._progress.deadline.passed():
            # The registry was cut short for a fallback that cannot be used: it gets the rest.
            return Available(self._pull(podman, None), "registry")
        raise self._with_archive(error)

    def _with_archive(self, error: BootError) -> BootError:
        """The error of a pull, with why an archive on this node could not be loaded: where the
        store is full, that is the cause, and not a registry."""
        loading = self._not_loaded
        if loading is None or not isinstance(error, ImageError):
            return error
        if loading.hint:
            return ImageError(loading.message, loading.hint, temporary=error.temporary)
        return ImageError(
            f"{loading.message}; {error.message}", error.hint, temporary=error.temporary
        )  # fmt: skip

    def _candidates(self, podman: Podman) -> Iterator[tuple[Image, str]]:
        """The last image that worked, which is known to suit this node; else one of an archive."""
        good = self._last_good()
        if good is not None:
            # By its ID: its name may mean another image now.
            found = self._in_store(podman, good.image_id)
            if found is not None:
                yield replace(found, reference=good.image), "last-good"
            loaded = self._from_archive(podman, good.image)
            if loaded is not None:
                yield loaded, "archive"
        for archive in () if self._rules.require_digest else self._archives():
            if archive.foreign:
                continue  # Its images are of any kind.
            loaded = self._load(podman, archive, next(iter(archive.names), ""))
            if loaded is not None:
                yield loaded, "archive"


def _parts(archive: Archive, reference: str) -> tuple[Part, ...]:
    """What is loaded of an archive. Raises `ImageError`."""
    from ocp_tuned_boot.images import selection  # noqa: PLC0415  # rarely needed, slow to import

    try:
        return selection.parts(archive.path, reference)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot load {archive.path}: {error}") from error


def _which(podman: Podman, loaded: list[Image], reference: str) -> Image | None:
    """That one of the images that were loaded."""
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
