"""The metrics of this node, for Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ocp_tuned_boot import __version__
from ocp_tuned_boot.agent.kube import Counters
from ocp_tuned_boot.agent.told import Seen
from ocp_tuned_boot.record.conditions import waiting
from ocp_tuned_boot.settings.drift import Drifted
from ocp_tuned_boot.tuned.judge import Result

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class Metrics:
    """Kept in a registry of their own: that of the process has those of the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge  # noqa: PLC0415  # only the agent needs it

        def gauge(name: str, says: str, *labels: str) -> Gauge:
            return Gauge(f"ocp_tuned_{name}", says, labels, registry=registry)

        def counter(name: str, says: str, *labels: str) -> Counter:
            return Counter(f"ocp_tuned_agent_{name}", says, labels, registry=registry)

        build = gauge("agent_build_info", "The version of the agent; always 1.", "version")
        build.labels(__version__).set(1)
        self._applied = gauge("applied", "Whether the requested profile is applied.")
        self._degraded = gauge("degraded", "Whether some settings of the profile are not applied.")
        self._waiting = gauge(
            "waiting", "Whether a changed profile waits for the next boot or a reload."
        )
        self._findings = gauge("findings", "Findings of the last run, by kind.", "kind")
        self._seconds = gauge("tuning_seconds", "The time of the last run of ocp-tuned-boot.")
        self._drift = gauge(
            "drifted_settings", "Settings without their applied value at the last check."
        )
        self._holds = gauge("holds", "File descriptors that systemd keeps open for the profile.")
        self._recorded = gauge("recorded", "Whether the host has a record of this boot.")
        self._problem = gauge(
            "agent_problem", "Whether the agent cannot write what its Profile says."
        )
        self._requests = counter("api_requests", "Requests to the API server.")
        self._received = counter("api_received_bytes", "Bytes received from the API server.")
        self._errors = counter(
            "api_errors", "Errors of the API, by HTTP status; 0 without an answer.", "status"
        )
        self._counted = Counters()

    def update(self, seen: Seen, drifted: Sequence[Drifted], counters: Counters) -> None:
        """Sets all of them."""
        record = seen.record
        in_force = record.in_force if record is not None else None
        waits = bool(record is not None and waiting(record))
        self._recorded.set(record is not None)
        self._applied.set(in_force is not None and not waits and not seen.problem)
        self._degraded.set(in_force is not None and in_force.result is Result.DEGRADED)
        self._waiting.set(waits)
        self._problem.set(bool(seen.problem))
        self._drift.set(len(drifted))
        self._seconds.set(record.seconds if record is not None else 0)
        holds = in_force.holds if in_force is not None else ()
        self._holds.set(sum(bool(each.since) for each in holds))
        self._findings.clear()
        for finding in record.findings if record is not None else ():
            self._findings.labels(finding.kind).inc()
        self._count(counters)

    def _count(self, counters: Counters) -> None:
        known = self._counted
        self._requests.inc(counters.requests - known.requests)
        self._received.inc(counters.received - known.received)
        errors = dict(counters.errors)
        for status, number in errors.items():
            self._errors.labels(str(status)).inc(number - known.errors.get(status, 0))
        self._counted = Counters(counters.requests, counters.received, errors)
