"""What a real journal has of this program: entries with fields, each once, explained, and with
nothing secret in them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from ocp_tuned_boot.host import messages
from tests.lab import registry
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.test_once import until
from tests.lab.workload import RESET, furnish, has_ended, record

pytestmark = pytest.mark.lab

UNIT = "ocp-tuned.service"
CONF = "/etc/ocp-tuned-boot/boot.conf"
PROXY = "/etc/mco/proxy.env"
RECOMMEND = "/var/lib/ocp-tuned/recommend.d/50-openshift.conf"
#: Nobody listens there.
AWAY = "127.0.0.1:5999/openshift/tuned:lab"
#: A script: what has these words, in the journal of all boots or in what is recorded.
EVERYWHERE = """
    journalctl --output=export --all | grep --text --fixed-strings -e "$1"
    grep -r --fixed-strings -e "$1" /run/ocp-tuned-boot /var/lib/ocp-tuned-boot || :
"""


@pytest.fixture(scope="module", params=["trixie", "bookworm"])
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    with KernelKnobs(RESET), Node(request.param, image=request.param) as booted:
        furnish(booted)
        booted.boot()
        has_ended(booted)
        yield booted


def entries(node: Node, *options: str) -> list[dict[str, Any]]:
    """What journalctl finds of the unit in this boot, and this program has logged."""
    command = ["journalctl", "--quiet", "--boot", f"--unit={UNIT}", "--output=json", *options]
    found = [json.loads(line) for line in node.run(*command).stdout.splitlines()]
    return [each for each in found if each.get("SYSLOG_IDENTIFIER") == "ocp-tuned-boot"]


def cursor(node: Node) -> str:
    """For entries after now."""
    shown = node.run("journalctl", "--boot", "--lines=0", "--show-cursor").stdout
    return f"--after-cursor={shown.rpartition('cursor: ')[2].strip()}"


def test_a_good_boot_has_one_entry_for_each_step_and_nothing_twice(node: Node) -> None:
    found = entries(node)
    steps = [each["OCP_TUNED_STEP"] for each in found if "OCP_TUNED_STEP" in each]
    assert len(steps) == len(set(steps))
    assert {each["name"] for each in record(node)["steps"]} <= set(steps)
    assert [each for each, times in Counter(each["MESSAGE"] for each in found).items()
            if times > 1] == []  # fmt: skip
    # The decision, the steps and the result; the rest is TuneD's.
    others = [each for each in found if "TUNED_LOGGER" not in each and "OCP_TUNED_STEP" not in each]
    others = [each for each in others if not each["MESSAGE"].startswith("waited ")]
    assert [each["MESSAGE"].partition(":")[0] for each in others] == ["apply", "Applied"]
    assert {(each["_TRANSPORT"], each["_SYSTEMD_UNIT"]) for each in found} == {("journal", UNIT)}
    last = found[-1]
    assert (last["MESSAGE_ID"], last["PRIORITY"]) == (messages.APPLIED.id, "6")
    assert (last["OCP_TUNED_RESULT"], last["OCP_TUNED_PROFILE"]) == (
        "applied", "openshift-node-lab",
    )  # fmt: skip
    warned = [each for each in found if each["PRIORITY"] == "4"]
    assert any("Using one shot no daemon mode" in each["MESSAGE"] for each in warned)
    explained = node.run("journalctl", "-b", "-x", f"MESSAGE_ID={messages.APPLIED.id}").stdout
    assert "Subject: The TuneD profile openshift-node-lab is applied" in explained
    assert "    ocp-tuned-boot status" in explained


def test_a_reload_that_finds_nothing_to_do_says_so(node: Node) -> None:
    before = cursor(node)
    node.run("systemctl", "reload", UNIT)
    step, kept = entries(node, before)
    assert step["OCP_TUNED_STEP"] == "inputs"
    assert kept["MESSAGE_ID"] == messages.KEPT.id
    assert kept["MESSAGE"].startswith("Nothing was applied: 'openshift-node-lab' was applied at ")
    assert kept["MESSAGE"].endswith("; nothing has changed")
    shown = node.run("systemctl", "status", UNIT).stdout
    assert "Nothing has changed: nothing was applied" in shown
    assert "Nothing was applied: " in shown


def test_a_journald_that_is_late_finds_the_unit_and_holds_up_nothing(node: Node) -> None:
    """The process has exited long before its entries are read."""
    before = cursor(node)
    pid = node.run("systemctl", "show", "--value", "-p", "MainPID", "systemd-journald").stdout
    node.run("kill", "-STOP", pid.strip())
    try:
        node.run("systemctl", "reload", UNIT)
    finally:
        node.run("kill", "-CONT", pid.strip())
    node.run("journalctl", "--sync")
    assert [each["MESSAGE_ID"] for each in entries(node, before) if "MESSAGE_ID" in each] == [
        messages.KEPT.id
    ]


def test_a_boot_that_fails_says_what_to_do(node: Node) -> None:
    node.write(RECOMMEND, "[no-such-profile]\n")
    node.write(CONF, "[tuning]\nfallback_profile = none\n")
    node.reboot()
    last = entries(node)[-1]
    assert (last["MESSAGE_ID"], last["PRIORITY"]) == (messages.FAILED.id, "3")
    assert (last["OCP_TUNED_RESULT"], last["OCP_TUNED_FINDING"], last["OCP_TUNED_SUBJECT"]) == (
        "failed", "unknown-profile", "no-such-profile",
    )  # fmt: skip
    explained = node.run("journalctl", "-b", "-x", f"MESSAGE_ID={messages.FAILED.id}").stdout
    assert "the kind of the finding is unknown-profile." in explained
    assert "OCP_TUNED_" not in explained
    assert f"It is named in {RECOMMEND}" in explained
    assert "then: systemctl start ocp-tuned" in explained


def test_a_boot_that_is_held_is_logged_once_and_so_is_its_end(node: Node) -> None:
    node.write(CONF, "[tuning]\nfallback_profile = none\ngate = closed\n")
    node.poweroff()
    node.start()
    # Several runs have failed.
    node.run(
        "sh",
        "-c",
        f"""
        until journalctl -b -u {UNIT} | grep -q 'Held (gate'; do sleep 0.1; done
        for number in 1 2; do
            before=$(stat -c %y /run/ocp-tuned-boot/tuned.log)
            until [ "$(stat -c %y /run/ocp-tuned-boot/tuned.log)" != "$before" ]; do sleep 0.1; done
            until systemctl show --value -p StatusText {UNIT} | grep -q Held; do sleep 0.1; done
        done
    """,
    )
    held = [each for each in entries(node) if each.get("MESSAGE_ID") == messages.HELD.id]
    assert len(held) == 1
    assert held[0]["OCP_TUNED_FINDING"] == "unknown-profile"
    assert [each for each, times in Counter(each["MESSAGE"] for each in entries(node)).items()
            if times > 1] == []  # fmt: skip
    node.write(RECOMMEND, "[openshift-node-lab]\n")
    until(node, "active")
    has_ended(node)
    ids = [each["MESSAGE_ID"] for each in entries(node) if "MESSAGE_ID" in each]
    assert ids == [messages.HELD.id, messages.RELEASED.id, messages.APPLIED.id]


def test_a_registry_that_is_away_is_told_in_few_lines_and_no_secret_is(node: Node) -> None:
    node.write("/var/lib/ocp-tuned/image.env", f"NTO_IMAGE={AWAY}\n")
    node.write(CONF, "[tuning]\ntimeout = 10\n[image]\nfallback = none\n")
    node.write("/var/lib/kubelet/config.json", registry.credentials("127.0.0.1:5999"), 0o600)
    secrets = ["s3cr0t", registry.PASSWORD, registry.credentials("127.0.0.1:5999")[-40:-4]]
    for proxy in ("", "http://user:s3cr0t@127.0.0.1:5998"):
        node.write(PROXY, f"HTTPS_PROXY={proxy}\nHTTP_PROXY={proxy}\n" if proxy else "")
        node.reboot()
        found = entries(node)
        again = [each for each in found if each.get("MESSAGE_ID") == messages.ATTEMPT_FAILED.id]
        attempts = len(record(node)["attempts"])
        # Podman 4.3 itself tries again, which takes most of the time.
        assert attempts > (2 if node.suite == "trixie" else 0)
        assert len(again) == 1, [each["MESSAGE"] for each in again]
        assert again[0]["OCP_TUNED_FINDING"] == "image"
        more = f"{attempts - 1} more attempt{'s' * (attempts > 2)} failed in the same way"
        assert [each["MESSAGE"] for each in found].count(more) == (attempts > 1)
        assert found[-1]["MESSAGE_ID"] == messages.FAILED.id
        assert len(found) <= 12
        everything = node.run("journalctl", "-b", "-x", "-u", UNIT).stdout
        assert "the kind of the finding is image." in everything
        assert "OCP_TUNED_" not in everything
    # Podman does not name the proxy. What is not a name of an image is named.
    image = "https://user:s3cr0t@127.0.0.1:5999/tuned"
    node.write("/var/lib/ocp-tuned/image.env", f"NTO_IMAGE={image}\n")
    node.run("systemctl", "start", UNIT)
    has_ended(node)
    last = entries(node)[-1]
    assert last["OCP_TUNED_FINDING"] == "torn-image-env"
    assert "https://…@127.0.0.1:5999/tuned" in last["MESSAGE"]
    for secret in secrets:
        assert node.run("sh", "-c", EVERYWHERE, "sh", secret).stdout == ""
