"""What the nodes of the lab are told to apply, and how the kernel is set before."""

from __future__ import annotations

import json
from typing import Any

from tests.lab.node import Node

#: Settings of the machine's one kernel, and what they are set to before each boot.
RESET = {
    "/proc/sys/vm/stat_interval": "1",
    "/sys/kernel/mm/transparent_hugepage/enabled": "never",
    "/sys/kernel/mm/transparent_hugepage/khugepaged/defrag": "1",
}
#: What the profile below asks for; the last two are the node's own.
WANTED = {
    "/proc/sys/vm/stat_interval": "7",
    "/sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
    "/sys/kernel/mm/transparent_hugepage/khugepaged/defrag": "0",
    "/proc/sys/net/ipv4/tcp_fin_timeout": "37",
    # Of the IPC namespace: the container has to share the node's.
    "/proc/sys/kernel/shmmni": "4097",
}
PROFILE = """\
[main]
summary=A workload's profile, on top of one of the image's own
include=throughput-performance

[sysctl]
vm.stat_interval=7
net.ipv4.tcp_fin_timeout=37
kernel.shmmni=4097

[vm]
transparent_hugepages=madvise

[sysfs]
/sys/kernel/mm/transparent_hugepage/khugepaged/defrag=0
"""


def furnish(node: Node, profile: str = PROFILE) -> None:
    """What the operator's agent writes."""
    node.write("/var/lib/ocp-tuned/image.env", f"NTO_IMAGE=localhost/tuned:{node.suite}\n")
    node.write("/var/lib/ocp-tuned/recommend.d/50-openshift.conf", "[openshift-node-lab]\n")
    node.write("/var/lib/ocp-tuned/profiles/openshift-node-lab/tuned.conf", profile)
    node.write("/etc/lab/watch", "".join(f"{path}\n" for path in WANTED))


def reloaded(node: Node, profile: str) -> None:
    """The agent writes another profile, and the unit is reloaded."""
    node.write("/var/lib/ocp-tuned/profiles/openshift-node-lab/tuned.conf", profile)
    node.run("systemctl", "reload", "ocp-tuned")


# Ready is not yet ended: values are read back and the container is removed after that.
_ENDED = 'until [ "$(systemctl show --value -p SubState ocp-tuned)" = exited ]; do sleep 0.05; done'


def has_ended(node: Node) -> None:
    """Returns when all is done and the unit is well."""
    node.run("sh", "-c", _ENDED)


def record(node: Node) -> dict[str, Any]:
    """What the last run has recorded."""
    content: dict[str, Any] = json.loads(node.read("/run/ocp-tuned-boot/status.json"))
    return content
