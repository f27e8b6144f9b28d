"""Waits while an agent is writing image.env, the recommend file or profiles."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Callable, TypeVar

from ocp_tuned_boot.errors import BootError, ConfigurationError, HostError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import inputs

#: Files written less than this time ago may be incomplete (seconds).
QUIET = 0.5
#: How long to wait for an agent that keeps writing (seconds).
PATIENCE = 10.0
_TICK = 0.05

T = TypeVar("T")


def settled(paths: Paths, reading: Callable[[], T]) -> T:
    """What `reading` returns, once no agent is writing, so that all files belong together.

    Files that were written less than `QUIET` seconds before they were read may be incomplete, and
    are read again. Raises what `reading` raises, and `HostError` after `PATIENCE` seconds.
    """
    end = time.monotonic() + PATIENCE
    while True:
        started = time.monotonic()
        error: BootError | None = None
        try:
            found = reading()
        except (ConfigurationError, HostError) as caught:
            error = caught
        young = _younger(paths, QUIET + time.monotonic() - started)
        if not young and error is None:
            return found
        if not young and error is not None:
            raise error
        if time.monotonic() > end:
            raise HostError(
                f"{young}: this file has been rewritten again and again for {PATIENCE:g} s",
                "Stop the program that writes it, then: systemctl start ocp-tuned",
            )
        time.sleep(_TICK)


def _younger(paths: Paths, seconds: float) -> Path | None:
    """One of the agent's files or folders that was written in the last `seconds`, or None."""
    now = time.time()
    for path, found in _watched(paths):
        # A time in the future means nothing: the clock was set back.
        if 0 <= now - found.st_ctime < seconds:
            return path
    return None


def _watched(paths: Paths) -> Iterator[tuple[Path, os.stat_result]]:
    # The time of a folder changes when a file in it is created, renamed or removed.
    for path in (paths.agent, paths.image_env, paths.recommend.parent, paths.recommend,
                 paths.provider, paths.profiles):  # fmt: skip
        with suppress(OSError):
            yield path, path.lstat()
    # `inputs.read` reports too many files.
    with suppress(HostError):
        for entry in inputs.tree(paths.profiles, paths.root):
            with suppress(OSError):
                yield entry.path, entry.stat()
