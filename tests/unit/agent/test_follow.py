"""List, watch until the server ends it, list again; no error is final."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ocp_tuned_boot.agent.follow import FIRST, LONGEST, PATIENT, Follower, Objects, Pause
from ocp_tuned_boot.agent.kube import Kube, Resource, Server
from tests.unit.agent import answers
from tests.unit.agent.answers import Answer
from tests.unit.agent.fake_api import Api, serving
from tests.unit.agent.made import NAMESPACE, profile
from tests.unit.patience import eventually

PROFILES = Resource(
    "profiles", "tuned.openshift.io", namespace=NAMESPACE, fields="metadata.name=node-1"
)
KEY = (NAMESPACE, "node-1")


def test_pauses_grow_have_jitter_and_end_at_five_seconds() -> None:
    longest = Pause(lambda _, most: most)
    assert [longest.next() for _ in range(6)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    longest.reset()
    assert longest.next() == FIRST
    shortest = Pause(lambda least, _: least)
    assert [shortest.next() for _ in range(6)] == [0.25, 0.5, 1.0, 2.0, 2.5, 2.5]
    assert all(FIRST / 2 <= Pause().next() <= FIRST for _ in range(100))
    assert LONGEST == 5.0


def test_what_the_server_asks_for_is_waited_for_up_to_a_minute() -> None:
    shortest = Pause(lambda least, _: least)
    assert shortest.next(1.0) == 1.0
    assert shortest.next(1e9) == PATIENT
    assert Pause(lambda _, most: most).next(30.0) == 45.0


class _NoPause(Pause):
    """How long would have been waited is kept."""

    def __init__(self) -> None:
        super().__init__(lambda _, most: most)
        self.asked: list[float] = []
        self.resets = 0

    def next(self, at_least: float = 0.0) -> float:
        self.asked.append(super().next(at_least))
        return 0.01

    def reset(self) -> None:
        self.resets += 1
        super().reset()


@pytest.fixture
def api() -> Iterator[Api]:
    pytest.importorskip("kubernetes", reason="the agent's client is not in this environment")
    with serving() as found:
        yield found


@contextmanager
def following(api: Api, watch: int = 60) -> Iterator[tuple[list[Objects], _NoPause]]:
    seen: list[Objects] = []
    pause = _NoPause()
    follower = Follower(Kube(Server(api.url), watch=watch, grace=1.0), PROFILES, seen.append, pause)
    follower.start()
    try:
        yield seen, pause
    finally:
        follower.stop()


def has(seen: list[Objects], verbosity: int) -> Callable[[], bool]:
    def holds() -> bool:
        found = seen[-1].get(KEY, {}) if seen else {}
        return bool(found.get("spec", {}).get("config", {}).get("verbosity") == verbosity)

    return holds


def change(api: Api, verbosity: int) -> None:
    api.edit("profiles", "node-1", lambda it: it["spec"]["config"].update(verbosity=verbosity))


def test_changes_are_passed_on_as_they_happen(api: Api) -> None:
    with following(api) as (seen, pause):
        eventually(lambda: seen == [{}])
        api.put("profiles", profile())
        eventually(has(seen, 0))
        change(api, 1)
        eventually(has(seen, 1))
        api.delete("profiles", "node-1")
        eventually(lambda: seen[-1] == {})
    assert [each.says for each in api.requests] == ["LIST profiles", "WATCH profiles"]
    assert pause.asked == []


def test_when_the_server_ends_the_watch_the_list_is_read_again(api: Api) -> None:
    """Also after silence for a reason that nobody knows: what was missed is found."""
    api.put("profiles", profile())
    api.once("WATCH profiles", answers.stream())
    with following(api) as (seen, _):
        eventually(lambda: len(api.said("WATCH profiles")) > 1)
        change(api, 1)
        eventually(has(seen, 1))


def test_a_server_that_ends_every_watch_at_once_is_not_asked_without_end(api: Api) -> None:
    api.wrong = lambda request: answers.stream() if request.is_watch else None
    with following(api) as (_, pause):
        eventually(lambda: len(pause.asked) >= 5)
        assert pause.asked[:5] == [0.5, 1.0, 2.0, 4.0, 5.0]


@pytest.mark.parametrize(
    "wrong",
    [
        # The server is started again (recorded).
        [answers.FORBIDDEN, answers.INITIALIZING],
        # The CRD is not there, or just created.
        [answers.NO_CRD, answers.NO_CRD, answers.INITIALIZING],
        # etcd is away.
        [answers.DEADLINE, answers.ETCD],
        # The token is not valid (any more), and then its successor is.
        [answers.UNAUTHORIZED],
        [answers.GONE],
        [Answer(200, b"{")],
        [Answer(200, b"", cut=True)],
    ],
)  # fmt: skip
def test_no_error_of_a_list_is_final(api: Api, wrong: list[Answer]) -> None:
    api.put("profiles", profile())
    api.once("LIST profiles", *wrong)
    with following(api) as (seen, pause):
        eventually(has(seen, 0))
    assert len(pause.asked) == len(wrong)
    # What the server asks to wait is waited.
    asked = [each for each, answer in zip(pause.asked, wrong) if answer is answers.INITIALIZING]
    assert all(each >= 1.0 for each in asked)


@pytest.mark.parametrize(
    "wrong",
    [answers.EXPIRED, answers.GONE, answers.FORBIDDEN, answers.HANGS,
     answers.stream({"type": "ADDED"}), Answer(200, b'{"type": ', cut=True)],
)  # fmt: skip
def test_no_error_of_a_watch_is_final(api: Api, wrong: Answer) -> None:
    api.put("profiles", profile())
    api.once("WATCH profiles", wrong)
    with following(api, watch=1) as (seen, _):
        eventually(has(seen, 0))
        eventually(lambda: len(api.said("WATCH profiles")) > 1)
        change(api, 1)
        eventually(has(seen, 1))


def test_a_server_that_is_stopped_and_started_again(api: Api) -> None:
    api.put("profiles", profile())
    with following(api) as (seen, pause):
        eventually(has(seen, 0))
        # The stream ends; then connections are refused, and then come the answers of the beginning.
        api.once("LIST profiles", answers.FORBIDDEN, answers.INITIALIZING)
        api.wrong, before = (lambda _: Answer(cut=True)), api.wrong
        with api.changed:
            api.closing = True
            api.changed.notify_all()
        eventually(lambda: len(pause.asked) >= 3)
        assert seen[-1][KEY]
        api.closing, api.wrong = False, before
        change(api, 1)
        eventually(has(seen, 1))


def test_a_crd_that_is_deleted_and_made_again(api: Api) -> None:
    api.put("profiles", profile())
    with following(api, watch=1) as (seen, _):
        eventually(has(seen, 0))
        # Recorded: DELETED for every object, the end of the stream, then 404.
        api.delete("profiles", "node-1")
        eventually(lambda: seen[-1] == {})
        api.missing.add("profiles")
        lists = len(api.said("LIST profiles"))
        eventually(lambda: len(api.said("LIST profiles")) > lists + 2)
        assert seen[-1] == {}
        api.missing.clear()
        api.put("profiles", profile(generation=9))
        eventually(has(seen, 0))


def test_an_error_is_logged_once_and_that_it_is_over(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    api.once("LIST profiles", *[answers.FORBIDDEN] * 5, answers.ETCD)
    with following(api) as (seen, _):
        eventually(lambda: seen)
    said = [each.getMessage() for each in caplog.records]
    assert len([each for each in said if "403" in each]) == 1
    assert len([each for each in said if "500" in each]) == 1
    assert "answers again" in said[-1]


def test_a_defect_does_not_end_it(api: Api) -> None:
    calls: list[Objects] = []

    def seen(found: Objects) -> None:
        calls.append(found)
        raise AttributeError("a mistake")

    follower = Follower(Kube(Server(api.url), watch=1, grace=1.0), PROFILES, seen, _NoPause())
    follower.start()
    eventually(lambda: len(calls) > 2)
    follower.stop()


def test_nothing_is_passed_on_after_the_stop(api: Api) -> None:
    with following(api) as (seen, _):
        eventually(lambda: seen)
    api.put("profiles", profile())
    assert seen == [{}]
