"""The program in the container, without TuneD: what it does when TuneD cannot be asked, and when
the host goes. With TuneD: tests/lab/test_inside.py."""

from __future__ import annotations

import ast
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot.inside import program
from tests.unit.patience import PATIENCE

FOLDER = Path(program.__file__).parent
#: Of the standard library of Python 3.6, the image's, or this program's.
ALLOWED = {
    "argparse", "builtins", "collections", "contextlib", "ctypes", "functools", "json", "logging",
    "os", "re", "runpy", "signal", "socket", "struct", "sys", "threading", "time", "traceback",
    "typing",
    "tuned", "ocp_tuned_boot.inside",
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_it_runs_with_the_python_of_any_image(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 6))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    roots = {name if name.startswith("ocp_") else name.split(".")[0] for name in imported}
    unknown = {name for name in roots if not name.startswith("ocp_tuned_boot.inside")} - ALLOWED
    assert unknown == set()
    # Python 3.6 would evaluate list[str].
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            each = [*node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            annotations = [arg.annotation for arg in each if arg is not None] + [node.returns]
            assert all(it is None or isinstance(it, ast.Constant) for it in annotations), node.name
        assert not isinstance(node, ast.AnnAssign)


class Container:
    """The program as the container's first process, and the host's end of the conversation."""

    def __init__(self, folder: Path, mode: str = "apply") -> None:
        self.ran = folder / "ran"
        self.command = folder / "tuned"
        self.command.write_text(f'#!/bin/sh\necho "$0 $*" >> {self.ran}\necho log >&2\nexit 7\n')
        self.command.chmod(0o755)
        path = str(folder / "socket")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listening.settimeout(PATIENCE)
        listening.bind(path)
        listening.listen()
        arguments = [str(FOLDER / "program.py"), mode, path, str(self.command), "--no-dbus"]
        self.process = subprocess.Popen(
            [sys.executable, "-Es", *arguments], stderr=subprocess.PIPE, text=True
        )
        self.connection, _ = listening.accept()
        self.connection.settimeout(PATIENCE)
        listening.close()

    def hear(self) -> Any:
        data = b""
        while True:
            packet = self.connection.recv(program.PACKET + 1)
            data += packet[1:]
            if packet[:1] != program.MORE:
                return json.loads(data)

    def ended(self) -> tuple[int, str]:
        _, log = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, log


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    made = Container(tmp_path)
    yield made
    made.connection.close()
    made.process.kill()
    made.process.communicate()


def test_a_tuned_that_cannot_be_asked_is_run_after_the_word(container: Container) -> None:
    said = container.hear()
    assert (said["kind"], said["version"]) == ("unasked", program.VERSION)
    assert said["profile"] is False
    assert said["reason"].startswith("ModuleNotFoundError: No module named 'tuned' (comparing.py:")
    assert not container.ran.exists()
    container.connection.send(program.GO)
    assert container.ended() == (7, "log\n")
    assert container.ran.read_text() == f"{container.command} --no-dbus\n"
    # From then on there is nothing to hear.
    assert container.connection.recv(1) == b""


def test_a_word_that_is_given_early_is_not_lost(container: Container) -> None:
    container.connection.send(program.GO)
    assert container.ended() == (7, "log\n")


def test_an_unknown_word_applies_nothing(container: Container) -> None:
    container.connection.send(b"go ahead")
    assert container.ended()[0] == program.GONE
    assert not container.ran.exists()


def test_without_a_host_nothing_is_applied(container: Container) -> None:
    container.hear()
    container.connection.close()
    status, log = container.ended()
    assert (status, log) == (75, "ocp-tuned-boot has gone, nothing is applied: it has exited\n")
    assert not container.ran.exists()


def test_another_word_is_none(container: Container) -> None:
    container.connection.send(b"gone")
    assert container.ended()[0] == 75
    assert not container.ran.exists()


def test_a_host_that_does_not_listen(tmp_path: Path) -> None:
    arguments = [str(FOLDER / "program.py"), "apply", str(tmp_path / "socket"), "/bin/false"]
    done = subprocess.run(
        [sys.executable, "-Es", *arguments], check=False, capture_output=True, text=True
    )
    assert done.returncode == 75
    assert f"{tmp_path}/socket: No such file or directory" in done.stderr


@pytest.mark.parametrize("number", program._SIGNALS, ids=lambda number: number.name)
def test_a_signal_ends_it_while_it_waits(container: Container, number: signal.Signals) -> None:
    container.hear()
    container.process.send_signal(number)
    # The host notices at once.
    ready, _, _ = select.select([container.connection], [], [], PATIENCE)
    assert ready
    assert container.connection.recv(1) == b""
    assert container.ended()[0] in (-number, 1)
    assert not container.ran.exists()


def test_verify_runs_nothing(tmp_path: Path) -> None:
    container = Container(tmp_path, "verify")
    assert container.hear()["kind"] == "unasked"
    assert container.ended() == (0, "")
    assert not container.ran.exists()


def test_a_long_message_is_sent_in_packets() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    host = program.Host.__new__(program.Host)
    host._socket = theirs
    host.say("asked", text="x" * program.PACKET)
    packets = [ours.recv(program.PACKET + 2) for _ in range(2)]
    assert [packet[:1] for packet in packets] == [program.MORE, program.LAST]
    assert len(packets[0]) == program.PACKET + 1
    content = json.loads(b"".join(packet[1:] for packet in packets))
    assert content["text"] == "x" * program.PACKET
    ours.close()
    with pytest.raises(program.HostGone):
        host.say("asked")
    theirs.close()


def test_its_process_has_the_name_of_the_command(container: Container) -> None:
    container.hear()
    assert Path(f"/proc/{container.process.pid}/comm").read_text() == "tuned\n"
    assert os.path.samefile(f"/proc/{container.process.pid}/cwd", ".")
