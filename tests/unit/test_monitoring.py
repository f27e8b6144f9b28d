"""The alerts and the dashboard use metrics that exist, and say what can be typed. What the alerts
do is tested with promtool in tests/lab/test_monitoring.py."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot.commands import table
from ocp_tuned_boot.record.metrics import Looked, Supervised, gauges
from ocp_tuned_boot.record.model import Deferred
from tests.unit.record.test_metrics import DONE, SINCE
from tests.unit.test_packaging import FOLDERS_OF_METRICS
from tests.unit.test_promises import MAN_PROGRAM, entries, section

FOLDER = Path(__file__).resolve().parents[2] / "packaging/monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
ALERTS = re.sub(r"(?m)^ *#.*\n", "", (FOLDER / "alerts.yaml").read_text())
FULL = replace(DONE, deferred=Deferred("image", "f", "p", "i", SINCE))
GAUGES = gauges(FULL, 0.0, Looked(0.0, 1), Supervised(True, 2))
#: The metrics of the host, and the labels of each.
METRICS = {
    it.name: {name: {each.labels[name] for each in it.samples} for name in it.samples[0].labels}
    for it in GAUGES
}
#: Of node_exporter, and of Prometheus itself.
OTHERS = {"node_boot_time_seconds"}
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def used(text: str) -> set[str]:
    return set(re.findall(r"\b(?:ocp_tuned|node)_[a-z_]+", text))


def test_each_metric_that_is_used_exists() -> None:
    assert used(" ".join(EXPRESSIONS)) <= {*METRICS, *OTHERS}
    assert used(ALERTS) <= {*METRICS, *OTHERS}


def test_the_dashboard_shows_every_metric() -> None:
    assert set(METRICS) - used(" ".join(EXPRESSIONS)) == set()


def test_the_manual_has_every_metric_with_its_labels_and_its_sentence() -> None:
    _, listed = section(MAN_PROGRAM, "METRICS").split("with its labels:\n")
    found = dict(entries(listed))
    expected = {
        f"{it.name} {{{', '.join(METRICS[it.name])}}}" if METRICS[it.name] else it.name: it
        for it in GAUGES
    }
    assert list(found) == list(expected)
    for term, each in expected.items():
        assert found[term].startswith(each.says)
        one_of = re.search(r"The label is one of ([\w-]+(?:, [\w-]+)*)", found[term])
        if one_of is not None:
            (values,) = METRICS[each.name].values()
            assert set(one_of[1].split(", ")) == values


def test_the_manual_names_each_folder_of_node_exporter() -> None:
    named = re.findall(r"(?m)^    (/\S+)$", section(MAN_PROGRAM, "METRICS"))
    assert named == FOLDERS_OF_METRICS


def test_each_label_that_is_selected_exists() -> None:
    selected = re.findall(r"\b(ocp_tuned_\w+)\{([^}]*)\}", " ".join([*EXPRESSIONS, ALERTS]))
    assert selected
    for name, inside in selected:
        for label, operator, value in re.findall(r'(\w+)(=~?)"([^"]*)"', inside):
            if label != "instance":
                assert operator == "="
                assert value in METRICS[name][label]
    grouped = re.findall(r"by \(([^)]*)\) \((?:0\.5, )?(ocp_tuned_\w+)", " ".join(EXPRESSIONS))
    assert grouped
    for labels, name in grouped:
        assert set(labels.split(", ")) - {"instance"} <= set(METRICS[name])


def test_the_panels_of_the_dashboard_are_told_apart_and_lie_beside_each_other() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [
        (x, y)
        for at in places
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
    assert all(panel["title"] and panel["description"] for panel in DASHBOARD["panels"])


def test_the_alerts_name_commands_that_exist() -> None:
    text = " ".join([ALERTS.replace("\n", " "), json.dumps(DASHBOARD)])
    named = re.findall(r"\bocp-tuned-boot ([a-z]+)", re.sub(r" +", " ", text))
    commands = {row.name for row in table.COMMANDS}
    assert set(named) & commands >= {"status", "drift", "reload"}
    options = re.findall(r"ocp-tuned-boot reload (--\w+)", text)
    reload = next(row for row in table.COMMANDS if row.name == "reload")
    assert set(options) <= {each.name for each in reload.options}


def test_each_alert_says_what_to_type() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with the agent's client")
    (group,) = yaml.safe_load(ALERTS)["groups"]
    assert len(group["rules"]) == 3
    for rule in group["rules"]:
        assert re.match(r"OcpTunedBoot[A-Z]\w+\Z", rule["alert"])
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"].endswith(".")
        assert "ocp-tuned-boot status" in rule["annotations"]["description"]
