"""What `make bench` has measured → the tables and the picture of docs/performance.md. Pure, but for
`write`."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

#: Between these lines of docs/performance.md is what was measured.
BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
PICTURE = "performance.svg"
#: What all others are compared with, and what a boot needs without tuning.
OURS, NOTHING = "ours", "nothing"


@dataclass(frozen=True)
class Boot:
    """One boot. `ready`, `target`: from the moment when the last unit that tuning must follow is
    up, until the profile is applied, and until kubelet-dependencies.target; `userspace`: until that
    target, from the start of systemd; `cpu`: of the whole boot. All are seconds."""

    method: str
    network: str
    ready: float
    target: float
    userspace: float
    cpu: float
    steps: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Memory:
    """The most memory of all processes of a boot together, and of the program's own process: bytes,
    as proportional set size."""

    most: int
    own: int


@dataclass(frozen=True)
class Idle:
    """What is needed while nothing happens: memory of all processes (bytes, PSS), processor
    (seconds in a minute), and how often in a minute one of them wakes up. `start`: what it took of
    the processor to get there (seconds), where that is not measured as a boot."""

    memory: int
    cpu: float
    wakeups: float
    start: float = 0.0

    def beyond(self, other: Idle) -> Idle:
        return Idle(max(0, self.memory - other.memory), max(0.0, self.cpu - other.cpu),
                    max(0.0, self.wakeups - other.wakeups), self.start)  # fmt: skip


@dataclass(frozen=True)
class Results:
    """`boots`: in the order in which they were made; `idle`: beyond a node without tuning; `disk`:
    sizes (bytes) by what they are of; `commands`: how long each took (seconds), in turns."""

    commit: str
    suite: str
    podman: str
    processors: int
    boots: tuple[Boot, ...]
    memory: Mapping[str, Memory]
    idle: Mapping[str, Idle] = field(default_factory=dict)
    disk: Mapping[str, int] = field(default_factory=dict)
    commands: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def networks(self) -> list[str]:
        return list(dict.fromkeys(boot.network for boot in self.boots))

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(boot.method for boot in self.boots))

    def of(self, method: str, network: str, what: str) -> list[float]:
        """One number of each boot."""
        return [getattr(boot, what) for boot in self.boots
                if (boot.method, boot.network) == (method, network)]  # fmt: skip

    def cpu(self, method: str, network: str) -> list[float]:
        """What each boot needed beyond the one without tuning in the same turn (seconds)."""
        base = self.of(NOTHING, network, "cpu")
        return [each - other for each, other in zip(self.of(method, network, "cpu"), base)]


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """The first quartile, the median and the third quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratios(ours: Sequence[float], others: Sequence[float]) -> list[float]:
    """Ours to the other in the same turn."""
    return [each / other for each, other in zip(ours, others)]


def _milliseconds(values: Sequence[float]) -> str:
    low, middle, high = (round(each * 1000) for each in spread(values))
    return f"**{middle}** ({low}–{high})"


def _ratio(values: Sequence[float]) -> str:
    low, middle, high = spread(values)
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def table(results: Results, labels: Mapping[str, str]) -> str:
    """The tables: a row for each method, a table for each network."""
    parts = [_time(results, labels, network) for network in results.networks]
    parts += [_cost(results, labels), _idle(results, labels), _steps(results)]
    return "\n".join([*parts, _commands(results, labels)])


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _time(results: Results, labels: Mapping[str, str], network: str) -> str:
    def ratio(method: str, what: str) -> str:
        if method in (OURS, NOTHING):
            return ""
        ours = results.of(OURS, network, what)
        return _ratio(ratios(ours, results.of(method, network, what)))

    rows = [
        (labels[it], _milliseconds(results.of(it, network, "ready")) if it != NOTHING else "",
         _milliseconds(results.of(it, network, "target")), ratio(it, "target"),
         _milliseconds(results.of(it, network, "userspace")), ratio(it, "userspace"))
        for it in results.methods
    ]  # fmt: skip
    head = ("", "until applied (ms)", "until the target (ms)", "ours / this",
            "from the start of systemd (ms)", "ours / this")  # fmt: skip
    return f"### {network.capitalize()} network\n\n{_rows(head, rows)}"


def _cost(results: Results, labels: Mapping[str, str]) -> str:
    network = results.networks[-1]
    base = results.memory.get(NOTHING, Memory(0, 0))

    def row(method: str) -> tuple[str, ...]:
        memory = results.memory[method]
        cpu = results.cpu(method, network)
        own = f"{memory.own / 2**20:.0f}" if memory.own else ""
        extra = (memory.most - base.most) / 2**20
        ratio = _ratio(ratios(results.cpu(OURS, network), cpu)) if method != OURS else ""
        return labels[method], _milliseconds(cpu), ratio, f"{extra:.0f}", own

    head = ("", "CPU (ms)", "ours / this", "peak of all processes (MiB)",
            "of it the program itself (MiB)")  # fmt: skip
    rows = [row(it) for it in results.methods if it != NOTHING and it in results.memory]
    return (
        "### Processor and memory of a boot\n\nBeyond a boot without tuning; memory is PSS.\n\n"
        f"{_rows(head, rows)}"
    )


