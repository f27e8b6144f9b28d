"""Runs the TuneD container once, from start to exit: its log, the question what the profile means,
the word, and the time that it may take."""

from __future__ import annotations

import logging
import os
import select
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from ocp_tuned_boot.errors import HostError, PodmanError
from ocp_tuned_boot.host import files, messages
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.inside.program import KEEPS_RUNNING
from ocp_tuned_boot.podman.client import ContainerState, Podman
from ocp_tuned_boot.tuned import log as tunedlog
from ocp_tuned_boot.tuned import ours
from ocp_tuned_boot.tuned.conversation import Listener, Program, ProgramExited, Word
from ocp_tuned_boot.tuned.log import LineReader
from ocp_tuned_boot.tuned.ours import CONTAINER

log = logging.getLogger(__name__)
tuned_output = logging.getLogger("tuned")

_LEVELS = {
    "DEBUG": logging.DEBUG,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
}

#: The time that TuneD has to exit after SIGTERM (seconds).
TERM_GRACE = 2.0
#: The time that must remain when TuneD has to stop, so that it and its container are gone at the
#: deadline (seconds).
STOPPING = TERM_GRACE + 1.0
#: TuneD is not started if it may run for less than this (seconds).
LEAST = 1.0
#: The maximum size of TuneD's log (bytes). It is kept in memory and in /run.
LOG_LIMIT = 4 * 1024 * 1024
#: conmon replaces a log that is larger (bytes). TuneD has been stopped before that.
LOG_SIZE = 2 * LOG_LIMIT
# The size of one read (bytes). The deadline is checked between two reads.
_CHUNK = 64 * 1024
# The time between two reads of the log (seconds). The exit of TuneD is noticed at once.
_TICK = 0.05


@dataclass(frozen=True)
class Exit:
    """How the container exited. `status` is None if it did not exit in time and was stopped;
    `said` is the last message of the program in it (`asked.parse`), empty if there was none;
    `stays`: it has not exited, TuneD has applied the profile and keeps running."""

    status: int | None
    log: tuple[str, ...]
    said: bytes = b""
    stays: bool = False


class Running:
    """A container that has been started."""

    def __init__(
        self, podman: Podman, container: str, follower: _Follower, process: _Process,
        deadline: Deadline,
    ) -> None:  # fmt: skip
        self._podman, self._container = podman, container
        self._follower, self._process = follower, process
        self._deadline = deadline

    def ask(self, listener: Listener) -> bytes:
        """Waits for what the program in the container says first: what the profile means. Raises
        `ProgramExited`, `DeadlineExceeded`, and `ValueError` for what is no message."""
        process = self._process
        process.program = listener.accept(process.pid, process.pidfd, self._deadline)
        return process.program.hear(self._deadline)

    def has_exited(self) -> bool:
        """Whether the program in the container has exited, or has said more than it was asked. Does
        not wait."""
        return self._process.ended(0) or self._process.program is None

    def fileno(self) -> int:
        """The connection to the program, whose end is an event (poll)."""
        program = self._process.program
        return -1 if program is None else program.fileno()

    def allow(self, deadline: Deadline) -> None:
        """From now on TuneD may take so long."""
        self._deadline = deadline

    def go(self, word: Word) -> None:
        """Gives the word, see `Program.go`. If the program has exited, that is noticed when it is
        waited for."""
        self._process.may_stay = word.stays
        if self._process.program is not None:
            with suppress(ProgramExited):
                self._process.program.go(word)

    def finish(self) -> Exit:
        """Follows the log, and waits until the container exits or the deadline passes, or until a
        TuneD that keeps running has applied the profile.

        After the deadline the container is stopped: SIGTERM, then SIGKILL; `STOPPING` must remain
        of the deadline of `podman` then. Raises `PodmanError`, and `HostError` if the log is larger
        than `LOG_LIMIT`.
        """
        podman, process = self._podman, self._process
        in_time = self._follow()
        if process.stays:
            return Exit(0, self._follower.finish(), process.said, stays=True)
        # The process has exited. The log is complete only after Podman has finished with it.
        if not in_time:
            podman = ours.patient(podman)
            podman.kill(self._container, "KILL")
        podman.wait(self._container)
        ended = podman.container(self._container)
        lines = self._follower.finish()
        if ended is None or not ended.started:
            raise PodmanError(f"the container {CONTAINER} was never started", temporary=True)
        process.listen()
        return Exit(ended.exit_code if in_time else None, lines, process.said)

    def _follow(self) -> bool:
        """Whether the container's process exited before the deadline, or has done what it stays
        for."""
        process = self._process
        while not process.ended(0 if self._follower.read() else _TICK):
            if process.may_stay and process.said and self._follower.is_complete:
                process.stays = True
                return True
            if self._deadline.passed():
                process.send(signal.SIGTERM)
                process.ended(self._podman.deadline.within(TERM_GRACE).seconds)
                return False
        return True


@contextmanager
def started(
    podman: Podman, container: ContainerState, paths: Paths, deadline: Deadline
) -> Iterator[Running]:
    """Starts the container. Its first process is killed at the end of the block, if it still runs.
    Raises `PodmanError`, `HostError`."""
    podman.start(container.id)
    with _Follower(paths) as follower, _process(podman, container.id) as process:
        yield Running(podman, container.id, follower, process, deadline)


