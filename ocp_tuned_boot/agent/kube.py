"""The only door to the API server: the official client, with a limit for everything it may take.

A connection that goes silent is noticed by the two timeouts of a watch: the server ends the stream
after the first, and the client gives up after the second, which is longer. The token is read for
each request: the kubelet replaces it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from ocp_tuned_boot.errors import BootError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.typedjson import from_json

#: The largest answer, and the longest line of a watch (bytes). etcd takes objects of 1.5 MiB.
ANSWER, LINE = 16 * 1024 * 1024, 4 * 1024 * 1024
#: How long a connection may take, a request, and at least a watch until the server ends it
#: (seconds).
CONNECT, REQUEST, WATCH = 10.0, 65.0, 60
#: A watch may take so many times that: else the agents that a server has lost together would list
#: and watch together from then on.
SPREAD = 1.5
#: What a watch may take beyond that until it is given up (seconds).
GRACE = 10.0
# What a server is asked to send where only metadata is of interest, of one object, as a watch has
# them, and of a list. The server takes the first that it knows: it answers the wrong one with 406,
# or with a watch without events.
_METADATA = "application/json;as={};g=meta.k8s.io;v=v1,application/json"
METADATA = _METADATA.format("PartialObjectMetadata")
METADATA_LIST = _METADATA.format("PartialObjectMetadataList")
_CHUNK = 64 * 1024

Json = dict[str, Any]


class ApiError(BootError):
    """The API server cannot be reached, or refuses. `status` is the HTTP status, 0 without an
    answer; `retry_after` the seconds that the server asks to wait. Always temporary: also 401, 403
    and 404 are answers of a server that is starting."""

    kind = "api"

    def __init__(self, message: str, status: int = 0, retry_after: float = 0.0) -> None:
        super().__init__(message, temporary=True)
        self.status = status
        self.retry_after = retry_after


class Gone(ApiError):
    """The server does not have the version any more from which it was to continue."""


@dataclass(frozen=True)
class Server:
    """Where the API server is. `token` and `ca` are files; None for a server without."""

    url: str
    token: Path | None = None
    ca: Path | None = None


@dataclass(frozen=True)
class Resource:
    """A kind of object. `namespace` is empty for all of them; `fields` is a field selector."""

    plural: str
    group: str = ""
    version: str = "v1"
    namespace: str = ""
    fields: str = ""
    metadata_only: bool = False

    def __str__(self) -> str:
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.plural}{where}{f' ({self.fields})' if self.fields else ''}"


@dataclass(frozen=True)
class Listing:
    """The objects, and the version from which to watch."""

    items: tuple[Json, ...]
    version: str


@dataclass
class Counters:
    """What the door was used for: requests, bytes, and errors by HTTP status."""

    requests: int = 0
    received: int = 0
    errors: dict[int, int] = field(default_factory=dict)


class Kube:
    """Thread-safe, as the client's pool of connections is."""

    def __init__(self, server: Server, *, watch: int = WATCH, grace: float = GRACE) -> None:
        from kubernetes import client  # noqa: PLC0415  # only the agent needs it

        self._server = server
        self._watch, self._grace = watch, grace
        self.counters = Counters()
        configuration = client.Configuration()
        configuration.host = server.url
        # Without a file, the client would use certifi's: no cluster's CA is in there.
        configuration.ssl_ca_cert = str(server.ca) if server.ca else None
        # Only this program decides what is tried again, and when.
        configuration.retries = False
        configuration.proxy = None
        self._client = client
        self._whole = client.ApiClient(configuration)
        self._metadata = client.ApiClient(configuration)
        self._metadata.set_default_header("Accept", METADATA)
        self._metadata_list = client.ApiClient(configuration)
        self._metadata_list.set_default_header("Accept", METADATA_LIST)

    def list(self, resource: Resource) -> Listing:
        """All objects, as they are now. Raises `ApiError`."""
        with self._answer("list", resource, self._lister(resource)) as response:
            return _listing(self._content(response, resource), resource)

    def watch(self, resource: Resource, version: str) -> Iterator[tuple[str, Json]]:
        """The changes since `version`, each with its type, until the server ends the stream. Raises
        `ApiError`, `Gone`."""
        call = self._lister(resource)

        def watching(**options: Any) -> Any:
            seconds = lasts(self._watch)
            options["_request_timeout"] = (CONNECT, seconds + self._grace)
            return call(watch=True, resource_version=version, timeout_seconds=seconds,
                        allow_watch_bookmarks=True, **options)  # fmt: skip

        with self._answer("watch", resource, watching) as response:
            for line in self._lines(response, resource):
                yield _event(line, resource)

    def get_node(self, name: str) -> Json:
        """The metadata of a Node. Raises `ApiError`."""
        resource = Resource("nodes", fields=name, metadata_only=True)

        def call(**options: Any) -> Any:
            return self._client.CoreV1Api(self._api(resource)).read_node(name, **options)

        with self._answer("get", resource, call) as response:
            return self._content(response, resource)

    def create(self, resource: Resource, body: Json) -> Json:
        """Raises `ApiError`: 409 if there is one."""
        return self._custom("create", resource, "create_namespaced_custom_object", body=body)

    def get(self, resource: Resource, name: str) -> Json:
        """Raises `ApiError`."""
        return self._custom("get", resource, "get_namespaced_custom_object", name=name)

    def replace(self, resource: Resource, body: Json) -> Json:
        """Raises `ApiError`: 409 if it has been changed since `body` was read."""
        name = body["metadata"]["name"]
        return self._custom("update", resource, "replace_namespaced_custom_object", name, body=body)

    def replace_status(self, resource: Resource, body: Json) -> Json:
        """The same for its status alone."""
        name, method = body["metadata"]["name"], "replace_namespaced_custom_object_status"
        return self._custom("update the status of", resource, method, name, body=body)

    def annotate_node(self, name: str, annotations: Mapping[str, str]) -> None:
        """Sets these annotations of a Node, and nothing else. Raises `ApiError`."""
        resource = Resource("nodes", fields=name)
        body = {"metadata": {"annotations": dict(annotations)}}

        def call(**options: Any) -> Any:
            return self._client.CoreV1Api(self._api()).patch_node(name, body, **options)

        with self._answer("annotate", resource, call) as response:
            self._content(response, resource)

    def create_event(self, namespace: str, body: Json) -> None:
        """Raises `ApiError`: 409 if there is one of this name."""
        resource = Resource("events", namespace=namespace)

        def call(**options: Any) -> Any:
            api = self._client.CoreV1Api(self._api())
            return api.create_namespaced_event(namespace, body, **options)

        with self._answer("create", resource, call) as response:
            self._content(response, resource)

    def _custom(
        self, verb: str, resource: Resource, method: str, name: str = "", body: Json | None = None
    ) -> Json:
        arguments = [resource.group, resource.version, resource.namespace, resource.plural]
        arguments += [name] if name else []

        def call(**options: Any) -> Any:
            api = self._client.CustomObjectsApi(self._api())
            return getattr(api, method)(*arguments, *([] if body is None else [body]), **options)

        with self._answer(verb, resource, call) as response:
            return self._content(response, resource)

    def _lister(self, resource: Resource) -> Callable[..., Any]:
        def call(**options: Any) -> Any:
            api = self._api(resource, listed="watch" not in options)
            if resource.fields:
                options["field_selector"] = resource.fields
            if resource.group:
                return self._client.CustomObjectsApi(api).list_namespaced_custom_object(
                    resource.group, resource.version, resource.namespace, resource.plural, **options
                )
            core = self._client.CoreV1Api(api)
            everything = {"nodes": "list_node", "pods": "list_pod_for_all_namespaces"}
            return getattr(core, everything[resource.plural])(**options)

        return call

    def _api(self, resource: Resource | None = None, *, listed: bool = False) -> Any:
        """The client, with the token as it is now. Raises `HostError`."""
        api = self._whole
        if resource is not None and resource.metadata_only:
            api = self._metadata_list if listed else self._metadata
        if self._server.token is not None:
            # The kubelet replaces a link, not the file.
            token = files.read(files.resolved(self._server.token)).decode(errors="replace").strip()
            api.set_default_header("Authorization", f"Bearer {token}")
        return api

    @contextmanager
    def _answer(self, verb: str, resource: Resource, call: Callable[..., Any]) -> Iterator[Any]:
        """The answer to a call, which is closed afterwards. Raises `ApiError` for whatever goes
        wrong with it, also while it is read."""
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        response = None
        options = {"_preload_content": False, "_request_timeout": (CONNECT, REQUEST)}
        self.counters.requests += 1
        try:
            response = call(**options)
            yield response
        except ApiException as error:
            raise self._counted(_refused(verb, resource, error)) from error
        except ApiError as error:
            self._counted(error)
            raise
        except FileNotFoundError as error:
            raise self._counted(ApiError(f"cannot {verb} {resource}: {error}")) from error
        except HTTPError as error:
            words = f"cannot {verb} {resource}: no answer: {error}"
            raise self._counted(ApiError(words)) from error
        finally:
            if response is not None:
                # Also of a stream that has not ended: its connection is of no use any more.
                response.close()

    def _counted(self, error: ApiError) -> ApiError:
        errors = self.counters.errors
        errors[error.status] = errors.get(error.status, 0) + 1
        return error

    def _content(self, response: Any, resource: Resource) -> Json:
        data = response.read(ANSWER + 1, decode_content=True)
        self.counters.received += len(data)
        if len(data) > ANSWER:
            raise ApiError(f"{resource}: the answer is larger than {ANSWER} bytes")
        return _object(data, resource)

    def _lines(self, response: Any, resource: Resource) -> Iterator[bytes]:
        rest = b""
        for chunk in response.stream(_CHUNK, decode_content=True):
            self.counters.received += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LINE:
                raise ApiError(f"{resource}: a line of the watch is larger than {LINE} bytes")
            yield from (line for line in lines if line.strip())
        if rest.strip():
            # The connection was lost in the middle of a line.
            raise ApiError(f"{resource}: the watch ended in the middle of a line")


