"""The processes of a container that Podman does not know of.

A Podman that is killed while it starts a container leaves its conmon, and the container's first
process, which waits for its start for ever. `podman rm` does not end them: in Podman's record the
container was never started.
"""

from __future__ import annotations

import logging
import os
import re
import signal
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

_PROC = Path("/proc")
# A process in another PID namespace has two process IDs or more.
_SAME_NAMESPACE = re.compile(rb"(?m)^NSpid:\s+[0-9]+$")


def end(name: str) -> None:
    """Kills every conmon of the container of this name, and its children, grandchildren, …

    Only for a name whose container is ours and is removed.
    """
    parents = _parents()
    family = {pid for pid in parents if _is_conmon(pid, name)}
    while found := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= found
    # init takes in the children of those that were killed.
    adoptive = {*family, *(parents[pid] for pid in family), 1}
    for pid in sorted(family):
        log.warning("killing the process %d, left over of the container %s", pid, name)
        with suppress(ProcessLookupError):
            process = os.pidfd_open(pid)
            try:
                # Else its ID means another process by now.
                if _parent(pid) in adoptive:
                    signal.pidfd_send_signal(process, signal.SIGKILL)
            finally:
                os.close(process)


def _parents() -> dict[int, int]:
    """The parent of each process."""
    pids = [int(each) for each in os.listdir(_PROC) if each.isdigit()]
    return {pid: _parent(pid) for pid in pids}


def _parent(pid: int) -> int:
    """The parent of a process; 0 if the process has ended (proc_pid_stat(5))."""
    after_name = _read(_PROC / str(pid) / "stat").rpartition(b")")[2].split()
    return int(after_name[1]) if after_name else 0


def _is_conmon(pid: int, name: str) -> bool:
    """Whether this is conmon for that container: `conmon … -n NAME …` (conmon(8)).

    Not in another PID namespace: there another system in a container on this host may have a
    container of the same name (proc_pid_status(5), NSpid).
    """
    words = _read(_PROC / str(pid) / "cmdline").split(b"\0")
    pairs = zip(words, words[1:])
    if os.path.basename(words[0]) != b"conmon" or (b"-n", name.encode()) not in pairs:
        return False
    return bool(_SAME_NAMESPACE.search(_read(_PROC / str(pid) / "status")))


def _read(path: Path) -> bytes:
    """A file of a process; empty if the process has ended. Not by `files`: those of /proc may be
    long, and their kind is known."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
