"""Runs the unit tests on other Pythons than that of the tests.

    python3 -m tests.on_every_python [VERSION...]

Without arguments, on every Python from 3.9 to 3.14 that can be had. With the distribution's own
libraries instead of those of PyPI, they are run when the package is built
(tests/lab/test_release.py).

Where the machine lacks one that a release of Debian has, the tests run in a root filesystem of that
release. So 3.9, which most nodes have (EL 9), is never left out. The interpreter that runs this
file is left out: `make unit` has run the tests on it already.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tests import requirements
from tests.lab import cache, debian, mounts, product, rootfs

TREE = Path(__file__).parent.parent
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
#: The release of Debian that has it.
SUITES = {"3.9": "bullseye", "3.11": "bookworm", "3.13": "trixie", "3.14": rootfs.NEXT}
# Memory is measured once; what docs/versions.md has to have is not known while it is being made.
PYTEST = (
    "-m", "pytest", "-q", "--ignore=tests/unit/test_memory.py",
    "--ignore=tests/unit/test_versions.py", "tests/unit",
)  # fmt: skip

# With what compiles pystemd.
_PACKAGES = (
    "ca-certificates", "gcc", "libc6-dev", "libsystemd-dev", "pkg-config", "python3-dev",
    "python3-venv",
)  # fmt: skip


def interpreter(version: str) -> Path | None:
    """A Python of this version that runs, from PATH or from pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    named = shutil.which(f"python{version}")
    candidates = [Path(named)] if named else []
    candidates += sorted(pyenv.glob(f"{version}.*/bin/python3"))
    check = f"import sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    for candidate in candidates:
        # A pyenv shim is there whether or not the version behind it is.
        if (
            subprocess.run([candidate, "-c", check], check=False, capture_output=True).returncode
            == 0
        ):
            return candidate
    return None


def passes(version: str) -> bool | None:
    """Whether the unit tests pass on this Python. None if it cannot be had."""
    python = interpreter(version)
    if python is None and version not in SUITES:
        return None
    with nullcontext(on_this_machine(python, version)) if python else in_debian(version) as command:
        return subprocess.run(command, check=False, cwd=TREE).returncode == 0


def on_this_machine(python: Path, version: str) -> list[str]:
    """The command that runs the tests on an interpreter of this machine."""
    needed = requirements.of("test", "agent")
    content = hashlib.sha256(json.dumps([str(python), needed]).encode()).hexdigest()[:16]
    venv = cache.directory() / f"python-{version}-{content}"
    if not (venv / "done").exists():
        subprocess.run([python, "-m", "venv", "--clear", venv], check=True)
        subprocess.run([venv / "bin/python", "-m", "pip", "install", "-q", *needed], check=True)
        (venv / "done").touch()
    return [str(venv / "bin/python"), *PYTEST]


@contextmanager
def in_debian(version: str) -> Iterator[list[str]]:
    """The command that runs the tests on the Python of a release of Debian, on a copy of the
    tree."""
    needed = requirements.of("test", "agent")
    recipe = debian.Recipe(SUITES[version], "minbase", _PACKAGES)
    root = cache.entry(
        f"python{version.replace('.', '')}",
        [dataclasses.asdict(recipe), needed],
        lambda target: _furnish(target, recipe, needed),
    )
    with tempfile.TemporaryDirectory(dir=cache.directory()) as folder:
        upper, work, merged = (Path(folder, name) for name in ("upper", "work", "merged"))
        for each in (upper, work, merged):
            each.mkdir()
        mounts.overlay([root], upper, work, merged)
        try:
            product.copy_tree(merged / "tree")
            yield [*debian.inside(merged, "/tree"), "/venv/bin/python", *PYTEST]
        finally:
            mounts.unmount(merged)


def _furnish(root: Path, recipe: debian.Recipe, needed: list[str]) -> None:
    debian.bootstrap(recipe, root, "directory")
    for name in ("resolv.conf", "ssl/certs/ca-certificates.crt"):
        shutil.copyfile(f"/etc/{name}", root / "etc" / name)
    subprocess.run([*debian.inside(root), "python3", "-m", "venv", "/venv"], check=True)
    for what in (["--upgrade", "pip"], needed):
        install = ["/venv/bin/python", "-m", "pip", "install", "-q", *what]
        subprocess.run([*debian.inside(root), *install], check=True)
    (root / "etc/resolv.conf").unlink()


def main(*versions: str) -> int:
    failed = []
    for version in versions or VERSIONS:
        if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
            continue
        print(f"Python {version}:", flush=True)
        passed = passes(version)
        if passed is None:
            print("is not on this machine, and no release of Debian has it", flush=True)
        elif not passed:
            failed.append(version)
    if failed:
        print(f"failed on Python {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
