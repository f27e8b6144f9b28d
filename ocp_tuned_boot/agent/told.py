"""The record of the host → what the cluster is told: status, annotations, events. Pure.

Types, reasons and messages are those of the operator's agent (cluster-node-tuning-operator,
pkg/tuned/status.go). Unlike there, `observedGeneration` is that of a Profile whose content is on
record, not of the newest one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ocp_tuned_boot.agent.objects import BOOTCMDLINE, BOOTCMDLINE_DEPS
from ocp_tuned_boot.errors import escaped
from ocp_tuned_boot.record.conditions import of_record, waiting
from ocp_tuned_boot.record.model import Record
from ocp_tuned_boot.settings.drift import Drifted
from ocp_tuned_boot.tuned.judge import Result

#: The most characters of a condition's message. The server allows 32 KiB.
MESSAGE = 8000
#: The most characters of the message of an Event (the server refuses more than 1024 bytes), and the
#: most bytes of all annotations of an object, less what others need.
EVENT, ANNOTATION = 1000, 128 * 1024


@dataclass(frozen=True)
class Delivered:
    """A Profile whose content is in the files: its generation, the fingerprint that the host
    records for it, and its annotation about kernel arguments."""

    generation: int
    fingerprint: str
    deps: str | None = None


@dataclass(frozen=True)
class Seen:
    """What is known of this node. `record` is of this boot; None where there is none, which
    `unknown` explains. `problem`: why what is wanted is not in the files; `notes`: what of it has
    no effect."""

    record: Record | None = None
    unknown: str = ""
    delivered: Delivered | None = None
    problem: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_observed(self) -> bool:
        """Whether the last run of the host has read what was delivered."""
        return (
            self.record is not None
            and self.delivered is not None
            and self.delivered.fingerprint != ""
            and self.record.fingerprint == self.delivered.fingerprint
            and self.record.result is not Result.APPLYING
        )


@dataclass(frozen=True)
class Event:
    """One thing that happened, `at` this time (RFC 3339), which is empty for now. `key` tells it
    from others: there is one Event for each key."""

    key: str
    warning: bool
    reason: str
    message: str
    at: str = ""

    def name(self, node: str) -> str:
        """A name for the object: a second one of the same name is refused by the server."""
        digest = hashlib.sha256(f"{self.reason}\0{self.key}".encode()).hexdigest()[:16]
        return f"{node}.{digest}"


def status(seen: Seen, old: Mapping[str, Any], now: str) -> dict[str, Any] | None:
    """The status of the Profile; None if the old one says the same. `now` is the time for what
    changes (RFC 3339, whole seconds)."""
    known = _known(old)
    conditions = [
        {**each, "lastTransitionTime": _since(each, known, now)} for each in _conditions(seen)
    ]
    new: dict[str, Any] = {
        "tunedProfile": _applied_profile(seen, old),
        "conditions": [*conditions, *_of_others(old)],
    }
    observed = _observed(seen, old)
    if observed is not None:
        new["observedGeneration"] = observed
    return None if new == dict(old) else new


def node_annotations(seen: Seen) -> dict[str, str] | None:
    """The annotations of the Node; None if they are not known: only a record of what was delivered
    says which kernel arguments the profile requests."""
    record, delivered = seen.record, seen.delivered
    if record is None or delivered is None or not seen.is_observed:
        return None
    if record.in_force is None or waiting(record) or "kernel_arguments" in record.left_out:
        return None
    arguments = " ".join(record.kernel_arguments)
    if len(arguments.encode(errors="replace")) > ANNOTATION:
        return None
    found = {BOOTCMDLINE: arguments}
    if delivered.deps is not None:
        found[BOOTCMDLINE_DEPS] = delivered.deps
    return found


def events(seen: Seen, drifted: Sequence[Drifted] = ()) -> list[Event]:
    """What has happened in this boot. Most of it has been told before: see `Event.name`."""
    found = []
    record = seen.record
    if record is not None and record.result is not Result.APPLYING:
        found.append(_result(record))
        if waiting(record):
            words = f"The profile {waiting(record)} waits for the next boot or a reload"
            since = record.deferred.since if record.deferred else ""
            found.append(_event(record, since, False, "TunedDeferred", words, since))
    if record is not None and drifted:
        keys = ", ".join(each.key for each in drifted)
        first = min(each.seen for each in drifted)
        words = f"{len(drifted)} settings no longer have the applied value: {keys}"
        found.append(_event(record, f"{first} {keys}", True, "TunedDrift", words, first))
    if seen.problem:
        found.append(Event(seen.problem, True, "TunedAgentProblem", _cut(seen.problem, EVENT)))
    return found


def problem(reason: str, words: str) -> Event:
    """An Event about something that the agent cannot do."""
    return Event(words, True, reason, _cut(words, EVENT))


def _result(record: Record) -> Event:
    warning = record.result in (Result.FAILED, Result.DEGRADED)
    reason = f"Tuned{record.result.value.capitalize()}"
    # A run that keeps what is applied is no news.
    since = record.in_force.since if record.in_force is not None else record.started
    key = " ".join(f"{each.kind}:{each.subject}" for each in record.findings)
    if record.result is not Result.FAILED or not key:
        key = f"{since} {key}"
    return _event(record, key, warning, reason, record.summary(), since)


def _event(record: Record, key: str, warning: bool, reason: str, words: str, at: str) -> Event:
    return Event(f"{record.boot_id} {key}", warning, reason, _cut(words, EVENT), at)


def _conditions(seen: Seen) -> list[dict[str, str]]:
    if seen.record is None:
        found = [_condition(kind, "Unknown", "", seen.unknown) for kind in ("Applied", "Degraded")]
    else:
        found = of_record(seen.record)
        if seen.record.result is Result.APPLYING:
            words = "A run of ocp-tuned-boot is active, or was interrupted."
            found = [{**each, "message": words} for each in found]
    if seen.problem:
        found = _with_problem(seen.problem)
    elif seen.notes and found[1]["status"] == "False":
        words = "; ".join((found[1]["message"], *seen.notes))
        found[1] = _condition("Degraded", "False", "TunedWarning", words)
    return [{**each, "message": _cut(each["message"], MESSAGE)} for each in found]


def _with_problem(words: str) -> list[dict[str, str]]:
    """What is applied is not what the Profile says, and will not be until that is fixed."""
    failed = "The TuneD daemon profile not yet applied, or application failed."
    return [
        _condition("Applied", "False", "Failed", f"{failed} ocp-tuned-agent: {words}"),
        _condition("Degraded", "True", "TunedError", f"ocp-tuned-agent: {words}"),
    ]


def _condition(kind: str, state: str, reason: str, message: str) -> dict[str, str]:
    return {"type": kind, "status": state, "reason": reason, "message": message}


def _known(old: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The conditions of a status, by type. Somebody may have written anything there."""
    conditions = old.get("conditions")
    found = conditions if isinstance(conditions, list) else []
    return {str(each.get("type")): each for each in found if isinstance(each, dict)}


