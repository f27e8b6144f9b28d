"""What systemd-nspawn reports of the machine that it runs (sd_notify(3))."""

from __future__ import annotations

import re
import select
import socket
import threading
from typing import Optional


class Notifications:
    """A notification socket that a thread reads for as long as the sender runs.

    PID 1 of a machine sends messages at every daemon-reload and more often. When the socket is full
    it blocks, and with it the whole machine. So the socket is read while a test does other things.
    """

    def __init__(self, name: str) -> None:
        """Binds the socket. Messages stay in it until `read_from` is called."""
        # In the abstract namespace there is no file to remove and no limit by the cache's path.
        self.address = f"@ocp-tuned-lab/{name}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address.replace("@", "\0", 1))
        self._socket.setblocking(False)
        self._changed = threading.Condition()
        #: The last value of each key, until `wait` has returned it.
        self._values: dict[str, str] = {}
        self._thread: Optional[threading.Thread] = None
        self._ended = False

    def read_from(self, sender: int) -> None:
        """Starts the thread. It ends when the process of this pidfd has exited."""
        # A daemon: Python may exit while a machine is still on.
        self._thread = threading.Thread(target=self._read, args=(sender,), daemon=True)
        self._thread.start()

    def wait(self, key: str, seconds: float) -> Optional[str]:
        """Waits for the value of this key, and forgets it; None if the sender has exited without
        sending it. Raises `TimeoutError`."""
        with self._changed:
            if not self._changed.wait_for(lambda: key in self._values or self._ended, seconds):
                raise TimeoutError(f"no {key} after {seconds:.0f} s")
            return self._values.pop(key, None)

    def close(self) -> None:
        """Closes the socket. The sender must have exited, or be about to."""
        if self._thread is not None:
            self._thread.join()
        self._socket.close()

    def _read(self, sender: int) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(sender, select.POLLIN)
        ended = False
        while not ended:
            # Looked at before the socket is read: the last message of the sender is in it then.
            ended = sender in [opened for opened, _ in poll.poll()]
            values = self._received()
            with self._changed:
                self._values.update(values)
                self._ended = ended
                self._changed.notify_all()

    def _received(self) -> dict[str, str]:
        """All messages that are in the socket; of a key that is in several the last value."""
        values: dict[str, str] = {}
        while True:
            try:
                message = self._socket.recv(4096).decode(errors="replace")
            except BlockingIOError:
                return values
            values.update(re.findall(r"(?m)^(\w+)=(.*)$", message))
