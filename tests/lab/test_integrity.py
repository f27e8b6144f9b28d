"""The reason for it all: whatever is restarted, reloaded or rewritten, nothing is taken from those
who tune after us. The same script is played against upstream's unit, for comparison."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.lab import takerimage, upstream
from tests.lab.host import unwrapped
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.test_once import until_noticed
from tests.lab.watch import Change, Watch
from tests.lab.workload import RESET, furnish, has_ended

pytestmark = pytest.mark.lab

# Every knob of the profiles, the hand-over list, and their neighbours.
WATCHED = (
    "/proc/sys/net/ipv4/*", "/proc/sys/net/ipv4/conf/*/*", "/proc/sys/net/ipv6/conf/*/*",
    "/proc/sys/net/core/*", "/proc/sys/vm/*", "/proc/sys/kernel/shm*",
    "/sys/kernel/mm/transparent_hugepage/*", "/sys/kernel/mm/transparent_hugepage/khugepaged/*",
    "/proc/irq/default_smp_affinity", "/proc/irq/*/smp_affinity", "/etc/sysconfig/irqbalance",
)  # fmt: skip

_BASE = """\
[main]
include=throughput-performance
[sysctl]
net.ipv4.ip_forward=0
net.ipv4.conf.all.rp_filter=1
vm.stat_interval=7
"""
SHM, ALIVE = "/proc/sys/kernel/shmmni", "/proc/sys/net/ipv4/tcp_keepalive_time"
FIN, PATHS = "/proc/sys/net/ipv4/tcp_fin_timeout", "/proc/sys/net/ipv4/conf/all/rp_filter"
#: Two profiles: each names something that the other does not.
FIRST = _BASE + "net.ipv4.tcp_fin_timeout=37\nkernel.shmmni=4097\n"
SECOND = _BASE + "net.ipv4.tcp_fin_timeout=38\nnet.ipv4.tcp_keepalive_time=600\n"
#: What a switch to one may change, by the rules: what it names and nobody else owns, and what the
#: other one has left.
MAY = {
    FIRST: {PATHS: "1", FIN: "37", SHM: "4097", ALIVE: "7200"},
    SECOND: {PATHS: "1", FIN: "38", SHM: "4096", ALIVE: "600"},
}

PROFILE = "/var/lib/ocp-tuned/profiles/openshift-node-lab/tuned.conf"
TIMES = 20


@dataclass
class Played:
    """What came of it."""

    events: int = 0
    files: int = 0
    sweeps: int = 0
    #: Event and change.
    taken: list[tuple[str, Change]] = field(default_factory=list)


def others_tune(node: Node, turn: int) -> None:
    """CRI-O, irqbalance, the CNI and an admin set what is theirs, each turn another way."""
    mask, port = ("1", "3")[turn % 2], 32768 + turn
    node.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.lo.forwarding=1",
             f"net.ipv4.conf.all.rp_filter={2 * (turn % 2)}", f"net.core.somaxconn={4000 + turn}",
             f"net.ipv4.ip_local_port_range={port} 60999",
             f"net.ipv4.tcp_fin_timeout={40 + turn}")  # fmt: skip
    node.write("/etc/sysconfig/irqbalance", f"IRQBALANCE_BANNED_CPULIST={turn % 2}\n")
    node.run("sh", "-c", f"echo {mask} > /proc/irq/default_smp_affinity")


@contextmanager
def node_with(
    product: bool, image: str = "trixie", mode: str = "oneshot", suite: str = "trixie"
) -> Iterator[Node]:
    """A node that is up, on which others own settings; this machine's interrupts are restored.
    `image`: the suite that TuneD is of; `mode`: boot.conf's."""
    with KernelKnobs(RESET), Node(suite, image=image, product=product) as node:
        node.write("/etc/sysctl.d/50-host.conf", "net.ipv4.ip_forward=0\nnet.core.somaxconn=4096\n")
        if product:
            furnish(node, FIRST)
            node.write("/var/lib/ocp-tuned/image.env", f"NTO_IMAGE=localhost/tuned:{image}\n")
            node.write("/etc/ocp-tuned-boot/boot.conf", f"[tuning]\nmode = {mode}\n")
        else:
            upstream.furnish(node, FIRST)
        node.write("/etc/sysconfig/irqbalance", "")
        node.boot()
        mask = node.read("/proc/irq/default_smp_affinity").strip()
        try:
            yield node
        finally:
            node.run("sh", "-c", f"echo {mask} > /proc/irq/default_smp_affinity")


def play(node: Node, events: Iterator[tuple[str, list[str], dict[str, str]]]) -> Played:
    """Each event: its name, a command, and the changes that it may make by the rules."""
    played = Played()
    with Watch(node, *WATCHED) as watch:
        played.files = watch.files
        for turn, (name, command, may) in enumerate(events):
            others_tune(node, turn)
            watch.changes()
            node.run(*command, check=False)
            changes = watch.changes()
            played.taken += [(name, each) for each in changes if may.get(each[0]) != each[2]]
            played.events += 1
        played.sweeps = watch.sweeps
    return played


