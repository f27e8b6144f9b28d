"""How problems are printed."""

from __future__ import annotations

import json
import re

from ocp_tuned_boot.commands.check import show
from ocp_tuned_boot.commands.check.problem import (
    KINDS,
    Checkup,
    Problem,
    Severity,
    not_checked,
    ordered,
    problem,
)
from ocp_tuned_boot.commands.terminal import Terminal

BROKEN = problem("profile-syntax", "a b/tuned.conf", 3, "found '\x1b[2J'")
STOCK = problem("no-such-setting", "/usr/lib/tuned/x/tuned.conf", 4, "x: none", is_stock=True)
TWICE = problem("duplicate-key", "/p/tuned.conf", 9, "twice", "Remove one.")
FOUND = Checkup(ordered([STOCK, not_checked("The units", "no"), TWICE, BROKEN]))


def test_people_see_errors_first_and_what_was_not_checked_last() -> None:
    lines = show.text(FOUND, Terminal()).splitlines()
    labels = [line[:14].strip() for line in lines]
    assert [each for each in labels if each] == [
        "error", "warning", "note", "not checked", "1 error, 1 war",
    ]  # fmt: skip
    assert lines[-1] == "1 error, 1 warning, 1 note; 1 not checked"
    assert "\x1b" not in "".join(lines)
    assert any("tuned.conf:4 in the image (no-such-setting)" in line for line in lines)


def test_nothing_is_said_so() -> None:
    assert show.text(Checkup(), Terminal()) == "nothing found"
    assert show.gcc(Checkup()) == ""


def test_an_editor_finds_each_place() -> None:
    lines = show.gcc(FOUND).splitlines()
    assert lines[0] == r"a b/tuned.conf:3: error: found '\x1b[2J' [profile-syntax]"
    assert lines[1] == "/p/tuned.conf:9: warning: twice. Remove one. [duplicate-key]"
    form = re.compile(r"(\S.*:\d+|ocp-tuned-boot): (error|warning|note): .+ \[[a-z-]+\]")
    assert all(form.fullmatch(line) for line in lines)
    assert len(lines) == 4


def test_a_program_gets_all() -> None:
    rows = json.loads(show.as_json(FOUND))["problems"]
    assert [each["severity"] for each in rows] == ["error", "warning", "note", "note"]
    assert rows[1] == {
        "kind": "duplicate-key", "severity": "warning", "file": "/p/tuned.conf", "line": 9,
        "message": "twice", "advice": "Remove one.", "is_stock": False,
    }  # fmt: skip


def test_a_forge_gets_sarif() -> None:
    content = json.loads(show.sarif(FOUND))
    (run,) = content["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert content["version"] == "2.1.0"
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
    where = run["results"][0]["locations"][0]["physicalLocation"]
    assert where == {"artifactLocation": {"uri": "a%20b/tuned.conf"}, "region": {"startLine": 3}}
    # What is in the image is in no file of the repository.
    nowhere = {it["ruleId"] for it in run["results"] if "locations" not in it}
    assert nowhere == {"no-such-setting", "not-checked"}


def test_the_same_place_is_reported_once() -> None:
    assert ordered([TWICE, TWICE, BROKEN]) == (BROKEN, TWICE)
    two = [problem("unit-missing", "", 0, name) for name in "ab"]
    assert len(ordered(two)) == 2


def test_an_error_of_the_image_is_a_note() -> None:
    assert problem("profile-syntax", is_stock=True).severity is Severity.NOTE
    assert isinstance(STOCK, Problem)
    assert KINDS["no-such-setting"].severity is Severity.WARNING
