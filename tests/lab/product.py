"""The product as it ships: its RPM, built in a root that has what rpm.spec asks for, and installed
by rpm, scriptlets and all, as a layer to mount over a root filesystem."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Optional

from tests.lab import cache, debian, mounts, nspawn, rootfs
from tests.lab.activity import activity

TREE = Path(__file__).resolve().parents[2]

# All that the package's files are made of.
_SOURCES = (
    "ocp_tuned_boot", "units", "packaging", "man", "docs", "pyproject.toml", "Makefile", "rpm.spec",
    "README.md", "NEWS.md", "LICENSE",
)  # fmt: skip

_PACKAGES = (
    "rpm", "make", "git", "ca-certificates",
    "python3-docutils", "python3-installer", "python3-setuptools", "python3-wheel",
    # For %check.
    "python3-configobj", "python3-hypothesis", "python3-jsonschema", "python3-pystemd",
    "python3-pytest",
    "python3-requests", "python3-sdnotify", "procps",
    # To look at what was packaged.
    "rpmlint",
)  # fmt: skip

# Files of the package from before its Podman units became a template. Laid over the present tree
# they make that package, so the test of the upgrade needs no history of the repository.
_EARLIER = Path(__file__).with_name("before-template")

# Of a working tree that nobody has committed yet.
_GIT = ("git", "-c", "user.name=lab", "-c", "user.email=lab@localhost")
_DAY = "1790000000"


class NoHistory(RuntimeError):
    """The repository has no history."""


def product_layer(suite: str, package: Optional[Path] = None) -> Path:
    """What installing a package, by default that of the working tree, adds to a root of this suite.
    Never write to it."""
    package = package or product_package(suite)
    root = rootfs.base_root(suite)
    return cache.entry(
        f"product-{suite}",
        [root.name, str(package)],
        lambda target: _install(root, package, target),
    )


#: What a later release may have: another default, and files with fields that this one does not
#: know. By file: what is replaced.
_NEXT = {
    "packaging/boot.conf": ("gate = open", "gate = closed"),
    "ocp_tuned_boot/record/history.py": (
        "    late: tuple[str, ...] = ()\n",
        '    late: tuple[str, ...] = ()\n    next: str = "new"\n',
    ),
    "ocp_tuned_boot/requested/lastgood.py": (
        "    image_id: str\n", '    image_id: str\n    next: str = "new"\n',
    ),
    "ocp_tuned_boot/images/known.py": ("    id: str\n", '    id: str\n    next: str = "new"\n'),
}  # fmt: skip


def next_package(suite: str) -> Path:
    """The RPM of a later release, 0.2.0."""
    return product_package(suite, "0.2.0", _NEXT)


def product_package(
    suite: str, version: str = "", edits: Optional[Mapping[str, tuple[str, str]]] = None
) -> Path:
    """The RPM of the working tree, `version` in the place of its own if given. `edits`: by file, a
    text that is replaced, and by what."""
    builder = build_root(suite)
    files = {str(path.relative_to(TREE)): _state(path) for path in _files(*_SOURCES)}
    dist = cache.entry(
        f"rpm-{suite}",
        [builder.name, files, version, *([edits] if edits else [])],
        lambda target: _build(builder, target, lambda source: commit(source, version, edits)),
    )
    (package,) = dist.glob("*.noarch.rpm")
    return package


def byte_code(root: Path) -> dict[str, int]:
    """How each module of the program in a root has its byte code checked (PEP 552): 0 by the time
    of its source, 1 not at all, 3 by a hash of its source; -1: it has none."""
    found = {}
    for folder in root.glob("usr/lib/python3*/*-packages/ocp_tuned_boot"):
        for module in folder.rglob("*.py"):
            compiled = list(module.parent.glob(f"__pycache__/{module.stem}.cpython-3??.pyc"))
            flags = int.from_bytes(compiled[0].read_bytes()[4:8], "little") if compiled else -1
            found[str(module.relative_to(folder))] = flags
    return found


def earlier_package(suite: str) -> Path:
    """The RPM from before the Podman units became a template, as version 0.0.9: the unit files, the
    preset, the spec and the socket paths of that time, everything else from the working tree."""
    builder = build_root(suite)
    paths = [*_files(*_SOURCES), *(path for path in _EARLIER.rglob("*") if path.is_file())]
    files = {str(path.relative_to(TREE)): _state(path) for path in sorted(paths)}

    dist = cache.entry(
        f"rpm-earlier-{suite}",
        [builder.name, files],
        lambda target: _build(builder, target, _commit_earlier),
    )
    (package,) = dist.glob("*.noarch.rpm")
    return package


def _commit_earlier(target: Path) -> None:
    copy_tree(target, *_SOURCES)
    shutil.rmtree(target / "units")
    shutil.copytree(_EARLIER, target, dirs_exist_ok=True)
    for path in (target / "ocp_tuned_boot").rglob("*.py"):
        path.write_text(path.read_text().replace("/podman-shared.sock", "/podman.sock"))
    (target / "ocp_tuned_boot/__init__.py").write_text('__version__ = "0.0.9"\n')
    _commit_all(target)


def released_package(suite: str, commit: str) -> Path:
    """The RPM of an earlier commit, built as that one builds it."""
    builder = build_root(suite)
    dist = cache.entry(
        f"rpm-released-{suite}",
        [builder.name, commit],
        lambda target: _build(builder, target, lambda source: _commit_released(source, commit)),
    )
    (package,) = dist.glob("*.noarch.rpm")
    return package


def _commit_released(target: Path, commit: str) -> None:
    checkout(target, commit)
    _commit_all(target)


def checkout(target: Path, commit: str) -> None:
    """The tree of an earlier commit, in a new folder. Raises `NoHistory`."""
    target.mkdir()
    archive = subprocess.run(
        ["git", "archive", commit], cwd=TREE, check=False, stdout=subprocess.PIPE
    )
    if archive.returncode != 0:
        raise NoHistory(
            f"there is no commit {commit} here: the tests of upgrades need the history of the "
            "repository, not a shallow clone (git fetch --unshallow)"
        )
    command = ["tar", "--extract", f"--directory={target}"]
    subprocess.run(command, input=archive.stdout, check=True)


def build_root(suite: str) -> Path:
    """A root filesystem to build the package in. Never write to it."""
    wheels = rootfs.wheels(suite)
    packages = _PACKAGES if wheels else (*_PACKAGES, "python3-podman")
    recipe = debian.Recipe(suite, "minbase", packages)

    def build(target: Path) -> None:
        debian.bootstrap(recipe, target, "directory")
        rootfs.install_wheels(target, wheels)

    return cache.entry(f"builder-{suite}", [dataclasses.asdict(recipe), wheels], build)


def _files(*names: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *names],
        cwd=TREE, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    return [TREE / name for name in sorted(set(listed)) if name and (TREE / name).is_file()]


def _state(file: Path) -> list[object]:
    target = str(file.readlink()) if file.is_symlink() else ""
    return [cache.digest(file), os.access(file, os.X_OK), target]


def copy_tree(target: Path, *names: str) -> None:
    """A copy of the working tree, or of what has these names in it, as git would have it."""
    for file in _files(*names):
        copy = target / file.relative_to(TREE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy, follow_symlinks=False)


def commit(
    target: Path, version: str = "", edits: Optional[Mapping[str, tuple[str, str]]] = None,
    *, tests: bool = False,
) -> None:  # fmt: skip
    """A copy of the working tree with everything in it committed."""
    copy_tree(target, *_SOURCES, *(["tests"] if tests else []))
    if version:
        (target / "ocp_tuned_boot/__init__.py").write_text(f'__version__ = "{version}"\n')
    for name, (old, new) in (edits or {}).items():
        text = (target / name).read_text()
        if text.count(old) != 1:
            raise ValueError(f"{name}: found {text.count(old)} times, expected once: {old}")
        (target / name).write_text(text.replace(old, new))
    _commit_all(target)


def _commit_all(target: Path) -> None:
    for step in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "as it is")):
        subprocess.run([*_GIT, *step], cwd=target, check=True)


def _build(builder: Path, target: Path, write: Callable[[Path], None]) -> None:
    """`write` makes a source tree in the folder it is given, with everything committed."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        write(source)
        # %check is for tests/lab/test_release.py.
        make(f"build-{target.stem}", builder, source, "rpm", "RPMBUILD_FLAGS=--nocheck")
        # The cache may be on another file system than /tmp (Debian 13 has that in memory).
        shutil.copytree(source / "dist", target)


