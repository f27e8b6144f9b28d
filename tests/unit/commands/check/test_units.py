"""Units that are not enabled, not ordered, or beside ours."""

from __future__ import annotations

from typing import Any

import pytest

from ocp_tuned_boot.commands.check import units
from ocp_tuned_boot.commands.check.problem import Severity
from ocp_tuned_boot.host.systemd import DAEMON, GO, RETRY, UNIT, WORKLOADS

SOUND = {"LoadState": "loaded", "UnitFileState": "static", "After": "", "NeedDaemonReload": "no",
         "FragmentPath": "/usr/lib/systemd/system/x"}  # fmt: skip
NONE = {"LoadState": "not-found", "UnitFileState": "", "After": "", "NeedDaemonReload": "no"}
SHOWN: dict[str, dict[str, str]] = {
    UNIT: {**SOUND, "UnitFileState": "enabled"}, GO: SOUND, RETRY: SOUND, DAEMON: SOUND,
    "ocp-tuned.path": {**SOUND, "UnitFileState": "enabled"},
    "ocp-tuned-podman@shared.socket": SOUND, "ocp-tuned-podman@own.socket": SOUND,
    "kubelet.service": {**SOUND, "After": f"a.service {UNIT} {RETRY} {GO}"}, "crio.service": NONE,
    "tuned.service": {**SOUND, "UnitFileState": "disabled"}, "microshift-tuned.service": NONE,
    "ocp-tuned-one-shot.service": NONE,
}  # fmt: skip


def found(**changed: Any) -> list[tuple[str, str]]:
    shown = {**SHOWN, **{name: {**SHOWN[name], **it} for name, it in changed.items()}}
    return [(it.kind, it.message.split()[0]) for it in units.check(shown)]


def test_sound_units_have_no_problem() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("name", "change", "kind"),
    [
        (UNIT, {"UnitFileState": "disabled"}, "unit-disabled"),
        (UNIT, {"LoadState": "masked", "UnitFileState": "masked"}, "unit-disabled"),
        (GO, {"LoadState": "masked", "UnitFileState": "masked-runtime"}, "unit-disabled"),
        ("ocp-tuned.path", {"LoadState": "masked"}, "unit-disabled"),
        (UNIT, {"NeedDaemonReload": "yes"}, "unit-changed"),
        ("kubelet.service", {"After": UNIT}, "unit-not-ordered"),
        ("kubelet.service", {"After": f"{UNIT} {GO}"}, "unit-not-ordered"),
        ("kubelet.service", {"After": "network.target"}, "unit-not-ordered"),
        ("tuned.service", {"UnitFileState": "enabled"}, "other-tuned-unit"),
        ("microshift-tuned.service", {**SOUND, "UnitFileState": "enabled"}, "other-tuned-unit"),
        ("ocp-tuned-one-shot.service", {**SOUND, "UnitFileState": "enabled"}, "other-tuned-unit"),
    ],
)
def test_one_mistake_is_one_problem(name: str, change: dict[str, str], kind: str) -> None:
    assert [each[0] for each in found(**{name: change})] == [kind]


@pytest.mark.parametrize("name", WORKLOADS)
def test_each_kubelet_and_engine_has_to_wait(name: str) -> None:
    """And the message has the drop-in of the manual."""
    shown = {**SHOWN, name: {**SOUND, "After": f"basic.target {GO}"}}
    (it,) = units.check(shown)
    assert (it.kind, it.message.split()[0]) == ("unit-not-ordered", name)
    assert "ocp-tuned.service and ocp-tuned-retry.service:" in it.message
    assert f"[Unit] After={UNIT} {RETRY} {GO}" in it.advice


def test_what_is_masked_is_not_missing_in_the_order_as_well() -> None:
    shown = {**SHOWN, GO: {**SOUND, "LoadState": "masked"},
             "kubelet.service": {**SOUND, "After": f"{UNIT} {RETRY}"}}  # fmt: skip
    assert [it.kind for it in units.check(shown)] == ["unit-disabled"]


def test_without_some_units_the_profile_is_applied_all_the_same() -> None:
    for name, severity in ((GO, Severity.ERROR), ("ocp-tuned.path", Severity.WARNING)):
        shown = {**SHOWN, name: {**SHOWN[name], "LoadState": "masked"}}
        assert [it.severity for it in units.check(shown)] == [severity]


@pytest.mark.parametrize("state", ["not-found", "bad-setting", "error"])
def test_a_unit_that_is_missing(state: str) -> None:
    assert [each[0] for each in found(**{GO: {"LoadState": state}})] == ["unit-missing"]


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("252.39-1~deb12u1", None), ("257~rc1", None), ("251.4", "systemd-too-old"),
        ("", "not-checked"), ("new", "not-checked"),
    ],
)  # fmt: skip
def test_the_version_of_systemd(version: str, kind: str) -> None:
    assert [it.kind for it in units.old(version)] == ([kind] if kind else [])
