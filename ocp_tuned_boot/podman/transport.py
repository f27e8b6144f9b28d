"""Requests to Podman's socket and their answers, in HTTP/1.1.

Each request gets the time that is left of the deadline, each answer has a limit, and each failure
is a typed error. What `http.client` raises stops here.

Not podman-py: the boot waits for what is imported. It imports all of its own parts, and requests
those for TLS, cookies and the detection of encodings, which takes as long as all of this program.
"""

from __future__ import annotations

import io
import json
import os
import socket
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from copy import copy
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ocp_tuned_boot.errors import DeadlineExceeded, PodmanError, Refused
from ocp_tuned_boot.host import files, systemd
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.typedjson import from_json
from ocp_tuned_boot.podman import failures, service

#: The oldest API that has every request used here; every Podman 4 and 5 serves it.
API_VERSION = "4.0.0"

#: The HTTP statuses of an answer that gives the reason of a failure.
ERRORS = tuple(range(400, 600))

#: The longest answer (bytes), except for one that is read piece by piece. One in JSON may have
#: `files.LIMIT` bytes. The largest are an image's labels, and the folders read from an image.
ANSWER_LIMIT = 4 * 1024 * 1024

#: The size of one piece of a file that is sent (bytes).
_PIECE = 64 * 1024


class _Socket(socket.socket):
    """A connection under a deadline, for all that is sent and received together."""

    deadline: Deadline

    def sendall(self, *arguments: Any) -> None:
        self.settimeout(self.deadline.left())
        super().sendall(*arguments)

    def recv_into(self, *arguments: Any) -> int:
        self.settimeout(self.deadline.left())
        return super().recv_into(*arguments)


class _Connection(HTTPConnection):
    """A connection for one request."""

    def __init__(self, path: Path, deadline: Deadline) -> None:
        super().__init__("localhost", blocksize=_PIECE)
        self._path, self._deadline = path, deadline

    def connect(self) -> None:
        self.sock = _Socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.deadline = self._deadline
        self.sock.settimeout(self._deadline.left())
        self.sock.connect(str(self._path))


