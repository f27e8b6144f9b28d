"""The one door to Podman: typed requests over podman-py, typed errors, one deadline.

Each request gets what is left of the deadline. `podman.APIError` and everything `requests`
raises stop here.
"""

from __future__ import annotations

import base64
import io
import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO, Callable
from urllib.parse import quote

from ocp_tuned_boot.errors import DeadlineExceeded, ImageError, PodmanError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.typedjson import from_json
from ocp_tuned_boot.podman import pulling

log = logging.getLogger(__name__)

#: The oldest API that has all we ask for; every podman 4 and 5 serves it.
API_VERSION = "4.0.0"

# Of a container that has just exited Podman may send 200 and nothing: its own clean-up unmounts
# the container meanwhile (the service logs "globs matched nothing"). The next time it is there.
_ARCHIVE_TRIES = 5

#: As long as Podman may take to say once more, and in full, why a pull could not begin (seconds).
_WORDS = 5.0

# An answer that says why not.
_ERRORS = tuple(range(400, 600))

#: No answer is longer (bytes), but for those that are read piece by piece; one in JSON is at most
#: `files.LIMIT` long. An image's labels are in it, and its folders that are looked into.
ANSWER_LIMIT = 4 * 1024 * 1024


@dataclass(frozen=True)
class Image:
    """An image in Podman's store; `digests` are those of its manifest, `sha256:…`; `names`, what
    it is called there, by tags and by digests."""

    reference: str
    id: str
    digests: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class Removal(Enum):
    """What came of removing an image."""

    REMOVED = "removed"
    MISSING = "missing"
    IN_USE = "in-use"


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


