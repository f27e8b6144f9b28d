"""What this program logs: on a terminal as it is, in the journal as entries with fields.

The fields are those of `messages`. Without the journal's socket, or if journald does not read from
it, the stream takes the lines instead, each with a priority (sd-daemon(3)).
"""

from __future__ import annotations

import logging
import os
import select
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from io import TextIOWrapper
from typing import TextIO

from ocp_tuned_boot.errors import escaped, without_passwords
from ocp_tuned_boot.host import messages
from ocp_tuned_boot.host.messages import Message

_PRIORITIES = {
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    logging.INFO: 6,
    logging.DEBUG: 7,
}

_SOCKET = "/run/systemd/journal/socket"
_IDENTIFIER = "ocp-tuned-boot"
#: How long an entry waits for a journald that is busy (seconds). For one that does not read at all
#: only the first entry waits: the kubelet may be waiting for this program.
PATIENCE = 1.0
#: For so long the same message is not logged again (seconds): a boot that is held tries again every
#: few seconds, possibly for days.
AGAIN = 600.0
# The longest text (characters): each entry must fit into one message, and into the buffer of a
# stream that nobody reads.
_LONGEST = 16_000
# The most messages that are remembered for that.
_MOST = 10_000


class Escaped(logging.Formatter):
    """Escapes what is logged: it may contain words of a pod or of an image. The second line of
    a message, and what follows it, is indented."""

    def format(self, record: logging.LogRecord) -> str:
        return _plain(super().format(record)).replace("\n", "\n  ")


class WithPriority(Escaped):
    """Puts the syslog priority before each line."""

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES[record.levelno]
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).split("\n"))


class Journal:
    """journald's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).

    Not with pystemd.journal or python3-systemd: both call sd_journal_sendv(3), which waits without
    end for a journald that does not read, and to import pystemd takes longer than a run that keeps
    everything.
    """

    def __init__(self) -> None:
        self._own = {"SYSLOG_IDENTIFIER": _IDENTIFIER, **_unit()}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._is_stuck = False

    def send(self, fields: Mapping[str, str]) -> bool:
        """Sends one entry. Returns whether journald has it."""
        data = b"".join(_field(name, value) for name, value in {**self._own, **fields}.items())
        try:
            # Each time: journald's socket may have been replaced.
            self._socket.connect(_SOCKET)
            return self._send(data)
        except OSError:
            return False

    def _send(self, data: bytes) -> bool:
        end = time.monotonic() + (0.0 if self._is_stuck else PATIENCE)
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        while True:
            with suppress(BlockingIOError):
                self._socket.send(data)
                self._is_stuck = False
                return True
            left = end - time.monotonic()
            if left <= 0:
                self._is_stuck = True
                return False
            poll.poll(left * 1000)


def _field(name: str, value: str) -> bytes:
    """In the form with a length: whatever is in a value, no other field can begin in it."""
    content = value.encode()
    return b"%s\n%s%s\n" % (name.encode(), len(content).to_bytes(8, "little"), content)


def _unit() -> dict[str, str]:
    """The unit of this process, by its control group. journald adds that to each entry itself,
    unless the process has exited by the time the entry is read. journalctl --unit finds this field
    in entries of root, too."""
    with suppress(OSError), open("/proc/self/cgroup", encoding="utf-8") as groups:
        for line in groups:
            name = line.rstrip().rpartition("/")[2]
            if name.endswith(".service"):
                return {"OBJECT_SYSTEMD_UNIT": name}
    return {}


