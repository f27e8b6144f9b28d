"""`python -m tests.scale`: 5,000 nodes are switched on at once, and pull the image of TuneD.

A simulation. When a node tries, pauses, gives up and begins again is decided by the code of this
program: its deadline, its pauses, its gate. How the bytes arrive is a model, from what
`tests/lab/pullload.py` has measured: a registry divides its bandwidth among those who pull, not
equally; and of a pull that is cut off, only the first layers that are complete are kept.
docs/scale.md has the results.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Union

from ocp_tuned_boot.agent.follow import Pause
from ocp_tuned_boot.agent.kube import SPREAD, WATCH, lasts
from ocp_tuned_boot.early import allowed
from ocp_tuned_boot.gate import LONGEST
from ocp_tuned_boot.host.clock import Deadline, Progress, pauses
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.requested.config import Tuning

MB, GBIT = 1e6, 1e9 / 8

#: The layers of the image of packaging/image (bytes, as the registry sends them), in their order.
TUNED = (32.0 * MB, 26.3 * MB)
#: An image of the size of an operator's: made up, in four layers.
LARGE = (80 * MB, 40 * MB, 60 * MB, 20 * MB)
#: Podman pulls so many layers of an image at a time.
PARALLEL = 6
#: A registry that serves no more pulls than this at a time, and refuses others.
SLOTS = 64
#: What a request takes that the registry refuses (seconds).
REFUSAL = 0.05


@dataclass(frozen=True)
class Site:
    """`gbit`: bandwidth of each registry; `registries`: the nodes are divided among so many;
    `switched_on`: the nodes begin to pull within so many seconds;
    `uneven`: how unequal the shares of the bandwidth are (sigma of a log-normal distribution);
    `slots`: so many pulls each registry serves at a time, and refuses others (0: all of them);
    `down`: the registry refuses everybody until then (seconds); `until`: it is looked for so long
    (seconds)."""

    nodes: int = 5000
    gbit: float = 10
    registries: int = 1
    layers: tuple[float, ...] = TUNED
    switched_on: float = 30
    uneven: float = 0.5
    slots: int = 0
    down: float = 0
    timeout: float = Tuning().timeout
    closed: bool = False
    until: float = 2 * 3600


@dataclass
class Result:
    """`tuned`: when each node had the image (seconds since the first was switched on); `sent`: what
    the registries have sent (bytes); `asked`: pulls that began in each second."""

    site: Site
    tuned: list[float]
    sent: float
    asked: Counter[int]

    @property
    def share(self) -> float:
        """Of the nodes, those that have the image in the end."""
        return len(self.tuned) / self.site.nodes

    @property
    def wasted(self) -> float:
        """What was sent, as a multiple of what had to be sent."""
        return self.sent / (sum(self.site.layers) * self.site.nodes)


@dataclass(frozen=True)
class Sleep:
    """For so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Receive:
    """Until so many bytes have arrived, or until a time. The answer is how many have."""

    size: float
    end: float


Step = Union[Sleep, Receive]
Node = Generator[Step, float, None]


class Line:
    """The bandwidth of a registry, divided among transfers by their weights. `_done` is what a
    transfer of weight 1 that began first would have received by now."""

    def __init__(self, rate: float) -> None:
        self._rate, self._at, self._done, self._weights = rate, 0.0, 0.0, 0.0
        #: The transfers under way: weight, and what `_done` was when it began and will be.
        self._active: dict[int, tuple[float, float, float]] = {}
        self._ends: list[tuple[float, int]] = []

    def __contains__(self, who: int) -> bool:
        return who in self._active

    def __len__(self) -> int:
        return len(self._active)

    def advance(self, now: float) -> None:
        """It has sent until now."""
        if self._active:
            self._done += (now - self._at) * self._rate / self._weights
        self._at = now

    def begin(self, who: int, size: float, weight: float) -> None:
        end = self._done + size / weight
        self._active[who] = weight, self._done, end
        self._weights += weight
        heapq.heappush(self._ends, (end, who))

    def end(self, who: int) -> float:
        """How many bytes have arrived."""
        weight, began, _ = self._active.pop(who)
        self._weights = self._weights - weight if self._active else 0.0
        return (self._done - began) * weight

    def next(self) -> tuple[float, int]:
        """When the next transfer will be complete, and whose it is."""
        while self._ends:
            end, who = self._ends[0]
            if self._active.get(who, (0.0, 0.0, -1.0))[2] == end:
                left = max(0.0, end - self._done)
                return self._at + left * self._weights / self._rate, who
            heapq.heappop(self._ends)  # it was cut off
        return math.inf, -1


