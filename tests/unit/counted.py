"""Runs the program and counts what that costs, without a clock: the same on every machine.

As a program, `counted.py FILE ARGUMENT…` runs ocp-tuned-boot with these arguments in this process,
and writes to FILE what it has done, in order. Only what the program itself needs is imported.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.unit.patience import PATIENCE

_VERBS = ("GET ", "HEAD ", "POST ", "DELETE ", "PUT ")
#: In this module instead of a number, a moment.
READY = "ready"

# What is counted is seen where Python hands it to the kernel. The list of modules is taken with
# each entry, as a number of those that are loaded by then.
_COUNTING = """
import atexit, os, socket, sys

done, before = [], frozenset(sys.modules)
out, sys.argv = sys.argv[1], ["ocp-tuned-boot", *sys.argv[2:]]

def note(kind, what):
    done.append((kind, what, len(sys.modules)))

def sent(data):
    words = bytes(data[:400]).decode("latin-1").split("\\n", 1)[0].strip()
    if words.startswith("READY=1"):
        note("ready", "")
    elif words.startswith(("GET /", "HEAD /", "POST /", "DELETE /", "PUT /")):
        note("request", words.rpartition(" ")[0])

class Counting(socket.socket):
    def sendall(self, data, *more):
        sent(data)
        return super().sendall(data, *more)

    def send(self, data, *more):
        sent(data)
        return super().send(data, *more)

def audit(event, arguments):
    if event == "socket.connect" and str(arguments[1]).endswith("podman.sock"):
        note("connect", arguments[1])
    # From Python 3.13 on, subprocess itself calls posix_spawn.
    if event in ("subprocess.Popen", "os.fork", "os.exec"):
        note("process", " ".join(map(os.fsdecode, arguments[1] if len(arguments) > 1 else [event])))

def synced(sync):
    def counting(file):
        note("fsync", os.readlink(f"/proc/self/fd/{file}"))
        return sync(file)
    return counting

def write():
    modules = [name for name in sys.modules if name not in before]
    with open(out, "w", encoding="utf-8") as file:
        file.write(repr((done, modules, len(before))))

socket.socket = Counting
os.fsync, os.fdatasync = synced(os.fsync), synced(os.fdatasync)
sys.addaudithook(audit)
atexit.register(write)
from ocp_tuned_boot.cli import main
raise SystemExit(main())
"""


@dataclass(frozen=True)
class Cost:
    """What a run has done, in order.

    `done`: what was done (`connect` to Podman, `request`, `fsync`, `process`, or `ready` for
    READY=1), to what, and the number of modules that were loaded by then; `modules`: those that
    were loaded, in order, except for what counting itself needs.
    """

    done: tuple[tuple[str, str, int], ...]
    modules: tuple[str, ...]
    ours: int

    def until_ready(self, kind: str) -> list[str]:
        """What was done of this kind before READY=1."""
        kinds = [each[0] for each in self.done]
        return [what for name, what, _ in self.done[: kinds.index(READY)] if name == kind]

    def of(self, kind: str) -> list[str]:
        """The same in the whole run."""
        return [what for name, what, _ in self.done if name == kind]

    def modules_before(self, kind: str) -> list[str]:
        """The modules that were loaded when something of this kind was done first."""
        loaded = next(loaded for name, _, loaded in self.done if name == kind)
        return list(self.modules[: loaded - self.ours])


def program(out: Path, *arguments: str) -> list[str]:
    """The command that counts to `out`."""
    return [sys.executable, "-c", _COUNTING, str(out), *arguments]


def read(text: str) -> Cost:
    """What the command has written."""
    done, modules, before = ast.literal_eval(text)
    return Cost(tuple(done), tuple(modules), before)


def run(out: Path, *arguments: str, **more: Any) -> Cost:
    """Runs the program, which must succeed."""
    completed = subprocess.run(
        program(out, *arguments), check=False, capture_output=True, text=True, timeout=PATIENCE,
        env={**os.environ, **more},
    )  # fmt: skip
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return read(out.read_text())
