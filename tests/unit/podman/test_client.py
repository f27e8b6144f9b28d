"""The door to Podman: every failure is one typed error with a reason."""

from __future__ import annotations

import io
import json
import re
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Callable

import pytest

from ocp_tuned_boot.errors import DeadlineExceeded, ImageError, NameTaken, PodmanError, Refused
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.podman.client import Image, Podman, Removal
from ocp_tuned_boot.podman.transport import API_VERSION
from tests.unit.fake_podman import Answer, listening, reply, socket_path

SHORT = 0.3

EXPIRED = "tls: failed to verify certificate: x509: certificate has expired or is not yet valid"
MIRRORS = ("initializing source docker://x: (Mirrors also failed: [mirror.lab/x: ", "]): lab/x: ")


def image(answer: Answer, reference: str = "localhost/x") -> Image | None:
    with listening(answer) as path, Podman(path, Deadline(SHORT)) as podman:
        return podman.image(reference)


def pull(answer: bytes, reference: str = "localhost/x") -> None:
    with listening(lambda _: answer) as path, Podman(path, Deadline(SHORT)) as podman:
        podman.pull(reference)


def test_a_socket_that_is_missing() -> None:
    with socket_path() as path, pytest.raises(PodmanError) as caught:
        Podman(path, Deadline(SHORT))
    assert caught.value.message == f"cannot reach Podman at {path}: No such file or directory"
    assert "ocp-tuned-podman*.socket" in caught.value.hint
    assert "[podman] socket" in caught.value.hint


def test_a_socket_without_a_listener() -> None:
    with socket_path() as path, socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        with pytest.raises(PodmanError, match=f"cannot reach Podman at {path}: Connection refused"):
            Podman(path, Deadline(SHORT))


def test_a_path_that_is_not_a_socket(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PodmanError, match=r"cannot reach Podman at .*: Connection refused"):
        Podman(tmp_path / "file", Deadline(SHORT))


def test_a_path_that_is_too_long() -> None:
    path = Path("/" + "x" * 200)
    with pytest.raises(PodmanError, match=rf"cannot reach Podman at {path}: .*too long"):
        Podman(path, Deadline(SHORT))


def test_a_full_backlog_is_an_error_at_once_and_not_a_wait() -> None:
    with socket_path() as path, socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        bound.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(path))
            started = time.monotonic()
            with pytest.raises(PodmanError, match="cannot reach Podman"):
                Podman(path, Deadline(60))
            assert time.monotonic() - started < 5


def test_a_service_that_accepts_and_does_not_answer_is_given_up_at_the_deadline() -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"did not answer in time \(inspect image localhost"):
        image(lambda _: None)
    assert SHORT <= time.monotonic() - started < SHORT + 5


def test_a_pull_that_stops_in_the_middle_is_given_up_at_the_deadline() -> None:
    progress = reply(200, json.dumps({"stream": "Copying blob"}) + "\n", chunked=True)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"did not answer in time \(pull localhost/x\)"):
        pull(progress)
    assert SHORT <= time.monotonic() - started < SHORT + 5


def test_no_request_is_sent_after_the_deadline() -> None:
    requests: list[str] = []

    def answer(request: str) -> bytes:
        requests.append(request)
        return reply(200, '{"Id": "abc"}')

    with listening(answer) as path, Podman(path, Deadline(60)) as podman:
        with pytest.raises(DeadlineExceeded):
            podman.until(Deadline(0)).image("localhost/x")
        assert requests == []
        assert podman.image("localhost/x") == Image("localhost/x", "abc")
    assert requests == [f"GET /v{API_VERSION}/libpod/images/localhost%2Fx/json HTTP/1.1"]


@pytest.mark.parametrize(
    "said",
    [b"garbage\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"],
    ids=["garbage", "hangs up", "cut off"],
)
def test_a_service_that_closes_the_connection(said: bytes) -> None:
    words = r"lost the connection to Podman at .* \(inspect image localhost/x\)"
    with pytest.raises(PodmanError, match=words) as caught:
        image(lambda _: said)
    assert caught.value.temporary


@pytest.mark.parametrize("body", ["", "no JSON", "[]", "{}", "null", '"text"'])
def test_an_unexpected_answer(body: str) -> None:
    with pytest.raises(
        PodmanError, match=r"sent an unexpected answer \(inspect image localhost/x\)"
    ):
        image(lambda _: reply(200, body))


