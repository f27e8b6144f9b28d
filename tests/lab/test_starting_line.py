"""The starting line: all is prepared while other units still start, and nothing is applied before
its time. A stand-in for a slow network says when that is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.workload import PROFILE, RESET, WANTED, furnish, has_ended, record

pytestmark = pytest.mark.lab

SUITES = ("trixie", "bookworm")
CONF = "/etc/ocp-tuned-boot/boot.conf"
#: Until the test says so, the network is not up.
NETWORK = """\
[Unit]
Wants=network.target
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'until [ -e /run/network-is-up ]; do sleep 0.05; done'
[Install]
WantedBy=multi-user.target
"""
LOADED = "Waiting for ocp-tuned-go.service. TuneD has loaded the profile"


@contextmanager
def waiting(
    suite: str, prepare: Callable[[Node], None] = furnish, status: str = LOADED
) -> Iterator[Node]:
    """A node that starts, whose network is not up yet, and whose unit says that it waits."""
    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        prepare(node)
        node.write("/etc/systemd/system/lab-network.service", NETWORK)
        node.enable("lab-network.service")
        node.start()
        until_status(node, status)
        yield node


def until_status(node: Node, words: str) -> None:
    """Waits until the unit's status line contains these words."""
    shown = "systemctl show --value -p StatusText ocp-tuned.service"
    node.run("sh", "-c", f"until {shown} | grep -qF '{words}'; do sleep 0.05; done")


def up(node: Node) -> None:
    """The network is up, and the boot ends."""
    node.write("/run/network-is-up", "")
    node.settled()


def knobs(node: Node) -> dict[str, str]:
    return {path: node.read(path).strip() for path in WANTED}


def containers(node: Node) -> str:
    return node.run("podman", "ps", "-aq").stdout


def seen_by_kubelet(node: Node) -> dict[str, str | None]:
    seen = node.witness("kubelet")
    assert seen is not None
    return seen["values"]


def state(node: Node, unit: str = "ocp-tuned.service") -> str:
    return node.run("systemctl", "show", "--value", "-p", "ActiveState", unit).stdout.strip()


@pytest.mark.parametrize("suite", SUITES)
def test_tuned_waits_and_applies_nothing_before_its_time(suite: str) -> None:
    with waiting(suite) as node:
        before = knobs(node)
        assert not set(before.items()) & set(WANTED.items())
        assert node.run("podman", "ps", "--format", "{{.Names}}").stdout == "openshift-tuned\n"
        assert node.witness("kubelet") is None
        assert state(node) == "activating"
        # A notice, as the path units give it, changes nothing about that.
        node.run("systemctl", "start", "--no-block", "ocp-tuned.service")
        assert knobs(node) == before
        up(node)
        assert seen_by_kubelet(node) == WANTED
        has_ended(node)
        done = record(node)
        assert done["result"] == "applied"
        # What was done before the word is not done again.
        assert [step["name"] for step in done["steps"]] == [
            "inputs", "image", "tuned", "collect", "hold",
        ]  # fmt: skip
        assert containers(node) == ""
        assert "waited " in node.journal("ocp-tuned.service")


def test_what_changes_while_it_waits_is_prepared_anew() -> None:
    with waiting("trixie") as node:
        first = containers(node)
        other = PROFILE.replace("stat_interval=7", "stat_interval=9")
        node.write("/var/lib/ocp-tuned/profiles/openshift-node-lab/tuned.conf", other)
        node.run("sh", "-c", f"while podman ps -q | grep -q {first.strip()}; do sleep 0.1; done")
        until_status(node, LOADED)
        assert knobs(node)["/proc/sys/vm/stat_interval"] == "1"
        up(node)
        assert seen_by_kubelet(node)["/proc/sys/vm/stat_interval"] == "9"
        has_ended(node)
        assert "prepare" not in {step["name"] for step in record(node)["steps"]}


