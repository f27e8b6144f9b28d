"""Waiting for a file to appear."""

from __future__ import annotations

import ctypes
import os
import select
import time
from pathlib import Path

_IN_CREATE = 0x100
_IN_MOVED_TO = 0x80
_libc = ctypes.CDLL(None, use_errno=True)


def wait_for(path: Path, timeout: float) -> None:
    """Returns when `path` exists; its folder has to. Raises `TimeoutError`."""
    deadline = time.monotonic() + timeout
    watch = _watch(path.parent)
    try:
        while not path.exists():
            left = max(0.0, deadline - time.monotonic())
            if not select.select([watch], [], [], left)[0]:
                raise TimeoutError(f"no {path} after {timeout} s")
            os.read(watch, 65536)
    finally:
        os.close(watch)


def _watch(folder: Path) -> int:
    watch = _checked(_libc.inotify_init1(os.O_CLOEXEC))
    try:
        _checked(_libc.inotify_add_watch(watch, os.fsencode(folder), _IN_CREATE | _IN_MOVED_TO))
    except OSError:
        os.close(watch)
        raise
    return watch


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
