"""One run at a time."""

from __future__ import annotations

from contextlib import AbstractContextManager

from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths

#: How long a run waits for another one to finish (seconds): the path unit's looks are that short.
PATIENCE = 2.0


def locked(paths: Paths, patience: float = PATIENCE) -> AbstractContextManager[None]:
    """Holds the lock of the run. Raises `HostError`, and `Busy` when another run holds it for
    longer than so many seconds."""
    files.directory(paths.run, paths.root)
    return files.locked(paths.lock, patience, "another run")
