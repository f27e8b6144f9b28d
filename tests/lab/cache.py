"""Things that take long to make are made once and kept, outside the tree."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.lab.activity import waiting


def directory() -> Path:
    """Where everything is kept that the lab makes."""
    path = Path(os.environ.get("OCP_TUNED_LAB_CACHE", "/var/cache/ocp-tuned-boot-lab"))
    path.mkdir(parents=True, exist_ok=True)
    return path


def entry(name: str, ingredients: object, build: Callable[[Path], None]) -> Path:
    """The thing made of exactly these ingredients (JSON): from the cache, or built now.

    `build` gets a path that does not exist yet and makes a file or a directory of it. The result
    takes its real name when it is complete, so what a killed build left is never taken for it.
    """
    content = json.dumps(ingredients, sort_keys=True).encode()
    path = directory() / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}"
    if path.exists():
        return path
    with lock(path.with_name(path.name + ".lock"), f"the build of {name}"):
        if not path.exists():
            partial = path.with_name(path.name + ".partial")
            remove(partial)
            try:
                build(partial)
                partial.rename(path)
            finally:
                remove(partial)
    return path


def digest(file: Path) -> str:
    """The SHA-256 of a file's content, as an ingredient."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


@contextmanager
def lock(path: Path, what: str = "") -> Iterator[None]:
    """Holds the lock file, waiting for it as long as it takes; `what` it stands for. A dead holder
    holds nothing."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with waiting(what or path.name, lambda: _holder(file.fileno())):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _holder(file: int) -> str:
    """Who has locked it now (proc(5), /proc/locks)."""
    inode = os.fstat(file).st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            # It has exited, also if its command line is empty.
            with suppress(OSError, IndexError):
                command = Path(f"/proc/{fields[4]}/cmdline").read_text(errors="replace")
                # On one line, without the folder of the program.
                words = command.replace("\0", " ").split()
                return f"process {fields[4]} ({' '.join([Path(words[0]).name, *words[1:]])})"
    return "another process"


def remove(path: Path) -> None:
    """Removes a file or a tree, but never enters what is mounted there (a stray /proc or /sys)."""
    subprocess.run(["rm", "-rf", "--one-file-system", "--", path], check=True)
