"""Archives of others: what is in a good one is read, and a bad one ends by its own error."""

from __future__ import annotations

import io
import tarfile
import tracemalloc

import pytest

from ocp_tuned_boot.host import tar
from tests.unit import tars
from tests.unit.tars import BOMBS, END, extended, header, made, sparse

#: What may be in memory at the most beside the archive (bytes).
MOST = 8 * 1024 * 1024


def read(data: bytes) -> dict[str, bytes]:
    """All files of an archive."""
    file = io.BytesIO(data)
    return {
        member.name: tar.content(file, member, 1 << 20)
        for member in tar.members(file)
        if member.isreg()
    }


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_is_in_a_good_archive_is_read(form: int) -> None:
    out = io.BytesIO()
    want = {
        "a": b"", "b": b"x" * 5000,
        "d/" * 40 + "e" * 90: b"1", "é" * 40: b"2",
        **{f"blobs/{n}": b"." * n for n in range(1200)},
    }  # fmt: skip
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in want.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1.5 if form == tarfile.PAX_FORMAT else 1
            archive.addfile(member, io.BytesIO(data))
    assert read(out.getvalue()) == want


def test_paths_of_any_length_of_the_kernels_are_read() -> None:
    long = "/".join(["d" * 250] * 16)
    assert read(made({long: b"x", "b": b"y"})) == {long: b"x", "b": b"y"}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_and_takes_no_memory(name: str) -> None:
    data = BOMBS[name]() + END
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"it cannot be read as a tar archive|sparse"):
            read(data)
        assert tracemalloc.get_traced_memory()[1] - len(data) < MOST
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (sparse(1 << 30), "found a sparse file, expected none"),
        (header(tarfile.REGTYPE, 2 << 20), "found a file of 2097152 bytes, expected at most"),
        (header(tarfile.REGTYPE, 100) + b"x", "it is not complete"),
        (header(tarfile.REGTYPE, 0) * (tar.MEMBERS + 1), "found more than 10000 members"),
        (b"no archive" * 100, "it cannot be read as a tar archive"),
        (b"", "it cannot be read as a tar archive"),
        (extended(b"L", b"a" * 20_000), "found headers of 20992 bytes, expected 16384"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(data + (b"" if data.endswith(b"x") else tars.END * bool(data)))