def missing(layers: tuple[float, ...], received: float) -> tuple[float, ...]:
    """The layers that are not kept when a pull is cut off after so many bytes. Those that are
    pulled at the same time advance equally."""
    arrived = [0.0] * len(layers)
    while received > 1 and arrived != list(layers):
        active = [n for n, size in enumerate(layers) if arrived[n] < size][:PARALLEL]
        step = min(received / len(active), *(layers[n] - arrived[n] for n in active))
        for n in active:
            done = arrived[n] + step
            arrived[n] = layers[n] if layers[n] - done < 1 else done
        received -= step * len(active)
    first = next((n for n, size in enumerate(layers) if arrived[n] < size), len(layers))
    return layers[first:]


class Simulation:
    """Each node is a generator of what it waits for."""

    def __init__(self, site: Site, seed: int = 1) -> None:
        random.seed(seed)  # the pauses of the program are drawn from it, too
        self._now, self._site = 0.0, site
        self._result = Result(site, [], 0.0, Counter())
        self._lines = [Line(site.gbit * GBIT) for _ in range(site.registries)]
        self._nodes = [self._node(self._line(number)) for number in range(site.nodes)]
        self._weights = [random.lognormvariate(0, site.uneven) for _ in self._nodes]
        #: When a node goes on, unless it has done so already: time, node, number of its step.
        self._timers: list[tuple[float, int, int]] = []
        self._steps = [0] * site.nodes

    def _line(self, number: int) -> Line:
        return self._lines[number % len(self._lines)]

    def run(self) -> Result:
        """To its end."""
        for number, node in enumerate(self._nodes):
            self._wait(number, next(node))
        while True:
            ends = [line.next() for line in self._lines]
            complete, who = min(ends)
            timer = self._timers[0][0] if self._timers else math.inf
            if min(complete, timer) > self._site.until:
                return self._result
            self._now = min(complete, timer)
            for line in self._lines:
                line.advance(self._now)
            if complete <= timer:
                self._receives(who)
            else:
                _, who, step = heapq.heappop(self._timers)
                if step == self._steps[who]:
                    self._receives(who)

    def _receives(self, who: int) -> None:
        """A node goes on: with what it has received, if it does receive."""
        line = self._line(who)
        received = line.end(who) if who in line else 0.0
        self._result.sent += received
        try:
            self._wait(who, self._nodes[who].send(received))
        except StopIteration:
            self._steps[who] = -1

    def _wait(self, who: int, step: Step) -> None:
        self._steps[who] += 1
        if isinstance(step, Receive):
            self._line(who).begin(who, step.size, self._weights[who])
        end = step.end if isinstance(step, Receive) else self._now + step.seconds
        heapq.heappush(self._timers, (end, who, self._steps[who]))

    def _node(self, line: Line) -> Node:
        """A boot of a node that does not have the image: `boot.apply`, `tuning.run`."""
        site, layers = self._site, self._site.layers
        yield Sleep(random.uniform(0, site.switched_on))
        gate, times, more = pauses(LONGEST), 1, 1
        while True:
            deadline = Deadline(allowed(site.timeout, times), lambda: self._now)
            progress = Progress(deadline, Notifier())
            for pause in pauses():
                self._result.asked[int(self._now)] += 1
                if self._is_refused(line):
                    yield Sleep(REFUSAL)
                    more = 1
                else:
                    received = yield Receive(sum(layers), deadline.end)
                    layers = missing(layers, received)
                    if not layers:
                        self._result.tuned.append(self._now)
                        return
                    more = times * 2
                if not progress.has_time():
                    break
                yield Sleep(progress.shortened(pause))
            if not site.closed:
                return
            times = more
            yield Sleep(next(gate))

    def _is_refused(self, line: Line) -> bool:
        return self._now < self._site.down or 0 < self._site.slots <= len(line)


