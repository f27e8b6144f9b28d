"""Runs the unit tests on other Pythons than that of the tests.

    python3 -m tests.on_every_python [VERSION...]

Without arguments, on every Python from 3.9 to 3.12 that this machine has. On 3.13, with the
distribution's own libraries, they are run when the package is built (tests/lab/test_release.py).

3.9, which most nodes have (EL 9), is never left out: where the machine lacks it, the tests run in
a root filesystem of Debian bullseye. The interpreter that runs this file is left out: `make unit`
has run the tests on it already.
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
from tests.lab import cache, debian, mounts, product

TREE = Path(__file__).parent.parent
VERSIONS = ("3.9", "3.10", "3.11", "3.12")
# Memory is measured once.
PYTEST = ("-m", "pytest", "-q", "--ignore=tests/unit/test_memory.py", "tests/unit")

BULLSEYE = debian.Recipe(
    "bullseye", "minbase",
    ("ca-certificates", "gcc", "libc6-dev", "libsystemd-dev", "pkg-config", "python3-dev",
     "python3-venv"),
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


def passes(python: Path | None, version: str) -> bool:
    with nullcontext(on_this_machine(python, version)) if python else in_bullseye() as command:
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
def in_bullseye() -> Iterator[list[str]]:
    """The command that runs the tests on Debian bullseye's 3.9, on a copy of the tree."""
    needed = requirements.of("test", "agent")
    root = cache.entry(
        "python39", [dataclasses.asdict(BULLSEYE), needed], lambda target: _bullseye(target, needed)
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


def _bullseye(root: Path, needed: list[str]) -> None:
    debian.bootstrap(BULLSEYE, root, "directory")
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
        python = interpreter(version)
        if python is None and version != "3.9":
            print(f"Python {version}: not on this machine", flush=True)
            continue
        print(f"Python {version}:", flush=True)
        if not passes(python, version):
            failed.append(version)
    if failed:
        print(f"failed on Python {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
