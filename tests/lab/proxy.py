"""The node's real Podman, behind a socket that can be made to stall or to break off.

Faults that the real service cannot be asked for; whatever is passed on is its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.lab.machine import Visit
from tests.lab.node import Node

# `python3 - SOCKET REQUEST HOW`: what to do about the first request whose first line matches.
#   hold          says "held" and keeps it
#   drop          breaks the connection before the request is passed on
#   drop-answer   passes it on, and breaks the connection instead of the answer
_PROGRAM = r"""
import re, socket, sys, threading
path, request, how = sys.argv[1:]
armed = [re.compile(request.encode())]

def answer(podman, client, drop):
    try:
        while (data := podman.recv(65536)) and not drop.is_set():
            client.sendall(data)
    except OSError:
        pass
    for end in (podman, client):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

def serve(client):
    podman = socket.socket(socket.AF_UNIX)
    podman.connect("/run/podman/podman.sock")
    drop = threading.Event()
    threading.Thread(target=answer, args=(podman, client, drop), daemon=True).start()
    while data := client.recv(65536):
        if armed and armed[0].search(data.split(b"\r\n")[0]):
            armed.clear()
            print("held", flush=True)
            if how == "hold":
                continue
            drop.set()
            if how == "drop":
                client.shutdown(socket.SHUT_RDWR)
                return
        podman.sendall(data)

with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(path)
    listener.listen()
    print("listening", flush=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


@dataclass
class Proxy:
    """A socket on the node."""

    path: str
    visit: Visit

    def wait(self) -> None:
        """Returns when the request has come."""
        assert self._line() == "held"

    def _line(self) -> str:
        assert self.visit.stdout is not None
        return self.visit.stdout.readline().strip()


@contextmanager
def podman_that(node: Node, how: str, request: str, path: str) -> Iterator[Proxy]:
    """A Podman that does this (`hold`, `drop`, `drop-answer`) to the first such request."""
    with node.popen("python3", "-c", _PROGRAM, path, request, how) as visit:
        proxy = Proxy(path, visit)
        assert proxy._line() == "listening"
        try:
            yield proxy
        finally:
            visit.kill()
