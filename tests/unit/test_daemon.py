"""A TuneD that keeps running: when its unit is started, and how its end is judged. With the real
ones: tests/lab/test_daemon.py."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot import cli, daemon
from ocp_tuned_boot.errors import ConfigurationError, HostError, NotRequested, PodmanError, Refused
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.clock import Deadline, Progress
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import DAEMON, Job, Notifier
from ocp_tuned_boot.record import store
from ocp_tuned_boot.record.model import InForce, Record, Why
from ocp_tuned_boot.record.recorder import Recorder
from ocp_tuned_boot.requested import config, inputs, lastgood
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.requested.lastgood import LastProfile
from ocp_tuned_boot.tuned import ours, prepare, staying
from ocp_tuned_boot.tuned.findings import make
from ocp_tuned_boot.tuned.judge import Result
from ocp_tuned_boot.tuned.staying import Staying

BOOT = "0f0e0d0c-0b0a-4900-8000-000000000001"
REQUESTED = Inputs("localhost/tuned:1", "site", "tuned", BOOT, mode="daemon")
#: As with a conf that has none of it, and no socket.
CONF = "[tuning]\nmode = daemon\n"


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A node on which a profile is applied, and TuneD keeps running in the container c1."""
    found = Paths(tmp_path)
    found.run.mkdir(parents=True)
    monkeypatch.setattr(inputs, "boot_id", lambda _: BOOT)
    applied = InForce(
        BOOT, Result.APPLIED, "site", "localhost/tuned:1", "id", REQUESTED.fingerprint, "2026"
    )
    record = Record(Result.APPLIED, "2026", boot_id=BOOT, profile="site", in_force=applied)
    store.write(found, record)
    staying.note(found, Staying("c1", BOOT, REQUESTED.fingerprint))
    return found


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What systemd is asked to do."""
    asked: list[str] = []
    monkeypatch.setattr(systemd, "queue", lambda verb, names: asked.append(f"{verb} {names[0]}"))
    monkeypatch.setattr(systemd, "unit_states", lambda _: {DAEMON: "inactive"})
    monkeypatch.setattr(systemd, "reset_failed", lambda name: asked.append(f"reset {name}"))
    return asked


def test_at_the_end_of_a_run_the_unit_is_started(paths: Paths, queued: list[str]) -> None:
    daemon.follow(paths)
    assert queued == [f"start {DAEMON}"]


def test_its_limit_on_starts_is_reset(
    paths: Paths, queued: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "unit_states", lambda _: {DAEMON: "failed"})
    daemon.follow(paths)
    assert queued == [f"reset {DAEMON}", f"start {DAEMON}"]


@pytest.mark.parametrize("other", [{"fingerprint": "another"}, {"boot_id": "another"}])
def test_what_is_applied_by_another_tuned_ends_it(
    paths: Paths, queued: list[str], other: dict[str, str]
) -> None:
    known = staying.read(paths)
    assert known is not None
    staying.note(paths, replace(known, **other))
    daemon.follow(paths)
    assert queued == [f"stop {DAEMON}"]
    assert staying.read(paths) is None


def test_a_systemd_that_refuses_is_reported(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise HostError("it would cancel a stop")

    monkeypatch.setattr(systemd, "unit_states", lambda _: {})
    monkeypatch.setattr(systemd, "queue", refuse)
    daemon.follow(paths)
    assert "it would cancel a stop" in caplog.text


def test_without_a_tuned_that_is_to_run_systemd_does_not_start_one_again(
    paths: Paths, tmp_path: Path
) -> None:
    conf = tmp_path / "boot.conf"
    conf.write_text(CONF)
    staying.forget(paths)
    with pytest.raises(NotRequested):
        daemon.start(paths, conf, Notifier())
    # RestartPreventExitStatus= of the unit.
    assert cli.STATUSES[NotRequested] == 78


def test_what_is_started_again_is_what_is_applied(paths: Paths) -> None:
    in_force = store.in_force(paths, BOOT)
    assert in_force is not None
    assert daemon._applied(paths, in_force) is None
    lastgood.remember_profile(paths, LastProfile("another"))
    assert daemon._applied(paths, in_force) is None
    lastgood.remember_profile(paths, LastProfile("site"))
    assert daemon._applied(paths, in_force) == REQUESTED
    other = replace(REQUESTED, reapply_sysctl=False)
    in_force = replace(in_force, fingerprint=other.fingerprint)
    assert daemon._applied(paths, in_force) == other


class Engine:
    """Podman, which is asked to remove containers."""

    def __init__(self, *_: object) -> None:
        self.removed: list[str] = []
        self.refuses = 0

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def remove(self, name: str) -> bool:
        if self.refuses:
            self.refuses -= 1
            raise Refused("conmon exited prematurely")
        self.removed.append(name)
        return True


def ended(
    paths: Paths,
    monkeypatch: pytest.MonkeyPatch,
    job: str = "",
    engine: Engine | None = None,
    **environ: str,
) -> tuple[Engine, list[str]]:
    """TuneD has exited. Podman, and the texts of the status line."""
    conf = paths.root / "boot.conf"
    conf.write_text(CONF)
    engine, texts = engine or Engine(), list[str]()
    monkeypatch.setattr(daemon, "Podman", lambda *_: engine)
    jobs = {DAEMON: Job(job, "running")} if job else {}
    monkeypatch.setattr(systemd, "jobs", lambda: jobs)
    notifier = Notifier()
    monkeypatch.setattr(notifier, "status", texts.append)
    daemon.ended(paths, conf, environ, notifier)
    return engine, texts


LOG = (
    "2026-11-23T22:30:36.0+00:00 stderr F 2026-11-23 22:30:36,610 ERROR    tuned.x: no memory\n"
    "2026-11-23T22:30:36.0+00:00 stderr F 2026-11-23 22:30:36,611 INFO     "
    "ocp-tuned-boot.daemon: TuneD restores nothing\n"
)


@pytest.mark.parametrize(
    ("code", "status", "subject", "words"),
    [
        ("exited", "137", "SIGKILL", "it was killed by SIGKILL"),
        ("exited", "0", "0", "it exited with status 0"),
        ("exited", "1", "1", "it exited with status 1"),
        ("killed", "KILL", "SIGKILL", "its supervisor, conmon, was killed by SIGKILL"),
        ("", "", "?", "it exited with status ?"),
    ],
)
def test_how_tuned_has_exited_is_recorded(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, code: str, status: str, subject: str, words: str
) -> None:
    paths.container_log.write_text(LOG)
    engine, texts = ended(paths, monkeypatch, EXIT_CODE=code, EXIT_STATUS=status)
    message = f'TuneD does not keep running: {words}; its last message is "no memory"'
    assert texts == [message]
    record = store.read(paths)
    assert record is not None
    assert record.in_force is not None
    assert record.result is record.in_force.result is Result.DEGRADED
    assert record.findings == record.in_force.findings == (make("tuned-exited", subject, message),)
    assert engine.removed == ["c1"]


def test_a_tuned_that_cannot_be_started_again_has_not_exited(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = paths.root / "boot.conf"
    conf.write_text(f"{CONF}[podman]\nsocket = {paths.root}/nobody.sock\n")
    with pytest.raises(PodmanError):
        daemon.start(paths, conf, Notifier())
    engine, texts = ended(paths, monkeypatch, EXIT_CODE="exited", EXIT_STATUS="69")
    (text,) = texts
    assert "it cannot be started again (status 69)" in text
    assert engine.removed == []


def test_only_the_last_exit_is_a_finding(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    ended(paths, monkeypatch, EXIT_CODE="exited", EXIT_STATUS="1")
    ended(paths, monkeypatch, EXIT_CODE="exited", EXIT_STATUS="2")
    record = store.read(paths)
    assert record is not None
    assert [each.subject for each in record.findings] == ["2"]


@pytest.mark.parametrize("job", ["stop", "restart"])
def test_a_stop_on_request_is_no_finding(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    before = store.read(paths)
    engine, texts = ended(paths, monkeypatch, job, EXIT_CODE="exited", EXIT_STATUS="0")
    assert texts == [daemon.STOPPED]
    assert store.read(paths) == before
    assert engine.removed == ["c1"]


class Gone(Engine):
    """One whose socket is closed, as when the machine stops."""

    def remove(self, _: str) -> bool:
        raise PodmanError("lost the connection", temporary=True)


def test_at_shutdown_podman_is_gone_which_is_no_failure(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    forgotten: list[Paths] = []
    monkeypatch.setattr(prepare, "forget_tuned", forgotten.append)
    caplog.set_level(logging.INFO)
    how = {"EXIT_CODE": "exited", "EXIT_STATUS": "0"}
    _, texts = ended(paths, monkeypatch, "stop", Gone(), **how)
    assert texts == [daemon.STOPPED]
    (record,) = [it for it in caplog.records if "lost the connection" in it.message]
    assert record.levelno == logging.INFO
    assert forgotten == [paths]
    # Else somebody has to know.
    with pytest.raises(PodmanError):
        ended(paths, monkeypatch, "", Gone(), **how)
    assert forgotten == [paths, paths]


def test_while_the_machine_stops_podman_is_not_asked(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    forgotten: list[Paths] = []
    monkeypatch.setattr(prepare, "forget_tuned", forgotten.append)
    monkeypatch.setattr(systemd, "is_shutting_down", lambda: True)
    caplog.set_level(logging.INFO)
    engine, _ = ended(paths, monkeypatch, "stop", EXIT_CODE="exited", EXIT_STATUS="0")
    assert engine.removed == []
    assert ours.LATER in caplog.text
    assert forgotten == [paths]
    # One that exits by itself meanwhile is judged, and removed, as ever.
    engine, _ = ended(paths, monkeypatch, "", EXIT_CODE="exited", EXIT_STATUS="0")
    assert engine.removed == ["c1"]


def test_a_stop_that_a_run_waits_for_is_done_in_time() -> None:
    text = (Path(__file__).parents[2] / "units/ocp-tuned-daemon.service").read_text()
    found = re.search(r"(?m)^TimeoutStopSec=(\d+)$", text)
    assert found is not None
    # For TuneD, which may hang, and for ExecStopPost=, whose Podman may hang.
    assert int(found[1]) > ours.CLEARING
    assert 2 * int(found[1]) < daemon.STOPPING


def test_the_time_to_start_tuned_again_does_not_pass_while_a_run_is_active(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "boot.conf"
    conf.write_text(f"{CONF}timeout = 10\n")
    left: list[float] = []

    deadlines: list[Deadline] = []

    def podman(_: object, deadline: Deadline) -> Engine:
        deadlines.append(deadline)
        return Engine()

    @contextmanager
    def busy(*_: object) -> Iterator[None]:
        deadlines[0].restart(0)
        yield

    monkeypatch.setattr(daemon, "Podman", podman)
    monkeypatch.setattr(daemon, "_running", lambda *_: None)
    monkeypatch.setattr(daemon, "locked", busy)

    def started_again(_: object, __: object, ___: object, progress: Progress) -> None:
        left.append(progress.deadline.left())
        raise NotRequested("enough")

    monkeypatch.setattr(daemon, "_started_again", started_again)
    with pytest.raises(NotRequested, match="enough"):
        daemon.start(paths, conf, Notifier())
    assert 0 < left[0] <= 10


@pytest.mark.parametrize("why", [Why.START, Why.RELOAD, Why.NOTICE])
def test_a_run_after_which_tuned_runs_again_drops_the_finding(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, why: Why
) -> None:
    ended(paths, monkeypatch, EXIT_CODE="exited", EXIT_STATUS="1")
    recorder = Recorder(paths, 0.0, why)
    recorder.kept(())
    record = recorder.record()
    assert record.in_force is not None
    # At the end of the others the unit is started.
    kinds = ["tuned-exited"] if why is Why.NOTICE else []
    assert [it.kind for it in record.findings] == kinds
    assert [it.kind for it in record.in_force.findings] == kinds
    assert record.result is (Result.DEGRADED if kinds else Result.APPLIED)


def test_a_container_whose_supervisor_was_killed_is_removed_the_second_time() -> None:
    engine: Any = Engine()
    engine.refuses = 1
    daemon._remove(engine, "c1")
    assert engine.removed == ["c1"]
    engine.refuses = 2
    with pytest.raises(Refused):
        daemon._remove(engine, "c1")


def test_the_operators_program_runs_tuned_once() -> None:
    layers = [("a.conf", "[tuning]\nmode = daemon\n"), ("b.conf", "[tuning]\ncontract = operand\n")]
    with pytest.raises(ConfigurationError) as raised:
        config.parse(layers)
    assert "mode = daemon in a.conf and contract = operand in b.conf" in raised.value.message


def test_the_mode_is_a_part_of_the_fingerprint_and_the_default_is_not() -> None:
    once = replace(REQUESTED, mode="oneshot")
    assert once.fingerprint != REQUESTED.fingerprint
    assert once.fingerprint == Inputs("localhost/tuned:1", "site", "tuned", BOOT).fingerprint
