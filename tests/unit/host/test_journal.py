"""What is logged: escaped, with a priority for the journal, and each message seen as one."""

from __future__ import annotations

import logging

import pytest

from ocp_tuned_boot.host import journal

TWO = logging.LogRecord("x", logging.ERROR, "x.py", 1, "first\nsecond\nthird", None, None)


@pytest.mark.parametrize(
    ("formatter", "text"),
    [
        (journal.Escaped(), "first\n  second\n  third"),
        (journal.WithPriority(), "<3>first\n<3>  second\n<3>  third"),
    ],
)
def test_the_second_line_of_a_message_is_indented(formatter: logging.Formatter, text: str) -> None:
    assert formatter.format(TWO) == text


@pytest.mark.parametrize(("stream", "prefix"), [("", ""), ("8:1", "<3>")])
def test_the_last_error_is_one_message_too(
    stream: str, prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if stream:
        monkeypatch.setenv("JOURNAL_STREAM", stream)
    else:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    journal.print_error("no socket\nStart it.")
    assert capsys.readouterr().err == f"{prefix}ocp-tuned-boot: no socket\n{prefix}  Start it.\n"
