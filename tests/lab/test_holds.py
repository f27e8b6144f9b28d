"""What needs an open file stays in force although nothing runs: systemd keeps the file open.

The device and the static key are those of this machine's one kernel: one node at a time.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.settings import holds
from tests.lab import host as hosts
from tests.lab import upstream
from tests.lab.host import TUNED_CONF, unwrapped
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.situations import HELD
from tests.lab.watch import Watch
from tests.lab.workload import PROFILE, RESET, furnish, has_ended, reloaded
from tests.unit.settings.test_holds import FORMS, KNOWN

pytestmark = pytest.mark.lab

SUITES = ("trixie", "bookworm")
UNIT = "ocp-tuned.service"
DROP_IN = f"/etc/systemd/system/{UNIT}.d/lab.conf"
DEVICE = "/dev/cpu_dma_latency"
#: What the device says when nobody has asked for anything, in microseconds.
NONE = 2_000_000_000
SEVEN, TWENTY = PROFILE + "[cpu]\nforce_latency=7\n", PROFILE + "[cpu]\nforce_latency=20\n"
BOTH = SEVEN + "[rtentsk]\n"


@contextmanager
def booted(
    suite: str, profile: str = BOTH, prepare: Callable[[Node], None] = lambda _: None
) -> Iterator[Node]:
    """A node of this suite whose profile asks for these, and whose unit has ended."""
    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        furnish(node, profile)
        prepare(node)
        assert latency() == NONE
        node.boot()
        yield node


def latency() -> int:
    """Of this machine, which is every node's."""
    return holds.effective_latency(Paths())


def as_text(microseconds: int) -> str:
    """What `lab-watch` and `lab-witness` make of the device's bytes."""
    return struct.pack("=i", microseconds).decode(errors="backslashreplace")


def stored(node: Node) -> int:
    shown = node.run("systemctl", "show", "--value", "-p", "NFileDescriptorStore", UNIT)
    return int(shown.stdout)


def open_in_pid_1(node: Node) -> list[str]:
    """What PID 1 has open of what we have opened."""
    # The device is in a socket, as a message that nobody reads: unix(7), proc_pid_fdinfo(5).
    script = f"""for file in /proc/1/fd/*; do
            grep -qs '^scm_fds:[[:space:]]*1$' "/proc/1/fdinfo/${{file##*/}}" && echo {DEVICE} ||
                readlink "$file"
        done || :"""
    listed = node.run("sh", "-c", script).stdout.split("\n")
    sockets = {each["value"] for each in status(node)["holds"]}
    return sorted(each for each in listed if each == DEVICE or each in sockets)


def status(node: Node) -> dict[str, Any]:
    done = node.run("ocp-tuned-boot", "status", "--json", check=False)
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def result(node: Node) -> tuple[str, list[str]]:
    """Of the last run, and what speaks against it."""
    done = status(node)["record"]
    return done["result"], [f"{each['kind']} {each['subject']}" for each in done["findings"]]


def all_in_force(node: Node) -> bool:
    return all(each["standing"] == "in force" for each in status(node)["holds"])


def nothing_runs(node: Node) -> None:
    assert node.run("pgrep", "-f", "ocp-tuned-boot|sbin/tuned|conmon", check=False).stdout == ""
    assert node.run("podman", "ps", "-aq").stdout == ""


def stamped(node: Node) -> str:
    return node.run("lab-timestamps").stdout.strip()


def until_stamped(node: Node, word: str) -> None:
    """The kernel switches the static key off some seconds after the last socket was closed."""
    script = f'until [ "$(lab-timestamps)" = {word} ]; do sleep 0.1; done'
    node.run("sh", "-c", script)


@pytest.mark.parametrize("name", HELD)
@pytest.mark.parametrize("suite", SUITES)
def test_each_is_in_force_before_the_kubelet_starts(suite: str, name: str) -> None:
    def watched(node: Node) -> None:
        node.write("/etc/lab/watch", f"{DEVICE}\n")

    with booted(suite, HELD[name].conf, watched) as node:
        has_ended(node)
        assert result(node) == (HELD[name].result, [])
        seen = node.witness("kubelet")
        assert seen is not None
        in_force = 7 if "force_latency" in HELD[name].conf else NONE
        assert seen["values"] == {DEVICE: as_text(in_force)}
        assert latency() == in_force
        nothing_runs(node)
        (hold,) = status(node)["holds"]
        assert hold["standing"] == "in force"
        assert hold["kind"] == name
    assert latency() == NONE


