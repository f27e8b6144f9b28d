"""What systemd-nspawn reports of the machine that it runs (sd_notify(3))."""

from __future__ import annotations

import re
import select
import socket
import threading
from typing import Optional


class Notifications:
    """A notification socket that a thread empties for as long as the sender lives.

    PID 1 of a machine reports at every daemon-reload, and more often. It waits when the socket is
    full, and the whole machine with it: so the socket must be read whatever a test does meanwhile.
    """

    def __init__(self, name: str) -> None:
        """Binds the socket. Messages wait in it until `take_from` says who sends them."""
        # In the abstract namespace there is no file to remove and no limit by the cache's path.
        self.address = f"@ocp-tuned-lab/{name}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address.replace("@", "\0", 1))
        self._socket.setblocking(False)
        self._changed = threading.Condition()
        #: The last value of each key that nobody has asked for yet.
        self._values: dict[str, str] = {}
        self._thread: Optional[threading.Thread] = None
        self._ended = False

    def take_from(self, sender: int) -> None:
        """Takes in what comes, until the process of this pidfd has exited."""
        # A daemon: an interpreter that exits does not wait for a machine that nobody switched off.
        self._thread = threading.Thread(target=self._take_in, args=(sender,), daemon=True)
        self._thread.start()

    def wait(self, key: str, seconds: float) -> Optional[str]:
        """The value of this key, once; None if the sender has exited without naming it. Raises
        `TimeoutError`."""
        with self._changed:
            told = self._changed.wait_for(lambda: key in self._values or self._ended, seconds)
            if not told:
                raise TimeoutError(f"no {key} after {seconds:.0f} s")
            return self._values.pop(key, None)

    def close(self) -> None:
        """Closes the socket. The sender must have exited, or be about to."""
        if self._thread is not None:
            self._thread.join()
        self._socket.close()

    def _take_in(self, sender: int) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(sender, select.POLLIN)
        while not self._ended:
            ready = [opened for opened, _ in poll.poll()]
            # Asked before the socket is read: what the sender said last is in it by now.
            ended = sender in ready
            self._read_all()
            if ended:
                self._tell(ended=True)

    def _read_all(self) -> None:
        while True:
            try:
                message = self._socket.recv(4096).decode(errors="replace")
            except BlockingIOError:
                return
            self._tell(dict(re.findall(r"(?m)^(\w+)=(.*)$", message)))

    def _tell(self, values: Optional[dict[str, str]] = None, *, ended: bool = False) -> None:
        with self._changed:
            self._values.update(values or {})
            self._ended = ended
            self._changed.notify_all()
