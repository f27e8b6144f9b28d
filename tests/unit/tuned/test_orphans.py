"""The processes of a container whose Podman was killed."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ocp_tuned_boot.tuned import orphans


@contextmanager
def conmon(name: str, *before: str) -> Iterator[list[int]]:
    """A process that is called as conmon is, and its child; `before`: a command that starts it."""
    script = 'exec -a /usr/bin/conmon bash -c "sleep inf & echo \\$!; wait" -n "$0" --exit-dir /x'
    words = [*before, "bash", "-c", script, name]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        # In a namespace of its own this is no process ID here, and the child ends with its parent.
        pids = [parent.pid] if before else [parent.pid, child]
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
        # Not by what /proc says: a process that has just been started may have no command line yet.
        left = [os.pidfd_open(pid) for pid in others]
        orphans.end(name)
        assert [exits(process) for process in processes] == [True, True]
        assert select.select(left, [], [], 0)[0] == []
        for each in left:
            os.close(each)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a PID namespace")
def test_a_container_of_the_same_name_in_another_pid_namespace_is_left_alone() -> None:
    name = f"test-{os.getpid()}"
    with conmon(name, "unshare", "--pid", "--fork", "--kill-child") as (outer,):
        children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
        (inner,) = map(int, children)
        assert name in Path(f"/proc/{inner}/cmdline").read_text()
        process = os.pidfd_open(inner)
        orphans.end(name)
        assert select.select([process], [], [], 0)[0] == []
        os.close(process)
