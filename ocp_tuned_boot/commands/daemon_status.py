"""TuneD where it keeps running (`mode = daemon`), as systemd sees it now. Read only."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from ocp_tuned_boot.commands.terminal import Row, Style
from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import DAEMON
from ocp_tuned_boot.tuned import staying
from ocp_tuned_boot.tuned.staying import Supervised

log = logging.getLogger(__name__)

_START = "The settings remain. To start it: systemctl reload-or-restart ocp-tuned"


def look(paths: Paths) -> Supervised | None:
    """None if TuneD is not to keep running, or if systemd does not answer."""
    if staying.read(paths) is None:
        return None
    try:
        return staying.supervised()
    except HostError as error:
        log.debug("%s", error)
        return None


def rows(found: Supervised | None) -> Iterator[Row]:
    """One line, with what to type."""
    if found is None:
        return
    again = f"; restarted {found.restarts} time{'s' * (found.restarts != 1)}"
    if found.runs:
        words = f"TuneD runs since {found.since}{again if found.restarts else ''}"
        yield Row(words, "daemon", Style.WARNING if found.restarts else Style.PLAIN)
    elif found.state in ("activating", "reloading"):
        yield Row(f"TuneD is being started{again if found.restarts else ''}", "daemon")
    elif found.state == "failed":
        often = f" and was restarted {found.restarts} times" if found.restarts else ""
        words = f"TuneD does NOT run: it has exited{often}, see journalctl -b -u {DAEMON}. {_START}"
        yield Row(words, "daemon", Style.BAD)
    else:
        yield Row(f"TuneD does NOT run: {DAEMON} is {found.state}. {_START}", "daemon", Style.BAD)
