"""Prints what `check` found: for people, for editors and CI (as a compiler does), for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict

from ocp_tuned_boot.commands.check.problem import KINDS, Checkup, Problem, Severity
from ocp_tuned_boot.commands.terminal import Row, Style, Terminal
from ocp_tuned_boot.errors import escaped, escaped_json, one_line

#: The words of `--format`; the first one is the default.
FORMATS = ("text", "gcc", "sarif", "json")

_STYLES = {
    Severity.ERROR: Style.BAD, Severity.WARNING: Style.WARNING, Severity.NOTE: Style.STRONG
}  # fmt: skip
_PROGRAM = "ocp-tuned-boot"


def printed(found: Checkup, form: str, terminal: Terminal) -> str:
    """What is printed in one of `FORMATS`."""
    if form == "text":
        return text(found, terminal)
    if form == "gcc":
        return gcc(found)
    return escaped_json(sarif(found) if form == "sarif" else as_json(found))


def text(found: Checkup, terminal: Terminal) -> str:
    """For people: errors, warnings, notes, and what could not be checked."""
    rows = [row for severity in Severity for each in found.of(severity) for row in _rows(each)]
    rows += [
        row for number, each in enumerate(found.not_checked)
        for row in _unchecked(each, first=not number)
    ]  # fmt: skip
    return terminal.text([*rows, Row(summary(found), indented=False, style=_summary_style(found))])


def _rows(each: Problem) -> Iterator[Row]:
    label = each.severity.value
    yield Row(f"{each.message}", label, _STYLES[each.severity])
    if where := _where(each):
        yield Row(where, style=Style.FAINT, verbatim=True)
    if each.advice:
        yield Row(each.advice)


def _unchecked(each: Problem, *, first: bool) -> Iterator[Row]:
    words = f"{each.message}. {each.advice}" if each.advice else each.message
    yield Row(words, "not checked" if first else "", Style.STRONG if first else Style.PLAIN)
    if where := _where(each):
        yield Row(where, style=Style.FAINT, verbatim=True)


def _where(each: Problem) -> str:
    stock = " in the image" * each.is_stock
    line = f":{each.line}" if each.line else ""
    return f"{one_line(each.file)}{line}{stock} ({each.kind})" if each.file else f"({each.kind})"


def summary(found: Checkup) -> str:
    """How many there are of each severity."""
    counted = [_counted(len(found.of(each)), each.value) for each in Severity]
    total = ", ".join(each for each in counted if each) or "nothing found"
    left = f"; {len(found.not_checked)} not checked" if found.not_checked else ""
    return f"{total}{left}"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}" if number else ""


def _summary_style(found: Checkup) -> Style:
    if found.of(Severity.ERROR):
        return Style.BAD
    return Style.WARNING if found.of(Severity.WARNING) else Style.GOOD


def gcc(found: Checkup) -> str:
    """`file:line: severity: text [kind]`, a line each, as a compiler prints it (the GNU coding
    standards, Formatting Error Messages)."""
    return "\n".join(_line(each) for each in found.problems)


def _line(each: Problem) -> str:
    where = f"{each.file}:{max(1, each.line)}" if each.file else _PROGRAM
    advice = f". {each.advice}" if each.advice else ""
    words = escaped(one_line(f"{each.message}{advice}")).replace("\n", " ")
    return f"{escaped(where)}: {each.severity.value}: {words} [{each.kind}]"


def as_json(found: Checkup) -> str:
    """For programs."""
    rows = [{**asdict(each), "severity": each.severity.value} for each in found.problems]
    return json.dumps({"problems": rows}, indent=2)


def sarif(found: Checkup) -> str:
    """SARIF 2.1.0 (OASIS), which forges show beside the lines."""
    used = sorted({each.kind for each in found.problems})
    rules = [
        {
            "id": kind,
            "shortDescription": {"text": KINDS[kind].says},
            "defaultConfiguration": {"level": KINDS[kind].severity.value},
        }
        for kind in used
    ]
    driver = {"name": _PROGRAM, "rules": rules}
    results = [_result(each, used.index(each.kind)) for each in found.problems]
    return json.dumps(
        {
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{"tool": {"driver": driver}, "results": results}],
        },
        indent=2,
    )


def _result(each: Problem, rule: int) -> dict[str, object]:
    words = f"{each.message}. {each.advice}" if each.advice else each.message
    result: dict[str, object] = {
        "ruleId": each.kind,
        "ruleIndex": rule,
        "level": each.severity.value,
        "message": {"text": words},
    }
    if each.file and not each.is_stock:
        place: dict[str, object] = {"artifactLocation": {"uri": _uri(each.file)}}
        if each.line:
            place["region"] = {"startLine": each.line}
        result["locations"] = [{"physicalLocation": place}]
    return result


def _uri(file: str) -> str:
    """A path as a URI: a relative one remains relative, as forges want it."""
    from urllib.parse import quote  # noqa: PLC0415  # only here

    path = quote(os.path.normpath(file), safe="/~")
    return f"file://{path}" if path.startswith("/") else path
