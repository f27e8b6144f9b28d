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

from ocp_tuned_boot.errors import (
    CutOff,
    DeadlineExceeded,
    HostError,
    ImageError,
    NameTaken,
    PodmanError,
    Refused,
)
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.transfer import Amount, Span
from ocp_tuned_boot.podman import client, service
from ocp_tuned_boot.podman.client import Image, Podman, Removal
from ocp_tuned_boot.podman.transport import API_VERSION, PacedFile
from ocp_tuned_boot.requested.config import SOCKETS
from tests.unit.fake_podman import Answer, listening, reply, socket_path
from tests.unit.patience import PATIENCE, no_hang

#: A deadline that runs out (seconds).
SHORT = 0.5

EXPIRED = "tls: failed to verify certificate: x509: certificate has expired or is not yet valid"
MIRRORS = ("initializing source docker://x: (Mirrors also failed: [mirror.lab/x: ", "]): lab/x: ")


@contextmanager
def connected(path: Path, seconds: float) -> Iterator[Podman]:
    """A connection whose requests have so long, counted from when it is there: to import what it
    takes may take longer."""
    with Podman(path, Deadline(PATIENCE)) as podman, no_hang():
        yield podman.until(Deadline(seconds))


def image(answer: Answer, seconds: float = PATIENCE) -> Image | None:
    with listening(answer) as path, connected(path, seconds) as podman:
        return podman.image("localhost/x")


def pull(answer: bytes, reference: str = "localhost/x", seconds: float = PATIENCE) -> None:
    with listening(lambda _: answer) as path, connected(path, seconds) as podman:
        podman.pull(reference)


def test_a_socket_that_is_missing() -> None:
    with socket_path() as path, pytest.raises(PodmanError) as caught:
        Podman(path, Deadline(PATIENCE))
    assert caught.value.message == f"cannot reach Podman at {path}: No such file or directory"
    assert "ocp-tuned-podman@*.socket" in caught.value.hint
    assert "[podman] socket" in caught.value.hint


def test_a_socket_without_a_listener() -> None:
    with socket_path() as path, socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        with pytest.raises(PodmanError, match=f"cannot reach Podman at {path}: Connection refused"):
            Podman(path, Deadline(PATIENCE))


def test_a_path_that_is_not_a_socket(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PodmanError, match=r"cannot reach Podman at .*: Connection refused"):
        Podman(tmp_path / "file", Deadline(PATIENCE))


def test_a_path_that_is_too_long() -> None:
    path = Path("/" + "x" * 200)
    with pytest.raises(PodmanError, match=rf"cannot reach Podman at {path}: .*too long"):
        Podman(path, Deadline(PATIENCE))


def test_a_full_backlog_is_an_error_at_once_and_not_a_wait() -> None:
    with socket_path() as path, socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        bound.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(path))
            # No connection is ever accepted.
            with no_hang(), pytest.raises(PodmanError, match="cannot reach Podman"):
                Podman(path, Deadline(2 * PATIENCE))


def test_a_service_that_accepts_and_does_not_answer_is_given_up_at_the_deadline() -> None:
    with pytest.raises(DeadlineExceeded, match=r"did not answer in time \(inspect image localhost"):
        image(lambda _: None, SHORT)


def test_a_pull_that_stops_in_the_middle_is_given_up_at_the_deadline() -> None:
    progress = reply(200, json.dumps({"stream": "Copying blob"}) + "\n", chunked=True)
    with pytest.raises(CutOff) as caught:
        pull(progress, seconds=SHORT)
    # The registry is up: what takes the time is the pull.
    assert caught.value.message == (
        "cannot pull localhost/x: the pull was not complete in time (last: layer 1, Copying blob)"
    )
    assert "Raise timeout in boot.conf" in caught.value.hint


@pytest.mark.parametrize("said", [None, "Trying to pull registry.lab/x..."])
def test_a_pull_without_progress_is_a_registry_that_does_not_answer(said: str | None) -> None:
    def answer(_: str) -> bytes | None:
        return reply(200, json.dumps({"stream": said}) + "\n", chunked=True) if said else None

    with listening(answer) as path, connected(path, SHORT) as podman:
        with pytest.raises(
            DeadlineExceeded, match=r"cannot pull registry\.lab/x: .* in time"
        ) as it:
            podman.pull("registry.lab/x")
    assert "Check that the registry is up" in it.value.hint
    # With more time it would not answer either, as far as is known.
    assert not isinstance(it.value, CutOff)


