"""Rows of text for people: wrapped to the terminal, escaped, and in colour where that is wanted."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TextIO

from ocp_tuned_boot.errors import escaped

#: The columns of a serial console, and of what is not a terminal.
COLUMNS = 80
#: The lines of a serial console.
LINES = 24
#: Longer lines are hard to read, however wide the terminal is; shorter ones cannot be indented.
_MOST, _LEAST = 110, 40
#: The columns of the label of a row, with the blank after it.
LABEL = 13
_INDENT = "  "

# A command at the end of a sentence: `…, then: systemctl reload ocp-tuned`. It is not wrapped, so
# that it can be copied.
_COMMAND = re.compile(r": ((?:systemctl|ocp-tuned-boot|journalctl|podman|kubectl) [^:]*)\Z")
# A line of boot.conf, which is to be copied as well.
_ASSIGNMENT = re.compile(r"\b\w+ = [^\s,]+")
# What keeps a word together while a text is wrapped. No text has it: `escaped` escapes it.
_TIED = "\x00"
_ASCII = str.maketrans(
    {"µ": "u", "…": "...", "–": "-", "→": "->", "≥": ">=", "≤": "<=", "×": "x",
     "│": "|", "─": "-", "█": "#", "▒": "=", "░": "."}
)  # fmt: skip


class Style(Enum):
    """How a row looks on a terminal with colours: the parameters of SGR (console_codes(4))."""

    PLAIN = ""
    STRONG = "1"
    GOOD = "1;32"
    WARNING = "1;33"
    BAD = "1;31"
    FAINT = "2"


@dataclass(frozen=True)
class Row:
    """One paragraph. `label` stands in a column of its own; a row without a label, and with
    `indented`, continues the row before it. `style` is that of the label, of the whole row if
    there is none. `verbatim`: is never wrapped, such as a command to type."""

    text: str
    label: str = ""
    style: Style = Style.PLAIN
    indented: bool = True
    verbatim: bool = False


@dataclass(frozen=True)
class Terminal:
    """What can be shown: the number of `columns`, `colours`, characters other than ASCII
    (`unicode`)."""

    columns: int = COLUMNS
    colours: bool = False
    unicode: bool = True

    @classmethod
    def of(cls, stream: TextIO, environment: Mapping[str, str]) -> Terminal:
        """The terminal that a stream goes to. No colours if NO_COLOR is set (no-color.org), on a
        terminal that says it is dumb, and in what is not a terminal, which has `COLUMNS`."""
        terminal = stream.isatty()
        wide = environment.get("COLUMNS", "")
        columns = int(wide) if wide.isdecimal() else COLUMNS
        if terminal:
            columns = _columns(stream) or columns
        columns = max(_LEAST, min(columns, _MOST))
        colours = terminal and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
        return cls(columns, colours, unicode=_is_utf8(environment))

    def screen(self, rows: Iterable[Row], command: str) -> list[Row]:
        """No more rows than one screen has. What matters most comes first; if lines are left out,
        the last row has their number, and the command that shows them."""
        shown = list(rows)
        heights = [self._row(row).count("\n") + 1 for row in shown]
        if sum(heights) <= LINES:
            return shown
        fit = next(at for at in range(len(shown)) if sum(heights[: at + 1]) > LINES - 1)
        return [*shown[:fit], Row(f"{sum(heights[fit:])} more lines: {command}")]

    def text(self, rows: Iterable[Row]) -> str:
        """The rows, a line each or more."""
        return "\n".join(self._row(row) for row in rows)

    def styled(self, text: str, style: Style) -> str:
        """Text in this style. It must be escaped already."""
        if not self.colours or style is Style.PLAIN or not text:
            return text
        return f"\x1b[{style.value}m{text}\x1b[0m"

    def plain(self, text: str) -> str:
        """Text with nothing in it that a terminal obeys or cannot show."""
        shown = escaped(text)
        if self.unicode:
            return shown
        return shown.translate(_ASCII).encode("ascii", "backslashreplace").decode()

    def _row(self, row: Row) -> str:
        first = f"{_INDENT}{self.plain(row.label):<{LABEL - 1}} " if row.label else ""
        rest = _INDENT + " " * LABEL if row.indented else ""
        lines = self._lines(self.plain(row.text), len(rest), verbatim=row.verbatim)
        if not row.label:
            return "\n".join(self.styled(rest + line, row.style).rstrip() for line in lines)
        label = self.styled(first, row.style)
        return "\n".join([(label + lines[0]).rstrip(), *(rest + line for line in lines[1:])])

    def _lines(self, text: str, indent: int, *, verbatim: bool) -> list[str]:
        lines = []
        for line in text.split("\n"):
            if verbatim:
                lines.append(line)
                continue
            tied = _COMMAND.sub(lambda match: ": " + match[1].replace(" ", _TIED), line)
            tied = _ASSIGNMENT.sub(lambda match: match[0].replace(" ", _TIED), tied)
            wrapped = textwrap.wrap(
                tied, max(_LEAST // 2, self.columns - indent),
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
            lines += [each.replace(_TIED, " ") for each in wrapped or [""]]
        return lines


def _columns(stream: TextIO) -> int:
    """Those of a terminal; 0 if it does not say, such as a serial console. ($COLUMNS is that of a
    shell, which may be older than the present size.)"""
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 0


def _is_utf8(environment: Mapping[str, str]) -> bool:
    """Whether the locale has all characters (locale(7): the first of these that is set)."""
    names = ("LC_ALL", "LC_CTYPE", "LANG")
    named = next((environment[name] for name in names if environment.get(name)), "")
    return bool(re.search(r"utf-?8", named, re.IGNORECASE))


def of_output() -> Terminal:
    """That of standard output."""
    return Terminal.of(sys.stdout, os.environ)