def simulated(site: Site, **changes: object) -> Result:
    """One run; `changes` of the site."""
    return Simulation(replace(site, **changes)).run()  # type: ignore[arg-type]


def refreshes(agents: int, seconds: int, after: int, spread: float = SPREAD) -> Counter[int]:
    """How many agents list and watch their Profile in each second of so many, that many seconds
    after the API server has lost all of them at once. `spread`: see `kube.SPREAD`."""
    random.seed(1)
    asked: Counter[int] = Counter()
    for _ in range(agents):
        # The server answers when the agents ask for the first time.
        now = Pause().next()
        while now < after + seconds:
            if now >= after:
                asked[int(now) - after] += 1
            now += lasts(WATCH) if spread == SPREAD else WATCH
    return asked


def attempts(agents: int, down: int) -> Counter[int]:
    """How many agents ask in each second while the API server is down for so many."""
    random.seed(1)
    asked: Counter[int] = Counter()
    for _ in range(agents):
        pause = Pause()
        now = pause.next()
        while now < down:
            asked[int(now)] += 1
            now += pause.next()
    return asked


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _pulls(nodes: int) -> Iterator[str]:
    """The table of pulls."""
    yield _row("image", "registries", "open gate", f"open, {SLOTS} pulls at a time", "closed gate",
               "sent, times what is needed", "nothing waits")  # fmt: skip
    yield "|---" * 7 + "|"
    for layers in (TUNED, LARGE):
        for registries, gbit in ((1, 1), (1, 10), (1, 40), (10, 10)):
            site = Site(nodes=nodes, layers=layers, registries=registries, gbit=gbit)
            closed = simulated(site, closed=True)
            later = simulated(site, timeout=3600)
            yield _row(
                f"{sum(layers) / MB:.0f} MB", f"{registries} × {gbit} Gbit/s",
                f"{simulated(site).share:.0%}", f"{simulated(site, slots=SLOTS).share:.0%}",
                f"{closed.share:.0%}, {_minutes(max(closed.tuned))}", f"{closed.wasted:.1f}",
                f"{later.share:.0%}, {_minutes(max(later.tuned))}",
            )  # fmt: skip


def _tries(nodes: int) -> Iterator[str]:
    """The table of what is tried again: how often in a second, on average and at most."""

    def row(what: str, asked: Counter[int], seconds: range) -> str:
        each = [asked[second] for second in seconds]
        return _row(what, f"{sum(each) / len(each):.0f}", max(each))

    yield _row("of all nodes, in a second", "on average", "at most")
    yield "|---" * 3 + "|"
    down = Site(nodes=nodes, switched_on=0.5, down=60, gbit=400)
    yield row("a registry is down: pulls", simulated(down).asked, range(20, 60))
    yield row("the API server is down: requests", attempts(nodes, 60), range(30, 60))
    minute = range(60)
    what = "ten minutes after it is up: list and watch"
    yield row(what, refreshes(nodes, 60, 600), minute)
    yield row(f"{what}, if each watch took {WATCH} s", refreshes(nodes, 60, 600, 1.0), minute)


def main() -> int:
    parser = argparse.ArgumentParser(description="5,000 nodes are switched on at once: simulated.")
    parser.add_argument("--nodes", type=int, default=Site.nodes)
    options = parser.parse_args()
    for line in (*_pulls(options.nodes), "", *_tries(options.nodes)):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
