"""One run of systemd-nspawn: from power-on to power-off, and the way in."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import inotify, nspawn
from tests.lab.notifications import Notifications

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
    #: Further options of systemd-nspawn.
    options: Sequence[str] = ()


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
        self._notifications = Notifications(hardware.name)
        with hardware.console.open("ab") as console:
            self._process = subprocess.Popen(
                _command(hardware),
                env=nspawn.ENVIRONMENT | {"NOTIFY_SOCKET": self._notifications.address},
                stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._pidfd = os.pidfd_open(self._process.pid)
        self._notifications.read_from(self._pidfd)
        try:
            self.leader = int(self._notified("X_NSPAWN_LEADER_PID", deadline))
            run = Path(f"/proc/{self.leader}/root/run/systemd")
            for path in (run, run / "private"):
                inotify.wait_for(path, deadline - time.monotonic())
        except BaseException:
            self.kill()
            raise

    def settle(self, timeout: float) -> None:
        """Waits until no job of the boot is left. Raises `TimeoutError`; it may be called again."""
        self._notified("READY", time.monotonic() + timeout)

    def visit(self, argv: Sequence[str], env: Mapping[str, str]) -> Visit:
        """Starts a command inside."""
        group = f"payload/visits/{len(self._visits)}"
        (self.cgroup.path / group).mkdir(parents=True)
        visit = Visit([*self._inside(group), *argv], env, lambda: self.cgroup.kill(group))
        self._visits.append(visit)
        return visit

    def attach(self, argv: Sequence[str], env: Mapping[str, str]) -> int:
        """Runs a command inside with the input and output of this process; its exit status."""
        (self.cgroup.path / "payload/attached").mkdir(parents=True, exist_ok=True)
        return subprocess.run(
            [*self._inside("payload/attached"), *argv], env=env, check=False
        ).returncode

    def _inside(self, group: str) -> list[str]:
        return [*self.cgroup.entering(group), "nsenter", f"--target={self.leader}", "--all"]

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
        self._notifications.close()
        os.close(self._pidfd)
        nspawn.clear(self.hardware.name)

    def _notified(self, key: str, deadline: float) -> str:
        """The value of a notification from nspawn."""
        try:
            value = self._notifications.wait(key, max(0.0, deadline - time.monotonic()))
        except TimeoutError as error:
            raise TimeoutError(f"{error}; console:\n{self._console_tail()}") from error
        if value is None:
            raise MachineError(f"it has ended; console:\n{self._console_tail()}")
        return value

    def _console_tail(self) -> str:
        return "\n".join(self.hardware.console.read_text(errors="replace").splitlines()[-30:])


def _command(hardware: Hardware) -> list[str]:
    binds = {device: Path(device) for device in _DEVICES if os.path.exists(device)}
    return [
        *nspawn.command(hardware.name, hardware.root), "--notify-ready=yes",
        *(f"--bind={there}:{here}" for here, there in {**binds, **hardware.binds}.items()),
        *hardware.options,
        "--boot",
    ]  # fmt: skip
