"""`gate = closed` holds the boot whatever ends the program, and continues it once that is fixed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.knobs import KernelKnobs
from tests.lab.kubelet import Relation, kubelet_follows
from tests.lab.node import Node
from tests.lab.rootfs import SUITES
from tests.lab.test_gate import CONF, shown
from tests.lab.workload import RESET, WANTED, furnish, has_ended

pytestmark = pytest.mark.lab

UNIT, RETRY = "ocp-tuned.service", "ocp-tuned-retry.service"
WAY = "/etc/lab/way"
# What is run is one file, so that one boot has one failure after another.
WAYS = f"""\
[Service]
TimeoutStartSec=3
TimeoutStopSec=1
# None of these changes what the program does.
Environment=PYTHONHOME=/nowhere PYTHONPATH=/nowhere LC_ALL=en_US.ISO-8859-1
Environment=LD_LIBRARY_PATH=/etc/lab/lib HTTP_PROXY=http://127.0.0.1:9 TMPDIR=/nowhere
UMask=0077
LimitNOFILE=64
ExecStart=
ExecStart={WAY}
"""
# A pause ends when the test says so.
PAUSE = "[Service]\nEnvironment=PATH=/etc/lab/bin:/usr/bin:/bin\n"
SLEEP = '#!/bin/sh\n[ "$1" = 1 ] || read -r line < /run/lab-go\n'
GO = "echo > /run/lab-go"

FIXED = "#!/bin/sh\nexec /usr/bin/ocp-tuned-boot apply\n"
# It is once its file is there. Only what the shell has itself works in this environment.
IS_DEAF = "/run/ocp-tuned-boot/deaf"
DEAF = f"#!/bin/sh\ntrap '' TERM\n: > {IS_DEAF}\nwhile :; do sleep 9; done\n"
#: Each way to fail, and the `Result` that systemd shows for it.
FAILURES = {
    "killed": ("#!/bin/sh\nkill -KILL $$\n", "signal"),
    "ended by SIGTERM that nobody asked systemd for": ("#!/bin/sh\nkill $$\n", "protocol"),
    "an import that fails": ("#!/usr/bin/python3\nimport there_is_no_such_module\n", "exit-code"),
    "no interpreter": ("#!/usr/bin/there-is-no-such-python\n", "exit-code"),
    "exits without being ready": ("#!/bin/sh\n", "protocol"),
    "too slow, and deaf": (DEAF, "timeout"),
}
UNTIL = 'until [ "$(systemctl show --value -p {name} {unit})" = {value} ]; do sleep 0.02; done'

NEXT = UNTIL.replace("until", "while")


def becomes(node: Node, unit: str, name: str, value: str) -> None:
    """Returns when a property of a unit has this value."""
    node.run("timeout", "60", "sh", "-c", UNTIL.format(unit=unit, name=name, value=value))


@contextmanager
def failing(suite: str, how: Relation = "requires", *, pauses: bool = True) -> Iterator[Node]:
    """A node that boots with a program that is killed. `pauses` end when the test says so."""
    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        furnish(node)
        kubelet_follows(node, how)
        node.write(CONF, "[tuning]\ngate = closed\n")
        node.write(f"/etc/systemd/system/{UNIT}.d/ways.conf", WAYS)
        node.write("/etc/lab/lib/libc.so.6", "not a library\n", 0o755)
        node.write(WAY, FAILURES["killed"][0], 0o755)
        if pauses:
            node.write(f"/etc/systemd/system/{RETRY}.d/pause.conf", PAUSE)
            node.write("/etc/lab/bin/sleep", SLEEP, 0o755)
            node.write("/etc/tmpfiles.d/lab.conf", "p /run/lab-go\n")
        node.start()
        yield node


def held(node: Node) -> None:
    """The boot is in a pause; nothing that waits has started, and people can see why."""
    becomes(node, RETRY, "SubState", "start")
    jobs = node.run("systemctl", "list-jobs", "--plain", "--no-legend").stdout
    assert f"{RETRY} start running" in " ".join(jobs.split())
    assert "kubelet.service" in jobs
    assert shown(node, "kubelet.service", "ActiveState") == "inactive"


def pause_ends(node: Node) -> None:
    """Ends a pause, and returns in the next one."""
    before = shown(node, RETRY, "InvocationID")
    node.run("sh", "-c", GO)
    node.run(
        "timeout", "60", "sh", "-c", NEXT.format(unit=RETRY, name="InvocationID", value=before)
    )


def again(node: Node) -> None:
    """As at boot: the kubelet is to start, and nothing that it waits for has."""
    units = ("kubelet.service", "crio.service", "kubelet-dependencies.target", UNIT, RETRY)
    node.run("systemctl", "stop", *units)
    node.run("sh", "-c", "rm -f /run/ocp-tuned-boot/*.json; systemctl reset-failed")
    node.run("systemctl", "--no-block", "start", "kubelet.service")


@pytest.mark.parametrize("suite", SUITES)
def test_whatever_ends_the_program_the_boot_is_held_and_continues(suite: str) -> None:
    with failing(suite) as node:
        for name, (way, result) in FAILURES.items():
            node.write(WAY, way, 0o755)
            if name != "killed":
                pause_ends(node)
            held(node)
            assert shown(node, UNIT, "Result") == result, name
            assert UNIT in node.run("systemctl", "--failed").stdout
        assert f"{UNIT} failed (timeout" in node.journal(RETRY)
        node.write(WAY, FIXED, 0o755)
        node.run("sh", "-c", GO)
        node.settled()
        has_ended(node)
        # Nothing has failed any more.
        becomes(node, RETRY, "ActiveState", "inactive")
        assert node.run("systemctl", "--failed", "--no-legend").stdout == ""
        (kubelet,) = node.witnesses("kubelet")
        assert kubelet["values"] == WANTED


@pytest.mark.parametrize(("suite", "how"), [*zip(SUITES, ("wants", "after-only"))])
def test_so_it_is_however_the_kubelet_waits(suite: str, how: Relation) -> None:
    with failing(suite, how, pauses=False) as node:
        held(node)
        before = shown(node, RETRY, "InvocationID")
        node.run(
            "timeout", "60", "sh", "-c", NEXT.format(unit=RETRY, name="InvocationID", value=before)
        )
        held(node)
        node.write(WAY, FIXED, 0o755)
        node.settled()
        (kubelet,) = node.witnesses("kubelet")
        assert kubelet["values"] == WANTED


@pytest.mark.parametrize("suite", SUITES)
def test_who_asks_for_it_starts_the_kubelet_without_the_profile(suite: str) -> None:
    with failing(suite) as node:

        def lets_go() -> None:
            becomes(node, "kubelet.service", "ActiveState", "active")
            assert shown(node, UNIT, "ActiveState") != "active"
            assert shown(node, RETRY, "ActiveState") == "inactive"
            again(node)

        # A stop in a pause.
        held(node)
        node.run("systemctl", "stop", UNIT)
        lets_go()
        # A stop of the pause.
        held(node)
        node.run("systemctl", "stop", RETRY)
        node.write(WAY, DEAF, 0o755)
        lets_go()
        # A stop of a run that has to be killed.
        node.run("timeout", "60", "sh", "-c", f"until [ -e {IS_DEAF} ]; do sleep 0.02; done")
        node.run("systemctl", "stop", UNIT)
        assert shown(node, UNIT, "Result") == "timeout"
        node.write(WAY, "#!/bin/sh\nkill -KILL $$\n", 0o755)
        lets_go()
        # The next failure is held again.
        held(node)
        node.write(CONF, "[tuning]\ngate = closed\n[a section that does not exist]\ngate = open\n")
        node.run("sh", "-c", GO)
        lets_go()
        # An open gate holds nothing, and neither does a closed one where nothing is requested.
        becomes(node, "kubelet.service", "ActiveState", "active")
        node.write(CONF, "[tuning]\ngate = closed\n")
        node.run("rm", "/var/lib/ocp-tuned/image.env")
        node.write(WAY, FIXED, 0o755)
        again(node)
        lets_go()


def random_kills(node: Node, times: int) -> int:
    """Kills the real program at random moments of a boot. Returns how often it was not ready yet.
    No kubelet may have started without the profile."""
    node.write(WAY, FIXED, 0o755)
    held_back = 0
    for _ in range(times):
        for path, value in RESET.items():
            Path(path).write_text(value)
        again(node)
        node.run("sh", "-c", f"sleep {random.random():.2f}; {KILL}", check=False)
        if shown(node, UNIT, "Result") == "signal":
            held_back += 1
        becomes(node, "kubelet.service", "ActiveState", "active")
        assert node.witnesses("kubelet")[-1]["values"] == WANTED
    return held_back


KILL = f"systemctl kill --signal=KILL --kill-whom=main {UNIT}"


@pytest.mark.parametrize(
    ("suite", "times"),
    [
        *((suite, 5) for suite in SUITES),
        *(pytest.param(suite, 50, marks=pytest.mark.slow) for suite in SUITES),
    ],
)
def test_a_kill_at_a_random_moment_starts_nothing_without_the_profile(
    suite: str, times: int
) -> None:
    with failing(suite, pauses=False) as node:
        node.write(f"/etc/systemd/system/{RETRY}.d/pause.conf", PAUSE)
        node.write("/etc/lab/bin/sleep", "#!/bin/sh\n", 0o755)
        node.write(f"/etc/systemd/system/{UNIT}.d/ways.conf", WAYS.replace("Sec=3", "Sec=30"))
        node.run("systemctl", "daemon-reload")
        count = random_kills(node, times)
        print(f"{suite}: {count} of {times} kills came before the profile was applied")
