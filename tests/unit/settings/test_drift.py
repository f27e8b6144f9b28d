"""What has changed since it was applied, and since when."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested.config import Owners
from ocp_tuned_boot.settings import drift
from ocp_tuned_boot.settings import residue as settings
from ocp_tuned_boot.settings.drift import Drift, Drifted
from ocp_tuned_boot.settings.residue import Saved, Settings

A, B = "/proc/sys/vm/a", "/proc/sys/vm/b"


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Two settings were applied at 10, a third was not; then every look takes an hour."""
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    paths.boot_id.parent.mkdir(parents=True)
    paths.boot_id.write_text("boot\n")
    saved = {A: Saved("1", "5"), B: Saved("1", "6"), "/proc/sys/vm/c": Saved("1", None)}
    settings.store(paths, Settings("boot", saved, "10"))
    set_to(paths, A, "5")
    set_to(paths, B, "6")
    hours = iter(str(hour) for hour in range(11, 99))
    monkeypatch.setattr(drift, "now", lambda: next(hours))
    return paths


def set_to(paths: Paths, path: str, value: str) -> None:
    file = paths.root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(value + "\n")


def look(paths: Paths) -> Drift:
    return drift.look(paths, Owners(sysctls=("vm.b",)))


def test_nothing_has_changed(paths: Paths) -> None:
    assert look(paths) == Drift(2, ())


def test_what_user_space_has_set_after_a_soft_reboot_is_no_drift(paths: Paths) -> None:
    set_to(paths, A, "9")
    paths.restarts.write_text(".")
    assert look(paths) == Drift(0, ())


def test_what_has_changed_and_between_when(paths: Paths) -> None:
    look(paths)
    set_to(paths, A, "9")
    seen = Drifted("vm.a", A, "5", "9", "11", "12")
    assert look(paths) == Drift(2, (seen,))
    # The second look does not forget the first.
    assert look(paths) == Drift(2, (seen,))
    set_to(paths, A, "8")
    assert look(paths).drifted == (Drifted("vm.a", A, "5", "8", "11", "14"),)
    set_to(paths, A, "5")
    assert look(paths).drifted == ()


def test_at_the_first_look_a_setting_was_good_when_it_was_applied(paths: Paths) -> None:
    set_to(paths, A, "9")
    assert look(paths).drifted == (Drifted("vm.a", A, "5", "9", "10", "11"),)


def test_what_is_handed_over_is_shown_and_not_unexpected(paths: Paths) -> None:
    set_to(paths, B, "7")
    found = look(paths)
    assert [each.owned for each in found.drifted] == [True]
    assert found.unexpected == ()


def test_looks_of_another_boot_do_not_count(paths: Paths) -> None:
    look(paths)
    content = {**json.loads(paths.drift.read_text()), "boot_id": "other"}
    paths.drift.write_text(json.dumps(content))
    set_to(paths, A, "9")
    assert look(paths).drifted[0].known_good == "10"


def test_in_a_boot_without_a_profile_there_is_nothing_to_compare(paths: Paths) -> None:
    paths.boot_id.write_text("next\n")
    assert look(paths) == Drift(0, ())


def test_drift_is_found_even_if_it_cannot_be_recorded(paths: Paths) -> None:
    paths.drift.mkdir()
    set_to(paths, A, "9")
    assert len(look(paths).drifted) == 1
