"""An operating system that is an image: the lines of `render containerfile`, on top of the layer of
packaging/Containerfile."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.lab import cache, nspawn, oslayer

# Of the base, without what is large and is not needed to build on it. What the image has beyond it
# is one layer: that is all to be kept.
_SCRIPT = r"""
set -e
podman() { command podman --cgroup-manager=cgroupfs "$@"; }
tar --create --directory=/base --exclude=./var --exclude=./usr/share/ocp-tuned-boot \
    --exclude='./usr/lib/python3*' --exclude=./usr/bin/podman --exclude=./usr/bin/docker-registry \
    . | podman import --quiet - localhost/os
podman build --network=host --isolation=chroot --squash --file=/context/Containerfile \
    --ulimit=nofile=1024:1024 --ulimit=nproc=1024:1024 --tag=localhost/dayzero /context
layer=$(podman image inspect --format '{{.GraphDriver.Data.UpperDir}}' localhost/dayzero)
cp --archive "$layer/." /target
"""


def layer(suite: str, lines: str) -> Path:
    """What these lines of a Containerfile add to `oslayer.root`. Never write to it."""
    base = oslayer.root(suite)
    return cache.entry(
        f"bootc-{suite}", [base.name, lines, _SCRIPT], lambda target: _build(base, lines, target)
    )


def _build(base: Path, lines: str, target: Path) -> None:
    target.mkdir()
    with tempfile.TemporaryDirectory(dir=cache.directory()) as folder:
        context, store = Path(folder, "context"), Path(folder, "store")
        context.mkdir()
        store.mkdir()
        (context / "Containerfile").write_text(f"FROM localhost/os\n{lines}")
        nspawn.run(
            f"bootc-{target.stem}", base,
            f"--bind={store}:/var/lib/containers", f"--bind={target}:/target",
            f"--bind={context}:/context", f"--bind-ro={base}:/base",
            "sh", "-c", _SCRIPT,
        )  # fmt: skip
