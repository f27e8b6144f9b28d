"""What was done in the last boots: `/var/lib/ocp-tuned-boot/history/`, a file for each boot.

A number before the boot ID gives the order: a clock may be wrong at boot.
"""

from __future__ import annotations

import logging
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ocp_tuned_boot.errors import HostError, NewerVersion
from ocp_tuned_boot.host import files, machine
from ocp_tuned_boot.host.clock import Step
from ocp_tuned_boot.host.machine import OtherMachine
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.typedjson import Format, built, many, texts, typed
from ocp_tuned_boot.record.model import Moments, Record

log = logging.getLogger(__name__)

FORMAT = Format(1)
#: The number of boots that are kept.
BOOTS = 10
#: The number of runs that are kept of one boot: the first one, and the last ones.
RUNS = 20
#: The number of steps that are kept of one run, the last ones: each attempt has its own.
STEPS = 100

_NAME = re.compile(r"(\d{6,})-([0-9a-fA-F-]{1,64}(?:\+\d+)?)\.json")


@dataclass(frozen=True)
class Run:
    """One run: `Record`'s fields of these names, and its summary."""

    started: str
    action: str
    reason: str
    result: str
    profile: str
    image: str
    image_id: str
    fingerprint: str
    seconds: float
    summary: str
    #: As in `Record`; an earlier release did not keep these.
    steps: tuple[Step, ...] = ()
    moments: Moments | None = None
    early: tuple[Step, ...] = ()
    late: tuple[str, ...] = ()


@dataclass(frozen=True)
class Boot:
    """The runs of one boot, oldest first."""

    boot_id: str
    runs: tuple[Run, ...]


def read(paths: Paths) -> tuple[Boot, ...]:
    """The last boots, oldest first. A file that cannot be read is left out, and logged."""
    boots = []
    for _, boot_id, path in _files(paths):
        try:
            boots.append(Boot(boot_id, _runs(paths, path)))
        except HostError as error:
            log.warning("%s", error)
    return tuple(boots)


def of_boot(paths: Paths, boot_id: str) -> tuple[Run, ...]:
    """The runs of one boot, oldest first. None if they are not known, or cannot be read."""
    try:
        return next(
            (_runs(paths, path) for _, known, path in _files(paths) if known == boot_id), ()
        )
    except HostError as error:
        log.debug("%s", error)
        return ()


def remember(paths: Paths, done: Record) -> None:
    """As `add`, for a run whose result does not depend on it: a failure is logged."""
    try:
        if done.boot_id:
            add(paths, done)
    except HostError as error:
        log.warning("%s", error)


def add(paths: Paths, done: Record) -> None:
    """Adds a run to its boot's file, and removes those of the oldest boots and of other machines.
    Raises `HostError`."""
    known = _files(paths)
    mine = next((path for _, boot_id, path in known if boot_id == done.boot_id), None)
    runs: tuple[Run, ...] = ()
    if mine is None:
        number = known[-1][0] + 1 if known else 1
        mine = paths.history / f"{number:06}-{done.boot_id}.json"
    else:
        try:
            runs = _runs(paths, mine)
        except NewerVersion:
            raise
        except HostError as error:
            log.warning("%s", error)
    runs = (*runs, run_of(done))
    if len(runs) > RUNS:
        runs = (runs[0], *runs[1 - RUNS :])
    files.directory(paths.history, paths.root)
    content = machine.named(paths, {"runs": [asdict(run) for run in runs]})
    FORMAT.write(mine, content, cut="runs")
    boots = [path for _, _, path in _files(paths)]
    foreign = [path for path in boots if _is_foreign(paths, path)]
    ours = [path for path in boots if path not in foreign]
    for path in (*foreign, *ours[:-BOOTS]):
        with files.explained("remove", path):
            path.unlink(missing_ok=True)


def _files(paths: Paths) -> list[tuple[int, str, Path]]:
    """Number, boot ID and path of each file of ours, by number."""
    matches = ((_NAME.fullmatch(path.name), path) for path in paths.history.glob("*.json"))
    return sorted((int(match[1]), match[2], path) for match, path in matches if match)


def _is_foreign(paths: Paths, path: Path) -> bool:
    try:
        _runs(paths, path)
    except OtherMachine:
        return True
    except HostError:
        pass
    return False


def run_of(done: Record) -> Run:
    """What is kept of a run."""
    return Run(
        done.started, done.action, done.reason, done.result.value, done.profile, done.image,
        done.image_id, done.fingerprint, done.seconds, done.summary(), done.steps[-STEPS:],
        done.moments, done.early[-STEPS:], done.late,
    )  # fmt: skip


def _runs(paths: Paths, path: Path) -> tuple[Run, ...]:
    try:
        content = FORMAT.read(path)
        machine.check(paths, content, path)
        return tuple(_decoded(each) for each in typed(list, content["runs"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HostError(f"{path}: found no history of a boot, expected one: {error}") from error


def _decoded(content: Any) -> Run:
    moments = content.get("moments")
    return built(
        Run,
        {
            **content,
            "steps": many(Step, content.get("steps", [])),
            "moments": None if moments is None else built(Moments, moments),
            "early": many(Step, content.get("early", [])),
            "late": texts(content.get("late", [])),
        },
    )
