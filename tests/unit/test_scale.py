"""The simulation of docs/scale.md, with few nodes: what it says of the program must follow from the
program, and what it says of a line from arithmetic."""

from __future__ import annotations

from pathlib import Path

from ocp_tuned_boot.agent.kube import SPREAD, WATCH
from tests import scale
from tests.scale import MB, Line, Site, missing, refreshes, simulated

PAGE = Path(__file__).parents[2] / "docs/scale.md"

#: Ten nodes in place of 5,000, and a registry that could serve all of them in three times the
#: deadline.
LAYERS = (60 * MB, 40 * MB)
FEW = Site(nodes=10, layers=LAYERS, gbit=10 * 100 * MB * 8 / 270 / 1e9, switched_on=5)


def test_a_line_is_divided_by_weight() -> None:
    line = Line(100)
    line.begin(1, 100, 1)
    line.begin(2, 300, 3)
    assert line.next()[0] == 4
    line.advance(2)
    assert (line.end(1), len(line)) == (50, 1)
    # From now on, the other one has all of it.
    assert line.next() == (3.5, 2)
    line.advance(3.5)
    assert line.end(2) == 300


def test_of_a_pull_that_is_cut_off_the_first_complete_layers_are_kept() -> None:
    assert missing((1000, 500), 0) == (1000, 500)
    # The second one is complete, and not kept.
    assert missing((1000, 500), 1200) == (1000, 500)
    assert missing((500, 1000), 1200) == (1000,)
    assert missing((500, 1000), 1500) == ()


def test_with_enough_bandwidth_all_are_tuned_and_nothing_is_sent_twice() -> None:
    done = simulated(FEW, gbit=1)
    assert done.share == 1
    assert 0.99 < done.wasted < 1.01
    assert max(done.tuned) < FEW.switched_on + 10 * 100 * MB * 8 / 1e9 + 1


def test_with_too_little_an_open_gate_leaves_most_nodes_untuned() -> None:
    done = simulated(FEW)
    # In this time, the registry could have served a third of them.
    assert done.share < 0.3
    # Where the registry refuses the others meanwhile, it does.
    assert simulated(FEW, slots=1).share > done.share


def test_a_closed_gate_opens_on_every_node_and_little_is_sent_twice() -> None:
    done = simulated(FEW, closed=True)
    assert done.share == 1
    assert done.wasted < 2.5
    # Ten times too slow is no other matter.
    done = simulated(FEW, closed=True, gbit=FEW.gbit / 10)
    assert done.share == 1
    assert done.wasted < 2.5


def test_an_hour_is_the_most_that_one_run_gets() -> None:
    """A registry that can serve nobody within that: the nodes begin again each hour."""
    done = simulated(FEW, closed=True, gbit=FEW.gbit / 1000, until=4 * 3600)
    assert done.share == 0
    last = max(done.asked)
    assert 0 < 4 * 3600 - last < 3600 + 100


def test_nodes_that_try_again_do_not_stay_in_step() -> None:
    """All are switched on within a moment, and the registry is down for a minute."""
    done = simulated(FEW, nodes=500, switched_on=0.1, down=60, gbit=100)
    assert done.share == 1
    seconds = [done.asked[second] for second in range(20, 60)]
    assert max(seconds) < 2 * sum(seconds) / len(seconds)
    # A registry that is up again has all of them soon.
    assert max(done.tuned) < 60 + 10


def test_agents_that_lost_the_server_together_do_not_stay_in_step() -> None:
    asked = refreshes(300, 60, 600)
    assert max(asked.values()) < 5 * sum(asked.values()) / 60
    # That is what would be.
    assert max(refreshes(300, 60, 600, 1.0).values()) == 300


def test_the_page_has_the_layers_that_are_simulated() -> None:
    text = PAGE.read_text()
    assert f"The image is {sum(scale.TUNED) / MB:.0f} MB as a registry sends it" in text
    assert f"{sum(scale.TUNED) / 1e9 * 5000:.0f} GB for 5,000 nodes" in text
    assert f"from {WATCH} to {WATCH * SPREAD:.0f} seconds" in text
    assert f"the default `timeout` of {Site.timeout:.0f} s" in text
    assert f"begin to pull within {Site.switched_on} s" in text
