"""What TuneD said about a profile: the messages of the program in the container (inside/program.py)
as checked values. Pure.

Nothing in them is trusted: a pod may have written the profile, and the image contains any TuneD.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Union

from ocp_tuned_boot.host.typedjson import built, from_json, many, texts, typed
from ocp_tuned_boot.inside.program import VERSION

#: The largest message (bytes).
LIMIT = 1024 * 1024
#: The states of a comparison, see inside/comparing.py.
PASSED, FAILED, NOT_APPLICABLE = "passed", "failed", "not-applicable"
PARAMETER, UNCHECKED, HANDED_OVER = "parameter", "unchecked", "handed-over"
STATES = (PASSED, FAILED, NOT_APPLICABLE, PARAMETER, UNCHECKED, HANDED_OVER)
#: What may have become of what was to be restored, see inside/undo.py.
OUTCOMES = ("restored", "has-first", "theirs", "stays")
# Python 3.9 needs quadratic time for a long number. No text of a message is so long.
_LONG_NUMBER = re.compile(rb"[0-9]{5000}")


@dataclass(frozen=True)
class Option:
    """An option of a section. `value`: with the variables and functions that TuneD has expanded;
    `raw`: as the profile has it, if that differs; `unknown`: why the value is not known."""

    option: str
    value: str
    raw: str = ""
    unknown: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the merged profile. `devices` and `conditions` as TuneD has expanded them.

    `left_out`: the option because of which TuneD leaves out the section on this machine (`enabled`,
    `cpuinfo_regex`, `uname_regex`); empty if it does not.
    """

    name: str
    type: str
    devices: str
    conditions: Mapping[str, str]
    priority: int
    left_out: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Asked:
    """What the profile means.

    `sections` are in the order in which TuneD applies them: of two that set the same, the later one
    wins. `left`: the number of items that had no room in the message. `profiles`: name and file of
    the profile and of those it includes; `absent_profiles`: optional, and not there. `files` were
    read, `absent` looked for; `commands` were run by functions of the profile. All paths are those
    of the container. `warnings`: what TuneD logged.
    """

    tuned: str
    python: str
    profile: str
    sections: tuple[Section, ...]
    left: int
    profiles: tuple[tuple[str, str], ...]
    absent_profiles: tuple[str, ...]
    files: tuple[str, ...]
    absent: tuple[str, ...]
    commands: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Unasked:
    """TuneD cannot be asked. It is run all the same. `profile`: it has been asked, and cannot load
    the profile, which it will report in its run."""

    reason: str
    profile: bool = False


@dataclass(frozen=True)
class Comparison:
    """One comparison of TuneD's, or why there is none. `state`: see `STATES`; a text that is not
    known is empty. `option` is empty for what concerns the whole section. `by`: who has compared
    it instead of TuneD."""

    section: str
    plugin: str
    option: str
    state: str
    device: str = ""
    expected: str = ""
    found: str = ""
    why: str = ""
    by: str = ""


@dataclass(frozen=True)
class Original:
    """The original value that TuneD remembers of an option, `first`, and what the profile requested
    instead, `applied`. `devices`: for these; empty texts for an option without."""

    plugin: str
    option: str
    devices: tuple[str, ...]
    first: str
    applied: str


@dataclass(frozen=True)
class Restored:
    """What has become of an option of an earlier profile. `how` as in inside/undo.py; `why` it was
    not restored, where TuneD said it."""

    plugin: str
    option: str
    device: str
    how: str
    why: str = ""


@dataclass(frozen=True)
class Verified:
    """What holds. `left`: the number of items that had no room in the message; `refused`: the files
    that TuneD would have written in order to compare; `warnings`: what TuneD logged meanwhile."""

    rows: tuple[Comparison, ...]
    left: int
    refused: tuple[str, ...]
    warnings: tuple[str, ...]
    originals: tuple[Original, ...] = ()
    restored: tuple[Restored, ...] = ()


@dataclass(frozen=True)
class Unverified:
    """TuneD has compared nothing."""

    reason: str
    originals: tuple[Original, ...] = ()
    restored: tuple[Restored, ...] = ()


Said = Union[Asked, Unasked, Verified, Unverified]


def parse(data: bytes) -> Said:
    """A message of the program. Raises `ValueError`, which says what was found."""
    if len(data) > LIMIT or _LONG_NUMBER.search(data):
        raise ValueError(f"found a message of {len(data)} bytes, or a long number in it")
    try:
        content = typed(dict, from_json(data))
        if content["version"] != VERSION:
            raise ValueError(f"found version {content['version']!r}, expected {VERSION}")
        if content["kind"] not in _KINDS:
            raise ValueError(f"found kind {content['kind']!r}, expected one of {list(_KINDS)}")
        return _KINDS[content["kind"]](content)
    except KeyError as error:
        raise ValueError(f"found no {error}") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error


def _asked(content: dict[str, Any]) -> Asked:
    lists = ("absent_profiles", "files", "absent", "commands", "warnings")
    pairs = [texts(each) for each in typed(list, content["profiles"])]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("found a profile that is not a name and a file")
    made = built(
        Asked,
        {
            **{name: content[name] for name in ("tuned", "python", "profile")},
            **{name: texts(content[name]) for name in lists},
            "profiles": tuple((name, file) for name, file in pairs),
            "sections": tuple(_section(each) for each in typed(list, content["sections"])),
            "left": _number(content["left"]),
        },
    )
    names = [section.name for section in made.sections]
    if len(set(names)) != len(names):
        raise ValueError("found two sections with one name")
    return made


def _section(content: Any) -> Section:
    content = typed(dict, content)
    conditions = {name: typed(str, it) for name, it in typed(dict, content["conditions"]).items()}
    options = many(Option, content["options"])
    return built(
        Section,
        {
            **content,
            "conditions": conditions,
            "options": options,
            "priority": _number(content["priority"], least=-(2**31)),
        },
    )


def _verified(content: dict[str, Any]) -> Verified:
    rows = many(Comparison, content["rows"])
    wrong = {row.state for row in rows} - set(STATES)
    if wrong:
        raise ValueError(f"found state {min(wrong)!r}, expected one of {list(STATES)}")
    return Verified(
        rows, _number(content["left"]), texts(content["refused"]), texts(content["warnings"]),
        *_undone(content),
    )  # fmt: skip


def _unverified(content: dict[str, Any]) -> Unverified:
    return Unverified(typed(str, content["reason"]), *_undone(content))


def _undone(content: dict[str, Any]) -> tuple[tuple[Original, ...], tuple[Restored, ...]]:
    """Both are missing where TuneD has only compared, and in a message to an earlier release."""
    originals = [
        built(Original, {**typed(dict, each), "devices": texts(each["devices"])})
        for each in typed(list, content.get("originals", []))
    ]
    restored = many(Restored, content.get("restored", []))
    wrong = {each.how for each in restored} - set(OUTCOMES)
    if wrong:
        raise ValueError(f"found {min(wrong)!r}, expected one of {list(OUTCOMES)}")
    return tuple(originals), restored


def _number(found: Any, least: int = 0) -> int:
    """A whole number below 2³¹. Raises `ValueError`."""
    if type(found) is not int or not least <= found < 2**31:
        raise ValueError(f"found {str(found)[:40]!r}, expected a number from {least}")
    return found


_KINDS: dict[str, Callable[[dict[str, Any]], Said]] = {
    "asked": _asked,
    "unasked": lambda content: built(Unasked, content),
    "verified": _verified,
    "unverified": _unverified,
}
