"""What the product's package installs, as a layer to mount over a root filesystem."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.lab import cache, nspawn, rootfs

TREE = Path(__file__).resolve().parents[2]

# All that the installed files are made of.
_SOURCES = (
    "ocp_tuned_boot", "units", "packaging", "man", "pyproject.toml", "Makefile", "README.md",
)  # fmt: skip

# With the suite's own tools, as a distribution builds it.
_INSTALL = ("make", "-s", "-C", "/source", "install", "DESTDIR=/layer")


def product_layer(suite: str, tree: Path = TREE) -> Path:
    """The layer made of the working tree as it is now. Never write to it."""
    root = rootfs.base_root(suite)
    files = {str(path.relative_to(tree)): _state(path) for path in _files(tree)}
    return cache.entry(
        f"product-{suite}",
        [root.name, _INSTALL, files],
        lambda target: _install(root, tree, target),
    )


def _files(tree: Path) -> Iterator[Path]:
    for name in _SOURCES:
        path = tree / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                yield file


def _state(file: Path) -> list[object]:
    return [hashlib.sha256(file.read_bytes()).hexdigest(), os.access(file, os.X_OK)]


def _install(root: Path, tree: Path, layer: Path) -> None:
    layer.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        # Of a copy: setuptools leaves things beside what it builds.
        source = Path(folder, "source")
        for file in _files(tree):
            copy = source / file.relative_to(tree)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, copy)
        binds = (f"--bind={source}:/source", f"--bind={layer}:/layer")
        nspawn.run(f"build-{layer.stem}", root, *binds, *_INSTALL)
    _enable(layer)


def _enable(layer: Path) -> None:
    """The units, as the package's preset does."""
    units = [
        path.name
        for path in sorted(layer.glob("usr/lib/systemd/system/*.*"))
        if "[Install]" in path.read_text()
    ]
    subprocess.run(["systemctl", f"--root={layer}", "--quiet", "enable", *units], check=True)
