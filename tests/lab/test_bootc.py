"""Day 0 in the image of an operating system: really built, then booted with a /var of its own, and
again with another image, as an update does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.lab import bootcimage, oslayer, tunedimage
from tests.lab.dayzero import (
    BOOT_CONF,
    FILES,
    PROVIDER,
    WANTED,
    is_tuned,
    lies,
    rendered,
    watched,
)
from tests.lab.node import Node
from tests.lab.test_boot import found_by
from tests.lab.workload import has_ended

pytestmark = pytest.mark.lab

PROFILES = "usr/share/ocp-tuned-boot/profiles"
DROP_IN = "etc/ocp-tuned-boot/boot.conf.d/50-day0.conf"


class Host(Node):
    """A node of the image that these lines make."""

    def __init__(self, suite: str, lines: str) -> None:
        super().__init__(suite, image=suite, system=oslayer.root(suite))
        self._layer = bootcimage.layer(suite, lines)

    def _roots(self) -> list[Path]:
        return [self._layer, *super()._roots()]


# Debian 12 has Podman 4.3, and Buildah 1.28 in it.
@pytest.mark.parametrize("suite", ["trixie", pytest.param("bookworm", marks=pytest.mark.slow)])
def test_an_image_is_tuned_in_its_first_boot_and_after_an_update(
    tmp_path: Path, suite: str
) -> None:
    lines = rendered(tmp_path, "containerfile", suite)
    with Host(suite, lines) as node:
        conf = f"[tuning]\nimage = {tunedimage.name(suite)}\nprofile = site\n"
        lies(
            node.root,
            {
                "etc/ocp-tuned-boot/boot.conf": BOOT_CONF,
                DROP_IN: conf.encode(),
                **{f"{PROFILES}/{name}": data for name, data in FILES.items()},
            },
        )
        # Nothing that it needs is in /var.
        shutil.rmtree(node.root / "var/lib/ocp-tuned", ignore_errors=True)
        watched(node)
        node.boot()
        is_tuned(node)
        assert node.read("/var/lib/ocp-tuned/provider") == PROVIDER
        assert not (node.root / "var/lib/ocp-tuned/profiles").exists()
        node.poweroff()
        _updated(node)
        node.boot()
        assert found_by(node, "kubelet") == {**WANTED, "/proc/sys/kernel/shmmni": "4098"}
        node.poweroff()
        _has_agent(node)
        node.boot()
        assert found_by(node, "kubelet") == {**WANTED, "/proc/sys/net/ipv4/tcp_fin_timeout": "39"}
        has_ended(node)
        # What the agent has written is as it was.
        assert node.read("/var/lib/ocp-tuned/provider") == "gce"
        assert "39" in node.read("/var/lib/ocp-tuned/profiles/site/tuned.conf")
        _wants_no_custom_profile(node, suite)


def _wants_no_custom_profile(node: Node, suite: str) -> None:
    """An agent that has removed its last one: that of the image does not come back."""
    shutil.rmtree(node.root / "var/lib/ocp-tuned/profiles")
    assert "site" in _profiles(node)
    node.write("/var/lib/ocp-tuned/image.env", f"NTO_IMAGE={tunedimage.name(suite)}\n")
    assert "site" not in _profiles(node)


def _profiles(node: Node) -> set[str]:
    listed = json.loads(node.run("ocp-tuned-boot", "profile", "list", "--json").stdout)
    return {each["name"] for each in listed["profiles"]}


def _updated(node: Node) -> None:
    """Another image: the profile in /usr is another one."""
    conf = node.root / PROFILES / "site/tuned.conf"
    conf.write_text(conf.read_text().replace("shmmni=4097", "shmmni=4098"))


def _has_agent(node: Node) -> None:
    """An agent has come, with a profile of the same name."""
    node.write("/var/lib/ocp-tuned/provider", "gce")
    node.write(
        "/var/lib/ocp-tuned/profiles/site/tuned.conf",
        "[main]\nsummary=x\n[sysctl]\nkernel.shmmni=4097\nnet.ipv4.tcp_fin_timeout=39\n",
    )
