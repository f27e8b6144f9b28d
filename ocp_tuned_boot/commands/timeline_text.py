"""The timeline of a boot as text: a line for each bar."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from ocp_tuned_boot.commands.terminal import Row, Style, Terminal
from ocp_tuned_boot.commands.timeline import Bar, Part, Timeline
from ocp_tuned_boot.host.systemd import UNIT

#: The heading above the bars of each part.
HEADINGS = {
    Part.FOLLOWED: "Units that TuneD must follow",
    Part.EARLY: "ocp-tuned.service, early: changes no setting",
    Part.RUN: "ocp-tuned.service, the run",
    Part.AFTERWARDS: "ocp-tuned.service, once it is ready: nothing waits for this",
    Part.WAITED: "Units ordered after ocp-tuned.service",
}
#: What the times count from.
SINCE = {
    "userspace": "the start of user space",
    "kernel": "the start of the kernel",
    "run": "the start of the run",
}
CRITICAL = "critical: a delay here delays READY=1, and with it the kubelet"

# What a bar is drawn with: critical, other, a moment.
_CRITICAL, _OTHER, _MOMENT = "█", "▒", "│"
# The fewest columns of the bars, on the narrowest terminal.
_SHORTEST = 8


def as_json(timeline: Timeline) -> str:
    """For programs."""
    return json.dumps(timeline.content(), indent=2)


def text(timeline: Timeline, terminal: Terminal) -> str:
    """For people. Everything in it is escaped."""
    parts = [terminal.text(_head(timeline)), *_bars(timeline, terminal), ""]
    return "\n".join([*parts, terminal.text(_end(timeline))])


def _head(timeline: Timeline) -> Iterator[Row]:
    yield Row(f"Start of boot {timeline.boot_id}", style=Style.STRONG, indented=False)
    yield Row(timeline.summary, "result")
    yield Row(f"seconds since {SINCE[timeline.since]}", "times")
    window = f"the bars show {timeline.start:.3f} to {timeline.end:.3f}"
    yield Row(f"when it began, how long it took; {window}", "columns")
    yield Row(CRITICAL, "*", Style.WARNING)


def _end(timeline: Timeline) -> Iterator[Row]:
    for sentence in conclusions(timeline):
        yield Row(sentence, indented=False)
    for note in timeline.notes:
        yield Row(note, style=Style.FAINT, indented=False)


def conclusions(timeline: Timeline) -> Iterator[str]:
    """What delayed the kubelet, in sentences."""
    if timeline.last:
        bars = {bar.name: bar for bar in timeline.bars if bar.part is Part.FOLLOWED}
        last, longest = bars[timeline.last], bars.get(timeline.longest)
        yield f"The last unit that TuneD had to follow: {last.name}, up at {last.end:.3f} s."
        if longest is not None:
            took = f"{longest.name} took longest: {longest.seconds:.3f} s"
            yield f"Of the critical units up to it, {took}."
        if timeline.ready is not None:
            yield f"From there to READY=1: {timeline.ready - last.end:.3f} s."
    steps = [bar for bar in timeline.bars if bar.critical and bar.part in (Part.EARLY, Part.RUN)]
    step = max(
        (bar for bar in steps if bar.name != UNIT), key=lambda bar: bar.seconds, default=None
    )
    if step is not None and step.seconds:
        yield f"Of the critical steps, {step.name} took longest: {step.seconds:.3f} s."
    if timeline.ready is None and timeline.since != "run":
        yield "READY=1 was not sent."
    for bar in timeline.kubelets:
        yield f"{bar.name} started at {bar.at:.3f} s{_after(timeline, bar)}."
    if not timeline.kubelets and timeline.since == "userspace":
        yield "No kubelet or container engine started after ocp-tuned.service."
    elif not timeline.kubelets:
        yield "The start of a kubelet is not known."


def _after(timeline: Timeline, bar: Bar) -> str:
    if timeline.ready is None:
        return ", without READY=1"
    return f", {max(0.0, bar.at - timeline.ready):.3f} s after READY=1"


def _bars(timeline: Timeline, terminal: Terminal) -> Iterator[str]:
    names = [terminal.plain(bar.name) for bar in timeline.bars]
    name_columns = min(max(map(len, names), default=0), terminal.columns * 2 // 5)
    columns = max(len(f"{timeline.start:.3f}"), len(f"{timeline.end:.3f}"))
    wide = max(_SHORTEST, terminal.columns - name_columns - 2 * columns - 5)
    for part, bars in groupby(timeline.bars, key=lambda bar: bar.part):
        yield ""
        yield terminal.text([Row(HEADINGS[part], style=Style.STRONG, indented=False)])
        for bar in bars:
            name = shortened(terminal.plain(bar.name), name_columns, terminal.plain("…"))
            took = f"{bar.seconds:.3f}" if bar.seconds else ""
            mark = "*" if bar.critical else " "
            left = f"{mark} {name:<{name_columns}} {bar.at:>{columns}.3f} {took:>{columns}} "
            style = Style.WARNING if bar.critical else Style.FAINT
            shown = terminal.plain(drawn(bar, (timeline.start, timeline.end), wide))
            blank = len(shown) - len(shown.lstrip())
            yield (left + " " * blank + terminal.styled(shown.lstrip(), style)).rstrip()


def drawn(bar: Bar, window: Sequence[float], columns: int) -> str:
    """The bar in so many columns, which show the times of the window. It has one column at
    least."""
    start, end = window
    scale = columns / (end - start) if end > start else 0.0
    first = min(columns - 1, math.floor((bar.at - start) * scale))
    if not bar.seconds:
        return " " * first + _MOMENT
    last = max(first + 1, min(columns, round((bar.end - start) * scale)))
    return " " * first + (_CRITICAL if bar.critical else _OTHER) * (last - first)


def shortened(name: str, columns: int, dots: str) -> str:
    """A name in so many columns: its middle is left out if it is longer."""
    if len(name) <= columns:
        return name
    left = (columns - len(dots)) // 2
    return name[:left] + dots + name[len(name) - (columns - len(dots) - left) :]
