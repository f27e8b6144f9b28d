"""What the lab reports while it is busy: what it does, the time so far, and what it waits for."""

from __future__ import annotations

import fcntl
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import activity, cache
from tests.unit.patience import PATIENCE


class Log(logging.Handler):
    """What was logged; `wait_for` waits for words in it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            self.lines.append(record.getMessage())
            self._changed.notify_all()

    def wait_for(self, words: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: words in "\n".join(self.lines), PATIENCE)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    monkeypatch.setattr(activity, "EVERY", 0.02)
    monkeypatch.setattr(activity, "AGAIN", 0.02)
    handler, before = Log(), activity.log.level
    activity.log.setLevel(logging.INFO)
    activity.log.addHandler(handler)
    yield handler
    activity.log.removeHandler(handler)
    activity.log.setLevel(before)


def test_what_takes_long_is_reported_again_with_the_time_so_far(logged: Log) -> None:
    threads = threading.active_count()
    with activity.activity("Building a root"):
        logged.wait_for("Building a root… 0 s so far\nBuilding a root… 0 s so far")
    assert logged.lines[0] == "Building a root…"
    assert logged.lines[-1] == "Building a root: done in 0 s"
    assert threading.active_count() == threads


HOLDS = """
import fcntl, sys
with open(sys.argv[1], "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_that_is_waited_for_is_reported_with_its_holder(logged: Log, tmp_path: Path) -> None:
    path = tmp_path / "knobs.lock"
    command = [sys.executable, "-c", HOLDS, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        def wait() -> None:
            with cache.lock(path, "the kernel settings"):
                pass

        waiting = threading.Thread(target=wait)
        waiting.start()
        logged.wait_for("s so far")
        holder.communicate()
        waiting.join()
    what = f"Waiting for the kernel settings: process {holder.pid} ("
    assert logged.lines[0].startswith(f"{what}{Path(sys.executable).name}"[: activity.WIDTH - 1])
    assert logged.lines[0].endswith("…")
    assert max(len(line) for line in logged.lines) == activity.WIDTH
    assert logged.lines[-1] == "Waiting for the kernel settings: done in 0 s"


def test_the_holder_is_the_one_of_now_and_each_is_reported_once(
    logged: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "AGAIN", PATIENCE)
    asked = iter(["one", "one", "one", "two", "two", "one", "three"])
    # At the end it is asked until somebody looks.
    with activity.waiting("it", lambda: next(asked, "three")):
        logged.wait_for("three")
    assert [line.partition("…")[0].rpartition(" ")[2] for line in logged.lines[:-1]] == [
        "one", "two", "one", "three",
    ]  # fmt: skip


def test_the_holder_of_a_lock_is_asked_for_again(
    logged: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter(["one", "one"])
    monkeypatch.setattr(cache, "_holder", lambda _: next(asked, "two"))

    def wait() -> None:
        with cache.lock(tmp_path / "knobs.lock", "it"):
            pass

    waiting = threading.Thread(target=wait)
    with (tmp_path / "knobs.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting.start()
        logged.wait_for("Waiting for it: two…")
    waiting.join()


def test_a_free_lock_is_taken_without_a_report(logged: Log, tmp_path: Path) -> None:
    with cache.lock(tmp_path / "free.lock"):
        with (tmp_path / "free.lock").open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert logged.lines == []
