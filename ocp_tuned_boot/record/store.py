"""`status.json`: the record of this boot on disk, replaced atomically."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from typing import Any

from ocp_tuned_boot import __version__
from ocp_tuned_boot.errors import HostError, NewerVersion, escaped_json
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.clock import Step
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.typedjson import built, check_version, from_json, many, texts, typed
from ocp_tuned_boot.record.conditions import conditions
from ocp_tuned_boot.record.model import (
    Attempt,
    Deferred,
    HandedOver,
    Hold,
    InForce,
    Record,
    Residue,
    Value,
)
from ocp_tuned_boot.tuned.findings import Finding
from ocp_tuned_boot.tuned.judge import Result

log = logging.getLogger(__name__)

#: Incremented when the meaning of a field changes. A newer file is refused, not guessed at.
VERSION = 1
# The length of each list in a record that would be too large.
_FEW = 100


def encode(record: Record) -> str:
    """The text of `status.json`."""
    content = {
        "version": VERSION,
        "program": __version__,
        "conditions": conditions(record.result, record.findings, _waits(record)),
        **asdict(record),
    }
    return escaped_json(json.dumps(content, indent=2, ensure_ascii=False)) + "\n"


def _waits(record: Record) -> str:
    """The profile that waits. A new image of the same profile is nothing to wait for."""
    if record.deferred is None or record.deferred.waits == "image":
        return ""
    return record.deferred.profile


def decode(text: str, where: str) -> Record:
    """Raises `HostError` for what this version did not write, `NewerVersion` for what a later one
    did."""
    try:
        content: dict[str, Any] = from_json(text)
        check_version(content.pop("version"), VERSION, where)
        content.pop("program")
        content.pop("conditions")
        values, in_force = content.pop("values"), content.pop("in_force")
        # Fields that an earlier release did not know are missing, fields that a later one added
        # are ignored: neither an upgrade nor a downgrade may forget what is applied.
        deferred = content.pop("deferred", None)
        return built(
            Record,
            {
                **_judged(content),
                "kernel_arguments": texts(content.pop("kernel_arguments")),
                "units": {name: typed(str, state) for name, state in content["units"].items()},
                "steps": many(Step, content.pop("steps")),
                "attempts": many(Attempt, content.pop("attempts")),
                "values": None if values is None else many(Value, values),
                "in_force": None if in_force is None else _in_force(in_force),
                "late": texts(content.pop("late", [])),
                "deferred": None if deferred is None else built(Deferred, deferred),
                "handover": many(HandedOver, content.pop("handover", [])),
                "residue": many(Residue, content.pop("residue", [])),
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HostError(f"{where}: found no record of a run, expected one: {error}") from error


def _judged(content: dict[str, Any]) -> dict[str, Any]:
    """Result and findings, which a record and what is applied both have."""
    result, found = Result(content["result"]), many(Finding, content["findings"])
    return {**content, "result": result, "findings": found}


def _in_force(content: dict[str, Any]) -> InForce:
    holds = many(Hold, content.pop("holds", []))
    return built(InForce, {**_judged(content), "holds": holds})


def write(paths: Paths, record: Record) -> None:
    """Replaces `status.json` atomically. Raises `HostError`."""
    text = encode(record).encode(errors="backslashreplace")
    if len(text) > files.LIMIT:
        # It must stay readable: the details are dropped first, then the ends of long lists.
        few = replace(
            record,
            values=None,
            kernel_arguments=record.kernel_arguments[:_FEW],
            handover=record.handover[:_FEW],
            residue=record.residue[:_FEW],
        )
        text = encode(few).encode(errors="backslashreplace")
    files.write(paths.status, text)


def read(paths: Paths) -> Record | None:
    """The last run, or None. Raises `HostError` for a file that is no record."""
    try:
        text = files.read(paths.status).decode(errors="replace")
    except FileNotFoundError:
        return None
    return decode(text, str(paths.status))


def of_this_boot(paths: Paths, boot_id: str) -> Record | None:
    """The last run of this boot. A record that cannot be read is ignored, and so is one of another
    boot: the kernel has lost all of its settings. Raises `NewerVersion`."""
    try:
        last = read(paths)
    except NewerVersion:
        raise
    except HostError as error:
        log.warning("%s", error)
        return None
    return last if last is not None and is_of(last, boot_id) else None


def is_of(last: Record, boot_id: str) -> bool:
    """Whether this is a record of the boot of this ID (`inputs.boot_id`)."""
    return boot_id == (last.in_force.boot_id if last.in_force is not None else last.boot_id)


def in_force(paths: Paths, boot_id: str) -> InForce | None:
    """What is recorded as applied in this boot. Raises `NewerVersion`."""
    last = of_this_boot(paths, boot_id)
    return last.in_force if last else None
