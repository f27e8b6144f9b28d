"""TuneD's log: parses the bytes that conmon writes into records with a level. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ocp_tuned_boot.errors import escaped

# `2026-11-23 22:23:29,443 ERROR    tuned.daemon.daemon: …` (tuned/logs.py)
_TUNED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ([A-Z]+) +([\w.-]+): (.*)\Z", re.DOTALL)
# `E1123 22:23:31.171888    4615 controller.go:1784] …`: the operator's wrapper (klog)
_KLOG = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ([^\]]+)\] (.*)\Z", re.DOTALL)
#: The maximum length of a line (bytes). Longer lines are cut off.
LINE_LIMIT = 16 * 1024

_KLOG_LEVELS = {"I": "INFO", "W": "WARNING", "E": "ERROR", "F": "CRITICAL"}


@dataclass(frozen=True)
class LogRecord:
    """One message. `more`: the lines after it that have no header."""

    level: str
    logger: str
    message: str
    more: tuple[str, ...] = ()

    @property
    def has_traceback(self) -> bool:
        """Whether there is a traceback, printed by Python without a header or logged by TuneD."""
        lines = [*self.message.split("\n"), *self.more]
        return any(line.startswith("Traceback (most recent call last)") for line in lines)

    @property
    def is_error(self) -> bool:
        """True for ERROR and CRITICAL, and for a traceback at any level."""
        return self.level in ("ERROR", "CRITICAL") or self.has_traceback


class LineReader:
    """Parses Podman's k8s-file format (`TIME stdout|stderr F|P text`) into lines of text.

    The bytes may be split anywhere. `P` marks a part of a line; the next entry continues it.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._partial: dict[bytes, bytes] = {}

    def feed(self, data: bytes) -> list[str]:
        """The lines that these bytes complete."""
        *entries, self._rest = (self._rest + data).split(b"\n")
        lines = []
        for entry in entries:
            stream, flag, text = self._fields(entry)
            whole = (self._partial.pop(stream, b"") + text)[: LINE_LIMIT + 1]
            if flag == b"P":
                self._partial[stream] = whole
            else:
                lines.append(printable(whole))
        return lines

    def finish(self) -> list[str]:
        """The incomplete lines at the end of the log: the writer may have been killed."""
        lines = self.feed(b"\n") if self._rest else []
        lines += [printable(text) for text in self._partial.values()]
        self._partial.clear()
        return lines

    @staticmethod
    def _fields(entry: bytes) -> tuple[bytes, bytes, bytes]:
        fields = entry.split(b" ", 3)
        if len(fields) == 4 and fields[1] in (b"stdout", b"stderr") and fields[2] in (b"F", b"P"):
            return fields[1], fields[2], fields[3]
        return b"", b"F", entry


def printable(text: bytes) -> str:
    """One line of text, with invalid UTF-8 and control characters escaped."""
    line = escaped(text[:LINE_LIMIT].decode(errors="backslashreplace")).replace("\n", "\\x0a")
    return line if len(text) <= LINE_LIMIT else f"{line}…"


def header(line: str) -> tuple[str, str, str] | None:
    """Level, logger and message of a line with which a record begins. None for one without a
    header: it continues the record before it."""
    tuned = _TUNED.match(line)
    if tuned:
        return tuned[1], tuned[2], tuned[3]
    klog = _KLOG.match(line)
    return (_KLOG_LEVELS[klog[1]], klog[2], klog[3]) if klog else None


def parse(lines: Iterable[str]) -> list[LogRecord]:
    """The records of a log. The lines before the first header become a record of level NONE."""
    found: list[tuple[str, str, str, list[str]]] = []
    for line in lines:
        begins = header(line)
        if begins is not None:
            found.append((*begins, []))
        elif found:
            found[-1][3].append(line)
        else:
            found.append(("NONE", "", "", [line]))
    return [
        LogRecord(level, logger, message, tuple(more)) for level, logger, message, more in found
    ]
