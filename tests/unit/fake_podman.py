"""A Podman that misbehaves, on a real socket: for what a real one cannot be made to do.

What Podman does when all is well is tested with the real one, in tests/lab/test_flow.py.
"""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Callable, Optional

#: From the request's first line to the raw answer; None: say nothing and keep the line open.
Answer = Callable[[str], Optional[bytes]]


def reply(status: int, body: str | bytes, *, chunked: bool = False) -> bytes:
    """A whole HTTP answer; with `chunked` a first chunk, after which the stream stays open."""
    head = f"HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Type: application/json\r\n"
    data = body.encode() if isinstance(body, str) else body
    if chunked:
        head += f"Transfer-Encoding: chunked\r\n\r\n{len(data):x}\r\n"
        return head.encode() + data + b"\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


@contextmanager
def socket_path() -> Iterator[Path]:
    """A short path: the kernel allows 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="otb-") as folder:
        yield Path(folder, "podman.sock")


@contextmanager
def listening(answer: Answer) -> Iterator[Path]:
    """A service that answers each request so."""
    with socket_path() as path, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        lines: list[socket.socket] = []
        thread = threading.Thread(target=_serve, args=(listener, answer, lines))
        thread.start()
        try:
            yield path
        finally:
            # Wakes the thread out of accept(), and out of a client that does not read.
            listener.shutdown(socket.SHUT_RDWR)
            for line in list(lines):
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
            thread.join()
            for line in lines:
                line.close()


def _serve(listener: socket.socket, answer: Answer, lines: list[socket.socket]) -> None:
    with suppress(OSError):
        while True:
            line, _ = listener.accept()
            lines.append(line)
            request = _request(line)
            said = answer(request) if request else b""
            # A client that has hung up is not the last one.
            with suppress(OSError):
                line.sendall(said or b"")
            if said is not None and b"chunked" not in said:
                lines.remove(line)
                line.close()


def _request(line: socket.socket) -> str:
    """The request's first line, or nothing when the other side only knocks."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = line.recv(65536)
        if not more:
            return ""
        data += more
    return data.split(b"\r\n", 1)[0].decode()