def lasts(watch: int) -> int:
    """How long a watch is to last that lasts at least so long (seconds)."""
    return round(random.uniform(watch, SPREAD * watch))  # noqa: S311  # not a secret


def _refused(verb: str, resource: Resource, error: Any) -> ApiError:
    """What the server answered, in its own words."""
    body = error.body if isinstance(error.body, (str, bytes)) else b""
    try:
        content = from_json(body)
    except ValueError:
        content = None
    said = content.get("message") if isinstance(content, dict) else None
    words = f"cannot {verb} {resource}: {error.status} {said or error.reason}"
    headers = error.headers or {}
    return _with_status(words, int(error.status or 0), headers.get("Retry-After", ""))


def _with_status(words: str, status: int, retry_after: str = "") -> ApiError:
    # A date, which is allowed as well, is not what this server sends.
    seconds = float(retry_after) if retry_after.isdigit() else 0.0
    kind = Gone if status == 410 else ApiError
    return kind(words, status, seconds)


def _listing(content: Json, resource: Resource) -> Listing:
    items, metadata = content.get("items"), content.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    if not isinstance(items, list) or not isinstance(version, str):
        raise ApiError(f"cannot list {resource}: the answer is no list of objects")
    return Listing(tuple(each for each in items if isinstance(each, dict)), version)


def _event(line: bytes, resource: Resource) -> tuple[str, Json]:
    content = _object(line, resource)
    kind, changed = content.get("type"), content.get("object")
    if not isinstance(kind, str) or not isinstance(changed, dict):
        raise ApiError(f"{resource}: a line of the watch is no event")
    if kind == "ERROR":
        code = changed.get("code")
        words = f"cannot watch {resource}: {code} {changed.get('message')}"
        raise _with_status(words, code if isinstance(code, int) else 0)
    return kind, changed


def _object(data: bytes, resource: Resource) -> Json:
    try:
        content = from_json(data)
    except ValueError as error:
        raise ApiError(f"{resource}: the answer is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ApiError(f"{resource}: the answer is no object")
    return content
