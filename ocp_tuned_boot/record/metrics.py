"""The record of this boot as metrics of the host, for node_exporter's textfile collector. Pure.

Names and units are those of Prometheus's conventions: base units, and no counters, because each
value is that of the last run. The node agent has metrics of its own (agent/metrics.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ocp_tuned_boot import __version__
from ocp_tuned_boot.host.exposition import Gauge, Sample
from ocp_tuned_boot.record.model import Record, Waits
from ocp_tuned_boot.tuned.judge import Result

_PREFIX = "ocp_tuned_boot_"
#: The states of a compared setting (`Value.state`).
STATES = ("verified", "different", "unchecked", "not-applicable", "handed-over")
#: The findings that say that a fallback is used, by what it replaces.
FALLBACKS = {"image": "image-stand-in", "profile": "profile-fallback"}


@dataclass(frozen=True)
class Looked:
    """The settings that had changed when it was last looked, `at` so many seconds since the epoch:
    `owned` ones are on the hand-over list, `others` are not."""

    at: float
    others: int
    owned: int = 0


@dataclass(frozen=True)
class Supervised:
    """Whether TuneD runs, where it is to keep running (`mode = daemon`), and how often systemd has
    started it again."""

    runs: bool
    restarts: int


def gauges(
    record: Record, booted: float, looked: Looked | None = None, daemon: Supervised | None = None
) -> tuple[Gauge, ...]:
    """All metrics of a record. `booted`: when the kernel was started (seconds since the epoch);
    `looked`: None if it was not looked for settings that have changed; `daemon`: None if TuneD is
    not to keep running, or if it is not known whether it runs."""
    return (
        *_result(record, booted), *_run(record), *_settings(record), *_drift(looked),
        *_daemon(daemon),
    )  # fmt: skip


def _gauge(name: str, says: str, *samples: Sample) -> Gauge:
    return Gauge(_PREFIX + name, says, samples)


def _plain(name: str, says: str, value: float | None) -> Gauge:
    """A metric without labels; None: there is no such value."""
    return _gauge(name, says, *(() if value is None else (Sample(value),)))


def _by(name: str, says: str, label: str, values: Mapping[str, float]) -> Gauge:
    """A metric with one label."""
    return _gauge(name, says, *(Sample(it, {label: word}) for word, it in values.items()))


def _one_of(name: str, says: str, label: str, words: Iterable[str], word: str) -> Gauge:
    """A set of states (OpenMetrics): 1 for the one that it is in, 0 for each other."""
    return _by(name, says, label, {each: float(each == word) for each in words})


def _result(record: Record, booted: float) -> Iterable[Gauge]:
    applied = record.in_force
    profile, image = (applied.profile, applied.image) if applied else ("", "")
    yield _gauge(
        "info", "The version of ocp-tuned-boot, and the applied profile and image; always 1.",
        Sample(1, {"version": __version__, "profile": profile, "image": image}),
    )  # fmt: skip
    yield _plain(
        "node_boot_time_seconds",
        "When the kernel of these metrics was started; compare with node_boot_time_seconds.",
        round(booted),
    )
    yield _one_of(
        "result", "The result of the last run: 1 for the one that it has.", "result",
        (each.value for each in Result), record.result.value,
    )  # fmt: skip
    yield _plain("applied", "Whether a profile is applied in this boot.", float(bool(applied)))
    yield _plain(
        "applied_timestamp_seconds", "When the profile was applied.",
        _seconds(applied.since) if applied else None,
    )  # fmt: skip
    yield _one_of(
        "deferred", "Whether a change waits for the next boot or a reload, and of what.", "waits",
        (each.value for each in Waits if each.value),
        record.deferred.waits if record.deferred else "",
    )  # fmt: skip
    yield _plain(
        "late", "Whether workloads were running before the profile was applied.",
        float(bool(record.late)),
    )  # fmt: skip
    kinds = {each.kind for each in record.findings}
    yield _by(
        "fallback", "Whether the last image or profile that worked is used instead.", "what",
        {what: float(kind in kinds) for what, kind in FALLBACKS.items()},
    )  # fmt: skip


def _run(record: Record) -> Iterable[Gauge]:
    yield _plain(
        "run_timestamp_seconds", "When the last run was started.", _seconds(record.started)
    )
    yield _plain("run_duration_seconds", "The time of the last run.", record.seconds)
    steps: dict[str, float] = {}
    for step in record.steps:
        steps[step.name] = steps.get(step.name, 0.0) + step.seconds
    yield _by("step_duration_seconds", "The time of each step of the last run.", "step", steps)
    yield _plain(
        "failed_attempts", "Failed attempts of the last run before the one with the result.",
        len(record.attempts) + record.left_out.get("attempts", 0),
    )  # fmt: skip
    found = Counter((each.kind, each.accepted) for each in record.findings)
    yield _gauge(
        "findings", "Findings of the last run, by kind and whether boot.conf accepts them.",
        *(Sample(number, {"kind": kind, "accepted": str(accepted).lower()})
          for (kind, accepted), number in sorted(found.items())),
    )  # fmt: skip


def _settings(record: Record) -> Iterable[Gauge]:
    if record.values is not None:
        number = Counter(each.state for each in record.values)
        yield _by(
            "settings", "Settings of the profile, by what was found when they were compared.",
            "state", {state: number[state] for state in STATES},
        )  # fmt: skip
    holds = record.in_force.holds if record.in_force else ()
    held = sum(bool(each.since) for each in holds)
    yield _by(
        "holds", "File descriptors that must stay open for the profile, held by systemd or lost.",
        "state", {"held": held, "lost": len(holds) - held},
    )  # fmt: skip


def _drift(looked: Looked | None) -> Iterable[Gauge]:
    if looked is None:
        return
    yield _by(
        "drifted_settings", "Settings without their applied value; owned: others may change them.",
        "owned", {"false": looked.others, "true": looked.owned},
    )  # fmt: skip
    yield _plain(
        "drift_check_timestamp_seconds", "When the settings were last compared.", looked.at
    )


def _daemon(daemon: Supervised | None) -> Iterable[Gauge]:
    if daemon is None:
        return
    yield _plain(
        "daemon_running", "Whether TuneD runs, where it is to keep running (mode = daemon).",
        float(daemon.runs),
    )  # fmt: skip
    yield _plain(
        "daemon_restarts", "How often TuneD was started again after it exited.", daemon.restarts
    )


def _seconds(time: str) -> float | None:
    """A time of a record in seconds since the epoch; None if it is not one."""
    try:
        return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
