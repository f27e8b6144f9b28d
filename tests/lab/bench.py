"""`make bench`: how long the kubelet waits for TuneD, with this program and with what it replaces.

One node, one image, one profile. It boots in turns with each of `METHODS`, once with a network that
is up at once and once with one that is slow. What counts is the time from the moment when the last
unit that tuning must follow is up, to kubelet-dependencies.target. `docs/performance.md` shows the
results; the text around them is not changed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Optional

from ocp_tuned_boot.agent.kube import WATCH
from tests.lab import benchreport, nspawn, upstream
from tests.lab.benchreport import Boot, Idle, Memory, Results
from tests.lab.demo import tell_what_is_done
from tests.lab.knobs import KernelKnobs
from tests.lab.kubelet import kubelet_follows
from tests.lab.node import Node
from tests.lab.product import TREE
from tests.lab.workload import PROFILE, RESET, WANTED, furnish, has_ended, record
from tests.unit.agent import made
from tests.unit.agent.fake_api import serving
from tests.unit.patience import eventually

log = logging.getLogger(__name__)

TARGET = "kubelet-dependencies.target"
#: What each of the units below is ordered after, and what the time is taken from.
FOLLOWED = ("basic.target", "network.target", "systemd-sysctl.service",
            "systemd-modules-load.service")  # fmt: skip
#: How long the network takes, by the name of the variant (seconds).
NETWORKS = {"late": 1.5, "immediate": 0.0}

_UPSTREAM, _HOST = "lab-upstream.service", "lab-host-tuned.service"
_QUADLET = "/etc/containers/systemd/lab-quadlet.container"
_NETWORK = "/etc/systemd/system/lab-network.service"

_NETWORK_TEXT = """\
[Unit]
Wants=network.target
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/sleep {seconds}
[Install]
WantedBy=multi-user.target
"""
_HOST_TEXT = f"""\
[Unit]
Before={TARGET}
After={" ".join(FOLLOWED)}
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/tuned --no-dbus
[Install]
RequiredBy={TARGET}
"""
_QUADLET_TEXT = f"""\
[Unit]
Before={TARGET}
After={" ".join(FOLLOWED)}
[Container]
Image={{image}}
ContainerName=openshift-tuned
Exec=/usr/sbin/tuned --no-dbus
Network=host
SecurityLabelDisable=true
PodmanArgs=--privileged --pid host --ipc host --uts host
Volume=/etc/lab/tuned:/etc/tuned:rslave
Volume=/etc/sysctl.d:/etc/sysctl.d:rslave,ro
Volume=/etc/sysconfig:/etc/sysconfig:rslave
Volume=/run/tuned:/run/tuned:rslave
Volume=/sys:/sys:rslave
[Service]
Type=oneshot
RemainAfterExit=yes
[Install]
RequiredBy={TARGET}
"""


_DAEMON_TEXT = """\
[Service]
ExecStart=/usr/sbin/tuned --no-dbus
BindPaths=/etc/lab/daemon:/etc/tuned
[Install]
WantedBy=multi-user.target
"""
# Until the service of Podman that the program has used is gone: it exits when it is idle.
_QUIET = "while systemctl --quiet is-active 'ocp-tuned-podman@*.service'; do sleep 0.2; done"


@dataclass(frozen=True)
class Method:
    """One way to apply the profile before the kubelet. `unit`: what the kubelet waits for; `switch`
    turns it on or off for the next boot."""

    label: str
    unit: str
    switch: Callable[[Node, bool], None]


def _ours(node: Node, on: bool) -> None:
    folder = node.root / "usr/lib/systemd/system"
    units = [path.name for path in folder.glob("ocp-tuned*") if path.is_file()]
    _systemctl(node, "unmask" if on else "mask", *(it for it in units if "@" not in it))


def _enabled(unit: str) -> Callable[[Node, bool], None]:
    return lambda node, on: _systemctl(node, "enable" if on else "disable", unit)


def _quadlet(node: Node, on: bool) -> None:
    if on:
        node.write(_QUADLET, _QUADLET_TEXT.format(image=f"localhost/tuned:{node.suite}"))
    else:
        (node.root / _QUADLET.lstrip("/")).unlink(missing_ok=True)


def _systemctl(node: Node, *arguments: str) -> None:
    """While the node is off."""
    subprocess.run(["systemctl", f"--root={node.root}", "--quiet", *arguments], check=True)


#: In the order of the boots. "nothing" is what a boot needs by itself.
METHODS: Mapping[str, Method] = {
    "nothing": Method("no tuning", TARGET, lambda _node, _on: None),
    "ours": Method("ocp-tuned-boot", "ocp-tuned.service", _ours),
    "upstream": Method("a unit like upstream's (podman run)", _UPSTREAM, _enabled(_UPSTREAM)),
    "quadlet": Method("a quadlet, Type=oneshot", "lab-quadlet.service", _quadlet),
    "host": Method("TuneD on the node, no container", _HOST, _enabled(_HOST)),
}
#: Only for a node that does nothing: TuneD as it runs in the pod of upstream's DaemonSet, but
#: without the process of the pod itself.
DAEMON = Method("the TuneD daemon of upstream's DaemonSet", "lab-daemon.service",
                _enabled("lab-daemon.service"))  # fmt: skip
#: How long a node that does nothing is looked at (seconds).
IDLE = 60.0
#: Programs of a tuned node, from the one that does the least to a whole run of TuneD.
COMMANDS = {
    "python": ("/usr/bin/python3", "-c", "pass"),
    "status": ("/usr/bin/ocp-tuned-boot", "status"),
    "kept": ("/usr/bin/ocp-tuned-boot", "apply"),
    "full": ("/usr/bin/ocp-tuned-boot", "reload", "--force"),
}
#: What the tables call all that is measured.
LABELS = {
    **{name: method.label for name, method in METHODS.items()},
    "daemon": DAEMON.label,
    "agent": "`ocp-tuned-agent` with an operator, of itself",
    "python": "`python3 -c pass`",
    "status": "`ocp-tuned-boot status`",
    "kept": "a run that keeps what is applied",
    "full": "a run that applies all again",
}
# Runs on the node, so that nothing but the commands is measured.
_TURNS = """
import json, subprocess, sys, time
commands, turns = json.loads(sys.argv[1]), int(sys.argv[2])
took = {name: [] for name in commands}
for _ in range(turns + 1):
    for name, command in commands.items():
        began = time.monotonic()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        took[name].append(time.monotonic() - began)