def test_no_request_is_sent_after_the_deadline() -> None:
    requests: list[str] = []

    def answer(request: str) -> bytes:
        requests.append(request)
        return reply(200, '{"Id": "abc"}')

    with listening(answer) as path, Podman(path, Deadline(PATIENCE)) as podman:
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
        ("initializing source docker://registry.lab/denied@sha256:4040: i/o timeout", True),
        # The address of a layer is signed: that is not about policy.json.
        ('Get "https://cdn.lab/x?X-Amz-Signature=feed": dial tcp 1.2.3.4:443: i/o timeout', True),
        ("Source image rejected: A signature was required, but no signature exists", False),
        # The clock was not set yet; or the certificate is old.
        (f"{EXPIRED}: current time 2021-01-01T00:00:10Z is before 2024-01-01T00:00:00Z", True),
        (f"{EXPIRED}: current time 2026-01-01T00:00:10Z is after 2024-01-01T00:00:00Z", False),
        # No other attempt changes what is configured on the node. All as Podman 5.4 and 4.3 say it.
        ('short-name "x" did not resolve to an alias and no unqualified-search registries', False),
        ("registry a.lab is blocked in /etc/containers/registries.conf or /root/x.conf.d", False),
        ('loading registries configuration "/etc/containers/registries.conf": toml: line 2', False),
        ('loading drop-in registries configuration "/etc/x": toml: line 2: expected', False),
        ('invalid policy in "/etc/containers/policy.json": unexpected end of JSON input', False),
        ('no policy.json file found at any of the following: "/etc/x"', False),
        ('parsing reference "[::1]:5000/x": invalid reference format', False),
        ("invalid reference format", False),
        ("repository name must be lowercase", False),
        ('Get "https://a:5000/v2/": http: server gave HTTP response to HTTPS client', False),
        ("writing blob: unpacking failed (output: write /x: no space left on device)", False),
        ("open /x/overlay-images/images.lock: read-only file system", False),
        # One of several registries may become available.
        (f"{MIRRORS[0]}authentication required{MIRRORS[1]}connection refused", True),
        (f"{MIRRORS[0]}i/o timeout{MIRRORS[1]}manifest unknown", True),
        (f"{MIRRORS[0]}authentication required{MIRRORS[1]}manifest unknown", False),
    ],
)
def test_temporary_and_permanent_failures_of_a_pull(words: str, temporary: bool) -> None:
    with pytest.raises(ImageError) as caught:
        pull(reply(200, json.dumps({"error": words})), "registry.lab/denied@sha256:4040")
    assert caught.value.temporary is temporary


def test_a_full_disk_is_the_cause_whatever_the_mirrors_say() -> None:
    for words in (
        f"{MIRRORS[0]}write /x: no space left on device{MIRRORS[1]}lookup lab: no such host",
        f"{MIRRORS[0]}i/o timeout{MIRRORS[1]}write /x: no space left on device",
    ):
        with pytest.raises(ImageError) as caught:
            pull(reply(200, json.dumps({"error": words})), "lab/x")
        assert caught.value.message.endswith("lab/x: write /x: no space left on device")
        assert "lookup" not in caught.value.message
        assert "timeout" not in caught.value.message
        assert caught.value.hint.startswith("Free disk space")
        assert not caught.value.temporary


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("layers.json766380081: no space left on device", "Free disk space"),
        ("open /x/images.lock: read-only file system", "findmnt"),
    ],
)
def test_storage_that_cannot_be_written_is_not_tried_again(words: str, hint: str) -> None:
    answer = reply(500, json.dumps({"cause": "x", "message": words}))
    with pytest.raises(PodmanError, match=words) as caught:
        image(lambda _: answer)
    assert not caught.value.temporary
    assert hint in caught.value.hint