def test_an_image_that_is_not_in_the_store() -> None:
    assert image(lambda _: reply(404, '{"cause": "x", "message": "no such image"}')) is None


def test_a_refusal_is_reported_with_podmans_reason() -> None:
    words = re.escape("Podman refuses to inspect image localhost/x: database is locked")
    with pytest.raises(PodmanError, match=words):
        image(lambda _: reply(500, '{"cause": "x", "message": "database is locked"}'))


def test_a_pull_that_fails_after_it_started() -> None:
    said = json.dumps({"stream": "Trying to pull…\n"}) + "\n" + json.dumps({"error": "denied"})
    with pytest.raises(ImageError, match="cannot pull localhost/x: denied"):
        pull(reply(200, said))


@pytest.mark.parametrize(
    ("words", "temporary"),
    [
        ("dial tcp 10.0.0.1:443: connect: connection refused", True),
        ("received unexpected HTTP status: 503 Service Unavailable", True),
        ("i/o timeout", True),
        ("reading manifest x in a/b: unauthorized: access to the requested resource", False),
        ("requested access to the resource is denied", False),
        ("reading manifest x in a/b: manifest unknown", False),
        ("reading manifest x in a/b: name unknown: repository name not known to registry", False),
        ("no such image", False),
        ("StatusCode: 404, Not here", False),
        # The reference, with any words, is part of the reason.
        ("initializing source docker://localhost/x: dial tcp: i/o timeout", True),
        ("initializing source docker://localhost/denied@sha256:4040: i/o timeout", True),
        # The address of a layer is signed: that is not about policy.json.
        ('Get "https://cdn.lab/x?X-Amz-Signature=feed": dial tcp 1.2.3.4:443: i/o timeout', True),
        ("Source image rejected: A signature was required, but no signature exists", False),
        # The clock was not set yet; or the certificate is old.
        (f"{EXPIRED}: current time 2021-01-01T00:00:10Z is before 2024-01-01T00:00:00Z", True),
        (f"{EXPIRED}: current time 2026-01-01T00:00:10Z is after 2024-01-01T00:00:00Z", False),
        # One of several registries may become available.
        (f"{MIRRORS[0]}authentication required{MIRRORS[1]}connection refused", True),
        (f"{MIRRORS[0]}i/o timeout{MIRRORS[1]}manifest unknown", True),
        (f"{MIRRORS[0]}authentication required{MIRRORS[1]}manifest unknown", False),
    ],
)
def test_temporary_and_permanent_failures_of_a_pull(words: str, temporary: bool) -> None:
    with pytest.raises(ImageError) as caught:
        pull(reply(200, json.dumps({"error": words})), "localhost/denied@sha256:4040")
    assert caught.value.temporary is temporary


def test_the_query_of_a_presigned_address_is_not_reported() -> None:
    words = 'reading blob: Get "https://cdn.lab/12?X-Amz-Credential=AKIA&X-Amz-Signature=feed": EOF'
    with pytest.raises(ImageError) as caught:
        pull(reply(200, json.dumps({"error": words})))
    assert caught.value.message.endswith('reading blob: Get "https://cdn.lab/12?…": EOF')


def test_a_clock_that_is_behind_is_reported() -> None:
    words = f"{EXPIRED}: current time 2021-01-01T00:00:10Z is before 2024-01-01T00:00:00Z"
    with pytest.raises(ImageError) as caught:
        pull(reply(200, json.dumps({"error": words})))
    assert "clock" in caught.value.hint


def test_a_pull_that_could_not_start_is_reported_in_full() -> None:
    def answer(request: str) -> bytes:
        if "compatMode" in request:
            return reply(500, '{"message": "connection refused"}')
        return reply(200, '{"error": "pinging container registry a.lab:5000: connection refused"}')

    with listening(answer) as path, Podman(path, Deadline(SHORT)) as podman:
        with pytest.raises(ImageError, match=r"pinging container registry a\.lab:5000"):
            podman.pull("a.lab:5000/x")