def restarts(unit: str, times: int = TIMES) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    for _ in range(times):
        yield f"restart {unit}", ["systemctl", "restart", unit], {}
        yield (
            "restart podman",
            [
                "systemctl",
                "restart",
                "ocp-tuned-podman@shared.socket",
                "ocp-tuned-podman@shared.service",
            ],
            {},
        )
        yield "reload", ["systemctl", "reload", unit], {}
    for _ in range(5):
        yield "daemon-reload", ["systemctl", "daemon-reload"], {}
        yield "daemon-reexec", ["systemctl", "daemon-reexec"], {}


def ours(
    node: Node, image: str = "trixie", times: int = TIMES, settle: str = ":"
) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """The whole script. `settle`: what is waited for after a change."""
    yield from restarts("ocp-tuned.service", times)
    node.run("podman", "tag", f"localhost/tuned:{image}", "localhost/tuned:new")
    for tag in (image, "new") * (times // 4):
        # Until the path unit has led to its end.
        text = f"NTO_IMAGE=localhost/tuned:{tag}"
        script = until_noticed(f"echo {text} > /var/lib/ocp-tuned/image.env")
        yield f"image.env {tag}", ["sh", "-c", script], {}
    for profile in itertools.islice(itertools.cycle((SECOND, FIRST)), 6):
        node.write(PROFILE, profile)
        yield "deferred change", ["systemctl", "restart", "ocp-tuned.service"], {}
        reload = f"systemctl reload ocp-tuned.service; {settle}"
        yield "change", ["sh", "-c", reload], MAY[profile]


def upstreams(node: Node) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """As much of it as there is something to restart or to rewrite."""
    yield from restarts(upstream.UNIT)
    for profile in itertools.islice(itertools.cycle((SECOND, FIRST)), 6):
        upstream.write_profile(node, profile)
        yield "change", ["systemctl", "restart", upstream.UNIT], MAY[profile]


def test_nothing_is_taken_from_those_who_tune_after_us() -> None:
    with node_with(product=True) as node:
        has_ended(node)
        played = play(node, ours(node))
        status = unwrapped(node.run("ocp-tuned-boot", "status", "--verbose").stdout)
    print(f"ours: {played.events} events, {played.files} files watched, "
          f"{played.sweeps} sweeps, {len(played.taken)} changed against the rules")  # fmt: skip
    assert played.files >= 200
    assert played.events >= 90
    assert played.taken == []
    # The last reload was one, and the rules were made use of.
    assert "decision apply: the requested profile has changed" in status
    assert "net.ipv4.ip_forward: not set by TuneD in this run; before '1'" in status
    assert "net.ipv4.tcp_keepalive_time: restored; first '7200', applied '600'" in status


#: Ends a process, and returns when the unit has another one.
_ENDED = """
    unit=$(systemctl show --value -p InvocationID ocp-tuned-daemon)
    kill -{signal} {process}
    until [ "$(systemctl show --value -p InvocationID ocp-tuned-daemon)" != "$unit" ] &&
        systemctl is-active -q ocp-tuned-daemon
    do sleep 0.1; done
    systemctl reset-failed ocp-tuned-daemon
"""
_RUNS = "until systemctl is-active -q ocp-tuned-daemon; do sleep 0.1; done"
_TUNED = "$(pgrep -f '/usr/sbin/tuned --no-dbu[s]')"
_CONMON = "$(systemctl show --value -p MainPID ocp-tuned-daemon)"


def ends(times: int) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """TuneD, which keeps running, ends in every way, and is started again."""
    for _ in range(times):
        # First the one that has applied the profile: it knows what to restore.
        for signal, process in (("TERM", _TUNED), ("KILL", _TUNED), ("KILL", _CONMON)):
            script = _ENDED.format(signal=signal, process=process)
            yield f"{signal} {process}", ["sh", "-c", script], {}
        yield "restart the daemon", ["systemctl", "restart", "ocp-tuned-daemon"], {}


@pytest.mark.parametrize(
    ("suite", "times"),
    [
        # TuneD 2.20 has no rollback = not_on_exit.
        ("bookworm", 2),
        pytest.param("trixie", TIMES, marks=pytest.mark.slow),
        pytest.param("bookworm", TIMES, marks=pytest.mark.slow),
    ],
)
def test_nothing_is_taken_by_a_tuned_that_keeps_running(suite: str, times: int) -> None:
    with node_with(product=True, image=suite, mode="daemon", suite=suite) as node:
        has_ended(node)
        node.run("sh", "-c", _RUNS)
        # One that is stopped before systemd supervises it is killed, and could restore nothing.
        events = itertools.chain(ends(times), ours(node, suite, times, _RUNS))
        played = play(node, events)
        node.run("systemctl", "reload", "ocp-tuned")
        record = json.loads(node.read("/run/ocp-tuned-boot/status.json"))
        processes = node.run("pgrep", "-f", "/usr/sbin/tuned --no-dbus").stdout.split()
    print(f"daemon, {suite}: {played.events} events, {played.files} files watched, "
          f"{played.sweeps} sweeps, {len(played.taken)} changed against the rules")  # fmt: skip
    assert played.files >= 200
    assert played.events >= 7 * times + 20
    assert played.taken == []
    # It was TuneD in daemon mode all the time.
    assert (record["mode"], len(processes)) == ("daemon", 1)


#: A process that is restarted with the list in its file, as irqbalance is.
IRQBALANCE = """\
[Service]
EnvironmentFile=/etc/sysconfig/irqbalance
ExecStart=/bin/sh -c 'echo "$IRQBALANCE_BANNED_CPULIST" >> /run/lists; exec sleep infinity'
[Install]
WantedBy=multi-user.target
"""


@contextmanager
def taking(node: Node) -> Iterator[None]:
    """A reload. Inside, TuneD has taken all that others own, and waits before it does so again."""
    node.run(
        "sh", "-c", "rm -f /run/tuned/held /run/tuned/go; mkfifo /run/tuned/held /run/tuned/go"
    )
    node.run("systemctl", "reload", "--no-block", "ocp-tuned")
    assert node.run("cat", "/run/tuned/held").stdout == takerimage.TAKEN
    yield
    node.run("sh", "-c", "echo go > /run/tuned/go")
    node.run(
        "sh",
        "-c",
        """
        until [ "$(systemctl show --value -p ActiveState ocp-tuned)" = active ]; do sleep 0.05; done
    """,
    )


def reloads(node: Node, contract: str) -> Iterator[str]:
    """Makes the next reload apply a profile that takes all that others own. Yields what else it
    contains: `FIRST` or `SECOND`."""
    node.write("/etc/ocp-tuned-boot/boot.conf", f"[tuning]\ncontract = {contract}\n")
    for profile in itertools.islice(itertools.cycle((SECOND, FIRST)), 6):
        node.write(PROFILE, profile.replace("include=", f"include={takerimage.INCLUDE},"))
        yield profile


@pytest.mark.parametrize(
    ("contract", "image"),
    # Where the operator's program runs it, TuneD before 2.24.1 does not find custom profiles.
    [("tuned", "trixie"), ("tuned", "bookworm"), ("operand", "trixie")],
)
def test_nothing_is_taken_from_those_who_act_while_tuned_runs(contract: str, image: str) -> None:
    taken: list[Change] = []
    with node_with(product=True, image=image) as node:
        has_ended(node)
        taker = takerimage.make(node, f"localhost/tuned:{image}")
        node.write("/var/lib/ocp-tuned/image.env", f"NTO_IMAGE={taker}\n")
        node.write("/etc/systemd/system/irqbalance.service", IRQBALANCE)
        node.run("systemctl", "enable", "--now", "irqbalance")
        with Watch(node, *WATCHED) as watch:
            for turn, profile in enumerate(reloads(node, contract)):
                # The CNI starts only after TuneD has.
                node.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
                watch.changes()
                with taking(node):
                    taken += [each for each in watch.changes() if not may(each, profile)]
                    others_tune(node, turn)
                    # An owner that replaces its file.
                    node.run("sed", "-i", "s/$/,1/", "/etc/sysconfig/irqbalance")
                    watch.changes()
                taken += [each for each in watch.changes() if not may(each, profile)]
            sweeps = watch.sweeps
        lists = node.read("/run/lists").splitlines()
        record = json.loads(node.read("/run/ocp-tuned-boot/status.json"))
    print(f"{contract}: {sweeps} sweeps, {len(taken)} changed against the rules; lists {lists}; "
          f"findings {record['findings']}")  # fmt: skip
    assert taken == []
    handed = {each["key"]: each for each in record["handover"]}
    backlog, forward = handed["net.core.somaxconn"], handed["net.ipv4.ip_forward"]
    assert (backlog["how"], backlog["tuned"]) == ("left-out", "128")
    assert (forward["how"], forward["before"], forward["after"]) == ("changed", "0", "1")
    # What the profile sets and nobody owns, somebody has set meanwhile as well. irqbalance's file
    # cannot be written once its owner has replaced it. The operator's program applies the host's
    # sysctl.d again.
    kinds = {"value-differs", "script-failed", *(["overridden"] * (contract == "operand"))}
    assert {each["kind"] for each in record["findings"]} == kinds
    # TuneD restarts it where it does not read the generated profile, with the list of its owner.
    assert "0-1" not in lists
    assert (len(lists) > 1) == (contract == "operand")


def may(change: Change, profile: str) -> bool:
    return MAY[profile].get(change[0]) == change[2]


def test_the_script_sees_what_upstreams_unit_takes() -> None:
    with node_with(product=False) as node:
        played = play(node, upstreams(node))
    print(f"upstream's: {played.events} events, {played.files} files watched, "
          f"{played.sweeps} sweeps, {len(played.taken)} changed against the rules")  # fmt: skip
    taken = {change[0] for _, change in played.taken}
    assert {"/proc/sys/net/ipv4/ip_forward", FIN} <= taken
