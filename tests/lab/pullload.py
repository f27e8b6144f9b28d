"""`python -m tests.lab.pullload`: what it takes when many nodes pull the image of TuneD from one
registry with a limited bandwidth.

The registry, Podman, the image and this program are real; the bandwidth is that of tc(8) on a cable
in the lab, and the nodes are stores on one machine. docs/scale.md has the results, and
`tests/scale.py` goes on from them.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys

from tests.lab import tunedimage
from tests.lab.demo import tell_what_is_done
from tests.lab.fleet import Fleet, Run, Traffic, fleet
from tests.lab.node import Node

#: The bandwidth (Mbit/s). So low that it is what takes the time, and not the two processors.
RATE = 40


def uneven(seconds: list[float]) -> float:
    """How unequal the shares of the bandwidth were, by the times of the pulls: the standard
    deviation of their logarithms."""
    return statistics.pstdev([math.log(each) for each in seconds])


def measure(nodes: Fleet, count: int) -> tuple[list[Run], Traffic]:
    """So many nodes pull at once."""
    before = nodes.traffic()
    done = nodes.run("image", "fetch", hosts=nodes.hosts[:count])
    used = nodes.traffic().since(before)
    nodes.empty()
    assert all(run.status == 0 for run in done), done
    return done, used


def main() -> int:
    parser = argparse.ArgumentParser(description="What many pulls from one registry take.")
    parser.add_argument("--nodes", type=int, default=12, help="the most nodes at once")
    options = parser.parse_args()
    counts = [count for count in (1, 2, 4, 8, 12, 16, 32) if count <= options.nodes]
    tell_what_is_done()
    with Node(image="trixie") as node:
        node.boot()
        with fleet(node, tunedimage.name("trixie"), max(counts)) as nodes:
            nodes.limit(f"{RATE}mbit")
            print(f"{RATE} Mbit/s\n")
            print("| nodes | time of a pull (s): first, median, last | last / time of all bytes "
                  "| uneven | MB for each | connections | requests |")  # fmt: skip
            print("|---|---|---|---|---|---|---|")
            for count in counts:
                done, used = measure(nodes, count)
                seconds = sorted(run.seconds for run in done)
                ideal = used.sent * 8 / (RATE * 1e6)
                print(f"| {count} | {seconds[0]:.0f}, {statistics.median(seconds):.0f}, "
                      f"{seconds[-1]:.0f} | {seconds[-1] / ideal:.2f} | {uneven(seconds):.2f} | "
                      f"{used.sent / count / 1e6:.1f} | {used.connections / count:.1f} | "
                      f"{len(used.paths) / count:.1f} |", flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