def test_the_first_reason_is_reported_when_there_is_no_time_for_the_full_one() -> None:
    def answer(request: str) -> bytes | None:
        return reply(500, '{"message": "refused"}') if "compatMode" in request else None

    with listening(answer) as path, Podman(path, Deadline(SHORT)) as podman:
        with pytest.raises(ImageError, match="cannot pull localhost/x: refused"):
            podman.pull("localhost/x")


def test_a_pull_that_is_refused_without_a_reason_has_failed() -> None:
    with pytest.raises(ImageError, match="cannot pull localhost/x: Podman answered 500"):
        pull(reply(500, ""))


@contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[Path]:
    """A service that does this with each connection."""
    with socket_path() as path, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def accept() -> None:
            with suppress(OSError):
                while True:
                    line = listener.accept()[0]
                    with line, suppress(OSError):
                        serve(line)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield path
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


ARCHIVE = 2_000_000


@pytest.mark.parametrize(("per_piece", "before_answer"), [(0.2, 0.0), (0.01, 0.45)])
def test_loading_an_archive_is_given_up_at_the_deadline(
    tmp_path: Path, per_piece: float, before_answer: float
) -> None:
    (tmp_path / "a.tar").write_bytes(b"x" * ARCHIVE)

    def slow(line: socket.socket) -> None:
        taken = 0
        while taken < ARCHIVE and (data := line.recv(65536)):
            taken += len(data)
            time.sleep(per_piece)
        time.sleep(before_answer if taken else 0)
        line.sendall(reply(200, '{"Names": ["a"]}'))

    # Each piece, and the answer, takes less than the time that was left at the beginning.
    with serving(slow) as path, Podman(path, Deadline(0.6)) as podman:
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            podman.load(tmp_path / "a.tar")
        # The archive is not sent to its end.
        assert time.monotonic() - started < 4


def test_exporting_an_archive_is_given_up_at_the_deadline() -> None:
    def slow(line: socket.socket) -> None:
        if line.recv(65536):
            line.sendall(reply(200, "begun", chunked=True))
            for _ in range(10):
                time.sleep(SHORT / 3)
                line.sendall(b"1\r\nx\r\n")
            line.sendall(b"0\r\n\r\n")

    with serving(slow) as path, Podman(path, Deadline(SHORT)) as podman:
        with pytest.raises(DeadlineExceeded):
            podman.export("x", io.BytesIO())


@pytest.mark.parametrize(
    ("status", "temporary"), [(500, True), (503, True), (400, False), (409, False)]
)
def test_an_error_of_the_server_is_temporary_and_one_of_the_request_is_not(
    status: int, temporary: bool
) -> None:
    with pytest.raises(PodmanError) as caught:
        image(lambda _: reply(status, '{"cause": "x", "message": "x"}'))
    assert caught.value.temporary is temporary


def test_a_pull_whose_answer_is_not_json() -> None:
    with pytest.raises(PodmanError, match=r"sent an unexpected answer \(pull localhost/x\)"):
        pull(reply(200, "<html>"))


def test_a_pull_that_the_service_refuses() -> None:
    words = "cannot pull localhost/x: unqualified name"
    with pytest.raises(ImageError, match=words):
        pull(reply(500, '{"cause": "x", "message": "unqualified name"}'))


@pytest.mark.parametrize("body", ["", "{}", "[]"])
def test_an_unexpected_answer_to_creating_a_container(body: str) -> None:
    created = reply(201, body)
    with listening(lambda _: created) as path, Podman(path, Deadline(SHORT)) as podman:
        with pytest.raises(PodmanError, match=r"\(create container x\)"):
            podman.create({"name": "x", "image": "y"})


def test_an_empty_archive_is_requested_again() -> None:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        member = tarfile.TarInfo("tuned/active_profile")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"site\n"))
    answers = [reply(200, ""), reply(200, ""), reply(200, whole.getvalue().decode())]
    with listening(lambda _: answers.pop(0)) as path, Podman(path, Deadline(SHORT)) as podman:
        assert podman.files("abc", "/etc/tuned") == {"active_profile": b"site\n"}


def test_an_answer_that_is_not_an_archive() -> None:
    said = reply(200, "no tar")
    with listening(lambda _: said) as path, Podman(path, Deadline(SHORT)) as podman:
        with pytest.raises(PodmanError, match=r"\(read /etc/tuned in abc\)"):
            podman.files("abc", "/etc/tuned")


