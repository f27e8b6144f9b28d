"""The root of a TuneD image, in namespaces of its own: no node, and no kernel setting is changed.

What TuneD writes to /proc/sys and /sys is refused there. Processes and interfaces are its own.
"""

from __future__ import annotations

import socket
import struct
import subprocess
from pathlib import Path
from typing import Optional

from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.tuned import asked, conversation, prepare
from ocp_tuned_boot.tuned.asked import Said
from ocp_tuned_boot.tuned.conversation import Listener, Program
from ocp_tuned_boot.tuned.profilefile import ProfileFile
from tests.lab import cache, tunedimage
from tests.lab.patience import PATIENCE

#: TuneD's command line under `contract = tuned`.
COMMAND = ("/usr/sbin/tuned", "--no-dbus")
# $1: the image's root, $2: a folder for what is written, then SOURCE TARGET rw|ro... -- COMMAND...
_ENTER = """
lower=$1 over=$2 root=$2/root
shift 2
mount -t overlay -o lowerdir=$lower,upperdir=$over/upper,workdir=$over/work overlay $root
mount -t proc -o ro proc $root/proc
mount -t sysfs -o ro sysfs $root/sys
while [ "$1" != -- ]; do
    [ -e $root$2 ] || mkdir -p $root$2
    mount --bind -o $3 $1 $root$2
    shift 3
done
shift
exec setpriv --bounding-set=-sys_module,-sys_boot,-sys_time,-sys_rawio chroot $root "$@"
"""
_NAMESPACES = ("--mount", "--net", "--ipc", "--uts", "--fork", "--kill-child")


def root_of(suite: str) -> Path:
    """The image of this suite as a directory. Never write to it."""
    archive = tunedimage.tuned_image(suite)
    return cache.entry(
        f"tunedroot-{suite}", [archive.name], lambda target: tunedimage.unpack(suite, target)
    )


class TunedRoot:
    """A container's root, and the host's folders that are mounted there. `own_processes`: it sees
    no others. Otherwise, apply no profile there that sets any."""

    def __init__(self, suite: str, folder: Path, *, own_processes: bool = True) -> None:
        self._lower = root_of(suite)
        self._namespaces = (*_NAMESPACES, *(["--pid"] if own_processes else []))
        self.folder = folder
        self.paths = Paths(folder / "host")
        #: Files that are in the place of the kernel's, by the path of these: they can be written.
        self.instead: dict[str, Path] = {}
        for name in ("upper", "work", "root", "host/run"):
            (folder / name).mkdir(parents=True)

    def prepare(self, profile: str, **texts: str) -> None:
        """/etc/tuned as on a node. `texts`: the custom profiles."""
        files = [ProfileFile(f"{name}/tuned.conf", text.encode()) for name, text in texts.items()]
        stock = (self._lower / "etc/tuned").glob("*variables.conf")
        variables = {path.name: path.read_text() for path in stock}
        prepare.etc_tuned(self.paths, profile, files, variables)

    def start(self, *command: str, under: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Starts a command in the container's place, `under` a command of this machine."""
        mounts = [(str(self.paths.etc_tuned), "/etc/tuned", "rw")]
        ours = conversation.mounts(self.paths)
        mounts += [(*mount, "ro") for mount in ours if Path(mount[0]).exists()]
        mounts += [(str(file), path, "rw") for path, file in self.instead.items()]
        words = [word for mount in mounts for word in mount]
        return subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", *under, "unshare", *self._namespaces,
             "sh", "-ec", _ENTER, "sh",
             str(self._lower), str(self.folder), *words, "--", *command],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *command: str) -> tuple[int, str, str]:
        """Runs a command there: status, output, errors."""
        with self.start(*command) as process:
            output, errors = process.communicate(timeout=PATIENCE)
        return process.returncode, output, errors

    def written(self, name: str) -> str:
        """What TuneD has written to a file in /etc/tuned."""
        return (self.paths.etc_tuned / name).read_text()


class Conversing:
    """A program that has connected."""

    def __init__(
        self, root: TunedRoot, mode: str = "apply", *before: str, under: tuple[str, ...] = ()
    ) -> None:
        with Listener(root.paths, mode) as listener:
            command = conversation.entrypoint(mode, COMMAND)
            self.process = root.start(*before, *command, under=under)
            # It is in a namespace of its own, whatever its process ID is.
            listening = listener._socket
            listening.settimeout(PATIENCE)
            connection, _ = listening.accept()
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.pid = struct.unpack("iII", peer)[0]
        self.program = Program(connection)

    def __enter__(self) -> Conversing:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.__exit__()
        self.process.kill()
        self.process.communicate()

    def hear(self) -> Said:
        return asked.parse(self.program.hear(Deadline(PATIENCE)))

    def ended(self) -> tuple[int, str, str]:
        """Status, output, errors."""
        output, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output, errors


def applied(root: TunedRoot) -> tuple[Said, Optional[Said], tuple[int, str, str]]:
    """A whole conversation: what the profile means, what holds, and how the program ended."""
    with Conversing(root) as talk:
        meaning = talk.hear()
        talk.program.go()
        holds = None if isinstance(meaning, asked.Unasked) else talk.hear()
        return meaning, holds, talk.ended()
