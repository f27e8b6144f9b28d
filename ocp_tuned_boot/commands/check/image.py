"""The requested image: whether it is on the node, or will be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ocp_tuned_boot.commands.check.configuration import Configuration
from ocp_tuned_boot.commands.check.problem import Problem, problem
from ocp_tuned_boot.commands.check.request import Named
from ocp_tuned_boot.errors import ImageError
from ocp_tuned_boot.images import ensure
from ocp_tuned_boot.images.archives import Archive
from ocp_tuned_boot.requested.config import Images
from ocp_tuned_boot.tuned import layout
from ocp_tuned_boot.tuned.layout import Layout

_ARCHIVES = "put an archive of it into /var/lib/ocp-tuned-boot/images/"


def named(known: Configuration, image: Named) -> Iterator[Problem]:
    """What the reference itself says. Pure."""
    images = known.config.images
    if _is_short(image.value):
        yield problem(
            "image-short-name", image.file, image.line,
            f"{image.value!r} names no registry: which one is meant depends on registries.conf(5)",
            "Write it with its registry, such as registry.example/NAME:TAG.",
        )  # fmt: skip
    if not ensure.digest_of(image.value) and not images.require_digest:
        newer = " With pull = newer, each boot may get another one." * (images.pull == "newer")
        yield problem(
            "image-by-tag", image.file, image.line,
            f"{image.value!r} is requested by its tag, which may name another image later.{newer}",
            "To request exactly one image: NAME@sha256:DIGEST",
        )  # fmt: skip


def _is_short(reference: str) -> bool:
    """Whether the first part is no host, as Podman decides it (containers/image, reference)."""
    host, slash, _ = reference.partition("/")
    return not slash or not (set(host) & set(".:") or host == "localhost")


def available(
    images: Images, image: Named, archives: Sequence[Archive], failed: str = ""
) -> Iterator[Problem]:
    """An image that is not in Podman's store: where the next boot takes it from. `failed`: why its
    last pull failed, or empty. Pure."""
    if any(each.has(image.value) for each in archives):
        return
    if why := ensure.never_pulled(images, image.value):
        is_local = image.value.startswith(ensure.LOCAL)
        pull = f"Pull it now: podman pull {image.value}; or {_ARCHIVES}"
        yield problem(
            "image-not-available", image.file, image.line,
            f"{image.value!r} is not on the node and in no archive, and {why}",
            ensure.LOCAL_HINT if is_local else pull,
        )  # fmt: skip
        return
    advice = f"To pull it now: ocp-tuned-boot image stage {image.value}"
    if failed:
        yield problem(
            "last-pull-failed", image.file, image.line,
            f"{image.value!r} is not on the node, and its last pull failed: {failed}", advice,
        )  # fmt: skip
        return
    yield problem(
        "image-to-be-pulled", image.file, image.line,
        f"{image.value!r} is not on the node: the next boot depends on its registry", advice,
    )  # fmt: skip


def contract(seen: Layout, contract: str, image: Named) -> Iterator[Problem]:
    """Whether the image contains what is required. Pure."""
    try:
        layout.check(seen, contract, image.value)
    except ImageError as error:
        yield problem("image-contract", image.file, image.line, error.message, error.hint)
