"""Messages of the program in the container: what they mean, and what is no message."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot.inside.program import VERSION
from ocp_tuned_boot.tuned import asked
from ocp_tuned_boot.tuned.asked import (
    Asked,
    Comparison,
    Option,
    Original,
    Restored,
    Section,
    Unasked,
    Unverified,
    Verified,
    parse,
)
from tests.unit.hostile import TEXTS

SECTION: dict[str, Any] = {
    "name": "sysctl",
    "type": "sysctl",
    "devices": "*",
    "conditions": {"uname_regex": "x86_64"},
    "priority": 0,
    "left_out": "",
    "options": [
        {"option": "vm.swappiness", "value": "17", "raw": "${swap}"},
        {"option": "kernel.printk", "value": "", "unknown": "TuneD cannot compute it"},
    ],
}
ASKED: dict[str, Any] = {
    "version": VERSION,
    "kind": "asked",
    "tuned": "2.25.1",
    "python": "3.13.5",
    "profile": "custom",
    "sections": [SECTION],
    "left": 0,
    "profiles": [["custom", "/etc/tuned/custom/tuned.conf"]],
    "absent_profiles": ["provider-aws"],
    "files": ["/etc/tuned/custom/tuned.conf"],
    "absent": [],
    "commands": ["cat /host/var/lib/ocp-tuned/provider"],
    "warnings": [],
}
ROW = {"section": "vm", "plugin": "vm", "option": "dirty_ratio", "state": "passed"}
VERIFIED: dict[str, Any] = {
    "version": VERSION,
    "kind": "verified",
    "rows": [ROW, {**ROW, "state": "failed", "device": "sda", "expected": "1", "found": "2"}],
    "left": 3,
    "refused": ["/sys/x"],
    "warnings": ["instance video: no matching devices available"],
}


def message(content: Any) -> bytes:
    return json.dumps(content).encode()


def test_what_the_profile_means() -> None:
    assert parse(message(ASKED)) == Asked(
        tuned="2.25.1",
        python="3.13.5",
        profile="custom",
        sections=(
            Section(
                "sysctl", "sysctl", "*", {"uname_regex": "x86_64"}, 0, "",
                (
                    Option("vm.swappiness", "17", "${swap}"),
                    Option("kernel.printk", "", "", "TuneD cannot compute it"),
                ),
            ),
        ),
        left=0,
        profiles=(("custom", "/etc/tuned/custom/tuned.conf"),),
        absent_profiles=("provider-aws",),
        files=("/etc/tuned/custom/tuned.conf",),
        absent=(),
        commands=("cat /host/var/lib/ocp-tuned/provider",),
        warnings=(),
    )  # fmt: skip


def test_what_holds() -> None:
    assert parse(message(VERIFIED)) == Verified(
        (
            Comparison("vm", "vm", "dirty_ratio", "passed"),
            Comparison("vm", "vm", "dirty_ratio", "failed", "sda", "1", "2"),
        ),
        3,
        ("/sys/x",),
        ("instance video: no matching devices available",),
    )


ORIGINAL = {"plugin": "disk", "option": "readahead", "devices": ["sda"], "first": "128",
            "applied": ">4096"}  # fmt: skip
DONE = {"plugin": "disk", "option": "readahead", "device": "sda", "how": "theirs", "why": ""}


@pytest.mark.parametrize("compared", [True, False])
def test_what_is_restored_is_said_whether_tuned_compares_or_not(compared: bool) -> None:
    content: dict[str, Any] = {**VERIFIED, "kind": "unverified", "reason": "it is off"}
    content = VERIFIED if compared else content
    said = parse(message({**content, "originals": [ORIGINAL], "restored": [DONE]}))
    assert isinstance(said, Verified if compared else Unverified)
    assert said.originals == (Original("disk", "readahead", ("sda",), "128", ">4096"),)
    assert said.restored == (Restored("disk", "readahead", "sda", "theirs"),)


@pytest.mark.parametrize(
    "wrong",
    [
        {"originals": [{**ORIGINAL, "devices": "sda"}]},
        {"originals": [{**ORIGINAL, "first": 128}]},
        {"originals": ["sda"]},
        {"restored": [{**DONE, "how": "gone"}]},
        {"restored": [{**DONE, "device": None}]},
    ],
    ids=str,
)
def test_what_is_restored_is_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="found "):
        parse(message({**VERIFIED, **wrong}))


def test_a_reason_is_enough() -> None:
    reason = {"version": VERSION, "reason": "ImportError: tuned"}
    assert parse(message({**reason, "kind": "unasked"})) == Unasked("ImportError: tuned")
    unloaded = parse(message({**reason, "kind": "unasked", "profile": True}))
    assert unloaded == Unasked("ImportError: tuned", profile=True)
    assert parse(message({**reason, "kind": "unverified"})) == Unverified("ImportError: tuned")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ([], "expected a dict"),
        ({**ASKED, "version": VERSION + 1}, f"found version {VERSION + 1}, expected {VERSION}"),
        ({**ASKED, "kind": "told"}, "found kind 'told', expected one of"),
        ({**ASKED, "kind": []}, "unhashable"),
        ({**ASKED, "profile": 1}, "profile"),
        ({**ASKED, "files": [1]}, "found 1, expected a str"),
        ({**ASKED, "left": True}, "found 'True', expected a number"),
        ({**ASKED, "left": -1}, "found '-1', expected a number"),
        ({**ASKED, "profiles": [["one"]]}, "found a profile that is not a name and a file"),
        ({**ASKED, "sections": [SECTION, SECTION]}, "found two sections with one name"),
        ({**ASKED, "sections": [{**SECTION, "priority": 2**31}]}, "expected a number"),
        ({**ASKED, "sections": [{**SECTION, "options": [{"option": "x"}]}]}, "value"),
        ({**ASKED, "sections": [{**SECTION, "conditions": {"x": 1}}]}, "found 1, expected a str"),
        ({**ASKED, "sections": "x"}, "expected a list"),
        ({**VERIFIED, "rows": [{**ROW, "state": "fine"}]}, "found state 'fine', expected one of"),
        ({**VERIFIED, "rows": [{**ROW, "found": 1}]}, "found a found that is not a str"),
        ({"version": VERSION, "kind": "unasked"}, "reason"),
        ({"version": VERSION, "kind": "unasked", "reason": "", "profile": 1}, "profile"),
        ({"version": VERSION, "kind": "unverified"}, "found no 'reason'"),
    ],
)
def test_what_is_no_message(content: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(message(content))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b"x" * (asked.LIMIT + 1),
        b'{"version": NaN}',
    ],
    ids=["empty", "not-utf8", "deep", "large", "nan"],
)
def test_what_is_no_json(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(data)


def test_a_long_number_is_not_even_read() -> None:
    """Python 3.9 would need a minute."""
    with pytest.raises(ValueError, match="a long number in it"):
        parse(b'{"version": ' + b"1" * 900_000 + b"}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([ASKED, VERIFIED]), st.data())
def test_whatever_is_found_in_a_message(content: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(content)))
    where = data.draw(st.sampled_from(["top", "inner"]))
    value = data.draw(JSON)
    if where == "inner" and name == "sections":
        inner = data.draw(st.sampled_from(sorted(SECTION)))
        changed = {**content, name: [{**SECTION, inner: value}]}
    elif where == "inner" and name == "rows":
        changed = {**content, name: [{**ROW, data.draw(st.sampled_from(sorted(ROW))): value}]}
    else:
        changed = {**content, name: value}
    with contextlib.suppress(ValueError):
        parse(message(changed))
