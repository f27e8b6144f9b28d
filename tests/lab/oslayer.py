"""An operating system that is an image, with the layer of packaging/Containerfile on it.

The base is Debian's root filesystem of the lab, in the place of an image for bootc or RHCOS, which
is not to be had here; so rpm, not dnf, installs the package.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.lab import cache, nspawn, product, rootfs, tunedimage

CONTAINERFILE = product.TREE / "packaging/Containerfile"

# rpm runs scriptlets in a mount namespace of their own: that takes SYS_ADMIN.
_SCRIPT = r"""
set -e
podman() { command podman --cgroup-manager=cgroupfs "$@"; }
podman load --quiet --input /image.tar
podman save --quiet --format oci-archive --output /context/images/tuned.tar "$1"
podman import --quiet /os.tar localhost/os
podman build --network=host --isolation=chroot --cap-add=SYS_ADMIN \
    --ulimit=nofile=1024:1024 --ulimit=nproc=1024:1024 --file=/Containerfile \
    --build-arg=BASE=localhost/os --build-arg=INSTALL="rpm --install --nodeps" \
    --tag=localhost/layered /context
podman create --quiet --name=layered localhost/layered /bin/true
podman export layered | tar --extract --directory=/target
"""


def root(suite: str) -> Path:
    """The root filesystem of the image that was built. Never write to it."""
    base, package = rootfs.base_root(suite), product.product_package(suite)
    tuned = tunedimage.tuned_image(suite)
    ingredients = [base.name, str(package), tuned.name, cache.digest(CONTAINERFILE), _SCRIPT]
    return cache.entry(
        f"oslayer-{suite}", ingredients, lambda target: _build(suite, base, package, tuned, target)
    )


def _build(suite: str, base: Path, package: Path, tuned: Path, target: Path) -> None:
    target.mkdir()
    with tempfile.TemporaryDirectory(dir=cache.directory()) as folder:
        context, store = Path(folder, "context"), Path(folder, "store")
        for each in (context / "dist", context / "images", store):
            each.mkdir(parents=True)
        shutil.copy2(package, context / "dist")
        system = Path(folder, "os.tar")
        subprocess.run(
            ["tar", "--create", f"--file={system}", f"--directory={base}", "."], check=True
        )
        nspawn.run(
            f"layer-{target.stem}", base,
            f"--bind={store}:/var/lib/containers", f"--bind={target}:/target",
            f"--bind={context}:/context", f"--bind-ro={system}:/os.tar",
            f"--bind-ro={tuned}:/image.tar", f"--bind-ro={CONTAINERFILE}:/Containerfile",
            "sh", "-c", _SCRIPT, "sh", tunedimage.name(suite),
        )  # fmt: skip
