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
from tests.lab.test_gate import CONF, TUNED_CONF, shown
from tests.lab.workload import PROFILE, RESET, WANTED, furnish, has_ended

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


# From then on this pause does not read boot.conf any more.
PAUSES = f"""
until journalctl -b _SYSTEMD_INVOCATION_ID="$(systemctl show --value -p InvocationID {RETRY})" |
    grep -q 'The boot is held'; do sleep 0.02; done
"""


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
    node.run("timeout", "60", "sh", "-c", PAUSES)
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


STARVED = "#!/bin/sh\nulimit -v {}\nexec /usr/bin/ocp-tuned-boot apply\n"
#: Too little for the dynamic linker, for Python, for the program, and for a run (KiB).
TOO_LITTLE = (6000, 12000, 18000, 26000)
# It is held by the pause, or by the program itself.
IS_HELD = f"""
until [ "$(systemctl show --value -p SubState {RETRY})" = start ] ||
    systemctl show --value -p StatusText {UNIT} | grep -q '^Held (gate'; do sleep 0.05; done
"""


def next_attempt(node: Node, way: str) -> None:
    """Returns when the program has been started in this way."""
    before = shown(node, UNIT, "InvocationID")
    node.write(WAY, way, 0o755)
    node.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", UNIT, check=False)
    node.run("timeout", "60", "sh", "-c", GO)
    node.run("timeout", "60", "sh", "-c", NEXT.format(unit=UNIT, name="InvocationID", value=before))


@pytest.mark.parametrize("suite", SUITES)
def test_the_real_program_without_memory_is_held_and_continues(suite: str) -> None:
    with failing(suite) as node:
        held(node)
        for size in TOO_LITTLE:
            next_attempt(node, STARVED.format(size))
            node.run("timeout", "60", "sh", "-c", IS_HELD)
            assert shown(node, "kubelet.service", "ActiveState") == "inactive", size
            print(f"\n{suite}, {size} KiB: {shown(node, UNIT, 'ActiveState')}")
        next_attempt(node, FIXED)
        node.settled()
        (kubelet,) = node.witnesses("kubelet")
        assert kubelet["values"] == WANTED


WAITS = "#!/bin/sh\nread -r line < /run/lab-memory\nexec /usr/bin/ocp-tuned-boot apply\n"
MEMORY = Path("/sys/fs/cgroup/memory")


@contextmanager
def little_memory(node: Node) -> Iterator[Path]:
    """A control group of this machine in which the kernel kills what is large."""
    group = MEMORY / f"ocp-tuned-lab-{node.name}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text("4M")
        yield group
    finally:
        group.rmdir()


@pytest.mark.skipif(
    not (MEMORY / "memory.oom_control").exists(),
    reason="needs a memory controller that systemd does not manage (version 1 of control groups)",
)
@pytest.mark.parametrize("suite", SUITES)
def test_the_real_program_killed_by_the_oom_killer_is_held_and_continues(suite: str) -> None:
    with failing(suite) as node:
        node.write(f"/etc/systemd/system/{UNIT}.d/ways.conf", WAYS.replace("Sec=3", "Sec=60"))
        node.run("mkfifo", "/run/lab-memory")
        node.run("systemctl", "daemon-reload")
        held(node)
        next_attempt(node, WAITS)
        with little_memory(node) as group:
            # It has started to read what the test writes.
            writes = ("timeout", "60", "sh", "-c", "exec 3> /run/lab-memory; read line; echo >&3")
            with node.popen(*writes) as writer:
                pid = node.pid_here(shown(node, UNIT, "MainPID"))
                (group / "cgroup.procs").write_text(pid)
                writer.communicate("now\n", timeout=60)
            held(node)
            killed = (group / "memory.oom_control").read_text()
        assert "\noom_kill 1\n" in killed
        assert shown(node, UNIT, "Result") == "signal"
        assert shown(node, UNIT, "ExecMainStatus") == "9"
        next_attempt(node, FIXED)
        node.settled()
        (kubelet,) = node.witnesses("kubelet")
        assert kubelet["values"] == WANTED


IS_TUNING = f"""
until systemctl show --value -p StatusText {UNIT} | grep -q 'TuneD is applying'; do sleep 0.05; done
"""


@pytest.mark.parametrize("suite", SUITES)
def test_the_real_program_that_hangs_until_systemd_ends_it_is_held_and_continues(
    suite: str,
) -> None:
    with failing(suite) as node:
        node.write(CONF, "[tuning]\ngate = closed\ntimeout = 6\n")
        held(node)
        node.write(TUNED_CONF, PROFILE + "[variables]\na=${f:exec:sleep:infinity}\n")
        next_attempt(node, FIXED)
        node.run("timeout", "60", "sh", "-c", IS_TUNING)
        node.run("systemctl", "kill", "--signal=STOP", "--kill-whom=main", UNIT)
        # It has asked for the time of a run and no more, and asks for nothing any more.
        held(node)
        assert shown(node, UNIT, "Result") == "timeout"
        assert f"{UNIT} failed (timeout" in node.journal(RETRY)
        node.write(TUNED_CONF, PROFILE)
        next_attempt(node, FIXED)
        node.settled()
        has_ended(node)
        assert node.run("pgrep", "-f", "sbin/tuned", check=False).stdout == ""
        (kubelet,) = node.witnesses("kubelet")
        assert kubelet["values"] == WANTED


def test_a_pause_holds_whatever_the_result_is_that_systemd_names() -> None:
    """oom-kill is one of them where systemd itself has a memory controller; so are core-dump and
    watchdog, which no test brings about."""
    pause = ("env", "PATH=/etc/lab/fast:/usr/bin:/bin", "/usr/libexec/ocp-tuned-boot/gate", "pause")
    with failing("trixie") as node:
        held(node)
        node.write("/etc/lab/fast/sleep", "#!/bin/sh\n", 0o755)
        for result in ("oom-kill", "core-dump", "watchdog", "resources", "start-limit-hit", ""):
            environment = {"MONITOR_SERVICE_RESULT": result, "MONITOR_EXIT_STATUS": "KILL"}
            done = node.run(*pause, env=environment, check=False)
            assert done.returncode == 1, result
            assert f"{UNIT} failed ({result} KILL)" in done.stdout


@pytest.mark.parametrize("suite", SUITES)
def test_a_boot_conf_that_a_drop_in_names_closes_the_gate(suite: str) -> None:
    given = "/etc/lab/with a blank.conf"
    with failing(suite) as node:
        held(node)
        node.write(CONF, "[tuning]\ngate = open\n")
        node.write(given, "[tuning]\ngate = closed\n")
        node.write(WAY, "#!/bin/sh\nkill -KILL $$\n", 0o755)
        start = f'ExecStart=\nExecStart={WAY} apply --config "{given}"\n'
        node.write(f"/etc/systemd/system/{UNIT}.d/zz.conf", f"[Service]\n{start}")
        node.run("systemctl", "daemon-reload")
        again(node)
        held(node)
        node.write(given, "[tuning]\ngate = open\n")
        node.run("sh", "-c", GO)
        becomes(node, "kubelet.service", "ActiveState", "active")


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
