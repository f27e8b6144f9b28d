"""`python -m tests.lab.agentload`: what the agents of many nodes cost one API server while nothing
happens, and when the status of a Profile changes.

Each agent is its `Follower` here, with a connection of its own to a real server: that is all of it
that asks the server while nothing happens. Beside it, what an operator's agent does: an informer on
the Profiles of all nodes. docs/agent.md has the results.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ocp_tuned_boot.agent.agent import GROUP
from ocp_tuned_boot.agent.follow import Follower
from ocp_tuned_boot.agent.kube import WATCH, Kube, Resource, Server
from tests.lab.cluster import ACCOUNT, NAMESPACE, install_agent
from tests.lab.controlplane import URL, ControlPlane
from tests.lab.demo import tell_what_is_done
from tests.unit.agent.made import Json, profile

#: How long nothing happens (seconds), and how many changes follow.
QUIET, CHANGES = 2 * WATCH, 20
#: How long client-go's informers watch until they ask again: from five to ten minutes (seconds).
INFORMER = 450
#: A profile of OpenShift's size (bytes).
DATA = 2000


@dataclass(frozen=True)
class Cost:
    """Of all agents together: requests and bytes in a second, and bytes of one change; `cpu`: of
    the server and of etcd, part of one processor."""

    requests: float
    received: float
    change: float
    cpu: float


def of_node(number: int, generation: int = 1) -> Json:
    data = {"openshift-node": "[main]\nsummary=x\n" + "#" * DATA}
    content = profile("openshift-node", data)
    content["metadata"] = {"name": f"node-{number}", "namespace": NAMESPACE}
    conditions = [
        {"type": kind, "status": "True", "reason": "AsExpected", "message": f"{generation}",
         "lastTransitionTime": "2026-11-27T01:00:00Z"}
        for kind in ("Applied", "Degraded")
    ]  # fmt: skip
    content["status"] = {"tunedProfile": "openshift-node", "conditions": conditions}
    return content


class Fleet:
    """The agents of so many nodes, in this process; `own`: each follows its own Profile."""

    def __init__(self, folder: Path, nodes: int, *, own: bool) -> None:
        server = Server(URL, folder / "token", folder / "ca.crt")
        self._kubes = [Kube(server, watch=WATCH if own else INFORMER) for _ in range(nodes)]
        self._started = threading.Semaphore(0)
        self._followers = [
            Follower(kube, self._of(number, own), lambda _: self._started.release())
            for number, kube in enumerate(self._kubes)
        ]

    @staticmethod
    def _of(number: int, own: bool) -> Resource:
        fields = f"metadata.name=node-{number}" if own else ""
        return Resource("profiles", GROUP, namespace=NAMESPACE, fields=fields)

    def start(self, seconds: float) -> None:
        """One after the other within so many seconds: nodes do not start at once either."""
        for each in self._followers:
            each.start()
            time.sleep(seconds / len(self._followers))
        for _ in self._followers:
            self._started.acquire()

    def used(self) -> tuple[int, int]:
        """Requests and bytes so far."""
        counters = [each.counters for each in self._kubes]
        return sum(it.requests for it in counters), sum(it.received for it in counters)


def _inside(folder: Path, nodes: int, own: bool) -> None:
    """In the network of the control plane. Says what it has used whenever it is asked."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * nodes + 1000,) * 2)
    threading.stack_size(256 * 1024)
    fleet = Fleet(folder, nodes, own=own)
    fleet.start(WATCH)
    print("started", flush=True)
    for _ in sys.stdin:
        print(*fleet.used(), flush=True)


@contextmanager
def fleet(
    plane: ControlPlane, folder: Path, nodes: int, own: bool
) -> Iterator[subprocess.Popen[str]]:
    there = ["nsenter", f"--net=/proc/{plane.leader}/ns/net"]
    options = [f"--inside={folder}", f"--nodes={nodes}", *(["--own"] if own else [])]
    with subprocess.Popen(
        [*there, sys.executable, "-m", "tests.lab.agentload", *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def _used(process: subprocess.Popen[str]) -> tuple[int, int]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    requests, received = map(int, process.stdout.readline().split())
    return requests, received


def _cpu(plane: ControlPlane) -> float:
    """What server and etcd have used (seconds)."""
    shown = plane.run("systemctl", "show", "--value", "--property=CPUUsageNSec",
                      "kube-apiserver.service", "etcd.service").stdout.split()  # fmt: skip
    return sum(map(int, shown)) / 1e9


def measure(plane: ControlPlane, folder: Path, nodes: int, *, own: bool) -> Cost:
    with fleet(plane, folder, nodes, own) as process:
        (requests, received), cpu = _used(process), _cpu(plane)
        time.sleep(QUIET)
        (asked, got), spent = _used(process), _cpu(plane)
        before = _used(process)[1]
        for number in range(CHANGES):
            _change(plane, number)
        time.sleep(WATCH / 4)
        change = (_used(process)[1] - before) / CHANGES
        # What comes without a change, too.
        change -= (got - received) / QUIET * (WATCH / 4) / CHANGES
    return Cost((asked - requests) / QUIET, (got - received) / QUIET, max(0.0, change),
                (spent - cpu) / QUIET)  # fmt: skip


def _change(plane: ControlPlane, number: int) -> None:
    """The status of a Profile, as its agent writes it."""
    status = json.dumps({"status": of_node(number, int(time.time()))["status"]})
    plane.kubectl("patch", "profile", f"node-{number}", f"--namespace={NAMESPACE}",
                  "--subresource=status", "--type=merge", f"--patch={status}")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="What the agents of many nodes cost one server.")
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--own", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        _inside(options.inside, options.nodes, options.own)
        return 0
    tell_what_is_done()
    with ControlPlane() as plane, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plane.boot()
        install_agent(plane)
        objects = [of_node(number) for number in range(options.nodes)]
        content = {"apiVersion": "v1", "kind": "List", "items": objects}
        plane.kubectl("create", "--filename=-", input=json.dumps(content))
        (folder / "ca.crt").write_text(plane.read("/etc/kubernetes/ca.crt"))
        print("| | requests in a second | bytes in a second | bytes of one change | CPU |")
        print("|---|---|---|---|---|")
        for label, own in (("`ocp-tuned-agent`", True), ("an informer on all Profiles", False)):
            token = plane.kubectl("create", "token", ACCOUNT, f"--namespace={NAMESPACE}")
            (folder / "token").write_text(token)
            cost = measure(plane, folder, options.nodes, own=own)
            print(f"| {label} | {cost.requests:.1f} | {cost.received:.0f} | {cost.change:.0f} "
                  f"| {cost.cpu:.0%} |", flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
