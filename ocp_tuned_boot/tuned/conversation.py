"""The host's half of the conversation with the program in the container (inside/program.py).

    with Listener(paths) as listener:
        (start the container)
        with listener.accept(pid, pidfd, deadline) as program:
            asked.parse(program.hear(deadline))   # Asked or Unasked; nothing has been applied
            program.go()                          # from here on TuneD applies the profile
            program.listen()                      # whenever something can be read, until …
            asked.parse(program.said)             # Verified or Unverified; TuneD is about to exit

If the program exits, this is noticed at once; so does the program if this process exits, and then
it applies nothing.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.inside.program import (
    GO,
    GUARDED,
    LAST,
    MORE,
    PACKET,
    RESTORE,
    RESUMES,
    STAYS,
    UNVERIFIED,
)
from ocp_tuned_boot.tuned.asked import LIMIT

#: Where the container has the program and the socket. Both are mounted read-only.
TARGET = "/run/ocp-tuned-boot-inside"
_PACKAGE = "ocp_tuned_boot/inside"
# The interpreter is that in TuneD's first line, such as "#!/usr/bin/python3 -Es": Enterprise Linux
# 8 has none in /usr/bin. $0: the program, $1: the mode, $2: the socket, $3: TuneD.
_START = 'read -r first < "$3" && exec ${first#??} "$0" "$@"'
_CREDENTIALS = struct.Struct("iII")


class ProgramExited(Exception):
    """The program in the container has exited, or was killed, before it said what was awaited. The
    container's exit status and log say why."""


def mounts(paths: Paths) -> tuple[tuple[str, str], ...]:
    """Source and target of each mount that the program needs; all are read-only."""
    program = Path(__file__).resolve().parents[1] / "inside"
    return (
        (str(program), f"{TARGET}/{_PACKAGE}"),
        (str(paths.conversation), f"{TARGET}/conversation"),
    )


def entrypoint(mode: str, command: tuple[str, ...]) -> tuple[str, ...]:
    """The container's command. `mode`: `apply` or `verify`; `command`: that of TuneD."""
    program = f"{TARGET}/{_PACKAGE}/program.py"
    where = f"{TARGET}/conversation/{mode}"
    return ("/bin/sh", "-c", _START, program, mode, where, *command)


@dataclass(frozen=True)
class Word:
    """What the program is told to do. `guarded`: the files on the hand-over list are covered
    before; `verify`: TuneD compares afterwards; `stays`: TuneD keeps running; `resumes`: for a
    profile that is applied already, it sets nothing."""

    guarded: bool = False
    verify: bool = True
    stays: bool = False
    resumes: bool = False

    def encoded(self) -> bytes:
        """As the program reads it."""
        more = ((GUARDED, self.guarded), (UNVERIFIED, not self.verify), (STAYS, self.stays),
                (RESUMES, self.resumes))  # fmt: skip
        return b" ".join([GO, *(each for each, given in more if given)])


#: The word of a first run.
APPLY = Word()


class Listener:
    """The socket to which the program connects, one for each `mode`. Raises `HostError`."""

    def __init__(self, paths: Paths, mode: str = "apply") -> None:
        self._paths = paths
        self._path = paths.conversation / mode
        self._restore = paths.conversation / (mode + RESTORE)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def __enter__(self) -> Listener:
        try:
            files.directory(self._path.parent, self._paths.root, 0o700)
            with files.explained("create", self._path):
                self._listen()
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        for path in (self._path, self._restore):
            with suppress(OSError):
                path.unlink()

    def _listen(self) -> None:
        for path in (self._path, self._restore):
            path.unlink(missing_ok=True)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # The path of a socket may have 107 bytes only.
            self._socket.bind(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)
        self._path.chmod(0o600)
        self._socket.listen()
        self._socket.setblocking(False)

    def restore(self, rows: list[dict[str, Any]]) -> None:
        """Before the word: what TuneD restores first, see inside/undo.py. Raises `HostError`."""
        if rows:
            text = json.dumps(rows)
            files.write(self._restore, text.encode(), 0o600, durable=False)

    def accept(self, pid: int, pidfd: Optional[int], deadline: Deadline) -> Program:
        """Waits until the container's first process connects; that of an earlier run is refused.

        `pid`: its process ID; `pidfd`: a descriptor of it, to notice its exit; None if it has
        exited.
        Raises `ProgramExited`, `DeadlineExceeded`.
        """
        while True:
            exited = pidfd is None or _ready(self._socket, deadline, pidfd)
            # One that has exited may have connected, and said why, before.
            with suppress(BlockingIOError):
                connection, _ = self._socket.accept()
                peer = connection.getsockopt(
                    socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
                )
                if _CREDENTIALS.unpack(peer)[0] == pid:
                    return Program(connection)
                connection.close()
                continue  # the next one may have connected
            if exited:
                break
        raise ProgramExited("the program in the container exited before it connected")


class Program:
    """The connection to the program in the container."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._parts = bytearray()
        #: The last message; empty until it is complete.
        self.said = b""

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """To wait for a message or the exit of the program together with other events (poll)."""
        return self._socket.fileno()

    def exited(self) -> bool:
        """Whether the program has exited. Does not wait. A message that is left remains."""
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def hear(self, deadline: Deadline) -> bytes:
        """Waits for the next message: a JSON text, see `asked.parse`.

        Raises `ProgramExited`, `DeadlineExceeded`, and `ValueError` for what is no message.
        """
        while not self.listen():
            _ready(self._socket, deadline)
        data, self.said = self.said, b""
        return data

    def listen(self) -> bool:
        """Reads what can be read of the next message. Does not wait. Returns whether `said` is a
        whole one. Raises `ProgramExited`, and `ValueError` for what is no message."""
        while not self.said:
            try:
                packet = self._socket.recv(PACKET + 2)
            except BlockingIOError:
                return False
            except OSError:
                packet = b""
            if not packet:
                raise ProgramExited("the program in the container exited")
            self._take(packet)
        return True

    def _take(self, packet: bytes) -> None:
        sign, part = packet[:1], packet[1:]
        if sign not in (MORE, LAST) or not 0 < len(part) <= PACKET:
            raise ValueError(f"found a packet of {len(packet)} bytes that starts with {sign!r}")
        self._parts += part
        if len(self._parts) > LIMIT:
            raise ValueError(f"found a message of more than {LIMIT} bytes")
        if sign == LAST:
            self.said, self._parts = bytes(self._parts), bytearray()

    def go(self, word: Word = APPLY) -> None:
        """Gives the word: TuneD applies the profile. It can be given only once, at any time; it
        waits for the program. Raises `ProgramExited`."""
        try:
            self._socket.send(word.encoded())
        except OSError as error:
            raise ProgramExited("the program in the container exited before the word") from error


def _ready(connection: socket.socket, deadline: Deadline, pidfd: Optional[int] = None) -> bool:
    """Waits until something can be read. Returns whether the process has exited. Raises
    `DeadlineExceeded`."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if pidfd is not None:
        poll.register(pidfd, select.POLLIN)
    # At least 1 ms: poll rounds down.
    found = dict(poll.poll(max(1.0, deadline.left() * 1000)))
    deadline.left()
    return pidfd is not None and pidfd in found