class _Process:
    """The container's first process. With a pidfd its exit is noticed without polling, and a
    reused process ID cannot be mistaken for it. `program`: the conversation with it, while there is
    one; `said`: its last message; `may_stay`: TuneD was told to keep running; `stays`: it does."""

    def __init__(self, pid: int, pidfd: int | None) -> None:
        self.pid, self.pidfd = pid, pidfd
        self.program: Program | None = None
        self.said = b""
        self.may_stay = self.stays = False

    def ended(self, seconds: float) -> bool:
        """Whether the process has exited. Waits for that, at most `seconds`; what the program says
        meanwhile is read."""
        if self.pidfd is None:
            return True
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if self.program is not None:
            poll.register(self.program, select.POLLIN)
        found = dict(poll.poll(seconds * 1000))
        self.listen()
        return self.pidfd in found

    def listen(self) -> None:
        """Reads what the program has said. The conversation ends with its next message."""
        try:
            if self.program is not None and self.program.listen():
                self.said = self.program.said
                self.hang_up()
        except ProgramExited:
            self.hang_up()
        except ValueError as error:
            log.warning("the program in the container: %s", error)
            self.hang_up()

    def hang_up(self) -> None:
        """Closes the connection. Without the word, the program then exits."""
        if self.program is not None:
            self.program.__exit__()
            self.program = None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; not through Podman, which may be what hangs."""
        if self.pidfd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)


@contextmanager
def _process(podman: Podman, container: str) -> Iterator[_Process]:
    with first_process(podman, container) as (pid, pidfd):
        process = _Process(pid, pidfd)
        try:
            yield process
        finally:
            process.hang_up()
            # It has exited, unless the run ends here: at the deadline, by a signal or an error.
            if not process.stays:
                process.send(signal.SIGKILL)


@contextmanager
def first_process(podman: Podman, container: str) -> Iterator[tuple[int, int | None]]:
    """The process ID of the container's first process, and a descriptor of it; None if it has
    exited. Raises `PodmanError`."""
    state = podman.container(container)
    pid = state.pid if state is not None else 0
    with ExitStack() as stack:
        pidfd = None
        with suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pid) if pid else None
        if pidfd is not None:
            stack.callback(os.close, pidfd)
        # Between the two calls the process may have exited and its ID may have been reused.
        again = podman.container(container)
        same = again is not None and again.pid == pid
        yield pid, pidfd if same else None


class _Follower:
    """Reads the container's log while conmon writes it, and copies each line to the journal and to
    `tuned.log`."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._size = 0
        self._reader = LineReader()
        self._lines: list[str] = []
        #: TuneD, which keeps running, has logged all about applying the profile.
        self.is_complete = False
        # Of the record whose lines are being read.
        self._level = logging.INFO
        self._source = self._opened()
        with files.explained("write", paths.tuned_log):
            self._copy = paths.tuned_log.open("w", encoding="utf-8", errors="backslashreplace")

    def __enter__(self) -> _Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()
        # A failed write has been reported already.
        with suppress(OSError):
            self._copy.close()

    def read(self) -> bool:
        """Reads the next part of the log, and returns whether there was one. Raises `HostError`."""
        with files.explained("read", self._paths.container_log):
            data = self._source.read(_CHUNK) or self._after_rotation()
        self._size += len(data)
        if self._size > LOG_LIMIT:
            raise HostError(
                f"TuneD logged more than {LOG_LIMIT} bytes and was stopped",
                f"Check the scripts of the profile. The log is {self._paths.tuned_log}",
            )
        self._take(self._reader.feed(data))
        return bool(data)

    def _opened(self) -> BinaryIO:
        with files.explained("read", self._paths.container_log):
            return os.fdopen(files.opener(str(self._paths.container_log), os.O_RDONLY), "rb")

    def _after_rotation(self) -> bytes:
        """At the end of the file: what comes next if conmon has replaced the file, or if another
        program has truncated it."""
        try:
            found = self._paths.container_log.stat()
        except FileNotFoundError:
            return b""
        if os.path.samestat(found, os.fstat(self._source.fileno())):
            if found.st_size >= self._source.tell():
                return b""
            self._source.seek(0)
        elif rest := self._source.read(_CHUNK):
            return rest
        else:
            self._source.close()
            self._source = self._opened()
        return self._source.read(_CHUNK)

    def finish(self) -> tuple[str, ...]:
        """All lines of the log, once the container has exited. Raises `HostError`."""
        while self.read():
            pass
        self._take(self._reader.finish())
        return tuple(self._lines)

    def _take(self, lines: list[str]) -> None:
        for line in lines:
            self._log(line)
        with files.explained("write", self._paths.tuned_log):
            self._copy.writelines(line + "\n" for line in lines)
            self._copy.flush()
        self._lines += lines
        self.is_complete = self.is_complete or any(it.endswith(KEEPS_RUNNING) for it in lines)

    def _log(self, line: str) -> None:
        """At TuneD's own level. What continues a record, such as a traceback, has that of the
        record."""
        level, logger, message = tunedlog.header(line) or ("", "", line)
        self._level = _LEVELS.get(level, logging.INFO) if level else self._level
        tuned_output.log(self._level, "%s", line, extra=messages.of_tuned(logger, message))
