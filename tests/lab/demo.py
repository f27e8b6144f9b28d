"""`make demo`: a node boots here, and the timeline and the status are shown.

With `--boots N` it boots N times and shows medians instead: from the unit's start to its
readiness, and what of that was neither Podman's nor TuneD's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import dataclass
from typing import Any

from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.workload import PROFILE, RESET, furnish, has_ended

#: Steps that wait for Podman or for TuneD.
NOT_OURS = ("image", "create", "tuned")


@dataclass(frozen=True)
class Boot:
    """Moments of one boot, in seconds since systemd came up in it, and the record."""

    unit_started: float
    ready: float
    kubelet_started: float
    record: dict[str, Any]

    @property
    def took(self) -> float:
        """From the unit's start to its readiness, in seconds."""
        return self.ready - self.unit_started

    @property
    def own(self) -> float:
        """What of that was neither Podman's nor TuneD's, in seconds."""
        waits = [step["seconds"] for step in self.record["steps"] if step["name"] in NOT_OURS]
        return self.took - float(sum(waits))


def moment(node: Node, unit: str, name: str) -> float:
    """A `…TimestampMonotonic` property, in seconds since systemd came up."""

    def microseconds(*arguments: str) -> int:
        shown = node.run("systemctl", "show", "--value", *arguments).stdout
        return int(shown.strip())

    since = microseconds("-p", "UserspaceTimestampMonotonic")
    return (microseconds("-p", f"{name}TimestampMonotonic", unit) - since) / 1e6


def observe(node: Node) -> Boot:
    """What the node that has just booted has to say."""
    return Boot(
        unit_started=moment(node, "ocp-tuned.service", "ExecMainStart"),
        ready=moment(node, "ocp-tuned.service", "ActiveEnter"),
        kubelet_started=moment(node, "kubelet.service", "ExecMainStart"),
        record=json.loads(node.read("/run/ocp-tuned-boot/status.json")),
    )


def show(node: Node, boot: Boot) -> None:
    print("\nThe timeline (seconds since systemd came up in the node):\n")
    print(f"  {boot.unit_started:7.3f}  ocp-tuned.service started")
    at = boot.ready - boot.record["seconds"]
    for step in boot.record["steps"]:
        print(f"  {at:7.3f}    {step['name']:<8} {step['seconds']:.3f} s")
        at += step["seconds"]
    print(f"  {boot.ready:7.3f}  ocp-tuned.service ready")
    print(f"  {boot.kubelet_started:7.3f}  kubelet.service started")
    seen = node.witness("kubelet")
    assert seen is not None
    print("\nWhat the kubelet found when it started:\n")
    for path, value in seen["values"].items():
        print(f"  {path} = {value}")
    for command in (("systemctl", "status", "-n", "4", "ocp-tuned"), ("ocp-tuned-boot", "status")):
        print(f"\n# {' '.join(command)}\n{node.run(*command).stdout}", end="")


def main() -> int:
    parser = argparse.ArgumentParser(description="Boots a lab node and shows what happened.")
    parser.add_argument("--suite", default="trixie", help="the node's Debian: trixie or bookworm")
    parser.add_argument("--boots", type=int, default=0, metavar="N", help="medians over N boots")
    options = parser.parse_args()
    print("Preparing a node (the first time this takes some minutes)…", flush=True)
    boots = []
    with KernelKnobs(RESET), Node(options.suite, image=options.suite) as node:
        furnish(node, PROFILE + "[cpu]\nforce_latency=7\n")
        node.boot()
        if not options.boots:
            has_ended(node)
            show(node, observe(node))
        for number in range(options.boots):
            node.poweroff()
            node.boot()
            boots.append(observe(node))
            print(f"boot {number + 1}: {boots[-1].took:.3f} s, own {boots[-1].own:.3f} s")
    if boots:
        took, own = (statistics.median(values) for values in
                     ([boot.took for boot in boots], [boot.own for boot in boots]))  # fmt: skip
        print(f"median of {len(boots)}: {took:.3f} s from unit start to ready, "
              f"own share {own:.3f} s ({own / took:.0%})")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
