"""The one door to systemd: readiness and status (sdnotify), stored descriptors, and what is asked
over D-Bus (pystemd)."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdnotify import SystemdNotifier

from ocp_tuned_boot.errors import HostError, escaped
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths

if TYPE_CHECKING:
    from pystemd.dbuslib import DBus

log = logging.getLogger(__name__)

#: Our own.
UNIT = "ocp-tuned.service"
#: Holds the boot when that one was killed or did not start.
RETRY = "ocp-tuned-retry.service"
#: Units that run what the profile is for.
WORKLOADS = ("kubelet.service", "crio.service", "containerd.service", "microshift.service")
#: Units whose state tells whether the profile came in time, and who else tunes this node.
#: The host's own TuneD.
HOST_TUNED = "tuned.service"
NEIGHBOURS = (*WORKLOADS, HOST_TUNED)


# systemd ignores a message of more than 4096 bytes, READY=1 in it included (NOTIFY_BUFFER_MAX).
_LONGEST = 2000


class Notifier:
    """Sends sd_notify(3) messages. Without a notification socket every message is a no-op.

    A message that cannot be delivered is never an error of the run.
    """

    def __init__(self, *, in_unit: bool = False) -> None:
        """`in_unit`: this process is one of the unit's, see `is_own_process`."""
        self._held = ""
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._notifier = _connected() if self._address else None

        #: Whether systemd takes open files from this process. It does not say so if it does not.
        self.in_unit = in_unit and bool(self._address)

    def status(self, text: str, extend: float | None = None) -> None:
        """Sets the text in `systemctl status`; `extend` asks for that many more seconds."""
        lines = [f"STATUS={_one_line(self._held or text)}"]
        if extend is not None and not _is_stopping():
            lines.append(f"EXTEND_TIMEOUT_USEC={int(extend * 1_000_000)}")
        self._send(lines)

    def hold(self, text: str) -> None:
        """This text stays, whatever is done meanwhile, until READY=1; an empty one lets go."""
        self._held = text

    def ready(self, text: str) -> None:
        """READY=1: whoever waits for this unit may start now."""
        self._held = ""
        self._send(["READY=1", f"STATUS={_one_line(text)}"])

    def store(self, name: str, opened: int) -> None:
        """Gives an open file to the unit's descriptor store, under this name. The caller's own
        descriptor is the caller's to close."""
        # FDPOLL=0: systemd drops what its poll reports an error of, a socket among it.
        self._pass(["FDSTORE=1", f"FDNAME={name}", "FDPOLL=0"], opened)

    def discard(self, name: str) -> None:
        """Has systemd close what it stores under this name, if it stores anything."""
        self._pass(["FDSTOREREMOVE=1", f"FDNAME={name}"])

    def barrier(self, seconds: float) -> bool:
        """Waits until systemd has taken notice of all that was sent before (sd_notify_barrier(3)),
        and says whether it has, in this time."""
        ours, theirs = os.pipe()
        try:
            try:
                sent = self._pass(["BARRIER=1"], theirs)
            finally:
                os.close(theirs)
            poll = select.poll()
            poll.register(ours, 0)  # the end is always reported
            return sent and bool(poll.poll(seconds * 1000))
        finally:
            os.close(ours)

    def _pass(self, lines: Sequence[str], *opened: int) -> bool:
        """What sdnotify cannot: a message with descriptors. Says whether it was sent."""
        if not self.in_unit:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.connect(self._address.replace("@", "\0", 1))
                socket.send_fds(manager, ["\n".join(lines).encode()], list(opened))
        except OSError as error:
            log.warning("systemd cannot be told %s: %s", lines[0], error)
            return False
        return True

    def _send(self, lines: Sequence[str]) -> None:
        if self._notifier is not None:
            # sdnotify encodes as Latin-1 and drops, silently, a message that does not fit:
            # hand it the bytes of the UTF-8 text in that disguise.
            try:
                self._notifier.notify("\n".join(lines).encode().decode("latin-1"))
            except OSError as error:
                log.debug("systemd cannot be told %s: %s", lines[0], error)


