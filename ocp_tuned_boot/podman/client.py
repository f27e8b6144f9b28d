"""The only door to Podman: one method for each request, with typed arguments and results.

`transport.py` sends them; the deadline, limits and errors are there.
"""

from __future__ import annotations

import base64
import io
import logging
import re
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO, Callable
from urllib.parse import quote

from ocp_tuned_boot.errors import DeadlineExceeded, ImageError, NameTaken, Refused
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.transfer import Amount, Part
from ocp_tuned_boot.podman import pulling, service
from ocp_tuned_boot.podman.failures import of_storage, storage_hint
from ocp_tuned_boot.podman.transport import ANSWER_LIMIT, ERRORS, PacedFile, Transport, parse

log = logging.getLogger(__name__)

# Podman may answer 200 and an empty archive while its own clean-up unmounts a container that has
# just exited (the service logs "globs matched nothing"). The next request gets the archive.
_ARCHIVE_TRIES = 5

#: After so many seconds without an answer it is checked whether Podman runs at all.
_SILENCE = 2.0
# Podman's and containers/storage's errors for a name that another container has.
_IN_USE = re.compile(r"is (already )?in use")

#: What is called with how far a transfer has got.
Report = Callable[[Amount], None]

#: Podman gets this much time to report in full why a pull could not start (seconds).
_IN_FULL = 5.0


@dataclass(frozen=True)
class Image:
    """An image in Podman's store. `digests`: those of its manifest, `sha256:…`; `names`: its names
    in the store, by tag and by digest; `size`: bytes, 0 if Podman does not say it."""

    reference: str
    id: str
    digests: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    size: int = 0


class Removal(Enum):
    """The result of removing an image."""

    REMOVED = "removed"
    MISSING = "missing"
    IN_USE = "in-use"


@dataclass(frozen=True)
class ContainerState:
    """What `inspect` reports of a container. `pid` is 0 when the container does not run."""

    id: str
    labels: dict[str, str]
    status: str
    pid: int
    exit_code: int
    started: bool
    inspect: dict[str, Any]


def _unreported(_: Amount) -> None:
    pass


