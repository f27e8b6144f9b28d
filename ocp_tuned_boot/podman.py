"""The one door to Podman: typed requests over podman-py, typed errors, one deadline.

Each request gets what is left of the deadline. `podman.APIError` and everything `requests`
raises stop here.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ocp_tuned_boot.deadline import Deadline
from ocp_tuned_boot.errors import DeadlineExceeded, ImageError, PodmanError

log = logging.getLogger(__name__)

#: The oldest API that has all we ask for; every podman 4 and 5 serves it.
API_VERSION = "4.0.0"

# Of a container that has just exited Podman may send 200 and nothing: its own clean-up unmounts
# the container meanwhile (the service logs "globs matched nothing"). The next time it is there.
_ARCHIVE_TRIES = 5

# What a registry says when asking again is of no use (containers/image, docker/distribution).
_FOR_GOOD = re.compile(
    r"unauthorized|denied|authentication required|invalid username/password"
    r"|no such image|manifest unknown|name unknown|not known|not found|\b404\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Image:
    """An image in Podman's store."""

    reference: str
    id: str


@dataclass(frozen=True)
class ContainerState:
    """What `inspect` says of a container; `pid` is 0 when it does not run."""

    id: str
    labels: dict[str, str]
    status: str
    pid: int
    exit_code: int
    started: bool
    inspect: dict[str, Any]


