"""What is logged: escaped, as entries in the journal or as lines with a priority, and never waiting
for a journald that does not read."""

from __future__ import annotations

import io
import logging
import os
import select
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import journal, messages

TWO = logging.LogRecord("x", logging.ERROR, "x.py", 1, "first\nsecond\nthird", None, None)

#: The fields of each entry.
OWN = {"SYSLOG_IDENTIFIER": "ocp-tuned-boot", "OBJECT_SYSTEMD_UNIT": "a.service"}


@pytest.mark.parametrize(
    ("formatter", "text"),
    [
        (journal.Escaped(), "first\n  second\n  third"),
        (journal.WithPriority(), "<3>first\n<3>  second\n<3>  third"),
    ],
)
def test_the_second_line_of_a_message_is_indented(formatter: logging.Formatter, text: str) -> None:
    assert formatter.format(TWO) == text


def test_the_last_error_is_one_message_too(capsys: pytest.CaptureFixture[str]) -> None:
    journal.print_error("no socket\nStart it.")
    assert capsys.readouterr().err == "ocp-tuned-boot: no socket\n  Start it.\n"


class Journald:
    """A socket as journald has it, and a stream that it reads."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / "socket")
        self._native = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._native.bind(self._path)
        self._native.setblocking(False)
        self._read, written = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._read.setblocking(False)
        self.stream = os.fdopen(written.detach(), "w", encoding="utf-8")

    def close(self) -> None:
        for each in (self._native, self._read, self.stream):
            each.close()

    def go(self) -> None:
        """Its native socket is not there any more."""
        os.unlink(self._path)

    def fill(self) -> None:
        """As if it had not read for a while."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            other.connect(self._path)
            while True:
                try:
                    other.send(b"x")
                except BlockingIOError:
                    return

    def fill_stream(self) -> None:
        os.set_blocking(self.stream.fileno(), False)
        while True:
            try:
                os.write(self.stream.fileno(), b"x" * 4096)
            except BlockingIOError:
                break
        os.set_blocking(self.stream.fileno(), True)

    def entries(self) -> list[dict[str, str]]:
        """All that has come by its native socket since the last time."""
        found: list[dict[str, str]] = []
        while True:
            try:
                data = self._native.recv(1 << 20)
            except BlockingIOError:
                return found
            if data != b"x":
                found.append(parsed(data))

    def lines(self) -> list[str]:
        try:
            return self._read.recv(1 << 20).decode().splitlines()
        except BlockingIOError:
            return []


