"""The document has every kind of problem, and each kind is one that the code reports and a test
plants."""

from __future__ import annotations

import re
from pathlib import Path

from ocp_tuned_boot.commands import table
from ocp_tuned_boot.commands.check import problem, show
from ocp_tuned_boot.commands.check.problem import KINDS, Severity

TREE = Path(__file__).resolve().parents[4]
DOCUMENT = (TREE / "docs/check.md").read_text()
_WORD = re.compile(r'"([a-z]+(?:-[a-z]+)*)"')


def words(*folders: Path) -> set[str]:
    """Every word in quotes that may be a kind."""
    paths = [path for folder in folders for path in folder.glob("*.py")]
    return {word for path in paths for word in _WORD.findall(path.read_text())}


def test_the_document_has_every_kind_with_its_severity_and_its_sentence() -> None:
    rows = re.findall(r"(?m)^\| `([a-z-]+)` \| (\w+) \| (.+) \|$", DOCUMENT)
    assert rows == [(kind, it.severity.value, it.says) for kind, it in KINDS.items()]


def test_each_kind_is_reported_by_a_module_and_planted_by_a_test() -> None:
    package = TREE / "ocp_tuned_boot/commands/check"
    modules = [path for path in package.glob("*.py") if path.name != "problem.py"]
    reported = {word for path in modules for word in _WORD.findall(path.read_text())}
    assert set(KINDS) <= reported | {"not-checked"}
    planted = words(Path(__file__).parent, TREE / "tests/lab")
    assert set(KINDS) <= planted
    assert len(KINDS) > 20


def test_a_severity_is_only_ever_lowered() -> None:
    found = problem.problem("profile-syntax")
    assert problem.lowered(found, Severity.WARNING).severity is Severity.WARNING
    note = problem.problem("profile-syntax", is_stock=True)
    assert problem.lowered(note, Severity.WARNING).severity is Severity.NOTE


def test_the_formats_are_those_of_the_command_line() -> None:
    (command,) = [it for it in table.COMMANDS if it.name == "check"]
    (option,) = [it for it in command.options if it.name == "--format"]
    assert option.choices == show.FORMATS