print(json.dumps({name: each[1:] for name, each in took.items()}))
"""


@contextmanager
def bench_node(suite: str) -> Iterator[tuple[Node, KernelKnobs]]:
    """A node that is off and has all that the methods need. No other node runs meanwhile."""
    with KernelKnobs(RESET) as knobs, Node(suite, image=suite, host_tuned=True) as node:
        furnish(node)
        kubelet_follows(node, "requires")
        upstream.write_unit(node, _UPSTREAM)
        node.write(f"/etc/systemd/system/{_HOST}", _HOST_TEXT)
        for folder in ("/etc/lab/tuned", "/etc/tuned"):
            upstream.write_tuned(node, folder)
            node.write(f"{folder}/openshift-node-lab/tuned.conf", PROFILE)
        upstream.write_tuned(node, "/etc/lab/daemon", daemon=True)
        node.write("/etc/lab/daemon/openshift-node-lab/tuned.conf", PROFILE)
        node.write("/etc/systemd/system/lab-daemon.service", _DAEMON_TEXT)
        yield node, knobs


@contextmanager
def booted(node: Node, knobs: KernelKnobs, name: str, network: str) -> Iterator[None]:
    """Boots the node with one method; afterwards it is off."""
    methods = {**METHODS, "daemon": DAEMON}
    for other, method in methods.items():
        if other != name:
            method.switch(node, False)
    methods[name].switch(node, True)
    node.write(_NETWORK, _NETWORK_TEXT.format(seconds=NETWORKS[network]))
    _systemctl(node, "enable", "lab-network.service")
    knobs.reset()
    node.boot()
    if name == "ours":
        has_ended(node)
    yield
    seen = node.witness("kubelet")
    if name not in ("nothing", "daemon") and (seen is None or seen["values"] != WANTED):
        logged = node.journal(METHODS[name].unit)
        raise RuntimeError(f"{name}: the kubelet found {seen}, expected {WANTED}\n{logged}")
    node.poweroff()


def observe(node: Node, name: str, network: str) -> Boot:
    """The moments of a boot that is over, and what it cost."""
    moments = _moments(node, METHODS[name].unit, TARGET, *FOLLOWED)
    userspace = int(_shown(node, "--value", "-p", "UserspaceTimestampMonotonic")) / 1e6
    followed = max(entered for entered, _ in (moments[each] for each in FOLLOWED))
    # A oneshot without RemainAfterExit= is never active.
    entered, left = moments[METHODS[name].unit]
    steps = record(node)["steps"] if name == "ours" else []
    return Boot(
        method=name, network=network,
        ready=max(0.0, (entered or left) - followed),
        target=moments[TARGET][0] - followed,
        userspace=moments[TARGET][0] - userspace,
        cpu=_cpu(node),
        steps={step["name"]: float(step["seconds"]) for step in steps},
    )  # fmt: skip


def _moments(node: Node, *units: str) -> dict[str, tuple[float, float]]:
    """When each unit became active, and inactive (seconds); 0 if it did not."""
    names = ("ActiveEnterTimestampMonotonic", "InactiveEnterTimestampMonotonic")
    text = _shown(node, f"--property=Id,{','.join(names)}", *units)
    found = {}
    for block in text.split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines())
        entered, left = (int(unit[name]) / 1e6 for name in names)
        found[unit["Id"]] = (entered, left)
    return found


def _shown(node: Node, *arguments: str) -> str:
    return node.run("systemctl", "show", *arguments).stdout.strip()


def _cpu(node: Node) -> float:
    """What all processes of the node, and this machine for them, have used since it was started
    (seconds)."""
    lines = (node.group / "cpu.stat").read_text().splitlines()
    return int(dict(map(str.split, lines))["usage_usec"]) / 1e6


class Sampler(threading.Thread):
    """Looks at the memory of all processes of a node again and again, from outside. That takes time
    of the processor, so the time of such a boot does not count."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._group = nspawn.cgroup_of(name).path
        self._done = threading.Event()
        #: The most of all processes together, and of the program's own (bytes, PSS).
        self.most, self.own = 0, 0

    def run(self) -> None:
        while not self._done.wait(0.005):
            sizes = [_pss(pid) for pid in _all(self._group)]
            self.most = max(self.most, sum(size for size, _ in sizes))
            self.own = max([self.own, *(size for size, ours in sizes if ours)])

    def stop(self) -> Memory:
        self._done.set()
        self.join()
        return Memory(self.most, self.own)