def parsed(data: bytes) -> dict[str, str]:
    """An entry, as systemd.io/JOURNAL_NATIVE_PROTOCOL describes it."""
    found: dict[str, str] = {}
    while data:
        name, _, data = data.partition(b"\n")
        assert b"=" not in name
        size = int.from_bytes(data[:8], "little")
        assert name.decode() not in found
        found[name.decode()] = data[8 : 8 + size].decode()
        assert data[8 + size : 9 + size] == b"\n"
        data = data[9 + size :]
    return found


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journald]:
    found = Journald(tmp_path)
    monkeypatch.setattr(journal, "_unit", lambda: {"OBJECT_SYSTEMD_UNIT": "a.service"})
    monkeypatch.setattr(journal, "_SOCKET", str(tmp_path / "socket"))
    stream = os.fstat(found.stream.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{stream.st_dev}:{stream.st_ino}")
    yield found
    found.close()


@pytest.fixture
def log(journald: Journald) -> Iterator[logging.Logger]:
    with logging_to(journald.stream) as logger:
        yield logger


class logging_to:  # noqa: N801  # reads as a function
    """A logger of its own, set up as the program's is."""

    def __init__(self, stream: TextIO, *, verbose: bool = False) -> None:
        self._stream, self._verbose = stream, verbose

    def __enter__(self) -> logging.Logger:
        root = logging.getLogger()
        self._before, self._level, root.handlers = root.handlers, root.level, []
        journal.set_up_logging(self._verbose, self._stream)
        return logging.getLogger("tests")

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.handlers, root.level = self._before, self._level


def test_an_entry_has_its_fields(journald: Journald, log: logging.Logger) -> None:
    log.warning(
        "%s\nand more", "words",
        extra=messages.FINDING.extra(finding="timeout", subject="a\nPRIORITY=0", advice=""),
    )  # fmt: skip
    assert journald.entries() == [{
        "PRIORITY": "4", **OWN, "MESSAGE": "words\nand more",
        "MESSAGE_ID": messages.FINDING.id, "OCP_TUNED_FINDING": "timeout",
        "OCP_TUNED_SUBJECT": "a\nPRIORITY=0", "OCP_TUNED_ADVICE": messages.WITHOUT_ADVICE,
    }]  # fmt: skip
    assert journald.lines() == []


def test_a_field_that_is_not_documented_cannot_be_logged() -> None:
    with pytest.raises(KeyError, match="OCP_TUNED_MOOD"):
        messages.APPLIED.extra(mood="good")


def test_the_last_error_is_an_entry(journald: Journald, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", journald.stream)
    journal.print_error("no image\nPull it.", messages.FAILED, finding="image", advice="Pull it.")
    assert journald.entries() == [{
        "PRIORITY": "3", **OWN, "MESSAGE": "no image\nPull it.",
        "MESSAGE_ID": messages.FAILED.id, "OCP_TUNED_FINDING": "image",
        "OCP_TUNED_ADVICE": "Pull it.",
    }]  # fmt: skip


def test_without_the_socket_the_stream_takes_the_lines(
    journald: Journald, log: logging.Logger
) -> None:
    journald.go()
    log.error("one\ntwo", extra=messages.HELD.extra())
    assert journald.lines() == ["<3>one", "<3>  two"]


def test_of_a_long_text_the_beginning_and_the_end_are_logged(
    journald: Journald, log: logging.Logger
) -> None:
    log.error("%s", "A" * 300_000 + "end")
    (entry,) = journald.entries()
    assert entry["MESSAGE"].startswith("AAA")
    assert entry["MESSAGE"].endswith("Aend")
    assert len(entry["MESSAGE"]) < 20_000


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times that were waited for (milliseconds)."""
    found: list[float] = []
    real = select.poll

    class Counted:
        def __init__(self) -> None:
            self._poll = real()
            self.register = self._poll.register

        def poll(self, milliseconds: float) -> Any:
            if milliseconds:
                found.append(milliseconds)
            return self._poll.poll(milliseconds)

    monkeypatch.setattr(select, "poll", Counted)
    monkeypatch.setattr(journal, "PATIENCE", 0.01)
    return found


def test_a_journald_that_does_not_read_is_waited_for_once(
    journald: Journald, log: logging.Logger, waits: list[float]
) -> None:
    journald.fill()
    log.info("one")
    before = len(waits)
    assert 0 < sum(waits[:1]) <= 10
    log.info("two")
    log.info("three")
    assert len(waits) == before
    assert journald.lines() == ["<6>one", "<6>two", "<6>three"]
    # It reads again.
    journald.entries()
    log.info("four")
    assert [each["MESSAGE"] for each in journald.entries()] == ["four"]
    assert len(waits) == before
    # From now on it is waited for again.
    journald.fill()
    log.info("five")
    assert len(waits) > before


def test_what_fits_nowhere_is_lost_and_counted(
    journald: Journald, log: logging.Logger, waits: list[float]
) -> None:
    assert waits == []
    journald.fill()
    journald.fill_stream()
    for number in range(3):
        log.info("message %d", number)
    journald.entries()
    log.info("four")
    assert [each["MESSAGE"] for each in journald.entries()] == [
        "four", "3 messages are missing here: journald did not accept them",
    ]  # fmt: skip


def test_a_pipe_of_the_unit_is_not_the_journal(
    journald: Journald, capfd: pytest.CaptureFixture[str]
) -> None:
    assert journal.is_journal(journald.stream)
    assert not journal.is_journal(io.StringIO())
    with logging_to(sys.stdout) as logger:
        logger.error("words")
    assert capfd.readouterr().out == "words\n"
    assert journald.entries() == []


PASSWORDS = (
    ("GET http://user:s3cret@proxy:3128/x", "GET http://…@proxy:3128/x"),
    ('invalid proxy address "http://user:s3/cr@et@proxy": invalid port ":s3" after host',
     'invalid proxy address "http://…@proxy": invalid port "…" after host'),
    ("pull docker://registry:5000/a/tuned@sha256:0f via http://u:s3cret@p",
     "pull docker://registry:5000/a/tuned@sha256:0f via http://…@p"),
    ("registry:5000/a/tuned@sha256:0f and a@b", "registry:5000/a/tuned@sha256:0f and a@b"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), PASSWORDS)
def test_no_password_of_an_address_is_logged(
    text: str, shown: str, journald: Journald, log: logging.Logger
) -> None:
    log.error("%s", text, extra=messages.FINDING.extra(advice=text))
    (entry,) = journald.entries()
    assert (entry["MESSAGE"], entry["OCP_TUNED_ADVICE"]) == (shown, shown)
    assert HostError(text).message == shown
    journald.go()
    log.error("again: %s", text)
    assert journald.lines() == [f"<3>again: {shown}"]


def test_the_same_is_logged_once_until_some_time_has_passed(
    journald: Journald, log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        log.warning("held")
        log.info("pull: %.1f s", time.monotonic(), extra=messages.extra(step="pull"))
        log.info("%s", time.monotonic(), extra=messages.of_tuned("tuned.daemon", "started"))
    assert [each["MESSAGE"][:6] for each in journald.entries()] == ["held", "pull: ", "tuned."]
    monkeypatch.setattr(journal, "AGAIN", 0.0)
    log.warning("held")
    assert [each["MESSAGE"] for each in journald.entries()] == ["held"]


def test_steps_are_not_for_the_terminal_unless_it_wants_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for verbose in (False, True):
        with logging_to(sys.stdout, verbose=verbose) as logger:
            logger.info("pulled", extra=messages.extra(step="pull"))
            logger.info("words")
    assert capsys.readouterr().out == "words\npulled\nwords\n"


def test_a_line_of_tuneds_has_its_level_and_not_its_time_twice(
    journald: Journald, log: logging.Logger
) -> None:
    line = "2026-11-23 22:23:29,443 ERROR    tuned.plugins.base: it failed"
    log.error("%s", line, extra=messages.of_tuned("tuned.plugins.base", "it failed"))
    assert journald.entries() == [{
        "PRIORITY": "3", **OWN,
        "MESSAGE": "tuned.plugins.base: it failed", "TUNED_LOGGER": "tuned.plugins.base",
    }]  # fmt: skip
    journald.go()
    log.info("%s", line, extra=messages.of_tuned("", line))
    assert journald.lines() == [f"<6>{line}"]


def test_a_daemon_may_repeat_itself(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level, root.handlers = root.handlers, root.level, []
    try:
        journal.set_up_logging(False, sys.stdout, repeats=True)
        for _ in range(2):
            root.info("refused")
    finally:
        root.handlers, root.level = before, level
    assert capsys.readouterr().out == "refused\nrefused\n"


def test_an_entry_of_a_unit_that_this_process_does_not_belong_to(journald: Journald) -> None:
    journal.note("ocp-tuned.service", "it failed", messages.FAILED, finding="podman")
    (entry,) = journald.entries()
    assert entry["OBJECT_SYSTEMD_UNIT"] == "ocp-tuned.service"
    assert (entry["MESSAGE"], entry["PRIORITY"]) == ("it failed", "3")
    assert (entry["MESSAGE_ID"], entry["OCP_TUNED_FINDING"]) == (messages.FAILED.id, "podman")