class Podman:
    """A connection to `podman system service`. Every method may raise `PodmanError` (cannot be
    reached, refuses) and `DeadlineExceeded` (does not answer in time)."""

    def __init__(self, path: Path, deadline: Deadline) -> None:
        self.deadline = deadline
        self._path = path
        self._knock()
        # Imported here because it takes a tenth of a second, in which the service starts.
        from podman import PodmanClient  # noqa: PLC0415
        from podman.errors import APIError  # noqa: PLC0415
        from requests.exceptions import RequestException, Timeout  # noqa: PLC0415
        from urllib3.exceptions import TimeoutError as ReadTimeout  # noqa: PLC0415

        self._errors = (APIError, RequestException)
        self._timeouts = (Timeout, ReadTimeout)
        self._client: Any = PodmanClient(base_url=f"unix://{path}", version=API_VERSION)

    def __enter__(self) -> Podman:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def until(self, deadline: Deadline) -> Podman:
        """The same connection under another deadline."""
        other = copy(self)
        other.deadline = deadline
        return other

    def _knock(self) -> None:
        """Finds out at once whether anybody listens; wakes a socket-activated service."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
                # Not blocking: a backlog that is full is an error at once, not a wait.
                knock.setblocking(False)
                knock.connect(str(self._path))
        except OSError as error:
            raise PodmanError(
                f"cannot reach Podman at {self._path}: {error.strerror or error}",
                "Is podman.socket running (systemctl status podman.socket)? "
                "Another socket can be named in boot.conf, [podman] socket.",
                may_pass=True,
            ) from error

    # One request each.

    def image(self, reference: str) -> Image | None:
        """The image that `reference` (name or ID) stands for in the store, or None."""
        what = f"inspect image {reference}"
        response = self._send("get", f"/images/{quote(reference, safe='')}/json", what, fine=(404,))
        if response.status_code == 404:
            return None
        with self._understood(what):
            return Image(reference, str(response.json()["Id"]))

    def pull(self, reference: str) -> None:
        """Pulls `reference`. Raises `ImageError` with Podman's words.

        Podman answers 200 before it knows how the pull ends: errors are lines of the answer.
        """
        parameters = {"reference": reference, "policy": "missing"}
        what = f"pull {reference}"
        response = self._send("post", "/images/pull", what, params=parameters, stream=True)
        for line in self._lines(response, what):
            with self._understood(what):
                said = json.loads(line)
                progress, error = str(said.get("stream", "")), said.get("error")
            if error:
                # The reference is part of it, and may have any of these words in its name.
                for_good = _FOR_GOOD.search(str(error).replace(reference, ""))
                raise ImageError(f"cannot pull {reference}: {error}", may_pass=not for_good)
            if progress:
                log.info("%s", progress.strip())

    def create(self, arguments: dict[str, Any]) -> ContainerState:
        """Creates a container from podman-py's `containers.create` arguments."""
        what = f"create container {arguments['name']}"
        with self._understood(what):
            try:
                self._client.api.timeout = self.deadline.left()
                created = self._client.containers.create(**arguments)
            except self._errors as error:
                raise self._translated(error, what) from error
            return _state(created.attrs)

    def container(self, name: str) -> ContainerState | None:
        """The container of that name or ID, or None."""
        what = f"inspect container {name}"
        response = self._send("get", f"/containers/{quote(name, safe='')}/json", what, fine=(404,))
        if response.status_code == 404:
            return None
        with self._understood(what):
            return _state(response.json())

    def start(self, container: str) -> None:
        self._send("post", f"/containers/{container}/start", f"start container {container}")

    def wait(self, container: str) -> None:
        """Returns when Podman itself knows that the container has exited and its log is whole."""
        parameters = {"condition": ["exited", "stopped"], "interval": "5ms"}
        self._send(
            "post",
            f"/containers/{container}/wait",
            f"wait for container {container}",
            params=parameters,
        )

    def kill(self, container: str, signal: str) -> None:
        """Sends a signal to the container; one that does not run any more is fine."""
        self._send("post", f"/containers/{container}/kill", f"kill container {container}",
                   params={"signal": signal}, fine=(404, 409, 500))  # fmt: skip

    def remove(self, container: str) -> None:
        """Removes the container and whatever still runs in it; one that is gone is fine."""
        self._send("delete", f"/containers/{container}", f"remove container {container}",
                   params={"force": True, "v": True, "timeout": 0}, fine=(404,))  # fmt: skip

    def is_link(self, container: str, path: str) -> bool:
        """Whether `path` in the container is a symbolic link, a dangling one included."""
        response = self._archive(container, path, "head")
        # For a dangling link Podman answers 404, and yet says what it has found.
        found = response.headers.get("X-Docker-Container-Path-Stat")
        with self._understood(f"look at {path} in {container}"):
            stat = json.loads(base64.b64decode(found)) if found else {}
            return bool(stat.get("linkTarget", path) != path)

    def files(self, container: str, path: str) -> dict[str, bytes]:
        """The regular files in the folder `path` of the container, by their paths below it."""
        for _ in range(_ARCHIVE_TRIES):
            response = self._archive(container, path, "get")
            if response.status_code == 404:
                return {}
            if response.content:
                break
        import tarfile  # noqa: PLC0415  # rarely needed, and slow to import

        found = {}
        content = io.BytesIO(response.content)
        with self._understood(f"look at {path} in {container}", tarfile.TarError):
            with tarfile.open(fileobj=content) as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.isreg() else None
                    if file is not None:
                        found[member.name.partition("/")[2]] = file.read()
        return found

    # How they are sent.

    def _archive(self, container: str, path: str, method: str) -> Any:
        where, what = f"/containers/{container}/archive", f"look at {path} in {container}"
        return self._send(method, where, what, params={"path": path}, fine=(404,))

    def _send(
        self, method: str, path: str, what: str, fine: tuple[int, ...] = (), **arguments: Any
    ) -> Any:
        try:
            send = getattr(self._client.api, method)
            response = send(path, timeout=self.deadline.left(), **arguments)
            if response.status_code not in fine:
                response.raise_for_status()
        except self._errors as error:
            raise self._translated(error, what) from error
        return response

    def _lines(self, response: Any, what: str) -> Iterator[bytes]:
        """The lines of a streamed answer, none awaited beyond the deadline."""
        rest = b""
        try:
            chunks = response.iter_content(chunk_size=None)
            while True:
                # A response keeps the timeout it began with: give each read what is left now.
                if response.raw.connection is not None and response.raw.connection.sock:
                    response.raw.connection.sock.settimeout(self.deadline.left())
                chunk = next(chunks, None)
                if chunk is None:
                    break
                *lines, rest = (rest + chunk).split(b"\n")
                yield from filter(None, lines)
        except self._errors as error:
            raise self._translated(error, what) from error
        if rest:
            yield rest

    @contextmanager
    def _understood(self, what: str, *also: type[Exception]) -> Iterator[None]:
        """Around reading an answer: one that is not what Podman says is an error of its own."""
        kinds: list[type[Exception]] = [ValueError, LookupError, TypeError, AttributeError, *also]
        try:
            yield
        except tuple(kinds) as error:
            raise PodmanError(
                f"Podman at {self._path} answered what Podman would not ({what}): {error!r}"
            ) from error

    def _translated(self, error: Exception, what: str) -> PodmanError | DeadlineExceeded:
        """Podman's error in our words; `what` is the request that failed."""
        cause = error.__cause__
        if any(isinstance(each, self._timeouts) for each in (error, cause, error.__context__)):
            return DeadlineExceeded(f"Podman at {self._path} did not answer in time ({what})")
        if getattr(error, "status_code", None) is None:
            reason = cause if isinstance(cause, OSError) else error
            return PodmanError(
                f"Podman at {self._path} went away ({what}): {reason}", may_pass=True
            )
        explanation = getattr(error, "explanation", None) or str(error)
        # 5xx: storage that is busy, a container that did not start; 4xx: wrong as it was asked.
        may_pass = int(error.status_code) >= 500  # type: ignore[attr-defined]
        return PodmanError(f"Podman refuses to {what}: {explanation}", may_pass=may_pass)


def _state(inspect: dict[str, Any]) -> ContainerState:
    state = inspect["State"]
    return ContainerState(
        id=inspect["Id"],
        labels=dict(inspect["Config"].get("Labels") or {}),
        status=state["Status"],
        pid=int(state.get("Pid") or 0),
        exit_code=int(state.get("ExitCode") or 0),
        # Go's zero time stands for never.
        started=not str(state.get("StartedAt", "0001")).startswith("0001"),
        inspect=inspect,
    )
