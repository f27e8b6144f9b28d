"""Failures that have nothing to do with the request: Podman cannot write its storage."""

from __future__ import annotations

import re
from pathlib import Path

#: What Go's errors and SQLite report of a file system without space (errno(3), ENOSPC and EDQUOT).
FULL = re.compile(r"no space left|disk quota exceeded|disk is full", re.IGNORECASE)
FULL_HINT = "Free disk space on the node, or enlarge the image store."
# The file in memory that could not be written: Podman has its state there.
_IN_RUN = re.compile(rf"(/run/[^\s:\"]*): (?:{FULL.pattern})", re.IGNORECASE)
READ_ONLY = re.compile(r"read-only file system", re.IGNORECASE)
READ_ONLY_HINT = (
    "Podman cannot write its image store: find out why its file system is read-only "
    "(findmnt -T /var/lib/containers; journalctl -b -k), and remount it."
)
#: What SQLite answers in a Podman that was started while its store was read-only: it goes on with a
#: database that it has opened for reading.
STALE = re.compile(r"attempt to write a readonly database", re.IGNORECASE)
# With the call that has failed, and its file, or the name of a file alone.
_FILE = r"\b\w+ /[^\s:]*: |[^\s:]{1,99}[./][^\s:]{1,99}: "
_OF_STORAGE = re.compile(
    rf"(?:{_FILE})?(?:{FULL.pattern}|{READ_ONLY.pattern})(?: on device)?", re.IGNORECASE
)


def storage_hint(reason: str) -> str:
    """What to do about storage that cannot be written; empty if `reason` is another one. Then
    another attempt may succeed."""
    if FULL.search(reason):
        from ocp_tuned_boot.host import space  # noqa: PLC0415  # only for a failure

        in_run = _IN_RUN.search(reason)
        return space.full_hint(Path(in_run[1])) if in_run else FULL_HINT
    return READ_ONLY_HINT if READ_ONLY.search(reason) else ""


def of_storage(reason: str) -> str:
    """What is said about storage in a reason that has a line for each format of an archive, and the
    digests of layers: `write /usr/bin/x: no space left on device`. The whole reason if there is no
    such thing in it."""
    found = _OF_STORAGE.search(reason)
    return found[0] if found else reason
