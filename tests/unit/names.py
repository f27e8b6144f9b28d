"""Every name that a folder has had, for however short a time, as the kernel reports it."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_IN_CREATE, _IN_MOVED_FROM, _IN_MOVED_TO = 0x100, 0x40, 0x80
#: inotify_event: descriptor, mask, cookie, length of the name.
_EVENT = struct.Struct("iIII")


@contextmanager
def names_in(folder: Path) -> Iterator[list[str]]:
    """The names, filled in at the end of the block (inotify(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    mask = _IN_CREATE | _IN_MOVED_FROM | _IN_MOVED_TO
    assert libc.inotify_add_watch(watch, os.fsencode(folder), mask) > 0
    names: list[str] = []
    try:
        yield names
        names += _reported(os.read(watch, 64 * 1024))
    finally:
        os.close(watch)


def _reported(events: bytes) -> Iterator[str]:
    while events:
        length = _EVENT.unpack_from(events)[3]
        name, events = events[_EVENT.size : _EVENT.size + length], events[_EVENT.size + length :]
        yield os.fsdecode(name.rstrip(b"\0"))
