"""The units around a run: which start of a unit is that of the boot, and who knows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ocp_tuned_boot.commands import surroundings
from ocp_tuned_boot.host import starts
from ocp_tuned_boot.host.starts import Started, Startup
from ocp_tuned_boot.host.systemd import GO
from tests.unit.commands.made import KUBELET, RECORD, STARTUP, UNITS, at, boot_of, reading

RUNS = boot_of(RECORD).runs


def start(began: float, up: float) -> Started:
    return Started(KUBELET, at(began), at(up))


@pytest.mark.parametrize(
    ("known", "logged", "this", "expected"),
    [
        (start(2.2, 2.3), [], True, 2.2),
        # It was started again since.
        (start(99.0, 99.1), [start(2.2, 2.3), start(99, 99.1)], True, 2.2),
        (start(99.0, 99.1), [], True, None),
        # An earlier boot: what systemd knows is of this one.
        (start(1.0, 1.1), [start(2.2, 2.3)], False, 2.2),
        (start(1.0, 1.1), [], False, None),
        # The start of user space before a soft-reboot, and the one after it.
        (start(1.0, 1.1), [start(-5, -4), start(2.2, 2.3), start(9, 9.1)], False, 2.2),
        (Started(KUBELET), [], True, None),
    ],
)
def test_a_start_is_that_of_the_boot(
    known: Started, logged: Sequence[Started], this: bool, expected: float | None
) -> None:
    found = surroundings.in_boot(
        {KUBELET: known}, lambda _: {KUBELET: logged} if logged else {}, STARTUP, this=this
    )
    began = found[KUBELET].began
    assert began == (None if expected is None else at(expected))


def test_the_journal_is_not_asked_for_what_systemd_knows() -> None:
    asked: list[Sequence[str]] = []

    def logged(names: Sequence[str]) -> dict[str, tuple[Started, ...]]:
        asked.append(names)
        return {}

    surroundings.in_boot(UNITS, logged, STARTUP, this=True)
    assert asked == []


STARTED = {name: replace(unit, began=at(50), up=at(51)) for name, unit in UNITS.items()}


@pytest.mark.parametrize("has_journal", [True, False])
def test_the_units_of_an_earlier_boot_come_from_its_journal(
    monkeypatch: pytest.MonkeyPatch, has_journal: bool
) -> None:
    asked = []

    def logged(kernel: str, names: Sequence[str]) -> dict[str, tuple[Started, ...]]:
        asked.append(kernel)
        return {name: (UNITS[name],) for name in names if has_journal}

    startups = (STARTUP, Startup(at(40), at(60))) if has_journal else ()
    # What systemd knows is of this boot.
    monkeypatch.setattr(starts, "started", reading(STARTED))
    monkeypatch.setattr(starts, "logged_starts", logged)
    monkeypatch.setattr(starts, "logged_startups", lambda _: startups)
    # After a soft-reboot the kernel's ID is the same.
    startup = surroundings.startup_of("b0+1", RUNS[0], this=False)
    found = surroundings.look("b0+1", RUNS, startup, this=False)
    assert set(asked) == {"b0"}
    if has_journal:
        assert found.startup == STARTUP
        assert [unit.name for unit in found.chain][-2:] == ["network.target", GO]
        assert KUBELET in [unit.name for unit in found.waited]
        assert "as they are now" in found.notes[0]
    else:
        assert (found.startup, found.chain, found.waited) == (None, (), ())
        assert found.notes == (
            "The journal does not have that boot, so the times of its units are not known.",
        )
