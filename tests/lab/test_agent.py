"""The files of the node agent, written by its own code, on a node with systemd, Podman and TuneD:
what the objects say is what is tuned, and wherever the agent is killed, a boot is tuned by one
whole state.

The agent in its pod, with a real API server and real kubelets: test_cluster.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot.agent import objects, recorded, state, told, wanted
from ocp_tuned_boot.agent.told import Delivered, Seen
from ocp_tuned_boot.agent.wanted import Wanted
from ocp_tuned_boot.host.paths import Paths
from tests.lab.node import Node
from tests.lab.test_operator import booted, seen
from tests.lab.workload import has_ended
from tests.unit.agent.made import annotated, profile

pytestmark = pytest.mark.lab

SUITES = ("trixie", "bookworm")
#: Settings of the node's own network namespace, each set by a profile of its own.
KNOBS = {"base": "net.ipv4.tcp_fin_timeout", "site": "net.ipv4.tcp_keepalive_probes"}


def asked(value: int, deferred: str = "never", generation: int = 1) -> dict[str, Any]:
    """An object with two profiles, one of which includes the other; both set their knob to
    `value`."""
    data = {name: f"[main]\nsummary=x\n[sysctl]\n{key}={value}\n" for name, key in KNOBS.items()}
    data["site"] = data["site"].replace("summary=x", "include=base")
    return annotated(profile("site", data, generation), deferred=deferred)


def of(node: Node, value: int, deferred: str = "never", generation: int = 1) -> Wanted:
    """The files that say it."""
    content = objects.profile(asked(value, deferred, generation))
    return wanted.of_profile(content, f"localhost/tuned:{node.suite}")


def values(node: Node) -> set[str]:
    return {node.read(f"/proc/sys/{key.replace('.', '/')}").strip() for key in KNOBS.values()}


def status(node: Node, content: Wanted) -> dict[str, Any]:
    """What the agent tells the server about a node to which this was delivered."""
    # /run and /proc of the node are not where its files are.
    with tempfile.TemporaryDirectory() as folder:
        paths = Paths(Path(folder))
        shutil.copytree(Paths(node.root).agent, paths.agent)
        for path in (paths.status, paths.boot_id):
            path.parent.mkdir(parents=True)
            path.write_text(node.run("cat", f"/{path.relative_to(paths.root)}").stdout)
        found = recorded.read(paths)
        assert found.record is not None, found.unknown
        fingerprint = state.fingerprint(paths, found.record.contract)
    delivered = Delivered(content.generation, fingerprint)
    told_status = told.status(Seen(found.record, delivered=delivered), {}, "2026-11-27T01:00:00Z")
    assert told_status is not None
    return told_status


def furnish(node: Node) -> None:
    node.write("/etc/ocp-tuned-boot/boot.conf", "[tuning]\non_change = agent\n")
    paths = Paths(node.root)
    paths.agent.mkdir(parents=True, exist_ok=True)
    state.write(paths, of(node, 5))


@pytest.mark.parametrize("suite", SUITES)
def test_what_the_objects_say_is_tuned_and_told(suite: str) -> None:
    with booted(suite, furnish) as node:
        paths = Paths(node.root)
        has_ended(node)
        assert values(node) == {"5"}
        found = status(node, of(node, 5))
        assert [each["status"] for each in found["conditions"]] == ["True", "False"]
        assert (found["tunedProfile"], found["observedGeneration"]) == ("site", 1)
        # Deferred: the files change at once, the knobs at the next boot.
        state.write(paths, of(node, 6, "always", 2))
        seen(node)
        assert values(node) == {"5"}
        found = status(node, of(node, 6, "always", 2))
        assert [each["reason"] for each in found["conditions"]] == [
            "Deferred", "TunedDeferredUpdate",
        ]  # fmt: skip
        assert found["observedGeneration"] == 2
        # Not deferred any more.
        state.write(paths, of(node, 6, "never", 3))
        node.run(
            "sh", "-c", "until grep -qx 6 /proc/sys/net/ipv4/tcp_fin_timeout; do sleep 0.05; done"
        )
        seen(node)
        assert values(node) == {"6"}
        assert status(node, of(node, 6, "never", 3))["observedGeneration"] == 3


def killed(node: Node, content: Wanted, place: str) -> None:
    """Writes in a process that is killed: before the new state has its name, just after that, in
    the middle of the files, or before the folder is withdrawn."""
    process = os.fork()
    if process:
        assert os.WIFSIGNALED(os.waitpid(process, 0)[1])
        return

    def dies(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    written: list[str] = []

    def second(call: Callable[..., None], *arguments: Any) -> None:
        written.append("")
        if len(written) > len(content.files) + 1:
            dies()
        call(*arguments)

    write = state._write
    instead: dict[str, tuple[str, Callable[..., None]]] = {
        "before": ("_sync", dies),
        "announced": ("_replace", dies),
        "middle": ("_write", lambda *arguments: second(write, *arguments)),
        "after": ("_withdraw", dies),
    }
    setattr(state, *instead[place])
    try:
        state.write(Paths(node.root), content)
    finally:
        os._exit(1)


def test_a_node_booted_after_the_agent_was_killed_is_tuned_by_one_whole_state() -> None:
    with booted("trixie", furnish) as node:
        paths = Paths(node.root)
        value = 5
        for place, counts in (
            ("before", False), ("announced", True), ("middle", True), ("after", True),
        ):  # fmt: skip
            node.poweroff()
            killed(node, of(node, value + 1), place)
            assert paths.agent_next.exists() is counts
            node.boot()
            has_ended(node)
            value += counts
            assert values(node) == {str(value)}, place
            # The agent is started again: what it finishes is no change.
            state.recover(paths)
            assert not paths.agent_next.exists()
            seen(node)
            assert values(node) == {str(value)}
            assert status(node, of(node, value))["conditions"][0]["status"] == "True"
