"""What systemd says about units, as systemctl(1) prints it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import systemd, units
from ocp_tuned_boot.host.units import Unit

#: systemctl show of systemd 257, in the order of systemd's properties and not of the question.
SHOWN = """\
Result={result}
NFileDescriptorStore={stored}
StatusText={text}
Before={before}
LoadState={load}
ActiveState={state}
UnitFileState={file}
ConditionResult={condition}
ConditionTimestampMonotonic={checked}
"""
ABSENT = {
    "result": "success", "stored": "", "text": "", "before": "", "load": "not-found",
    "state": "inactive", "file": "", "condition": "no", "checked": "0",
}  # fmt: skip
OURS = {
    "result": "success", "stored": "1", "text": "Applied: site in 0.11 s", "load": "loaded",
    "before": "kubelet.service shutdown.target ocp-tuned-notice.service site.service",
    "state": "active", "file": "enabled", "condition": "yes", "checked": "17",
}  # fmt: skip
UNITS = {
    systemd.UNIT: OURS,
    "kubelet.service": {**ABSENT, "load": "loaded", "state": "active"},
    # Masked, and one whose file was removed while it is active.
    "docker.service": {**ABSENT, "load": "masked"},
    "k3s.service": {**ABSENT, "state": "active"},
    "site.service": {**ABSENT, "load": "loaded", "state": "failed"},
}


def answers(
    monkeypatch: pytest.MonkeyPatch, known: Mapping[str, Mapping[str, str]]
) -> list[list[str]]:
    """A systemctl that knows these units; the units that it is asked about, by question."""
    questions: list[list[str]] = []

    def systemctl(_: float, *words: str) -> str:
        names = list(words[words.index("--") + 1 :])
        questions.append(names)
        return "\n".join(SHOWN.format(**known.get(name, ABSENT)) for name in names)

    monkeypatch.setattr(systemd, "_systemctl", systemctl)
    return questions


def test_units_that_exist_are_known_and_those_of_the_site_come_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = answers(monkeypatch, UNITS)
    found = units.look((systemd.UNIT, systemd.IMAGE))
    ours = Unit(
        "active", "success", "Applied: site in 0.11 s", "enabled", stored=1,
        before=("kubelet.service", "shutdown.target", "ocp-tuned-notice.service", "site.service"),
    )  # fmt: skip
    assert found[systemd.UNIT] == ours
    assert {name: unit.state for name, unit in found.items()} == {
        systemd.UNIT: "active", "kubelet.service": "active", "k3s.service": "active",
        "docker.service": "inactive", "site.service": "failed",
    }  # fmt: skip
    assert list(found) == [systemd.UNIT, "kubelet.service", "k3s.service", "docker.service",
                           "site.service"]  # fmt: skip
    assert found["docker.service"].file == "masked"
    # One question for all, and one more for what only the site has.
    assert asked == [[systemd.UNIT, systemd.IMAGE, *systemd.WORKLOADS], ["site.service"]]


def test_where_the_site_has_nothing_of_its_own_one_question_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = answers(monkeypatch, {systemd.UNIT: {**OURS, "before": "kubelet.service"}})
    assert list(units.look((systemd.UNIT,))) == [systemd.UNIT]
    assert len(asked) == 1


def test_a_condition_that_was_not_met_is_not_one_that_was_never_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for condition, checked, expected in (
        ("no", "17", True),
        ("no", "0", False),
        ("yes", "17", False),
    ):
        answers(monkeypatch, {systemd.UNIT: {**OURS, "condition": condition, "checked": checked}})
        assert units.look(())[systemd.UNIT].skipped is expected


def test_without_an_answer_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> str:
        raise HostError("systemctl show: Failed to connect to bus")

    monkeypatch.setattr(systemd, "_systemctl", fails)
    assert units.look(()) == {}
    # An answer about fewer units than were asked for is none.
    monkeypatch.setattr(systemd, "_systemctl", lambda *_: SHOWN.format(**OURS))
    assert units.look(()) == {}
