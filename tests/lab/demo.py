"""`make demo`: boots a node and shows what that proves.

With `--boots N` it boots N times and shows medians instead: the time from the unit's start to its
readiness, and how much of it neither Podman nor TuneD needed.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import statistics
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from ocp_tuned_boot.settings.notation import same
from tests.lab import kubelet
from tests.lab.activity import activity
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.workload import PROFILE, RESET, WANTED, furnish, has_ended

#: Steps that wait for Podman or for TuneD.
NOT_OURS = ("image", "create", "tuned")
#: What is done in each step.
STEPS = {
    "inputs": "read which image and profile are requested",
    "podman": "connect to Podman",
    "image": "find the image in Podman's storage",
    "prepare": "look at the image, write the directories of the container",
    "create": "create the container",
    "tuned": "run TuneD in it",
    "collect": "read what TuneD wrote",
    "hold": "give systemd the file descriptors that must stay open",
}

LATENCY = "/dev/cpu_dma_latency"
DEMO_PROFILE = PROFILE + "\n[cpu]\nforce_latency=7\n"
PROFILE_FILE = "/var/lib/ocp-tuned/profiles/openshift-node-lab/tuned.conf"

# Writes down the values before anything is tuned, as the kubelet does later.
_BEFORE = """\
[Unit]
Before=ocp-tuned.service
[Service]
Type=notify
ExecStart=/usr/local/bin/lab-witness before
[Install]
WantedBy=multi-user.target
"""
# Folders of /proc/sys with the settings of TuneD's stock profiles and of this one.
_AREAS = ("vm", "kernel", "net/core", "net/ipv4")
# Reading these has an effect.
_ACTIONS = ("compact_memory", "drop_caches", "stat_refresh")

NEXT = """
What to try next:

  make shell                   a root shell in such a node: change the profile, reload, look around
  make demo BOOTS=20           20 boots, and how long the kubelet had to wait
  less man/ocp-tuned-boot.8.rst  the manual; all settings are in man/boot.conf.5.rst
  make test                    all tests; they take some 40 minutes
