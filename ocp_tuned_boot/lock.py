"""One run at a time."""

from __future__ import annotations

from contextlib import AbstractContextManager

from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths

#: How long a run waits for another one (seconds): a run of ocp-tuned-notice.service is shorter.
PATIENCE = 2.0


def locked(paths: Paths, patience: float = PATIENCE) -> AbstractContextManager[None]:
    """Holds the lock that each run takes. Raises `HostError`, and `Busy` if another run holds it
    for longer than `patience` (seconds)."""
    files.directory(paths.run, paths.root)
    return files.locked(paths.lock, patience, "another run")
