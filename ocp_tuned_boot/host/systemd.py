"""The only door to systemd: readiness and status (sdnotify), stored descriptors, and requests over
D-Bus (pystemd). What TuneD waits for is requested with systemctl(1), which reaches systemd also if
D-Bus does not answer."""

from __future__ import annotations

import logging
import os
import re
import select
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocp_tuned_boot.errors import HostError, escaped
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths

if TYPE_CHECKING:
    from pystemd.dbuslib import DBus
    from sdnotify import SystemdNotifier

log = logging.getLogger(__name__)

#: The unit of this program.
UNIT = "ocp-tuned.service"
#: Active once everything that TuneD has to follow is there.
GO = "ocp-tuned-go.service"
#: Holds the boot if ocp-tuned.service was killed or did not start.
RETRY = "ocp-tuned-retry.service"
#: Records what has changed; this starts it anew.
NOTICE = "ocp-tuned-restart@notice.service"
#: TuneD, where it keeps running (`mode = daemon`).
DAEMON = "ocp-tuned-daemon.service"
#: Pulls the requested image while workloads run.
IMAGE = "ocp-tuned-image.service"
#: Kubelets and container engines: they run the workloads for which the profile is applied. The unit
#: files and the man page have the same list. For others of a site: `workloads`.
WORKLOADS = (
    "kubelet.service", "crio.service", "containerd.service", "microshift.service",
    "k3s.service", "k3s-agent.service", "rke2-server.service", "rke2-agent.service",
    "k0sworker.service", "k0scontroller.service", "snap.microk8s.daemon-kubelite.service",
    "docker.service", "cri-docker.service",
)  # fmt: skip
#: The host's own TuneD.
HOST_TUNED = "tuned.service"

_SYSTEMCTL = "/usr/bin/systemctl"
# The longest time that systemd may take to answer a question (seconds).
_ANSWER = 5.0

# systemd ignores a message of more than 4096 bytes, READY=1 in it included (NOTIFY_BUFFER_MAX).
_LONGEST = 2000

# A service that does not answer is looked at so often, with so many seconds in between. systemd
# starts a Podman that fails about five times a second.
_LOOKS, _BETWEEN = 80, 0.05
_STARTS = 2
# How long the journal may take to answer (seconds).
_JOURNAL = 2.0

# The lines of systemctl list-jobs --before: a job, and below it those for which it waits.
_JOB = re.compile(r"\s*\d+\s+(?P<unit>\S+)\s+(?P<kind>\S+)\s+(?P<state>running|waiting)\s*$")
_WAITS = re.compile(r"waiting for job \d+ \((?P<unit>\S+)/\S+\)")


class Notifier:
    """Sends sd_notify(3) messages. Without a notification socket nothing is sent.

    A message that cannot be sent is logged; it is not an error of the run.
    """

    def __init__(self, *, in_unit: bool = False) -> None:
        """`in_unit`: whether this process belongs to the unit, see `is_own_process`."""
        self._held = ""
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._notifier = _connected() if self._address else None
        #: Whether systemd stores descriptors of this process. It ignores those of others silently.
        self.in_unit = in_unit and bool(self._address)

    def status(self, text: str, extend: float | None = None) -> None:
        """Sets the text in `systemctl status`. `extend`: the time-out, from now on (seconds)."""
        lines = [f"STATUS={_one_line(self._held or text)}"]
        if extend is not None and not _is_stopping():
            lines.append(f"EXTEND_TIMEOUT_USEC={int(extend * 1_000_000)}")
        self._send(lines)

    def hold(self, text: str) -> None:
        """Shows this text instead of any other until READY=1. An empty text releases it."""
        self._held = text

    def ready(self, text: str) -> None:
        """Sends READY=1 with this status: units ordered after this one start now."""
        self._held = ""
        self._send(["READY=1", f"STATUS={_one_line(text)}"])

    def ready_for(self, pid: int, text: str) -> None:
        """READY=1 with another process as the main process of the unit (sd_notify(3), MAINPID=).
        Returns when systemd has read it: the sender may exit then."""
        self._send([f"MAINPID={pid}", "READY=1", f"STATUS={_one_line(text)}"])
        self.barrier(_ANSWER)

    def store(self, name: str, opened: int) -> None:
        """Adds an open descriptor to the unit's descriptor store, under this name. The caller still
        closes its own."""
        # FDPOLL=0: otherwise systemd drops a descriptor for which poll() reports an error, such as
        # a socket with something in its error queue.
        self._pass(["FDSTORE=1", f"FDNAME={name}", "FDPOLL=0"], opened)

    def discard(self, name: str) -> None:
        """Removes the descriptors of this name from the store, which closes them."""
        self._pass(["FDSTOREREMOVE=1", f"FDNAME={name}"])

    def barrier(self, seconds: float) -> bool:
        """Waits until systemd has processed all messages sent before (sd_notify_barrier(3)), for at
        most so many seconds. Returns whether it has."""
        ours, theirs = os.pipe()
        try:
            try:
                sent = self._pass(["BARRIER=1"], theirs)
            finally:
                os.close(theirs)
            poll = select.poll()
            poll.register(ours, 0)  # POLLHUP is always reported
            return sent and bool(poll.poll(seconds * 1000))
        finally:
            os.close(ours)

    def _pass(self, lines: Sequence[str], *opened: int) -> bool:
        """Sends a message with descriptors, which sdnotify cannot. Returns whether it was sent."""
        if not self.in_unit:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.connect(self._address.replace("@", "\0", 1))
                socket.send_fds(manager, ["\n".join(lines).encode()], list(opened))
        except OSError as error:
            log.warning("cannot send %s to systemd: %s", lines[0], error)
            return False
        return True

    def _send(self, lines: Sequence[str]) -> None:
        if self._notifier is not None:
            # sdnotify encodes as Latin-1, and silently drops a message that cannot be encoded.
            # Decoded as Latin-1, the bytes of the UTF-8 text arrive unchanged.
            try:
                self._notifier.notify("\n".join(lines).encode().decode("latin-1"))
            except OSError as error:
                log.debug("cannot send %s to systemd: %s", lines[0], error)


