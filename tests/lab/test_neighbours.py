"""Beside others: every kubelet and container engine waits, and the host's own TuneD is stopped."""

from __future__ import annotations

import json

import pytest

from ocp_tuned_boot.host.systemd import WORKLOADS
from tests.lab.host import unwrapped
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.rootfs import SUITES
from tests.lab.test_boot import booted, has_host_tuned, moment, property_of
from tests.lab.test_gate import BROKEN, CONF, TUNED_CONF, says
from tests.lab.workload import PROFILE, RESET, furnish, has_ended, record

pytestmark = pytest.mark.lab

UNIT, RETRY, HOST_TUNED = "ocp-tuned.service", "ocp-tuned-retry.service", "tuned.service"
KNOB = "/proc/sys/net/ipv4/tcp_fin_timeout"
#: A node has stand-ins of its own for these two.
OTHERS = [name for name in WORKLOADS if name not in ("kubelet.service", "crio.service")]
#: Of a site, in a slice of its own, with the drop-in of ocp-tuned-boot(8), WORKLOADS.
SITES = ["site-kubelet.service", "site-engine@1.service"]
AFTER = f"[Unit]\nAfter={UNIT} {RETRY}\n"
#: Keeps what it found when it was started, and runs on.
SERVICE = f"""
[Service]
ExecStart=/bin/sh -c 'cat {KNOB} > "/run/lab-%n"; exec sleep infinity'
[Install]
WantedBy=multi-user.target
"""


def with_all_of_them(node: Node) -> None:
    furnish(node, BROKEN)
    node.write(CONF, "[tuning]\ngate = closed\n")
    for name in (*OTHERS, *SITES):
        file = name.replace("@1", "@")
        node.write(f"/etc/systemd/system/{file}", SERVICE)
        if name in SITES:
            node.write(f"/etc/systemd/system/{file}.d/ocp-tuned.conf", AFTER)
        node.enable(name)


def started(node: Node) -> dict[str, str]:
    """Those of the services that have been started, and what each found."""
    script = 'cd /run; for each in lab-*; do [ ! -f "$each" ] || echo "$each" $(cat "$each"); done'
    lines = node.run("sh", "-c", script).stdout.splitlines()
    return {name.partition("-")[2]: value for name, value in map(str.split, lines)}


@pytest.mark.parametrize("suite", SUITES)
def test_every_kubelet_and_container_engine_waits_and_counts(suite: str) -> None:
    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        with_all_of_them(node)
        node.start()
        says(node, "Held (gate")
        assert started(node) == {}
        # Nor does one start when the program is killed: the other unit holds it then.
        node.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", UNIT)
        node.run("sh", "-c", f"until systemctl is-active {RETRY} | grep activating; do :; done")
        assert started(node) == {}
        node.write(TUNED_CONF, PROFILE)
        node.settled()
        assert started(node) == dict.fromkeys([*OTHERS, *SITES], "37")
        ready = moment(node, UNIT, "ActiveEnter")
        assert all(moment(node, name, "ExecMainStart") >= ready > 0 for name in OTHERS)
        has_ended(node)
        status = unwrapped(node.run("ocp-tuned-boot", "status", "--verbose").stdout)
        assert all(f"{name}: active" in status for name in (*OTHERS, *SITES))

        # As if no profile had been applied in this boot.
        node.run("systemctl", "stop", UNIT)
        node.run("sh", "-c", "rm /run/ocp-tuned-boot/status.json /run/ocp-tuned-boot/settings.json")
        plan = unwrapped(node.run("ocp-tuned-boot", "plan").stdout)
        assert "are already running" in plan
        assert [name for name in (*WORKLOADS, *SITES) if name not in plan] == []


STOPPED_OR_FAILED = f"""
until [ "$(systemctl show --value -p ActiveState {HOST_TUNED})" = inactive ] ||
      [ "$(systemctl show --value -p ActiveState {UNIT})" = failed ]
do sleep 0.05; done
"""


@pytest.mark.parametrize("suite", SUITES)
def test_the_hosts_tuned_is_stopped_also_if_d_bus_is_silent(suite: str) -> None:
    def without_a_request(node: Node) -> None:
        has_host_tuned(node)
        node.write("/etc/lab/watch", "")

    with booted(suite, without_a_request) as node:
        furnish(node)
        node.run("systemctl", "kill", "--signal=STOP", "dbus.service")
        node.run("systemctl", "start", "--no-block", UNIT)
        node.run("sh", "-c", STOPPED_OR_FAILED)
        assert property_of(node, HOST_TUNED, "ActiveState") == "inactive"
        # From here on Podman needs it.
        node.run("systemctl", "kill", "--signal=CONT", "dbus.service")
        node.run("systemctl", "start", UNIT)
        has_ended(node)
        assert record(node)["result"] == "applied"
        # The last act of the host's TuneD takes back what it has set.
        assert node.read("/proc/sys/vm/stat_interval").strip() == "7"


#: packaging/tuned/microshift-tuned.service of openshift/microshift, from its description: it
#: activates a profile with tuned-adm, which takes as long as TuneD does.
MICROSHIFT_TUNED = f"""
[Unit]
Requires={HOST_TUNED}
After={HOST_TUNED}
Before=microshift.service
[Service]
ExecStart=/usr/bin/sleep infinity
[Install]
WantedBy=multi-user.target
"""


@pytest.mark.parametrize("suite", SUITES)
def test_beside_microshift_tuned_the_profile_is_applied_and_that_one_is_stopped(suite: str) -> None:
    def with_microshift(node: Node) -> None:
        furnish(node)
        has_host_tuned(node)
        node.write("/etc/systemd/system/microshift-tuned.service", MICROSHIFT_TUNED)
        node.write("/etc/systemd/system/microshift.service", SERVICE)
        node.enable("microshift-tuned.service", "microshift.service")

    with booted(suite, with_microshift) as node:
        has_ended(node)
        assert started(node) == {"microshift.service": "37"}
        words = "systemd stops what requires it: microshift-tuned.service"
        assert words in node.journal(UNIT)
        for name in ("microshift-tuned.service", HOST_TUNED):
            assert property_of(node, name, "ActiveState") == "inactive"
            assert property_of(node, name, "Result") == "success"
        # Whoever starts it again has two TuneD, and can see that.
        node.run("systemctl", "start", "microshift-tuned.service")
        assert f"{HOST_TUNED}: active" in unwrapped(node.run("ocp-tuned-boot", "status").stdout)
        units = json.loads(node.run("ocp-tuned-boot", "status", "--json").stdout)["units"]
        assert units[HOST_TUNED] == "active"
