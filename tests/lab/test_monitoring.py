"""The metrics of the host, the alerts and the timer for drift: read by promtool, and on a node."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot.host import exposition
from ocp_tuned_boot.record.metrics import Looked, Supervised, gauges
from ocp_tuned_boot.record.model import Deferred
from tests.lab import workload
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.product import TREE
from tests.lab.test_agent_tools import run, tools
from tests.unit.record.test_metrics import DONE, SINCE

pytestmark = pytest.mark.lab

__all__ = ["tools"]
MONITORING = TREE / "packaging/monitoring"
TEXTFILE = "/var/lib/node_exporter/textfile_collector/ocp-tuned-boot.prom"


def checked(root: Path, text: str) -> tuple[int, bytes]:
    done = run(root, "promtool", "check", "metrics", text=text.encode())
    return done.returncode, done.stdout + done.stderr


def test_prometheus_has_nothing_to_object_to(tools: Path) -> None:
    full = replace(DONE, deferred=Deferred("image", "f", "p", 'i"\\\n', SINCE))
    text = exposition.text(gauges(full, 1.5e9, Looked(1.5e9, 1), Supervised(True, 2)))
    assert text.count("# TYPE") >= 17
    assert checked(tools, text) == (0, b"")
    # It would object to something.
    assert checked(tools, text + "# TYPE a counter\na 1\n")[0] != 0


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    inside = ",".join(f'{label}="{it}"' for label, it in {"instance": "n", **labels}.items())
    return {"series": f"{name}{{{inside}}}", "values": values}


UP = series("up", "1x60", job="node")
#: What is scraped once a minute for an hour, and the alerts that fire at its end.
CASES: dict[str, tuple[list[dict[str, str]], list[str]]] = {
    "all is well": (
        [
            UP,
            series("ocp_tuned_boot_applied", "1x60", job="node"),
            series("ocp_tuned_boot_node_boot_time_seconds", "1000x60", job="node"),
            series("node_boot_time_seconds", "1001x60", job="node"),
            series("ocp_tuned_boot_result", "1x60", job="node", result="applied"),
            series("ocp_tuned_boot_result", "0x60", job="node", result="degraded"),
            series("ocp_tuned_boot_drifted_settings", "2x60", job="node", owned="true"),
            series("ocp_tuned_boot_drifted_settings", "0x60", job="node", owned="false"),
            series("ocp_tuned_boot_fallback", "0x60", job="node", what="image"),
            series("ocp_tuned_boot_holds", "0x60", job="node", state="lost"),
        ],
        [],
    ),
    "not applied": (
        [UP, series("ocp_tuned_boot_applied", "0x60", job="node")],
        ["OcpTunedBootNotApplied"],
    ),
    "metrics of the boot before": (
        [
            UP,
            series("ocp_tuned_boot_applied", "1x60", job="node"),
            series("ocp_tuned_boot_node_boot_time_seconds", "1000x60", job="node"),
            series("node_boot_time_seconds", "1000x20 5000x40", job="node"),
        ],
        ["OcpTunedBootNotApplied"],
    ),
    "no metrics since the boot": (
        [UP, series("ocp_tuned_boot_applied", "1x20 stale", job="node")],
        ["OcpTunedBootNotApplied"],
    ),
    "the node is down": (
        [
            series("up", "1x20 0x40", job="node"),
            series("ocp_tuned_boot_applied", "1x20 stale", job="node"),
        ],
        [],
    ),
    "degraded": (
        [UP, series("ocp_tuned_boot_result", "1x60", job="node", result="degraded")],
        ["OcpTunedBootDegraded"],
    ),
    "degraded for a moment": (
        [UP, series("ocp_tuned_boot_result", "0x50 1x10", job="node", result="degraded")],
        [],
    ),
    "drift": (
        [UP, series("ocp_tuned_boot_drifted_settings", "1x60", job="node", owned="false")],
        ["OcpTunedBootDegraded"],
    ),
    "a fallback": (
        [UP, series("ocp_tuned_boot_fallback", "1x60", job="node", what="profile")],
        ["OcpTunedBootFallback"],
    ),
    "a hold is lost": (
        [UP, series("ocp_tuned_boot_holds", "1x60", job="node", state="lost")],
        ["OcpTunedBootFallback"],
    ),
}


def case(name: str, alert: str) -> dict[str, Any]:
    """One test of promtool: whether an alert fires. Labels and texts are not compared: promtool
    would want them whole."""
    given, fires = CASES[name]
    expression = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    return {
        "name": f"{name}: {alert}",
        "interval": "1m",
        "input_series": given,
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": "60m",
                "exp_samples": [{"labels": "{}", "value": int(alert in fires)}],
            }
        ],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files, and the tests of promtool; YAML reads JSON."""
    shutil.copytree(MONITORING, tmp_path, dirs_exist_ok=True)
    names = ("OcpTunedBootNotApplied", "OcpTunedBootDegraded", "OcpTunedBootFallback")
    tests = [case(name, alert) for name in CASES for alert in names]
    content = {"rule_files": ["alerts.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yaml").write_text(json.dumps(content))
    return tmp_path


def test_prometheus_reads_the_alerts(tools: Path, folder: Path) -> None:
    done = run(tools, "promtool", "check", "rules", "/mnt/alerts.yaml", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"3 rules found" in done.stdout


def test_each_alert_fires_when_it_should_and_only_then(tools: Path, folder: Path) -> None:
    done = run(tools, "promtool", "test", "rules", "/mnt/tests.yaml", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    # It would fail.
    text = (folder / "alerts.yaml").read_text()
    (folder / "alerts.yaml").write_text(text.replace("for: 15m", "for: 2h"))
    assert run(tools, "promtool", "test", "rules", "/mnt/tests.yaml", folder=folder).returncode


def value(node: Node, sample: str) -> str:
    (line,) = [it for it in node.read(TEXTFILE).splitlines() if it.startswith(f"{sample} ")]
    return line.rpartition(" ")[2]


def test_a_node_writes_its_metrics_and_the_next_boot_removes_them(tools: Path) -> None:
    with KernelKnobs(workload.RESET), Node() as node:
        workload.furnish(node)
        node.write("/etc/ocp-tuned-boot/boot.conf", f"[metrics]\ntextfile = {TEXTFILE}\n")
        node.write(TEXTFILE, "ocp_tuned_boot_applied 1\n# of the boot before\n")
        for name in ("service", "timer"):
            unit = f"ocp-tuned-boot-drift.{name}"
            node.write(f"/etc/systemd/system/{unit}", (MONITORING / unit).read_text())
        node.enable("ocp-tuned-boot-drift.timer")
        node.boot()
        workload.has_ended(node)
        assert "of the boot before" not in node.read(TEXTFILE)
        assert value(node, "ocp_tuned_boot_applied") == "1.0"
        assert value(node, 'ocp_tuned_boot_settings{state="different"}') == "0.0"
        assert float(value(node, 'ocp_tuned_boot_settings{state="verified"}')) > 4
        assert checked(tools, node.read(TEXTFILE)) == (0, b"")
        assert node.run("stat", "-c", "%U %a", TEXTFILE).stdout == "root 644\n"

        # What the timer starts sees drift; a failed change is written from the unit's sandbox.
        node.run("sysctl", "-w", "net.ipv4.tcp_fin_timeout=38")
        node.run("systemctl", "start", "ocp-tuned-boot-drift.service")
        assert value(node, 'ocp_tuned_boot_drifted_settings{owned="false"}') == "1.0"
        state = node.run("systemctl", "is-active", "ocp-tuned-boot-drift.timer").stdout
        assert state == "active\n"
        node.write("/var/lib/ocp-tuned/recommend.d/50-openshift.conf", "[no-such-profile]\n")
        node.run("systemctl", "reload", "ocp-tuned", check=False)
        assert value(node, 'ocp_tuned_boot_result{result="degraded"}') == "1.0"

        # Until the next boot has a result, there is no file, and not an old one.
        node.run("systemctl", "mask", "ocp-tuned.service")
        node.reboot()
        assert node.run("ls", TEXTFILE, check=False).returncode != 0
