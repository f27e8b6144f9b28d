"""Tar archives that others have made, read with tarfile, within limits.

tarfile reads each header in one piece, of any size that the header before it gives, follows those
of long names by recursion, and keeps all of them. A sparse file may be larger than its archive. So
all that tarfile reads is counted, nothing is kept, and a file is read here.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from tarfile import TarInfo
from typing import Any, BinaryIO

#: The most members of an archive that are looked at.
MEMBERS = 10_000
#: The largest headers of one member (bytes), and how much larger than plain ones all headers may be
#: together. Two paths of 4096 bytes have room, and 2000 members with long names.
_HEADERS = 16 * 1024
_LONGER = 2 * 1024 * 1024
# The header of a member without a long name, and the byte that tarfile reads before it.
_PLAIN = 1 + tarfile.BLOCKSIZE

# What tarfile raises for an archive that is broken.
_ERRORS = (
    tarfile.TarError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
)  # fmt: skip


def members(file: BinaryIO) -> Iterator[TarInfo]:
    """The members of an archive that is not compressed, one after the other. Raises `ValueError`
    for one that is broken or beyond the limits, and `OSError`."""
    counted = _Counted(file)
    with _understood():
        archive: Any = tarfile.TarFile(fileobj=counted)  # type: ignore[arg-type]
    for _ in range(MEMBERS):
        with _understood():
            member = archive.next()
        if member is None:
            return
        yield member
        archive.members.clear()
        archive.pax_headers.clear()
        counted.next()
    raise ValueError(f"found more than {MEMBERS} members")


def content(file: BinaryIO, member: TarInfo, limit: int) -> bytes:
    """The content of a regular file in the archive. Raises `ValueError` for one of more than
    `limit` bytes, for a sparse one, and for one that is cut off; and `OSError`."""
    if member.issparse():
        raise ValueError("found a sparse file, expected none")
    if not 0 <= member.size <= limit:
        raise ValueError(f"found a file of {member.size} bytes, expected at most {limit}")
    file.seek(member.offset_data)
    data = file.read(member.size)
    if len(data) < member.size:
        raise ValueError("it is not complete")
    return data


class _Counted:
    """The file as tarfile reads it: only headers, and as many bytes as are allowed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._longer = _LONGER
        self._read = 0
        self.tell = file.tell

    def next(self) -> None:
        """The headers of the next member follow."""
        self._longer -= max(0, self._read - _PLAIN)
        self._read = 0

    def seek(self, position: int) -> int:
        if position < 0:
            raise ValueError("found a size below 0")
        return self._file.seek(position)

    def read(self, size: int) -> bytes:
        allowed = min(_HEADERS, _PLAIN + self._longer)
        if not 0 <= size <= allowed - self._read:
            raise ValueError(f"found headers of {self._read + size} bytes, expected {allowed}")
        self._read += size
        return self._file.read(size)


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except _ERRORS as error:
        raise ValueError(f"it cannot be read as a tar archive: {error}") from error
