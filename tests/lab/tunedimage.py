"""Container images with Debian's TuneD, and container storage that holds them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tests.lab import cache, debian, nspawn, rootfs
from tests.lab.activity import activity

_RECIPE = debian.Recipe("", "essential", ("tuned",))


def name(suite: str) -> str:
    """What the image of this suite is called in storage."""
    return f"localhost/tuned:{suite}"


def tuned_image(suite: str) -> Path:
    """A root filesystem with TuneD as a tar archive, for `podman import`.

    2.25 on trixie, 2.20 on bookworm. The image made of it has no entrypoint.
    """
    recipe = dataclasses.replace(_RECIPE, suite=suite)
    return cache.entry(
        f"tuned-{suite}",
        dataclasses.asdict(recipe),
        lambda target: debian.bootstrap(recipe, target, "tar"),
    )


def image_store(node_suite: str, image_suite: str) -> Path:
    """What /var/lib/containers is on a node of one suite whose own podman has imported the image
    of another. Never write to it."""
    root = rootfs.base_root(node_suite)
    archive = tuned_image(image_suite)
    return cache.entry(
        f"store-{node_suite}-tuned-{image_suite}",
        [root.name, archive.name],
        lambda target: _import(root, archive, target, name(image_suite)),
    )


def _import(root: Path, archive: Path, store: Path, image: str) -> None:
    store.mkdir()
    with activity(f"Importing the image {image} into Podman's storage"):
        nspawn.run(
            f"import-{store.stem}", root,
            f"--bind={store}:/var/lib/containers", f"--bind-ro={archive}:/image.tar",
            "podman", "--cgroup-manager=cgroupfs", "import", "--quiet", "/image.tar", image,
        )  # fmt: skip
