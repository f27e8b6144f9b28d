"""Where something stands in a file of sections and keys: a profile, or boot.conf. Pure.

Reads as TuneD does (configparser with `=`, `#` after white space, and `strict=False`), and
remembers the lines; what is wrong does not stop it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

_SECTION = re.compile(r"\[(.+)\]")
_COMMENT = re.compile(r"(?:^|(?<=\s))#")


@dataclass(frozen=True)
class Entry:
    """A key with its value, or a section: then the key is empty. `line`: the number of its line."""

    line: int
    section: str
    key: str = ""
    value: str = ""


@dataclass(frozen=True)
class Broken:
    """A line that is neither a section nor `key=value`, or a key before the first section."""

    line: int
    found: str


@dataclass(frozen=True)
class Text:
    """The sections and keys in their order, and the lines that are neither."""

    entries: tuple[Entry, ...] = ()
    broken: tuple[Broken, ...] = ()

    def options(self, section: str = "") -> tuple[Entry, ...]:
        """The keys of a section, or of all."""
        return tuple(it for it in self.entries if it.key and section in ("", it.section))

    def find(self, section: str, key: str = "") -> Entry | None:
        """The last entry of these names: it is the one that counts."""
        return next(
            (it for it in reversed(self.entries) if (it.section, it.key) == (section, key)), None
        )

    def line(self, section: str, key: str = "") -> int:
        """The line of a key, else of its section; 0 if there is neither."""
        found = self.find(section, key) or self.find(section)
        return found.line if found else 0

    def twice(self) -> Iterator[tuple[Entry, int]]:
        """Each entry that exists before, and the line of the first one."""
        first: dict[tuple[str, str], int] = {}
        for each in self.entries:
            before = first.setdefault((each.section, each.key), each.line)
            if before != each.line:
                yield each, before


def read(text: str) -> Text:
    """The text of a file, whatever is wrong with it."""
    reader = _Reader()
    for number, line in enumerate(re.split("\r\n|\r|\n", text), 1):
        reader.take(number, line)
    reader.end()
    return Text(tuple(reader.entries), tuple(reader.broken))


class _Reader:
    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.broken: list[Broken] = []
        self._section: str | None = None
        self._indent = 0
        self._more: list[str] = []

    def take(self, number: int, line: str) -> None:
        bare = line.strip()
        comment = bare[:1] in ("#", ";") if bare else False
        value = "" if comment else _COMMENT.split(line, maxsplit=1)[0].strip()
        if not value:
            return
        indent = len(line) - len(line.lstrip())
        if self.entries and self.entries[-1].key and indent > self._indent:
            self._more.append(value)
            return
        self.end()
        self._indent = indent
        self._new(number, value)

    def end(self) -> None:
        """The value of the last key has no more lines."""
        if self._more:
            last = self.entries[-1]
            self.entries[-1] = replace(last, value="\n".join([last.value, *self._more]))
            self._more = []

    def _new(self, number: int, value: str) -> None:
        if header := _SECTION.match(value):
            self._section = header[1]
            self.entries.append(Entry(number, header[1]))
            return
        key, equals, rest = value.partition("=")
        if self._section is None or not equals or not key.strip():
            self.broken.append(Broken(number, value))
        else:
            self.entries.append(Entry(number, self._section, key.strip(), rest.strip()))
