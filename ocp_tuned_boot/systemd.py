"""The one door to systemd: readiness and status (sdnotify), states of units (pystemd)."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sdnotify import SystemdNotifier

from ocp_tuned_boot.paths import Paths

log = logging.getLogger(__name__)

#: Units that run what the profile is for.
WORKLOADS = ("kubelet.service", "crio.service", "containerd.service", "microshift.service")
#: Units whose state tells whether the profile came in time, and who else tunes this node.
NEIGHBOURS = (*WORKLOADS, "tuned.service")


# systemd ignores a message of more than 4096 bytes, READY=1 in it included (NOTIFY_BUFFER_MAX).
_LONGEST = 2000


class Notifier:
    """Sends sd_notify(3) messages. Without a notification socket every message is a no-op.

    A message that cannot be delivered is never an error of the run.
    """

    def __init__(self) -> None:
        self._held = ""
        self._notifier = SystemdNotifier() if os.environ.get("NOTIFY_SOCKET") else None

    def status(self, text: str, extend: float | None = None) -> None:
        """Sets the text in `systemctl status`; `extend` asks for that many more seconds."""
        lines = [f"STATUS={_one_line(self._held or text)}"]
        if extend is not None:
            lines.append(f"EXTEND_TIMEOUT_USEC={int(extend * 1_000_000)}")
        self._send(lines)

    def hold(self, text: str) -> None:
        """This text stays, whatever is done meanwhile, until READY=1; an empty one lets go."""
        self._held = text

    def ready(self, text: str) -> None:
        """READY=1: whoever waits for this unit may start now."""
        self._held = ""
        self._send(["READY=1", f"STATUS={_one_line(text)}"])

    def _send(self, lines: Sequence[str]) -> None:
        if self._notifier is not None:
            # sdnotify encodes as Latin-1 and drops, silently, a message that does not fit:
            # hand it the bytes of the UTF-8 text in that disguise.
            self._notifier.notify("\n".join(lines).encode().decode("latin-1"))


def _one_line(text: str) -> str:
    line = " ".join(text.split()).encode()
    if len(line) > _LONGEST:
        line = line[:_LONGEST] + "…".encode()
    return line.decode(errors="ignore")


def running(paths: Paths, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the units that have processes, by their control groups (cgroups(7)).

    The kernel answers this in no time, and a boot waits for the answer; to ask systemd over D-Bus
    takes as long as a whole run that keeps everything.
    """
    found = []
    for name in names:
        groups = [*paths.cgroups.glob(f"*.slice/{name}")]
        # Hosts with version 1 have systemd's own hierarchy beside the others.
        groups += paths.cgroups.glob(f"systemd/*.slice/{name}")
        if any(_populated(group) for group in groups):
            found.append(name)
    return tuple(found)


def _populated(group: Path) -> bool:
    for file, sign in (("cgroup.events", "populated 1"), ("cgroup.procs", "\n")):
        with suppress(OSError):
            return sign in (group / file).read_text()
    return False


def unit_states(names: Sequence[str]) -> dict[str, str]:
    """The `ActiveState` of each unit that systemd knows (org.freedesktop.systemd1(5)).

    Empty where there is no systemd to ask: this informs people, nothing is decided by it.
    """
    # Imported here: it takes as long as a whole kept run.
    from pystemd.dbusexc import DBusBaseError  # noqa: PLC0415
    from pystemd.dbuslib import DBus  # noqa: PLC0415
    from pystemd.systemd1 import Unit  # noqa: PLC0415

    states = {}
    try:
        with DBus() as bus:
            for name in names:
                with Unit(name.encode(), bus=bus) as unit:
                    if unit.Unit.LoadState == b"loaded":
                        states[name] = unit.Unit.ActiveState.decode()
    except DBusBaseError as error:
        log.debug("systemd cannot be asked: %s", error)
    return states
