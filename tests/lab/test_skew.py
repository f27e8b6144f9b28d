"""An earlier program and this one on the same node, in turns: each reads what the other has written
to /run and /var, and continues where the other was. And a node agent of one age beside a program of
the other.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import pytest

from ocp_tuned_boot.host.paths import Paths
from tests.lab import previous, product
from tests.lab.host import unwrapped
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.patience import PATIENCE
from tests.lab.test_agent import asked, values
from tests.lab.test_boot import found_by, property_of
from tests.lab.test_holds import latency
from tests.lab.test_operator import seen, until
from tests.lab.workload import PROFILE, RESET, WANTED, furnish, has_ended, record, reloaded

pytestmark = pytest.mark.lab

UNIT = "ocp-tuned.service"
HELD = f"{PROFILE}\n[cpu]\nforce_latency=7\n"
STAT_INTERVAL = "/proc/sys/vm/stat_interval"
FIN_TIMEOUT = "/proc/sys/net/ipv4/tcp_fin_timeout"
#: Without a setting that it had before.
SHORTER = HELD.replace("net.ipv4.tcp_fin_timeout=37\n", "")
#: What a program says of a file that it cannot read.
UNREADABLE = ("found no ", "later release", "Traceback", "found version")


@pytest.mark.parametrize("release", [previous.FIRST])
def test_each_reads_what_the_other_has_written(release: str) -> None:
    continues_where_the_other_was("trixie", release)


def continues_where_the_other_was(suite: str, release: str) -> None:
    """`release`: of `previous.COMMITS`."""
    earlier, later = (
        previous.package(suite, release),
        product.product_package(suite, previous.LATER),
    )
    with KernelKnobs(RESET), Node(suite, image=suite, package=earlier) as node:
        furnish(node, HELD)
        node.boot()
        has_ended(node)
        # In the same boot.
        for package in (later, earlier, later):
            _install(node, package)
            _keeps(node)
            _applies_a_change(node)
        # What the other one has kept for later boots.
        for number, package in ((2, earlier), (3, later)):
            _install(node, package)
            _boots_with_the_last_image(node)
            boots = json.loads(node.run("ocp-tuned-boot", "history", "--json").stdout)
            assert len(boots) == number


def _install(node: Node, package: Path) -> None:
    """Up or down."""
    shutil.copyfile(package, node.root / "var/lib" / package.name)
    # Debian's packages, which it runs on, are not in rpm's database.
    command = ("rpm", "--nodeps", "--oldpackage", "--upgrade", f"/var/lib/{package.name}")
    node.run(*command)


def _state(node: Node) -> list[str]:
    """Which activation the unit is in, and what it holds."""
    wanted = ("InvocationID", "ActiveState", "NFileDescriptorStore")
    return [property_of(node, UNIT, name) for name in wanted]


def _keeps(node: Node) -> None:
    """What is applied is known, and what somebody has changed since then remains."""
    before, since = _state(node), record(node)["in_force"]["since"]
    assert before[1:] == ["active", "1"]
    node.run("sh", "-c", f"echo 9 > {STAT_INTERVAL}")
    node.run("systemctl", "reload", UNIT)
    assert record(node)["in_force"]["since"] == since
    assert node.read(STAT_INTERVAL).strip() == "9"
    assert _state(node) == before
    shown = node.run("ocp-tuned-boot", "status", check=False)
    assert "openshift-node-lab" in shown.stdout
    assert not any(words in shown.stdout + shown.stderr for words in UNREADABLE), shown
    drifted = node.run("ocp-tuned-boot", "drift", check=False)
    assert "vm.stat_interval" in drifted.stdout, drifted
    assert "fin_timeout" not in drifted.stdout
    assert latency() == 7


def _applies_a_change(node: Node) -> None:
    """What the profile does not set any more gets its first value back, which is that from before
    the other program ran."""
    before = _state(node)
    reloaded(node, SHORTER)
    assert node.read(STAT_INTERVAL).strip() == "7"
    assert node.read(FIN_TIMEOUT).strip() == "60"
    reloaded(node, HELD)
    assert node.read(FIN_TIMEOUT).strip() == "37"
    assert record(node)["result"] == "applied"
    assert _state(node) == before


def _boots_with_the_last_image(node: Node) -> None:
    """The image that worked, which the other program has noted, in place of one that nobody has."""
    node.poweroff()
    node.write("/var/lib/ocp-tuned/image.env", "NTO_IMAGE=localhost/none:1\n")
    node.boot()
    assert found_by(node, "kubelet") == WANTED
    has_ended(node)
    assert record(node)["image_source"] == "last-good"
    said = unwrapped(node.journal())
    assert not any(words in said for words in UNREADABLE), said


#: An agent's own code, of the tree that PYTHONPATH names: it writes what an object says, or prints
#: what it tells the server of the record. $1: the host's root.
AGENT = """
import json, sys
from pathlib import Path
from ocp_tuned_boot.agent import objects, recorded, state, told, wanted
from ocp_tuned_boot.host.paths import Paths

