"""The metrics of this boot in a file for node_exporter (`[metrics] textfile` in boot.conf).

Written after each run, when it is recorded, and by `drift`. Of a run that has applied a profile,
READY=1 was sent before. A failure is a warning: it changes no result. node_exporter serves the file
of the boot before until then, so it contains when its kernel was started; in the usual folders,
systemd-tmpfiles removes it at boot (packaging/tmpfiles.conf).
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ocp_tuned_boot.errors import BootError, Busy, HostError, defects
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.lock import locked
from ocp_tuned_boot.requested import config

if TYPE_CHECKING:
    from ocp_tuned_boot.record.metrics import Looked, Supervised
    from ocp_tuned_boot.record.model import Record
    from ocp_tuned_boot.settings.drift import Drift

log = logging.getLogger(__name__)


@contextmanager
def after(paths: Paths, config_file: Path | None) -> Iterator[None]:
    """Writes the metrics at the end of the block, however it ends."""
    try:
        yield
    finally:
        write(paths, config_file)


def write(paths: Paths, config_file: Path | None, drift: Drift | None = None) -> None:
    """Writes the metrics, if boot.conf says where and there is a record of this boot. `drift`: what
    was found just now; the settings are compared if it is None. A failure is logged."""
    try:
        with defects():
            name = config.textfile(paths, config_file)
            if name:
                _write(paths, config_file, _below(paths, name), drift)
    except BootError as error:
        log.warning("the metrics are not written: %s", error)


def write_drift(paths: Paths, config_file: Path | None, drift: Drift) -> None:
    """Writes the metrics with what `drift` has found, unless a run is active: it writes them at its
    end."""
    if config.textfile(paths, config_file):
        with suppress(Busy, HostError), locked(paths, 0.0):
            write(paths, config_file, drift)


def remove(paths: Paths, config_file: Path | None) -> None:
    """Removes the file: the program is removed. Raises `HostError`."""
    from ocp_tuned_boot.host import files  # noqa: PLC0415

    if name := config.textfile(paths, config_file):
        files.release(_below(paths, name))


def _below(paths: Paths, name: str) -> Path:
    return paths.root / name.lstrip("/")


def _write(paths: Paths, config_file: Path | None, path: Path, drift: Drift | None) -> None:
    """Raises `BootError`."""
    from ocp_tuned_boot.host import exposition, files  # noqa: PLC0415  # most nodes have no such file
    from ocp_tuned_boot.record import metrics, store  # noqa: PLC0415
    from ocp_tuned_boot.requested import inputs  # noqa: PLC0415

    boot_id = inputs.boot_id(paths)
    done = store.of_this_boot(paths, boot_id)
    if done is None:
        return
    looked = _looked(paths, config_file, done, drift)
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    text = exposition.text(metrics.gauges(done, booted, looked, _daemon(paths)))
    try:
        # It is written again after a power cut, and the disk is not waited for.
        files.write(path, text.encode(), durable=False)
    except HostError as error:
        raise _explained(error, path) from error


def _looked(
    paths: Paths, config_file: Path | None, done: Record, drift: Drift | None
) -> Looked | None:
    """The settings that have changed, as of now; None if they cannot be compared."""
    from ocp_tuned_boot.record.metrics import Looked  # noqa: PLC0415
    from ocp_tuned_boot.settings import drift as drifting  # noqa: PLC0415

    if drift is None and done.in_force is not None and done.in_force.compared:
        # If boot.conf cannot be read, the result of the run says so.
        with suppress(BootError):
            drift = drifting.look(paths, config.load(paths, config_file).handover)
    if drift is None:
        return None
    others = len(drift.unexpected)
    return Looked(time.time(), others, len(drift.drifted) - others)


def _daemon(paths: Paths) -> Supervised | None:
    from ocp_tuned_boot.record.metrics import Supervised  # noqa: PLC0415

    if paths.daemon.exists():
        from ocp_tuned_boot.tuned import staying  # noqa: PLC0415  # only with mode = daemon

        with suppress(HostError):
            found = staying.supervised()
            return Supervised(found.runs, found.restarts)
    return None


def _explained(error: HostError, path: Path) -> HostError:
    """With what to do about it: the folder belongs to node_exporter, and the unit may write only
    where it is allowed to."""
    cause = error.__cause__
    number = cause.errno if isinstance(cause, OSError) else 0
    hints = {
        errno.ENOENT: f"Create the folder {path.parent}, which node_exporter reads, or change "
                      "[metrics] textfile in boot.conf.",
        errno.EROFS: f"If {path.parent} can be written, the sandbox of the unit forbids it. Allow "
                     f"it with ReadWritePaths={path.parent} in a drop-in for ocp-tuned.service and "
                     "ocp-tuned-notice.service.",
        errno.EACCES: f"The folder {path.parent} must belong to root.",
    }  # fmt: skip
    return HostError(error.message, hints.get(number or 0, error.hint))
