"""Rows for people: wrapped, escaped, in colour only where that is wanted."""

from __future__ import annotations

import io

import pytest

from ocp_tuned_boot.commands.terminal import Row, Style, Terminal


class _Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


UTF8 = {"LANG": "C.UTF-8"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colours_only_on_a_terminal_that_wants_them(
    environment: dict[str, str], *, expected: bool
) -> None:
    assert Terminal.of(_Tty(), environment).colours is expected
    assert not Terminal.of(io.StringIO(), environment).colours


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (UTF8, True),
        ({"LANG": "en_US.utf8"}, True),
        ({"LANG": "C"}, False),
        ({}, False),
        ({"LC_ALL": "POSIX", "LANG": "en_US.UTF-8"}, False),
        ({"LC_ALL": "", "LC_CTYPE": "C.UTF-8", "LANG": "C"}, True),
    ],
)
def test_what_the_locale_cannot_show_is_written_in_ascii(
    environment: dict[str, str], *, expected: bool
) -> None:
    terminal = Terminal.of(io.StringIO(), environment)
    assert terminal.unicode is expected
    shown = terminal.text([Row("7 µs… ключ")])
    assert shown.isascii() is not expected
    if not expected:
        assert "7 us..." in shown


def test_a_long_text_is_wrapped_below_its_beginning() -> None:
    text = Terminal(40).text([Row("one two three four five six seven eight", "label")])
    first, *rest = text.split("\n")
    assert first.startswith("  label        one")
    assert rest
    assert all(line.startswith(" " * 15) and line[15] != " " for line in rest)
    assert all(len(line) <= 40 for line in text.split("\n"))


def test_a_command_at_the_end_of_a_sentence_stays_in_one_line() -> None:
    rows = [Row("Fix it in the profile of this node, then: systemctl reload-or-restart ocp-tuned")]
    assert any(
        line.strip() == "systemctl reload-or-restart ocp-tuned"
        for line in Terminal(60).text(rows).split("\n")
    )


def test_what_is_verbatim_is_not_wrapped() -> None:
    assert Terminal(40).text([Row("word " * 30 + "end", verbatim=True)]).count("\n") == 0


def test_nothing_that_a_terminal_obeys_is_shown_and_colours_do_not_count_as_columns() -> None:
    row = Row("a \x1b[2Jb", "name\x07", Style.BAD)
    coloured, plain = Terminal(colours=True).text([row]), Terminal().text([row])
    assert "\x1b" not in plain
    assert "\x07" not in plain
    assert coloured.replace("\x1b[1;31m", "").replace("\x1b[0m", "") == plain
    assert coloured.count("\x1b") == 2


def test_a_screen_has_all_rows_that_fit_and_the_number_of_the_other_lines() -> None:
    terminal = Terminal(80)
    fits = [Row("x", str(at)) for at in range(24)]
    assert terminal.screen(fits, "status --verbose") == fits
    *shown, more = terminal.screen([*fits, Row("y\nz")], "status --verbose")
    assert (shown, more.text) == (fits[:23], "3 more lines: status --verbose")
