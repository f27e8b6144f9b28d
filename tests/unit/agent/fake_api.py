"""An API server in a thread: objects in memory, with versions, watches, a status of its own, and
whatever can go wrong. A real one is in the lab."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable
from urllib.parse import parse_qs, urlsplit

from tests.unit.agent import answers
from tests.unit.agent.answers import Answer
from tests.unit.agent.made import Json
from tests.unit.patience import PATIENCE

Key = tuple[str, str]

PLURALS = ("profiles", "tuneds", "nodes", "pods", "events")


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any = None

    @property
    def is_watch(self) -> bool:
        # As the client writes it; the server takes both.
        return self.query.get("watch") in ("true", "True")

    @property
    def says(self) -> str:
        """`LIST profiles`, `WATCH nodes`, `PUT profiles/status`."""
        parts = self.path.strip("/").split("/")
        at = next(number for number, each in enumerate(parts) if each in PLURALS)
        named, below = len(parts) > at + 1, "/status" if parts[-1] == "status" else ""
        verb = self.method
        if verb == "GET" and not named:
            verb = "WATCH" if self.is_watch else "LIST"
        return f"{verb} {parts[at]}{below}"


class Api:
    """`wrong` decides what is answered to a request instead of the right answer; None for that."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.version = 200
        self.objects: dict[str, dict[Key, Json]] = {}
        self.history: list[tuple[int, str, str, Json]] = []
        self.requests: list[Request] = []
        self.wrong: Callable[[Request], Answer | None] = lambda _: None
        #: CRDs that are not installed.
        self.missing: set[str] = set()
        #: How long a watch lasts at most (seconds), whatever the client asks for.
        self.longest_watch = 3600.0
        self.closing = False
        self.url = ""

    # For tests.

    def put(self, plural: str, content: Json) -> Json:
        """Creates or changes an object, as somebody else would."""
        with self.changed:
            return self._store(
                plural, content, "MODIFIED" if self._find(plural, content) else "ADDED"
            )

    def edit(self, plural: str, name: str, change: Callable[[Json], object]) -> Json:
        """Changes an object that is there."""
        with self.changed:
            content = json.loads(json.dumps(self.get(plural, name)))
            change(content)
            return self._store(plural, content, "MODIFIED")

    def delete(self, plural: str, name: str) -> None:
        with self.changed:
            for key in [key for key in self.objects.get(plural, {}) if key[1] == name]:
                self._event(plural, "DELETED", self.objects[plural].pop(key))

    def get(self, plural: str, name: str) -> Json:
        """Raises `KeyError`."""
        with self.changed:
            found = {key[1]: each for key, each in self.objects.get(plural, {}).items()}
            return found[name]

    def status(self) -> Json:
        """That of the Profile; empty if there is none."""
        try:
            found = self.get("profiles", "node-1").get("status", {})
        except KeyError:
            return {}
        return dict(found)

    def said(self, words: str) -> list[Request]:
        """The requests of a kind, as `Request.says`."""
        return [each for each in list(self.requests) if each.says == words]

    def once(self, words: str, *instead: Answer) -> None:
        """The next requests of a kind are answered like this."""
        left = list(instead)
        before = self.wrong

        def wrong(request: Request) -> Answer | None:
            if left and request.says == words:
                return left.pop(0)
            return before(request)

        self.wrong = wrong

    # The server.

    def answer(self, request: Request) -> Answer | Iterator[bytes]:
        with self.changed:
            self.requests.append(request)
        instead = self.wrong(request)
        if instead is not None:
            return instead
        with self.changed:
            return self._right(request)

    def _right(self, request: Request) -> Answer | Iterator[bytes]:
        parts = request.path.strip("/").split("/")
        at = next(number for number, each in enumerate(parts) if each in PLURALS)
        plural, name = parts[at], parts[at + 1] if len(parts) > at + 1 else ""
        if plural in self.missing:
            return answers.NO_CRD
        if _asks_for_the_wrong_metadata(request, bool(name)):
            # Seen on a real server: a watch is empty, everything else is refused.
            return iter(()) if request.is_watch else answers.NOT_ACCEPTABLE
        if request.method == "POST":
            return self._create(plural, request.body)
        if name:
            namespace = parts[at - 1] if parts[at - 2] == "namespaces" else ""
            return self._one(request, plural, (namespace, name))
        return self._watch(plural, request) if request.is_watch else self._list(plural, request)

    def _one(self, request: Request, plural: str, key: Key) -> Answer:
        stored = self.objects.get(plural, {}).get(key)
        if stored is None:
            return answers.failure(404, "NotFound", f'{plural} "{key[1]}" not found')
        if request.method == "PUT":
            is_status = request.path.endswith("/status")
            return self._replace(plural, stored, request.body, is_status)
        if request.method == "PATCH":
            annotations = {**stored["metadata"].get("annotations", {}),
                           **request.body["metadata"]["annotations"]}  # fmt: skip
            metadata = {**stored["metadata"], "annotations": annotations}
            return _json(self._store(plural, {**stored, "metadata": metadata}, "MODIFIED"))
        return _json(stored)

    def _selected(self, plural: str, request: Request) -> list[Json]:
        return [each for each in self.objects.get(plural, {}).values() if _matches(each, request)]

    def _list(self, plural: str, request: Request) -> Answer:
        return _json({
            "kind": "List", "metadata": {"resourceVersion": str(self.version)},
            "items": self._selected(plural, request),
        })  # fmt: skip

    def _watch(self, plural: str, request: Request) -> Iterator[bytes]:
        end = time.monotonic() + min(float(request.query["timeoutSeconds"]), self.longest_watch)
        version = int(request.query["resourceVersion"])

        def events() -> Iterator[bytes]:
            seen = version
            while True:
                with self.changed:
                    fresh = [each for each in self.history if each[0] > seen]
                    left = end - time.monotonic()
                    if not fresh and left > 0 and not self.closing:
                        self.changed.wait(min(left, 0.2))
                        continue
                for number, changed, kind, content in fresh:
                    seen = max(seen, number)
                    if changed == plural and _matches(content, request):
                        yield json.dumps({"type": kind, "object": content}).encode() + b"\n"
                if not fresh:
                    return

        return events()

    def _create(self, plural: str, content: Json) -> Answer:
        if self._find(plural, content) is not None:
            return answers.failure(409, "AlreadyExists", "it exists already")
        content = {key: each for key, each in content.items() if key != "status"}
        return _json(self._store(plural, content, "ADDED"), 201)

    def _replace(self, plural: str, stored: Json, content: Json, status: bool) -> Answer:
        if content["metadata"].get("resourceVersion") != stored["metadata"]["resourceVersion"]:
            return answers.CONFLICT
        if status:
            new = {**stored, "status": content["status"]}
            if any("lastTransitionTime" not in each for each in new["status"]["conditions"]):
                return answers.INVALID
        else:
            new = {**content, "status": stored.get("status", {})}
        return _json(self._store(plural, new, "MODIFIED"))

    def _find(self, plural: str, content: Json) -> Json | None:
        return self.objects.get(plural, {}).get(_key(content))

    def _store(self, plural: str, content: Json, kind: str) -> Json:
        before = self._find(plural, content) or {}
        generation = before.get("metadata", {}).get("generation", 0)
        if before.get("spec") != content.get("spec"):
            generation = max(generation + 1, content["metadata"].get("generation", 1))
        metadata = {**content["metadata"], "generation": generation,
                    "resourceVersion": str(self.version + 1)}  # fmt: skip
        stored = {**content, "metadata": metadata}
        self.objects.setdefault(plural, {})[_key(stored)] = stored
        self._event(plural, kind, stored)
        return stored

    def _event(self, plural: str, kind: str, content: Json) -> None:
        self.version += 1
        self.history.append((self.version, plural, kind, content))
        self.changed.notify_all()


