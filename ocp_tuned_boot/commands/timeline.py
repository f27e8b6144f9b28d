"""The start of one boot as bars: what TuneD had to follow, what was done early, the run, and what
waited for it. Pure, but for `look` and `_around`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any, Callable

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import systemd, userspace
from ocp_tuned_boot.host.clock import Step
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import GO, UNIT, WORKLOADS, Started, Startup
from ocp_tuned_boot.record import history, store
from ocp_tuned_boot.record.history import Boot, Run
from ocp_tuned_boot.record.model import Moments
from ocp_tuned_boot.requested import inputs

#: The most units of the critical chain, of others that were waited for, and of those that waited.
MOST = 12
#: The most steps: each attempt of a run that failed has its own.
STEPS = 40

#: The starts of these units in one boot, and how they are ordered. Raises `HostError`.
Reader = Callable[[Sequence[str]], Mapping[str, Started]]


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
class Around:
    """The units around a run: the `chain` of units, each of which had to wait for the one before
    it, the last of them being what the run had to wait for; others that were waited for; those that
    waited. `own`: ocp-tuned.service. `notes`: what is not known, a sentence each."""

    startup: Startup | None = None
    own: Started | None = None
    chain: tuple[Started, ...] = ()
    also: tuple[Started, ...] = ()
    waited: tuple[Started, ...] = ()
    notes: tuple[str, ...] = ()


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
        return drawn(found, run, Around(notes=(_OLDER,)))
    if paths.root != Paths().root:
        # The units of this host are not about that folder.
        return drawn(found, run, Around())
    try:
        startup = _startup(found.boot_id, run[0], this=found.boot_id == this)
        run = within(run, startup)
        around = _around(found.boot_id, run, startup, this=found.boot_id == this)
        return drawn(found, run, around)
    except HostError as error:
        return drawn(found, run, Around(notes=(f"The times of units are not known: {error}.",)))


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


def within(runs: Sequence[Run], startup: Startup | None) -> tuple[Run, ...]:
    """Those that began while units were still starting, and the first one in any case."""
    if startup is None or startup.finished is None:
        return tuple(runs)
    return (runs[0], *(run for run in runs[1:] if _moments(run).word <= startup.finished))


# The units around the run.

_OLDER = (
    "An earlier release recorded this boot, without the time when a step began: the steps are "
    "shown one after the other."
)


def _startup(boot_id: str, run: Run, *, this: bool) -> Startup | None:
    """The start of user space in which the run began. Raises `HostError`."""
    if this:
        return systemd.startup()
    every = systemd.logged_startups(userspace.kernel_of(boot_id))
    return next((it for it in reversed(every) if it.began <= _begun(run)), None)


def _begun(run: Run) -> float:
    """When the program began (monotonic seconds)."""
    moments = _moments(run)
    return moments.word if moments.began is None else moments.began


def _around(boot_id: str, runs: Sequence[Run], startup: Startup | None, *, this: bool) -> Around:
    """Raises `HostError`."""
    kernel = userspace.kernel_of(boot_id)

    def read(names: Sequence[str]) -> dict[str, Started]:
        return in_boot(
            systemd.started(names),
            lambda missing: systemd.logged_starts(kernel, missing),
            startup,
            this=this,
        )

    found = around(runs, read, startup)
    if this:
        return found
    has_journal = startup is not None or found.chain or found.waited
    return replace(found, notes=(*found.notes, _ORDER if has_journal else _NO_JOURNAL))


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


def around(runs: Sequence[Run], read: Reader, startup: Startup | None) -> Around:
    """The units around these runs. Raises `HostError`."""
    moments, last = _moments(runs[0]), runs[-1]
    finished = startup.finished if startup else None
    if finished is not None and moments.word > finished:
        return Around(startup, notes=("The run began after all units of this boot had started.",))
    units = read((GO, UNIT))
    unit, go = units.get(UNIT), units.get(GO)
    chain: tuple[Started, ...] = ()
    if not has_waited(runs[0]):
        own = replace(unit, began=_begun(runs[0])) if unit is not None else None
        chain = _chain(own, read) if own is not None else ()
    elif go is not None and go.began is not None:
        chain = (*_chain(go, read), go)
    also = [each for each in _awaited(moments.began, go, read) if each not in chain]
    names = tuple(dict.fromkeys([*(unit.before if unit else ()), *WORKLOADS]))
    over = _over(last)
    # systemd itself may have noted it some moments earlier.
    waited = [each for each in read(names).values() if each.began is not None]
    waited = [each for each in waited if (each.began or 0.0) >= over and not _is_ours(each.name)]
    return Around(startup, unit, chain[-MOST:], _first(also), _first(waited))


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


def has_waited(run: Run) -> bool:
    """Whether all that can be done early was done before the word: then the run waited for the
    units that ocp-tuned-go.service is ordered after. Otherwise its own start decided."""
    moments = _moments(run)
    return moments.began is not None and _prepared(run, moments.began) < moments.word


def _prepared(run: Run, began: float) -> float:
    """When the program had done what can be done before the word (monotonic seconds)."""
    return max([began, *((step.at or 0.0) + step.seconds for step in run.early)])


def _first(units: Sequence[Started]) -> tuple[Started, ...]:
    """The first of them, in the order in which they began."""
    return tuple(sorted(units, key=lambda each: (each.began or 0.0, each.up or 0.0))[:MOST])


def _is_ours(name: str) -> bool:
    return name.startswith(UNIT.partition(".")[0])


# The bars.


def drawn(boot: Boot, runs: Sequence[Run], around: Around) -> Timeline:
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


def _zero(first: Run, around: Around) -> tuple[str, float]:
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
        if bar.critical and bar.part is Part.FOLLOWED and not _is_ours(bar.name)
    ]  # fmt: skip
    longest = max(chain, key=lambda bar: bar.seconds, default=None)
    last = chain[-1].name if chain else ""
    return last, longest.name if longest is not None and longest.seconds else ""


def _own(runs: Sequence[Run], around: Around) -> list[Bar]:
    """ocp-tuned.service, from its start to READY=1, or if it failed, to the end of its clean-up:
    what is in none of its steps is seen there. Its start is critical if the run did not wait."""
    began, over = around.own.began if around.own else None, _over(runs[-1])
    if around.own is None or began is None or began > over:
        return []
    if _moments(runs[-1]).ready is None:
        over = max(over, around.own.up or over)
    return [Bar(UNIT, Part.EARLY, began, over - began, critical=not has_waited(runs[0]))]


def _unit(unit: Started, part: Part, *, critical: bool = False) -> Bar:
    began = unit.began or unit.up or 0.0
    return Bar(unit.name, part, began, (unit.up or began) - began, critical)


def _early(run: Run) -> list[Bar]:
    """What the program did before the word, and its wait."""
    if run.moments is None or run.moments.began is None:
        return []
    if not has_waited(run):
        return [replace(_step(step, Part.EARLY), critical=True) for step in run.early]
    done = _prepared(run, run.moments.began)
    wait = Bar(f"wait for {GO}", Part.EARLY, done, run.moments.word - done)
    return [*(_step(step, Part.EARLY) for step in run.early), wait]


def _run(run: Run) -> list[Bar]:
    """The steps, and how it ended. The steps until then are critical: the program does one after
    the other."""
    if run.moments is None:
        return _in_turn(run)
    over = _over(run)
    bars = []
    for step in run.steps:
        bar = _step(step, Part.RUN)
        if bar.at < over:
            bars.append(replace(bar, critical=True))
        else:
            bars.append(replace(bar, part=Part.AFTERWARDS))
    return [*bars, Bar(_ended(run), Part.RUN, over, critical=True)]


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


def _over(run: Run) -> float:
    """When READY=1 was sent, or the run ended without it (monotonic seconds)."""
    moments = _moments(run)
    return moments.word + run.seconds if moments.ready is None else moments.ready


def _step(step: Step, part: Part) -> Bar:
    return Bar(step.name, part, step.at or 0.0, step.seconds)


def _moments(run: Run) -> Moments:
    return run.moments or Moments(0.0)
