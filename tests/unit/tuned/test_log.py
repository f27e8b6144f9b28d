"""From the bytes conmon writes to records with a level."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot.tuned import log as tunedlog
from ocp_tuned_boot.tuned.log import LineReader, LogRecord

WRITTEN = (
    b"2026-11-23T22:30:36.0+00:00 stderr F first\n"
    b"2026-11-23T22:30:36.1+00:00 stderr P sec\n"
    b"2026-11-23T22:30:36.1+00:00 stdout F from the other stream\n"
    b"2026-11-23T22:30:36.2+00:00 stderr P on\n"
    b"2026-11-23T22:30:36.2+00:00 stderr F d\n"
    b"2026-11-23T22:30:36.3+00:00 stderr F \n"
    b"no prefix at all\n"
    b"2026-11-23T22:30:36.4+00:00 stderr F caf\xc3\xa9 \xff \x1b[31m\ttab\x07\n"
    b"2026-11-23T22:30:36.5+00:00 stdout P never ended\n"
    b"2026-11-23T22:30:36.6+00:00 stderr F cut o"
)
LINES = [
    "first", "from the other stream", "second", "", "no prefix at all",
    "café \\xff \\x1b[31m\ttab\\x07", "cut o", "never ended",
]  # fmt: skip


def test_lines_are_whole_wherever_the_bytes_are_cut() -> None:
    for at in range(len(WRITTEN) + 1):
        reader = LineReader()
        lines = reader.feed(WRITTEN[:at]) + reader.feed(WRITTEN[at:]) + reader.finish()
        assert lines == LINES, f"cut at {at}"
        assert reader.finish() == []


def test_a_line_is_given_as_soon_as_it_is_whole() -> None:
    reader = LineReader()
    assert reader.feed(b"t stderr F one\nt stderr F tw") == ["one"]
    assert reader.feed(b"o\n") == ["two"]
    assert reader.feed(b"t stderr X not podman's\n") == ["t stderr X not podman's"]
    assert reader.finish() == []


@given(st.lists(st.binary(max_size=30)))
def test_any_bytes_in_any_pieces_are_read_alike(pieces: list[bytes]) -> None:
    one, many = LineReader(), LineReader()
    whole = one.feed(b"".join(pieces)) + one.finish()
    assert [line for piece in pieces for line in many.feed(piece)] + many.finish() == whole
    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", "".join(whole))


TUNED = "2026-11-23 22:23:29,443 ERROR    tuned.daemon.daemon: it failed"
KLOG = "E1123 22:23:31.171888    4615 controller.go:1784] it failed"


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (TUNED, "ERROR"),
        (TUNED.replace("ERROR   ", "CRITICAL"), "CRITICAL"),
        (TUNED.replace("ERROR   ", "WARNING "), "WARNING"),
        (KLOG, "ERROR"),
        ("I" + KLOG[1:], "INFO"),
        ("W" + KLOG[1:], "WARNING"),
        ("F" + KLOG[1:], "CRITICAL"),
        ("ERROR without a header", None),
        ("", None),
    ],
)
def test_the_level_of_a_line(line: str, level: str | None) -> None:
    begins = tunedlog.header(line)
    assert (begins[0] if begins else None) == level


def test_records_have_the_lines_that_follow_them() -> None:
    log = ["before", "any header", TUNED, "more", "and more", KLOG, "", TUNED]
    assert tunedlog.parse(log) == [
        LogRecord("NONE", "", "", ("before", "any header")),
        LogRecord("ERROR", "tuned.daemon.daemon", "it failed", ("more", "and more")),
        LogRecord("ERROR", "controller.go:1784", "it failed", ("",)),
        LogRecord("ERROR", "tuned.daemon.daemon", "it failed"),
    ]
    assert tunedlog.parse([]) == []


HEAD = "Traceback (most recent call last):"


@pytest.mark.parametrize(
    ("record", "error", "traceback"),
    [
        (LogRecord("INFO", "x", "fine"), False, False),
        (LogRecord("WARNING", "x", "ERROR"), False, False),
        (LogRecord("ERROR", "x", ""), True, False),
        (LogRecord("CRITICAL", "x", ""), True, False),
        (LogRecord("INFO", "x", "fine", ("a", HEAD)), True, True),
        (LogRecord("NONE", "", "", (HEAD,)), True, True),
        (LogRecord("DEBUG", "x", f"it said\n{HEAD}\n  File"), True, True),
    ],
)
def test_an_error_is_one_by_its_level_or_its_traceback(
    record: LogRecord, error: bool, traceback: bool
) -> None:
    assert (record.is_error, record.has_traceback) == (error, traceback)