class Answer:
    """An answer of Podman. `content`: its body; empty if it is read piece by piece (`stream`)."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status_code = response.status
        self.headers = response.headers
        self.content = b""
        self._response = response

    def read(self) -> None:
        """Reads the body. Raises `PodmanError` if it is larger than `ANSWER_LIMIT`."""
        with self._response as response:
            self.content = response.read(ANSWER_LIMIT + 1)
            if len(self.content) > ANSWER_LIMIT:
                raise PodmanError(f"Podman's answer is larger than {ANSWER_LIMIT} bytes")
            # `read` with a number of bytes takes an answer that was cut off for a whole one.
            if response.length:
                raise IncompleteRead(self.content, response.length)

    def pieces(self, size: int) -> Iterator[bytes]:
        """The parts of the body as they come, of at most `size` bytes."""
        with self._response as response:
            left = response.length
            while piece := response.read1(size):
                if left is not None:
                    left -= len(piece)
                yield piece
            if left:
                raise IncompleteRead(b"", left)

    def reason(self) -> str:
        """Why Podman refuses a request."""
        try:
            return str(from_json(self.content)["message"])
        except (ValueError, KeyError):
            return self.content.decode(errors="replace")


class Transport:
    """The way to `podman system service`. Every method may raise `PodmanError` (cannot be reached,
    refuses) and `DeadlineExceeded` (does not answer in time).

    `what` names a request in errors, after "Podman refuses to": "inspect image x".
    """

    def __init__(self, path: Path, deadline: Deadline) -> None:
        self.deadline = deadline
        self.path = path
        self._knock()

    def until(self, deadline: Deadline) -> Transport:
        """The same under another deadline."""
        other = copy(self)
        other.deadline = deadline
        return other

    def _knock(self) -> None:
        """Connects once: starts a socket-activated service, and fails at once without one."""
        try:
            systemd.knock(self.path)
        except OSError as error:
            raise PodmanError(
                f"cannot reach Podman at {self.path}: {error.strerror or error}",
                "Run this command as root."
                if isinstance(error, PermissionError)
                else "Check its socket: systemctl status 'ocp-tuned-podman@*.socket'. If it is not "
                "active: systemctl start ocp-tuned-podman@shared.socket (or @own). "
                "To use another one, set it in boot.conf, [podman] socket.",
                temporary=True,
            ) from error

    def send(  # noqa: PLR0913  # as many as a request has parts
        self, method: str, path: str, what: str, fine: tuple[int, ...] = (), *,
        params: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None,
        data: PacedFile | bytes | None = None, stream: bool = False,
    ) -> Answer:  # fmt: skip
        """Sends one request and returns the answer. `fine`: statuses that are no error; `stream`:
        the body is read with `lines` or `chunks`."""
        self.deadline.left()
        query = f"?{urlencode(params, doseq=True)}" if params else ""
        where = f"/v{API_VERSION}/libpod{path}{query}"
        with self._translating(what):
            answer = self._answer(method.upper(), where, data, dict(headers or {}))
            refused = answer.status_code in ERRORS and answer.status_code not in fine
            if refused or not stream:
                answer.read()
        if refused:
            with self.understood(what):
                raise self._refused(answer, what)
        return answer

    def _answer(
        self, method: str, where: str, data: PacedFile | bytes | None, headers: dict[str, str]
    ) -> Answer:
        connection = _Connection(self.path, self.deadline)
        try:
            # Podman may answer, and close the connection, before it has read all that is sent.
            with suppress(BrokenPipeError):
                if isinstance(data, PacedFile):
                    headers["Content-Length"] = str(data.size)
                connection.request(method, where, data, {**headers, "Connection": "close"})
            return Answer(connection.getresponse())
        except BaseException:
            connection.close()
            raise

    def create(self, body: Mapping[str, Any], what: str) -> Any:
        """What `inspect` returns for a container that is created of this description."""
        data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        created = self.send("post", "/containers/create", what, headers=headers, data=data)
        with self.understood(what):
            made = parse(created.content)["Id"]
        return parse(self.send("get", f"/containers/{made}/json", what).content)

    def lines(self, response: Answer, what: str) -> Iterator[bytes]:
        """The lines of a streamed answer; reading stops at the deadline."""
        rest = b""
        with closing(self.chunks(response, _PIECE, what)) as chunks:
            for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > files.LIMIT:
                    words = f"Podman sent a line of more than {files.LIMIT} bytes ({what})"
                    raise PodmanError(words)
                yield from filter(None, lines)
        if rest:
            yield rest

    def chunks(self, response: Answer, size: int, what: str) -> Generator[bytes, None, None]:
        """A streamed answer in pieces of at most `size` bytes; reading stops at the deadline."""
        with self._translating(what):
            yield from response.pieces(size)

    @contextmanager
    def understood(self, what: str) -> Iterator[None]:
        """For the code that reads an answer: one of another form than Podman's is a
        `PodmanError`."""
        kinds = (
            ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError,
        )  # fmt: skip
        try:
            yield
        except kinds as error:
            raise PodmanError(
                f"Podman at {self.path} sent an unexpected answer ({what}): {error!r}"
            ) from error

    @contextmanager
    def _translating(self, what: str) -> Iterator[None]:
        try:
            yield
        except (DeadlineExceeded, TimeoutError, socket.timeout) as error:
            raise DeadlineExceeded(
                f"Podman at {self.path} did not answer in time ({what})",
                service.journal_hint(self.path),
            ) from error
        except (OSError, HTTPException) as error:
            raise PodmanError(
                f"lost the connection to Podman at {self.path} ({what}): {error}",
                service.journal_hint(self.path),
                temporary=True,
            ) from error

    def _refused(self, answer: Answer, what: str) -> Refused:
        reason = answer.reason()
        hint = failures.storage_hint(reason)
        # 5xx: the storage is busy, a container did not start. 4xx: the request itself is wrong.
        temporary = answer.status_code >= 500 and not hint
        return Refused(f"Podman refuses to {what}: {reason}", hint, temporary=temporary)


def parse(data: bytes) -> Any:
    """What an answer in JSON says. Raises `ValueError`, also for more than `files.LIMIT` bytes."""
    if len(data) > files.LIMIT:
        raise ValueError(f"found {len(data)} bytes, expected at most {files.LIMIT}")
    return from_json(data)


class PacedFile(io.FileIO):
    """A file to send. A read after the deadline raises `DeadlineExceeded`."""

    def __init__(self, path: Path, deadline: Deadline) -> None:
        super().__init__(str(path), "rb", opener=files.opener)
        self._deadline = deadline

    @property
    def size(self) -> int:
        """In bytes."""
        return os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        self._deadline.left()
        return super().read(size) or b""