@pytest.mark.parametrize("exits", [False, True])
def test_a_podman_that_is_silent_is_looked_at(exits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def starts_again(name: str) -> bool:
        asked.append(name)
        return exits

    monkeypatch.setattr(systemd, "starts_again", starts_again)
    monkeypatch.setattr(service, "unit_of", lambda _: "ocp-tuned-podman@shared.service")
    with listening(lambda _: None) as path, connected(path, SHORT) as podman:
        if not exits:
            podman.check_running()
        else:
            with pytest.raises(PodmanError, match="exits each time it is started") as caught:
                podman.check_running()
            assert not caught.value.temporary
            assert "journalctl -b -u ocp-tuned-podman@shared.service" in caught.value.hint
    assert asked == ["ocp-tuned-podman@shared.service"] * (1 + exits)


def test_a_podman_that_answers_the_second_time_is_not_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(systemd, "starts_again", lambda _: True)
    monkeypatch.setattr(service, "unit_of", lambda _: "ocp-tuned-podman@shared.service")
    answers = iter([None, reply(200, "OK")])
    with listening(lambda _: next(answers)) as path, connected(path, PATIENCE) as podman:
        podman.check_running()


def test_a_podman_that_answers_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "starts_again", lambda _: pytest.fail("systemd was asked"))
    with listening(lambda _: reply(200, "OK")) as path, Podman(path, Deadline(PATIENCE)) as podman:
        podman.check_running()


STALE = PodmanError("Podman refuses to create x: attempt to write a readonly database")


@pytest.mark.parametrize(
    ("socket", "failure", "stopped"),
    [
        ("/run/ocp-tuned-boot/podman-own.sock", STALE, ["ocp-tuned-podman@own.service"]),
        # Others may use it.
        ("/run/podman/podman.sock", STALE, []),
        ("/run/ocp-tuned-boot/podman-own.sock", PodmanError("database is locked"), []),
    ],
)
def test_our_podman_with_a_read_only_database_is_stopped(
    monkeypatch: pytest.MonkeyPatch, socket: str, failure: PodmanError, stopped: list[str]
) -> None:
    asked: list[str] = []

    def stop(name: str, seconds: float) -> None:
        asked.append(name)
        # Then the next attempt fails as this one did.
        raise HostError(f"{name} did not stop in {seconds:g} s")

    monkeypatch.setattr(systemd, "stop", stop)
    service.end_stale(Path(socket), failure, 1.0)
    assert asked == stopped


def test_each_refusal_that_may_pass_has_an_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "unit_of", lambda _: "ocp-tuned-podman@own.service")
    with pytest.raises(PodmanError, match="database is locked") as caught:
        image(lambda _: reply(500, '{"cause": "x", "message": "database is locked"}'))
    assert "systemctl restart ocp-tuned-podman@own.service" in caught.value.hint


def test_the_unit_behind_a_socket() -> None:
    units = {each.parent.name + "/" + each.name: service.unit_of(each) for each in (
        *SOCKETS.values(), Path("/run/ocp-tuned-boot/podman.sock"),
        Path("/run/podman/podman.sock"), Path("/srv/podman.sock"),
    )}  # fmt: skip
    assert units == {
        "ocp-tuned-boot/podman-shared.sock": "ocp-tuned-podman@shared.service",
        "ocp-tuned-boot/podman-own.sock": "ocp-tuned-podman@own.service",
        "ocp-tuned-boot/podman.sock": "ocp-tuned-podman@shared.service",
        "podman/podman.sock": "podman.service",
        "srv/podman.sock": "",
    }
    assert service.journal_hint(Path("/srv/podman.sock")) == ""


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

    with listening(answer) as path, Podman(path, Deadline(PATIENCE)) as podman:
        with pytest.raises(ImageError, match=r"pinging container registry a\.lab:5000"):
            podman.pull("a.lab:5000/x")


def test_the_first_reason_is_reported_when_there_is_no_time_for_the_full_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "_IN_FULL", SHORT)

    def answer(request: str) -> bytes | None:
        return reply(500, '{"message": "refused"}') if "compatMode" in request else None

    with listening(answer) as path, Podman(path, Deadline(PATIENCE)) as podman, no_hang():
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


def test_sending_an_archive_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    with (tmp_path / "a.tar").open("wb") as archive:
        archive.truncate(1 << 40)

    def slow(line: socket.socket) -> None:
        # Each piece is taken long before the deadline, and the last one never.
        while line.recv(1 << 16):
            time.sleep(SHORT / 10)

    with serving(slow) as path, connected(path, SHORT) as podman:
        with pytest.raises(DeadlineExceeded):
            podman.load(tmp_path / "a.tar")


def test_sending_an_archive_and_its_answer_have_one_deadline_together(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"x" * ARCHIVE)

    def slow(line: socket.socket) -> None:
        # More than fits on the way: it is sent when it is taken.
        taken = len(line.recv(1 << 16))
        time.sleep(0.6 * SHORT if taken else 0)
        while 0 < taken < ARCHIVE and (data := line.recv(1 << 16)):
            taken += len(data)
        time.sleep(0.8 * SHORT if taken else 0)
        line.sendall(reply(200, '{"Names": ["a"]}'))

    with serving(slow) as path, connected(path, SHORT) as podman:
        with pytest.raises(DeadlineExceeded):
            podman.load(tmp_path / "a.tar")


