"""Every system that a node may belong to waits for the profile, and its units are sound beside
ours.

The units are those of the system, as far as they say when they start (tests/lab/topologies.py).
What they run is a stand-in, which says when it was started and what it found.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ocp_tuned_boot.host.systemd import GO, RETRY, UNIT
from tests.lab.host import KNOB_FILE, PROFILE, TUNED_CONF, unwrapped
from tests.lab.node import Node
from tests.lab.patience import AMPLE
from tests.lab.test_boot import moment, property_of
from tests.lab.test_gate import BROKEN, says
from tests.lab.topologies import SITE, SYSTEMS, System, text
from tests.lab.workload import has_ended, record

pytestmark = pytest.mark.lab

#: What the setting is in a network namespace of its own, and with the profile.
UNTUNED, TUNED = "60", "33"
CONF = "/etc/ocp-tuned-boot/boot.conf"
CUSTOM = f"/var/lib/ocp-tuned/profiles/{PROFILE}/tuned.conf"
FOLDER = "/etc/systemd/system"
#: What a node of the lab has of OpenShift.
_OWN = (
    "usr/lib/systemd/system/kubelet-dependencies.target",
    *(f"usr/lib/systemd/system/{name}.service" for name in ("crio", "kubelet")),
    *(f"etc/systemd/system/{name}.service.d/target.conf" for name in ("crio", "kubelet")),
    *(f"etc/systemd/system/multi-user.target.wants/{name}.service" for name in ("crio", "kubelet")),
)


@contextmanager
def of_system(system: System, suite: str = "trixie") -> Iterator[Node]:
    """A node, switched off, with the units of the system and a request as it comes there."""
    with Node(suite, image=suite) as node:
        for name in _OWN:
            (node.root / name).unlink()
        has_units(node, system)
        requests(node, system)
        node.write("/etc/lab/watch", KNOB_FILE)
        yield node


def has_units(node: Node, system: System) -> None:
    for name, unit in system.units.items():
        node.write(f"{FOLDER}/{name}", text(name, unit, system.held))
        for drop_in, lines in unit.drop_ins:
            node.write(f"{FOLDER}/{name}.d/{drop_in}", lines)
    node.enable(*(name for name, unit in system.units.items() if unit.install))


def requests(node: Node, system: System, gate: str = "open", profile: str = TUNED_CONF) -> None:
    image = f"localhost/tuned:{node.suite}"
    more = f"gate = {gate}\n"
    if system.request == "agent":
        node.write("/var/lib/ocp-tuned/image.env", f"NTO_IMAGE={image}\n")
        node.write("/var/lib/ocp-tuned/recommend.d/50-openshift.conf", f"[{PROFILE}]\n")
    else:
        more += f"image = {image}\nprofile = {PROFILE}\n"
    node.write(CUSTOM, profile)
    node.write(CONF, AMPLE + more)


def have_started(node: Node, *units: str) -> None:
    """Returns when each has left its witness: systemd says of a service whose type is not notify
    that it is active before it has done anything."""
    for name in units:
        file = f"/var/lib/lab/{name.partition('.')[0]}.json"
        node.run("sh", "-c", f"until grep -qs {node.boot_id} {file}; do sleep 0.05; done")


def found(node: Node, system: System) -> dict[str, str | None]:
    """What each unit that waits found when it was started in this boot, once. One that was not
    started is left out."""
    seen = {name: node.witnesses(name.partition(".")[0]) for name in system.held}
    assert [name for name, starts in seen.items() if len(starts) > 1] == []
    return {name: starts[0]["values"][KNOB_FILE] for name, starts in seen.items() if starts}


def all_find(node: Node, system: System, value: str) -> None:
    have_started(node, *system.held)
    assert found(node, system) == dict.fromkeys(system.held, value)


def problems(node: Node) -> list[str]:
    """The kinds of what `check` finds about units."""
    said = node.run("ocp-tuned-boot", "check", "--format", "json", check=False).stdout
    kinds = [each["kind"] for each in json.loads(said)["problems"]]
    return [kind for kind in kinds if "unit" in kind]


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_starts_untuned_without_and_tuned_with_this_program(name: str) -> None:
    starts_untuned_and_then_tuned(SYSTEMS[name], "trixie")


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_same_with_an_older_systemd(name: str) -> None:
    starts_untuned_and_then_tuned(SYSTEMS[name], "bookworm")


def starts_untuned_and_then_tuned(system: System, suite: str) -> None:
    with of_system(system, suite) as node:
        is_disabled(node)
        node.boot()
        all_find(node, system, UNTUNED)
        node.poweroff()

        node.enable(UNIT)
        node.boot()
        has_ended(node)
        assert record(node)["result"] == "applied"
        all_find(node, system, TUNED)
        ready = moment(node, UNIT, "ActiveEnter")
        assert all(moment(node, each, "ExecMainStart") >= ready > 0 for each in system.held)
        # Nothing has failed, also not on its way.
        assert node.run("systemctl", "--failed", "--plain", "--no-legend").stdout == ""
        verified = node.run("systemd-analyze", "verify", "--man=no", UNIT, GO, RETRY,
                            *system.units, check=False)  # fmt: skip
        said = (verified.stdout + verified.stderr).splitlines()
        # Before systemd 254 this one is not known, see ocp-tuned.service(8).
        known = [line for line in said if "'FileDescriptorStorePreserve'" in line]
        assert [line for line in said if line not in known] == []
        assert suite == "bookworm" or not known
        assert problems(node) == []


def is_disabled(node: Node) -> None:
    for target in ("multi-user", "kubelet-dependencies"):
        (node.root / f"etc/systemd/system/{target}.target.wants/{UNIT}").unlink()


SOCKETS = ("/run/docker.sock", "/run/cri-dockerd.sock")
_CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_closed_gate_holds_a_system_and_no_limit_of_its_units_ends_that(name: str) -> None:
    system = SYSTEMS[name]
    with of_system(system) as node:
        requests(node, system, "closed", BROKEN)
        node.start()
        says(node, "Held (gate")
        # Who connects to a socket of one that waits does not start it either.
        for socket in SOCKETS if system.title == "kubeadm" else ():
            node.run("python3", "-c", _CONNECT, socket)
        assert found(node, system) == {}
        # What waits has a job in systemd's queue, for which TimeoutStartSec= does not count.
        assert {property_of(node, each, "ActiveState") for each in system.held} == {"inactive"}
        assert all(property_of(node, each, "Job") not in ("", "0") for each in system.held)
        node.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", UNIT)
        node.run("sh", "-c", f"until systemctl is-active {RETRY} | grep activating; do :; done")
        assert found(node, system) == {}
        node.write(CUSTOM, TUNED_CONF)
        node.settled()
        all_find(node, system, TUNED)
        assert {property_of(node, each, "NRestarts") for each in system.held} == {"0"}


@pytest.mark.slow
def test_what_is_installed_later_starts_at_once_and_waits_from_the_next_boot_on() -> None:
    """As install.sh of k3s does it. A service that is in a hurry waits for a run that is under
    way."""
    system = SYSTEMS["k3s"]
    with of_system(system) as node:
        for name in system.units:
            (node.root / f"{FOLDER[1:]}/{name}").unlink()
            (node.root / f"{FOLDER[1:]}/multi-user.target.wants/{name}").unlink()
        requests(node, system, "closed", BROKEN)
        node.start()
        says(node, "Held (gate")
        has_units(node, system)
        node.run("systemctl", "daemon-reload")
        node.run("systemctl", "restart", "--no-block", *system.held)
        assert all(property_of(node, each, "Job") not in ("", "0") for each in system.held)
        assert found(node, system) == {}
        node.write(CUSTOM, TUNED_CONF)
        node.settled()
        all_find(node, system, TUNED)
        has_ended(node)
        assert problems(node) == []
        # The profile is applied: nothing is waited for any more.
        node.run("systemctl", "restart", *system.held)
        assert all(property_of(node, each, "ActiveState") == "active" for each in system.held)
        node.poweroff()
        node.boot()
        all_find(node, system, TUNED)
        ready = moment(node, UNIT, "ActiveEnter")
        assert all(moment(node, each, "ExecMainStart") >= ready > 0 for each in system.held)


# Without a control group of its own: a node of the lab may not load programs of BPF into one.
_QUADLET = f"""
[Container]
Image=localhost/tuned:trixie
Network=host
CgroupsMode=disabled
Entrypoint=/bin/cat
Exec={KNOB_FILE}
{SITE}
[Service]
Type=oneshot
RemainAfterExit=yes
[Install]
WantedBy=multi-user.target
"""


@pytest.mark.slow
def test_a_container_of_podman_itself_waits_with_the_lines_of_its_quadlet() -> None:
    """Podman 4.3 has no Quadlets."""
    system = SYSTEMS["plain"]
    with of_system(system) as node:
        node.write("/etc/containers/systemd/site-web.container", _QUADLET)
        is_disabled(node)
        node.boot()
        assert {UNTUNED, TUNED} & {*node.journal("site-web", "--output=cat").splitlines()} == {
            UNTUNED
        }
        node.poweroff()

        node.enable(UNIT)
        node.boot()
        has_ended(node)
        assert {UNTUNED, TUNED} & {*node.journal("site-web", "--output=cat").splitlines()} == {
            TUNED
        }
        assert moment(node, "site-web.service", "ExecMainStart") >= moment(
            node, UNIT, "ActiveEnter"
        )
        assert problems(node) == []
        status = unwrapped(node.run("ocp-tuned-boot", "status", "--verbose").stdout)
        assert "site-web.service: active" in status
        # One that does not wait for all of ours is reported.
        drop_in = f"{FOLDER}/site-database.service.d/ocp-tuned.conf"
        node.write(drop_in, f"[Unit]\nAfter={UNIT}\n")
        node.run("systemctl", "daemon-reload")
        assert problems(node) == ["unit-not-ordered"]
