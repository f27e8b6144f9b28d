"""The gate: whom a profile that cannot be put in force lets go, and whom it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional, get_args

import pytest

from tests.lab import host as lab_host
from tests.lab import registry
from tests.lab.host import IMAGE, Host
from tests.lab.knobs import KernelKnobs
from tests.lab.kubelet import Relation, kubelet_follows
from tests.lab.node import Node
from tests.lab.patience import PATIENCE, at_the_latest
from tests.lab.rootfs import SUITES
from tests.lab.situations import BEFORE_TUNED, SITUATIONS, first_kind
from tests.lab.workload import PROFILE, RESET, WANTED, furnish, has_ended, record

pytestmark = pytest.mark.lab

BROKEN = "[main]\ninclude=does-not-exist\n"
CONF = "/etc/ocp-tuned-boot/boot.conf"
TUNED_CONF = "/var/lib/ocp-tuned/profiles/openshift-node-lab/tuned.conf"


@contextmanager
def held(
    suite: str,
    how: Relation = "requires",
    profile: str = BROKEN,
    package: Optional[Path] = None,
) -> Iterator[Node]:
    """A node that is held in its boot, and says so. `package`: see `Node`."""
    with KernelKnobs(RESET), Node(suite, image=suite, package=package) as node:
        furnish(node, profile)
        kubelet_follows(node, how)
        node.write(CONF, "[tuning]\ngate = closed\n")
        node.start()
        says(node, "Held (gate")
        yield node


# journalctl follows no journal that is not there yet.
FOLLOW = """
until [ -e /run/log/journal/*/system.journal ]; do sleep 0.05; done
exec journalctl --follow --lines=all --unit=ocp-tuned
"""


def says(node: Node, words: str) -> None:
    """Returns when the unit's journal has these words."""
    with node.popen("timeout", f"{PATIENCE:.0f}", "sh", "-c", FOLLOW) as visit:
        assert visit.stdout is not None
        assert any(words in line for line in visit.stdout), f"nobody said {words!r}"
        visit.kill()


def shown(node: Node, unit: str, name: str) -> str:
    return node.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()


@pytest.mark.parametrize("how", get_args(Relation))
@pytest.mark.parametrize("suite", SUITES)
def test_a_closed_gate_holds_the_kubelet_until_the_profile_is_mended(
    suite: str, how: Relation
) -> None:
    with held(suite, how) as node:
        assert node.witnesses("kubelet") == []
        assert shown(node, "ocp-tuned.service", "ActiveState") == "activating"
        status = shown(node, "ocp-tuned.service", "StatusText")
        assert "does-not-exist" in status
        # And how to fix it.
        assert f"It is named in include= in {TUNED_CONF}" in status
        assert "ocp-tuned-boot: Held (gate" in node.console.read_text()

        node.write(TUNED_CONF, PROFILE)
        node.settled()
        assert shown(node, "ocp-tuned.service", "ActiveState") == "active"
        (kubelet,) = node.witnesses("kubelet")
        assert kubelet["values"] == WANTED


@pytest.mark.parametrize(
    ("path", "wrong", "right"),
    [
        ("/var/lib/ocp-tuned/image.env", "NTO_IM", "NTO_IMAGE=localhost/tuned:trixie\n"),
        ("/var/lib/ocp-tuned/recommend.d/50-openshift.conf", "", "[openshift-node-lab]\n"),
        (CONF, "[tuning]\ngate = closed\ntimeout = soon\n", "[tuning]\ngate = closed\n"),
    ],
)
def test_whatever_is_mended_it_goes_on_by_itself(path: str, wrong: str, right: str) -> None:
    with KernelKnobs(RESET), Node() as node:
        furnish(node)
        node.write(CONF, "[tuning]\ngate = closed\n")
        node.write(path, wrong)
        node.start()
        says(node, "Held (gate")
        assert node.witnesses("kubelet") == []
        node.write(path, right)
        node.settled()
        (kubelet,) = node.witnesses("kubelet")
        assert kubelet["values"] == WANTED


def test_a_registry_that_comes_back_lets_it_go_on() -> None:
    with KernelKnobs(RESET), Node() as node:
        node.boot()
        registry.fill(node, IMAGE)
        node.poweroff()
        furnish(node)
        node.write("/var/lib/ocp-tuned/image.env", f"NTO_IMAGE={registry.IMAGE}\n")
        node.write(CONF, "[tuning]\ngate = closed\ntimeout = 5\n")
        node.start()
        says(node, "Held (gate")
        assert "network is unreachable" in shown(node, "ocp-tuned.service", "StatusText")
        assert node.witnesses("kubelet") == []
        # To pull it may take longer than it took to find out that it cannot be pulled.
        node.write(CONF, "[tuning]\ngate = closed\ntimeout = 600\n")
        registry.start(node)
        node.settled()
        (kubelet,) = node.witnesses("kubelet")
        assert kubelet["values"] == WANTED


RECOMMEND = "/var/lib/ocp-tuned/recommend.d/50-openshift.conf"


@pytest.mark.parametrize("suite", SUITES)
def test_a_profile_that_cannot_be_loaded_gives_way_to_the_last_one_that_was_applied(
    suite: str,
) -> None:
    """A pod behind the gate delivered it, and only that pod can deliver a better one."""
    with KernelKnobs(RESET) as knobs, Node(suite, image=suite) as node:
        furnish(node)
        node.write(CONF, "[tuning]\ngate = closed\n")
        node.boot()
        has_ended(node)
        good = record(node)
        for path, wrong in ((TUNED_CONF, BROKEN), (RECOMMEND, "[openshift-no")):
            right = node.read(path)
            node.write(path, wrong)
            node.poweroff()
            knobs.reset()
            node.boot()
            has_ended(node)
            (kubelet,) = node.witnesses("kubelet")
            assert kubelet["values"] == WANTED
            done = record(node)
            assert done["result"] == "degraded"
            assert done["in_force"]["fingerprint"] == good["in_force"]["fingerprint"]
            kinds = {each["kind"]: each["message"] for each in done["findings"]}
            assert "is used instead: openshift-node-lab" in kinds["profile-fallback"]
            node.write(path, right)
            # What is requested is what is applied by now.
            node.run("systemctl", "restart", "ocp-tuned")
            assert record(node)["result"] == "applied"
        node.write(TUNED_CONF, BROKEN)
        node.write(CONF, "[tuning]\ngate = closed\nfallback_profile = none\n")
        node.poweroff()
        knobs.reset()
        node.start()
        says(node, "Held (gate")
        assert node.witnesses("kubelet") == []


FAILING = {
    name: situation
    for name, situation in {**SITUATIONS, **BEFORE_TUNED}.items()
    if situation.result == "failed"
}


@pytest.mark.parametrize("gate", ["open", "closed"])
@pytest.mark.parametrize("name", FAILING)
def test_whatever_fails_lets_go_or_holds(name: str, gate: str) -> None:
    situation = FAILING[name]
    with KernelKnobs(RESET), Node() as node:
        host = Host(node, "")
        host.write("var/lib/ocp-tuned/image.env", f"NTO_IMAGE={IMAGE}\n")
        host.write("var/lib/ocp-tuned/recommend.d/50-openshift.conf", f"[{lab_host.PROFILE}]\n")
        host.profile(situation.conf, situation.script)
        conf = situation.boot_conf.replace("[tuning]\n", f"[tuning]\ngate = {gate}\n")
        host.write("etc/ocp-tuned-boot/boot.conf", conf)
        for path, text in situation.files.items():
            host.write(path, text)
        if gate == "closed":
            node.start()
            says(node, "Held (gate")
            assert node.witnesses("kubelet") == []
            assert shown(node, "ocp-tuned.service", "ActiveState") == "activating"
        else:
            node.boot()
            assert shown(node, "kubelet.service", "ActiveState") == "active"
            assert shown(node, "ocp-tuned.service", "ActiveState") == "failed"
            assert first_kind(host.status()) == situation.findings[0][0]
        assert host.status()["result"] != "applied"
        assert host.status()["in_force"] is None


@pytest.mark.parametrize("suite", SUITES)
def test_a_gate_that_is_opened_lets_go(suite: str) -> None:
    with held(suite) as node:
        node.write(CONF, "[tuning]\ngate = open\n")
        node.settled()
        assert shown(node, "ocp-tuned.service", "ActiveState") == "failed"
        assert shown(node, "kubelet.service", "ActiveState") == "active"


@pytest.mark.parametrize("suite", SUITES)
def test_systemctl_stop_ends_it_and_lets_the_kubelet_go(suite: str) -> None:
    with held(suite) as node:
        node.run("systemctl", "stop", "ocp-tuned.service")
        assert shown(node, "ocp-tuned.service", "ActiveState") in ("inactive", "failed")
        assert shown(node, "ocp-tuned.service", "StatusText") == (
            "Stopped. The kubelet runs without the profile. To apply it: systemctl start ocp-tuned"
        )
        assert node.run("podman", "ps", "-aq").stdout == ""
        node.settled()
        (kubelet,) = node.witnesses("kubelet")
        assert kubelet["values"] != WANTED


@pytest.mark.parametrize("suite", SUITES)
def test_an_open_gate_lets_the_kubelet_start_at_the_deadline_at_the_latest(suite: str) -> None:
    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        furnish(node, PROFILE + "[variables]\na=${f:exec:sleep:infinity}\n")
        node.write(CONF, "[tuning]\ntimeout = 8\n")
        node.boot()
        assert shown(node, "ocp-tuned.service", "Result") == "exit-code"
        assert "ocp-tuned.service" in node.run("systemctl", "--failed").stdout
        assert shown(node, "kubelet.service", "ActiveState") == "active"
        started, ended = (
            int(shown(node, "ocp-tuned.service", f"{name}TimestampMonotonic")) / 1e6
            for name in ("ExecMainStart", "InactiveEnter")
        )
        assert 4 < ended - started < at_the_latest(8)
