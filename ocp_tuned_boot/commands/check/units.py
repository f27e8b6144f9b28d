"""The units: whether they are enabled, and whether systemd has them in their order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ocp_tuned_boot.commands.check.problem import (
    Problem,
    Severity,
    lowered,
    not_checked,
    problem,
)
from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.systemd import DAEMON, GO, HOST_TUNED, RETRY, UNIT, WORKLOADS

#: The oldest systemd.
SYSTEMD = 252
#: The units without which no profile is applied, and all that are looked at.
_NEEDED = (UNIT, GO)
#: What a workload has to follow (WORKLOADS in ocp-tuned.service(8)).
_GATES = (UNIT, RETRY, GO)
_OURS = (*_NEEDED, RETRY, DAEMON, "ocp-tuned.path", "ocp-tuned-podman@shared.socket",
         "ocp-tuned-podman@own.socket")  # fmt: skip
#: Others that run TuneD, and what becomes of both.
_OTHERS = {
    HOST_TUNED: "it is stopped before the profile is applied",
    "microshift-tuned.service": "it requires tuned.service, which is stopped",
    "ocp-tuned-one-shot.service": "only ocp-tuned.service runs TuneD while both are enabled",
}
_PROPERTIES = ("Id", "LoadState", "UnitFileState", "After", "NeedDaemonReload", "FragmentPath")

Shown = Mapping[str, Mapping[str, str]]


def failed_pull() -> str:
    """Why the last pull of the requested image failed in this boot; empty if it did not, or if that
    is not known."""
    if not systemd.is_running():
        return ""
    try:
        shown = systemd.properties([systemd.IMAGE], ("Result",))
    except HostError:
        return ""
    return systemd.failed_pull(shown[systemd.IMAGE].get("Result", ""))


def look() -> Iterator[Problem]:
    """What systemd says of all of them."""
    if not systemd.is_running():
        yield not_checked("The units", "systemd does not run here")
        return
    try:
        version = systemd.version()
        shown = systemd.properties([*_OURS, *WORKLOADS, *_OTHERS], _PROPERTIES)
        also = [name for name in systemd.workloads() if name not in shown]
        shown = {**shown, **systemd.properties(also, _PROPERTIES)}
    except HostError as error:
        yield not_checked("The units", f"systemd cannot be asked: {error.message}")
        return
    yield from old(version)
    yield from check(shown)


def old(version: str) -> Iterator[Problem]:
    """A systemd that is too old. Pure."""
    number = re.match(r"\d{1,6}", version)
    if number is None:
        yield not_checked("The version of systemd", f"found {version[:40]!r}")
    elif int(number[0]) < SYSTEMD:
        words = f"systemd is version {number[0]}, expected {SYSTEMD} or later"
        yield problem("systemd-too-old", "", 0, words)


def check(shown: Shown) -> Iterator[Problem]:
    """What is wrong with the units. `shown`: properties of each (org.freedesktop.systemd1(5)).
    Pure."""
    for name in _OURS:
        least = Severity.ERROR if name in _NEEDED else Severity.WARNING
        yield from (lowered(each, least) for each in _ours(name, shown.get(name, {})))
    yield from _ordered(shown)
    for name, why in _OTHERS.items():
        unit = shown.get(name, {})
        if unit.get("LoadState") == "loaded" and _is_enabled(unit):
            yield problem(
                "other-tuned-unit", unit.get("FragmentPath", ""), 1, f"{name} is enabled: {why}",
                f"To disable it: systemctl disable {name}",
            )  # fmt: skip


def _is_enabled(unit: Mapping[str, str]) -> bool:
    return unit.get("UnitFileState", "").startswith(("enabled", "linked"))


def _ours(name: str, unit: Mapping[str, str]) -> Iterator[Problem]:
    load, state = unit.get("LoadState", ""), unit.get("UnitFileState", "")
    file = unit.get("FragmentPath", "")
    if load == "masked" or state.startswith("masked"):
        how = f"To unmask it: systemctl unmask {name}"
        yield problem("unit-disabled", "", 0, f"{name} is masked", how)
    elif load == "not-found":
        yield problem(
            "unit-missing", "", 0, f"systemd has no unit {name}",
            "Install the package again, then: systemctl daemon-reload",
        )  # fmt: skip
    elif load != "loaded":
        yield problem("unit-missing", file, 0, f"systemd cannot load {name}: {load}")
    elif name == UNIT and not state.startswith("enabled"):
        yield problem(
            "unit-disabled", "", 0,
            f"{name} is {state or 'not enabled'}: it does not start at boot",
            f"To enable it: systemctl enable {name}",
        )  # fmt: skip
    if unit.get("NeedDaemonReload") == "yes":
        yield problem(
            "unit-changed", file, 1, f"the file of {name} has changed since systemd has read it",
            "To have it read again: systemctl daemon-reload",
        )  # fmt: skip


def _ordered(shown: Shown) -> Iterator[Problem]:
    """Kubelets and container engines that do not wait."""
    # That one of these is missing or masked is a problem of its own.
    gates = [it for it in _GATES if shown.get(it, {}).get("LoadState") == "loaded"]
    for name, unit in shown.items():
        if name in _OURS or name in _OTHERS or unit.get("LoadState") != "loaded":
            continue
        after = unit.get("After", "").split()
        missing = [each for each in gates if each not in after]
        if missing:
            yield problem(
                "unit-not-ordered", unit.get("FragmentPath", ""), 1,
                f"{name} is not ordered after {' and '.join(missing)}: it does not wait",
                "Type systemctl daemon-reload. If that does not help, add a drop-in: [Unit] "
                f"After={' '.join(_GATES)}",
            )  # fmt: skip
