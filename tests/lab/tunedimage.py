"""Container images with Debian's TuneD, and container storage that holds them."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from tests.lab import cache, debian, network, nspawn, product, rootfs
from tests.lab.activity import activity

CONTAINERFILE = product.TREE / "packaging/image/Containerfile.debian"

# What is in the place of Debian's own image, which is in a registry. The certificates: the mirror
# of this machine may be one that takes https.
_BASE = debian.Recipe("", "minbase", ("ca-certificates",))

# $1: the name of the image; then more options.
_BUILD = r"""
set -e
name=$1
shift
podman() { command podman --cgroup-manager=cgroupfs "$@"; }
podman import --quiet /base.tar localhost/debian
podman build --quiet --network=host --isolation=chroot --timestamp=1735689600 \
    --ulimit=nofile=1024:1024 --ulimit=nproc=1024:1024 "$@" \
    --build-arg=BASE=localhost/debian --file=/Containerfile --tag="$name" /tmp
podman save --quiet --output=/target/image.tar "$name"
"""
_UNPACK = """
set -e
podman() { command podman --cgroup-manager=cgroupfs "$@"; }
podman load --quiet --input=/image.tar
podman create --quiet --name=unpacked "$1" true
podman export unpacked | tar --extract --directory=/target
"""
_IN_MEMORY = "--tmpfs=/var/lib/containers"


def name(suite: str) -> str:
    """What the image of this suite is called in storage."""
    return f"localhost/tuned:{suite}"


def base(suite: str) -> Path:
    """A root filesystem as a tar archive, as that of Debian's own image."""
    recipe = dataclasses.replace(_BASE, suite=suite)
    return debian.cached(f"debian-{suite}", recipe, "tar")


def tuned_image(suite: str) -> Path:
    """The image of packaging/image, as an archive for `podman load`: TuneD 2.25 on trixie, 2.20 on
    bookworm. Built by the Podman of the same suite."""
    builder = rootfs.base_root(suite)
    ingredients = [builder.name, base(suite).name, cache.digest(CONTAINERFILE), _BUILD]
    return cache.entry(f"tuned-{suite}", ingredients, lambda target: build(suite, target))


def build(suite: str, target: Path) -> None:
    """Builds the image, as a file."""
    # On the same file system: it is renamed.
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        folder, binds, volumes = Path(temporary), [], []
        for path, text in debian.apt_files(suite).items():
            (folder / Path(path).name).write_text(text)
            binds.append(f"--bind-ro={folder / Path(path).name}:/lab/{path}")
            volumes.append(f"--volume=/lab/{path}:/{path}:ro")
        binds += [f"--bind-ro=/{path}" for path in network.files()]
        binds += [f"--setenv={key}={value}" for key, value in network.variables().items()]
        with activity(f"Building the image {name(suite)}"):
            nspawn.run(
                f"build-{target.stem}", rootfs.base_root(suite), *binds, _IN_MEMORY,
                f"--bind-ro={base(suite)}:/base.tar", f"--bind-ro={CONTAINERFILE}:/Containerfile",
                f"--bind={folder}:/target",
                "sh", "-c", _BUILD, "sh", name(suite), *volumes, network="shared",
            )  # fmt: skip
        (folder / "image.tar").rename(target)


def unpack(suite: str, target: Path) -> None:
    """Makes a directory of the files of the image."""
    target.mkdir()
    nspawn.run(
        f"unpack-{target.stem}", rootfs.base_root(suite), _IN_MEMORY,
        f"--bind-ro={tuned_image(suite)}:/image.tar", f"--bind={target}:/target",
        "sh", "-c", _UNPACK, "sh", name(suite),
    )  # fmt: skip


def image_store(node_suite: str, image_suite: str) -> Path:
    """What /var/lib/containers is on a node of one suite whose own podman has loaded the image
    of another. Never write to it."""
    root = rootfs.base_root(node_suite)
    archive = tuned_image(image_suite)
    return cache.entry(
        f"store-{node_suite}-tuned-{image_suite}",
        [root.name, archive.name],
        lambda target: _load(root, archive, target, name(image_suite)),
    )


def _load(root: Path, archive: Path, store: Path, image: str) -> None:
    store.mkdir()
    with activity(f"Loading the image {image} into Podman's storage"):
        nspawn.run(
            f"load-{store.stem}", root,
            f"--bind={store}:/var/lib/containers", f"--bind-ro={archive}:/image.tar",
            "podman", "--cgroup-manager=cgroupfs", "load", "--quiet", "--input=/image.tar",
        )  # fmt: skip
