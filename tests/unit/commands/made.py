"""A boot with a network that is late, made for tests of its timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ocp_tuned_boot.commands.surroundings import Reader
from ocp_tuned_boot.host.clock import Step
from ocp_tuned_boot.host.starts import Started, Startup
from ocp_tuned_boot.host.systemd import GO, UNIT
from ocp_tuned_boot.record import history
from ocp_tuned_boot.record.history import Boot
from ocp_tuned_boot.record.model import Moments, Record
from ocp_tuned_boot.tuned.judge import Result

LATE, KUBELET = "lab-late.service", "kubelet.service"
_ZERO = 1000.0


def at(seconds: float) -> float:
    """So many seconds after the start of user space, on the monotonic clock."""
    return _ZERO + seconds


def _unit(name: str, began: float, up: float, *after: str, before: Sequence[str] = ()) -> Started:
    return Started(name, at(began), at(up), after, tuple(before))


STARTUP = Startup(at(0), at(3))
UNITS = {
    each.name: each
    for each in (
        _unit("sysinit.target", 0.44, 0.44),
        _unit("basic.target", 0.45, 0.45, "sysinit.target"),
        _unit("systemd-sysctl.service", 0.2, 0.3, "sysinit.target"),
        _unit("polkit.service", 0.5, 0.9, "basic.target"),
        _unit(LATE, 0.48, 1.985, "basic.target"),
        _unit("network.target", 1.99, 1.99, LATE, "basic.target"),
        _unit(GO, 2.0, 2.005, "basic.target", "network.target", "polkit.service",
              "systemd-sysctl.service"),
        _unit(UNIT, 0.5, 2.11, "basic.target",
              before=("kubelet-dependencies.target", "crio.service", KUBELET)),
        _unit("kubelet-dependencies.target", 2.111, 2.111),
        _unit("crio.service", 2.115, 2.2),
        _unit(KUBELET, 2.21, 2.3),
    )
}  # fmt: skip
RECORD = Record(
    Result.APPLIED, "12:00", "b0", "apply", "because", "site", seconds=0.1,
    steps=(Step("inputs", 0.01, at(2.006)), Step("image", 0.004, at(2.02)),
           Step("tuned", 0.06, at(2.03))),
    moments=Moments(at(2.005), at(0.52), at(2.11)),
    early=(Step("prepare", 0.01, at(0.7)), Step("ask", 0.3, at(0.81))),
)  # fmt: skip


def boot_of(*records: Record) -> Boot:
    """A boot with these runs."""
    return Boot(records[0].boot_id, tuple(history.run_of(each) for each in records))


def reading(units: Mapping[str, Started]) -> Reader:
    """What systemd says of these units, and of no others."""
    return lambda names: {name: units[name] for name in names if name in units}
