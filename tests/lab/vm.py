"""A node in a virtual machine, emulated: slow, but its kernel is its own. A reboot resets every
setting, and a power cut loses what was not written."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Optional

from tests.lab import cache, kubelet, vmdisk
from tests.lab.node import CommandFailed
from tests.lab.product import product_layer

_QEMU = (
    "qemu-system-x86_64", "-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max", "-smp", "2",
    "-m", "2048", "-machine", "q35,usb=off,smm=off,hpet=off", "-nodefaults", "-no-user-config",
    "-display", "none", "-device", "virtio-rng-pci",
)  # fmt: skip
_KERNEL = "console=ttyS0 quiet net.ifnames=0 mitigations=off root=/dev/vda rw"
_TICK = 0.2
#: As long as one attempt to reach it may take (seconds).
_SILENCE = 120.0
#: As `tests.lab.patience` has it (seconds), for a machine that is emulated.
PATIENCE = 1800.0


class VirtualNode:
    """`with VirtualNode() as node:`; the same words as `tests.lab.node.Node` has."""

    suite = "trixie"

    def __init__(self) -> None:
        #: Of the current boot, or of the last one.
        self.boot_id = ""
        self._qemu: Optional[subprocess.Popen[bytes]] = None

    def __enter__(self) -> VirtualNode:
        self._disk = vmdisk.disk()
        self._folder = tempfile.TemporaryDirectory(dir=cache.directory())
        self._place = Path(self._folder.name)
        vmdisk.product_disk(product_layer(self.suite), self._place / "product.raw")
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self._disk.image,
             self._place / "disk.qcow2"], check=True,
        )  # fmt: skip
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self._qemu:
            self.power_cut()
        self._folder.cleanup()

    def boot(self, timeout: float = PATIENCE) -> str:
        """Switches it on and waits for the end of the boot."""
        self.start(timeout)
        return self.settled(timeout)

    def start(self, timeout: float = PATIENCE) -> None:
        """Switches it on; returns when it takes commands. The boot goes on meanwhile."""
        self.start_only()
        self._answers(time.monotonic() + timeout)

    def start_only(self) -> None:
        """Switches it on, and does not wait for anything."""
        assert self._qemu is None, "it is on"
        self._port = _free_port()
        with (self._place / "console").open("ab") as console:
            self._qemu = subprocess.Popen(
                [*_QEMU, "-kernel", self._disk.kernel, "-initrd", self._disk.initrd,
                 "-append", _KERNEL, "-serial", "stdio",
                 *_drive("disk.qcow2", "qcow2"), *_drive("product.raw", "raw"),
                 "-netdev", f"user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22",
                 "-device", "virtio-net-pci,netdev=n0,romfile="],
                cwd=self._place, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                start_new_session=True,
            )  # fmt: skip

    def _answers(self, deadline: float) -> None:
        """Waits until ssh is answered, and takes down which boot it is."""
        while True:
            try:
                # A connection that the machine forgets when it restarts is given up.
                said = self.run("cat", "/proc/sys/kernel/random/boot_id", timeout=_SILENCE)
                self.boot_id = said.stdout.strip()
                return
            except (CommandFailed, subprocess.TimeoutExpired) as error:
                assert self._qemu is not None
                if self._qemu.poll() is not None or time.monotonic() > deadline:
                    tail = (self._place / "console").read_text(errors="replace")[-3000:]
                    raise TimeoutError(f"the machine does not answer; console:\n{tail}") from error
                time.sleep(_TICK)

    def settled(self, timeout: float = PATIENCE) -> str:
        """Waits until no job of the boot is left; the word of `systemctl is-system-running`."""
        done = self.run("systemctl", "is-system-running", "--wait", check=False, timeout=timeout)
        return done.stdout.strip()

    def reboot(self, timeout: float = PATIENCE) -> str:
        """A reboot, of the kernel too."""
        before, deadline = self.boot_id, time.monotonic() + timeout
        self.run("systemctl", "--no-block", "reboot")
        while self.boot_id == before:
            self._answers(deadline)
            time.sleep(_TICK)
        return self.settled(timeout)

    def power_cut(self) -> None:
        """Nothing that the machine has not written to its disk is left."""
        assert self._qemu is not None
        os.killpg(self._qemu.pid, signal.SIGKILL)
        self._qemu.wait()
        self._qemu = None

    def run(
        self, *argv: str, check: bool = True, text: str = "", timeout: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command inside. Raises `CommandFailed`, `subprocess.TimeoutExpired`."""
        # Each word is quoted for the shell at the other end.
        words = " ".join("'" + word.replace("'", "'\\''") + "'" for word in argv)
        done = subprocess.run(
            ["ssh", "-q", "-F", "none", "-i", self._disk.key, "-p", str(self._port),
             "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
             "-o", "ConnectTimeout=10", "-o", "BatchMode=yes", "root@127.0.0.1", words],
            input=text, capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise CommandFailed(done)
        return done

    def read(self, path: str) -> str:
        return self.run("cat", "--", path).stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Writes a file whole, with the folders above it, onto the disk."""
        script = 'mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1" && sync'
        self.run("sh", "-c", script, "sh", path, f"{mode:o}", text=text)

    def witness(self, unit: str) -> Optional[kubelet.Witness]:
        """The first start of `crio` or `kubelet` in this boot, or None."""
        lines = self.run("cat", f"/var/lib/lab/{unit}.json", check=False).stdout.splitlines()
        seen: list[kubelet.Witness] = [json.loads(line) for line in lines]
        return next((each for each in seen if each["boot_id"] == self.boot_id), None)


def _drive(name: str, form: str) -> list[str]:
    number = {"disk.qcow2": 0, "product.raw": 1}[name]
    return [
        "-drive", f"if=none,id=d{number},file={name},format={form},cache=writeback",
        "-device", f"virtio-blk-pci,drive=d{number}",
    ]  # fmt: skip


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
