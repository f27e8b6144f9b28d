"""Requests to Podman's socket and their answers, over podman-py.

Each request gets the time that is left of the deadline, each answer has a limit, and each failure
is a typed error. `podman.APIError` and everything `requests` raises stop here.
"""

from __future__ import annotations

import io
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from copy import copy
from pathlib import Path
from typing import Any, Callable

from ocp_tuned_boot.errors import DeadlineExceeded, PodmanError, Refused
from ocp_tuned_boot.host import files, systemd
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.transfer import Amount, Part, Span
from ocp_tuned_boot.host.typedjson import from_json
from ocp_tuned_boot.podman import failures, service

#: The oldest API that has every request used here; every Podman 4 and 5 serves it.
API_VERSION = "4.0.0"

#: The HTTP statuses of an answer that gives the reason of a failure.
ERRORS = tuple(range(400, 600))

#: The longest answer (bytes), except for one that is read piece by piece. One in JSON may have
#: `files.LIMIT` bytes. The largest are an image's labels, and the folders read from an image.
ANSWER_LIMIT = 4 * 1024 * 1024


class _Bounded:
    """The body of an answer, as requests reads it."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, *arguments: Any, **more: Any) -> Iterator[bytes]:
        """Its parts. Raises `PodmanError` when they are larger than `ANSWER_LIMIT` together."""
        left = ANSWER_LIMIT
        for chunk in self._raw.stream(*arguments, **more):
            left -= len(chunk)
            if left < 0:
                self._raw.close()
                raise PodmanError(f"Podman's answer is larger than {ANSWER_LIMIT} bytes")
            yield chunk


def _bounded(response: Any, *, stream: bool = False, **_: Any) -> None:
    """A hook that requests calls with each answer before it reads it."""
    # urllib3 1 (Debian 12, EL 9) takes an answer that was cut off for a whole one.
    response.raw.enforce_content_length = True
    if not stream or response.status_code in ERRORS:
        response.raw = _Bounded(response.raw)


class Transport:
    """A connection to `podman system service`. Every method may raise `PodmanError` (cannot be
    reached, refuses) and `DeadlineExceeded` (does not answer in time).

    `what` names a request in errors, after "Podman refuses to": "inspect image x".
    """

    def __init__(self, path: Path, deadline: Deadline) -> None:
        self.deadline = deadline
        self.path = path
        self._knock()
        # Imported here because it takes a tenth of a second, during which the service starts.
        from podman import PodmanClient  # noqa: PLC0415
        from podman.errors import APIError  # noqa: PLC0415
        from requests.exceptions import RequestException, Timeout  # noqa: PLC0415
        from urllib3 import Timeout as Allowance  # noqa: PLC0415
        from urllib3.exceptions import TimeoutError as ReadTimeout  # noqa: PLC0415

        self._allowance = Allowance
        self._errors = (APIError, RequestException)
        self._timeouts = (Timeout, ReadTimeout)
        self._client: Any = PodmanClient(base_url=f"unix://{path}", version=API_VERSION)
        self._client.api.hooks["response"].append(_bounded)

    def close(self) -> None:
        self._client.close()

    def until(self, deadline: Deadline) -> Transport:
        """The same connection under another deadline."""
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

    def send(
        self, method: str, path: str, what: str, fine: tuple[int, ...] = (), **arguments: Any
    ) -> Any:
        """Sends one request and returns requests' response. `fine`: statuses that are no error."""
        with self._translating(what):
            send = getattr(self._client.api, method)
            # For sending and for the answer together, not for each.
            allowed = self._allowance(total=self.deadline.left())
            response = send(path, timeout=allowed, **arguments)
            if response.status_code not in fine:
                with self.understood(what):
                    response.raise_for_status()
        return response

    def create(self, arguments: dict[str, Any], what: str) -> Any:
        """What `inspect` returns for a container that podman-py's `containers.create` created."""
        with self._translating(what):
            self._client.api.timeout = self.deadline.left()
            return self._client.containers.create(**arguments).attrs

    def lines(self, response: Any, what: str) -> Iterator[bytes]:
        """The lines of a streamed answer; reading stops at the deadline."""
        rest = b""
        # A read returns as soon as there is anything, also if it is less than this.
        with closing(self.chunks(response, 64 * 1024, what)) as chunks:
            for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > files.LIMIT:
                    words = f"Podman sent a line of more than {files.LIMIT} bytes ({what})"
                    raise PodmanError(words)
                yield from filter(None, lines)
        if rest:
            yield rest

    def chunks(self, response: Any, size: int, what: str) -> Generator[bytes, None, None]:
        """A streamed answer in pieces of at most `size` bytes; reading stops at the deadline.
        Whoever does not read to the end has to close it."""
        # Podman would go on sending to a connection that nobody reads from.
        with closing(response), self._translating(what):
            chunks = response.iter_content(chunk_size=size)
            while True:
                # A response keeps the timeout it began with: give each read what is left now.
                left = self.deadline.left()
                if response.raw.connection is not None and response.raw.connection.sock:
                    response.raw.connection.sock.settimeout(left)
                chunk = next(chunks, None)
                if chunk is None:
                    return
                yield chunk

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
        except self._errors as error:
            raise self._translated(error, what) from error

    def _translated(self, error: Exception, what: str) -> PodmanError | DeadlineExceeded:
        cause = error.__cause__
        if any(isinstance(each, self._timeouts) for each in (error, cause, error.__context__)):
            return DeadlineExceeded(
                f"Podman at {self.path} did not answer in time ({what})",
                service.journal_hint(self.path),
            )
        if getattr(error, "status_code", None) is None:
            reason = cause if isinstance(cause, OSError) else error
            return PodmanError(
                f"lost the connection to Podman at {self.path} ({what}): {reason}",
                service.journal_hint(self.path),
                temporary=True,
            )
        explanation = getattr(error, "explanation", None) or str(error)
        hint = failures.storage_hint(explanation)
        if hint:
            explanation = failures.of_storage(explanation)
        # 5xx: the storage is busy, a container did not start. 4xx: the request itself is wrong.
        temporary = int(error.status_code) >= 500 and not hint  # type: ignore[attr-defined]
        if temporary:
            hint = service.journal_hint(self.path)
        return Refused(f"Podman refuses to {what}: {explanation}", hint, temporary=temporary)