def _is_stopping() -> bool:
    """Whether SIGTERM has arrived: from then on it is ignored (cli.py). systemd must not be asked
    for more time then, or a stop might take as long as a run."""
    return signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def _connected() -> SystemdNotifier | None:
    from sdnotify import SystemdNotifier  # noqa: PLC0415  # not in the image of the node agent

    # Without debug, sdnotify catches every exception, also `Interrupted`: the signal would be lost.
    try:
        return SystemdNotifier(debug=True)
    except OSError as error:
        log.debug("cannot connect to systemd: %s", error)
        return None


def _one_line(text: str) -> str:
    line = escaped(" ".join(text.split())).encode()
    if len(line) > _LONGEST:
        line = line[:_LONGEST] + "…".encode()
    return line.decode(errors="ignore")


def is_own_process(paths: Paths) -> bool:
    """Whether this process belongs to ocp-tuned.service, by its control group. Messages to the
    notification socket of another unit do not count for ours."""
    try:
        groups = files.read(paths.own_cgroup).decode(errors="replace")
    except (FileNotFoundError, HostError):
        return False
    return any(UNIT in line.split("/") for line in groups.splitlines())


def workloads() -> tuple[str, ...]:
    """The services that are ordered after the unit: `WORKLOADS`, and those that a drop-in of the
    site orders so. Only `WORKLOADS` if systemd does not answer."""
    try:
        later = _related(UNIT, "Before")
    except HostError as error:
        log.debug("%s; services that only this site orders after %s are not known", error, UNIT)
        return WORKLOADS
    ours = UNIT.partition(".")[0]
    services = (name for name in later if name.endswith(".service") and not name.startswith(ours))
    return tuple(dict.fromkeys([*WORKLOADS, *sorted(services)]))


def _related(name: str, dependency: str) -> list[str]:
    """The units that a property of a unit lists (systemd.unit(5)). Raises `HostError`."""
    return _systemctl(_ANSWER, "show", "--value", f"--property={dependency}", name).split()


