"""Failures that have nothing to do with the request: Podman cannot write its storage."""

from __future__ import annotations

import re

#: What Go's errors and SQLite report of a file system without space (errno(3), ENOSPC and EDQUOT).
FULL = re.compile(r"no space left|disk quota exceeded|disk is full", re.IGNORECASE)
FULL_HINT = "Free disk space on the node, or enlarge the image store."
READ_ONLY = re.compile(r"read-only file system", re.IGNORECASE)
READ_ONLY_HINT = (
    "Podman cannot write its image store: find out why its file system is read-only "
    "(findmnt -T /var/lib/containers; journalctl -b -k), and remount it."
)


def storage_hint(reason: str) -> str:
    """What to do about storage that cannot be written; empty if `reason` is another one. Then
    another attempt may succeed."""
    if FULL.search(reason):
        return FULL_HINT
    return READ_ONLY_HINT if READ_ONLY.search(reason) else ""


def of_storage(reason: str) -> str:
    """The line about storage of a reason that has several, one for each format of an archive; the
    whole reason if there is none."""
    lines = (line.strip(" *") for line in reason.splitlines())
    return next((line for line in lines if storage_hint(line)), reason)
