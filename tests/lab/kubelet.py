"""crio and kubelet on a node: stand-ins that say when they were started (`node-files/`)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, Optional, TypedDict

if TYPE_CHECKING:
    from tests.lab.node import Node

#: How crio and kubelet depend on kubelet-dependencies.target. `requires` is OpenShift's way.
Relation = Literal["requires", "wants", "after-only"]

_TARGET = "kubelet-dependencies.target"
_DROP_INS = {
    "requires": f"[Unit]\nRequires={_TARGET}\nAfter={_TARGET}\n",
    "wants": f"[Unit]\nWants={_TARGET}\nAfter={_TARGET}\n",
    "after-only": f"[Unit]\nAfter={_TARGET}\n",
}


class Witness(TypedDict):
    """What a workload saw when it was started."""

    unit: str
    #: CLOCK_MONOTONIC, which all machines on one kernel share.
    monotonic: float
    boot_id: str
    #: The files named in /etc/lab/watch; None for one that could not be read.
    values: dict[str, Optional[str]]


def kubelet_follows(node: Node, how: Relation) -> None:
    """Makes crio and kubelet depend on the target in this way; to be said before the boot."""
    for unit in ("crio", "kubelet"):
        node.write(f"/etc/systemd/system/{unit}.service.d/target.conf", _DROP_INS[how])


def starts(node: Node, unit: str) -> list[Witness]:
    """Every start of `crio` or `kubelet` in this boot (or the last, when the node is off)."""
    try:
        lines = node.read(f"/var/lib/lab/{unit}.json").splitlines()
    except FileNotFoundError:
        return []
    seen: list[Witness] = [json.loads(line) for line in lines]
    return [witness for witness in seen if witness["boot_id"] == node.boot_id]