class Podman:
    """A connection to `podman system service`. Every method may raise `PodmanError` (cannot be
    reached, refuses) and `DeadlineExceeded` (does not answer in time)."""

    def __init__(self, path: Path, deadline: Deadline) -> None:
        self._transport = Transport(path, deadline)

    def __enter__(self) -> Podman:
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.close()

    @property
    def deadline(self) -> Deadline:
        """The deadline of each request."""
        return self._transport.deadline

    def until(self, deadline: Deadline) -> Podman:
        """The same connection under another deadline."""
        other = copy(self)
        other._transport = self._transport.until(deadline)
        return other

    # One request each.

    def check_running(self) -> None:
        """Raises `PodmanError` if Podman exits each time it is started. Its socket still accepts
        requests then, which wait for ever. One that has failed a few times and runs now answers
        when it is asked again. A Podman that runs and does not answer may be busy: neither is an
        error here."""
        error = None
        for _ in range(2):
            try:
                brief = self.until(self.deadline.within(_SILENCE))
                brief._transport.send("get", "/_ping", "answer")
            except DeadlineExceeded:
                error = service.not_running(self._transport.path)
                if error is None:
                    return
            else:
                return
        if error is not None:
            raise error

    def shown(self, path: str) -> str:
        """The answer to a request that changes nothing, as text for people."""
        answer = self._transport.send("get", path, f"show {path}")
        return str(answer.content.decode(errors="replace"))

    def image(self, reference: str) -> Image | None:
        """The image in the store that has this name or ID, or None."""
        what = f"inspect image {reference}"
        response = self._transport.send(
            "get", f"/images/{quote(reference, safe='')}/json", what, fine=(404,)
        )
        if response.status_code == 404:
            return None
        with self._transport.understood(what):
            found = parse(response.content)
            exact = [str(each) for each in found.get("RepoDigests") or ()]
            repo_digests = [each.partition("@")[2] for each in exact]
            names = (*map(str, found.get("RepoTags") or ()), *exact)
            digests = dict.fromkeys([str(found.get("Digest") or ""), *repo_digests])
            return Image(
                reference, str(found["Id"]), tuple(filter(None, digests)), names,
                int(found.get("Size") or 0),
            )  # fmt: skip

    def pull(
        self,
        reference: str,
        policy: str = "missing",
        headers: Mapping[str, str] | None = None,
        report: Report = _unreported,
    ) -> None:
        """Pulls `reference` with this policy (podman-pull(1)). `headers`: the credentials. Raises
        `ImageError` with Podman's reason."""
        last = ""

        def reported(amount: Amount) -> None:
            nonlocal last
            last = str(amount)
            report(amount)

        try:
            # With compatMode the answer has the number of bytes. Podman 4.3 ignores it.
            self._pull(reference, policy, headers, reported, compatMode="true")
        except DeadlineExceeded as error:
            raise pulling.too_late(reference, last, error.message) from error
        except _NotStarted as error:
            # In this form Podman reports only the last cause of a pull that could not start:
            # neither the address nor the errors of the mirrors. The other form has all of it.
            try:
                brief = self.until(self.deadline.within(_IN_FULL))
                brief._pull(reference, policy, headers, reported)
            except DeadlineExceeded:
                raise pulling.failure(reference, error.reason) from None

    def _pull(
        self, reference: str, policy: str, headers: Mapping[str, str] | None,
        report: Report, **form: str,
    ) -> None:  # fmt: skip
        """Podman answers 200 before the pull is complete: an error is a line of the answer."""
        # No retries by Podman: this program decides when to try again, because it has the deadline.
        # Podman 4.3 has no `retry`.
        parameters = {"reference": reference, "policy": policy, "retry": "0", **form}
        what = f"pull {reference}"
        response = self._transport.send(
            "post", "/images/pull", what,
            params=parameters, headers=dict(headers or {}), stream=True, fine=ERRORS,
        )  # fmt: skip
        refused, layers = response.status_code in ERRORS, pulling.Layers()
        for line in self._transport.lines(response, what):
            with self._transport.understood(what):
                answer = parse(line)
                amount, error = layers.heard(answer), answer.get("error")
                if refused:
                    error = answer.get("message") or answer["cause"]
            if error and refused and form:
                raise _NotStarted(str(error))
            if error:
                raise pulling.failure(reference, str(error))
            if amount is not None:
                report(amount)
                log.debug("%s: %s", reference, answer)
        if refused:
            raise pulling.failure(
                reference, f"Podman answered {response.status_code} without a reason"
            )

    def load(
        self, archive: Path, report: Report = _unreported, parts: Sequence[Part] = ()
    ) -> tuple[str, ...]:
        """Loads an image archive, or one that is made of these parts of it, and returns the names
        of its images. Raises `ImageError`."""
        what = f"load {archive}"
        try:
            with PacedFile(archive, self.deadline, report, parts) as content:
                response = self._transport.send(
                    "post", "/images/load", what, data=content, fine=ERRORS
                )
        except OSError as error:
            raise ImageError(f"cannot read {archive}: {error.strerror}") from error
        with self._transport.understood(what):
            if response.status_code in ERRORS:
                reason = of_storage(str(parse(response.content)["message"]))
                raise ImageError(f"cannot load {archive}: {reason}", storage_hint(reason))
            return tuple(str(name) for name in parse(response.content)["Names"])

    def export(self, reference: str, target: BinaryIO, report: Report = _unreported) -> None:
        """Writes an image to an archive in the OCI layout. Raises `OSError` for the file.

        Podman writes the archive by itself first, and says neither how far it is nor how large it
        will be: it compresses the layers again."""
        what = f"export {reference}"
        where = f"/images/{quote(reference, safe='')}/get"
        parameters = {"format": "oci-archive"}
        report(Amount(words="Podman sends nothing until the archive is complete"))
        response = self._transport.send("get", where, what, params=parameters, stream=True)
        done = 0
        for chunk in self._transport.chunks(response, 1024 * 1024, what):
            done += target.write(chunk)
            report(Amount(done))

    def tag(self, image_id: str, name: str) -> None:
        """Gives an image one more name."""
        repository, _, tag = name.rpartition(":")
        self._transport.send(
            "post", f"/images/{image_id}/tag", f"tag image {image_id} as {name}",
            params={"repo": repository, "tag": tag},
        )  # fmt: skip

    def users(self, image_id: str) -> tuple[str, ...]:
        """The names of the containers of this image, running or not; also those that Podman did not
        create, such as CRI-O's."""
        what = f"list the containers of image {image_id}"
        containers = self._containers(what)
        with self._transport.understood(what):
            return tuple(
                str((each.get("Names") or [each["Id"]])[0])
                for each in containers if each.get("ImageID") == image_id
            )  # fmt: skip

    def labels(self, name: str) -> dict[str, str] | None:
        """The labels of the container of this name, also if it cannot be inspected. None if there
        is none, or if only Podman's storage knows it: labels are not there."""
        what = f"list the container {name}"
        containers = self._containers(what)
        with self._transport.understood(what):
            for each in containers:
                if name in (each.get("Names") or ()) and each["State"] != "storage":
                    return dict(each.get("Labels") or {})
        return None

    def _containers(self, what: str) -> list[dict[str, Any]]:
        """All containers, also those that are not running or that Podman did not create."""
        parameters = {"all": "true", "external": "true"}
        response = self._transport.send("get", "/containers/json", what, params=parameters)
        with self._transport.understood(what):
            return list(parse(response.content))

    def remove_image(self, reference: str, *, force: bool = False) -> Removal:
        """Removes an image, or one name of it. Without `force` an image that is in use remains;
        with `force` its containers are removed as well."""
        response = self._transport.send(
            "delete", f"/images/{quote(reference, safe='')}", f"remove image {reference}",
            params={"force": force}, fine=(404, 409),
        )  # fmt: skip
        return {404: Removal.MISSING, 409: Removal.IN_USE}.get(
            response.status_code, Removal.REMOVED
        )

    def create(self, arguments: dict[str, Any]) -> ContainerState:
        """Creates a container; the arguments are those of podman-py's `containers.create`. Raises
        `NameTaken`."""
        what = f"create container {arguments['name']}"
        try:
            with self._transport.understood(what):
                return _state(self._transport.create(arguments, what))
        except Refused as error:
            if _IN_USE.search(error.message):
                raise NameTaken(error.message, error.hint) from error
            raise

    def container(self, name: str) -> ContainerState | None:
        """The container of this name or ID, or None."""
        what = f"inspect container {name}"
        response = self._transport.send(
            "get", f"/containers/{quote(name, safe='')}/json", what, fine=(404,)
        )
        if response.status_code == 404:
            return None
        with self._transport.understood(what):
            return _state(parse(response.content))

    def start(self, container: str) -> None:
        """Starts a container that was created."""
        self._transport.send(
            "post", f"/containers/{container}/start", f"start container {container}"
        )

    def wait(self, container: str) -> None:
        """Waits until Podman knows that the container has exited: then its log is complete."""
        parameters = {"condition": ["exited", "stopped"], "interval": "5ms"}
        self._transport.send(
            "post", f"/containers/{container}/wait", f"wait for container {container}",
            params=parameters,
        )  # fmt: skip

    def kill(self, container: str, signal: str) -> None:
        """Sends a signal to the container. A container that no longer runs is not an error."""
        self._transport.send(
            "post", f"/containers/{container}/kill", f"kill container {container}",
            params={"signal": signal}, fine=(404, 409, 500),
        )  # fmt: skip

    def remove(self, container: str) -> bool:
        """Kills and removes the container with its anonymous volumes, and returns whether there was
        one. By its name it also removes one that only Podman's storage knows."""
        response = self._transport.send(
            "delete", f"/containers/{container}", f"remove container {container}",
            params={"force": True, "volumes": True, "timeout": 0}, fine=(404,),
        )  # fmt: skip
        return bool(response.status_code != 404)

    def is_link(self, container: str, path: str) -> bool:
        """Whether `path` in the container is a symbolic link, dangling or not."""
        response = self._archive(container, path, "head")
        # For a dangling link Podman answers 404, but the header still describes the link.
        found = response.headers.get("X-Docker-Container-Path-Stat")
        with self._transport.understood(f"read {path} in {container}"):
            stat = parse(base64.b64decode(found)) if found else {}
            return bool(stat.get("linkTarget", path) != path)

    def has(self, container: str, path: str) -> bool:
        """Whether `path` exists in the container; symbolic links are followed."""
        return bool(self._archive(container, path, "head").status_code != 404)

    def files(self, container: str, path: str) -> dict[str, bytes]:
        """The regular files in the directory `path` of the container, by their paths below it."""
        for _ in range(_ARCHIVE_TRIES):
            response = self._archive(container, path, "get")
            if response.status_code == 404:
                return {}
            if response.content:
                break
        from ocp_tuned_boot.host import tar  # noqa: PLC0415  # rarely needed, and slow to import

        found, left = {}, ANSWER_LIMIT
        archive = io.BytesIO(response.content)
        with self._transport.understood(f"read {path} in {container}"):
            for member in tar.members(archive):
                if member.isreg():
                    data = tar.content(archive, member, left)
                    found[member.name.partition("/")[2]] = data
                    left -= len(data)
        return found

    def _archive(self, container: str, path: str, method: str) -> Any:
        where, what = f"/containers/{container}/archive", f"read {path} in {container}"
        return self._transport.send(method, where, what, params={"path": path}, fine=(404,))


class _NotStarted(Exception):
    """A pull that Podman could not start. `reason` has only the last cause."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _state(inspect: dict[str, Any]) -> ContainerState:
    state = inspect["State"]
    return ContainerState(
        id=inspect["Id"],
        labels=dict(inspect["Config"].get("Labels") or {}),
        status=state["Status"],
        pid=int(state.get("Pid") or 0),
        exit_code=int(state.get("ExitCode") or 0),
        # Go's zero time means never.
        started=not str(state.get("StartedAt", "0001")).startswith("0001"),
        inspect=inspect,
    )
