"""Tar archives that nobody has made in good faith."""

from __future__ import annotations

import io
import tarfile
from typing import Callable

BLOCK = tarfile.BLOCKSIZE
END = b"\0" * 2 * BLOCK


def made(files: dict[str, bytes]) -> bytes:
    """An archive of these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    """The header of a member of this type."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % BLOCK)


def extended(kind: bytes, data: bytes) -> bytes:
    """A header that says something of the next one."""
    return header(kind, len(data)) + padded(data)


def pax(*keys: str) -> bytes:
    """Records of a pax header, all of nine-letter keys."""
    return b"".join(b"14 " + key.encode() + b"=\n" for key in keys)


def keys(count: int) -> list[str]:
    return [f"{number:09}" for number in range(count)]


def sparse(size: int, name: str = "tuned/big.conf") -> bytes:
    """A file of so many bytes, of which the archive has none (GNU, in pax format)."""
    records = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.name": name,
               "GNU.sparse.size": str(size), "GNU.sparse.numblocks": "1",
               "GNU.sparse.map": f"{size},0"}  # fmt: skip
    data = b""
    for key, value in records.items():
        rest = f" {key}={value}\n"
        length = len(rest) + 2
        data += f"{length + (length > 99) - (length < 12)}{rest}".encode()
    return extended(tarfile.XHDTYPE, data) + header(tarfile.REGTYPE, 0)


def sparse_map(blocks: int) -> bytes:
    """A file of nothing but holes, whose map goes on for so many blocks (GNU's old format)."""
    entry = b"00000000001\0" * 2
    head = bytearray(header(b"S", 0))
    head[386:482], head[482] = entry * 4, 1
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    block = entry * 21 + b"\1" + b"\0" * 7
    return bytes(head) + block * blocks


#: Each grows in memory to many times its size, or is followed for ever.
BOMBS: dict[str, Callable[[], bytes]] = {
    "1500 nested long names": lambda: extended(b"L", b"a" * 100) * 1500,
    "300 nested long names of 1 MiB": lambda: extended(b"L", b"a" * (1 << 20)) * 60,
    "nested pax headers": lambda: extended(b"x", pax(*keys(50))) * 1500,
    "global headers": lambda: b"".join(
        extended(b"g", pax(*(f"{n:03}{key[3:]}" for key in keys(999)))) for n in range(400)
    ),
    "copies of a global header": lambda: (
        extended(b"g", pax(*keys(1000))) + header(tarfile.REGTYPE, 0)
        + (extended(b"x", pax("a" * 9)) + header(tarfile.REGTYPE, 0)) * 3000
    ),
    "a sparse map without an end": lambda: sparse_map(20_000),
    "a header below 0": lambda: extended(b"L", b"")[:124] + b"\xff" * 12
    + extended(b"L", b"")[136:],
    "200 sparse files": lambda: b"".join(sparse(4 << 20, f"tuned/{n}.conf") for n in range(200)),
}  # fmt: skip
