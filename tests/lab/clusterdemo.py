"""`make cluster`: a cluster of two nodes, on which Tuned objects work as on OpenShift.

At a terminal, a shell with kubectl follows.
"""

from __future__ import annotations

import logging
import os
import signal
import sys

from tests.lab.activity import activity
from tests.lab.cluster import NAMESPACE, ClusterNode, cluster, install_agent, witnesses
from tests.lab.controlplane import ControlPlane
from tests.lab.demo import tell_what_is_done
from tests.lab.knobs import KernelKnobs
from tests.lab.patience import eventually
from tests.lab.shell import leave
from tests.lab.workload import RESET

HERE = f"--namespace={NAMESPACE}"
KNOB = "net/ipv4/tcp_fin_timeout"
TUNED = """\
apiVersion: tuned.openshift.io/v1
kind: Tuned
metadata: {{name: site, namespace: openshift-cluster-node-tuning-operator}}
spec:
  profile:
  - name: site
    data: |
      [main]
      summary=For the nodes of this site
      include=throughput-performance
      [sysctl]
      net.ipv4.tcp_fin_timeout={value}
  recommend:
  - {{profile: site, priority: 20}}
"""
WELCOME = """
This is the machine of the control plane. Try:

  kubectl get nodes,pods -A -o wide
  kubectl edit tuned site -n {namespace}
  kubectl get profiles -n {namespace} -w
  kubectl logs daemonset/witness

Leave it with "exit": all machines are removed, the kernel settings of this machine are restored.
"""


def show(plane: ControlPlane, *arguments: str) -> None:
    """What a person sees who types this."""
    print(f"\n# kubectl {' '.join(arguments)}\n{plane.kubectl(*arguments)}", end="", flush=True)


def is_told(plane: ControlPlane) -> bool:
    """Whether each Profile says that what it requests now is applied."""
    items = plane.get("profiles", HERE)["items"]
    return len(items) == 2 and all(map(_is_applied, items))


def _is_applied(profile: dict[str, dict[str, object]]) -> bool:
    status = profile.get("status", {})
    conditions = status.get("conditions")
    return (
        status.get("observedGeneration") == profile["metadata"]["generation"]
        and status.get("tunedProfile") == "site"
        and isinstance(conditions, list)
        and [each["status"] for each in conditions[:2]] == ["True", "False"]
    )


def request(plane: ControlPlane, nodes: list[ClusterNode], value: int) -> None:
    """Changes the Tuned, and waits until each node has the value, and its Profile says so."""
    plane.write("/root/site.yaml", TUNED.format(value=value))
    show(plane, "apply", "--filename=/root/site.yaml")
    took = eventually(lambda: all(node.read(f"/proc/sys/{KNOB}") == f"{value}\n" for node in nodes))
    told = took + eventually(lambda: is_told(plane))
    print(f"\nBoth nodes have tcp_fin_timeout = {value} after {took:.1f} s, "
          f"and their Profiles say so after {told:.1f} s.")  # fmt: skip
    show(plane, "get", "profiles", HERE)


def demo(plane: ControlPlane, nodes: list[ClusterNode]) -> None:
    with activity("Booting two nodes: systemd, ocp-tuned-boot, containerd and a kubelet in each"):
        for node in nodes:
            node.boot()
    with activity("Installing the agent: kubectl apply -k packaging/agent"):
        install_agent(plane)
        plane.kubectl("rollout", "status", "daemonset/ocp-tuned-agent", HERE)
    show(plane, "get", "nodes", "--output=wide")
    show(plane, "get", "pods", HERE, "--output=wide")
    request(plane, nodes, 37)
    print("\nA pod on each node prints the setting when it starts.")
    plane.kubectl("apply", "--filename=-", input=witnesses([KNOB]))
    eventually(lambda: prints(plane, nodes) == ["37", "37"])
    show(plane, "logs", "--selector=app=witness", "--prefix")
    print("\nThe Tuned is changed.")
    request(plane, nodes, 38)
    with activity(f"Rebooting {nodes[0].known_as}"):
        nodes[0].reboot()
    eventually(lambda: prints(plane, nodes) == ["38", "37"])
    eventually(lambda: is_told(plane))
    print(f"\n{nodes[0].known_as} was rebooted: its pod started after the profile was applied. "
          f"The pod of {nodes[1].known_as} still shows what it found.")  # fmt: skip
    show(plane, "logs", "--selector=app=witness", "--prefix")
    show(plane, "get", "profiles", HERE)
    show(plane, "get", "events", "--field-selector=source=ocp-tuned-agent")
    print("\nIt worked.")


def prints(plane: ControlPlane, nodes: list[ClusterNode]) -> list[str]:
    """What the pod of each node has printed; empty where it does not run."""
    pods = plane.get("pods", "--selector=app=witness")["items"]
    names = {each["spec"].get("nodeName"): each["metadata"]["name"] for each in pods}
    return [
        plane.kubectl("logs", names.get(node.known_as, "none"), check=False).strip()
        for node in nodes
    ]


def shell(plane: ControlPlane) -> int:
    """Returns its exit status when it exits."""
    print(WELCOME.format(namespace=NAMESPACE), flush=True)
    env = {**plane.environment, "TERM": os.environ.get("TERM", "linux")}
    return plane.attach("script", "-qec", "bash -l", "/dev/null", env=env)


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    tell_what_is_done()
    logging.info("A control plane and two nodes boot here, each a container with its own systemd,")
    logging.info("on a network of their own. The first time this takes a quarter of an hour.")
    with KernelKnobs(RESET), cluster("trixie", "bookworm") as (plane, nodes):
        demo(plane, nodes)
        return shell(plane) if sys.stdin.isatty() else 0


if __name__ == "__main__":
    sys.exit(main())
