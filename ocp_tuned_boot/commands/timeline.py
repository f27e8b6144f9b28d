"""The start of one boot as bars: what TuneD had to follow, what was done early, the run, and what
waited for it. Pure, but for `look`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

from ocp_tuned_boot.commands import surroundings
from ocp_tuned_boot.commands.surroundings import (
    Surroundings,
    end_of,
    has_waited,
    is_ours,
    moments_of,
    prepared,
)
from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host.clock import Step
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.starts import Started
from ocp_tuned_boot.host.systemd import GO, UNIT, WORKLOADS
from ocp_tuned_boot.record import history, store
from ocp_tuned_boot.record.history import Boot, Run
from ocp_tuned_boot.requested import inputs

#: The most steps: each attempt of a run that failed has its own.
STEPS = 40

_OLDER = (
    "An earlier release recorded this boot, without the time when a step began: the steps are "
    "shown one after the other."
)


class Part(str, Enum):
    """What a bar is of: a unit that TuneD must follow; what ocp-tuned.service does before
    ocp-tuned-go.service is active; its run; what it does once it is ready; a unit that is ordered
    after it."""

    FOLLOWED = "followed"
    EARLY = "early"
    RUN = "run"
    AFTERWARDS = "afterwards"
    WAITED = "waited"


@dataclass(frozen=True)
class Bar:
    """What took from `at` so many seconds; 0 is a moment, such as READY=1. `critical`: without it,
    the units that waited would have started earlier."""

    name: str
    part: Part
    at: float
    seconds: float = 0.0
    critical: bool = False

    @property
    def end(self) -> float:
        return self.at + self.seconds


@dataclass(frozen=True)
class Timeline:
    """The times of one boot: seconds since the start of user space, of the kernel or of the run
    (`since`), which was at `zero` on the monotonic clock.

    `ready`: when READY=1 was sent, None if it was not; `last`: the last unit that the run had to
    follow, empty if it is not known; `longest`: the unit that took longest, of those in the chain
    up to the last one, empty if none took any time.
    """

    boot_id: str
    profile: str
    summary: str
    since: str
    zero: float
    bars: tuple[Bar, ...]
    ready: float | None = None
    last: str = ""
    longest: str = ""
    notes: tuple[str, ...] = ()

    @property
    def start(self) -> float:
        return min((bar.at for bar in self.bars), default=0.0)

    @property
    def end(self) -> float:
        return max((bar.end for bar in self.bars), default=0.0)

    @property
    def kubelets(self) -> tuple[Bar, ...]:
        """Kubelets and engines that waited."""
        return tuple(bar for bar in self.bars if bar.part is Part.WAITED and bar.name in WORKLOADS)

    def content(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "start": self.start, "end": self.end}


def look(paths: Paths, boot: str) -> Timeline:
    """The timeline of a boot: 0 is this one, -1 the one before it, or its ID. Raises `HostError`,
    also if nothing is recorded of it. The number counts the boots of the history."""
    this = inputs.boot_id(paths)
    found = chosen(_boots(paths, this), this, boot)
    run = boot_run(found.runs)
    if run[0].moments is None:
        return drawn(found, run, Surroundings(notes=(_OLDER,)))
    if paths.root != Paths().root:
        # The units of this host are not about that folder.
        return drawn(found, run, Surroundings())
    try:
        is_this = found.boot_id == this
        startup = surroundings.startup_of(found.boot_id, run[0], this=is_this)
        run = surroundings.within(run, startup)
        around = surroundings.look(found.boot_id, run, startup, this=is_this)
        return drawn(found, run, around)
    except HostError as error:
        return drawn(
            found, run, Surroundings(notes=(f"The times of units are not known: {error}.",))
        )


def _boots(paths: Paths, this: str) -> tuple[Boot, ...]:
    """Those of the history, and this one as well if its first run is not finished."""
    boots = history.read(paths)
    last = store.of_this_boot(paths, this)
    if last is None or any(boot.boot_id == this for boot in boots):
        return boots
    return (*boots, Boot(this, (history.run_of(last),)))


def chosen(boots: Sequence[Boot], this: str, wanted: str) -> Boot:
    """The boot that a person names. Raises `HostError` if nothing is recorded of it."""
    mine = [boot for boot in boots if boot.boot_id == this]
    others = [boot for boot in boots if boot.boot_id != this]
    known = {
        **dict(zip(["0"], mine)),
        **{f"-{number}": boot for number, boot in enumerate(reversed(others), 1)},
    }
    # journalctl(1) shows boot IDs without hyphens.
    ids = {name: boot for boot in boots for name in (boot.boot_id, boot.boot_id.replace("-", ""))}
    found = known.get(wanted) or ids.get(wanted)
    if found is not None and found.runs:
        return found
    names = (f"{name} ({boot.boot_id})" for name, boot in known.items())
    raise HostError(
        f"nothing is recorded of boot {wanted!r}; known boots: {', '.join(names) or 'none'}",
        "To see the runs of each boot: ocp-tuned-boot history",
    )


def boot_run(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The runs that the kubelet had to wait for: with `gate = closed`, a run that fails is followed
    by another. One that finds a kubelet running is not of the boot."""
    found = [runs[0]]
    for run in runs[1:]:
        if found[-1].result != "failed" or run.late:
            break
        found.append(run)
    return tuple(found)


