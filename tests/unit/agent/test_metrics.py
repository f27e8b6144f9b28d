"""The metrics say what the record says, in a form that Prometheus reads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ocp_tuned_boot.agent.kube import Counters
from ocp_tuned_boot.agent.metrics import Metrics
from ocp_tuned_boot.agent.told import Delivered, Seen
from ocp_tuned_boot.record.model import Deferred, Hold, InForce, Record
from ocp_tuned_boot.settings.drift import Drifted
from ocp_tuned_boot.tuned.findings import make
from ocp_tuned_boot.tuned.judge import Result

prometheus = pytest.importorskip(
    "prometheus_client", reason="the agent's metrics are not in this environment"
)

FOUND = (make("no-such-setting", "net.x", ""), make("no-such-setting", "net.y", ""))
HOLDS = (Hold("force_latency", "7", "7", "since"), Hold("rtentsk"))
IN_FORCE = InForce("boot-1", Result.DEGRADED, "site", "image", "id", "f", "since", FOUND, HOLDS)
DONE = Record(Result.DEGRADED, "now", findings=FOUND, seconds=1.5, in_force=IN_FORCE)
DRIFTED = Drifted("vm.x", "/proc/sys/vm/x", "1", "7", "since", "now")


class Told:
    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        self.metrics = Metrics(self.registry)

    def value(self, name: str, **labels: str) -> float | None:
        found: float | None = self.registry.get_sample_value(f"ocp_tuned_{name}", labels)
        return found


def test_what_is_recorded() -> None:
    told = Told()
    told.metrics.update(Seen(DONE, delivered=Delivered(1, "f")), [DRIFTED], Counters())
    assert told.value("applied") == 1
    assert told.value("degraded") == 1
    assert told.value("waiting") == 0
    assert told.value("recorded") == 1
    assert told.value("findings", kind="no-such-setting") == 2
    assert told.value("tuning_seconds") == 1.5
    assert told.value("drifted_settings") == 1
    assert told.value("holds") == 1
    assert told.value("agent_problem") == 0


def test_what_is_no_more_is_no_more() -> None:
    told = Told()
    told.metrics.update(Seen(DONE), [DRIFTED], Counters())
    waits = Deferred("profile", "f2", "other", "image", "now")
    told.metrics.update(Seen(replace(DONE, findings=(), deferred=waits)), [], Counters())
    assert told.value("findings", kind="no-such-setting") is None
    assert (told.value("applied"), told.value("waiting")) == (0, 1)
    assert told.value("drifted_settings") == 0
    told.metrics.update(Seen(None, "nothing", problem="no space"), [], Counters())
    assert (told.value("recorded"), told.value("applied")) == (0, 0)
    assert told.value("agent_problem") == 1


def test_requests_and_errors_are_counted() -> None:
    told = Told()
    counters = Counters(3, 1000, {403: 2})
    told.metrics.update(Seen(), [], counters)
    counters.requests, counters.errors[0] = 5, 1
    told.metrics.update(Seen(), [], counters)
    told.metrics.update(Seen(), [], counters)
    assert told.value("agent_api_requests_total") == 5
    assert told.value("agent_api_received_bytes_total") == 1000
    assert told.value("agent_api_errors_total", status="403") == 2
    assert told.value("agent_api_errors_total", status="0") == 1
