"""What is done before the word, and what is not. With TuneD: tests/lab/test_starting_line.py."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ocp_tuned_boot import early, word
from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.record import history
from ocp_tuned_boot.record import store as record
from ocp_tuned_boot.record.model import Record
from ocp_tuned_boot.record.recorder import Recorder
from ocp_tuned_boot.tuned.judge import Result
from ocp_tuned_boot.word import Outlook
from tests.unit import fake_manager
from tests.unit.fake_engine import Engine, serving
from tests.unit.fake_manager import Manager
from tests.unit.hostile import host
from tests.unit.patience import PATIENCE, eventually, no_hang
from tests.unit.test_boot import HOST
from tests.unit.test_word import give

WAITS = "STATUS=Waiting for ocp-tuned-go.service"
LOADED = f"{WAITS}. TuneD has loaded the profile"


@pytest.fixture
def paths() -> Iterator[Paths]:
    with host(HOST) as (found, _):
        found.own_cgroup.parent.mkdir(parents=True, exist_ok=True)
        found.own_cgroup.write_text("0::/system.slice/ocp-tuned.service\n")
        yield found


@pytest.fixture
def engine(paths: Paths) -> Engine:
    """Its image is on the node."""
    made = Engine(paths)
    made.pull()
    return made


@contextmanager
def starting(
    paths: Paths, engine: Engine, conf: str = ""
) -> Iterator[tuple[subprocess.Popen[bytes], Manager]]:
    """The program in the unit, before the word; it is killed at the end."""
    command = [sys.executable, "-m", "ocp_tuned_boot", "--root", str(paths.root), "apply"]
    with serving(engine, conf) as file, fake_manager.listening() as (address, manager):
        process = subprocess.Popen(
            [*command, "--config", str(file)], env={**os.environ, "NOTIFY_SOCKET": address},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield process, manager
        finally:
            process.kill()
            process.wait()


def ended(paths: Paths, process: subprocess.Popen[bytes]) -> Record:
    process.wait(PATIENCE)
    done = record.read(paths)
    assert done is not None
    return done


def has_prepared(manager: Manager) -> bool:
    """Whether it has done what it can, and TuneD does not wait."""
    said = [line for lines in manager.messages for line in lines if line.startswith("STATUS=")]
    return f"{WAITS}. Preparing" in said and said[-1] == WAITS


def profile(paths: Paths) -> Path:
    return paths.profiles / "site/tuned.conf"


def made(engine: Engine) -> int:
    return sum("/create" in each for each in engine.requests)


def test_tuned_is_only_told_at_the_word(paths: Paths, engine: Engine) -> None:
    with starting(paths, engine) as (process, manager):
        manager.wait_for(LOADED)
        # Nothing is on record: nothing has been done yet.
        assert record.read(paths) is None
        before = len(engine.requests)
        give(paths)
        done = ended(paths, process)
    assert done.result is Result.APPLIED
    assert not [each for each in engine.requests[before:] if "/create" in each or "/start" in each]
    assert [step.name for step in done.steps] == ["inputs", "image", "tuned", "collect", "hold"]
    assert not paths.wake_up.exists()


def test_what_was_done_before_the_word_is_recorded_with_its_times(
    paths: Paths, engine: Engine
) -> None:
    with starting(paths, engine) as (process, manager):
        manager.wait_for(LOADED)
        given = time.monotonic()
        give(paths)
        done = ended(paths, process)
    assert [step.name for step in done.early] == ["podman", "prepare", "create", "ask"]
    moments = done.moments
    assert moments is not None
    assert moments.began is not None
    assert moments.ready is not None
    times = [moments.began, *(step.at for step in done.early), given,
             *(step.at for step in done.steps if step.name != "collect")]  # fmt: skip
    assert times == sorted(times, key=lambda at: at or 0.0)
    assert done.early[-1].seconds + (done.early[-1].at or 0.0) <= given
    assert moments.began < moments.word < moments.ready
    assert {"inputs", "tuned"} <= {step.name for step in done.steps}
    # It is on disk, and in the history of the boot.
    (boot,) = history.read(paths)
    assert (boot.runs[0].moments, boot.runs[0].early) == (moments, done.early)


def test_the_time_allowed_starts_with_the_word(paths: Paths, engine: Engine) -> None:
    """A wait of more than all of it."""
    with starting(paths, engine, "[tuning]\ntimeout = 5\n") as (process, manager):
        manager.wait_for(LOADED)
        began = time.monotonic()
        eventually(lambda: time.monotonic() - began > 6)
        given = time.monotonic()
        give(paths)
        done = ended(paths, process)
        took = time.monotonic() - given
    assert done.result is Result.APPLIED
    assert done.seconds <= took
    assert any(each.startswith("DELETE") for each in engine.requests)


def test_a_unit_that_never_gives_the_word_is_not_waited_for(
    paths: Paths, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is started once, and fails."""
    started: list[bool] = []

    def start_it() -> bool:
        started.append(True)
        return True

    monkeypatch.setattr(word, "outlook", lambda _: Outlook(False))
    monkeypatch.setattr(word, "start", start_it)
    with serving(engine) as file, fake_manager.listening() as (address, _):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        with no_hang(), early.waited(paths, file, Notifier(in_unit=True)) as start:
            assert start.refused is not None
            with pytest.raises(HostError, match=r"ocp-tuned-go\.service .* does not start"):
                start.deadline(paths, 5, Recorder(paths, 0))
    assert started == [True]


