"""`status.json`: what happened in this boot, written atomically, for people and for agents."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from typing import Any, TypeVar

from ocp_tuned_boot import __version__
from ocp_tuned_boot.errors import HostError, NewerVersion, escaped_json
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.progress import Step
from ocp_tuned_boot.record.conditions import conditions
from ocp_tuned_boot.settings.values import Value
from ocp_tuned_boot.tuned.findings import Finding
from ocp_tuned_boot.tuned.judge import Result

#: Raised when the meaning of a field changes; a newer file is refused, not guessed at.
VERSION = 1
# Of a record that would be too large.
_FEW = 100


@dataclass(frozen=True)
class Hold:
    """What systemd is to keep open: for `force_latency`, `value` is in microseconds and `asked` as
    the profile has it; for `rtentsk`, `value` is the link in /proc/1/fd. `since` (UTC) it was given
    to systemd; empty if it was not."""

    kind: str
    asked: str = ""
    value: str = ""
    since: str = ""


@dataclass(frozen=True)
class InForce:
    """What TuneD has put in force; written after it was judged, dropped before it runs again.

    `holds`: what is to be held for it. Whether it is, only systemd and the kernel can tell.
    """

    boot_id: str
    result: Result
    profile: str
    image: str
    image_id: str
    fingerprint: str
    since: str
    findings: tuple[Finding, ...] = ()
    holds: tuple[Hold, ...] = ()


@dataclass(frozen=True)
class Attempt:
    """An attempt that failed, `at` so many seconds after the start, and was followed by another."""

    at: float
    kind: str
    message: str


@dataclass(frozen=True)
class Deferred:
    """What is asked for and not in force: it waits for the next boot or a reload. `waits` is a
    `plan.Waits`; `since` when it was first seen."""

    waits: str
    fingerprint: str
    profile: str
    image: str
    since: str


@dataclass(frozen=True)
class Handed:
    """One file of the hand-over list that this run had to do with.

    `how`: `left-out` of the run; `put-back` after it; `lost`: it could not be put back. `before`
    the run, what `tuned` has or would have made of it, and `after`, as it is now.
    """

    key: str
    how: str
    before: str
    tuned: str
    after: str


@dataclass(frozen=True)
class Residue:
    """A setting that the profile before named and this one does not.

    `how`: `put-back` to its first value; `theirs`: somebody else has changed it since, or owns it
    by the hand-over list; `refused`: the kernel does not take the first value back.
    """

    key: str
    how: str
    first: str
    applied: str
    after: str


@dataclass(frozen=True)
class Record:
    """The last run. Times are UTC (RFC 3339) or seconds; fields not reached are empty."""

    result: Result
    started: str
    boot_id: str = ""
    action: str = ""
    reason: str = ""
    profile: str = ""
    image: str = ""
    image_id: str = ""
    contract: str = ""
    fingerprint: str = ""
    findings: tuple[Finding, ...] = ()
    steps: tuple[Step, ...] = ()
    seconds: float = 0.0
    units: dict[str, str] = field(default_factory=dict)
    #: What the profile asks for on the kernel's command line (TuneD's bootcmdline).
    kernel_arguments: tuple[str, ...] = ()
    #: Attempts that failed before the one that the result is of.
    attempts: tuple[Attempt, ...] = ()
    #: What was read back from the host afterwards; None where that was not done.
    values: tuple[Value, ...] | None = None
    in_force: InForce | None = None
    #: The workloads that already ran when a profile was first to be applied in this boot.
    late: tuple[str, ...] = ()
    deferred: Deferred | None = None
    #: What others own by now, and what a guarded run had to do with it.
    handover: tuple[Handed, ...] = ()
    #: What the profile before had set and this one does not name.
    residue: tuple[Residue, ...] = ()
    #: Where the image was had: store, registry, archive or last-good.
    image_source: str = ""

    def summary(self) -> str:
        """One line for `systemctl status`."""
        return " ".join(self._sentence().split())

    def _sentence(self) -> str:
        told = [finding for finding in self.findings if finding.degrades]
        worst = f": {told[0].message}" if told else ""
        more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
        if self.result is Result.APPLYING:
            return f"Unfinished: TuneD is applying {self.profile}, or was cut off in doing so"
        if self.result is Result.FAILED:
            advice = f"; {told[0].advice}" if told and told[0].advice else ""
            return f"Failed{worst}{more}{advice}"
        if self.result is Result.DEFERRED:
            return f"Deferred: {self.profile} waits for the next boot or a reload: {self.reason}"
        word = "Applied" if self.result is Result.APPLIED else "Degraded"
        if self.in_force is not None and self.action != "apply":
            kept = f"{word}: {self.in_force.profile}, kept as it is since {self.in_force.since}"
            return f"{kept}{worst}{more}{self._waiting()}"
        late = f"; late: {', '.join(self.late)} already ran" if self.late else ""
        return f"{word}: {self.profile} in {self.seconds:.2f} s{worst}{more}{late}"

    def _waiting(self) -> str:
        if self.deferred is None:
            return ""
        what = "image" if self.deferred.waits == "image" else "profile"
        asked = getattr(self.deferred, what)
        if self.in_force is not None and getattr(self.in_force, what) == asked:
            return f"; {what} {asked} has other contents: it waits for the next boot or a reload"
        return f"; another {what} waits for the next boot or a reload: {asked}"


def now() -> str:
    """The time in UTC, as a record carries it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_json(record: Record) -> str:
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


