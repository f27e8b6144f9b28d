"""Day 0 by cloud-init: Debian's own, with the data source NoCloud, in the first boot of a node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lab import rootfs
from tests.lab.dayzero import agent_files, disable, is_tuned, lies, rendered, watched
from tests.lab.node import Node
from tests.lab.test_boot import property_of

pytestmark = pytest.mark.lab

_KNOB = "/proc/sys/net/ipv4/tcp_fin_timeout"
# What a user has besides: a file, and a command such as kubeadm join.
_OTHERS = f"""\
#cloud-config
write_files:
  - path: /others/file
    content: theirs
runcmd:
  - cat {_KNOB} > /others/found
"""
# On RHEL and Fedora these are not there: a network stage of cloud-init is no part of the early boot
# (systemd/cloud-init-network.service.tmpl of cloud-init).
_EARLY = ("DefaultDependencies=no", "Before=sysinit.target", "Before=shutdown.target",
          "Conflicts=shutdown.target")  # fmt: skip


class Instance(Node):
    """A node with cloud-init, which finds user-data on the disk."""

    def _roots(self) -> list[Path]:
        return [rootfs.base_root(self.suite, more=("cloud-init", "netcat-openbsd"))]

    def give(self, *parts: str) -> None:
        """The user-data, in these parts."""
        made = [{"type": "text/cloud-config", "content": part} for part in parts]
        whole = f"#cloud-config-archive\n{json.dumps(made)}\n" if len(parts) > 1 else parts[0]
        self.write("/var/lib/cloud/seed/nocloud/meta-data", "instance-id: lab\n")
        self.write("/var/lib/cloud/seed/nocloud/user-data", whole)
        # There are no locales on this node.
        self.write("/etc/cloud/cloud.cfg.d/90-lab.cfg", "locale: false\n")
        watched(self)

    def finish(self) -> None:
        """Waits until cloud-init is done, without an error."""
        self.run("cloud-init", "status", "--wait", check=False)
        result = json.loads(self.read("/run/cloud-init/result.json"))["v1"]
        assert result["datasource"].startswith("DataSourceNoCloud")
        assert result["errors"] == []


def has_stage_that_is_not_early(node: Node) -> None:
    unit = "usr/lib/systemd/system/cloud-init-network.service"
    text = (node.root / unit).read_text()
    assert set(_EARLY) <= set(text.splitlines())
    lines = [line for line in text.splitlines() if line not in _EARLY]
    node.write("/etc/systemd/system/cloud-init-network.service", "\n".join(lines) + "\n")


def test_the_first_boot_is_tuned_where_cloud_init_is_not_early_and_has_more_to_do(
    tmp_path: Path,
) -> None:
    user_data = rendered(tmp_path, "cloud-init")
    with Instance() as node:
        has_stage_that_is_not_early(node)
        # Ours is the last part. Its command runs before theirs all the same.
        node.give(_OTHERS, user_data)
        node.boot()
        assert property_of(node, "cloud-init-network.service", "DefaultDependencies") == "yes"
        node.finish()
        is_tuned(node)
        lies(node.root, agent_files())
        assert node.read("/others/file") == "theirs"
        assert node.read("/others/found") == "37\n"
        commands = node.read("/var/lib/cloud/instance/scripts/runcmd").splitlines()
        assert [line.split()[0] for line in commands] == ["#!/bin/sh", "'systemctl'", "cat"]
        schema = node.run("cloud-init", "schema", "--config-file", _copied(node, user_data))
        assert schema.stdout.startswith("Valid schema")


def _copied(node: Node, text: str) -> str:
    node.write("/root/user-data", text)
    return "/root/user-data"


@pytest.mark.slow
@pytest.mark.parametrize("suite", rootfs.SUITES)
def test_units_that_nothing_has_enabled_are_started_before_the_next_command(
    tmp_path: Path, suite: str
) -> None:
    with Instance(suite, image=suite) as node:
        disable(node)
        node.give(_OTHERS, rendered(tmp_path, "cloud-init", suite))
        node.boot()
        node.finish()
        # The kubelet that was enabled has not waited.
        assert node.read("/others/found") == "37\n"
        assert property_of(node, "ocp-tuned.service", "ActiveState") == "active"
        node.reboot()
        is_tuned(node)


@pytest.mark.slow
@pytest.mark.parametrize("suite", rootfs.SUITES)
def test_the_first_boot_is_tuned_with_the_units_of_debian(tmp_path: Path, suite: str) -> None:
    with Instance(suite, image=suite) as node:
        node.give(rendered(tmp_path, "cloud-init", suite))
        node.boot()
        node.finish()
        is_tuned(node)
        lies(node.root, agent_files(suite))
