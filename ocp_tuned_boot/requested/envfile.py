"""The syntax of environment files, as in systemd.exec(5), `EnvironmentFile=`."""

from __future__ import annotations

import re

from ocp_tuned_boot.errors import ConfigurationError

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
# In double quotes, a backslash escapes these characters; before any other it is a backslash.
_DOUBLE_QUOTE_ESCAPES = '"\\`$'


def parse(text: str, where: str) -> dict[str, str]:
    """The variables in `text`. `where` begins each error message.

    A later assignment wins. Lines that start with '#' or ';' are comments, a backslash joins lines,
    and values may be quoted with ' or ". systemd ignores a line that is not valid and logs a
    warning. Here it raises `ConfigurationError`, because an incomplete line looks the same.
    """
    return dict(_Reader(text, where).assignments())


class _Reader:
    """Reads the text once, character by character."""

    def __init__(self, text: str, where: str) -> None:
        self.text = text
        self.where = where
        self.at = 0

    def assignments(self) -> list[tuple[str, str]]:
        found = []
        while self.at < len(self.text):
            char = self.text[self.at]
            if char.isspace():
                self.at += 1
            elif char in "#;":
                self.skip_comment()
            else:
                found.append((self.name(), self.value()))
        return found

    def error(self, start: int, message: str) -> ConfigurationError:
        line = self.text[:start].count("\n") + 1
        return ConfigurationError(f"{self.where}: line {line}: {message}")

    def skip_comment(self) -> None:
        # A backslash at the end of a comment does not continue it (systemd 254 and later).
        end = self.text.find("\n", self.at)
        self.at = end if end >= 0 else len(self.text)

    def name(self) -> str:
        start = self.at
        end = self.text.find("\n", start)
        line = self.text[start : end if end >= 0 else len(self.text)]
        name, equals, _ = line.partition("=")
        if not equals or not _NAME.match(name.rstrip()):
            raise self.error(start, f"found {line[:80]!r}, expected NAME=value")
        self.at = start + len(name) + 1
        return name.rstrip()

    def value(self) -> str:
        """Quoted parts, then perhaps an unquoted one, in which quotes are ordinary characters."""
        start = self.at
        pieces: list[str] = []
        while self.at < len(self.text) and self.text[self.at] != "\n":
            char = self.text[self.at]
            if char in " \t\r":
                self.at += 1
            elif char in "'\"":
                self.at += 1
                pieces.append(self.quoted(char, start))
            else:
                pieces.append(self.unquoted())
        return "".join(pieces)

    def unquoted(self) -> str:
        value = ""
        while self.at < len(self.text) and self.text[self.at] != "\n":
            char = self.text[self.at]
            self.at += 1
            value += self.escaped() if char == "\\" else char
        return value.rstrip()

    def escaped(self) -> str:
        char = self.text[self.at : self.at + 1]
        self.at += 1
        return "" if char == "\n" else char

    def quoted(self, quote: str, start: int) -> str:
        value = ""
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == quote:
                return value
            if char == "\\" and quote == '"':
                following = self.escaped()
                value += following if following in _DOUBLE_QUOTE_ESCAPES else "\\" + following
            else:
                value += char
        raise self.error(start, f"found no closing {quote}, expected one; the file is incomplete")
