"""When units, and user space, were started: from systemd in this boot, from its journal in an
earlier one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.typedjson import from_json

# How long the journal may take to answer a person who asks about a boot (seconds).
_EARLIER = 30.0

# The messages of systemd that a unit is starting, is up, or has failed, and that all units of the
# boot are up, on a machine and in a container (systemd's sd-messages.h): journalctl --catalog
# explains each.
_STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"
_UP = ("39f53479d3a045ac8e11786248231fbf", "be02cf6855d2428ba40df7e9d022f03d")
_FINISHED = ("b07a249cd024414a82dd00cd181378ff", "eed00a68ffd84e31882105fd973abdd1")


@dataclass(frozen=True)
class Started:
    """The start of a unit: when it `began`, and when it was `up` or had failed (seconds on the
    monotonic clock; None: not known). `after`, `before`: how it is ordered (systemd.unit(5))."""

    name: str
    began: float | None = None
    up: float | None = None
    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()


@dataclass(frozen=True)
class Startup:
    """The start of user space: when it `began`, and when all units of it were up (`finished`; None:
    they are not yet). Seconds on the monotonic clock."""

    began: float
    finished: float | None = None


def started(names: Sequence[str]) -> dict[str, Started]:
    """The last start of each unit that systemd knows (org.freedesktop.systemd1(5)). Raises
    `HostError`."""
    times = ("InactiveExit", "ActiveEnter", "InactiveEnter")
    properties = [f"{each}TimestampMonotonic" for each in times]
    shown = systemd.properties(names, ("LoadState", "After", "Before", *properties))
    found = {}
    for name, unit in shown.items():
        if unit.get("LoadState") != "loaded":
            continue
        began, *ends = (_seconds(unit.get(each, "")) for each in properties)
        # A oneshot service need not be active after it has done its work.
        up = next((each for each in ends if began and each and each >= began), None)
        found[name] = Started(
            name,
            began,
            up,
            tuple(unit.get("After", "").split()),
            tuple(unit.get("Before", "").split()),
        )
    return found


def startup() -> Startup:
    """That of this boot. Raises `HostError`."""
    names = ("UserspaceTimestampMonotonic", "FinishTimestampMonotonic")
    shown = systemd.manager(*names)
    began, finished = (_seconds(shown.get(name, "")) for name in names)
    if began is None:
        raise HostError(f"systemctl show: found {shown}, expected {names[0]}")
    return Startup(began, finished)


def _seconds(microseconds: str) -> float | None:
    """A timestamp of systemd; 0 is none."""
    return int(microseconds) / 1e6 or None if microseconds.isdecimal() else None


def logged_starts(kernel_boot_id: str, names: Sequence[str]) -> dict[str, tuple[Started, ...]]:
    """Each start of these units in a boot, in their order, from its journal. None of what is not in
    the journal. Raises `HostError`."""
    units = [f"UNIT={name}" for name in names]
    messages = [f"MESSAGE_ID={each}" for each in (_STARTING, *_UP)]
    found: dict[str, list[Started]] = {}
    for at, entry in _logged(kernel_boot_id, *units, *messages) if names else ():
        name = str(entry.get("UNIT"))
        starts = found.setdefault(name, [])
        if entry.get("MESSAGE_ID") == _STARTING:
            starts.append(Started(name, at))
        elif starts and starts[-1].up is None:
            starts[-1] = Started(name, starts[-1].began, at)
        else:
            # What is up at once has no message that it is starting.
            starts.append(Started(name, at, at))
    return {name: tuple(starts) for name, starts in found.items()}


def logged_startups(kernel_boot_id: str) -> tuple[Startup, ...]:
    """The starts of user space in a boot, one after each soft-reboot, from its journal. None that
    did not finish. Raises `HostError`."""
    found = []
    for at, entry in _logged(kernel_boot_id, *(f"MESSAGE_ID={each}" for each in _FINISHED)):
        if (took := _seconds(str(entry.get("USERSPACE_USEC")))) is not None:
            found.append(Startup(at - took, at))
    return tuple(found)


def _logged(kernel_boot_id: str, *matches: str) -> Iterator[tuple[float, dict[str, Any]]]:
    """What systemd itself has logged in a boot: the time of each entry (seconds on the monotonic
    clock), and its fields. Nothing if the journal does not have that boot. Raises `HostError`."""
    import subprocess  # noqa: PLC0415  # most commands do not need it

    fields = "UNIT,MESSAGE_ID,USERSPACE_USEC"
    command = ["journalctl", "--quiet", f"--boot={kernel_boot_id.replace('-', '')}",
               "--output=json", f"--output-fields={fields}", "_PID=1", *matches]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603  # a boot ID of the history, and names of units
            command, check=False, timeout=_EARLIER, stdin=subprocess.DEVNULL, capture_output=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"cannot read the journal: {error}") from error
    for line in done.stdout.splitlines():
        with suppress(ValueError, KeyError, TypeError):
            entry = from_json(line)
            yield int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6, entry