def _idle(results: Results, labels: Mapping[str, str]) -> str:
    rows = [
        (labels[name], f"{each.start:.1f}" if each.start else "", f"{each.memory / 2**20:.0f}",
         f"{each.cpu * 1000:.0f}", f"{each.wakeups:.0f}")
        for name, each in results.idle.items() if name != NOTHING
    ]  # fmt: skip
    sizes = [(name, f"{size / 2**20:.1f}") for name, size in results.disk.items()]
    head = ("", "CPU of its start (s)", "memory (MiB)", "CPU in a minute (ms)",
            "wake-ups in a minute")  # fmt: skip
    return (
        "### A node that does nothing\n\nBeyond one without tuning.\n\n"
        f"{_rows(head, rows)}\n### On disk\n\n{_rows(('', 'MiB'), sizes)}"
    )


def _commands(results: Results, labels: Mapping[str, str]) -> str:
    """Each command, compared with the first and the last of them."""
    every = results.commands
    rows = [
        (labels[name], _milliseconds(times),
         *(_ratio(ratios(times, every[other])) for other in (next(iter(every)), list(every)[-1])))
        for name, times in every.items()
    ]  # fmt: skip
    if not rows:
        return ""
    head = ("", "time (ms)", f"this / {rows[0][0]}", f"this / {rows[-1][0]}")
    return f"### Commands on a tuned node\n\n{_rows(head, rows)}"


def _steps(results: Results) -> str:
    ours = [boot for boot in results.boots if boot.method == OURS]
    rows = []
    for name in dict.fromkeys(step for boot in ours for step in boot.steps):
        seconds = {
            network: [boot.steps[name] for boot in ours
                      if boot.network == network and name in boot.steps]
            for network in results.networks
        }  # fmt: skip
        rows.append((name, *(_milliseconds(each) if each else "" for each in seconds.values())))
    head = ("step", *(f"{network} network (ms)" for network in results.networks))
    return f"### The steps of ocp-tuned-boot\n\n{_rows(head, rows)}"


# The picture: pixels.
_WIDTH, _LEFT, _RIGHT, _BAR, _GAP, _TOP = 860, 270, 70, 22, 10, 34
_COLOURS = {OURS: "#1f77b4"}
_OTHER = "#9aa5b1"


def picture(results: Results, labels: Mapping[str, str]) -> str:
    """A bar for each method: the median time until the target; a dot for each boot."""
    methods = [each for each in results.methods if each != NOTHING]
    every = [each for boot in results.boots if boot.method in methods for each in (boot.target,)]
    scale = (_WIDTH - _LEFT - _RIGHT) / max(every)
    height = len(results.networks) * (_TOP + len(methods) * (_BAR + _GAP) + _GAP)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="13">'
    )
    lines = [
        opening,
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
    ]
    y = 0
    for network in results.networks:
        words = f"{network} network: from the last unit that tuning must follow, to the target"
        lines.append(f'<text x="10" y="{y + 22}" font-weight="bold">{escape(words)}</text>')
        y += _TOP
        for method in methods:
            times = results.of(method, network, "target")
            lines += _bar(y, labels[method], _COLOURS.get(method, _OTHER), times, scale)
            y += _BAR + _GAP
        y += _GAP
    return "\n".join([*lines, "</svg>", ""])


def _bar(y: int, label: str, colour: str, times: Sequence[float], scale: float) -> list[str]:
    median = spread(times)[1]
    middle, end = y + _BAR / 2, _LEFT + max(times) * scale
    return [
        f'<text x="{_LEFT - 8}" y="{middle + 5:.1f}" text-anchor="end">{escape(label)}</text>',
        f'<rect x="{_LEFT}" y="{y}" width="{median * scale:.1f}" height="{_BAR}" fill="{colour}"/>',
        *(f'<circle cx="{_LEFT + each * scale:.1f}" cy="{middle:.1f}" r="2" fill="black" '
          'fill-opacity="0.5"/>' for each in times),
        f'<text x="{end + 8:.1f}" y="{middle + 5:.1f}">{median * 1000:.0f} ms</text>',
    ]  # fmt: skip


def section(results: Results, labels: Mapping[str, str]) -> str:
    """What stands between `BEGIN` and `END`."""
    number = len(results.of(OURS, results.networks[0], "target"))
    return (
        f"Commit {results.commit}; {number} boots of each kind in turns, Debian {results.suite}, "
        f"Podman {results.podman}, {results.processors} processors. Medians, in brackets the "
        "quartiles; a ratio is of the two boots of the same turn.\n\n"
        f"![Time until the kubelet may start]({PICTURE})\n\n{table(results, labels)}"
    )


def replaced(document: str, content: str) -> str:
    """The document with this content in it. Raises `ValueError` if it has no place for that."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"found no lines {BEGIN} and {END}, expected both")
    return f"{before}{BEGIN}\n\n{content}\n{END}{after}"


def write(results: Results, labels: Mapping[str, str], folder: Path) -> None:
    document = folder / "performance.md"
    document.write_text(replaced(document.read_text(), section(results, labels)))
    (folder / PICTURE).write_text(picture(results, labels))
