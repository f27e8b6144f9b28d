"""Running the container once: its log, and how it ends."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from ocp_tuned_boot.cleanup import BRIEF
from ocp_tuned_boot.errors import DeadlineExceeded, HostError
from ocp_tuned_boot.host import messages
from ocp_tuned_boot.host.clock import GRACE, OVERRUN, WORTHWHILE, Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.inside.program import KEEPS_RUNNING
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.tuned import ours, running
from tests.unit.fake_engine import Engine
from tests.unit.fake_podman import listening
from tests.unit.patience import PATIENCE


def follower(root: Path, said: bytes) -> running._Follower:
    paths = Paths(root)
    paths.run.mkdir(parents=True)
    paths.container_log.write_bytes(said)
    return running._Follower(paths)


LINE = b"2026-11-23T22:28:17+00:00 stderr F " + b"x" * 1000 + b"\n"


def test_a_long_log_is_read_in_parts(tmp_path: Path) -> None:
    with follower(tmp_path, LINE * 1000) as following:
        assert following.read()
        assert len(following._lines) < 100
        assert following.finish() == ("x" * 1000,) * 1000
        assert not following.read()
    assert Paths(tmp_path).tuned_log.read_text() == ("x" * 1000 + "\n") * 1000


TUNED = (
    "2026-11-23 22:28:17,001 INFO     tuned.daemon.daemon: starting tuning",
    "2026-11-23 22:28:17,002 DEBUG    tuned.plugins.base: devices",
    "2026-11-23 22:28:17,003 WARNING  tuned.plugins.base: no devices",
    "2026-11-23 22:28:17,004 ERROR    tuned.units.manager: BUG: Unhandled exception",
    "Traceback (most recent call last):",
    "KeyError: 'x'",
    "I1123 22:28:17.171888    4615 controller.go:1784] started",
)


def test_each_line_of_tuneds_is_logged_at_its_own_level(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A traceback has that of the record that it belongs to."""
    caplog.set_level(logging.DEBUG)
    log = b"".join(b"2026-11-23T22:28:17+00:00 stderr F %s\n" % line.encode() for line in TUNED)
    with follower(tmp_path, log) as following:
        following.finish()
    levels = [record.levelname for record in caplog.records]
    assert levels == ["INFO", "DEBUG", "WARNING", "ERROR", "ERROR", "ERROR", "INFO"]
    assert tuple(record.getMessage() for record in caplog.records) == TUNED
    fields = [getattr(record, messages.ATTRIBUTE) for record in caplog.records]
    assert fields[3] == {
        "TUNED_LOGGER": "tuned.units.manager",
        "MESSAGE": "tuned.units.manager: BUG: Unhandled exception",
    }
    assert fields[4] == {}
    assert fields[6]["MESSAGE"] == "controller.go:1784: started"


def line(number: int) -> bytes:
    return b"2026-11-23T22:28:17+00:00 stderr F %d\n" % number


def test_a_log_that_is_replaced_is_read_whole(tmp_path: Path) -> None:
    path = Paths(tmp_path).container_log
    with follower(tmp_path, line(1)) as following, path.open("ab", buffering=0) as old:
        assert following.read()
        for number in (2, 4):
            path.rename(f"{path}.old")
            path.write_bytes(line(number + 1))
            if number == 2:
                # Written after the last read, and before the file was replaced.
                old.write(line(number))
            while following.read():
                pass
        assert following.finish() == ("1", "2", "3", "5")


def test_a_log_that_is_truncated_is_read_on(tmp_path: Path) -> None:
    path = Paths(tmp_path).container_log
    with follower(tmp_path, line(1) * 2) as following:
        assert following.read()
        path.write_bytes(line(2))
        assert following.finish() == ("1", "1", "2")


def test_a_log_that_is_removed_has_ended(tmp_path: Path) -> None:
    with follower(tmp_path, line(1)) as following:
        Paths(tmp_path).container_log.unlink()
        assert following.finish() == ("1",)


def test_the_log_is_not_replaced_before_it_is_too_long() -> None:
    assert running.LOG_SIZE > running.LOG_LIMIT + running._CHUNK