def _of_others(old: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        each for kind, each in _known(old).items() if kind not in ("Applied", "Degraded", "None")
    ]


def _since(new: Mapping[str, str], known: Mapping[str, Mapping[str, Any]], now: str) -> str:
    """As with the operator, a condition changes with its reason and its message, too."""
    old = known.get(new["type"], {})
    same = all(old.get(key, "") == value for key, value in new.items())
    since = old.get("lastTransitionTime")
    return since if same and isinstance(since, str) and since else now


def _applied_profile(seen: Seen, old: Mapping[str, Any]) -> str:
    """What TuneD has said that it has applied in this boot. Until that is known, what was known."""
    if seen.record is not None and seen.record.result is not Result.APPLYING:
        return seen.record.in_force.profile if seen.record.in_force is not None else ""
    found = old.get("tunedProfile")
    return found if isinstance(found, str) else ""


def _observed(seen: Seen, old: Mapping[str, Any]) -> int | None:
    if seen.is_observed and seen.delivered is not None and not seen.problem:
        return seen.delivered.generation
    found = old.get("observedGeneration")
    return found if isinstance(found, int) else None


def _cut(text: str, most: int) -> str:
    """The text without control characters, and not longer than the server allows."""
    text = escaped(text)
    return text if len(text.encode()) <= most else _shorter(text, most)


def _shorter(text: str, most: int) -> str:
    return text.encode()[: most - 3].decode(errors="ignore") + "…"
