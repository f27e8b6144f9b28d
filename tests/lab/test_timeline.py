"""The timeline of a real boot says what systemd says, and names what made the boot late."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.lab.knobs import KernelKnobs
from tests.lab.node import CommandFailed, Node
from tests.lab.test_userspace import soft_reboot
from tests.lab.workload import RESET, furnish, has_ended, record

pytestmark = pytest.mark.lab

SUITES = ("trixie", "bookworm")
UNIT, GO = "ocp-tuned.service", "ocp-tuned-go.service"
LATE = "lab-late.service"
# The network is late: until TuneD has loaded the profile, and some time more.
_LOADED = "until systemctl show -p StatusText ocp-tuned | grep -q loaded; do sleep 0.05; done"
_LATE_TEXT = f"""\
[Unit]
Wants=network.target
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c '{_LOADED}; sleep 0.5'
[Install]
WantedBy=multi-user.target
"""
_SVG = "{http://www.w3.org/2000/svg}"
#: Between what systemd does and what it has logged of it (seconds).
_LOGGED = 1.0


@contextmanager
def booted(suite: str) -> Iterator[Node]:
    """A node with a network that is late, and a journal that survives a reboot."""
    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        furnish(node)
        node.write("/etc/systemd/journald.conf.d/lab.conf", "[Journal]\nStorage=persistent\n")
        # Nothing inside the node could mount again what is mounted from outside.
        for mount in ("var-lib-containers", "var-lib-ocp\\x2dtuned\\x2dboot-storage"):
            drop_in = f"/etc/systemd/system/{mount}.mount.d/lab.conf"
            node.write(drop_in, "[Unit]\nDefaultDependencies=no\n")
        node.write(f"/etc/systemd/system/{LATE}", _LATE_TEXT)
        node.enable(LATE)
        node.boot()
        has_ended(node)
        yield node


def timeline(node: Node, *options: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        node.run("ocp-tuned-boot", "timeline", "--json", *options).stdout
    )
    return content


def moment(node: Node, unit: str, name: str) -> float:
    """A timestamp of systemd (seconds)."""
    shown = node.run("systemctl", "show", "--value", "-p", f"{name}TimestampMonotonic", unit)
    return int(shown.stdout) / 1e6


def bar(shown: dict[str, Any], name: str, part: str) -> dict[str, Any]:
    (found,) = [it for it in shown["bars"] if (it["name"], it["part"]) == (name, part)]
    return {**found, "monotonic": found["at"] + shown["zero"]}


def names(shown: dict[str, Any], part: str) -> list[str]:
    return [each["name"] for each in shown["bars"] if each["part"] == part]


def names_what_the_lab_has_made_late(node: Node, shown: dict[str, Any]) -> None:
    assert (shown["last"], shown["longest"]) == ("network.target", LATE)
    late = bar(shown, LATE, "followed")
    assert late["critical"]
    assert late["monotonic"] == pytest.approx(moment(node, LATE, "InactiveExit"), abs=1e-5)
    up = moment(node, LATE, "ActiveEnter")
    assert late["monotonic"] + late["seconds"] == pytest.approx(up, abs=1e-5)
    assert names(shown, "followed")[-3:] == [LATE, "network.target", GO]
    assert names(shown, "early") == [UNIT, "podman", "prepare", "create", "ask", f"wait for {GO}"]
    assert not bar(shown, f"wait for {GO}", "early")["critical"]
    assert names(shown, "run")[0] == "inputs"
    assert "tuned" in names(shown, "run")


def names_what_waited(node: Node, shown: dict[str, Any]) -> float:
    """When the kubelet was started (monotonic seconds)."""
    kubelet = bar(shown, "kubelet.service", "waited")
    began = moment(node, "kubelet.service", "InactiveExit")
    assert kubelet["monotonic"] == pytest.approx(began, abs=1e-5)
    assert moment(node, UNIT, "ActiveEnter") <= began
    assert {"crio.service", "kubelet-dependencies.target"} <= set(names(shown, "waited"))
    return began


def is_shown_as_text_and_as_a_picture(node: Node) -> None:
    text = node.run("ocp-tuned-boot", "timeline").stdout
    assert f"* {LATE}" in text
    assert "The last unit that TuneD had to follow: network.target, up at " in text
    node.run("ocp-tuned-boot", "timeline", "--svg", "/root/boot.svg")
    root = ElementTree.fromstring(node.read("/root/boot.svg"))
    assert any(each.text == f"* {LATE}" for each in root.iter(f"{_SVG}text"))


def is_that_of_the_boot_before(before: dict[str, Any], shown: dict[str, Any]) -> None:
    """The same, with the times of units from the journal."""
    assert before["boot_id"] == shown["boot_id"]
    assert (before["last"], before["longest"]) == ("network.target", LATE)
    for one in (before, shown):
        one["ready_at"] = one["zero"] + one["ready"]
    assert before["ready_at"] == pytest.approx(shown["ready_at"], abs=1e-5)
    assert before["zero"] == pytest.approx(shown["zero"], abs=_LOGGED)
    for part in ("early", "run"):
        assert names(before, part) == names(shown, part)


@pytest.mark.parametrize("suite", SUITES)
def test_it_agrees_with_systemd_in_this_boot_and_after_a_reboot(suite: str) -> None:
    with booted(suite) as node:
        shown = timeline(node)
        assert (shown["boot_id"], shown["since"]) == (node.boot_id, "userspace")
        assert shown["notes"] == []
        ready = shown["zero"] + shown["ready"]
        active = moment(node, UNIT, "ActiveEnter")
        assert moment(node, GO, "ActiveEnter") <= ready <= active
        assert ready == pytest.approx(record(node)["moments"]["ready"], abs=1e-5)

        names_what_the_lab_has_made_late(node, shown)
        began = names_what_waited(node, shown)

        # A kubelet that is started again is not what waited.
        node.run("systemctl", "restart", "kubelet.service")
        assert moment(node, "kubelet.service", "InactiveExit") > began
        again = bar(timeline(node), "kubelet.service", "waited")
        assert again["monotonic"] == pytest.approx(began, abs=_LOGGED)
        is_shown_as_text_and_as_a_picture(node)

        node.reboot()
        has_ended(node)
        assert timeline(node)["boot_id"] == node.boot_id
        before = timeline(node, "--boot=-1")
        assert before == timeline(node, "--boot", shown["boot_id"])
        is_that_of_the_boot_before(before, shown)
        kubelet = bar(before, "kubelet.service", "waited")
        assert kubelet["monotonic"] == pytest.approx(began, abs=_LOGGED)
        with pytest.raises(CommandFailed) as failed:
            timeline(node, "--boot=-2")
        assert failed.value.returncode == 1
        assert f"0 ({node.boot_id}), -1 ({shown['boot_id']})" in failed.value.stderr


def test_a_soft_reboot_has_a_timeline_of_its_own() -> None:
    with booted("trixie") as node:
        first = timeline(node)
        soft_reboot(node)
        has_ended(node)
        second = timeline(node)
        assert second["boot_id"] == f"{first['boot_id']}+1"
        assert second["zero"] > first["zero"] + first["end"]
        assert (second["last"], second["longest"]) == ("network.target", LATE)
        before = timeline(node, "--boot=-1")
        assert before["boot_id"] == first["boot_id"]
        assert before["zero"] == pytest.approx(first["zero"], abs=_LOGGED)
        assert (before["last"], before["longest"]) == ("network.target", LATE)
        assert names(before, "waited")[:3] == names(first, "waited")[:3]
