"""What a key of boot.conf is made of. The keys themselves are in `config.py`.

A section is a frozen dataclass, and each of its fields is a key: `timeout: float = key(…)`. mypy
sees that the default and the kind have the type of the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Callable, Generic, TypeVar

from ocp_tuned_boot.errors import ConfigurationError
from ocp_tuned_boot.requested.inputs import parse_image_reference, parse_profile_name
from ocp_tuned_boot.tuned.findings import KINDS

T = TypeVar("T")
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Kind(Generic[T]):
    """What a value may be. `expected` says so in words, for errors and for boot.conf(5).

    `parse(text, where)` returns the value, or raises `ConfigurationError`; `where` (file, section
    and key) begins the message.
    """

    expected: str
    parse: Callable[[str, str], T]


@dataclass(frozen=True)
class Key:
    """`says`: what the key is for, in one sentence; the vendor's boot.conf and boot.conf(5) have
    the same one."""

    default: Any
    kind: Kind[Any]
    says: str


def key(default: T, kind: Kind[T], says: str) -> T:
    """One field of a section. As with `dataclasses.field`, what mypy sees is the default."""
    return field(default=default, metadata={"key": Key(default, kind, says)})


def of(section: type) -> Mapping[str, Key]:
    """The keys of a section by name, in the order of its fields."""
    return {each.name: each.metadata["key"] for each in fields(section)}


def choice(*words: str) -> Kind[str]:
    """One of these words."""
    *others, last = (f'"{word}"' for word in words)
    expected = f"{', '.join(others)} or {last}"

    def parse(text: str, where: str) -> str:
        if text not in words:
            raise _refused(where, text, expected)
        return text

    return Kind(expected, parse)


def yes_or_no() -> Kind[bool]:
    """`yes` is True, `no` is False, and nothing else is either."""
    words = choice("yes", "no")
    return Kind(words.expected, lambda text, where: words.parse(text, where) == "yes")


def number(number_type: type[Number], unit: str, least: int, most: int) -> Kind[Number]:
    """A number of `unit` from `least` to `most`, both included."""
    expected = f"a number of {unit} from {least} to {most}"

    def parse(text: str, where: str) -> Number:
        try:
            value = number_type(text)
        except ValueError:
            raise _refused(where, text, expected) from None
        if not least <= value <= most:  # nan is in no range
            raise _refused(where, text, expected)
        return value

    return Kind(expected, parse)


def items(what: str, pattern: str) -> Kind[tuple[str, ...]]:
    """Items that match `pattern` as a whole, separated by commas."""
    expected = f"a comma-separated list of {what}"

    def parse(text: str, where: str) -> tuple[str, ...]:
        for item in _items(text):
            if not re.fullmatch(pattern, item):
                raise _refused(where, item, expected)
        return tuple(_items(text))

    return Kind(expected, parse)


def image() -> Kind[str]:
    """An image reference; empty for none."""
    return Kind("an image reference", lambda text, at: text and parse_image_reference(text, at))


def profile() -> Kind[str]:
    """The name of a profile; empty for none."""
    return Kind("a profile name", lambda text, at: text and parse_profile_name(text, at))


def socket() -> Kind[str]:
    """An absolute path; empty for none."""
    expected = "the absolute path of a unix socket"

    def parse(text: str, where: str) -> str:
        if text and not text.startswith("/"):
            raise _refused(where, text, expected)
        return text

    return Kind(expected, parse)


def prom() -> Kind[str]:
    """An absolute path; empty for none. node_exporter reads no other files than these."""
    expected = "the absolute path of a file whose name ends in .prom"

    def parse(text: str, where: str) -> str:
        if text and not re.fullmatch(r"(?!.*/\.\.?/)(/[^/]+)+\.prom", text):
            raise _refused(where, text, expected)
        return text

    return Kind(expected, parse)


def findings() -> Kind[tuple[tuple[str, str], ...]]:
    """Pairs `<kind>:<subject>`, separated by commas. A kind must be one that may be accepted, and a
    subject more than wildcards: these would also hide new findings."""
    return Kind("a comma-separated list of <kind>:<subject>", _findings)


def _findings(text: str, where: str) -> tuple[tuple[str, str], ...]:
    acceptable = sorted(name for name, it in KINDS.items() if it.acceptable)
    pairs = []
    for item in _items(text):
        kind, colon, subject = item.partition(":")
        if not colon or kind not in acceptable:
            kinds = f"<kind>:<subject> with one of the kinds {', '.join(acceptable)}"
            raise _refused(where, item, kinds)
        if not subject.strip("*?[]!-. /"):
            narrower = "a subject that is more than wildcards: these would also hide new findings"
            raise _refused(where, item, narrower)
        pairs.append((kind, subject))
    return tuple(pairs)


def _items(text: str) -> list[str]:
    return [item for item in (part.strip() for part in text.split(",")) if item]


def _refused(where: str, found: str, expected: str) -> ConfigurationError:
    return ConfigurationError(f"{where}: found {found!r}, expected {expected}")


def nearest(name: str, names: Sequence[str]) -> str:
    """The one of `names` that was most likely meant; empty if none is like it."""
    import difflib  # noqa: PLC0415  # only for a failure

    known = {each.casefold(): each for each in names}
    found = difflib.get_close_matches(name.casefold(), known, n=1)
    return known[found[0]] if found else ""