def test_what_changes_at_the_last_moment_counts() -> None:
    with waiting("trixie") as node:
        other = PROFILE.replace("stat_interval=7", "stat_interval=9")
        node.write("/var/lib/ocp-tuned/profiles/openshift-node-lab/tuned.conf", other)
        up(node)
        assert seen_by_kubelet(node)["/proc/sys/vm/stat_interval"] == "9"


def test_what_is_requested_while_others_start_is_applied_before_the_kubelet() -> None:
    """The conditions of the unit were not met when it was started early."""
    with KernelKnobs(RESET), Node("trixie", image="trixie") as node:
        furnish(node)
        request = node.read("/var/lib/ocp-tuned/image.env")
        (node.root / "var/lib/ocp-tuned/image.env").unlink()
        node.write("/etc/systemd/system/lab-network.service", NETWORK)
        node.enable("lab-network.service")
        # No path unit is to notice it.
        (node.root / "etc/systemd/system/ocp-tuned.path").symlink_to("/dev/null")
        node.start()
        node.run("sh", "-c", "until systemctl is-active -q basic.target; do sleep 0.05; done")
        node.write("/var/lib/ocp-tuned/image.env", request)
        up(node)
        assert seen_by_kubelet(node) == WANTED


@pytest.mark.parametrize("suite", SUITES)
def test_a_container_that_is_killed_while_it_waits_is_started_anew(suite: str) -> None:
    with waiting(suite) as node:
        first = containers(node)
        node.run("podman", "kill", "-s", "KILL", "openshift-tuned")
        node.run("sh", "-c", f"while podman ps -aq | grep -q {first.strip()}; do sleep 0.1; done")
        until_status(node, LOADED)
        up(node)
        assert seen_by_kubelet(node) == WANTED


@pytest.mark.parametrize(("gate", "whom"), [("open", "main"), ("open", "all"), ("closed", "all")])
def test_a_program_that_is_killed_while_it_waits_has_another_chance(gate: str, whom: str) -> None:
    def gated(node: Node) -> None:
        furnish(node)
        node.write(CONF, f"[tuning]\ngate = {gate}\n")

    with waiting("trixie", gated) as node:
        node.run("systemctl", "kill", f"--kill-who={whom}", "-s", "KILL", "ocp-tuned.service")
        if gate == "closed":
            # It is started again, and waits again.
            until_status(node, LOADED)
        else:
            node.run("sh", "-c", "until systemctl is-failed -q ocp-tuned; do sleep 0.1; done")
        if whom == "main":
            assert containers(node) == ""
        assert node.witness("kubelet") is None
        up(node)
        assert seen_by_kubelet(node) == WANTED
        has_ended(node)
        assert containers(node) == ""


def test_a_stop_while_it_waits_lets_the_boot_go_on() -> None:
    with waiting("trixie") as node:
        node.run("systemctl", "stop", "ocp-tuned.service")
        assert containers(node) == ""
        assert state(node) == "inactive"
        up(node)
        assert seen_by_kubelet(node)["/proc/sys/vm/stat_interval"] == "1"


@pytest.mark.parametrize("suite", SUITES)
def test_without_the_go_unit_tuned_does_not_run_and_it_is_said(suite: str) -> None:
    def masked(node: Node) -> None:
        furnish(node)
        (node.root / "etc/systemd/system/ocp-tuned-go.service").symlink_to("/dev/null")

    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        masked(node)
        node.boot()
        assert state(node) == "failed"
        assert seen_by_kubelet(node)["/proc/sys/vm/stat_interval"] == "1"
        text = node.run("systemctl", "status", "ocp-tuned.service", check=False).stdout
        assert "ocp-tuned-go.service (masked) does not start" in text
        assert record(node)["result"] == "failed"
        node.run("systemctl", "unmask", "ocp-tuned-go.service")
        node.run("systemctl", "start", "ocp-tuned.service")
        has_ended(node)
        assert record(node)["result"] == "applied"


