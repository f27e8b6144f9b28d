"""What the host has recorded in /run, which the agent only reads. It is read again when it has
changed."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from ocp_tuned_boot.errors import HostError, NewerVersion
from ocp_tuned_boot.host import userspace
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record import store
from ocp_tuned_boot.record.model import Record
from ocp_tuned_boot.settings import drift
from ocp_tuned_boot.settings.drift import Drifted
from ocp_tuned_boot.tuned.judge import Result

#: How long a run may take until it is told that it is active (seconds). Before that, the cluster is
#: told what was known: a reload of a second is not worth two changes of a condition.
PATIENCE = 60.0

_NONE = "ocp-tuned-boot has not run in this boot yet, or it is not installed on this node."
_OTHER = "User space was started again, and ocp-tuned-boot has not run since: its record is older."
_NEWER = "A later release of ocp-tuned-boot runs on this node than this agent knows: {}"


@dataclass(frozen=True)
class Recorded:
    """The record of this boot, or in `unknown` why there is none; and the settings that had changed
    when `ocp-tuned-boot drift` was last run."""

    record: Record | None = None
    unknown: str = ""
    drifted: tuple[Drifted, ...] = ()

    @property
    def is_fresh(self) -> bool:
        """Whether this says that a run is active."""
        return self.record is not None and self.record.result is Result.APPLYING


class Reader:
    """Reads it whenever it has changed."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._signature: object = None
        self._last = Recorded(unknown=_NONE)

    def look(self) -> Recorded:
        """What is recorded now."""
        signature = [_signed(path) for path in (self._paths.status, self._paths.drift,
                                                self._paths.restarts)]  # fmt: skip
        if signature == self._signature and not self._last.is_fresh:
            return self._last
        found = read(self._paths)
        if found.is_fresh and not self._is_old():
            return self._last
        self._signature, self._last = signature, found
        return found

    def _is_old(self) -> bool:
        try:
            return time.time() - self._paths.status.stat().st_mtime > PATIENCE
        except OSError:
            return False


def read(paths: Paths) -> Recorded:
    """What is recorded now. Never raises: why there is no record is a part of it.

    The record is in /run, which is empty after a reboot: it is older than the present boot only if
    user space was started again without one. The boot ID that a pod sees may be another one.
    """
    try:
        last = store.read(paths)
        boot_id = _boot_id(paths, last) if last is not None else ""
    except NewerVersion as error:
        return Recorded(unknown=_NEWER.format(error.message))
    except (HostError, FileNotFoundError) as error:
        return Recorded(unknown=str(error))
    if last is None:
        return Recorded(unknown=_NONE)
    if not store.is_of(last, boot_id):
        return Recorded(unknown=_OTHER)
    return Recorded(last, drifted=drift.recorded(paths, boot_id))


def _boot_id(paths: Paths, last: Record) -> str:
    """The ID that a record of now has. Raises `HostError`."""
    recorded_id = last.in_force.boot_id if last.in_force is not None else last.boot_id
    return userspace.named(userspace.kernel_of(recorded_id), paths)


def _signed(path: os.PathLike[str]) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return (found.st_ino, found.st_mtime_ns, found.st_size)