paths, (what, image, content) = Paths(Path(sys.argv[1])), json.load(sys.stdin)
files = wanted.of_profile(objects.profile(content), image)
if what == "write":
    state.write(paths, files)
else:
    found = recorded.read(paths)
    assert found.record is not None, found.unknown
    fingerprint = state.fingerprint(paths, found.record.contract)
    delivered = told.Delivered(files.generation, fingerprint)
    seen = told.Seen(found.record, delivered=delivered)
    print(json.dumps(told.status(seen, {}, "2026-11-27T01:00:00Z")))
"""


@dataclass(frozen=True)
class Agent:
    """The agent of a release, or of this tree, for a node."""

    node: Node
    release: Optional[str]

    def writes(self, content: dict[str, Any]) -> None:
        self._run(self.node.root, "write", content)

    def tells(self, content: dict[str, Any]) -> dict[str, Any]:
        """What it tells of a node to which this was delivered."""
        # /run and /proc of the node are not where its files are.
        with tempfile.TemporaryDirectory() as folder:
            paths = Paths(Path(folder))
            shutil.copytree(Paths(self.node.root).agent, paths.agent)
            for path in (paths.status, paths.boot_id):
                path.parent.mkdir(parents=True)
                path.write_text(self.node.read(f"/{path.relative_to(paths.root)}"))
            told: dict[str, Any] = json.loads(self._run(paths.root, "tell", content))
            return told

    def _run(self, root: Path, what: str, content: dict[str, Any]) -> str:
        tree = previous.tree(self.release) if self.release else product.TREE
        done = subprocess.run(
            [sys.executable, "-B", "-c", AGENT, root], cwd="/", timeout=PATIENCE, text=True,
            env={**os.environ, "PYTHONPATH": str(tree)}, check=False, capture_output=True,
            input=json.dumps([what, f"localhost/tuned:{self.node.suite}", content]),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.mark.parametrize(
    ("program", "agent"),
    [(previous.LAST, None), (None, previous.LAST)],
    ids=["the agent is newer", "the program is newer"],
)
def test_an_agent_and_a_program_of_different_ages(
    program: Optional[str], agent: Optional[str]
) -> None:
    package = previous.package("trixie", program) if program else None
    with Node("trixie", image="trixie", package=package) as node:
        pod = Agent(node, agent)
        node.write("/etc/ocp-tuned-boot/boot.conf", "[tuning]\non_change = agent\n")
        Paths(node.root).agent.mkdir(parents=True, exist_ok=True)
        pod.writes(asked(5))
        node.boot()
        has_ended(node)
        assert values(node) == {"5"}
        told = pod.tells(asked(5))
        assert [each["status"] for each in told["conditions"]] == ["True", "False"]
        assert told["observedGeneration"] == 1
        # A change that waits, and one that does not.
        pod.writes(asked(6, "always", 2))
        seen(node)
        assert values(node) == {"5"}
        told = pod.tells(asked(6, "always", 2))
        assert [each["reason"] for each in told["conditions"]] == [
            "Deferred", "TunedDeferredUpdate",
        ]  # fmt: skip
        assert told["observedGeneration"] == 2
        pod.writes(asked(6, generation=3))
        until(node, "grep -qx 6 /proc/sys/net/ipv4/tcp_fin_timeout")
        seen(node)
        assert values(node) == {"6"}
        assert pod.tells(asked(6, generation=3))["observedGeneration"] == 3


def test_an_agent_beside_the_first_release_which_knew_of_none() -> None:
    """It does not notice a change of a profile by itself: nothing else is told than what is so."""
    package = previous.package("trixie", previous.FIRST)
    with Node("trixie", image="trixie", package=package) as node:
        pod = Agent(node, None)
        Paths(node.root).agent.mkdir(parents=True, exist_ok=True)
        pod.writes(asked(5))
        node.boot()
        has_ended(node)
        assert values(node) == {"5"}
        assert pod.tells(asked(5))["observedGeneration"] == 1
        pod.writes(asked(6, generation=2))
        assert "observedGeneration" not in pod.tells(asked(6, generation=2))
        node.run("systemctl", "reload", UNIT)
        assert values(node) == {"6"}
        told = pod.tells(asked(6, generation=2))
        assert [each["status"] for each in told["conditions"]] == ["True", "False"]
        assert told["observedGeneration"] == 2