# The bars.


def drawn(boot: Boot, runs: Sequence[Run], around: Surroundings) -> Timeline:
    """The bars of these runs, and of the units around them."""
    first, last = runs[0], runs[-1]
    since, zero = _zero(first, around)
    bars = [
        *(_unit(each, Part.FOLLOWED, critical=True) for each in around.chain),
        *(_unit(each, Part.FOLLOWED) for each in around.also),
    ]
    bars.sort(key=lambda bar: bar.at)
    bars += [*_own(runs, around), *_early(first)]
    steps = [bar for run in runs for bar in _run(run)]
    notes = list(around.notes)
    longest = sorted((bar.seconds for bar in steps), reverse=True)
    if len(longest) > STEPS:
        shown = [bar for bar in steps if bar.seconds >= longest[STEPS - 1] or not bar.seconds]
        notes.append(f"The shortest steps are not shown: {len(steps) - len(shown)}.")
        steps = shown
    # What is done afterwards comes last.
    bars += sorted(steps, key=lambda bar: bar.part is Part.AFTERWARDS)
    bars += [_unit(each, Part.WAITED) for each in around.waited]
    moved = tuple(
        replace(bar, at=round(bar.at - zero, 6), seconds=round(bar.seconds, 6)) for bar in bars
    )
    ready = last.moments.ready if last.moments else None
    return Timeline(
        boot.boot_id, last.profile, last.summary, since, zero, moved,
        None if ready is None else round(ready - zero, 6), *_late(bars), tuple(notes),
    )  # fmt: skip


def _zero(first: Run, around: Surroundings) -> tuple[str, float]:
    if first.moments is None:
        return "run", 0.0
    if around.startup is not None:
        return "userspace", around.startup.began
    return "kernel", 0.0


def _late(bars: Sequence[Bar]) -> tuple[str, str]:
    """The last unit that the run had to follow, and the one in the chain that took longest: a
    target is late because of others."""
    chain = [
        bar for bar in bars
        if bar.critical and bar.part is Part.FOLLOWED and not is_ours(bar.name)
    ]  # fmt: skip
    longest = max(chain, key=lambda bar: bar.seconds, default=None)
    last = chain[-1].name if chain else ""
    return last, longest.name if longest is not None and longest.seconds else ""


def _own(runs: Sequence[Run], around: Surroundings) -> list[Bar]:
    """ocp-tuned.service, from its start to READY=1, or if it failed, to the end of its clean-up:
    what is in none of its steps is seen there. Its start is critical if the run did not wait."""
    began, end = around.own.began if around.own else None, end_of(runs[-1])
    if around.own is None or began is None or began > end:
        return []
    if moments_of(runs[-1]).ready is None:
        end = max(end, around.own.up or end)
    return [Bar(UNIT, Part.EARLY, began, end - began, critical=not has_waited(runs[0]))]


def _unit(unit: Started, part: Part, *, critical: bool = False) -> Bar:
    began = unit.began or unit.up or 0.0
    return Bar(unit.name, part, began, (unit.up or began) - began, critical)


def _early(run: Run) -> list[Bar]:
    """What the program did before the word, and its wait."""
    if run.moments is None or run.moments.began is None:
        return []
    if not has_waited(run):
        return [replace(_step(step, Part.EARLY), critical=True) for step in run.early]
    done = prepared(run, run.moments.began)
    wait = Bar(f"wait for {GO}", Part.EARLY, done, run.moments.word - done)
    return [*(_step(step, Part.EARLY) for step in run.early), wait]


def _run(run: Run) -> list[Bar]:
    """The steps, and how it ended. The steps until then are critical: the program does one after
    the other."""
    if run.moments is None:
        return _in_turn(run)
    end = end_of(run)
    bars = []
    for step in run.steps:
        bar = _step(step, Part.RUN)
        if bar.at < end:
            bars.append(replace(bar, critical=True))
        else:
            bars.append(replace(bar, part=Part.AFTERWARDS))
    return [*bars, Bar(_ended(run), Part.RUN, end, critical=True)]


def _in_turn(run: Run) -> list[Bar]:
    bars: list[Bar] = []
    for step in run.steps:
        at = bars[-1].end if bars else 0.0
        bars.append(Bar(step.name, Part.RUN, at, step.seconds, critical=True))
    return bars


def _ended(run: Run) -> str:
    if run.moments is not None and run.moments.ready is not None:
        return "READY=1"
    return "failed" if run.result == "failed" else run.result


def _step(step: Step, part: Part) -> Bar:
    return Bar(step.name, part, step.at or 0.0, step.seconds)