def test_the_static_key_is_on_for_as_long_as_the_socket_is_held() -> None:
    with KernelKnobs(RESET), Node("trixie", image="trixie") as node:
        furnish(node, PROFILE)
        node.boot()
        until_stamped(node, "off")
        reloaded(node, PROFILE + "[rtentsk]\n")
        until_stamped(node, "on")
        (held,) = status(node)["holds"]
        assert open_in_pid_1(node) == [held["value"]]
        reloaded(node, PROFILE)
        until_stamped(node, "off")


def events(times: int) -> Iterator[tuple[str, ...]]:
    """What happens to a unit, to Podman and to systemd, over and over."""
    for _ in range(times // 10):
        yield from [("systemctl", "reload", UNIT)] * 4
        yield from [("systemctl", "restart", UNIT)] * 2
        yield ("systemctl", "daemon-reexec")
        yield ("systemctl", "daemon-reload")
        yield (
            "systemctl",
            "restart",
            "ocp-tuned-podman@shared.socket",
            "ocp-tuned-podman@shared.service",
        )
        yield ("ocp-tuned-boot", "apply")


@pytest.mark.parametrize(
    ("suite", "times"),
    [("trixie", 50), ("bookworm", 50),
     pytest.param("trixie", 1000, marks=pytest.mark.slow),
     pytest.param("bookworm", 1000, marks=pytest.mark.slow)],
)  # fmt: skip
def test_whatever_happens_both_are_held_and_upstreams_unit_holds_neither(
    suite: str, times: int
) -> None:
    with KernelKnobs(RESET), Node(suite, image=suite, product=False) as node:
        upstream.furnish(node, BOTH)
        node.boot()
        assert "setting new cpu latency 7" in node.journal(upstream.UNIT)
        print(f"upstream's unit: {latency()} µs")
        assert latency() == NONE
        until_stamped(node, "off")
    with booted(suite) as node:
        has_ended(node)
        until_stamped(node, "on")
        before = open_in_pid_1(node)
        assert len(before) == 2
        count = 0
        with Watch(node, DEVICE) as watch:
            for command in events(times):
                node.run(*command)
                count += 1
            assert watch.changes() == []
            print(f"ours after {count} events: {latency()} µs, read {watch.sweeps} times")
        assert count == times
        assert latency() == 7
        assert stamped(node) == "on"
        # The very same socket, and no second one.
        assert (open_in_pid_1(node), stored(node)) == (before, 2)
        assert result(node) == ("applied", [])
        assert all_in_force(node)
        nothing_runs(node)


@pytest.mark.parametrize("suite", SUITES)
def test_while_it_is_replaced_no_reader_sees_a_moment_without_a_request(suite: str) -> None:
    with booted(suite, SEVEN) as node:
        has_ended(node)
        with Watch(node, DEVICE) as watch:
            reloaded(node, TWENTY)
            assert watch.changes() == [(DEVICE, as_text(7), as_text(20))]
            assert result(node) == ("applied", [])
            reloaded(node, PROFILE)
            assert watch.changes() == [(DEVICE, as_text(20), as_text(NONE))]
            print(f"read {watch.sweeps} times")
            assert watch.sweeps > 100
        assert (stored(node), status(node)["holds"]) == (0, [])


@pytest.mark.parametrize("suite", SUITES)
def test_a_reload_that_fails_or_is_killed_leaves_what_is_held(suite: str) -> None:
    with booted(suite) as node:
        has_ended(node)
        with Watch(node, DEVICE) as watch:
            recommended = "/var/lib/ocp-tuned/recommend.d/50-openshift.conf"
            node.write(recommended, "[nowhere]\n")
            assert node.run("systemctl", "reload", UNIT, check=False).returncode != 0
            node.write(recommended, "[openshift-node-lab]\n")
            # In the middle of TuneD, which has set 20 by then, as long as it runs.
            folder = "/var/lib/ocp-tuned/profiles/openshift-node-lab"
            node.write(f"{folder}/tuned.conf", TWENTY + "[script]\nscript=${i:PROFILE_DIR}/s.sh\n")
            node.write(
                f"{folder}/s.sh", "#!/bin/sh\necho on > /run/tuned/on\nsleep infinity\n", 0o755
            )
            node.run("mkfifo", "/run/tuned/on")
            node.run("systemctl", "reload", "--no-block", UNIT)
            assert node.run("cat", "/run/tuned/on").stdout == "on\n"
            node.run("systemctl", "kill", "--kill-whom=control", "--signal=KILL", UNIT)
            node.run("sh", "-c", f"until systemctl is-active {UNIT}; do sleep 0.05; done")
            assert (watch.changes(), stored(node)) == ([], 2)
            reloaded(node, TWENTY)
            assert watch.changes() == [(DEVICE, as_text(7), as_text(20))]
        # What the script did before it was killed, nobody knows.
        assert (stored(node), result(node)) == (1, ("degraded", ["still-set script.script"]))


def until_nothing_is_open(node: Node) -> None:
    """systemd closes what it lets go of in the background."""
    script = "while grep -qs '^scm_fds:[[:space:]]*1$' /proc/1/fdinfo/*; do sleep 0.05; done"
    node.run("sh", "-c", script)


@pytest.mark.parametrize("suite", SUITES)
def test_what_a_stop_and_a_start_make_of_it(suite: str) -> None:
    with booted(suite) as node:
        has_ended(node)
        before = open_in_pid_1(node)
        node.run("systemctl", "stop", UNIT)
        if suite == "trixie":
            # It stays, as all other settings do, until somebody says so.
            assert latency() == 7
            assert all_in_force(node)
            node.run("systemctl", "start", UNIT)
            assert (open_in_pid_1(node), stored(node)) == (before, 2)
            node.run("systemctl", "stop", UNIT)
            node.run("systemctl", "clean", "--what=fdstore", UNIT)
        until_nothing_is_open(node)
        assert latency() == NONE
        assert [each["standing"] for each in status(node)["holds"]] == ["lost", "lost"]
        text = unwrapped(node.run("ocp-tuned-boot", "status").stdout)
        assert text.startswith("Degraded: ")
        told = "force_latency = 7 µs is NOT in effect: systemd stores 0 file descriptors"
        assert f"lost-after-exit: {told}" in text
        node.run("systemctl", "start", UNIT)
        assert (latency(), stored(node), result(node)) == (7, 2, ("applied", []))
        assert (
            "force_latency = 7 µs is NOT in effect: systemd stores 0 file descriptors"
            in node.journal(UNIT, "--priority=warning")
        )


@pytest.mark.parametrize("suite", SUITES)
def test_a_hold_that_is_lost_is_a_finding_and_a_reload_mends_it(suite: str) -> None:
    with booted(suite) as node:
        has_ended(node)
        takes = "[Service]\nExecReload=\nExecReload=systemd-notify FDSTOREREMOVE=1 FDNAME=rtentsk\n"
        node.write(DROP_IN, takes)
        node.run("systemctl", "daemon-reload")
        node.run("systemctl", "reload", UNIT)
        node.run("rm", DROP_IN)
        node.run("systemctl", "daemon-reload")
        assert stored(node) == 1
        states = {each["kind"]: each["standing"] for each in status(node)["holds"]}
        # Before version 254 systemd does not say which one it has.
        other = "in force" if suite == "trixie" else "lost"
        assert states == {"force_latency": other, "rtentsk": "lost"}
        text = unwrapped(node.run("ocp-tuned-boot", "status").stdout)
        assert "finding lost-after-exit: rtentsk (socket:[" in text
        with Watch(node, DEVICE) as watch:
            node.run("systemctl", "reload", UNIT)
            assert watch.changes() == []
        assert stored(node) == 2
        assert all_in_force(node)
        assert node.run("ocp-tuned-boot", "status").stdout.startswith("Tuned before the kubelet: ")


@pytest.mark.parametrize("suite", SUITES)
def test_a_systemd_that_stores_nothing_is_found_out(suite: str) -> None:
    def without(node: Node) -> None:
        node.write(DROP_IN, "[Service]\nFileDescriptorStoreMax=0\n")

    with booted(suite, prepare=without) as node:
        has_ended(node)
        assert result(node) == (
            "degraded", ["lost-after-exit force_latency", "lost-after-exit rtentsk"]
        )  # fmt: skip
        status_line = node.run("systemctl", "status", UNIT).stdout
        assert (
            "force_latency = 7 µs is NOT in effect: systemd stores 0 file descriptors"
            in status_line
        )


@pytest.mark.parametrize("suite", SUITES)
def test_a_run_by_hand_changes_nothing_of_what_systemd_holds_and_says_so(suite: str) -> None:
    tuned_conf = "/var/lib/ocp-tuned/profiles/openshift-node-lab/tuned.conf"
    with booted(suite) as node:
        has_ended(node)
        before = open_in_pid_1(node)
        node.run("ocp-tuned-boot", "reload", "--force")
        # The same is held by the unit all the time.
        assert (latency(), result(node)) == (7, ("applied", []))
        node.write(tuned_conf, BOTH.replace("=7\n[", "=20\n["))
        # With a notification socket, but another unit's, it is the same.
        node.run(
            "systemd-run", "-q", "--wait", "-p", "NotifyAccess=all", "ocp-tuned-boot", "reload"
        )
        assert latency() == 7
        assert result(node) == ("degraded", ["lost-after-exit force_latency"])
        assert "7 µs is in effect now" in unwrapped(node.run("ocp-tuned-boot", "status").stdout)
        node.run("systemctl", "reload", UNIT)
        assert (latency(), result(node)) == (20, ("applied", []))
        node.write(tuned_conf, PROFILE + "[rtentsk]\n")
        node.run("ocp-tuned-boot", "reload")
        assert latency() == 20
        assert result(node) == ("degraded", ["still-held force_latency"])
        node.run("systemctl", "reload", UNIT)
        assert (latency(), stored(node), result(node)) == (NONE, 1, ("applied", []))
        # The socket was there all the time.
        assert open_in_pid_1(node) == [each for each in before if each != DEVICE]


@pytest.mark.parametrize("suite", SUITES)
def test_who_may_not_read_everything_is_not_told_that_it_is_lost(suite: str) -> None:
    with booted(suite) as node:
        has_ended(node)
        nobody = ("setpriv", "--reuid=65534", "--clear-groups", "ocp-tuned-boot", "status")
        said = unwrapped(node.run(*nobody, check=False).stdout)
        assert said.startswith("Tuned before the kubelet: "), said
        assert "lost-after-exit" not in said
        assert "held force_latency = 7 µs may not be in effect: " in said


@pytest.mark.parametrize("suite", SUITES)
def test_after_a_start_that_failed_it_can_be_let_go(suite: str) -> None:
    with booted(suite, SEVEN) as node:
        has_ended(node)
        node.write("/etc/ocp-tuned-boot/boot.conf", "[tuning]\non_change = apply\n")
        node.write("/var/lib/ocp-tuned/recommend.d/50-openshift.conf", "[nowhere]\n")
        assert node.run("systemctl", "restart", UNIT, check=False).returncode != 0
        if suite == "trixie":
            # As do all other settings that were applied before.
            assert latency() == 7
            node.run("systemctl", "reset-failed", UNIT)
            node.run("systemctl", "clean", "--what=fdstore", UNIT)
        until_nothing_is_open(node)
        assert latency() == NONE


def test_what_an_earlier_release_could_not_hold_is_held_after_an_upgrade() -> None:
    with booted("trixie") as node:
        has_ended(node)
        # The record as that release has written it, and nothing held.
        done = json.loads(node.read("/run/ocp-tuned-boot/status.json"))
        del done["in_force"]["holds"], done["image_source"]
        lost = [("force_latency", "setting new cpu latency 7"),
                ("rtentsk", "opened SOF_TIMESTAMPING_OPT_TX_SWHW socket")]  # fmt: skip
        done["in_force"]["findings"] = [
            {"kind": "lost-after-exit", "subject": subject, "message": message, "advice": "",
             "accepted": False}
            for subject, message in lost
        ]  # fmt: skip
        done["in_force"]["result"] = "degraded"
        node.run("systemctl", "stop", UNIT)
        node.run("systemctl", "clean", "--what=fdstore", UNIT)
        node.write("/run/ocp-tuned-boot/status.json", json.dumps(done))
        node.run("systemctl", "start", UNIT)
        assert (latency(), stored(node), result(node)) == (7, 2, ("applied", []))


@pytest.fixture(scope="module", params=SUITES)
def states(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node whose first CPU has idle states, which no machine of ours has."""
    cpu = "/sys/devices/system/cpu/cpu0"
    with Node(request.param, image=request.param) as node:
        node.boot()
        for state in KNOWN:
            folder = f"/var/tmp/idle/cpuidle/state{state.id}"
            node.write(f"{folder}/name", f"{state.name}\n")
            node.write(f"{folder}/latency", f"{state.latency}\n")
        node.run("mount", "-t", "overlay", "-o", f"lowerdir=/var/tmp/idle:{cpu}", "idle", cpu)
        yield node


# TuneD's own code, on a plugin that has no more than what that needs.
PARSE = """
import json, sys
from tuned.plugins.plugin_cpu import CPULatencyPlugin
from tuned.utils.commands import commands
plugin = CPULatencyPlugin.__new__(CPULatencyPlugin)
plugin._cmd = commands()
print(json.dumps({form: plugin._parse_latency(form)[0] for form in json.loads(sys.argv[1])}))
"""


def test_tuned_means_the_same_by_every_form(states: Node) -> None:
    done = states.run(
        "podman", "run", "--rm", "--network=host", "--privileged", "-v", "/sys:/sys:rslave",
        f"localhost/tuned:{states.suite}", "python3", "-c", PARSE, json.dumps(list(FORMS)),
    )  # fmt: skip
    assert json.loads(done.stdout) == FORMS


def test_a_c_state_of_this_machine_is_what_is_asked_for(states: Node) -> None:
    host = hosts.furnish(states, "/var/tmp/states", f"localhost/tuned:{states.suite}")
    states.run("sh", "-c", "mkdir /var/tmp/states/sys && mount --rbind /sys /var/tmp/states/sys")
    host.profile(f"{TUNED_CONF}[cpu]\nforce_latency=cstate.id:9|cstate.name:C1E|9\n")
    host.run("apply")
    assert "setting new cpu latency 10" in host.read("run/ocp-tuned-boot/tuned.log")
    assert [each["value"] for each in host.status()["in_force"]["holds"]] == ["10"]


def test_what_it_costs_against_a_daemon_kept_alive_for_it() -> None:
    """In memory and in processes. Prints the figures; the closing note has them."""
    with booted("trixie", PROFILE) as node:
        has_ended(node)
        # The first reload makes systemd ready for what a reload is.
        node.run("systemctl", "reload", UNIT)
        before, processes = memory(node, "1"), count(node)
        reloaded(node, BOTH)
        ours = memory(node, "1") - before
        assert count(node) == processes
        node.write("/run/lab/tuned/profiles/openshift-node-lab/tuned.conf", BOTH)
        node.write("/run/lab/tuned/tuned-main.conf", "daemon = 1\ndynamic_tuning = 0\n")
        node.write("/run/lab/tuned/active_profile", "openshift-node-lab\n")
        node.write("/run/lab/tuned/profile_mode", "manual\n")
        node.run("podman", "run", "-d", "--name", "daemon", "--privileged", "--network=host",
                 "--pid=host", "-v", "/run/lab/tuned:/etc/tuned", "localhost/tuned:trixie",
                 "/usr/sbin/tuned", "--no-dbus")  # fmt: skip
        node.run("sh", "-c",
                 "until podman logs daemon 2>&1 | grep -q applied; do sleep 0.1; done")  # fmt: skip
        pids = node.run("pgrep", "-f", "sbin/tuned|conmon").stdout.split()
        daemon = sum(memory(node, pid) for pid in pids)
        node.run("podman", "rm", "-f", "-t", "1", "daemon")
        print(f"held by systemd: {ours} bytes, 0 processes; "
              f"by a daemon: {daemon} bytes, {len(pids)} processes")  # fmt: skip
        assert len(pids) >= 2
        assert ours < daemon / 20


def memory(node: Node, pid: str) -> int:
    """The bytes that are a process's own, and its share of others (Pss)."""
    said = node.read(f"/proc/{pid}/smaps_rollup")
    return int(re.findall(r"(?m)^Pss:\s+(\d+) kB", said)[0]) * 1024


def count(node: Node) -> int:
    # Podman's service ends by itself, some seconds after the last request.
    node.run("systemctl", "stop", "ocp-tuned-podman@shared.service")
    return len(node.run("ps", "-e", "-o", "pid=").stdout.split())
