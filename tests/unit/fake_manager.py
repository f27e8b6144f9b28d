"""A service manager's end of the notification socket that takes files as systemd does, and one
that has gone away. That the real one does so is for tests/lab/test_holds.py to show."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.unit.patience import PATIENCE


class Manager:
    """Its descriptor store: names and files, and what was said about it in order."""

    def __init__(self, bound: socket.socket, maximum: int) -> None:
        self._bound = bound
        self._maximum = maximum
        self._heard = threading.Condition()
        self.stored: list[tuple[str, int]] = []
        #: The names in the store after each message.
        self.history: list[tuple[str, ...]] = []
        self.messages: list[list[str]] = []

    @property
    def names(self) -> list[str]:
        return sorted(name for name, _ in self.stored)

    def serve(self) -> None:
        while True:
            data, opened, _, _ = socket.recv_fds(self._bound, 65536, 8)
            lines = data.decode().split("\n")
            if lines == ["END"]:
                break
            self._take(lines, opened)
        for _, each in self.stored:
            os.close(each)

    def _take(self, lines: list[str], opened: list[int]) -> None:
        said = dict(line.split("=", 1) for line in lines)
        name = said.get("FDNAME", "stored")
        if said.get("FDSTORE") == "1" and len(self.stored) < self._maximum:
            self.stored += [(name, each) for each in opened]
            opened = []
        if said.get("FDSTOREREMOVE") == "1":
            opened += [each for known, each in self.stored if known == name]
            self.stored = [(known, each) for known, each in self.stored if known != name]
        # A barrier is passed by closing what came with it.
        for each in opened:
            os.close(each)
        with self._heard:
            self.messages.append(lines)
            self.history.append(tuple(self.names))
            self._heard.notify_all()

    def wait_for(self, beginning: str) -> None:
        """Returns when a line that begins so has come. Raises `TimeoutError`."""

        def has_come() -> bool:
            return any(line.startswith(beginning) for lines in self.messages for line in lines)

        with self._heard:
            if not self._heard.wait_for(has_come, PATIENCE):
                raise TimeoutError(f"no {beginning!r} in {self.messages}")


@contextmanager
def listening(maximum: int = 4) -> Iterator[tuple[str, Manager]]:
    """The address for NOTIFY_SOCKET, and who listens there."""
    with tempfile.TemporaryDirectory(prefix="otb-") as folder:
        address = f"{folder}/notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
            bound.bind(address)
            manager = Manager(bound, maximum)
            thread = threading.Thread(target=manager.serve)
            thread.start()
            try:
                yield address, manager
            finally:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                    sender.sendto(b"END", address)
                thread.join()