def test_exporting_an_archive_is_given_up_at_the_deadline() -> None:
    def slow(line: socket.socket) -> None:
        if line.recv(1 << 16):
            line.sendall(reply(200, "begun", chunked=True))
            while True:
                time.sleep(SHORT / 10)
                line.sendall(b"1\r\nx\r\n")

    with serving(slow) as path, connected(path, SHORT) as podman:
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
    with listening(lambda _: created) as path, Podman(path, Deadline(PATIENCE)) as podman:
        with pytest.raises(PodmanError, match=r"\(create container x\)"):
            podman.create({"name": "x", "image": "y"})


def test_an_empty_archive_is_requested_again() -> None:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        member = tarfile.TarInfo("tuned/active_profile")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"site\n"))
    answers = [reply(200, ""), reply(200, ""), reply(200, whole.getvalue().decode())]
    with listening(lambda _: answers.pop(0)) as path, Podman(path, Deadline(PATIENCE)) as podman:
        assert podman.files("abc", "/etc/tuned") == {"active_profile": b"site\n"}


def test_an_answer_that_is_not_an_archive() -> None:
    said = reply(200, "no tar")
    with listening(lambda _: said) as path, Podman(path, Deadline(PATIENCE)) as podman:
        with pytest.raises(PodmanError, match=r"\(read /etc/tuned in abc\)"):
            podman.files("abc", "/etc/tuned")


@pytest.mark.parametrize(
    ("status", "removal"),
    [(200, Removal.REMOVED), (404, Removal.MISSING), (409, Removal.IN_USE)],
)
def test_the_result_of_removing_an_image(status: int, removal: Removal) -> None:
    with (
        listening(lambda _: reply(status, "{}")) as path,
        Podman(path, Deadline(PATIENCE)) as podman,
    ):
        assert podman.remove_image("x") is removal


def test_the_containers_of_an_image() -> None:
    listed = [{"Id": "1", "Names": ["a"], "ImageID": "x"}, {"Id": "2", "ImageID": "y"},
              {"Id": "3", "Names": None, "ImageID": "x"}]  # fmt: skip
    asked: list[str] = []

    def answer(request: str) -> bytes:
        asked.append(request)
        return reply(200, json.dumps(listed))

    with listening(answer) as path, Podman(path, Deadline(PATIENCE)) as podman:
        assert podman.users("x") == ("a", "3")
    # Without this parameter CRI-O's containers are not in the list.
    assert "external=true" in asked[0]


def test_a_container_is_removed_whether_it_runs_or_not() -> None:
    """Without `force` Podman answers 409 while it runs."""

    def answer(request: str) -> bytes:
        asked.append(request)
        forced = "force=True" in request and "timeout=0" in request
        return reply(200 if forced else 409, '{"cause": "x", "message": "it is running"}')

    asked: list[str] = []
    with listening(answer) as path, Podman(path, Deadline(PATIENCE)) as podman:
        podman.remove("abc")
    assert len(asked) == 1


def test_a_container_is_removed_with_its_volumes() -> None:
    asked: list[str] = []

    def answer(line: str) -> bytes:
        asked.append(line)
        return reply(200, "[]")

    with listening(answer) as path, Podman(path, Deadline(PATIENCE)) as podman:
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
        with listening(lambda _, it=answer: it) as path, Podman(path, Deadline(PATIENCE)) as podman:  # type: ignore[misc]
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
        with Podman(path, Deadline(PATIENCE)) as podman:
            seen = [podman.labels(name) for name in ("a", "b", "c", "d")]
    # Of what only the storage knows, nothing can be said.
    assert seen == [{"x": "1"}, {}, None, None]


def test_removing_and_killing_a_missing_container_is_not_an_error() -> None:
    gone = reply(404, '{"cause": "no such container", "message": "no such container"}')
    with listening(lambda _: gone) as path, Podman(path, Deadline(PATIENCE)) as podman:
        assert not podman.remove("abc")
        podman.kill("abc", "TERM")
        assert podman.container("abc") is None
        assert podman.files("abc", "/etc") == {}