def _all(group: Path) -> set[str]:
    """The processes in a control group and in those below it."""
    groups = [Path(folder, "cgroup.procs") for folder, _, _ in os.walk(group)]
    return {pid for each in groups for pid in _members(each)}


def _members(procs: Path) -> list[str]:
    with suppress(OSError):
        return procs.read_text().split()
    return []


def _pss(pid: str) -> tuple[int, bool]:
    """The memory of one process, shared pages in part; whether it is this program's."""
    with suppress(OSError, ValueError):
        command = Path("/proc", pid, "cmdline").read_bytes()
        rollup = Path("/proc", pid, "smaps_rollup").read_text()
        pss = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
        return int(pss.split()[1]) * 1024, b"/usr/bin/ocp-tuned-boot" in command
    return 0, False


def idle(node: Node) -> Idle:
    """What a node needs that does nothing."""
    node.run("sh", "-c", _QUIET)
    return _idle(lambda: _all(node.group), lambda: _cpu(node))


def _idle(processes: Callable[[], Iterable[str]], cpu: Callable[[], float]) -> Idle:
    before, used = _switches(processes()), cpu()
    time.sleep(IDLE)
    after, used = _switches(processes()), cpu() - used
    # Of the threads that exist at both times.
    woken = sum(number - before[thread] for thread, number in after.items() if thread in before)
    memory = sum(_pss(pid)[0] for pid in processes())
    return Idle(memory, used * 60 / IDLE, woken * 60 / IDLE)


def idle_agent() -> Idle:
    """What the agent needs beside a server where nothing happens: a thread of this process, so that
    the machine need not run a cluster."""
    with serving() as api, tempfile.TemporaryDirectory() as folder:
        api.put("nodes", made.node())
        api.put("profiles", made.profile("site"))
        made.host(Path(folder))
        command = (sys.executable, "-m", "ocp_tuned_boot.agent", "--root", folder,
                   "--node", "node-1", "--image", made.IMAGE, "--server", api.url,
                   "--metrics-port", "9979")  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                eventually(lambda: api.status().get("conditions"))
                start = _used(process.pid)
                time.sleep(WATCH)
                found = _idle(lambda: [str(process.pid)], lambda: _used(process.pid))
            finally:
                process.terminate()
    return replace(found, start=start)


