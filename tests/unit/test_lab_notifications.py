"""The lab's notification socket: it never fills up, and its thread ends with the machine."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tests.lab.notifications import Notifications
from tests.unit.patience import PATIENCE


@pytest.fixture
def machine() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for systemd-nspawn; it exits when its input is closed."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process


@pytest.fixture
def said(machine: subprocess.Popen[bytes]) -> Iterator[Notifications]:
    notifications = Notifications(f"test-{machine.pid}")
    pidfd = os.pidfd_open(machine.pid)
    notifications.read_from(pidfd)
    yield notifications
    machine.communicate()
    notifications.close()
    os.close(pidfd)


@pytest.fixture
def sender(said: Notifications) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
        sending.settimeout(PATIENCE)
        sending.connect(said.address.replace("@", "\0", 1))
        yield sending


def test_messages_that_are_not_waited_for_do_not_fill_it(
    said: Notifications, sender: socket.socket
) -> None:
    sender.send(b"READY=1\nX_NSPAWN_LEADER_PID=17")
    # Far more than the kernel keeps (net.unix.max_dgram_qlen); it would time out here.
    for number in range(5000):
        sender.send(f"STATUS={number}\nMONOTONIC_USEC=1".encode())
    assert said.wait("X_NSPAWN_LEADER_PID", PATIENCE) == "17"
    assert said.wait("READY", PATIENCE) == "1"


def test_a_value_is_returned_once(said: Notifications, sender: socket.socket) -> None:
    sender.send(b"READY=1")
    assert said.wait("READY", PATIENCE) == "1"
    with pytest.raises(TimeoutError, match="no READY after 0 s"):
        said.wait("READY", 0.01)


def test_a_value_that_comes_later_is_waited_for(said: Notifications, sender: socket.socket) -> None:
    later = threading.Timer(0.05, sender.send, [b"READY=1"])
    later.start()
    assert said.wait("READY", PATIENCE) == "1"
    later.join()


def test_it_ends_with_the_machine_and_keeps_the_last_message(
    machine: subprocess.Popen[bytes], said: Notifications, sender: socket.socket
) -> None:
    threads = threading.active_count()
    sender.send(b"STOPPING=1")
    machine.communicate()
    assert said.wait("READY", PATIENCE) is None
    assert said.wait("STOPPING", PATIENCE) == "1"
    said.close()
    assert threading.active_count() == threads - 1


def test_a_socket_without_a_machine_can_be_closed() -> None:
    Notifications("never").close()