def _asks_for_the_wrong_metadata(request: Request, named: bool) -> bool:
    """The first that the client accepts counts."""
    first = request.headers.get("Accept", "").partition(",")[0]
    if "as=" not in first:
        return False
    listed = request.method == "GET" and not named and not request.is_watch
    return ("as=PartialObjectMetadataList" in first) is not listed


def _key(content: Json) -> Key:
    return content["metadata"].get("namespace", ""), content["metadata"]["name"]


def _matches(content: Json, request: Request) -> bool:
    selector = request.query.get("fieldSelector")
    if not selector:
        return True
    path, _, value = selector.partition("=")
    found: Any = content
    for part in path.split("."):
        found = found.get(part, {})
    return bool(found == value)


def _json(content: Json, status: int = 200) -> Answer:
    return Answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _serve(self) -> None:
        api = self.server.api
        split = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        request = Request(self.command, split.path, query, dict(self.headers.items()), body)
        answer = api.answer(request)
        try:
            if not isinstance(answer, Answer):
                self._stream(answer)
            elif answer.hangs:
                self._hang(api, request)
            else:
                self._send(answer)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _hang(self, api: Api, request: Request) -> None:
        """Half open: the headers of a watch have been sent before the connection went silent."""
        if request.is_watch:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
        end = time.monotonic() + PATIENCE
        with api.changed:
            while not api.closing and time.monotonic() < end:
                api.changed.wait(0.1)
        self.close_connection = True

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body) + answer.cut))
        self.end_headers()
        self.wfile.write(answer.body)
        self.close_connection = answer.cut

    def _stream(self, events: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for data in events:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PUT = do_PATCH = _serve  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    api: Api


@contextmanager
def serving(api: Api | None = None, port: int = 0) -> Iterator[Api]:
    """The server, at its `url`, until the end of the block."""
    api = api or Api()
    api.closing = False
    server = _Server(("127.0.0.1", port), _Handler)
    server.api = api
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        with api.changed:
            api.closing = True
            api.changed.notify_all()
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)
