"""The host's half of the conversation, with a program of its own at the other end."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocp_tuned_boot.errors import DeadlineExceeded, HostError
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.inside.program import (
    GUARDED,
    LAST,
    MORE,
    PACKET,
    RESTORE,
    RESUMES,
    STAYS,
    UNVERIFIED,
    Host,
)
from ocp_tuned_boot.tuned import asked, conversation
from ocp_tuned_boot.tuned.conversation import Listener, Program, ProgramExited, Word
from tests.unit.patience import PATIENCE


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    # Longer than the path of a socket may be.
    root = tmp_path / ("long" * 30)
    root.mkdir()
    return Paths(root)


def connected(paths: Paths) -> socket.socket:
    """Another connection to the listener."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    folder = os.open(paths.conversation, os.O_RDONLY)
    made.connect(f"/proc/self/fd/{folder}/apply")
    os.close(folder)
    return made


@pytest.fixture
def pair() -> Iterator[tuple[Program, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with Program(ours) as program, theirs:
        yield program, theirs


@pytest.fixture
def me() -> Iterator[int]:
    """A descriptor of this process."""
    pidfd = os.pidfd_open(os.getpid())
    yield pidfd
    os.close(pidfd)


def deadline(seconds: float = PATIENCE) -> Deadline:
    return Deadline(seconds)


def test_a_whole_conversation_with_the_real_program(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    command = tmp_path / "tuned"
    command.write_text("#!/bin/sh\nexit 7\n")
    command.chmod(0o755)
    with Listener(paths) as listener:
        name = Path(conversation.__file__).parents[1] / "inside/program.py"
        where = str(paths.conversation / "apply")
        process = subprocess.Popen([sys.executable, "-Es", name, "apply", where, command])
        pidfd = os.pidfd_open(process.pid)
        with listener.accept(process.pid, pidfd, deadline()) as program:
            # There is no TuneD here.
            said = asked.parse(program.hear(deadline()))
            assert isinstance(said, asked.Unasked)
            assert "No module named 'tuned'" in said.reason
            assert not program.exited()
            program.go()
            with pytest.raises(ProgramExited):
                program.hear(deadline())
            assert program.exited()
        assert process.wait(PATIENCE) == 7
        os.close(pidfd)
    assert list(paths.conversation.iterdir()) == []


def test_only_root_can_connect(paths: Paths) -> None:
    with Listener(paths):
        assert stat.S_IMODE((paths.conversation / "apply").stat().st_mode) == 0o600
        assert stat.S_IMODE(paths.conversation.stat().st_mode) == 0o700


def test_a_socket_that_a_killed_run_left_is_replaced(paths: Paths, me: int) -> None:
    left = Listener(paths)
    left.__enter__()
    left._socket.close()
    with Listener(paths) as listener, connected(paths):
        listener.accept(os.getpid(), me, deadline())


def test_a_folder_that_is_a_link(paths: Paths, tmp_path: Path) -> None:
    paths.run.mkdir(parents=True)
    paths.conversation.symlink_to(tmp_path)
    with pytest.raises(HostError, match="conversation"):
        Listener(paths).__enter__()


def test_another_process_is_refused(paths: Paths, me: int) -> None:
    with Listener(paths) as listener:
        code = (
            "import os, socket, sys\n"
            "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
            "os.chdir(sys.argv[1]); s.connect('apply')\n"
            "print(s.recv(1))\n"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", code, paths.conversation], stdout=subprocess.PIPE, text=True
        )
        with pytest.raises(ProgramExited):
            # It is refused, and it exits.
            listener.accept(os.getpid(), os.pidfd_open(other.pid), deadline())
        assert other.communicate(timeout=PATIENCE)[0] == "b''\n"
        with connected(paths):
            listener.accept(os.getpid(), me, deadline())


def test_a_program_that_exits_before_it_connects(paths: Paths) -> None:
    process = subprocess.Popen(["/bin/true"])
    pidfd = os.pidfd_open(process.pid)
    with Listener(paths) as listener:
        with pytest.raises(ProgramExited, match="before it connected"):
            listener.accept(process.pid, pidfd, deadline())
    process.wait()
    os.close(pidfd)


def test_a_program_that_connected_and_exited_is_heard(paths: Paths) -> None:
    """Its message is not lost, also if its exit is noticed first."""
    process = subprocess.Popen(["/bin/true"])
    pidfd = os.pidfd_open(process.pid)
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)  # type: ignore[attr-defined,unused-ignore]
    with Listener(paths) as listener:
        with connected(paths) as theirs:
            theirs.send(LAST + b"{}")
        with listener.accept(os.getpid(), pidfd, deadline()) as program:
            assert not program.exited()
            assert program.hear(deadline()) == b"{}"
            assert program.exited()
    process.wait()
    os.close(pidfd)


def test_a_program_that_had_exited_before_it_was_looked_for_is_heard(paths: Paths) -> None:
    with Listener(paths) as listener:
        with connected(paths) as theirs:
            theirs.send(LAST + b"{}")
        with listener.accept(os.getpid(), None, deadline()) as program:
            assert program.hear(deadline()) == b"{}"
        with pytest.raises(ProgramExited, match="before it connected"):
            listener.accept(os.getpid(), None, deadline())


def test_a_program_that_does_not_connect(paths: Paths, me: int) -> None:
    with Listener(paths) as listener, pytest.raises(DeadlineExceeded):
        listener.accept(os.getpid(), me, deadline(0.05))


def test_a_message_in_packets(pair: tuple[Program, socket.socket]) -> None:
    program, theirs = pair
    theirs.send(MORE + b"a" * PACKET)
    theirs.send(LAST + b"b")
    theirs.send(LAST + b"next")
    assert program.hear(deadline()) == b"a" * PACKET + b"b"
    assert program.hear(deadline()) == b"next"


def test_what_to_restore_is_in_a_file_while_the_program_may_read_it(paths: Paths) -> None:
    file = paths.conversation / f"apply{RESTORE}"
    with Listener(paths) as listener:
        listener.restore([])
        assert not file.exists()
        listener.restore([{"plugin": "cpu"}])
        assert json.loads(file.read_text()) == [{"plugin": "cpu"}]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        # A check does not wait for this run.
        with Listener(paths, "verify"):
            pass
        assert file.exists()
    assert not file.exists()
    # A run that was killed has left it.
    file.write_text("[]")
    with Listener(paths):
        assert not file.exists()


def test_what_the_program_says_is_what_is_heard(pair: tuple[Program, socket.socket]) -> None:
    program, theirs = pair
    host = Host.__new__(Host)
    host._socket = theirs
    host.say("unasked", reason="é" * 10)
    assert asked.parse(program.hear(deadline())) == asked.Unasked("é" * 10)
    program.go(Word(guarded=True, verify=False, stays=True, resumes=True))
    assert host.word() == [GUARDED, UNVERIFIED, STAYS, RESUMES]


def test_a_program_that_says_nothing(pair: tuple[Program, socket.socket]) -> None:
    program, theirs = pair
    theirs.send(MORE + b"a")
    with pytest.raises(DeadlineExceeded):
        program.hear(deadline(0.05))


def test_a_program_that_never_ends_a_message(pair: tuple[Program, socket.socket]) -> None:
    program, theirs = pair

    def say() -> None:
        with contextlib.suppress(OSError):
            while True:
                theirs.send(MORE + b"a" * PACKET)

    saying = threading.Thread(target=say)
    saying.start()
    with pytest.raises(ValueError, match=f"more than {asked.LIMIT} bytes"):
        program.hear(deadline())
    program.__exit__()
    saying.join()


@pytest.mark.parametrize("packet", [b"x", LAST, b"?abc", LAST + b"a" * (PACKET + 1)])
def test_what_is_no_packet(pair: tuple[Program, socket.socket], packet: bytes) -> None:
    program, theirs = pair
    theirs.send(packet)
    with pytest.raises(ValueError, match="found a packet of"):
        program.hear(deadline())


def test_a_program_that_exits_before_the_word(pair: tuple[Program, socket.socket]) -> None:
    program, theirs = pair
    theirs.close()
    assert program.exited()
    with pytest.raises(ProgramExited):
        program.go()


def test_the_mounts_contain_what_the_entrypoint_names(paths: Paths) -> None:
    command = conversation.entrypoint("apply", ("/usr/sbin/tuned", "--no-dbus"))
    assert command[4:5] + command[6:] == ("apply", "/usr/sbin/tuned", "--no-dbus")
    sources = {target: source for source, target in conversation.mounts(paths)}
    program, where = Path(command[3]), Path(command[5])
    assert (Path(sources[str(program.parent)]) / program.name).exists()
    # The package's name is that of the import.
    assert program.parent.parts[-2:] == ("ocp_tuned_boot", "inside")
    with Listener(paths):
        assert (Path(sources[str(where.parent)]) / where.name).is_socket()


@pytest.mark.parametrize(
    ("first", "expected"),
    [("#!/bin/echo -Es", "-Es PROGRAM apply"), ("#!/bin/echo", "PROGRAM apply")],
)
def test_the_program_is_run_by_the_interpreter_of_tuned(
    tmp_path: Path, first: str, expected: str
) -> None:
    tuned = tmp_path / "tuned"
    tuned.write_text(f"{first}\nimport tuned\n")
    command = conversation.entrypoint("apply", (str(tuned), "--no-dbus"))
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    words = done.stdout.replace(command[3], "PROGRAM")
    assert words == f"{expected} {command[5]} {tuned} --no-dbus\n"