@pytest.mark.parametrize(
    ("status", "removal"),
    [(200, Removal.REMOVED), (404, Removal.MISSING), (409, Removal.IN_USE)],
)
def test_the_result_of_removing_an_image(status: int, removal: Removal) -> None:
    with listening(lambda _: reply(status, "{}")) as path, Podman(path, Deadline(SHORT)) as podman:
        assert podman.remove_image("x") is removal


def test_the_containers_of_an_image() -> None:
    listed = [{"Id": "1", "Names": ["a"], "ImageID": "x"}, {"Id": "2", "ImageID": "y"},
              {"Id": "3", "Names": None, "ImageID": "x"}]  # fmt: skip
    asked: list[str] = []

    def answer(request: str) -> bytes:
        asked.append(request)
        return reply(200, json.dumps(listed))

    with listening(answer) as path, Podman(path, Deadline(SHORT)) as podman:
        assert podman.users("x") == ("a", "3")
    # Without this parameter CRI-O's containers are not in the list.
    assert "external=true" in asked[0]


def test_a_container_is_removed_with_its_volumes() -> None:
    asked: list[str] = []

    def answer(line: str) -> bytes:
        asked.append(line)
        return reply(200, "[]")

    with listening(answer) as path, Podman(path, Deadline(SHORT)) as podman:
        assert podman.remove("abc")
    # Libpod's parameter; Docker's, `v`, is ignored (pkg/api/handlers/compat/containers.go).
    assert "volumes=True" in asked[0]
    assert "force=True" in asked[0]


@pytest.mark.parametrize(
    "message",
    [
        'creating container storage: the container name "x" is already in use by 0123. You have …',
        'name "x" is in use: container already exists',
    ],
)
def test_a_name_that_is_taken_is_told_from_other_refusals(message: str) -> None:
    for said, kind in ((message, NameTaken), ("no such image", Refused)):
        answer = reply(500, json.dumps({"message": said, "cause": "x"}))
        with listening(lambda _, it=answer: it) as path, Podman(path, Deadline(SHORT)) as podman:  # type: ignore[misc]
            with pytest.raises(Refused) as caught:
                podman.create({"name": "x", "image": "y"})
            assert type(caught.value) is kind


def test_the_labels_of_a_container_are_in_the_list() -> None:
    listed = [
        {"Id": "1", "Names": ["a"], "Labels": {"x": "1"}, "State": "created"},
        {"Id": "2", "Names": ["b"], "Labels": None, "State": "exited"},
        {"Id": "3", "Names": ["c"], "Labels": None, "State": "storage"},
    ]
    with listening(lambda _: reply(200, json.dumps(listed))) as path:
        with Podman(path, Deadline(SHORT)) as podman:
            seen = [podman.labels(name) for name in ("a", "b", "c", "d")]
    # Of what only the storage knows, nothing can be said.
    assert seen == [{"x": "1"}, {}, None, None]


def test_removing_and_killing_a_missing_container_is_not_an_error() -> None:
    gone = reply(404, '{"cause": "no such container", "message": "no such container"}')
    with listening(lambda _: gone) as path, Podman(path, Deadline(SHORT)) as podman:
        assert not podman.remove("abc")
        podman.kill("abc", "TERM")
        assert podman.container("abc") is None
        assert podman.files("abc", "/etc") == {}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"stream": "Copying blob sha256:ff\n"}, "Copying blob sha256:ff"),
        ({"status": "Downloading", "id": "ff6d",
          "progressDetail": {"current": 44506112, "total": 49902770}},
         "Downloading ff6d 44.5 of 49.9 MB"),
        ({"status": "Download complete", "id": "ff6d", "progressDetail": {}},
         "Download complete ff6d"),
        ({"id": "d849", "images": ["d849"]}, ""),
    ],
)  # fmt: skip
def test_the_progress_of_a_pull_is_reported(answer: dict[str, object], text: str) -> None:
    reported: list[str] = []
    with listening(lambda _: reply(200, json.dumps(answer))) as path:
        with Podman(path, Deadline(SHORT)) as podman:
            podman.pull("localhost/x", report=reported.append)
    assert reported == ([f"Pulling the image localhost/x: {text}"] if text else [])
