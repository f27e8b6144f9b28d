"""One run at a time, and how much time it has left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths

#: How long a run waits for another one (seconds): a run of ocp-tuned-notice.service is shorter.
PATIENCE = 2.0


@contextmanager
def locked(paths: Paths, patience: float = PATIENCE) -> Iterator[None]:
    """Holds the lock that each run takes. Raises `HostError`, and `Busy` if another run holds it
    for longer than `patience` (seconds)."""
    files.directory(paths.run, paths.root)
    with files.locked(paths.lock, patience, "another run"):
        # That of an earlier run.
        with suppress(OSError):
            paths.deadline.unlink()
        yield


def ends(paths: Paths, at: float) -> None:
    """The time of the run that holds the lock ends then (seconds on the monotonic clock). Only
    people are told (`left`), so a failure to write it changes nothing."""
    with suppress(HostError):
        files.write(paths.deadline, f"{at:.3f}\n".encode(), durable=False)


def left(paths: Paths) -> float | None:
    """The seconds that the active run has left; None if no run is active, or if it is not known."""
    if not files.is_locked(paths.lock):
        return None
    try:
        return max(0.0, float(files.read(paths.deadline)) - time.monotonic())
    except (FileNotFoundError, HostError, ValueError):
        return None
