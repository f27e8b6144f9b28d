"""A cluster: the agent is the DaemonSet that ships, on two nodes with real kubelets, and pods say
what was tuned when they started."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab import workload
from tests.lab.cluster import NAMESPACE, ClusterNode, cluster, install_agent, witnesses
from tests.lab.controlplane import ControlPlane
from tests.lab.patience import eventually
from tests.lab.watch import Watch
from tests.unit.agent.made import Json, annotated, rule, tuned

pytestmark = [pytest.mark.lab, pytest.mark.slow]

HERE = f"--namespace={NAMESPACE}"
#: Settings of each node's own network namespace.
KNOBS = ("tcp_fin_timeout", "tcp_keepalive_probes")
APPLIED = {"Applied": ("True", "AsExpected"), "Degraded": ("False", "AsExpected")}
DEFERRED = {"Applied": ("False", "Deferred"), "Degraded": ("True", "TunedDeferredUpdate")}
#: Of the agent, on each of the two nodes.
RESTARTS = 25


def data(value: int) -> str:
    """A profile that sets both."""
    lines = "".join(f"net.ipv4.{each}={value}\n" for each in KNOBS)
    return f"[main]\nsummary=x\n[sysctl]\n{lines}"


@dataclass
class Cluster:
    plane: ControlPlane
    nodes: list[ClusterNode]

    def create(self, *objects: Json) -> None:
        for each in objects:
            self.plane.kubectl("apply", "--filename=-", input=json.dumps(each))

    def delete(self, *what: str) -> None:
        self.plane.kubectl("delete", *what, HERE)

    def profile(self, node: ClusterNode) -> dict[str, Any]:
        return self.plane.get("profile", node.known_as, HERE)

    def conditions(self, node: ClusterNode) -> dict[str, tuple[str, str]]:
        found = self.profile(node).get("status", {}).get("conditions", [])
        return {each["type"]: (each["status"], each.get("reason", "")) for each in found}

    def has(self, node: ClusterNode, profile: str, value: int) -> None:
        """Waits until the node is tuned by this profile, and its Profile says so of the newest
        generation."""

        def told() -> bool:
            found = self.profile(node)
            status = found.get("status", {})
            return (
                found["spec"]["config"]["tunedProfile"] == status.get("tunedProfile") == profile
                and status.get("observedGeneration") == found["metadata"]["generation"]
                and self.conditions(node) == APPLIED
            )

        eventually(lambda: knobs(node) == {str(value)} and told())

    def defers(self, node: ClusterNode) -> None:
        """Waits until its Profile says that the newest change waits."""
        eventually(lambda: self.conditions(node) == DEFERRED)

    def witness(self, node: ClusterNode) -> str:
        """The name of its witness."""
        selected = ("--selector=app=witness", f"--field-selector=spec.nodeName={node.known_as}")
        items = self.plane.get("pods", *selected)["items"]
        # One that is being deleted may still be there.
        (name,) = (
            each["metadata"]["name"]
            for each in items
            if "deletionTimestamp" not in each["metadata"]
        )
        return str(name)

    def prints(self, node: ClusterNode, text: str) -> None:
        """Waits until its witness has printed this at its last start."""
        pod = self.witness(node)
        eventually(lambda: self.plane.kubectl("logs", pod, check=False) == text)


def knobs(node: ClusterNode) -> set[str]:
    return {node.read(f"/proc/sys/net/ipv4/{each}").strip() for each in KNOBS}


@pytest.fixture(scope="module")
def found() -> Iterator[Cluster]:
    """Both nodes are tuned by the profile `site`."""
    with cluster("trixie", "bookworm") as (plane, nodes):
        install_agent(plane)
        cluster_found = Cluster(plane, nodes)
        # No node gets the profile of `default`, which sets more than what is of the node alone.
        cluster_found.create(site(5), json.loads(witnesses([f"net/ipv4/{KNOBS[0]}"])))
        for node in nodes:
            node.boot()
        for node in nodes:
            cluster_found.has(node, "site", 5)
        yield cluster_found


def site(value: int, **annotations: str) -> Json:
    """A Tuned for all nodes."""
    content = tuned("site", rule("site", 30), profiles={"site": data(value)})
    return annotated(content, **annotations) if annotations else content


def special(**match: str) -> Json:
    """A Tuned that counts before `site`, for what matches."""
    rules = rule("special", 10, match=[match])
    return tuned("special", rules, profiles={"special": data(9)})


def test_a_change_is_applied_and_told_at_once_or_when_it_is_not_deferred_any_more(
    found: Cluster,
) -> None:
    found.create(site(6))
    for node in found.nodes:
        found.has(node, "site", 6)
    found.create(site(7, deferred="always"))
    for node in found.nodes:
        found.defers(node)
        assert knobs(node) == {"6"}
    found.create(site(7, deferred="never"))
    for node in found.nodes:
        found.has(node, "site", 7)
    found.create(site(5))
    for node in found.nodes:
        found.has(node, "site", 5)


def test_the_labels_of_a_node_and_of_its_pods_choose_the_profile(found: Cluster) -> None:
    first, second = found.nodes
    found.create(special(label="lab", value="special"))
    found.plane.kubectl("label", "node", first.known_as, "lab=special")
    found.has(first, "special", 9)
    found.has(second, "site", 5)
    found.plane.kubectl("label", "node", first.known_as, "lab-")
    found.has(first, "site", 5)
    found.create(special(label="lab", value="special", type="pod"))
    found.plane.kubectl("label", "pod", found.witness(first), "lab=special")
    found.has(first, "special", 9)
    found.has(second, "site", 5)
    # Another pod takes its place, which has no such label.
    found.plane.kubectl("delete", "pod", found.witness(first))
    found.has(first, "site", 5)
    found.delete("tuned", "special")


def test_a_pod_finds_its_node_tuned_at_each_boot(found: Cluster) -> None:
    for turn in range(2):
        # What waits for a boot, too.
        value = 10 + turn
        found.create(site(value, deferred="always"))
        for node in found.nodes:
            found.defers(node)
            node.reboot()
            found.has(node, "site", value)
            found.prints(node, f"{value}\n")
    found.create(site(5))
    for node in found.nodes:
        found.has(node, "site", 5)


def test_another_image_waits_for_the_next_boot(found: Cluster) -> None:
    for node in found.nodes:
        node.run("podman", "tag", "localhost/tuned:trixie", "localhost/tuned:new")
    before = [workload.record(node) for node in found.nodes]
    install_agent(found.plane, "localhost/tuned:new")
    for node, record in zip(found.nodes, before):
        node.run(
            "sh", "-c", "until grep -q tuned:new /var/lib/ocp-tuned/image.env; do sleep 0.1; done"
        )
        assert workload.record(node)["in_force"] == record["in_force"]
        found.has(node, "site", 5)
        node.reboot()
        found.has(node, "site", 5)
        assert workload.record(node)["in_force"]["image"] == "localhost/tuned:new"


def test_a_restart_of_the_agent_touches_nothing_on_its_node(found: Cluster) -> None:
    node, _ = found.nodes
    selected = "--selector=app=ocp-tuned-agent"
    # Of the node alone: what is of the one kernel, others set meanwhile.
    with Watch(node, "/proc/sys/net/ipv4/*", "/proc/sys/net/core/*") as watch:
        record, version = node.read("/run/ocp-tuned-boot/status.json"), found.profile(node)
        watch.changes()
        for _ in range(RESTARTS):
            found.plane.kubectl("delete", "pod", selected, HERE)
            found.plane.kubectl("rollout", "status", "daemonset/ocp-tuned-agent", HERE)
        assert watch.changes() == []
        assert watch.sweeps > RESTARTS
    assert node.read("/run/ocp-tuned-boot/status.json") == record
    assert found.profile(node) == version
    # The last one works.
    found.create(site(6))
    found.has(node, "site", 6)