class Once(logging.Filter):
    """Leaves out what the same process has logged in the last minutes already. A step counts by its
    name and whether it failed, a line of TuneD's log without its time. `steps`: whether steps are
    logged at all."""

    def __init__(self, *, steps: bool) -> None:
        super().__init__()
        self._steps = steps
        self._logged: dict[tuple[int, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is logged."""
        fields = _fields(record)
        step = fields.get("OCP_TUNED_STEP")
        if step and not self._steps:
            return False
        text = fields.get("MESSAGE") or record.getMessage()
        if step:
            # Without its time.
            text = f"{step} {text.rpartition(': ')[2].rstrip('0123456789. s')}"
        key, now = (record.levelno, hash(text)), time.monotonic()
        if now - self._logged.get(key, -AGAIN) < AGAIN:
            return False
        if len(self._logged) >= _MOST:
            self._logged.clear()
        self._logged[key] = now
        return True


# Generic since Python 3.11 only.
class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._journal = Journal() if is_journal(stream) else None
        self._lost = 0
        self.setFormatter(Escaped() if self._journal is None else WithPriority())

    def emit(self, record: logging.LogRecord) -> None:
        if self._journal is None:
            super().emit(record)
            return
        if self._journal.send(_entry(record)):
            self._report_lost()
        elif _takes_more(self.stream):
            super().emit(record)
        else:
            self._lost += 1

    def _report_lost(self) -> None:
        lost, self._lost = self._lost, 0
        if lost:
            words = f"{lost} messages are missing here: journald did not accept them"
            self.emit(logging.makeLogRecord({"levelno": logging.WARNING, "msg": words}))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A terminal or a pipe that is closed does not end a run."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
            return
        # What is still in the stream's buffer would fail again when Python exits.
        with suppress(OSError, ValueError), open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), self.stream.fileno())


def _entry(record: logging.LogRecord) -> dict[str, str]:
    """The fields of a log record. Those without a value are not in it."""
    fields = {"MESSAGE": logging.Formatter().format(record), **_fields(record)}
    return {
        "PRIORITY": str(_PRIORITIES[record.levelno]),
        **{name: _plain(value) for name, value in fields.items()},
    }


def _fields(record: logging.LogRecord) -> dict[str, str]:
    fields: dict[str, str] = getattr(record, messages.ATTRIBUTE, {})
    return fields


def _plain(text: str) -> str:
    """Of a long text, such as a traceback, the beginning and the end."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]}\n…\n{text[-_LONGEST // 2 :]}"
    return escaped(without_passwords(text))


def _takes_more(stream: TextIO) -> bool:
    """Whether a line can be written without waiting: behind the stream is the journald that did not
    take the entry."""
    poll = select.poll()
    with suppress(OSError, ValueError):
        poll.register(stream, select.POLLOUT)
        return bool(poll.poll(0))
    return False


def in_utf8() -> None:
    """Has standard output and standard error take all characters, whatever the locale is."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def set_up_logging(verbose: bool, stream: TextIO, *, repeats: bool = False) -> None:
    """Logs to `stream`, or to the journal if that is what is behind it. Elsewhere than in the
    journal, steps are only logged with `verbose`. What was logged before (`Once`) is only logged
    with `verbose` or `repeats`."""
    handler = _Handler(stream)
    if not (verbose or repeats):
        handler.addFilter(Once(steps=is_journal(stream)))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    logging.getLogger("urllib3").setLevel(logging.WARNING)


#: How the line begins that says why the program fails.
ERROR = "ocp-tuned-boot: "


def print_error(text: str, message: Message = messages.ERROR, **fields: str) -> None:
    """Prints to standard error, or logs, why the program fails; `text` is escaped already. For
    `message` and `fields` see `Message.extra`."""
    extra = message.extra(**fields)
    # In the journal each entry has the name of the program.
    extra[messages.ATTRIBUTE]["MESSAGE"] = text
    entry = {"levelno": logging.ERROR, "msg": ERROR + text, **extra}
    _Handler(sys.stderr).handle(logging.makeLogRecord(entry))


def note(unit: str, text: str, message: Message, **fields: str) -> None:
    """Logs an error as an entry of a unit that this process does not belong to."""
    entry = {"levelno": logging.ERROR, "msg": text, **message.extra(**fields)}
    Journal().send({**_entry(logging.makeLogRecord(entry)), "OBJECT_SYSTEMD_UNIT": unit})


def is_journal(stream: TextIO) -> bool:
    """Whether journald reads what is written to the stream: $JOURNAL_STREAM (systemd.exec(5)) names
    it by device and inode. A pipe or a file behind which the variable was inherited is not it."""
    with suppress(OSError, ValueError):
        found = os.fstat(stream.fileno())
        return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
    return False
