"""The timeline as a picture: XML that says with its lengths what the times are."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from ocp_tuned_boot.commands import surroundings, timeline, timeline_svg
from ocp_tuned_boot.commands.timeline import Bar, Part, Timeline
from ocp_tuned_boot.commands.timeline_svg import picture
from ocp_tuned_boot.commands.timeline_text import conclusions
from tests.unit.commands.made import RECORD, STARTUP, UNITS, boot_of, reading

RUNS = boot_of(RECORD).runs
SHOWN = timeline.drawn(boot_of(RECORD), RUNS, surroundings.found(RUNS, reading(UNITS), STARTUP))
SVG = "{http://www.w3.org/2000/svg}"
SAMPLE = Path(__file__).resolve().parents[3] / "docs/timeline.svg"


def parsed(shown: Timeline) -> Element:
    return ElementTree.fromstring(picture(shown).encode())


def bars(root: Element) -> dict[str, Element]:
    """The rectangles that have a title, by the name in it."""
    return {
        title.text.partition(":")[0]: each
        for each in root.iter(f"{SVG}rect")
        if (title := each.find(f"{SVG}title")) is not None and title.text
    }


def number(element: Element, name: str) -> float:
    return float(element.attrib[name])


def test_places_and_lengths_are_those_of_the_times() -> None:
    found = bars(parsed(SHOWN))
    assert list(found) == [bar.name for bar in SHOWN.bars]
    left = min(number(each, "x") for each in found.values())
    longest = max(SHOWN.bars, key=lambda bar: bar.seconds)
    scale = number(found[longest.name], "width") / longest.seconds
    for bar in SHOWN.bars:
        place = left + (bar.at - SHOWN.start) * scale
        assert number(found[bar.name], "x") == pytest.approx(place, abs=0.02)
        wide = max(2.0, bar.seconds * scale)
        assert number(found[bar.name], "width") == pytest.approx(wide, abs=0.02)


def test_what_is_critical_is_so_by_class_and_by_a_mark() -> None:
    root = parsed(SHOWN)
    found, texts = bars(root), [each.text for each in root.iter(f"{SVG}text")]
    for bar in SHOWN.bars:
        kind = "critical" if bar.critical else "other"
        assert found[bar.name].attrib["class"] == ("ready" if bar.name == "READY=1" else kind)
        assert (f"* {bar.name}" if bar.critical else bar.name) in texts


def test_it_has_a_title_a_description_and_a_legend() -> None:
    root = parsed(SHOWN)
    assert root.attrib["role"] == "img"
    ids = {each.attrib["id"] for each in root if "id" in each.attrib}
    assert set(root.attrib["aria-labelledby"].split()) == ids
    assert SHOWN.boot_id in (root.findtext(f"{SVG}title") or "")
    assert root.findtext(f"{SVG}desc") == " ".join(conclusions(SHOWN))
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert {"not critical", "READY=1: units that are ordered after it start"} <= set(texts)


def luminance(colour: str) -> float:
    """As in WCAG 2.1."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4
              for each in parts]  # fmt: skip
    return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear))


@pytest.mark.parametrize(("name", "least"), [("text", 7), ("faint", 4.5), ("critical", 3),
                                             ("other", 3), ("ready", 3)])  # fmt: skip
def test_on_light_and_on_dark_everything_can_be_read(name: str, least: float) -> None:
    style = parsed(SHOWN).findtext(f"{SVG}style") or ""
    light, dark = style.split("@media (prefers-color-scheme:dark)")
    for part in (light, dark):
        colours = dict(re.findall(r"\.(\w+)\{fill:(#\w{6})\}", part))
        two = sorted((luminance(colours[name]), luminance(colours["back"])))
        assert (two[1] + 0.05) / (two[0] + 0.05) >= least


def test_it_needs_nothing_else_and_runs_nothing() -> None:
    for text in (picture(SHOWN), SAMPLE.read_text()):
        assert not re.search(r"url\(|@import|@font-face|<script|href|<image|<foreignObject", text)
        assert text.count("http") == 1


def test_what_it_is_given_is_escaped() -> None:
    words = "<script>&\"'\x1b\x00\ufffe\udcff]]>.service"
    hostile = Timeline("<b>", words, words, "kernel", 0.0,
                       (Bar(words, Part.RUN, 1.0, 1.0, True), Bar("x", Part.RUN, 1.5)),
                       notes=(words,))  # fmt: skip
    root = parsed(hostile)
    assert root.find(f".//{SVG}script") is None
    assert any("<script>&" in (each.text or "") for each in root.iter(f"{SVG}text"))


@pytest.mark.parametrize(
    "content",
    [(), (Bar("x", Part.RUN, 3.0),), (Bar("x", Part.RUN, 0.0, 1e-7),),
     (Bar("x", Part.RUN, 1e5, 1e6),)],
)  # fmt: skip
def test_any_times_can_be_drawn(content: tuple[Bar, ...]) -> None:
    root = parsed(replace(SHOWN, bars=content, last="", longest=""))
    axis = [each for each in root.iter(f"{SVG}rect") if each.attrib["class"] == "grid"]
    assert len(axis) <= 12


@pytest.mark.parametrize(
    ("span", "expected"), [(1.0, 0.1), (1.9, 0.2), (10.0, 1.0), (14.0, 2.0), (33.0, 5.0)]
)
def test_the_axis_has_round_numbers(span: float, expected: float) -> None:
    assert timeline_svg.step(span) == pytest.approx(expected)


def test_the_sample_is_one_of_these_pictures() -> None:
    root = ElementTree.fromstring(SAMPLE.read_text())
    assert root.findtext(f"{SVG}style") == parsed(SHOWN).findtext(f"{SVG}style")
    assert {"ocp-tuned.service", "kubelet.service", "READY=1"} <= set(bars(root))