def _used(pid: int) -> float:
    """What a process has used of the processor (seconds; proc(5), utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def commands(node: Node, turns: int) -> dict[str, list[float]]:
    """How long each of `COMMANDS` takes (seconds), in turns; the first turn is dropped."""
    said = node.run("python3", "-c", _TURNS, json.dumps(COMMANDS), str(turns)).stdout
    took: dict[str, list[float]] = json.loads(said)
    return took


def _switches(processes: Iterable[str]) -> dict[Path, int]:
    """How often each thread of these has begun to wait (proc(5), voluntary_ctxt_switches)."""
    found = {}
    for pid in processes:
        for thread in Path("/proc", pid, "task").glob("*"):
            with suppress(OSError):
                lines = (thread / "status").read_text().splitlines()
                number = next(line for line in lines if line.startswith("voluntary_ctxt"))
                found[thread] = int(number.split()[1])
    return found


def disk(node: Node) -> dict[str, int]:
    """The size of what is on disk, by what it is (bytes)."""
    image = node.run("podman", "image", "inspect", "--format={{.Size}}",
                     f"localhost/tuned:{node.suite}").stdout  # fmt: skip
    package = node.run("rpm", "--query", "--queryformat=%{SIZE}", "ocp-tuned-boot").stdout
    state = node.run("du", "--summarize", "--bytes", "--exclude=storage",
                     "/var/lib/ocp-tuned-boot").stdout.split()[0]  # fmt: skip
    run = node.run("du", "--summarize", "--bytes", "/run/ocp-tuned-boot").stdout.split()[0]
    return {
        "the package": int(package),
        "/var/lib/ocp-tuned-boot": int(state),
        "/run/ocp-tuned-boot (memory)": int(run),
        "the image with TuneD": int(image),
    }


def measure(suite: str, boots: int) -> Results:
    """Boots in turns; the first turn is dropped."""
    seen: list[Boot] = []
    memory: dict[str, Memory] = {}
    with bench_node(suite) as (node, knobs):
        for turn in range(boots + 1):
            for network in NETWORKS:
                for name in METHODS:
                    with booted(node, knobs, name, network):
                        boot = observe(node, name, network)
                    log.info("turn %d, %s network, %s: %.0f ms", turn, network, name,
                             boot.target * 1000)  # fmt: skip
                    if turn:
                        seen.append(boot)
        for name in METHODS:
            sampler = Sampler(node.name)
            sampler.start()
            try:
                with booted(node, knobs, name, "immediate"):
                    pass
            finally:
                memory[name] = sampler.stop()
        quiet: dict[str, Idle] = {}
        sizes: dict[str, int] = {}
        took: dict[str, list[float]] = {}
        for name in (*METHODS, "daemon"):
            with booted(node, knobs, name, "immediate"):
                log.info("%s: a node that does nothing", name)
                quiet[name] = idle(node)
                if name == "ours":
                    sizes, took = disk(node), commands(node, boots)
                podman = node.run("podman", "--version").stdout.split()[-1]
    beyond = {name: each.beyond(quiet["nothing"]) for name, each in quiet.items()}
    beyond["agent"] = idle_agent()
    processors = os.cpu_count() or 1
    return Results(_commit(), suite, podman, processors, tuple(seen), memory, beyond, sizes, took)


def _commit() -> str:
    git = ["git", "-C", str(TREE)]
    head, changed = (
        subprocess.run([*git, *words], check=True, capture_output=True, text=True).stdout.strip()
        for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "ocp_tuned_boot"])
    )
    return f"{head}, with changes" if changed else head


def main(arguments: Optional[list[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="Measures boots of a lab node in turns.")
    parser.add_argument("--suite", default="trixie", help="the node's Debian: trixie")
    parser.add_argument("--boots", type=int, default=20, metavar="N", help="of each kind")
    parser.add_argument("--output", type=Path, default=TREE / "docs", metavar="DIR")
    options = parser.parse_args(arguments)
    tell_what_is_done()
    results = measure(options.suite, options.boots)
    benchreport.write(results, LABELS, options.output)
    print(benchreport.table(results, LABELS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
