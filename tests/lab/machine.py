"""One run of systemd-nspawn: from power-on to power-off, and the way in."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import inotify, nspawn

# systemd(1): SIGRTMIN+4 asks it to start poweroff.target.
_POWER_OFF = signal.SIGRTMIN + 4

# Those of the host's devices that are passed on, where it has them.
_DEVICES = ("/dev/fuse", "/dev/cpu_dma_latency")


class MachineError(RuntimeError):
    """The machine is not in the state that was asked for."""


@dataclass(frozen=True)
class Hardware:
    """What a machine is started with."""

    name: str
    root: Path
    console: Path
    #: Directories of the host, by the path where the machine sees them.
    binds: Mapping[str, Path] = field(default_factory=dict)


class Visit(subprocess.Popen[str]):
    """A command inside a machine, in a control group of its own. The process that this is a
    handle of is nsenter: its exit status is the command's, but signals do not reach the command."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], kill_all: Callable[[], None]
    ) -> None:
        self._kill_all = kill_all
        pipe = subprocess.PIPE
        super().__init__(command, env=env, text=True, stdin=pipe, stdout=pipe, stderr=pipe)

    def kill(self) -> None:
        """Ends the command and everything it has started."""
        self._kill_all()

    def close(self) -> None:
        """For a visit that has ended: gives back its pipes."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe:
                pipe.close()
        self.wait()


class Machine:
    """A machine that has been switched on. `settle` waits for the end of the boot."""

    def __init__(self, hardware: Hardware, timeout: float) -> None:
        """Returns when systemd inside takes orders (`systemctl`); the boot goes on meanwhile."""
        deadline = time.monotonic() + timeout
        self.hardware = hardware
        self.cgroup = nspawn.cgroup_of(hardware.name)
        self._visits: list[Visit] = []
        self._notify = _NotifySocket(hardware.name)
        with hardware.console.open("ab") as console:
            self._process = subprocess.Popen(
                _command(hardware),
                env=nspawn.ENVIRONMENT | {"NOTIFY_SOCKET": self._notify.address},
                stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._pidfd = os.pidfd_open(self._process.pid)
        try:
            self.leader = int(self._message("X_NSPAWN_LEADER_PID", deadline))
            run = Path(f"/proc/{self.leader}/root/run/systemd")
            for path in (run, run / "private"):
                inotify.wait_for(path, deadline - time.monotonic())
        except BaseException:
            self.kill()
            raise

    def settle(self, timeout: float) -> None:
        """Waits until no job of the boot is left. Raises `TimeoutError`; it may be called again."""
        self._message("READY", time.monotonic() + timeout)

    def visit(self, argv: Sequence[str], env: Mapping[str, str]) -> Visit:
        """Starts a command inside."""
        self._notify.take_in()
        group = f"payload/visits/{len(self._visits)}"
        (self.cgroup.path / group).mkdir(parents=True)
        enter = [*self.cgroup.entering(group), "nsenter", f"--target={self.leader}", "--all"]
        visit = Visit([*enter, *argv], env, lambda: self.cgroup.kill(group))
        self._visits.append(visit)
        return visit

    def power_off(self, timeout: float) -> None:
        """An orderly shutdown. Raises `TimeoutError`, and then the machine still runs."""
        os.kill(self.leader, _POWER_OFF)
        if not select.select([self._pidfd], [], [], timeout)[0]:
            raise TimeoutError(f"not powered off after {timeout} s")
        self.kill()

    def kill(self) -> None:
        """A power cut; also gives back all that the machine has of the host."""
        self.cgroup.kill()
        for visit in self._visits:
            visit.close()
        self._process.wait()
        os.close(self._pidfd)
        self._notify.close()
        nspawn.clear(self.hardware.name)

    def _message(self, key: str, deadline: float) -> str:
        """The value of a notification from nspawn; those before it are dropped."""
        sources = [self._notify.fileno(), self._pidfd]
        while True:
            if self._notify.kept:
                value = self._notify.kept.popleft().get(key)
                if value is not None:
                    return value
                continue
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select(sources, [], [], left)
            if self._notify.fileno() in ready:
                self._notify.take_in()
            elif ready:
                raise MachineError(f"it has ended; console:\n{self._console_tail()}")
            else:
                raise TimeoutError(f"no {key} in time; console:\n{self._console_tail()}")

    def _console_tail(self) -> str:
        return "\n".join(self.hardware.console.read_text(errors="replace").splitlines()[-30:])


def _command(hardware: Hardware) -> list[str]:
    binds = {device: Path(device) for device in _DEVICES if os.path.exists(device)}
    return [
        *nspawn.command(hardware.name, hardware.root), "--notify-ready=yes",
        *(f"--bind={there}:{here}" for here, there in {**binds, **hardware.binds}.items()),
        "--boot",
    ]  # fmt: skip


class _NotifySocket:
    """Where nspawn reports (sd_notify(3))."""

    def __init__(self, name: str) -> None:
        # In the abstract namespace there is no file to remove and no limit by the cache's path.
        self.address = f"@ocp-tuned-lab/{name}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address.replace("@", "\0", 1))
        self._socket.setblocking(False)
        #: What was said and nobody has asked for yet.
        self.kept: deque[dict[str, str]] = deque(maxlen=1000)

    def fileno(self) -> int:
        return self._socket.fileno()

    def take_in(self) -> None:
        """What has come. systemd inside reports at every daemon-reexec and more often, and stands
        still, and with it the whole machine, when too much of it was not taken in."""
        with suppress(BlockingIOError):
            while True:
                text = self._socket.recv(4096).decode()
                self.kept.append(dict(re.findall(r"(?m)^(\w+)=(.*)$", text)))

    def close(self) -> None:
        self._socket.close()