def test_a_go_unit_that_fails_is_not_waited_for() -> None:
    def broken(node: Node) -> None:
        furnish(node)
        text = "[Service]\nType=oneshot\nExecStart=/bin/false\n"
        node.write("/etc/systemd/system/site-firmware.service", text)
        text = "[Unit]\nRequires=site-firmware.service\nAfter=site-firmware.service\n"
        node.write("/etc/systemd/system/ocp-tuned-go.service.d/site.conf", text)

    with KernelKnobs(RESET), Node("trixie", image="trixie") as node:
        broken(node)
        node.boot()
        assert state(node) == "failed"
        assert seen_by_kubelet(node)["/proc/sys/vm/stat_interval"] == "1"
        text = node.run("systemctl", "status", "ocp-tuned.service", check=False).stdout
        assert "ocp-tuned-go.service (inactive) does not start" in text


@pytest.mark.parametrize("suite", SUITES)
def test_a_circle_that_systemd_does_not_see_is_not_waited_for(suite: str) -> None:
    def circle(node: Node) -> None:
        furnish(node)
        # What goes on meanwhile does not hide it.
        node.write("/etc/systemd/system/site-slow.service",
                   "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\n"
                   "ExecStart=sh -c 'until systemctl -q is-active kubelet; do sleep .1; done'\n"
                   "[Install]\nWantedBy=sysinit.target\n")  # fmt: skip
        node.enable("site-slow.service")
        text = ("[Unit]\nAfter=ocp-tuned.service\nBefore=network.target\nWants=network.target\n"
                "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
                "[Install]\nWantedBy=multi-user.target\n")  # fmt: skip
        node.write("/etc/systemd/system/site-net.service", text)
        node.enable("site-net.service")

    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        circle(node)
        node.boot()
        # It has failed, which let the others start, and was started by the go unit.
        words = ("it waits for network.target, which waits for site-net.service, which waits for "
                 "ocp-tuned.service")  # fmt: skip
        assert words in node.journal("ocp-tuned.service")
        assert seen_by_kubelet(node) == WANTED


def test_a_stop_in_a_pause_of_a_closed_gate_counts_also_for_the_go_unit() -> None:
    def gated(node: Node) -> None:
        furnish(node)
        node.write(CONF, "[tuning]\ngate = closed\n")

    with waiting("trixie", gated) as node:
        node.run("systemctl", "kill", "--kill-who=main", "-s", "KILL", "ocp-tuned.service")
        pausing = "until systemctl is-active ocp-tuned-retry | grep -q activating"
        node.run("sh", "-c", f"{pausing}; do sleep 0.05; done")
        node.run("systemctl", "stop", "ocp-tuned.service")
        up(node)
        assert seen_by_kubelet(node)["/proc/sys/vm/stat_interval"] == "1"


def test_a_shutdown_while_it_waits_is_not_delayed() -> None:
    with waiting("trixie") as node:
        node.poweroff()
        node.write("/run/network-is-up", "")
        console = node.console.read_text(errors="replace")
        assert "Killing" not in console
        assert "timed out" not in console


# As cloud-init's own unit, where the data source hangs.
CLOUD_INIT = """\
[Service]
Type=oneshot
ExecStart=sleep infinity
TimeoutSec=0
[Install]
WantedBy=multi-user.target
"""


def test_a_time_limit_for_cloud_init_is_one_for_the_boot() -> None:
    """As the manual has it."""
    with KernelKnobs(RESET), Node("trixie", image="trixie") as node:
        furnish(node)
        units = "/etc/systemd/system/cloud-init.service"
        node.write(units, CLOUD_INIT)
        node.enable("cloud-init.service")
        node.write(f"{units}.d/limit.conf", "[Service]\nTimeoutSec=2\n")
        node.start()
        node.settled()
        assert seen_by_kubelet(node) == WANTED
        assert state(node, "cloud-init.service") == "failed"
        has_ended(node)
        said = json.loads(node.run("ocp-tuned-boot", "timeline", "--json").stdout)
        assert "cloud-init.service" in {said["last"], said["longest"]}, said
