"""The lab itself: what it starts it ends, and what it sets it sets back, killed or not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import cache, nspawn, rootfs, workplace
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node

pytestmark = pytest.mark.lab

KNOB = Path("/proc/sys/vm/stat_interval")
#: Set by nobody here, but by profiles.
OTHER = Path("/proc/sys/vm/page-cluster")


@contextmanager
def until_killed(program: str) -> Iterator[str]:
    """A process that does this, says a word and stays; killed without warning at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()
        assert process.wait() == -signal.SIGKILL


@pytest.mark.alone
def test_knobs_are_set_and_everything_is_set_back() -> None:
    before = KNOB.read_text(), OTHER.read_text()
    with pytest.raises(KeyboardInterrupt), KernelKnobs({str(KNOB): "9"}):  # noqa: PT012
        assert KNOB.read_text() == "9\n"
        OTHER.write_text("1" if before[1] != "1\n" else "2")
        raise KeyboardInterrupt
    assert (KNOB.read_text(), OTHER.read_text()) == before


@pytest.mark.alone
def test_a_choice_is_set_back_to_what_was_chosen() -> None:
    choice = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    before = choice.read_text()
    for word in ("always", "madvise", "never"):
        with KernelKnobs({str(choice): word}):
            assert f"[{word}]" in choice.read_text()
        assert choice.read_text() == before


@pytest.mark.alone
def test_what_a_killed_test_has_set_is_set_back_by_the_next() -> None:
    before = KNOB.read_text()
    program = (
        "import signal\nfrom tests.lab.knobs import KernelKnobs\n"
        f"with KernelKnobs({{'{KNOB}': '9'}}):\n    print('held', flush=True)\n    signal.pause()"
    )
    with until_killed(program) as said:
        assert said == "held"
        assert KNOB.read_text() == "9\n"
    assert KNOB.read_text() == "9\n"
    with KernelKnobs({}):
        assert KNOB.read_text() == before


@pytest.mark.parametrize("suite", rootfs.SUITES)
def test_a_node_comes_up_whole_and_goes_away_whole(suite: str) -> None:
    with Node(suite, image=None, product=False) as node:
        assert node.boot() == "running"
        assert node.run("cat", "/proc/1/comm").stdout == "systemd\n"
        assert node.witness("kubelet") is not None
        name, place = node.name, node.root.parent
        first = node.boot_id
        node.write("/var/lib/kept", "kept\n")
        node.reboot()
        assert node.boot_id != first
        assert node.read("/var/lib/kept") == "kept\n"
    assert_gone(name, place)


def assert_gone(name: str, place: Path) -> None:
    assert not place.exists()
    assert name not in Path("/proc/self/mountinfo").read_text()
    assert not nspawn.cgroup_of(name).path.exists()


def test_what_a_killed_test_has_left_of_a_node_is_removed_by_the_next() -> None:
    program = (
        "import signal\nfrom tests.lab.node import Node\n"
        "with Node(image=None, product=False) as node:\n    node.boot()\n"
        "    print(node.root.parent, flush=True)\n    signal.pause()"
    )
    with until_killed(program) as said:
        place = Path(said)
        assert (place / "root/etc").is_dir()
    with_processes = nspawn.cgroup_of(place.name).path
    assert with_processes.exists()
    workplace.Workplace().close()
    assert_gone(place.name, place)


def test_a_command_that_is_killed_takes_what_it_started_with_it() -> None:
    with Node(image=None, product=False) as node:
        node.start()
        with node.popen("sh", "-c", "sleep infinity & echo started; wait") as visit:
            assert visit.stdout is not None
            assert visit.stdout.readline() == "started\n"
            visit.kill()
            assert visit.wait() != 0
        assert node.run("pgrep", "-f", "sleep infinity", check=False).stdout == ""


def test_a_command_may_take_long_whatever_the_node_reports_meanwhile() -> None:
    with Node(image=None, product=False) as node:
        node.boot()
        # Two messages each; the kernel keeps some ten of them (net.unix.max_dgram_qlen).
        node.run("sh", "-c", "for i in $(seq 30); do systemctl daemon-reload; done")
        assert node.run("systemctl", "is-system-running").stdout == "running\n"


def test_the_demo_shows_what_it_proves_and_that_it_worked() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.lab.demo"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "net.ipv4.tcp_fin_timeout=37" in done.stdout
    for row in (
        r"setting +before +requested +found +result\n",
        r"net\.ipv4\.tcp_fin_timeout +60 +37 +37 +as requested",
        r"vm\.stat_interval +1 +7 +7 +as requested",
        # Another section of the stock profile sets it as well, on other machines.
        r"transparent_hugepages +never +madvise +madvise +as requested",
        r"force_latency +2000000000 µs +7 µs +7 µs +as requested",
    ):
        assert re.search(row, done.stdout), done.stdout
    assert re.search(r"\nIt worked: .* all \d+ settings", done.stdout)
    assert "make shell" in done.stdout


def test_a_shell_in_a_node_takes_commands_from_a_pipe_and_leaves_nothing() -> None:
    commands = "ocp-tuned-boot status | head -1\ncat /proc/1/comm; hostname\nexit 7\n"
    done = subprocess.run(
        [sys.executable, "-m", "tests.lab.shell"],
        input=commands, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 7, done.stdout + done.stderr
    status, name, host = done.stdout.splitlines()
    assert status.startswith("Tuned before the kubelet: openshift-node-lab, ")
    assert name == "systemd"
    assert_gone(host, cache.directory() / "nodes" / host)


def test_a_node_does_not_see_the_machines_network() -> None:
    with Node(image=None, product=False) as node:
        node.start()
        assert os.listdir("/sys/class/net") != ["lo"]
        assert node.run("ls", "/sys/class/net").stdout.split() == ["lo"]
