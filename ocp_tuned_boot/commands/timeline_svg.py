"""The timeline of a boot as a picture (SVG 1.1), in the manner of `systemd-analyze plot`. Pure.

It has no script, no font and no other file. Its colours follow those of the page that shows it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import groupby
from xml.sax.saxutils import escape

from ocp_tuned_boot import __version__
from ocp_tuned_boot.commands.timeline import Bar, Timeline
from ocp_tuned_boot.commands.timeline_text import (
    CRITICAL,
    HEADINGS,
    SINCE,
    conclusions,
    shortened,
)
from ocp_tuned_boot.errors import escaped

# Pixels: the whole, the names on the left, what is right of the axis for the last time, one line.
_WIDTH, _LEFT, _RIGHT, _LINE = 1000, 320, 120, 20
_MARGIN, _BAR, _GAP = 16, 12, 10
# The characters that are in the column of names, and in a line of text, of this size.
_NAME, _TEXT = 34, 130
_TICKS = 10
# What `escaped` lets pass, and XML does not (Extensible Markup Language 1.0, Char).
_NO_XML = re.compile("[\ufffe\uffff]")

# The colours of a class, on light and on dark: fill.
_COLOURS = {
    "back": ("#ffffff", "#0d1117"),
    "text": ("#1f2328", "#e6edf3"),
    "faint": ("#59636e", "#9198a1"),
    "grid": ("#d1d9e0", "#3d444d"),
    "critical": ("#c2410c", "#fb923c"),
    "other": ("#4b83c4", "#6ea8e8"),
    "ready": ("#1a7f37", "#3fb950"),
}


def picture(timeline: Timeline) -> str:
    """The picture, as XML in UTF-8."""
    head = list(_head(timeline))
    top = _MARGIN + _LINE * (len(head) + 1)
    body, bottom = _body(timeline, top + _LINE)
    end = list(_end(timeline, bottom + _GAP))
    height = bottom + _GAP + _LINE * len(end) + _MARGIN
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="title desc" '
        'font-family="sans-serif" font-size="13">'
    )
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        opening,
        f'<title id="title">{_safe(_title(timeline))}</title>',
        f'<desc id="desc">{_safe(" ".join(conclusions(timeline)))}</desc>',
        f"<style>{_style()}</style>",
        f'<rect class="back" width="{_WIDTH}" height="{height}"/>',
        *head, *_axis(timeline, top, bottom), *body, *end, "</svg>",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _title(timeline: Timeline) -> str:
    return f"ocp-tuned-boot: the start of boot {timeline.boot_id}"


def _style() -> str:
    """Light, unless the page or the desktop is dark. The time of a bar has an edge in the colour of
    the background: lines pass behind it."""
    light, dark = (
        "".join(f".{name}{{fill:{pair[number]}}}" for name, pair in _COLOURS.items())
        + f".edge{{stroke:{_COLOURS['back'][number]}}}"
        for number in (0, 1)
    )
    edge = ".edge{stroke-width:4;stroke-linejoin:round;paint-order:stroke}"
    return f"{edge}{light}@media (prefers-color-scheme:dark){{{dark}}}"


def _safe(text: str) -> str:
    """Text in an element: of a profile or a unit, and so of anybody."""
    return escape(_NO_XML.sub("?", " ".join(escaped(text).split())))


def _text(x: float, y: float, words: str, kind: str = "text", more: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{more}>{_safe(words)}</text>'


def _head(timeline: Timeline) -> Iterator[str]:
    y = float(_MARGIN + 12)
    yield _text(_MARGIN, y, _title(timeline), more=' font-size="16" font-weight="bold"')
    profile = f"profile {timeline.profile}; " if timeline.profile else ""
    times = f"times in seconds since {SINCE[timeline.since]}"
    for words in (f"{profile}{timeline.summary}", f"ocp-tuned-boot {__version__}; {times}"):
        y += _LINE
        yield _text(_MARGIN, y, shortened(words, _TEXT, "…"), "faint")


def _place(timeline: Timeline, at: float) -> float:
    """The horizontal place of a time (pixels)."""
    span = timeline.end - timeline.start
    scale = (_WIDTH - _LEFT - _RIGHT) / span if span > 0 else 0.0
    return _LEFT + (at - timeline.start) * scale


def step(span: float) -> float:
    """A round number of seconds, of which there are at most `_TICKS` in so many seconds."""
    least = max(span, 1e-6) / _TICKS
    power = 10.0 ** math.floor(math.log10(least))
    return next(each * power for each in (1, 2, 5, 10) if each * power >= least * (1 - 1e-9))


def _axis(timeline: Timeline, top: float, bottom: float) -> Iterator[str]:
    """A line for each round time, and for READY=1."""
    each = step(timeline.end - timeline.start)
    digits = max(0, -math.floor(math.log10(each) + 1e-9))
    number = math.ceil(timeline.start / each - 1e-9)
    while number * each <= timeline.end + 1e-9:
        x = _place(timeline, number * each)
        yield _rule(x, top + 4, bottom, "grid")
        yield _text(x, top, f"{number * each:.{digits}f}", "faint", ' text-anchor="middle"')
        number += 1
    if timeline.ready is not None:
        yield _rule(_place(timeline, timeline.ready), top + 4, bottom, "ready")


def _rule(x: float, top: float, bottom: float, kind: str) -> str:
    place = f'x="{x - 0.5:.1f}" y="{top:.1f}" width="1" height="{bottom - top:.1f}"'
    return f'<rect class="{kind}" {place}/>'


def _body(timeline: Timeline, y: float) -> tuple[list[str], float]:
    """The bars, and where they end (pixels)."""
    lines = []
    for part, bars in groupby(timeline.bars, key=lambda bar: bar.part):
        lines.append(_text(_MARGIN, y + 12, HEADINGS[part], more=' font-weight="bold"'))
        y += _LINE
        for bar in bars:
            lines += _bar(timeline, bar, y)
            y += _LINE
        y += _GAP
    return lines, y


def _bar(timeline: Timeline, bar: Bar, y: float) -> Iterator[str]:
    kind = "critical" if bar.critical else "other"
    is_ready = bar.at == timeline.ready and not bar.seconds
    start, end = _place(timeline, bar.at), _place(timeline, bar.end)
    mark = "* " if bar.critical else ""
    words = mark + shortened(bar.name, _NAME - len(mark), "…")
    bold = ' font-weight="bold"' if bar.critical else ""
    yield _text(_LEFT - 8, y + 12, words, more=f' text-anchor="end"{bold}')
    took = f", {bar.seconds:.3f} s" if bar.seconds else ""
    yield (
        f'<rect class="{"ready" if is_ready else kind}" x="{start:.2f}" y="{y + 2:.1f}" '
        f'width="{max(2.0, end - start):.2f}" height="{_BAR}">'
        f"<title>{_safe(f'{bar.name}: at {bar.at:.3f} s{took}')}</title></rect>"
    )
    shown = f"{bar.seconds:.3f} s" if bar.seconds else f"at {bar.at:.3f} s"
    yield _text(max(end, start + 2) + 5, y + 12, shown, "faint edge", ' font-size="11"')


def _end(timeline: Timeline, y: float) -> Iterator[str]:
    """The legend, what delayed the kubelet, and what is not known."""
    for kind, words in (("critical", f"* {CRITICAL}"), ("other", "not critical"),
                        ("ready", "READY=1: units that are ordered after it start")):  # fmt: skip
        yield (
            f'<rect class="{kind}" x="{_MARGIN}" y="{y + 2:.1f}" width="24" height="{_BAR}"/>'
            + _text(_MARGIN + 32, y + 12, words)
        )
        y += _LINE
    for words in (*conclusions(timeline), *timeline.notes):
        yield _text(_MARGIN, y + 12, shortened(words, _TEXT, "…"))
        y += _LINE
