"""The timeline as text: its columns, its bars, and the sentence that says what was late."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from ocp_tuned_boot.commands import surroundings, timeline, timeline_text
from ocp_tuned_boot.commands.terminal import Terminal
from ocp_tuned_boot.commands.timeline import Bar, Part, Timeline
from ocp_tuned_boot.commands.timeline_text import conclusions, drawn, shortened, text
from tests.unit.commands.made import KUBELET, LATE, RECORD, STARTUP, UNITS, boot_of, reading

RUNS = boot_of(RECORD).runs
SHOWN = timeline.drawn(boot_of(RECORD), RUNS, surroundings.found(RUNS, reading(UNITS), STARTUP))
ASCII = Terminal(unicode=False)
BAR = re.compile(r"(?m)^([* ]) (\S.*?) +(\d+\.\d{3}) +(?:(\d+\.\d{3}) +)?([#=|]+)$")


@pytest.mark.parametrize("columns", [40, 80, 110])
def test_each_bar_is_a_line_that_fits_the_terminal(columns: int) -> None:
    shown = text(SHOWN, Terminal(columns, unicode=False))
    assert len(BAR.findall(shown)) == len(SHOWN.bars)
    assert max(map(len, shown.splitlines())) <= columns


def test_a_line_has_the_times_and_what_is_critical_is_marked_without_colours() -> None:
    found = {name: (mark, at, took, bar) for mark, name, at, took, bar in
             BAR.findall(text(SHOWN, Terminal(110, unicode=False)))}  # fmt: skip
    for bar in SHOWN.bars:
        mark, at, took, drawn_bar = found[bar.name]
        assert (mark, at) == ("*" if bar.critical else " ", f"{bar.at:.3f}")
        assert took == (f"{bar.seconds:.3f}" if bar.seconds else "")
        assert set(drawn_bar) == {"#" if bar.critical else "="} if bar.seconds else {"|"}


def test_text_is_ascii_where_the_terminal_is_and_has_no_colours_where_it_has_none() -> None:
    assert text(SHOWN, ASCII).isascii()
    assert "\x1b" not in text(SHOWN, Terminal())
    assert "\x1b[1;33m█" in text(SHOWN, Terminal(colours=True))


@pytest.mark.parametrize(
    ("at", "seconds", "expected"),
    [
        (0.0, 10.0, "█" * 20),
        (5.0, 2.5, " " * 10 + "█" * 5),
        # One column at least, and none beyond the last.
        (5.0, 0.001, " " * 10 + "█"),
        (9.999, 0.001, " " * 19 + "█"),
        (10.0, 0.0, " " * 19 + "│"),
        (0.0, 0.0, "│"),
    ],
)
def test_a_bar_is_as_long_as_its_share_of_the_time(
    at: float, seconds: float, expected: str
) -> None:
    assert drawn(Bar("x", Part.RUN, at, seconds, True), (0.0, 10.0), 20) == expected


def test_a_single_moment_is_drawn() -> None:
    assert drawn(Bar("x", Part.RUN, 3.0), (3.0, 3.0), 20) == "│"


def test_the_sentences_say_what_was_late_and_when_the_kubelet_started() -> None:
    assert list(conclusions(SHOWN)) == [
        "The last unit that TuneD had to follow: network.target, up at 1.990 s.",
        f"Of the critical units up to it, {LATE} took longest: 1.505 s.",
        "From there to READY=1: 0.120 s.",
        "Of the critical steps, tuned took longest: 0.060 s.",
        "crio.service started at 2.115 s, 0.005 s after READY=1.",
        f"{KUBELET} started at 2.210 s, 0.100 s after READY=1.",
    ]


def test_what_is_not_known_is_said() -> None:
    unknown = replace(SHOWN, bars=(), ready=None, last="", longest="", notes=("No journal.",))
    shown = text(unknown, ASCII)
    assert "READY=1 was not sent." in shown
    assert "No kubelet or container engine started after ocp-tuned.service." in shown
    assert "The start of a kubelet is not known." in text(replace(unknown, since="kernel"), ASCII)
    assert shown.endswith("No journal.")
    for since, words in timeline_text.SINCE.items():
        assert f"seconds since {words}" in text(replace(unknown, since=since), ASCII)


def test_a_kubelet_without_ready_started_without_the_profile() -> None:
    (*_, words) = conclusions(replace(SHOWN, ready=None))
    assert words == f"{KUBELET} started at 2.210 s, without READY=1."


def test_what_a_terminal_would_obey_is_escaped() -> None:
    hostile = Bar("\x1b[2J\u202e.service", Part.FOLLOWED, 1.0, 0.5)
    shown = text(
        Timeline("b\x1b0", "\x9b", "\x07x", "userspace", 0.0, (hostile,), notes=("\x1b",)),
        Terminal(),
    )
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("kubelet.service", "kubelet.service"), ("a" * 10 + "b" * 10, "aaaaaaa…bbbbbbb")],
)
def test_of_a_long_name_the_middle_is_left_out(name: str, expected: str) -> None:
    assert shortened(name, 15, "…") == expected


def test_for_programs_it_is_the_same() -> None:
    content = json.loads(timeline_text.as_json(SHOWN))
    assert (content["ready"], content["last"], content["longest"]) == (
        2.11, "network.target", LATE,
    )  # fmt: skip
    (kubelet,) = [each for each in content["bars"] if each["name"] == KUBELET]
    assert kubelet == {
        "name": KUBELET, "part": "waited", "at": 2.21, "seconds": 0.09, "critical": False,
    }  # fmt: skip