def make(name: str, builder: Path, source: Path, *what: str) -> None:
    """Runs make in the root, on a copy of the tree that it may write to."""
    with activity(f"Running make {what[0]} in {builder.name.rpartition('-')[0]}"):
        run(name, builder, source, "make", *what)


def run(name: str, builder: Path, source: Path, *command: str) -> None:
    """Runs a command in the root, in a copy of the tree that it may write to."""
    nspawn.run(
        name, builder, f"--bind={source}:/source", "--chdir=/source",
        f"--setenv=SOURCE_DATE_EPOCH={_DAY}", *command,
    )  # fmt: skip


def _install(root: Path, package: Path, layer: Path) -> None:
    """By the root's own rpm. What it writes is the layer."""
    layer.mkdir()
    with tempfile.TemporaryDirectory(dir=layer.parent) as folder:
        work, merged = Path(folder, "work"), Path(folder, "merged")
        work.mkdir()
        merged.mkdir()
        mounts.overlay([root], layer, work, merged)
        try:
            shutil.copyfile(package, merged / package.name)
            # Debian's packages, which it runs on, are not in rpm's database.
            command = ["rpm", "--install", "--nodeps", f"/{package.name}"]
            with activity(f"Installing {package.name}"):
                done = subprocess.run(
                    [*debian.inside(merged), *command], check=False, text=True,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                )  # fmt: skip
            if done.returncode != 0:
                raise nspawn.CommandFailed(f"{command}: status {done.returncode}\n{done.stdout}")
            (merged / package.name).unlink()
        finally:
            mounts.unmount(merged)