def downloading(layer: str, current: int, total: int) -> dict[str, object]:
    detail = {"current": current, "total": total}
    return {"status": "Downloading", "id": layer, "progressDetail": detail}


#: The lines of a pull, as Podman 5.4 and 4.3 send them, and what is reported of each.
PULLS: tuple[list[tuple[dict[str, object], str]], ...] = (
    [
        ({"status": "Pulling fs layer", "id": "aa", "progressDetail": {}}, "Pulling fs layer"),
        (downloading("aa", 32_545_792, 49_902_827), "32.5 of 49.9 MB, 65 %"),
        # The next layer was not known before.
        (downloading("bb", 0, 50_097_173), "32.5 of 100.0 MB, 32 %"),
        ({"status": "Download complete", "id": "aa"}, "49.9 of 100.0 MB, 49 %"),
        (downloading("bb", 50_097_173, 50_097_173), "100.0 of 100.0 MB, 100 %"),
        # The image's own ID.
        ({"status": "Download complete", "id": "cc"}, "100.0 of 100.0 MB, 100 %"),
    ],
    [
        ({"stream": "Trying to pull x...\n"}, "Trying to pull x..."),
        ({"stream": "Copying blob sha256:ff\n"}, "layer 1, Copying blob sha256:ff"),
        ({"stream": "Copying blob sha256:aa\n"}, "layer 2, Copying blob sha256:aa"),
        ({"stream": "Writing manifest\n"}, "Writing manifest"),
        ({"id": "d849", "images": ["d849"]}, ""),
    ],
)


@pytest.mark.parametrize("pull_", PULLS, ids=["5.4", "4.3"])
def test_the_progress_of_a_pull_is_reported(pull_: list[tuple[dict[str, object], str]]) -> None:
    reported: list[Amount] = []
    answer = "\n".join(json.dumps(line) for line, _ in pull_)
    with listening(lambda _: reply(200, answer)) as path:
        with Podman(path, Deadline(PATIENCE)) as podman:
            podman.pull("localhost/x", report=reported.append)
    assert [str(each) for each in reported] == [text for _, text in pull_ if text]


def test_the_progress_of_a_load_is_what_was_sent(tmp_path: Path) -> None:
    archive, reported = tmp_path / "a.tar", list[Amount]()
    archive.write_bytes(b"x" * 500_000)
    with PacedFile(archive, Deadline(PATIENCE), reported.append) as file:
        while file.read(200_000):
            pass
    assert [str(each) for each in reported] == [
        "0.2 of 0.5 MB, 40 %", "0.4 of 0.5 MB, 80 %",
        *["0.5 of 0.5 MB, 100 %; Podman unpacks it"] * 2,
    ]  # fmt: skip
    reported.clear()
    with listening(lambda _: reply(200, '{"Names": ["a"]}')) as path:
        with Podman(path, Deadline(PATIENCE)) as podman:
            podman.load(archive, reported.append)
    assert reported[0].total == 500_000


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_of_parts_no_read_is_longer_than_asked_for(tmp_path: Path, size: int) -> None:
    archive, reported = tmp_path / "a.tar", list[Amount]()
    archive.write_bytes(bytes(range(100)))
    parts = (b"head" * 5, Span(90, 10), Span(20, 3), b"end")
    expected = b"head" * 5 + bytes([*range(90, 100), 20, 21, 22]) + b"end"
    with PacedFile(archive, Deadline(PATIENCE), reported.append, parts) as file:
        assert file.len == len(expected)
        pieces = [*iter(lambda: file.read(size), b"")]
    assert b"".join(pieces) == expected
    assert max(map(len, pieces)) <= size
    assert (reported[-1].done, reported[-1].total) == (len(expected), len(expected))
    # One that has become shorter ends there.
    with PacedFile(archive, Deadline(PATIENCE), reported.append, (Span(95, 50),)) as file:
        assert [file.read(9), file.read(9)] == [bytes(range(95, 100)), b""]


def test_the_progress_of_an_export_is_what_was_received() -> None:
    reported, target = list[Amount](), io.BytesIO()
    with listening(lambda _: reply(200, "x" * 3_000_000)) as path:
        with Podman(path, Deadline(PATIENCE)) as podman:
            podman.export("localhost/x", target, reported.append)
    assert reported[0].done == 0
    assert "Podman sends nothing until the archive is complete" in str(reported[0])
    assert (reported[-1].done, reported[-1].total) == (len(target.getvalue()), 0)
    assert str(reported[-1]) == "3.0 MB"