def from_json(text: str, where: str) -> Record:
    """Raises `HostError` for what this version did not write, `NewerVersion` for what a later one
    did."""
    try:
        content: dict[str, Any] = files.from_json(text)
        check_version(content.pop("version"), VERSION, where)
        content.pop("program")
        content.pop("conditions")
        values, in_force = content.pop("values"), content.pop("in_force")
        # What an earlier release did not know yet is not there, what a later one has added is
        # passed over: neither an upgrade nor a downgrade must make us forget what is in force.
        late, deferred = content.pop("late", []), content.pop("deferred", None)
        return built(
            Record,
            {
                **_judged(content),
                "kernel_arguments": tuple(
                    _typed(str, each) for each in _typed(list, content.pop("kernel_arguments"))
                ),
                "units": {name: _typed(str, state) for name, state in content["units"].items()},
                "steps": many(Step, content.pop("steps")),
                "attempts": many(Attempt, content.pop("attempts")),
                "values": None if values is None else many(Value, values),
                "in_force": None if in_force is None else _in_force(in_force),
                "late": tuple(_typed(str, each) for each in _typed(list, late)),
                "deferred": None if deferred is None else built(Deferred, deferred),
                "handover": many(Handed, content.pop("handover", [])),
                "residue": many(Residue, content.pop("residue", [])),
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HostError(f"{where}: found no record of a run, expected one: {error}") from error


def check_version(found: object, expected: int, where: str) -> None:
    """Raises `NewerVersion` for that of a later release, `ValueError` for any other but the one
    expected."""
    if isinstance(found, int) and found > expected:
        raise NewerVersion(where, found, expected)
    if found != expected:
        raise ValueError(f"found version {found}, expected {expected}")


T = TypeVar("T")
# By the annotations of the fields, which are text.
_TYPES = {"str": str, "float": (int, float), "bool": bool}


def _typed(kind: type[T], value: Any) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"found {value!r}, expected a {kind.__name__}")
    return value


def built(kind: type[T], content: dict[str, Any]) -> T:
    """A dataclass of these fields, each of the type it is declared with; others are passed over.
    Raises `TypeError`, `AttributeError`."""
    names = {field_.name for field_ in fields(kind)}  # type: ignore[arg-type]
    made = kind(**{name: value for name, value in content.items() if name in names})
    for field_ in fields(made):  # type: ignore[arg-type]
        expected = _TYPES.get(str(field_.type))
        if expected and not isinstance(getattr(made, field_.name), expected):  # type: ignore[arg-type]
            raise TypeError(f"{field_.name} is no {field_.type}")
    return made


def many(kind: type[T], content: Any) -> tuple[T, ...]:
    """`built`, of each in a list."""
    return tuple(built(kind, each) for each in _typed(list, content))


def _judged(content: dict[str, Any]) -> dict[str, Any]:
    """Result and findings brought back, which a record and what is in force both have."""
    result, found = Result(content["result"]), many(Finding, content["findings"])
    return {**content, "result": result, "findings": found}


def _in_force(content: dict[str, Any]) -> InForce:
    holds = many(Hold, content.pop("holds", []))
    return built(InForce, {**_judged(content), "holds": holds})


def write(paths: Paths, record: Record) -> None:
    """Replaces `status.json` atomically. Raises `HostError`."""
    text = to_json(record).encode(errors="backslashreplace")
    if len(text) > files.LIMIT:
        # It has to be readable: what was counted only, and then what goes on without end, goes.
        few = replace(
            record,
            values=None,
            kernel_arguments=record.kernel_arguments[:_FEW],
            handover=record.handover[:_FEW],
            residue=record.residue[:_FEW],
        )
        text = to_json(few).encode(errors="backslashreplace")
    files.write(paths.status, text)


def read(paths: Paths) -> Record | None:
    """The last run of this boot, or None. Raises `HostError` for a file that is no record."""
    try:
        text = files.read(paths.status).decode(errors="replace")
    except FileNotFoundError:
        return None
    return from_json(text, str(paths.status))
