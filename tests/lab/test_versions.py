"""The newest versions of systemd, Podman and Python that Debian has, in one boot. All others, and
more of each: `make matrix`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Optional

import pytest

from tests.lab import product, rootfs, tunedimage
from tests.lab.node import Node
from tests.lab.test_boot import found_by
from tests.lab.workload import has_ended, record

pytestmark = pytest.mark.lab

#: A setting of the node's own network: no other node, nor this machine, sees it.
KNOB = "/proc/sys/net/ipv4/tcp_fin_timeout"
PROFILE = "[main]\nsummary=x\n[sysctl]\nnet.ipv4.tcp_fin_timeout={}\n"
AGENT = "/var/lib/ocp-tuned"
NAME = "openshift-node-lab"

#: Of each kind one that only shows something; argparse changes between releases of Python.
COMMANDS = (
    "--help", "render --help", "timeline --help", "status --verbose", "timeline --json", "check",
    "profile list", "image list", "render kickstart --profile lab --image localhost/x:1",
)  # fmt: skip


class WithNextPodman(Node):
    """Of the next release, but for its Podman."""

    def _roots(self) -> list[Path]:
        return [rootfs.next_podman_root()]


def boots_and_reloads(
    suite: str, image: str, package: Optional[Path] = None, kind: type[Node] = Node
) -> None:
    """A boot, a reload and a comparison, with the image of this suite; `package`: see `Node`."""
    with kind(suite, image=image, package=package) as node:
        node.write(f"{AGENT}/image.env", f"NTO_IMAGE={tunedimage.name(image)}\n")
        node.write(f"{AGENT}/recommend.d/50-openshift.conf", f"[{NAME}]\n")
        node.write(f"{AGENT}/profiles/{NAME}/tuned.conf", PROFILE.format(37))
        node.write("/etc/lab/watch", f"{KNOB}\n")
        assert node.boot() == "running"
        assert found_by(node, "kubelet") == {KNOB: "37"}
        has_ended(node)
        assert (record(node)["result"], record(node)["findings"]) == ("applied", [])
        assert [value["state"] for value in record(node)["values"]] == ["verified"]
        node.write(f"{AGENT}/profiles/{NAME}/tuned.conf", PROFILE.format(38))
        node.run("systemctl", "reload", "ocp-tuned")
        assert node.read(KNOB).strip() == "38"
        for command in COMMANDS:
            node.run("ocp-tuned-boot", *command.split())
        shown = json.loads(node.run("ocp-tuned-boot", "verify", "--json").stdout)
        assert [value["state"] for value in shown["values"]] == ["verified"]


def test_on_debian_testing_a_node_boots_tuned() -> None:
    """With the package that was built on Debian 13, as an upgrade of the system leaves it there."""
    boots_and_reloads(rootfs.NEXT, "trixie", product.product_package("trixie"))
