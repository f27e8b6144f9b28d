"""A node: what an OpenShift node is to the product, in a container on this machine."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Optional, TypeVar

from tests.lab import kubelet, mounts, rootfs, tunedimage
from tests.lab.machine import Hardware, Machine, MachineError, Visit
from tests.lab.patience import PATIENCE
from tests.lab.product import product_layer
from tests.lab.workplace import Workplace

#: crio, kubelet and their target, made of a program that says when it was started.
FILES = Path(__file__).with_name("node-files")

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "SYSTEMD_PAGER": "",
}


class CommandFailed(RuntimeError):
    """A command on a node that was expected to succeed."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        super().__init__(f"{done.args}: status {done.returncode}\n{done.stdout}{done.stderr}")
        self.returncode = done.returncode
        self.stdout = done.stdout
        self.stderr = done.stderr


_AnyNode = TypeVar("_AnyNode", bound="Node")


class Node:
    """A node of its own: files, container storage, processes, network. `with Node() as node:`"""

    #: Where container storage is when it is switched on.
    store = "/var/lib/containers"

    def __init__(
        self,
        suite: str = "trixie",
        *,
        image: Optional[str] = "trixie",
        product: bool = True,
        package: Optional[Path] = None,
        system: Optional[Path] = None,
        host_tuned: bool = False,
    ) -> None:
        """`image`: the suite of the TuneD image that is in container storage, or None; `package`:
        the RPM to install, by default that of the working tree; `system`: a root filesystem that
        has the product already; `host_tuned`: TuneD is installed on the node itself."""
        self.suite = suite
        #: Of the current boot, or of the last one.
        self.boot_id = ""
        self.image = image
        self._product = product and system is None
        self._package = package
        self._system = system
        self._host_tuned = host_tuned
        self._machine: Optional[Machine] = None

    def __enter__(self: _AnyNode) -> _AnyNode:
        layers = self._roots()
        if self._product:
            layers.insert(0, product_layer(self.suite, self._package))
        store = tunedimage.image_store(self.suite, self.image) if self.image else None
        self._place = Workplace()
        try:
            self._build(layers, store)
        except BaseException:
            self._place.close()
            raise
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        try:
            if self._machine:
                self.kill()
        finally:
            self._place.close()

    def _roots(self) -> list[Path]:
        """What it is mounted on, but for the product; the first hides the next."""
        return [self._system or rootfs.base_root(self.suite, host_tuned=self._host_tuned)]

    def _build(self, layers: list[Path], store: Optional[Path]) -> None:
        place = self._place.path
        upper = place / "upper"
        for folder in (upper, place / "work", place / "own", self.root):
            folder.mkdir()
        mounts.overlay(layers, upper, place / "work", self.root)
        if store:
            subprocess.run(["cp", "-a", store, self.storage], check=True)
        else:
            self.storage.mkdir()
        shutil.copytree(FILES, self.root, symlinks=True, dirs_exist_ok=True)
        self.write("/etc/machine-id", uuid.uuid4().hex + "\n")
        # Newer than /usr: else the first boot does what belongs to an update of it.
        for tree in ("etc", "var"):
            (self.root / tree / ".updated").touch()

    @property
    def name(self) -> str:
        """The machine's name on this host, and its hostname."""
        return self._place.name

    @property
    def root(self) -> Path:
        """The node's root, seen from this machine. What the node mounts itself (/run, /tmp) and
        container storage are not in it: see `storage`, `read` and `run`."""
        return self._place.path / "root"

    @property
    def storage(self) -> Path:
        """The node's /var/lib/containers, seen from this machine."""
        return self._place.path / "containers"

    @property
    def console(self) -> Path:
        """What systemd has said on the console, in all boots."""
        return self._place.path / "console"

    # Power.

    def boot(self, timeout: float = PATIENCE) -> str:
        """Switches it on and waits for the end of the boot, see `settled`."""
        self.start(timeout)
        return self.settled(timeout)

    def start(self, timeout: float = PATIENCE) -> None:
        """Switches it on; returns when it takes commands. The boot goes on meanwhile."""
        if self._machine:
            raise MachineError(f"{self.name} is on")
        self._machine = Machine(self._hardware(), timeout)
        self.boot_id = self.read("/proc/sys/kernel/random/boot_id").strip()

    def _hardware(self) -> Hardware:
        # Podman's overlays do not work on top of another.
        binds = {
            self.store: self.storage,
            "/var/lib/ocp-tuned-boot/storage": self._place.path / "own",
        }
        return Hardware(self.name, self.root, self.console, binds)

    def settled(self, timeout: float = PATIENCE) -> str:
        """Waits until no job of the boot is left; the word of `systemctl is-system-running`.

        Raises `TimeoutError`; the node goes on, and this can be called again."""
        self._on().settle(timeout)
        return self.run("systemctl", "is-system-running", check=False).stdout.strip()

    def poweroff(self, timeout: float = PATIENCE) -> None:
        """An orderly shutdown. The files stay, and the node can be booted again."""
        self._on().power_off(timeout)
        self._machine = None

    def reboot(self, timeout: float = PATIENCE) -> str:
        """Off and on again: as a reboot is, but that the kernel forgets nothing, see `knobs`."""
        self.poweroff(timeout)
        return self.boot(timeout)

    def kill(self) -> None:
        """A power cut, but that nothing the kernel had not written is lost."""
        self._on().kill()
        self._machine = None

    def _on(self) -> Machine:
        if self._machine is None:
            raise MachineError(f"{self.name} is off")
        return self._machine

    @property
    def leader(self) -> int:
        """The node's PID 1, as this machine numbers it."""
        return self._on().leader

    @property
    def group(self) -> Path:
        """The control group that all of its processes are in."""
        return self._on().cgroup.path

    # Commands.

    def run(
        self,
        *argv: str,
        check: bool = True,
        input: Optional[str] = None,  # noqa: A002 - named as in subprocess.run
        timeout: float = PATIENCE,
        env: Optional[Mapping[str, str]] = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command inside, to its end. If it takes too long, or the test is interrupted, it
        is killed with everything it started. Raises `CommandFailed`, `subprocess.TimeoutExpired`.
        """
        with self.popen(*argv, env=env) as visit:
            try:
                output, errors = visit.communicate(input, timeout)
            except BaseException:
                visit.kill()
                raise
        done = subprocess.CompletedProcess(argv, visit.returncode, output, errors)
        if check and done.returncode != 0:
            raise CommandFailed(done)
        return done

    def popen(self, *argv: str, env: Optional[Mapping[str, str]] = None) -> Visit:
        """A command that runs inside beside the test, with pipes for its input and output. Its
        `kill` ends everything it has started, and so does the end of the machine."""
        return self._on().visit(argv, {**_ENVIRONMENT, **(env or {})})

    def pid_here(self, pid: str) -> str:
        """The process that has this process ID inside, as this machine numbers it."""
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                ids = status.read_text().partition("\nNSpid:\t")[2].partition("\n")[0].split()
                if ids[-1:] == [pid] and self.name in status.with_name("cgroup").read_text():
                    return status.parent.name
        raise LookupError(pid)

    def attach(self, *argv: str, env: Optional[Mapping[str, str]] = None) -> int:
        """Runs a command inside with the input and output of this process; its exit status."""
        return self._on().attach(argv, {**_ENVIRONMENT, **(env or {})})

    def enable(self, *units: str) -> None:
        """`systemctl enable`, whether the node is on or off."""
        if self._machine:
            self.run("systemctl", "--quiet", "enable", *units)
        else:
            command = ["systemctl", f"--root={self.root}", "--quiet", "enable", *units]
            subprocess.run(command, check=True)

    def journal(self, unit: Optional[str] = None, *options: str) -> str:
        """The messages of this boot, of one unit or of all."""
        units = ["--unit", unit] if unit else []
        command = ["journalctl", "--no-pager", "--output=short-monotonic", *units, *options]
        return self.run(*command).stdout

    # Files.

    def read(self, path: str) -> str:
        """A file as a process on the node sees it, also when the node is off (without /run, /proc
        and container storage then). Raises `FileNotFoundError`."""
        done = self._do("cat", "--", path)
        if done.returncode != 0:
            raise FileNotFoundError(f"{self.name}: {done.stderr.strip()}")
        return done.stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Writes a file whole, with the folders above it, whether the node is on or off."""
        script = 'mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1"'
        done = self._do("sh", "-c", script, "sh", path, f"{mode:o}", given=text)
        if done.returncode != 0:
            raise OSError(f"{self.name}: {done.stderr.strip()}")

    def _do(self, *argv: str, given: str = "") -> subprocess.CompletedProcess[str]:
        if self._machine:
            return self.run(*argv, check=False, input=given)
        return subprocess.run(
            ["chroot", self.root, *argv], env=_ENVIRONMENT, check=False, text=True,
            input=given, capture_output=True,
        )  # fmt: skip

    # Workloads.

    def witnesses(self, unit: str) -> list[kubelet.Witness]:
        """Every start of `crio` or `kubelet` in this boot (or the last, when the node is off)."""
        return kubelet.starts(self, unit)

    def witness(self, unit: str) -> Optional[kubelet.Witness]:
        """The first start in this boot, or None if there was none."""
        return next(iter(self.witnesses(unit)), None)