def parse(data: bytes) -> Any:
    """What an answer in JSON says. Raises `ValueError`, also for more than `files.LIMIT` bytes."""
    if len(data) > files.LIMIT:
        raise ValueError(f"found {len(data)} bytes, expected at most {files.LIMIT}")
    return from_json(data)


class PacedFile(io.FileIO):
    """A file to send, or an archive that is made of `parts` of it. A read after the deadline raises
    `DeadlineExceeded`; `report` is called with what has been read."""

    def __init__(
        self, path: Path, deadline: Deadline, report: Callable[[Amount], None],
        parts: Sequence[Part] = (),
    ) -> None:  # fmt: skip
        super().__init__(str(path), "rb", opener=files.opener)
        self._deadline, self._report = deadline, report
        whole = Span(0, os.fstat(self.fileno()).st_size)
        self._parts = [*parts] or [whole]
        #: What requests sends as its length.
        self.len = sum(it.size if isinstance(it, Span) else len(it) for it in self._parts)
        self._done = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._deadline.left()
        data = self._next(size if size is not None and size >= 0 else self.len)
        self._done += len(data)
        sent = self._done >= self.len
        self._report(Amount(self._done, self.len, "Podman unpacks it" if sent else ""))
        return data

    def _next(self, size: int) -> bytes:
        """What follows, at most so many bytes, and not more than what is left of one part."""
        if not self._parts:
            return b""
        part = self._parts.pop(0)
        rest: Part
        if isinstance(part, Span):
            self.seek(part.offset)
            data = super().read(min(size, part.size)) or b""
            rest = Span(part.offset + len(data), part.size - len(data))
            # Of a file that has become shorter, there is no more.
            more = bool(data) and rest.size > 0
        else:
            data, rest = part[:size], part[size:]
            more = bool(rest)
        if more:
            self._parts.insert(0, rest)
        return data
