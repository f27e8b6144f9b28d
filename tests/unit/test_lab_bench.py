"""What `make bench` makes of its measurements."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from tests.lab import bench, benchreport
from tests.lab.benchreport import BEGIN, END, Boot, Memory, Results
from tests.lab.product import TREE

LABELS = bench.LABELS
#: Of each method: until the target in two boots (milliseconds), of the processor beyond nothing.
TOOK = {"nothing": (1, 3), "ours": (50, 70), "upstream": (200, 140), "quadlet": (101, 103)}


def made() -> Results:
    boots = [
        Boot(name, network, took[turn] / 1e3 - 0.001, took[turn] / 1e3, 1.0, 2.0 + took[turn] / 1e3,
             {"tuned": 0.03} if name == "ours" else {})
        for turn in range(2)
        for network in bench.NETWORKS
        for name, took in TOOK.items()
    ]  # fmt: skip
    memory = {name: Memory((100 + took[0]) << 20, 30 << 20) for name, took in TOOK.items()}
    return Results("abc1234", "trixie", "5.4.2", 2, tuple(boots), memory)


def test_a_ratio_is_of_the_two_boots_of_one_turn() -> None:
    # 50/200 and 70/140; the ratio of the medians would be 60/170.
    row = next(
        line for line in benchreport.table(made(), LABELS).splitlines() if "upstream" in line
    )
    assert row.split(" | ")[3] == "0.38 (0.31–0.44)"


def test_processor_and_memory_are_beyond_a_boot_without_tuning() -> None:
    text = benchreport.table(made(), LABELS).partition("### Processor")[2]
    row = next(line for line in text.splitlines() if LABELS["quadlet"] in line)
    # 49/100 and 67/100.
    expected = "**100** (100–100) | 0.58 (0.53–0.62) | 100 | 30 |"
    assert row == f"| {LABELS['quadlet']} | {expected}"


def test_a_command_is_compared_with_the_least_and_with_a_whole_run() -> None:
    took = {"python": [0.01, 0.02], "status": [0.04, 0.06], "full": [0.4, 0.2]}
    text = benchreport.table(replace(made(), commands=took), LABELS)
    row = next(line for line in text.splitlines() if LABELS["status"] in line)
    assert row.split(" | ")[2:] == ["3.50 (3.25–3.75)", "0.20 (0.15–0.25) |"]


def test_the_picture_has_a_bar_for_each_method_and_a_dot_for_each_boot() -> None:
    picture = ElementTree.fromstring(benchreport.picture(made(), LABELS))
    drawn = [each.tag.rpartition("}")[2] for each in picture]
    methods = len(TOOK) - 1
    assert drawn.count("circle") == 2 * 2 * methods
    assert drawn.count("rect") == 1 + 2 * methods
    width = float(picture.attrib["width"])
    assert all(float(each.get("cx", 0)) < width for each in picture)


def test_only_what_was_measured_is_replaced_in_the_document() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert benchreport.replaced(text, "new") == f"before\n{BEGIN}\n\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="expected both"):
        benchreport.replaced("before\n", "new")


def test_the_document_has_the_place_for_it() -> None:
    text = (TREE / "docs/performance.md").read_text()
    assert benchreport.replaced(text, "new")
