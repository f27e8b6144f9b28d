"""What the agent ships and serves, read by the tools that its users have: kubectl and promtool."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ocp_tuned_boot.agent import __main__ as command
from ocp_tuned_boot.agent.kube import Counters
from ocp_tuned_boot.agent.metrics import Metrics
from ocp_tuned_boot.agent.told import Seen
from tests.lab import debian
from tests.lab.product import TREE
from tests.unit.agent.test_metrics import DONE, DRIFTED

pytestmark = pytest.mark.lab
yaml = pytest.importorskip("yaml", reason="PyYAML comes with the agent's client")

FOLDER = TREE / "packaging/agent"
_RECIPE = debian.Recipe("trixie", "minbase", ("kubernetes-client", "prometheus"))


@pytest.fixture(scope="module")
def tools() -> Path:
    """A root filesystem that has both."""
    return debian.cached("agent-tools", _RECIPE)


def run(
    root: Path, *words: str, text: bytes = b"", folder: Path = FOLDER
) -> subprocess.CompletedProcess[bytes]:
    """With a folder at /mnt: that of the agent."""
    mounted = 'mount --bind "$0" "$1/mnt" && exec chroot "$@"'
    return subprocess.run(
        [*debian.ALONE, "sh", "-c", mounted, folder, root, *words],
        input=text, check=False, capture_output=True,
    )  # fmt: skip


@pytest.mark.parametrize(("folder", "evaluates"), [(".", True), ("operator", False)])
def test_kustomize_has_nothing_to_object_to(tools: Path, folder: str, evaluates: bool) -> None:
    done = run(tools, "kubectl", "kustomize", f"/mnt/{folder}")
    assert done.returncode == 0, done.stderr
    found = [each for each in yaml.safe_load_all(done.stdout) if each["kind"] == "DaemonSet"]
    (container,) = found[0]["spec"]["template"]["spec"]["containers"]
    assert ("--evaluate" in container["args"]) is evaluates
    options = command._parser({}).parse_args(container["args"])
    assert (options.evaluate, options.metrics_port) == (evaluates, 9979)


def test_prometheus_has_nothing_to_object_to(tools: Path) -> None:
    registry = CollectorRegistry()
    Metrics(registry).update(Seen(DONE), [DRIFTED], Counters(1, 1, {403: 1}))
    text = generate_latest(registry)
    named = [line for line in text.decode().splitlines() if line.startswith("# HELP")]
    assert len(named) >= 12
    assert all(line.split()[2].startswith("ocp_tuned_") for line in named)
    done = run(tools, "promtool", "check", "metrics", text=text)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
    # It would object to something.
    assert run(tools, "promtool", "check", "metrics", text=b"x{\n").returncode != 0
