"""`status.json`: the record of this boot on disk, replaced atomically."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any, TypeVar

from ocp_tuned_boot import __version__
from ocp_tuned_boot.errors import HostError, NewerVersion, escaped_json
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.clock import Step
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.typedjson import (
    Format,
    built,
    check_version,
    from_json,
    many,
    texts,
    typed,
)
from ocp_tuned_boot.record import conditions
from ocp_tuned_boot.record.model import (
    Attempt,
    Deferred,
    HandedOver,
    Hold,
    InForce,
    Moments,
    Record,
    Residue,
    Value,
)
from ocp_tuned_boot.tuned.findings import Finding
from ocp_tuned_boot.tuned.judge import Result

log = logging.getLogger(__name__)

T = TypeVar("T", Value, HandedOver, Residue)

#: The version is incremented when the meaning of a field changes. A newer file is refused, not
#: guessed at.
FORMAT = Format(1)
# The most entries of each list in a record that would be too large, tried one after the other, and
# then the most characters of each value.
_MOST = (1000, 100, 10)
_CHARACTERS = 1000
#: The space in /run that is set aside for a record while TuneD runs (bytes).
RESERVE = 512 * 1024


def content(record: Record) -> dict[str, Any]:
    """The content of `status.json`."""
    return {
        "version": FORMAT.version,
        "program": __version__,
        "conditions": conditions.of_record(record),
        **asdict(record),
    }


def encode(record: Record) -> str:
    """The text of `status.json`."""
    return escaped_json(json.dumps(content(record), indent=2, ensure_ascii=False)) + "\n"


def decode(text: str, where: str) -> Record:
    """Raises `HostError` for what this version did not write, `NewerVersion` for what a later one
    did."""
    try:
        content: dict[str, Any] = from_json(text)
        check_version(content.pop("version"), FORMAT.version, where)
        content.pop("program")
        content.pop("conditions")
        values, in_force = content.pop("values"), content.pop("in_force")
        # Fields that an earlier release did not know are missing, fields that a later one added
        # are ignored: neither an upgrade nor a downgrade may forget what is applied.
        deferred = content.pop("deferred", None)
        moments = content.pop("moments", None)
        return built(
            Record,
            {
                **_judged(content),
                "kernel_arguments": texts(content.pop("kernel_arguments")),
                "units": {name: typed(str, state) for name, state in content["units"].items()},
                "steps": many(Step, content.pop("steps")),
                "moments": None if moments is None else built(Moments, moments),
                "early": many(Step, content.pop("early", [])),
                "attempts": many(Attempt, content.pop("attempts")),
                "values": None if values is None else many(Value, values),
                "in_force": None if in_force is None else _in_force(in_force),
                "late": texts(content.pop("late", [])),
                "deferred": None if deferred is None else built(Deferred, deferred),
                "handover": many(HandedOver, content.pop("handover", [])),
                "residue": many(Residue, content.pop("residue", [])),
                "left_out": _numbers(content.pop("left_out", {})),
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HostError(f"{where}: found no record of a run, expected one: {error}") from error


def _numbers(content: Any) -> dict[str, int]:
    return {name: typed(int, number) for name, number in typed(dict, content).items()}


def _judged(content: dict[str, Any]) -> dict[str, Any]:
    """Result and findings, which a record and what is applied both have."""
    result, found = Result(content["result"]), many(Finding, content["findings"])
    return {**content, "result": result, "findings": found}


def _in_force(content: dict[str, Any]) -> InForce:
    holds = many(Hold, content.pop("holds", []))
    profiles = texts(content.pop("profiles", []))
    return built(InForce, {**_judged(content), "holds": holds, "profiles": profiles})


def write(paths: Paths, record: Record) -> None:
    """Replaces `status.json` atomically. A record that would be too large to be read again is
    shortened, and says so in `left_out`. Raises `HostError`, `NewerVersion`."""
    FORMAT.refuse_newer(paths.status)
    data = _fitting(paths, record)
    try:
        files.write(paths.status, data, durable=False)
    except HostError as error:
        if not (files.is_full(error) and paths.reserve.exists()):
            raise
        # The record matters more than the details in it: who fills the disk may do it again.
        release(paths)
        shorter = data if len(data) <= RESERVE else _data(_shortened(record, 10))
        files.write(paths.status, shorter, durable=False)


def _fitting(paths: Paths, record: Record) -> bytes:
    data = _data(record)
    for most in _MOST:
        if len(data) > FORMAT.limit:
            data = _data(_shortened(record, most))
    FORMAT.check_size(paths.status, data)
    return data


def _data(record: Record) -> bytes:
    return encode(record).encode(errors="backslashreplace")


def _worst(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The findings, those first that say most about the result."""
    return tuple(sorted(findings, key=lambda it: (not it.fatal, not it.degrades)))


def _shortened(record: Record, most: int) -> Record:
    """With at most so many entries in each list: the worst findings and values, the last attempts.
    What is applied stays."""
    values = record.values
    if values is not None:
        worst = sorted(values, key=lambda each: each.state == "verified")
        values = _brief(worst[:most], "expected", "found")
    in_force = record.in_force
    if in_force is not None:
        in_force = replace(in_force, findings=_worst(in_force.findings)[:most])
    shorter = replace(
        record,
        findings=_worst(record.findings)[:most],
        in_force=in_force,
        steps=record.steps[-most:],
        attempts=record.attempts[-most:],
        kernel_arguments=record.kernel_arguments[:most],
        values=values,
        handover=_brief(record.handover[:most], "before", "tuned", "after"),
        residue=_brief(record.residue[:most], "first", "applied", "after"),
    )
    left_out = dict(record.left_out)
    for name in ("findings", "steps", "attempts", "kernel_arguments", "values", "handover",
                 "residue"):  # fmt: skip
        number = len(getattr(record, name) or ()) - len(getattr(shorter, name) or ())
        if number:
            left_out[name] = left_out.get(name, 0) + number
    return replace(shorter, left_out=left_out)


def _brief(entries: Iterable[T], *names: str) -> tuple[T, ...]:
    """The entries, with only the beginning of each of these texts."""
    return tuple(
        replace(each, **{name: _cut(getattr(each, name)) for name in names}) for each in entries
    )


def _cut(text: str) -> str:
    return text if len(text) <= _CHARACTERS else text[:_CHARACTERS] + "…"


def reserve(paths: Paths) -> None:
    """Sets space aside: however full /run is at the end of a run, its record can be written. Raises
    `HostError`."""
    files.reserve(paths.reserve, RESERVE)


def release(paths: Paths) -> None:
    """Gives the space back. Raises `HostError`."""
    files.release(paths.reserve)


def withdraw(paths: Paths) -> None:
    """Removes the record of a run that is over, if it says that TuneD is running and cannot be
    replaced: none is better than that. Raises `HostError`."""
    last = read(paths)
    if last is not None and last.result is Result.APPLYING:
        files.remove_tree(paths.status)


def read(paths: Paths) -> Record | None:
    """The last run, or None. Raises `HostError` for a file that is no record."""
    FORMAT.refuse_newer(paths.status)
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