class _Bounded:
    """The body of an answer, for requests to read."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, *arguments: Any, **more: Any) -> Iterator[bytes]:
        """Its parts. Raises `PodmanError` where there are too many."""
        left = ANSWER_LIMIT
        for chunk in self._raw.stream(*arguments, **more):
            left -= len(chunk)
            if left < 0:
                self._raw.close()
                raise PodmanError(f"Podman's answer is larger than {ANSWER_LIMIT} bytes")
            yield chunk


def _bounded(response: Any, *, stream: bool = False, **_: Any) -> None:
    """For requests to call with each answer, before it is read."""
    if not stream or response.status_code in _ERRORS:
        response.raw = _Bounded(response.raw)


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
        from urllib3 import Timeout as Allowance  # noqa: PLC0415
        from urllib3.exceptions import TimeoutError as ReadTimeout  # noqa: PLC0415

        self._allowance = Allowance
        self._errors = (APIError, RequestException)
        self._timeouts = (Timeout, ReadTimeout)
        self._client: Any = PodmanClient(base_url=f"unix://{path}", version=API_VERSION)
        self._client.api.hooks["response"].append(_bounded)

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
                "Only root may ask it."
                if isinstance(error, PermissionError)
                else "Is its socket there (systemctl status 'ocp-tuned-podman*.socket')? "
                "Another socket can be named in boot.conf, [podman] socket.",
                temporary=True,
            ) from error

    # One request each.

    def image(self, reference: str) -> Image | None:
        """The image that `reference` (name or ID) stands for in the store, or None."""
        what = f"inspect image {reference}"
        response = self._send("get", f"/images/{quote(reference, safe='')}/json", what, fine=(404,))
        if response.status_code == 404:
            return None
        with self._understood(what):
            found = _json(response.content)
            exact = [str(each) for each in found.get("RepoDigests") or ()]
            told = [each.partition("@")[2] for each in exact]
            digests = dict.fromkeys([str(found.get("Digest") or ""), *told])
            names = (*map(str, found.get("RepoTags") or ()), *exact)
            return Image(reference, str(found["Id"]), tuple(filter(None, digests)), names)

    def pull(
        self,
        reference: str,
        policy: str = "missing",
        headers: Mapping[str, str] | None = None,
        tell: Callable[[str], None] = log.debug,
    ) -> None:
        """Pulls `reference` by this policy (podman-pull(1)); `headers` have the credentials, `tell`
        hears how far it has got. Raises `ImageError` with Podman's words.
        """
        try:
            # With compatMode it tells how many bytes there are; Podman 4.3 does not know that yet.
            self._pull(reference, policy, headers, tell, compatMode="true")
        except DeadlineExceeded as error:
            raise DeadlineExceeded(
                f"cannot pull {reference}: {error.message}", pulling.SILENT
            ) from error
        except _Unsaid as error:
            # It could not even begin, and of that this form tells the last cause alone: no address,
            # and not what the mirrors have said.
            try:
                brief = self.until(self.deadline.within(_WORDS))
                brief._pull(reference, policy, headers, tell)
            except DeadlineExceeded:
                raise pulling.failed(reference, error.words) from None

    def _pull(
        self, reference: str, policy: str, headers: Mapping[str, str] | None,
        tell: Callable[[str], None], **form: str,
    ) -> None:  # fmt: skip
        """Podman answers 200 before it knows how the pull ends: errors are lines of the answer."""
        # Podman 4.3 does not know `retry`: when to ask again is ours to say, with the deadline in
        # view.
        parameters = {"reference": reference, "policy": policy, "retry": "0", **form}
        what = f"pull {reference}"
        response = self._send(
            "post", "/images/pull", what,
            params=parameters, headers=dict(headers or {}), stream=True, fine=_ERRORS,
        )  # fmt: skip
        refused = response.status_code in _ERRORS
        for line in self._lines(response, what):
            with self._understood(what):
                said = _json(line)
                progress, error = pulling.progress(said), said.get("error")
                if refused:
                    error = said.get("message") or said["cause"]
            if error and refused and form:
                raise _Unsaid(str(error))
            if error:
                raise pulling.failed(reference, str(error))
            if progress:
                tell(f"Pulling the image {reference}: {progress}")
                log.info("%s: %s", reference, progress)
        if refused:
            raise pulling.failed(
                reference, f"Podman answered {response.status_code} and nothing more"
            )

    def load(self, archive: Path) -> tuple[str, ...]:
        """Loads an image archive, and returns the names of what was in it. Raises `ImageError`."""
        what = f"load {archive}"
        try:
            with _Paced(archive, self.deadline) as content:
                response = self._send("post", "/images/load", what, data=content, fine=_ERRORS)
        except OSError as error:
            raise ImageError(f"cannot read {archive}: {error.strerror}") from error
        with self._understood(what):
            if response.status_code in _ERRORS:
                raise ImageError(f"cannot load {archive}: {_json(response.content)['message']}")
            return tuple(str(name) for name in _json(response.content)["Names"])

    def export(self, reference: str, target: BinaryIO) -> None:
        """Writes an image to an archive in the OCI layout. Raises `OSError` for the file."""
        what = f"export {reference}"
        where = f"/images/{quote(reference, safe='')}/get"
        parameters = {"format": "oci-archive"}
        response = self._send("get", where, what, params=parameters, stream=True)
        try:
            for chunk in self._chunks(response, 1024 * 1024):
                target.write(chunk)
        except self._errors as error:
            raise self._translated(error, what) from error

    def tag(self, image_id: str, name: str) -> None:
        """Gives an image one more name."""
        repository, _, tag = name.rpartition(":")
        self._send("post", f"/images/{image_id}/tag", f"tag image {image_id} as {name}",
                   params={"repo": repository, "tag": tag})  # fmt: skip

    def users(self, image_id: str) -> tuple[str, ...]:
        """The containers of this image by their names, those that run or not and those that are not
        Podman's, CRI-O's say."""
        what = f"list the containers of image {image_id}"
        parameters = {"all": "true", "external": "true"}
        response = self._send("get", "/containers/json", what, params=parameters)
        with self._understood(what):
            return tuple(
                str((each.get("Names") or [each["Id"]])[0])
                for each in _json(response.content) if each.get("ImageID") == image_id
            )  # fmt: skip

    def remove_image(self, reference: str, *, force: bool = False) -> Removal:
        """Removes an image, or one name of it. Without `force` one that is in use stays; with it,
        all its containers go as well."""
        response = self._send(
            "delete", f"/images/{quote(reference, safe='')}", f"remove image {reference}",
            params={"force": force}, fine=(404, 409),
        )  # fmt: skip
        return {404: Removal.MISSING, 409: Removal.IN_USE}.get(
            response.status_code, Removal.REMOVED
        )

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
            return _state(_json(response.content))

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
            stat = _json(base64.b64decode(found)) if found else {}
            return bool(stat.get("linkTarget", path) != path)

    def has(self, container: str, path: str) -> bool:
        """Whether there is something at `path` in the container, where links lead."""
        return bool(self._archive(container, path, "head").status_code != 404)

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
            with tarfile.open(fileobj=content, mode="r:") as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.isreg() else None
                    if file is not None:
                        # One with holes may be larger than the archive it is in.
                        found[member.name.partition("/")[2]] = file.read(ANSWER_LIMIT)
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
            # For sending and for the answer together, not for each.
            allowed = self._allowance(total=self.deadline.left())
            response = send(path, timeout=allowed, **arguments)
            if response.status_code not in fine:
                with self._understood(what):
                    response.raise_for_status()
        except self._errors as error:
            raise self._translated(error, what) from error
        return response

    def _lines(self, response: Any, what: str) -> Iterator[bytes]:
        """The lines of a streamed answer, none awaited beyond the deadline."""
        rest = b""
        try:
            # Of a chunk that is smaller it does not wait for more.
            for chunk in self._chunks(response, 64 * 1024):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > files.LIMIT:
                    raise PodmanError(f"Podman said a line without an end ({what})")
                yield from filter(None, lines)
        except self._errors as error:
            raise self._translated(error, what) from error
        if rest:
            yield rest

    def _chunks(self, response: Any, size: int) -> Iterator[bytes]:
        """A streamed answer in pieces, none awaited beyond the deadline."""
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
    def _understood(self, what: str, *also: type[Exception]) -> Iterator[None]:
        """Around reading an answer: one that is not what Podman says is an error of its own."""
        kinds: tuple[type[Exception], ...] = (
            ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError,
            *also,
        )  # fmt: skip
        try:
            yield
        except kinds as error:
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
                f"Podman at {self._path} went away ({what}): {reason}", temporary=True
            )
        explanation = getattr(error, "explanation", None) or str(error)
        # 5xx: storage that is busy, a container that did not start; 4xx: wrong as it was asked.
        temporary = int(error.status_code) >= 500  # type: ignore[attr-defined]
        return PodmanError(f"Podman refuses to {what}: {explanation}", temporary=temporary)


def _json(data: bytes) -> Any:
    """Raises `ValueError`."""
    if len(data) > files.LIMIT:
        raise ValueError(f"found {len(data)} bytes, expected at most {files.LIMIT}")
    return from_json(data)


class _Unsaid(Exception):
    """A pull that could not begin; `words` are only the last cause."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


class _Paced(io.FileIO):
    """A file that is sent, no block of it past the deadline."""

    def __init__(self, path: Path, deadline: Deadline) -> None:
        super().__init__(str(path), "rb", opener=files.opener)
        self._deadline = deadline

    def read(self, size: int | None = -1, /) -> bytes:
        self._deadline.left()
        return super().read(size) or b""


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
