"""The Debian archive as this machine reaches it, for another suite."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_ONE_LINE = re.compile(r"^deb\s+(?:\[[^\]]*\]\s+)?\S+\s+(?P<suite>\S+)\s")
_FIELD = re.compile(r"^(?P<name>[^\s:#]+):(?P<value>.*)$", re.MULTILINE)


class NoDebianSources(RuntimeError):
    """This machine's apt knows no Debian archive."""


def for_suite(suite: str, etc: Path = Path("/etc")) -> str:
    """A sources.list or .sources text for `suite` (all of the machine's sources that are for its
    own Debian suite, in the format they have). `A+B`: for A, and for the suite B of the same
    archive, which has neither updates nor security updates. Raises `NoDebianSources`."""
    suite, _, beside = suite.partition("+")
    text = _renamed(suite, etc)
    if beside:
        text += "\n" + _renamed(beside, etc, alone=True)
    return text


def _renamed(suite: str, etc: Path, *, alone: bool = False) -> str:
    own = _codename((etc / "os-release").read_text())
    apt = etc / "apt"
    deb822 = [
        stanza
        for path in sorted(apt.glob("sources.list.d/*.sources"))
        for stanza in from_deb822(path.read_text(), own, suite, alone=alone)
    ]
    if deb822:
        return "\n\n".join(deb822) + "\n"
    lines = [
        line
        for path in [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]
        if path.exists()
        for line in from_one_line(path.read_text(), own, suite, alone=alone)
    ]
    if lines:
        return "\n".join(lines) + "\n"
    raise NoDebianSources(f"no source for Debian {own} in {apt}")


def from_deb822(text: str, own: str, suite: str, *, alone: bool = False) -> Iterator[str]:
    """The stanzas that are about the machine's own suite, with the other's name. `alone`: without
    updates."""
    without_comments = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n[ \t]*\n", without_comments):
        fields = {m["name"].lower(): m["value"].split() for m in _FIELD.finditer(stanza)}
        suites = fields.get("suites", [])
        disabled = fields.get("enabled") == ["no"]
        if "deb" not in fields.get("types", []) or disabled or not _all_of(suites, own):
            continue
        kept = [name for name in suites if name == own or not alone]
        if not kept:
            continue
        renamed = " ".join(suite + name[len(own) :] for name in kept)
        yield re.sub(r"(?im)^suites:.*$", f"Suites: {renamed}", stanza.strip())


def from_one_line(text: str, own: str, suite: str, *, alone: bool = False) -> Iterator[str]:
    """The same for the one-line format."""
    for line in text.splitlines():
        match = _ONE_LINE.match(line)
        if match and _all_of([match["suite"]], own) and (match["suite"] == own or not alone):
            start, end = match.span("suite")
            yield line[:start] + suite + line[start + len(own) : end] + line[end:]


def _all_of(suites: list[str], own: str) -> bool:
    """Whether these are Debian's suite, its updates and its security updates: those that every
    Debian release has."""
    return bool(suites) and set(suites) <= {own, f"{own}-updates", f"{own}-security"}


def _codename(os_release: str) -> str:
    match = re.search(r'(?m)^VERSION_CODENAME="?([a-z]+)"?$', os_release)
    if not match:
        raise NoDebianSources("os-release names no VERSION_CODENAME: this is not a Debian release")
    return match[1]