def test_what_tuned_logs_after_it_has_applied_the_profile_may_come_in_the_same_read(
    tmp_path: Path,
) -> None:
    said = b"2026-11-23T22:28:17+00:00 stderr F %s\n" % KEEPS_RUNNING.encode()
    with follower(tmp_path, line(1)) as following:
        following.read()
        assert not following.is_complete
    with follower(tmp_path / "busy", said + line(1) * 500) as following:
        following.read()
        assert following.is_complete


def test_a_log_without_end_is_an_error(tmp_path: Path) -> None:
    with follower(tmp_path, LINE * 5_000) as following:
        with pytest.raises(HostError, match="TuneD logged more than 4194304 bytes"):
            following.finish()


def test_a_run_directory_that_is_full_is_an_error_with_words(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    paths.tuned_log.symlink_to("/dev/full")
    paths.container_log.write_bytes(LINE)
    with running._Follower(paths) as following:
        with pytest.raises(HostError, match=r"cannot write .*tuned.log: No space left"):
            following.finish()


def test_the_kubelet_starts_at_most_three_seconds_after_the_deadline() -> None:
    # The run itself, and after it ExecStopPost=. The rest is for a busy node to start programs.
    assert OVERRUN + BRIEF <= 1.25
    # systemd does not kill a run that keeps to it.
    assert OVERRUN + BRIEF < GRACE
    assert running.TERM_GRACE < running.STOPPING
    # Another attempt has the time to run TuneD.
    assert running.STOPPING + running.LEAST <= WORTHWHILE


STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    """One that SIGTERM does not end."""
    command = [sys.executable, "-c", STUBBORN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stubborn:
        assert stubborn.stdout is not None
        assert stubborn.stdout.readline() == "ready\n"
        yield stubborn
        stubborn.kill()


def ran(root: Path, answer: Callable[[Engine, str], bytes | None]) -> running.Exit:
    """A run of a container that has no time at all; `answer` is asked first."""
    paths = Paths(root)
    paths.etc_tuned.mkdir(parents=True)
    engine = Engine(paths)
    engine.create()

    def answered(request: str) -> bytes | None:
        return answer(engine, request)

    with listening(answered) as socket, Podman(socket, Deadline(PATIENCE)) as podman:
        created = podman.container("c1")
        assert created is not None
        with running.started(podman, created, paths, Deadline(0)) as this:
            return this.finish()


def test_a_tuned_that_sigterm_does_not_end_is_killed(
    tmp_path: Path, process: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "TERM_GRACE", 0.05)

    def answer(engine: Engine, request: str) -> bytes | None:
        if "/kill?signal=KILL" in request:
            process.kill()
            process.wait()
        engine.pid = process.pid if process.returncode is None else 0
        # Podman answers this when the container has ended.
        return None if "/wait" in request and engine.pid else engine.answer(request)

    assert ran(tmp_path, answer).status is None
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("later", ["exited", "another"])
def test_a_process_that_has_got_the_id_of_a_container_that_ended_is_left_alone(
    tmp_path: Path, process: subprocess.Popen[str], later: str
) -> None:
    inspections = []

    def answer(engine: Engine, request: str) -> bytes | None:
        if "/c1/json" in request:
            inspections.append(request)
        # The first look finds its process. It exits, and another process gets its ID.
        gone = 0 if later == "exited" else 1
        engine.pid = process.pid if len(inspections) <= 2 else gone
        return engine.answer(request)

    # It is not waited for.
    assert ran(tmp_path, answer).status == 0
    assert process.poll() is None


def test_tuned_is_killed_also_if_podman_hangs(
    tmp_path: Path, process: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "TERM_GRACE", 0.05)
    monkeypatch.setattr(ours, "CLEARING", 0.05)

    def answer(engine: Engine, request: str) -> bytes | None:
        engine.pid = process.pid
        return None if "/kill?" in request else engine.answer(request)

    with pytest.raises(DeadlineExceeded):
        ran(tmp_path, answer)
    assert process.wait(PATIENCE) == -signal.SIGKILL
