"""The processes of a container whose Podman was killed."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ocp_tuned_boot.tuned import orphans


@contextmanager
def conmon(name: str) -> Iterator[list[int]]:
    """A process that is called as conmon is, and its child."""
    words = ["/usr/bin/conmon", "-c", "sleep inf & echo $!; wait", "-n", name, "--exit-dir", "/x"]
    with subprocess.Popen(words, executable="/bin/sh", stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids = [parent.pid, int(parent.stdout.readline())]
        try:
            yield pids
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)


def exits(process: int) -> bool:
    """Whether a process (a pidfd) exits; it may take this long on a slow machine."""
    try:
        return bool(select.select([process], [], [], 20)[0])
    finally:
        os.close(process)


def test_conmon_and_its_children_are_killed_and_no_others() -> None:
    name = f"test-{os.getpid()}"
    with conmon(name) as found, conmon(f"{name}-2") as others:
        processes = [os.pidfd_open(pid) for pid in found]
        orphans.end(name)
        assert [exits(process) for process in processes] == [True, True]
        assert all(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in others)
