"""The units around a run of this program: what it had to follow, and what waited for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Callable

from ocp_tuned_boot.host import starts, userspace
from ocp_tuned_boot.host.starts import Started, Startup
from ocp_tuned_boot.host.systemd import GO, UNIT, WORKLOADS
from ocp_tuned_boot.record.history import Run
from ocp_tuned_boot.record.model import Moments

#: The most units of the critical chain, of others that were waited for, and of those that waited.
MOST = 12

#: The starts of these units in one boot, and how they are ordered. Raises `HostError`.
Reader = Callable[[Sequence[str]], Mapping[str, Started]]


@dataclass(frozen=True)
class Surroundings:
    """The units around a run: the `chain` of units, each of which had to wait for the one before
    it, the last of them being what the run had to wait for; others that were waited for; those that
    waited. `own`: ocp-tuned.service. `notes`: what is not known, a sentence each."""

    startup: Startup | None = None
    own: Started | None = None
    chain: tuple[Started, ...] = ()
    also: tuple[Started, ...] = ()
    waited: tuple[Started, ...] = ()
    notes: tuple[str, ...] = ()


def startup_of(boot_id: str, run: Run, *, this: bool) -> Startup | None:
    """The start of user space in which the run began. Raises `HostError`."""
    if this:
        return starts.startup()
    every = starts.logged_startups(userspace.kernel_of(boot_id))
    return next((it for it in reversed(every) if it.began <= begun(run)), None)


def within(runs: Sequence[Run], startup: Startup | None) -> tuple[Run, ...]:
    """Those that began while units were still starting, and the first one in any case."""
    if startup is None or startup.finished is None:
        return tuple(runs)
    return (runs[0], *(run for run in runs[1:] if moments_of(run).word <= startup.finished))


def look(boot_id: str, runs: Sequence[Run], startup: Startup | None, *, this: bool) -> Surroundings:
    """What was around these runs, in this boot or an earlier one. Raises `HostError`."""
    kernel = userspace.kernel_of(boot_id)

    def read(names: Sequence[str]) -> dict[str, Started]:
        return in_boot(
            starts.started(names),
            lambda missing: starts.logged_starts(kernel, missing),
            startup,
            this=this,
        )

    around = found(runs, read, startup)
    if this:
        return around
    has_journal = startup is not None or around.chain or around.waited
    return replace(around, notes=(*around.notes, _ORDER if has_journal else _NO_JOURNAL))


_NO_JOURNAL = "The journal does not have that boot, so the times of its units are not known."
_ORDER = (
    "The times of units are those of that boot's journal. Which unit had to follow which one is "
    "taken from the unit files as they are now."
)


def in_boot(
    known: Mapping[str, Started],
    logged: Callable[[Sequence[str]], Mapping[str, Sequence[Started]]],
    startup: Startup | None,
    *,
    this: bool,
) -> dict[str, Started]:
    """The start of each unit in one boot. systemd knows the last start of a unit in this boot; for
    one that was started again since, and for an earlier boot, the journal has the first one."""
    finished = startup.finished if startup else None
    began = startup.began if startup else 0.0

    def is_of_boot(unit: Started) -> bool:
        within = finished is None or (unit.began or 0.0) <= finished
        return unit.began is not None and unit.began >= began and within

    later = [
        name for name, unit in known.items()
        if not this or (unit.began is not None and not is_of_boot(unit))
    ]  # fmt: skip
    found = logged(later) if later else {}
    result = {}
    for name, unit in known.items():
        starts = found.get(name, ()) if name in later else (unit,)
        first = next((each for each in starts if is_of_boot(each)), Started(name))
        result[name] = replace(unit, began=first.began, up=first.up)
    return result


def found(runs: Sequence[Run], read: Reader, startup: Startup | None) -> Surroundings:
    """The units around these runs. Raises `HostError`."""
    moments, last = moments_of(runs[0]), runs[-1]
    finished = startup.finished if startup else None
    if finished is not None and moments.word > finished:
        return Surroundings(
            startup, notes=("The run began after all units of this boot had started.",)
        )
    units = read((GO, UNIT))
    unit, go = units.get(UNIT), units.get(GO)
    chain: tuple[Started, ...] = ()
    if not has_waited(runs[0]):
        own = replace(unit, began=begun(runs[0])) if unit is not None else None
        chain = _chain(own, read) if own is not None else ()
    elif go is not None and go.began is not None:
        chain = (*_chain(go, read), go)
    also = [each for each in _awaited(moments.began, go, read) if each not in chain]
    names = tuple(dict.fromkeys([*(unit.before if unit else ()), *WORKLOADS]))
    end = end_of(last)
    # systemd itself may have noted it some moments earlier.
    waited = [each for each in read(names).values() if each.began is not None]
    waited = [each for each in waited if (each.began or 0.0) >= end and not is_ours(each.name)]
    return Surroundings(startup, unit, chain[-MOST:], _first(also), _first(waited))


def _awaited(began: float | None, go: Started | None, read: Reader) -> list[Started]:
    """Of the units that ocp-tuned-go.service is ordered after, those that were not up yet when the
    program began to wait; and that unit itself."""
    if began is None or go is None or go.began is None:
        return []
    until = go.began
    followed = (each for each in read(go.after).values() if each.began is not None)
    return [*(each for each in followed if each.up and began < each.up <= until), go]


def _chain(unit: Started, read: Reader) -> tuple[Started, ...]:
    """What the unit had to wait for: of the units that it is ordered after, the one that was up
    last; what that one had to wait for; and so on (as systemd-analyze(1), critical-chain)."""
    chain: list[Started] = []
    names = {unit.name}
    while unit.began is not None and len(chain) < MOST:
        earlier = [
            each for each in read(unit.after).values()
            if each.up is not None and each.up <= unit.began and each.name not in names
        ]  # fmt: skip
        if not earlier:
            break
        unit = max(earlier, key=lambda each: each.up or 0.0)
        names.add(unit.name)
        chain.insert(0, unit)
    return tuple(chain)


def _first(units: Sequence[Started]) -> tuple[Started, ...]:
    """The first of them, in the order in which they began."""
    return tuple(sorted(units, key=lambda each: (each.began or 0.0, each.up or 0.0))[:MOST])


def is_ours(name: str) -> bool:
    """Whether this is a unit of this program."""
    return name.startswith(UNIT.partition(".")[0])


# When a run was where (monotonic seconds).


def begun(run: Run) -> float:
    """When the program began ."""
    moments = moments_of(run)
    return moments.word if moments.began is None else moments.began


def has_waited(run: Run) -> bool:
    """Whether all that can be done early was done before the word: then the run waited for the
    units that ocp-tuned-go.service is ordered after. Otherwise its own start decided."""
    moments = moments_of(run)
    return moments.began is not None and prepared(run, moments.began) < moments.word


def prepared(run: Run, began: float) -> float:
    """When the program had done what can be done before the word ."""
    return max([began, *((step.at or 0.0) + step.seconds for step in run.early)])


def end_of(run: Run) -> float:
    """When READY=1 was sent, or the run ended without it ."""
    moments = moments_of(run)
    return moments.word + run.seconds if moments.ready is None else moments.ready


def moments_of(run: Run) -> Moments:
    """Its moments; those of a run of an earlier release are not known."""
    return run.moments or Moments(0.0)