def _is_stopping() -> bool:
    """Whether SIGTERM has arrived: from then on it is ignored (cli.py). systemd must not be asked
    for more time then, or a stop might take as long as a run."""
    return signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def _connected() -> SystemdNotifier | None:
    # With debug, sdnotify raises what goes wrong; without, it catches everything, and a signal that
    # interrupts it (`Interrupted`) would be gone.
    try:
        return SystemdNotifier(debug=True)
    except OSError as error:
        log.debug("systemd cannot be told anything: %s", error)
        return None


def _one_line(text: str) -> str:
    line = escaped(" ".join(text.split())).encode()
    if len(line) > _LONGEST:
        line = line[:_LONGEST] + "…".encode()
    return line.decode(errors="ignore")


def is_own_process(paths: Paths) -> bool:
    """Whether this process is one of ocp-tuned.service's, by its control group: with a notification
    socket of another unit systemd does not listen to it for ours."""
    try:
        groups = files.read(paths.own_cgroup).decode(errors="replace")
    except (FileNotFoundError, HostError):
        return False
    return any(UNIT in line.split("/") for line in groups.splitlines())


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
    states = {}
    with suppress(HostError), _bus() as bus:
        from pystemd.systemd1 import Unit  # noqa: PLC0415

        for name in names:
            with Unit(name.encode(), bus=bus) as unit:
                if unit.Unit.LoadState == b"loaded":
                    states[name] = unit.Unit.ActiveState.decode()
    return states


@dataclass(frozen=True)
class Stored:
    """The open files that systemd holds for a unit; their `names` are None where it does not tell
    them (before version 254)."""

    count: int
    names: tuple[str, ...] | None = None

    def __str__(self) -> str:
        counted = f"{self.count} open file{'s' * (self.count != 1)}"
        return f"{counted} ({', '.join(self.names)})" if self.names else counted


def stored(name: str) -> Stored | None:
    """What systemd holds for a unit, or None where it cannot be asked."""
    with suppress(HostError), _bus() as bus:
        from pystemd.systemd1 import Manager, Unit  # noqa: PLC0415

        with Unit(name.encode(), bus=bus) as unit:
            count = int(unit.Service.NFileDescriptorStore)
        if not count:
            return Stored(0)
        with Manager(bus=bus) as manager:
            if "DumpUnitFileDescriptorStore" not in manager.Manager.methods:
                return Stored(count)
            found = manager.Manager.DumpUnitFileDescriptorStore(name.encode())
            return Stored(count, tuple(sorted(each[0].decode() for each in found)))
    return None


def reload(name: str) -> None:
    """Queues the reload of a unit. Raises `HostError`."""
    with _bus() as bus:
        from pystemd.systemd1 import Manager  # noqa: PLC0415

        with Manager(bus=bus) as manager:
            manager.Manager.ReloadUnit(name.encode(), b"replace")


def stop(name: str) -> None:
    """Queues the stop of a unit. Raises `HostError`."""
    with _bus() as bus:
        from pystemd.systemd1 import Manager  # noqa: PLC0415

        with Manager(bus=bus) as manager:
            manager.Manager.StopUnit(name.encode(), b"replace")


def reset_failed(name: str) -> None:
    """Has systemd forget that a unit failed. Raises `HostError`."""
    with _bus() as bus:
        from pystemd.systemd1 import Manager  # noqa: PLC0415

        with Manager(bus=bus) as manager:
            manager.Manager.ResetFailedUnit(name.encode())


@contextmanager
def _bus() -> Iterator[DBus]:
    """The system's bus. Raises `HostError` for whatever goes wrong with it."""
    # Imported here: it takes as long as a whole kept run.
    from pystemd.dbusexc import DBusBaseError  # noqa: PLC0415
    from pystemd.dbuslib import DBus  # noqa: PLC0415

    try:
        with DBus() as bus:
            yield bus
    except DBusBaseError as error:
        log.debug("systemd cannot be asked: %s", error)
        raise HostError(f"systemd cannot be asked: {error}") from error