def _systemctl(seconds: float, *arguments: str) -> str:
    """The output of systemctl(1), which may take so long. As root it does not use D-Bus. Raises
    `HostError`."""
    import subprocess  # noqa: PLC0415  # a run that keeps everything does not need it

    what = f"systemctl {' '.join(arguments)}"
    command = [_SYSTEMCTL, "--no-ask-password", *arguments]
    try:
        done = subprocess.run(  # noqa: S603
            command, check=True, capture_output=True, encoding="utf-8", errors="replace",
            timeout=seconds,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{what}: no answer within {seconds:.1f} s") from error
    except subprocess.CalledProcessError as error:
        raise HostError(f"{what}: {error.stderr.strip()}") from error
    except OSError as error:
        raise HostError(f"{what}: {error.strerror}") from error
    return done.stdout


def running(paths: Paths, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the units that have processes, by their control groups (cgroups(7)).

    Not over D-Bus: the boot waits for the answer, and importing pystemd takes as long as a whole
    run that keeps everything.
    """
    found = []
    for name in names:
        # With version 1 of control groups, systemd has a hierarchy of its own. An instance of a
        # template is in a slice of its own in system.slice.
        slices = ("*.slice", "*.slice/*.slice", "systemd/*.slice", "systemd/*.slice/*.slice")
        groups = (group for each in slices for group in paths.cgroups.glob(f"{each}/{name}"))
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

    Empty if systemd cannot be reached.
    """
    with suppress(HostError):
        shown = _shown(names, "LoadState", "ActiveState")
        return {
            name: unit["ActiveState"]
            for name, unit in zip(names, shown)
            if unit["LoadState"] == "loaded"
        }
    return {}


@dataclass(frozen=True)
class Job:
    """One in systemd's queue: of which kind (`start`, `stop`), whether it is `running` or
    `waiting`, and the units for whose jobs it waits."""

    kind: str
    state: str
    waits_for: tuple[str, ...] = ()


def jobs() -> dict[str, Job]:
    """The jobs in systemd's queue, by unit (systemctl(1), list-jobs --before). Raises
    `HostError`."""
    found: dict[str, tuple[re.Match[str], list[str]]] = {}
    waits_for: list[str] = []
    text = _systemctl(_ANSWER, "list-jobs", "--before", "--plain", "--no-legend", "--full")
    for line in text.splitlines():
        if (job := _JOB.match(line)) is not None:
            waits_for = []
            found[job["unit"]] = job, waits_for
        elif (other := _WAITS.search(line)) is not None:
            waits_for.append(other["unit"])
    return {
        name: Job(job["kind"], job["state"], tuple(others)) for name, (job, others) in found.items()
    }


def _shown(names: Sequence[str], *wanted: str) -> list[dict[str, str]]:
    """All of these properties of each unit, in this order. Raises `HostError`."""
    units = list(properties(names, wanted).values())
    if any(set(unit) != set(wanted) for unit in units):
        raise HostError(f"systemctl show: found {units}, expected {', '.join(wanted)} of each of "
                        f"{', '.join(names)}")  # fmt: skip
    return units


def properties(names: Sequence[str], wanted: Sequence[str]) -> dict[str, dict[str, str]]:
    """Those of the wanted properties that each unit has, by its name, from systemctl(1): importing
    pystemd takes five times as long. Raises `HostError`."""
    if not names:
        return {}
    text = _systemctl(_ANSWER, "show", f"--property={','.join(wanted)}", "--", *names)
    units = [
        {name: value for name, _, value in (it.partition("=") for it in block.splitlines())}
        for block in text.strip().split("\n\n")
    ]
    if len(units) != len(names):
        raise HostError(f"systemctl show: found {text!r}, expected {', '.join(wanted)} of each of "
                        f"{', '.join(names)}")  # fmt: skip
    return dict(zip(names, units))


def manager(*wanted: str) -> dict[str, str]:
    """These properties of systemd itself. Raises `HostError`."""
    text = _systemctl(_ANSWER, "show", f"--property={','.join(wanted)}")
    return dict(line.partition("=")[::2] for line in text.splitlines())


def is_shutting_down() -> bool:
    """Whether the machine is being stopped or rebooted (systemd.special(7), shutdown.target), also
    while it still boots. False if systemd cannot be reached."""
    try:
        return "shutdown.target" in jobs()
    except HostError as error:
        log.debug("%s", error)
        return False


def is_running() -> bool:
    """Whether systemd is the init of this machine (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


def version() -> str:
    """That of systemd, as it names itself, such as `252.39-1~deb12u1`. Raises `HostError`."""
    words = _systemctl(_ANSWER, "--version").split()
    return words[2].strip("()") if len(words) > 2 else ""


def starts_again(name: str) -> bool:
    """Whether a service is started again and again while it is looked at: it exits each time, and
    its socket starts it for the request that still waits. False if systemd cannot be reached.

    Neither its state nor its exit status tells: systemd resets both at each start.
    """
    starts = set()
    with suppress(HostError), _bus() as bus:
        from pystemd.systemd1 import Unit  # noqa: PLC0415

        with Unit(name.encode(), bus=bus) as unit:
            for _ in range(_LOOKS):
                starts.add(int(unit.Unit.InactiveExitTimestampMonotonic))
                # A service may have crashed once.
                if len(starts) > _STARTS:
                    return True
                time.sleep(_BETWEEN)
    return False


def last_logged(name: str, *, error: bool = False) -> str:
    """The last line that the processes of a unit have logged in this boot, or the first line of the
    last `error`; empty if there is none, or if it cannot be read (journalctl(1))."""
    import subprocess  # noqa: PLC0415  # only for a failure that this explains

    which = ["--priority=err", "--lines=1"] if error else ["--lines=20"]
    command = ["journalctl", "--quiet", "--boot", *which, "--output=cat", f"_SYSTEMD_UNIT={name}",
               # Of a process that had exited before journald read its entry (`journal.Journal`).
               "+", "_UID=0", f"OBJECT_SYSTEMD_UNIT={name}"]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603  # a unit of this program
            command, check=False, timeout=_JOURNAL, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = [line for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]
    return lines[0 if error else -1].strip() if lines else ""


def failed_pull(result: str) -> str:
    """Why the last pull of ocp-tuned-image.service failed, if it did; else empty. `result`: the
    property `Result` of the unit."""
    if result in ("", "success"):
        return ""
    return last_logged(IMAGE, error=True) or f"see journalctl -b -u {IMAGE}"


@dataclass(frozen=True)
class Stored:
    """The descriptors in a unit's store. `names` is None where systemd does not report them (before
    version 254)."""

    count: int
    names: tuple[str, ...] | None = None

    def __str__(self) -> str:
        counted = f"{self.count} file descriptor{'s' * (self.count != 1)}"
        return f"{counted} ({', '.join(self.names)})" if self.names else counted


def stored(name: str) -> Stored | None:
    """The descriptors that systemd stores for a unit, or None if systemd cannot be reached."""
    with suppress(HostError):
        (unit,) = _shown([name], "NFileDescriptorStore")
        count = int(unit["NFileDescriptorStore"] or 0)
        if not count:
            return Stored(0)
        with _bus() as bus, _manager(bus) as manager:
            if "DumpUnitFileDescriptorStore" not in manager.Manager.methods:
                return Stored(count)
            found = manager.Manager.DumpUnitFileDescriptorStore(name.encode())
            return Stored(count, tuple(sorted(each[0].decode() for each in found)))
    return None


def knock(path: Path) -> None:
    """Connects once: systemd then starts the service behind the socket. Raises `OSError`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
        # Not blocking: a backlog that is full is an error at once, not a wait.
        knocking.setblocking(False)
        knocking.connect(str(path))


def wake(path: Path) -> None:
    """The same for a service that is most likely needed later: it starts while something else is
    done. Whether it can be reached is found out when it is asked."""
    with suppress(OSError):
        knock(path)


def reload(name: str) -> None:
    """Queues the reload of a unit, or its start if it is not active. Raises `HostError`."""
    with _bus() as bus, _manager(bus) as manager:
        manager.Manager.ReloadOrRestartUnit(name.encode(), b"replace")


def stop(name: str, seconds: float) -> None:
    """Stops a unit, and returns when it is stopped. Raises `HostError`, also if that takes longer
    than so many seconds."""
    _systemctl(seconds, "stop", name)


def queue(verb: str, names: Sequence[str]) -> None:
    """Queues the start or stop (`verb`) of units, which may be none. Raises `HostError`, also if
    that would cancel another job: the start of a unit that is bound to ours would cancel the stop
    of ours."""
    if names:
        _systemctl(_ANSWER, verb, "--no-block", "--job-mode=fail", "--", *names)


def active(pattern: str) -> tuple[str, ...]:
    """The units that are active and match a pattern (glob(7)). Raises `HostError`."""
    options = ("--plain", "--no-legend", "--full", "--state=active")
    lines = _systemctl(_ANSWER, "list-units", *options, pattern).splitlines()
    return tuple(line.split()[0] for line in lines if line.strip())


def file_state(name: str) -> str:
    """Whether a unit is started at boot (systemctl(1), is-enabled), such as `enabled`, `disabled`
    or `masked`. Empty if there is no such unit, or if systemd cannot be reached."""
    try:
        return _systemctl(_ANSWER, "show", "--value", "--property=UnitFileState", name).strip()
    except HostError as error:
        log.debug("%s", error)
        return ""


def requiring(name: str) -> list[str]:
    """The units that are stopped with this one. Raises `HostError`."""
    return sorted({*_related(name, "RequiredBy"), *_related(name, "BoundBy")})


def reset_failed(name: str) -> None:
    """Has systemd forget that a unit failed. Raises `HostError`."""
    with _bus() as bus, _manager(bus) as manager:
        manager.Manager.ResetFailedUnit(name.encode())


def _manager(bus: DBus) -> AbstractContextManager[Any]:
    from pystemd.systemd1 import Manager  # noqa: PLC0415  # as in `_bus`

    manager: AbstractContextManager[Any] = Manager(bus=bus)
    return manager


@contextmanager
def _bus() -> Iterator[DBus]:
    """The system bus. Raises `HostError` if it, or a request over it, fails."""
    # Imported here: it takes as long as a whole run that keeps everything.
    from pystemd.dbusexc import DBusBaseError  # noqa: PLC0415
    from pystemd.dbuslib import DBus  # noqa: PLC0415

    try:
        with DBus() as bus:
            yield bus
    except DBusBaseError as error:
        log.debug("cannot reach systemd over D-Bus: %s", error)
        raise HostError(f"cannot reach systemd over D-Bus: {error}") from error
