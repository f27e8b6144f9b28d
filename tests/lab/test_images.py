"""What images look like inside: the operator's and Debian's, looked into once."""

from __future__ import annotations

import json
import os

import pytest

from ocp_tuned_boot.tuned import layout
from tests.lab import host as hosts
from tests.lab import operatorimage
from tests.lab.host import TUNED_CONF, Host, unwrapped
from tests.lab.node import Node

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def operator_image(node: Node) -> str:
    return operatorimage.make(node, hosts.IMAGE)


@pytest.mark.parametrize("contract", ["tuned", "operand"])
def test_the_operators_image_under_both_contracts(
    host: Host, operator_image: str, contract: str
) -> None:
    host.write("var/lib/ocp-tuned/image.env", f"NTO_IMAGE={operator_image}\n")
    host.write("etc/ocp-tuned-boot/boot.conf", f"[tuning]\ncontract = {contract}\n")
    done = host.run("apply")
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.status()["result"] == "applied", host.messages()
    assert host.status()["contract"] == contract
    assert host.knob() == "33"


@pytest.mark.parametrize("contract", ["tuned", "operand"])
def test_the_operators_image_cannot_call_a_failure_a_success(
    host: Host, operator_image: str, contract: str
) -> None:
    host.write("var/lib/ocp-tuned/image.env", f"NTO_IMAGE={operator_image}\n")
    host.write("etc/ocp-tuned-boot/boot.conf", f"[tuning]\ncontract = {contract}\n")
    host.write("var/lib/ocp-tuned/recommend.d/50-openshift.conf", "[nowhere]\n")
    done = host.run("apply")
    assert done.returncode == 1
    # Not by the exit status: under `operand` it is the wrapper's, and TuneD 2.25's own is 0, too.
    assert [finding["kind"] for finding in host.status()["findings"]] == ["unknown-profile"]


def test_an_old_operators_image_under_its_own_contract(host: Host) -> None:
    image = operatorimage.make(host.node, hosts.IMAGE, "old")
    host.write("var/lib/ocp-tuned/image.env", f"NTO_IMAGE={image}\n")
    host.write("etc/ocp-tuned-boot/boot.conf", "[tuning]\ncontract = operand\n")
    assert host.run("apply").returncode == 0, host.messages()
    assert host.status()["result"] == "applied", host.messages()
    assert host.knob() == "33"


def test_variables_of_the_image_reach_stock_profiles(host: Host) -> None:
    """`realtime` includes /etc/tuned/realtime-variables.conf, which ours hides."""
    host.profile(TUNED_CONF + "[variables]\ninclude=/etc/tuned/realtime-variables.conf\n")
    assert host.run("apply").returncode == 0
    assert host.status()["result"] == "applied", host.messages()


def test_the_image_is_looked_into_once(host: Host) -> None:
    assert host.run("apply").returncode == 0
    image = host.status()["image_id"]
    seen = json.loads(host.read(f"var/lib/ocp-tuned-boot/layouts/{image}.json"))
    assert "realtime-variables.conf" in seen["variables"]
    seen["variables"]["lab.conf"] = "from the cache\n"
    host.write(f"var/lib/ocp-tuned-boot/layouts/{image}.json", json.dumps(seen))
    host.profile(TUNED_CONF.replace("33", "34"))
    assert host.run("reload").returncode == 0
    assert host.read("run/ocp-tuned-boot/etc-tuned/lab.conf") == "from the cache\n"


def test_the_image_says_which_layout_it_has(host: Host) -> None:
    assert host.run("apply").returncode == 0
    image = host.status()["image_id"]
    seen = json.loads(host.read(f"var/lib/ocp-tuned-boot/layouts/{image}.json"))
    assert seen["made_for"] == str(layout.LAYOUT)


def test_an_image_whose_sbin_is_a_link_is_run(host: Host) -> None:
    """As in Fedora since 42."""
    move = "find /usr/sbin -mindepth 1 ! -type l -exec mv --target-directory=/usr/bin {} +"
    script = f"{move} && rm -r /usr/sbin && ln -s bin /usr/sbin"
    node, name = host.node, "localhost/merged"
    node.run("podman", "run", "--name=merged", "--net=host", hosts.IMAGE, "sh", "-c", script)
    node.run("podman", "commit", "--quiet", "merged", name)
    node.run("podman", "rm", "merged")
    host.write("var/lib/ocp-tuned/image.env", f"NTO_IMAGE={name}\n")
    assert host.run("apply").returncode == 0
    assert host.status()["result"] == "applied", host.messages()


@pytest.mark.parametrize("label", ["1", "2 1"])
def test_an_image_that_says_it_keeps_the_contract_is_run(host: Host, label: str) -> None:
    _labelled(host.node, label)
    host.write("var/lib/ocp-tuned/image.env", "NTO_IMAGE=localhost/labelled\n")
    assert host.run("apply").returncode == 0
    assert host.status()["result"] == "applied", host.messages()


def test_an_image_that_is_made_for_another_layout_is_never_started(host: Host) -> None:
    _labelled(host.node, "2")
    host.write("var/lib/ocp-tuned/image.env", "NTO_IMAGE=localhost/labelled\n")
    for command in (("image", "stage", "localhost/labelled"), ("apply",)):
        done = host.run(*command)
        assert done.returncode == os.EX_NOINPUT
        assert "localhost/labelled is made for layout 2" in done.stderr
    assert host.knob() == "60"
    assert not host.status()["steps"] or "tuned" not in [
        it["name"] for it in host.status()["steps"]
    ]


def test_an_image_without_tuned_is_never_started(host: Host) -> None:
    host.node.run(
        "sh", "-c", "tar --create --files-from=/dev/null | podman import - localhost/empty"
    )
    host.write("var/lib/ocp-tuned/image.env", "NTO_IMAGE=localhost/empty\n")
    done = host.run("apply")
    assert done.returncode == os.EX_NOINPUT
    assert "localhost/empty has no /usr/sbin/tuned, which contract = tuned requires" in done.stderr
    assert host.knob() == "60"


def test_status_says_why_the_last_pull_failed(node: Node) -> None:
    unit, conf = "ocp-tuned-image.service", "/etc/ocp-tuned-boot/boot.conf"
    node.write(conf, "[tuning]\nimage = localhost/none:1\nprofile = balanced\n")
    try:
        node.run("systemctl", "start", unit, check=False)
        shown = json.loads(node.run("ocp-tuned-boot", "status", "--json", check=False).stdout)
        assert "localhost/none:1" in shown["pull"]
        # It is tried again in a minute.
        assert shown["units"][unit] == "activating"
        text = unwrapped(node.run("ocp-tuned-boot", "status", "--verbose", check=False).stdout)
        assert f" pull failed: {shown['pull']} " in text
        node.write(conf, f"[tuning]\nimage = {hosts.IMAGE}\nprofile = balanced\n")
        node.run("systemctl", "restart", unit)
        assert "pull" not in node.run("ocp-tuned-boot", "status", check=False).stdout
    finally:
        node.run("rm", conf)
        node.run("systemctl", "stop", unit)


def _labelled(node: Node, versions: str) -> None:
    script = (
        f"podman create --quiet --name labelled {hosts.IMAGE} true && podman commit --quiet "
        f"--change \"LABEL ocp-tuned-boot.layout='$0'\" labelled localhost/labelled; "
        f"podman rm labelled"
    )
    node.run("sh", "-c", script, versions)