"""


@dataclass(frozen=True)
class Boot:
    """Moments of one boot, in seconds since systemd started in it, and the record."""

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
        """How much of that neither Podman nor TuneD needed, in seconds."""
        waits = [step["seconds"] for step in self.record["steps"] if step["name"] in NOT_OURS]
        return self.took - float(sum(waits))


@dataclass(frozen=True)
class Row:
    """One setting: its value before the boot, as requested, and as the kubelet found it. `why` it
    cannot be compared; empty if it can."""

    key: str
    before: str
    requested: str
    found: str
    why: str = ""

    @property
    def result(self) -> str:
        """A request may be `>2048`."""
        return "as requested" if same(self.requested, self.found) else "differs"


def moment(node: Node, unit: str, name: str) -> float:
    """A `…TimestampMonotonic` property, in seconds since systemd started."""

    def microseconds(*arguments: str) -> int:
        shown = node.run("systemctl", "show", "--value", *arguments).stdout
        return int(shown.strip())

    since = microseconds("-p", "UserspaceTimestampMonotonic")
    return (microseconds("-p", f"{name}TimestampMonotonic", unit) - since) / 1e6


def observe(node: Node) -> Boot:
    """The moments and the record of a node that has just booted."""
    return Boot(
        unit_started=moment(node, "ocp-tuned.service", "ExecMainStart"),
        ready=moment(node, "ocp-tuned.service", "ActiveEnter"),
        kubelet_started=moment(node, "kubelet.service", "ExecMainStart"),
        record=json.loads(node.read("/run/ocp-tuned-boot/status.json")),
    )


@contextmanager
def demo_node(suite: str) -> Iterator[Node]:
    """A node that is off and has the demo's profile; it alone uses the kernel's settings."""
    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        furnish(node, DEMO_PROFILE)
        yield node


def watched() -> list[str]:
    """All settings that are looked at before the profile is applied, and by the kubelet."""
    files = [
        str(path)
        for area in _AREAS
        for path in sorted(Path("/proc/sys", area).iterdir())
        if path.is_file() and path.name not in _ACTIONS
    ]
    return [*files, *(path for path in WANTED if path not in files), LATENCY]


def shown(path: str, text: Optional[str]) -> str:
    """A value as a witness has read it, for people."""
    if text is None:
        return "-"
    if path == LATENCY:
        # Four bytes of the kernel's; those that are no text were escaped.
        data = re.sub(r"\\x(..)", lambda found: chr(int(found[1], 16)), text).encode("latin-1")
        return f"{struct.unpack('=i', data.ljust(4, bytes(1)))[0]} µs"
    chosen = re.search(r"\[(\S+)\]", text)
    return chosen[1] if chosen else " ".join(text.split())


def rows(record: Mapping[str, Any], before: kubelet.Witness, after: kubelet.Witness) -> list[Row]:
    """Each setting of the profile. The values are those that were seen before the boot and by the
    kubelet; the record only says what was requested, and why a value cannot be compared."""
    found = []
    for value in record["values"]:
        path, why = value["path"], value["why"]
        first, last = (shown(path, each["values"].get(path)) for each in (before, after))
        if not why and path not in after["values"]:
            why = "the demo's kubelet does not look at it"
        found.append(Row(value["key"], first, value["expected"], last, why))
    for hold in record["in_force"]["holds"]:
        first, last = (shown(LATENCY, each["values"].get(LATENCY)) for each in (before, after))
        found.append(Row(hold["kind"], first, f"{hold['value']} µs", last))
    return found


def wrong(table: list[Row]) -> list[Row]:
    """Those that the kubelet found otherwise than requested."""
    return [row for row in table if not row.why and row.result == "differs"]


def show_profile() -> None:
    print("\nThe requested profile, openshift-node-lab:\n")
    for line in DEMO_PROFILE.splitlines():
        print(f"    {line}".rstrip())
    print("\nIt includes throughput-performance, a profile of the TuneD in the image.")


def show_timeline(boot: Boot) -> None:
    print("\nThe boot, in seconds since systemd started in the node:\n")
    print(f"  {boot.unit_started:7.3f}  ocp-tuned.service starts")
    at = boot.ready - boot.record["seconds"]
    for step in boot.record["steps"]:
        if at < boot.ready:
            words = STEPS.get(step["name"], step["name"])
            print(f"  {at:7.3f}      {step['seconds']:5.3f} s  {words}")
        at += step["seconds"]
    print(f"  {boot.ready:7.3f}  ocp-tuned.service is ready: the profile is applied")
    later = (boot.kubelet_started - boot.ready) * 1000
    print(f"  {boot.kubelet_started:7.3f}  kubelet.service starts, {later:.0f} ms later")


def show_settings(table: list[Row]) -> None:
    print("\nEach setting before the boot, as requested, and as the kubelet found it:\n")
    lines = [("setting", "before", "requested", "found", "result")]
    lines += [
        (row.key, row.before, row.requested, row.found, row.result) for row in table if not row.why
    ]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  " + "  ".join(map(str.ljust, line, widths)).rstrip())
    for row in table:
        if row.why:
            print(f"\nNot compared: {row.key} (before: {row.before}, found: {row.found}), because")
            print(f"{row.why}.")


def show(node: Node, boot: Boot) -> bool:
    """Shows what was proven, and says whether it worked."""
    before, after = node.witness("before"), node.witness("kubelet")
    assert before is not None
    assert after is not None
    table = rows(boot.record, before, after)
    show_profile()
    show_timeline(boot)
    show_settings(table)
    for command in (("systemctl", "status", "-n", "4", "ocp-tuned"), ("ocp-tuned-boot", "status")):
        print(f"\n# {' '.join(command)}\n{node.run(*command).stdout}", end="")
    amiss = wrong(table)
    for row in amiss:
        print(f"\nThe kubelet found {row.key} = {row.found}, requested was {row.requested}.")
    applied = boot.record["result"] == "applied"
    if amiss or not applied or boot.kubelet_started < boot.ready:
        print("\nIt did not work: see above.")
        return False
    compared = sum(not row.why for row in table)
    print(f"\nIt worked: the kubelet started after the profile was applied, and all {compared} "
          f"settings that can be compared were as requested by then.\n{NEXT}", end="")  # fmt: skip
    return True


def one_boot(node: Node) -> int:
    node.write("/etc/lab/watch", "".join(f"{path}\n" for path in watched()))
    node.write("/etc/systemd/system/before.service", _BEFORE)
    node.enable("before.service")
    with activity("Booting the node"):
        node.boot()
        has_ended(node)
    return 0 if show(node, observe(node)) else 1


def many_boots(node: Node, times: int) -> int:
    boots = []
    with activity("Booting the node for the first time"):
        node.boot()
    for number in range(times):
        node.poweroff()
        node.boot()
        boots.append(observe(node))
        print(f"boot {number + 1}: {boots[-1].took:.3f} s, own {boots[-1].own:.3f} s", flush=True)
    took, own = (statistics.median(values) for values in
                 ([boot.took for boot in boots], [boot.own for boot in boots]))  # fmt: skip
    print(f"median of {len(boots)}: {took:.3f} s from unit start to ready, "
          f"own share {own:.3f} s ({own / took:.0%})")  # fmt: skip
    return 0


class Elapsed(logging.Formatter):
    """How long ago the program was started, and what is done now."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.relativeCreated / 1000:6.1f} s  {record.getMessage()}"


def tell_what_is_done() -> None:
    """On the standard error, so that what is proven can be kept apart."""
    handler = logging.StreamHandler()
    handler.setFormatter(Elapsed())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def main() -> int:
    parser = argparse.ArgumentParser(description="Boots a lab node and shows what was proven.")
    parser.add_argument("--suite", default="trixie", help="the node's Debian: trixie or bookworm")
    parser.add_argument("--boots", type=int, default=0, metavar="N", help="medians over N boots")
    options = parser.parse_args()
    tell_what_is_done()
    logging.info("A node boots here: a container with its own systemd, Podman and TuneD, and a")
    logging.info("test program instead of the kubelet. The first time this takes some minutes.")
    with demo_node(options.suite) as node:
        return many_boots(node, options.boots) if options.boots else one_boot(node)


if __name__ == "__main__":
    sys.exit(main())
