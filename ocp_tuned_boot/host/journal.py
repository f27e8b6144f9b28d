"""What this program logs: on a terminal as it is, in the journal with a priority (sd-daemon(3))."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import TextIO

from ocp_tuned_boot.errors import escaped

_PRIORITIES = {
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    logging.INFO: 6,
    logging.DEBUG: 7,
}


class Escaped(logging.Formatter):
    """Escapes what is logged: it may contain words of a pod or of an image. The second line of
    a message, and what follows it, is indented."""

    def format(self, record: logging.LogRecord) -> str:
        return escaped(super().format(record)).replace("\n", "\n  ")


class WithPriority(Escaped):
    """Puts the syslog priority before each line."""

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES[record.levelno]
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).split("\n"))


# Generic since Python 3.11 only.
class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A terminal or a pipe that is closed does not end a run."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
            return
        # What is still in the stream's buffer would fail again when Python exits.
        with suppress(OSError, ValueError), open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), self.stream.fileno())


def in_utf8() -> None:
    """Has standard output and standard error take all characters, whatever the locale is."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def set_up_logging(verbose: bool, stream: TextIO) -> None:
    """Logs to `stream`. The journal adds time and unit by itself."""
    handler = _Handler(stream)
    handler.setFormatter(WithPriority() if is_journal() else Escaped())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    logging.getLogger("urllib3").setLevel(logging.WARNING)


#: How the line begins that says why the program fails.
ERROR = "ocp-tuned-boot: "


def print_error(text: str) -> None:
    """Prints to standard error why the program fails; `text` is escaped already."""
    prefix = f"<{_PRIORITIES[logging.ERROR]}>" if is_journal() else ""
    indent = ERROR
    for line in text.splitlines():
        sys.stderr.write(f"{prefix}{indent}{line}\n")
        indent = "  "


def is_journal() -> bool:
    """Whether what this program prints goes to the journal (systemd.exec(5))."""
    return "JOURNAL_STREAM" in os.environ