def test_a_circle_through_this_unit_is_not_waited_for(
    paths: Paths, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    circle = ("ocp-tuned-go.service", "site.service")
    monkeypatch.setattr(word, "outlook", lambda _: Outlook(True, (), circle))
    with serving(engine) as file, fake_manager.listening() as (address, _):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        with no_hang(), early.waited(paths, file, Notifier(in_unit=True)) as start:
            with pytest.raises(
                HostError, match=r"it waits for site.service, which waits for ocp-tuned"
            ):
                start.deadline(paths, 5, Recorder(paths, 0))


def test_the_status_says_what_is_still_starting(paths: Paths) -> None:
    with fake_manager.listening() as (address, manager), word.waiter(paths) as waiter:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NOTIFY_SOCKET", address)
            waiting = early._Early(paths, None, Notifier(in_unit=True), waiter)
            waiting.tell()
            manager.wait_for(WAITS)
            waiting.outlook = Outlook(True, ("a.service", "b.service"))
            waiting.tell("TuneD has loaded the profile")
            manager.wait_for(f"{LOADED}. Still starting: a.service, b.service")
            waiting.outlook = Outlook(True, ("a", "b", "c", "d"))
            waiting.tell()
            manager.wait_for(f"{WAITS}. Still starting: a, b, c …")


def test_what_changes_at_the_last_moment_is_another_run(paths: Paths, engine: Engine) -> None:
    with starting(paths, engine) as (process, manager):
        manager.wait_for(LOADED)
        before = len(engine.requests)
        profile(paths).write_text("[main]\nsummary=other\n")
        give(paths)
        done = ended(paths, process)
    assert done.result is Result.APPLIED
    assert [each for each in engine.requests[before:] if "/create" in each]


def test_what_changes_while_it_waits_is_prepared_anew(paths: Paths, engine: Engine) -> None:
    with starting(paths, engine) as (process, manager):
        manager.wait_for(LOADED)
        first = made(engine)
        profile(paths).write_text("[main]\nsummary=other\n")
        eventually(lambda: made(engine) > first)
        assert process.poll() is None


def test_a_container_that_exits_is_made_anew(paths: Paths, engine: Engine) -> None:
    with starting(paths, engine) as (process, manager):
        manager.wait_for(LOADED)
        assert engine._process is not None
        first = made(engine)
        engine._process.kill()
        eventually(lambda: made(engine) > first)
        give(paths)
        done = ended(paths, process)
    assert done.result is Result.APPLIED
    # What was done for the container that is gone is not in the record.
    names = [step.name for step in done.early]
    assert len(names) == len(set(names))


def test_what_fails_early_is_no_failure(paths: Paths, engine: Engine) -> None:
    """A file that is broken for now, for example."""
    good = paths.recommend.read_bytes()
    paths.recommend.write_bytes(b"")
    with starting(paths, engine) as (process, manager):
        manager.wait_for(WAITS)
        assert process.poll() is None
        assert record.read(paths) is None
        paths.recommend.write_bytes(good)
        give(paths)
        done = ended(paths, process)
    assert done.result is Result.APPLIED


def test_what_fails_still_at_the_word_is_one(paths: Paths, engine: Engine) -> None:
    paths.recommend.write_bytes(b"")
    with starting(paths, engine) as (process, manager):
        manager.wait_for(WAITS)
        give(paths)
        done = ended(paths, process)
    assert (done.result, done.findings[0].kind) == (Result.FAILED, "configuration")


def test_a_signal_ends_the_wait_and_the_container(paths: Paths, engine: Engine) -> None:
    with starting(paths, engine) as (process, manager):
        manager.wait_for(LOADED)
        process.terminate()
        process.wait(PATIENCE)
    assert any(each.startswith("DELETE") for each in engine.requests)
    assert not paths.wake_up.exists()


def test_nothing_is_pulled_early(paths: Paths) -> None:
    """The network may not be up."""
    engine = Engine(paths)
    with starting(paths, engine) as (process, manager):
        eventually(lambda: has_prepared(manager))
        assert not [each for each in engine.requests if "/images/pull" in each]
        give(paths)
        assert ended(paths, process).result is Result.APPLIED


def test_an_operands_container_is_not_made_early(paths: Paths, engine: Engine) -> None:
    with starting(paths, engine, "[tuning]\ncontract = operand\n") as (_, manager):
        eventually(lambda: has_prepared(manager))
        assert made(engine) == 0
