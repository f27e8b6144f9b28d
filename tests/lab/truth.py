"""Whether a record tells the truth: what it says of each setting against what the kernel has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from tests.lab import kernelreader
from tests.lab.kernelreader import Wanted

#: Who compares a setting, as a record has it, and as people read it.
_JUDGES = {"TuneD": "tuned", "ocp-tuned-boot": "ocp-tuned-boot", "both": "tuned, ocp-tuned-boot"}
#: What a record says of each file or setting.
Row = Mapping[str, Any]


@dataclass
class Verdict:
    """What is wrong with a record, and how often each thing was said."""

    #: Said to be in effect, or not named, and the kernel has something else.
    lies: list[str] = field(default_factory=list)
    #: Said to be different, or a finding, and the kernel has what was asked for.
    alarms: list[str] = field(default_factory=list)
    #: Findings that no file of the kernel can confirm or refute.
    believed: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    #: What nobody compares, and why.
    unchecked: list[str] = field(default_factory=list)
    #: How many settings of a plugin each has compared, or have a state.
    plugins: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, profile: str, other: Verdict) -> None:
        for name in ("lies", "alarms", "believed", "unchecked"):
            getattr(self, name).extend(f"{profile}: {each}" for each in getattr(other, name))
        self.counts += other.counts
        self.plugins += other.plugins

    def __str__(self) -> str:
        parts = [f"{count} {what}" for what, count in sorted(self.counts.items())]
        lines = [", ".join([*parts, f"{len(self.lies)} lies", f"{len(self.alarms)} false alarms"])]
        for name in ("lies", "alarms", "believed", "unchecked"):
            lines += [f"{name}: {each}" for each in getattr(self, name)]
        return "\n".join([*lines, *self._table()])

    def _table(self) -> list[str]:
        """A table in Markdown: the settings of each plugin by who has compared them."""
        plugins = sorted({plugin for plugin, _ in self.plugins})
        columns = [*_JUDGES, "handed-over", "unchecked", "not-applicable"]
        rows = [["plugin", *columns], ["---"] * (1 + len(columns))]
        for plugin in plugins:
            counted = [self.plugins[plugin, column] for column in columns]
            rows.append([f"`{plugin}`", *(str(count or "–") for count in counted)])
        return [f"| {' | '.join(row)} |" for row in rows]


def of_corpus(
    record: Mapping[str, Any], asked: Sequence[Wanted], kernel: Mapping[str, Optional[str]]
) -> Verdict:
    """Of a profile whose request a person has written down."""
    verdict = Verdict()
    if record["result"] not in ("applied", "degraded"):
        verdict.lies.append(f"the profile is {record['result']}: {record['findings']}")
        return verdict
    _by_plugin(verdict, record)
    findings = [each for each in record["findings"] if not each["accepted"]]
    for each in asked:
        found = kernel.get(each.where)
        holds = kernelreader.agrees(each, found)
        states = {row["state"] for row in record["values"] or () if _names(row, each)}
        named = [it for it in findings if _is_about(it, each)]
        verdict.counts.update(states or {"in a finding" if named else "not named"})
        words = f"{each.option}: asked {each.text!r}, {each.where} has {found!r}, said {states}"
        if not holds and (states == {"verified"} or not (states or named)):
            verdict.lies.append(words)
        if holds and ("different" in states or named):
            verdict.alarms.append(f"{words}, {[(it['kind'], it['message'][:300]) for it in named]}")
    rest = [it for it in findings if not any(_is_about(it, each) for each in asked)]
    _others(verdict, record, rest, kernel)
    return verdict


def of_stock(record: Mapping[str, Any], kernel: Mapping[str, Optional[str]]) -> Verdict:
    """Of a stock profile: each file that the record names."""
    verdict = Verdict()
    if record["result"] not in ("applied", "degraded"):
        verdict.believed.append(f"{record['result']}: {record['findings'][0]['message'][:200]}")
        return verdict
    _by_plugin(verdict, record)
    for row in record["values"] or ():
        verdict.counts[row["state"]] += 1
        if row["state"] not in ("verified", "different") or not row.get("path"):
            continue
        path, found = row["path"], kernel.get(row["path"])
        holds = kernelreader.plainly(path, row["expected"], found)
        words = f"{row['key']}: asked {row['expected']!r}, {path} has {found!r}"
        if row["state"] == "verified" and not holds:
            verdict.lies.append(words)
        if row["state"] == "different" and holds:
            verdict.alarms.append(words)
    findings = [each for each in record["findings"] if not each["accepted"]]
    _others(verdict, record, findings, kernel)
    return verdict


def _by_plugin(verdict: Verdict, record: Mapping[str, Any]) -> None:
    """Who has compared each setting, and which ones nobody has."""
    names = {by: name for name, by in _JUDGES.items()}
    for row in record["values"] or ():
        verdict.plugins[row["plugin"], names.get(row["by"], row["state"])] += 1
        if row["state"] == "unchecked":
            verdict.unchecked.append(f"{row['key']}: {row['why']}")


def paths(record: Mapping[str, Any]) -> list[str]:
    """The files that have to be read to judge a record, besides those of its request."""
    rows = [row["path"] for row in record["values"] or () if row.get("path")]
    return ["cmdline", *rows, *(_file(each["subject"]) for each in record["findings"])]


def _names(row: Row, asked: Wanted) -> bool:
    names = (row["key"], row["key"].partition(".")[2] if row.get("plugin") else "")
    return asked.option in names or asked.where == row.get("path")


def _is_about(finding: Mapping[str, Any], asked: Wanted) -> bool:
    """TuneD names an option, a file, or a device in what it logs."""
    subject = finding["subject"]
    if asked.where == "cmdline" and subject in asked.text.split():
        return True
    if subject in (asked.option, asked.where) or _file(subject) == asked.where:
        return True
    option = re.escape(asked.option)
    return re.search(rf"(?<![\w./-]){option}(?![\w/-]|\.\w)", finding["message"]) is not None


def _file(subject: str) -> str:
    if subject.startswith("/") or not re.fullmatch(r"[\w-]+([./][\w-]+)+", subject):
        return subject
    return "/proc/sys/" + subject.translate(str.maketrans("./", "/."))


def _others(
    verdict: Verdict,
    record: Mapping[str, Any],
    findings: Sequence[Mapping[str, Any]],
    kernel: Mapping[str, Optional[str]],
) -> None:
    """Findings about what is not on the list: the included profiles' settings."""
    rows = {row["key"]: row for row in record["values"] or ()}
    for each in findings:
        kind, subject = each["kind"], each["subject"]
        path = _file(subject)
        found, row = kernel.get(path), rows.get(subject, {})
        words = f"{kind} {subject}: {each['message'][:300]}"
        if kind == "no-such-setting" and path.startswith("/"):
            wrong = found is not None
        elif kind in ("value-differs", "overridden") and "expected" in row:
            wrong = kernelreader.plainly(path, row["expected"], found)
        elif kind == "missing-kernel-argument":
            wrong = subject in (kernel.get("cmdline") or "").split()
        else:
            verdict.believed.append(words)
            continue
        if wrong:
            verdict.alarms.append(f"{words}; {path} has {found!r}")
        verdict.counts["finding confirmed"] += not wrong
