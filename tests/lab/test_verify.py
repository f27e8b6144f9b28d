"""`ocp-tuned-boot verify` on a node: it sees every setting, and nothing under /proc/sys and /sys is
opened for writing, by whatever process."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab import workload
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.patience import PATIENCE
from tests.lab.rootfs import SUITES

pytestmark = pytest.mark.lab

DRIFTED = 80
#: TuneD runs the command of a function whenever it loads the profile.
_WRITES = "/proc/sys/net/ipv4/tcp_keepalive_probes"
PROFILE = f"""\
[main]
include=throughput-performance
[variables]
ran=${{f:exec:sh:-c:echo 3 > {_WRITES}; true}}
[sysctl]
net.ipv4.tcp_fin_timeout=37
net.ipv4.conf.lo.forwarding=1
net.ipv4.tcp_keepalive_time=55${{ran}}
[vm]
transparent_hugepages=madvise
[cpu]
governor=performance
[script]
script=${{i:PROFILE_DIR}}/script.sh
[bootloader]
cmdline_lab=+lab.argument=1
"""
_SERVICE = "ocp-tuned-podman@shared.service"


@pytest.fixture(params=SUITES)
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """One that has applied the profile."""
    with KernelKnobs(workload.RESET), Node(request.param, image=request.param) as booted:
        workload.furnish(booted, PROFILE)
        folder = "/var/lib/ocp-tuned/profiles/openshift-node-lab"
        booted.write(f"{folder}/script.sh", "#!/bin/sh\necho $1 >> /run/tuned/ran\n", 0o755)
        booted.boot()
        workload.has_ended(booted)
        yield booted


def verified(node: Node) -> tuple[int, dict[str, Any]]:
    """Exit status, and what is said of each setting, by its key."""
    done = node.run("ocp-tuned-boot", "verify", "--json", check=False)
    content = json.loads(done.stdout)
    return done.returncode, {each["key"]: each for each in content["values"]}


def set_to(node: Node, path: str, value: str) -> None:
    node.run("sh", "-c", f"echo {value} > {path}")


@contextmanager
def traced(node: Node, log: Path) -> Iterator[None]:
    """Writes to `log` what Podman's service, and all that it starts, opens."""
    # Asked for something, it is started.
    node.run("ocp-tuned-boot", "image", "list")
    service = node.run("systemctl", "show", "--value", "-p", "MainPID", _SERVICE).stdout.strip()
    calls = "trace=open,openat,openat2,creat"
    command = ["strace", "-f", "-y", "-e", calls, "-o", str(log), "-p", node.pid_here(service)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        # It says when it has attached itself.
        assert "attached" in strace.stderr.readline()
        try:
            yield
        finally:
            strace.send_signal(signal.SIGINT)
            strace.communicate(timeout=PATIENCE)


def opened_for_writing(log: Path) -> list[str]:
    """The files under /proc/sys and /sys; cgroups apart, which Podman has for each container."""
    calls = [line for line in log.read_text().splitlines() if re.search("O_WRONLY|O_RDWR", line)]
    opened = [found[1] for line in calls if (found := re.search(r"= \d+<([^>]*)>", line))]
    assert "/dev/null" in {each.partition("<")[0] for each in opened}
    return [it for it in opened if re.match(r"/proc/sys/|/sys/(?!fs/cgroup/)", it)]


def test_every_setting_is_verified_and_nothing_is_written(node: Node, tmp_path: Path) -> None:
    before = node.read("/run/ocp-tuned-boot/status.json")
    # What others own by now, what they have changed, and what the profile writes when it is loaded.
    for path, value in {
        "/proc/sys/net/ipv4/conf/lo/forwarding": "0",
        "/proc/sys/net/ipv4/tcp_fin_timeout": "38",
        _WRITES: "9",
    }.items():
        set_to(node, path, value)
    log = tmp_path / "strace"
    with traced(node, log):
        status, values = verified(node)
    assert opened_for_writing(log) == []
    assert "program.py" in log.read_text()
    assert node.read(_WRITES) == "9\n"
    assert node.read("/run/tuned/ran") == "start\n"
    assert node.read("/run/ocp-tuned-boot/status.json") == before
    assert node.run("podman", "ps", "-aq").stdout == ""

    assert status == DRIFTED
    states = {key: each["state"] for key, each in values.items()}
    assert states["net.ipv4.tcp_fin_timeout"] == "different"
    assert values["net.ipv4.tcp_fin_timeout"]["found"] == "38"
    assert states["net.ipv4.conf.lo.forwarding"] == "handed-over"
    assert states["net.ipv4.tcp_keepalive_time"] == "verified"
    assert states["transparent_hugepages"] == "verified"
    assert states["script.script"] == "unchecked"
    assert states["bootloader.cmdline_lab"] == "different"


def test_it_does_not_wait_for_a_run(node: Node) -> None:
    lock = "/run/ocp-tuned-boot/lock"
    said = node.run("flock", lock, "ocp-tuned-boot", "verify", check=False).stdout
    assert re.match(r"\d+ of \d+ settings of openshift-node-lab are verified", said)


def test_nothing_is_compared_before_a_profile_is_applied() -> None:
    with Node() as node:
        node.boot()
        done = node.run("ocp-tuned-boot", "verify", check=False)
        assert (done.returncode, done.stdout[:20]) == (1, "Nothing to compare: ")
