"""The container in which TuneD keeps running (`mode = daemon`): which one it is, in `/run`, and
what systemd says of its unit.

A run removes each container of this program, before it and after it (ours.py). This one stays: it
belongs to ocp-tuned-daemon.service (daemon.py).
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace

from ocp_tuned_boot.errors import HostError, NewerVersion
from ocp_tuned_boot.host import files, systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import DAEMON
from ocp_tuned_boot.host.typedjson import Format, built

log = logging.getLogger(__name__)

FORMAT = Format(1, durable=False)


@dataclass(frozen=True)
class Staying:
    """The ID of the container, empty if there is none at the moment; the boot and the fingerprint
    of the profile that TuneD has applied in it."""

    container: str
    boot_id: str
    fingerprint: str


@dataclass(frozen=True)
class Supervised:
    """Properties of ocp-tuned-daemon.service (org.freedesktop.systemd1(5)). `pid`: its main
    process, 0 if there is none; `since`: when it became active; `restarts` after TuneD has
    exited."""

    state: str
    result: str
    pid: int
    since: str
    restarts: int

    @property
    def runs(self) -> bool:
        return self.state == "active"


def read(paths: Paths) -> Staying | None:
    """None if TuneD is not to run. A file that cannot be used is logged."""
    try:
        content = FORMAT.read(paths.daemon)
        content.pop("version")
        return built(Staying, content)
    except FileNotFoundError:
        return None
    except (NewerVersion, HostError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: ignoring the file: %s", paths.daemon, error)
        return None


def note(paths: Paths, staying: Staying) -> None:
    """TuneD runs in this container, and is to run in this boot. Raises `HostError`."""
    FORMAT.write(paths.daemon, asdict(staying))


def release(paths: Paths) -> None:
    """The container does not belong to the unit any more: the next run removes it. Raises
    `HostError`."""
    known = read(paths)
    if known is not None and known.container:
        note(paths, replace(known, container=""))


def forget(paths: Paths) -> None:
    """TuneD is not to run any more. Raises `HostError`."""
    with files.explained("remove", paths.daemon):
        paths.daemon.unlink(missing_ok=True)


def supervised() -> Supervised:
    """What systemd says of the unit now. Raises `HostError`."""
    names = ("ActiveState", "Result", "MainPID", "ActiveEnterTimestamp", "NRestarts")
    shown = systemd.properties([DAEMON], names)[DAEMON]
    state, result, pid, since, restarts = (shown.get(name, "") for name in names)
    return Supervised(state, result, _number(pid), since, _number(restarts))


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
