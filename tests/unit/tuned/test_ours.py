"""The containers of this program: which ones are ours, whatever Podman says of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, cast
from urllib.parse import unquote

import pytest

from ocp_tuned_boot.errors import DeadlineExceeded, NameTaken, NotRemoved, PodmanError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.tuned import orphans, ours
from tests.unit.fake_podman import listening, reply

NAME = ours.CONTAINER
OURS: dict[str, str] = {ours.LABEL: "1"}
READLINK = 'getting graph driver info "c1": readlink /var/lib/containers/…: invalid argument'
TAKEN = f'the container name "{NAME}" is already in use by c1: that name is already in use'


@dataclass
class Half:
    """A store with one container: `state` is `whole`, `damaged` (cannot be inspected), `external`
    (only Podman's storage knows it) or empty (there is none)."""

    state: str
    labels: Optional[dict[str, str]] = None
    removable: bool = True
    name: str = NAME
    status: str = "created"
    requests: list[str] = field(default_factory=list)

    def answer(self, line: str) -> Optional[bytes]:
        method, url, _ = line.split(" ")
        self.requests.append(f"{method} {unquote(url.partition('?')[0].partition('libpod')[2])}")
        is_mine = f"/{self.name}" in url or "/c1" in url
        if method == "DELETE":
            return self._delete(is_mine)
        if url.endswith("/json") and not (is_mine and self.state in ("whole", "damaged")):
            return reply(404, "{}")
        if url.endswith("/json") and self.state == "damaged":
            return reply(500, json.dumps({"message": READLINK}))
        if url.endswith("/json"):
            state = {"Status": self.status, "Pid": 0}
            content = {"Id": "c1", "Config": {"Labels": self.labels}, "State": state}
            return reply(200, json.dumps(content))
        return self._list()

    def _list(self) -> bytes:
        state = "storage" if self.state == "external" else "created"
        listed = {"Id": "c1", "Names": [self.name], "Labels": self.labels, "State": state}
        return reply(200, json.dumps([listed] if self.state else []))

    def _delete(self, is_mine: bool) -> Optional[bytes]:
        if not is_mine or not self.state:
            return reply(404, "{}")
        if not self.removable:
            return reply(500, json.dumps({"message": "layer is in use"}))
        self.state = ""
        return reply(200, "[]")

    @property
    def deleted(self) -> bool:
        return any(each.startswith("DELETE") for each in self.requests)

    @contextmanager
    def podman(self) -> Iterator[Podman]:
        with listening(self.answer) as path, Podman(path, Deadline(5)) as podman:
            yield podman


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of this machine is looked at."""
    monkeypatch.setattr(orphans, "end", lambda _: None)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


def note(paths: Paths, name: str = NAME) -> None:
    files.directory(paths.containers, paths.root)
    files.touch(paths.containers / name)


@pytest.mark.parametrize("noted", [True, False])
def test_what_cannot_be_inspected_is_removed_if_it_has_our_label(paths: Paths, noted: bool) -> None:
    store = Half("damaged", OURS)
    if noted:
        note(paths)
    with store.podman() as podman:
        assert ours.remove_all(podman, paths)
    assert store.state == ""
    assert ours.noted(paths) == ()


@pytest.mark.parametrize(
    ("store", "ended"),
    [
        (Half("whole", OURS), True),
        (Half("whole", OURS, status="running"), False),
        (Half("whole", OURS, status="exited"), False),
        (Half("damaged", OURS), True),
        (Half("external"), True),
        (Half("damaged", {}), False),
    ],
)
def test_processes_that_podman_does_not_know_are_ended(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, store: Half, ended: bool
) -> None:
    note(paths)
    names: list[str] = []
    monkeypatch.setattr(orphans, "end", names.append)
    with store.podman() as podman, suppress(NotRemoved):
        ours.remove_all(podman, paths)
    assert names == ([NAME] if ended else [])


def test_what_only_the_storage_knows_is_removed_if_it_is_noted(paths: Paths) -> None:
    store = Half("external")
    note(paths)
    with store.podman() as podman:
        assert ours.remove_all(podman, paths)
    assert store.state == ""
    assert ours.noted(paths) == ()


@pytest.mark.parametrize(
    ("store", "noted"),
    [
        (Half("damaged", {}), False),
        # It was created after ours was removed.
        (Half("damaged", {"another": "label"}), True),
        (Half("external"), False),
    ],
)
def test_somebody_elses_half_is_left_alone(paths: Paths, store: Half, noted: bool) -> None:
    if noted:
        note(paths)
    with store.podman() as podman, ours.sole(podman, paths):
        pass
    assert not store.deleted


def test_a_healthy_container_of_somebody_else_is_an_error(paths: Paths) -> None:
    store = Half("whole", {})
    note(paths)
    with store.podman() as podman:
        with pytest.raises(PodmanError, match="ocp-tuned-boot did not create it") as caught:
            ours.remove_all(podman, paths)
    assert not isinstance(caught.value, NotRemoved)
    assert f"podman rm -f {NAME}" in caught.value.hint
    assert not store.deleted


def test_what_cannot_be_removed_does_not_stop_a_run(
    paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    store = Half("damaged", OURS, removable=False)
    note(paths)
    with store.podman() as podman:
        with pytest.raises(NotRemoved, match="layer is in use"):
            ours.remove_all(podman, paths)
        caplog.clear()
        ran = False
        with ours.sole(podman, paths):
            ran = True
        assert ran
    assert "cannot be removed" in caplog.text
    assert f"podman rm -f {NAME}" in caplog.text
    # It is tried again.
    assert ours.noted(paths) == (NAME,)


def test_a_podman_that_hangs_over_a_removal_does_not_stop_a_run(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Half("whole", OURS)
    hang = True

    def answer(line: str) -> Optional[bytes]:
        return None if hang and line.startswith("DELETE") else store.answer(line)

    monkeypatch.setattr(ours, "CLEARING", 0.1)
    with listening(answer) as path, Podman(path, Deadline(60)) as podman:
        with ours.sole(podman, paths):
            hang = False
        assert store.state == ""
    with listening(lambda _: None) as path, Podman(path, Deadline(0.1)) as podman:
        with pytest.raises(DeadlineExceeded):
            ours.remove_all(podman, paths)


class Creates:
    """As `Podman` where only one name is taken; `created` are the names."""

    def __init__(self) -> None:
        self.created: list[str] = []

    def create(self, arguments: dict[str, Any]) -> str:
        if arguments["name"] == NAME:
            raise NameTaken(TAKEN)
        self.created.append(arguments["name"])
        return "made"


@pytest.mark.parametrize("noted", [True, False])
def test_a_name_that_is_taken_is_replaced(
    paths: Paths, noted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if noted:
        note(paths)
    store = Creates()
    made: Any = ours.create(cast(Podman, store), paths, {"name": NAME})
    assert made == "made"
    (other,) = store.created
    assert re.fullmatch(f"{NAME}-[0-9a-f]{{8}}", other)
    # What has the name stays as it was: ours if it was noted, else somebody else's.
    assert ours.noted(paths) == ((NAME, other) if noted else (other,))
    assert f"the name {other} is used instead" in caplog.text
    assert f"podman rm -f {NAME}" in caplog.text


def test_a_container_is_noted_before_it_is_created(paths: Paths) -> None:
    seen = []

    class Seen(Creates):
        def create(self, arguments: dict[str, Any]) -> str:
            seen.append(ours.noted(paths))
            return super().create({**arguments, "name": "x"})

    ours.create(cast(Podman, Seen()), paths, {"name": NAME})
    assert seen == [(NAME,)]


def test_a_state_folder_that_cannot_be_written_stops_no_run(paths: Paths) -> None:
    paths.state.parent.mkdir(parents=True)
    paths.state.write_text("")
    store = Creates()
    ours.create(cast(Podman, store), paths, {"name": "x"})
    assert store.created == ["x"]


def test_every_noted_container_is_removed_but_not_that_of_a_check(paths: Paths) -> None:
    other = f"{NAME}-01234567"
    store = Half("external", name=other)
    note(paths, other)
    note(paths, ours.CHECK)
    with store.podman() as podman:
        assert ours.remove_all(podman, paths)
        assert ours.noted(paths) == (ours.CHECK,)
        assert not ours.remove_check(podman, paths)
    assert ours.noted(paths) == ()
    assert store.state == ""
