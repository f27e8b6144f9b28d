"""A node whose operating system is an image, as ostree and bootc keep it: a deployment brings a
/usr of its own, /etc is merged, /var is kept.

ostree itself is not used: its boot loader entries and the switch of the root in the initrd need a
machine with a disk. What a deployment finds when systemd starts is the same.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Optional

from tests.lab import mounts, rootfs
from tests.lab.node import FILES, Node
from tests.lab.product import product_layer


class ImageNode(Node):
    """A node with one /var and several deployments, the first of which is booted first."""

    #: The deployment that is booted next, or is booted.
    deployment = "root"

    @property
    def root(self) -> Path:
        return self._place.path / self.deployment

    def _build(self, layers: list[Path], store: Optional[Path]) -> None:
        super()._build(layers, store)
        _copy(self.root / "etc", self._default_etc)
        (self._default_etc / "machine-id").write_text("")
        _copy(self.root / "var", self._place.path / "var")
        self._mount_var()

    @property
    def _default_etc(self) -> Path:
        """The /etc that came with the image of this deployment: its /usr/etc."""
        return self._place.path / f"{self.deployment}-etc"

    def upgrade(self, name: str, suite: str, package: Optional[Path] = None) -> None:
        """Deploys another image while the node is off: the suite with the package. It is booted
        next."""
        before, default = self.root, self._default_etc
        mounts.unmount(before / "var")
        self.deployment = name
        upper, work = (self._place.path / f"{name}-{kind}" for kind in ("upper", "work"))
        for folder in (upper, work, self.root):
            folder.mkdir()
        layers = [product_layer(suite, package), rootfs.base_root(suite)]
        mounts.overlay(layers, upper, work, self.root)
        shutil.copytree(FILES, self.root, symlinks=True, dirs_exist_ok=True)
        _copy(self.root / "etc", self._default_etc)
        merge(default, before / "etc", self.root / "etc")
        (self.root / "etc/.updated").touch()
        self._mount_var()

    def roll_back(self, name: str) -> None:
        """The node, which is off, boots an older deployment next. Its /etc is as it was left."""
        mounts.unmount(self.root / "var")
        self.deployment = name
        self._mount_var()

    def _mount_var(self) -> None:
        mounts.bind(self._place.path / "var", self.root / "var")


def merge(default: Path, current: Path, new: Path) -> None:
    """What was added, changed or removed in `current`, as compared with `default`, is so in `new`.
    All else is as the new image has it (ostree, "Assembling a new deployment directory")."""
    was, found = _entries(default), _entries(current)
    for name in was.keys() - found.keys():
        if not (new / name).is_dir():
            (new / name).unlink(missing_ok=True)
    for name in sorted(found):
        if was.get(name) != found[name]:
            if (current / name).is_dir() and not (current / name).is_symlink():
                (new / name).mkdir(exist_ok=True)
                shutil.copystat(current / name, new / name)
            else:
                (new / name).unlink(missing_ok=True)
                _copy(current / name, new / name)


def _entries(tree: Path) -> dict[str, tuple[object, ...]]:
    """What decides whether an entry was changed, by its name."""
    return {str(path.relative_to(tree)): _entry(path) for path in tree.rglob("*")}


def _entry(path: Path) -> tuple[object, ...]:
    found = path.lstat()
    if path.is_symlink():
        return ("link", path.readlink())
    content = path.read_bytes() if path.is_file() else b""
    return (found.st_mode, found.st_uid, found.st_gid, content)


def _copy(source: Path, target: Path) -> None:
    """With owner, mode and times; a link as a link."""
    subprocess.run(["cp", "-a", "--no-target-directory", source, target], check=True)
