"""The door to the server: whatever it answers, or does not, is an error that says so."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocp_tuned_boot.agent.kube import ANSWER, LINE, ApiError, Gone, Kube, Resource, Server
from tests.unit.agent import answers
from tests.unit.agent.answers import Answer
from tests.unit.agent.fake_api import Api, serving
from tests.unit.agent.made import NAMESPACE, node, profile
from tests.unit.patience import no_hang

pytest.importorskip("kubernetes", reason="the agent's client is not in this environment")

PROFILES = Resource(
    "profiles", "tuned.openshift.io", namespace=NAMESPACE, fields="metadata.name=node-1"
)


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as found:
        yield found


@pytest.fixture
def kube(api: Api) -> Kube:
    return Kube(Server(api.url), watch=1, grace=1.0)


def test_a_list_and_a_watch_from_its_version(api: Api, kube: Kube) -> None:
    api.put("profiles", profile())
    listing = kube.list(PROFILES)
    assert [each["metadata"]["name"] for each in listing.items] == ["node-1"]
    api.edit("profiles", "node-1", lambda it: it["spec"]["config"].update(verbosity=1))
    api.put("profiles", {**profile(), "metadata": {"name": "node-2", "namespace": NAMESPACE}})
    (kind, changed), *more = list(kube.watch(PROFILES, listing.version))
    assert (kind, changed["spec"]["config"]["verbosity"], more) == ("MODIFIED", 1, [])
    asked = api.said("WATCH profiles")[0].query
    assert asked["fieldSelector"] == "metadata.name=node-1"
    assert (asked["timeoutSeconds"], asked["allowWatchBookmarks"]) == ("1", "True")


def test_only_the_metadata_of_pods_is_asked_for(api: Api, kube: Kube) -> None:
    pods = Resource("pods", fields="spec.nodeName=node-1", metadata_only=True)
    api.put("pods", {"metadata": {"name": "web"}, "spec": {"nodeName": "node-1"}})
    assert [each["metadata"]["name"] for each in kube.list(pods).items] == ["web"]
    assert [kind for kind, _ in kube.watch(pods, "1")] == ["ADDED"]
    api.put("nodes", node())
    assert kube.get_node("node-1")["metadata"]["name"] == "node-1"
    assert [each.path for each in api.requests] == [*["/api/v1/pods"] * 2, "/api/v1/nodes/node-1"]
    for request in api.requests:
        assert "as=PartialObjectMetadata" in request.headers["Accept"]


def test_create_replace_and_annotate(api: Api, kube: Kube) -> None:
    made = kube.create(PROFILES, profile())
    with pytest.raises(ApiError) as caught:
        kube.create(PROFILES, profile())
    assert caught.value.status == 409
    kube.replace(PROFILES, made)
    with pytest.raises(ApiError, match=r"cannot update profiles in .*: 409 Operation cannot"):
        kube.replace(PROFILES, made)
    status = {"tunedProfile": "site", "conditions": []}
    kube.replace_status(PROFILES, {**kube.get(PROFILES, "node-1"), "status": status})
    assert api.status() == status
    api.put("nodes", node())
    kube.annotate_node("node-1", {"tuned.openshift.io/bootcmdline": "a=b"})
    (patch,) = api.said("PATCH nodes")
    assert patch.body == {"metadata": {"annotations": {"tuned.openshift.io/bootcmdline": "a=b"}}}
    assert "json-patch" not in patch.headers["Content-Type"]


@pytest.mark.parametrize(
    ("answer", "status", "retry_after", "words"),
    [
        (answers.FORBIDDEN, 403, 0.0, "cannot list resource"),
        (answers.INITIALIZING, 429, 1.0, "storage is (re)initializing"),
        (answers.UNAUTHORIZED, 401, 0.0, "Unauthorized"),
        (answers.NO_CRD, 404, 0.0, "Not Found"),
        (answers.ETCD, 500, 0.0, "etcdserver: request timed out"),
        (answers.DEADLINE, 504, 0.0, "context deadline exceeded"),
        (answers.GONE, 410, 0.0, "too old"),
        (Answer(302, b"", {"Location": "http://elsewhere.example/"}), 302, 0.0, "Found"),
        (Answer(200, b"<html>"), 0, 0.0, "the answer is not JSON"),
        (Answer(200, b"[" * 100_000), 0, 0.0, "nested too deeply"),
        (Answer(200, b"[]"), 0, 0.0, "the answer is no object"),
        (Answer(200, b"{}"), 0, 0.0, "no list of objects"),
        (Answer(200, b'{"items": [', cut=True), 0, 0.0, "no answer"),
        (Answer(503, b"busy", {"Retry-After": "Fri, 27 Nov 2026 01:00:00 GMT"}), 503, 0.0, "503"),
    ],
)
def test_what_a_server_answers_when_something_is_wrong(
    api: Api, kube: Kube, answer: Answer, status: int, retry_after: float, words: str
) -> None:
    api.once("LIST profiles", answer)
    with pytest.raises(ApiError) as caught:
        kube.list(PROFILES)
    assert (caught.value.status, caught.value.retry_after) == (status, retry_after)
    assert words in caught.value.message
    assert kube.counters.errors == {status: 1}
    # A redirection is not followed.
    assert len(api.requests) == 1


def test_an_expired_version_in_a_stream_with_status_200(api: Api, kube: Kube) -> None:
    api.once("WATCH profiles", answers.EXPIRED, answers.GONE)
    for _ in range(2):
        with pytest.raises(Gone, match="too old"):
            list(kube.watch(PROFILES, "352"))


def test_an_event_that_is_none(api: Api, kube: Kube) -> None:
    events: tuple[object, ...] = ({"type": 5}, {"type": "ADDED"}, [])
    for wrong in events:
        api.once("WATCH profiles", answers.stream(wrong))
        with pytest.raises(ApiError, match=r"no event|no object"):
            list(kube.watch(PROFILES, "1"))
    error = {"type": "ERROR", "object": {"code": "x", "message": 5}}
    api.once("WATCH profiles", answers.stream(error))
    with pytest.raises(ApiError, match="cannot watch"):
        list(kube.watch(PROFILES, "1"))


def test_a_half_open_connection_is_given_up(api: Api) -> None:
    kube = Kube(Server(api.url), watch=1, grace=0.2)
    api.once("WATCH profiles", answers.HANGS)
    began = time.monotonic()
    with no_hang(), pytest.raises(ApiError, match="no answer"):
        list(kube.watch(PROFILES, "1"))
    assert time.monotonic() - began >= 1.2
    # Once: it is not the library that tries again.
    assert len(api.requests) == 1


def test_a_watch_of_nothing_but_silence_ends(kube: Kube) -> None:
    """From a version that is ahead, as after a restored etcd."""
    assert list(kube.watch(PROFILES, "99999")) == []


def test_a_connection_that_is_lost_in_the_middle_of_a_line(api: Api, kube: Kube) -> None:
    api.once("WATCH profiles", Answer(200, b'{"type": "ADD'))
    with pytest.raises(ApiError, match="ended in the middle of a line"):
        list(kube.watch(PROFILES, "1"))
    api.once("WATCH profiles", Answer(200, b'{"type": "ADD', cut=True))
    with pytest.raises(ApiError, match="no answer"):
        list(kube.watch(PROFILES, "1"))


def test_no_server() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = Kube(Server(f"http://127.0.0.1:{taken.getsockname()[1]}"))
        with no_hang(), pytest.raises(ApiError, match="Connection refused") as caught:
            nobody.list(PROFILES)
    assert caught.value.status == 0


def test_an_object_of_a_megabyte_and_a_half(api: Api, kube: Kube) -> None:
    large = profile("site", {"site": "x" * 1_500_000})
    listing = kube.list(PROFILES)
    api.put("profiles", large)
    assert len(kube.list(PROFILES).items) == 1
    ((_, changed),) = kube.watch(PROFILES, listing.version)
    assert changed["spec"]["profile"][0]["data"] == "x" * 1_500_000


def test_an_answer_without_end_is_refused(api: Api, kube: Kube) -> None:
    api.once("LIST profiles", Answer(200, b" " * (ANSWER + 2)))
    with pytest.raises(ApiError, match="larger than 16777216 bytes"):
        kube.list(PROFILES)
    api.once("WATCH profiles", Answer(200, b" " * (LINE + 100_000)))
    with pytest.raises(ApiError, match="a line of the watch is larger than 4194304 bytes"):
        list(kube.watch(PROFILES, "1"))


def test_the_token_is_read_for_each_request(api: Api, tmp_path: Path) -> None:
    """The kubelet replaces the folder behind a link (..data)."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(f"{name}\n")
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "token").symlink_to("..data/token")
    kube = Kube(Server(api.url, tmp_path / "token"))
    kube.list(PROFILES)
    (tmp_path / "new").symlink_to("second")
    (tmp_path / "new").rename(tmp_path / "..data")
    kube.list(PROFILES)
    sent = [each.headers["Authorization"] for each in api.requests]
    assert sent == ["Bearer first", "Bearer second"]
    (tmp_path / "token").unlink()
    with pytest.raises(ApiError, match="token"):
        kube.list(PROFILES)


def test_no_proxy_of_the_environment_is_used(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    Kube(Server(api.url)).list(PROFILES)


def test_an_event_is_created_as_it_is(api: Api, kube: Kube) -> None:
    body = {"metadata": {"name": "e", "namespace": "default"}, "reason": "x"}
    kube.create_event("default", body)
    (request,) = api.said("POST events")
    assert (request.path, request.body) == ("/api/v1/namespaces/default/events", body)
    assert json.dumps(request.body)
