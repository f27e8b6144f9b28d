"""The boot flow as a whole: what comes before what. Podman and systemd are made up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from ocp_tuned_boot import boot, early, lock
from ocp_tuned_boot.early import Start
from ocp_tuned_boot.errors import DeadlineExceeded, HostError
from ocp_tuned_boot.host import clock, machine, systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.record import history
from ocp_tuned_boot.record import store as record
from ocp_tuned_boot.record.model import Why
from ocp_tuned_boot.tuned import layout, running
from ocp_tuned_boot.tuned.judge import Result
from ocp_tuned_boot.tuned.layout import PROGRAMS, Layout
from tests.unit import fake_manager
from tests.unit.fake_engine import Engine, serving
from tests.unit.fake_podman import reply
from tests.unit.hostile import AGENT, GOOD, file, host
from tests.unit.patience import PATIENCE, no_hang

#: With a profile that sets nothing, so that nothing can be amiss.
HOST = {
    **GOOD, AGENT + "profiles/site/tuned.conf": file(b"[main]\nsummary=x\n"),
    "proc/cmdline": file(b"quiet\n"),
}  # fmt: skip


@pytest.fixture
def paths() -> Iterator[Paths]:
    with host(HOST) as (found, _):
        yield found


@pytest.fixture
def engine(paths: Paths) -> Engine:
    return Engine(paths)


def apply(paths: Paths, engine: Engine) -> tuple[int, list[str]]:
    """The exit status of the program, and all lines that it sent to systemd."""
    command = [sys.executable, "-m", "ocp_tuned_boot", "--root", str(paths.root), "apply"]
    with serving(engine) as conf, fake_manager.listening() as (address, manager):
        done = subprocess.run(
            [*command, "--config", str(conf)], env={**os.environ, "NOTIFY_SOCKET": address},
            check=False, capture_output=True, timeout=PATIENCE,
        )  # fmt: skip
    return done.returncode, [line for lines in manager.messages for line in lines]


def test_it_is_ready_once_when_the_profile_is_applied(paths: Paths, engine: Engine) -> None:
    status, said = apply(paths, engine)
    done = record.read(paths)
    assert done is not None
    assert (status, done.result) == (0, Result.APPLIED), done.findings
    assert said.count("READY=1") == 1


def test_what_another_machine_has_recorded_is_removed_by_the_first_run(
    paths: Paths, engine: Engine
) -> None:
    paths.machine_id.parent.mkdir(parents=True, exist_ok=True)
    paths.machine_id.write_text(f"{1:032}\n")
    assert apply(paths, engine)[0] == 0
    (boot,) = paths.history.iterdir()
    assert machine.discarded(paths) == ()
    # Its disk is copied.
    shutil.rmtree(paths.run)
    paths.machine_id.write_text(f"{2:032}\n")
    paths.boot_id.write_text("bbbb-2222\n")
    assert apply(paths, engine)[0] == 0
    names = {"images.json", "last-good.json", "last-profile.json", f"history/{boot.name}"}
    assert set(machine.discarded(paths)) == names
    assert [each.boot_id for each in history.read(paths)] == ["bbbb-2222"]


def test_a_result_that_cannot_be_recorded_is_not_ready(paths: Paths, engine: Engine) -> None:
    """Units that start after it read the record."""

    def in_the_way(request: str) -> None:
        if "/wait" in request:
            paths.status.unlink()
            paths.status.mkdir()

    engine.instead = in_the_way
    status, said = apply(paths, engine)
    assert status == 1
    assert "READY=1" not in said


def test_before_the_deadline_there_is_room_to_stop_a_tuned_that_hangs(
    paths: Paths, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All of the time allowed: none is left for TuneD itself, and it is started all the same.
    monkeypatch.setattr(running, "STOPPING", 600.0)
    monkeypatch.setattr(running, "LEAST", -600.0)
    hangs = subprocess.Popen(["sleep", "infinity"])

    def runs(_: str) -> None:
        # The first one hangs until it is stopped; the next one exits by itself.
        engine.pid = hangs.pid if hangs.poll() is None else 0

    engine.instead, engine.meaning = runs, None
    try:
        with serving(engine) as conf, no_hang():
            done = boot.apply(paths, conf, Notifier())
    finally:
        hangs.kill()
        hangs.wait()
    assert [each.kind for each in done.attempts] == ["timeout"]
    assert "did not finish within 0 s" in done.attempts[0].message
    assert [each.kind for each in done.findings] == ["not-asked"]


def test_nothing_is_applied_before_the_hosts_own_tuned_has_exited(
    paths: Paths, engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When it exits it takes back what it has set."""
    group = paths.cgroups / "system.slice/tuned.service"
    group.mkdir(parents=True)
    (group / "cgroup.events").write_text("populated 1\n")
    refusals = ["no answer within 9.0 s", "Connection timed out", "Connection timed out"]

    def stop(name: str, seconds: float) -> None:
        assert name == systemd.HOST_TUNED
        assert 0 < seconds <= 600
        assert not any("/start" in each for each in engine.requests)
        # An unknown state is not "stopped".
        if refusals:
            raise HostError(f"systemctl stop tuned.service: {refusals.pop(0)}")

    monkeypatch.setattr(systemd, "stop", stop)
    monkeypatch.setattr(systemd, "requiring", lambda _: ["microshift-tuned.service"])
    with serving(engine) as conf:
        assert boot.apply(paths, conf, Notifier()).result is Result.APPLIED
    assert refusals == []
    assert "with it, systemd stops what requires it: microshift-tuned.service" in caplog.text
    assert "no answer within 9.0 s; trying again in" in caplog.text


def test_without_an_answer_that_it_is_stopped_nothing_is_applied(
    paths: Paths, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (paths.cgroups / "system.slice/tuned.service").mkdir(parents=True)
    (paths.cgroups / "system.slice/tuned.service/cgroup.events").write_text("populated 1\n")

    def stop(_: str, seconds: float) -> None:
        raise HostError(f"systemctl stop tuned.service: no answer within {seconds:.0f} s")

    monkeypatch.setattr(systemd, "stop", stop)
    monkeypatch.setattr(clock, "WORTHWHILE", 4.9)
    with serving(engine, "[tuning]\ntimeout = 5\n") as conf:
        with pytest.raises(DeadlineExceeded, match=r"cannot stop tuned\.service.*no answer"):
            boot.apply(paths, conf, Notifier())
    assert engine.requests == []


@pytest.mark.parametrize("refills", [True, False])
def test_podman_is_asked_for_what_tuned_wrote_only_if_the_host_does_not_have_it(
    paths: Paths, engine: Engine, refills: bool
) -> None:
    """The program of contract = operand fills an empty folder of the host, unless it is too old."""
    seen = Layout(programs=tuple(PROGRAMS.values()), refills=refills)
    layout._remember(paths, "id", seen)
    engine.contract, engine.layout = "operand", seen
    if not refills:
        engine.leaves = {}
    before: list[str] = []

    def starts(request: str) -> None:
        if request.endswith("/start") and not (paths.conversation / "verify").exists():
            before.extend(os.listdir(paths.etc_tuned))

    engine.instead = starts
    with serving(engine, "[tuning]\ntimeout = 600\ncontract = operand\n") as conf:
        done = boot.apply(paths, conf, Notifier())
    assert before == []
    asked = [request for request in engine.requests if "/archive" in request]
    assert len(asked) == (0 if refills else 1)
    # Without an answer, it is not known what TuneD wrote.
    assert (done.result is Result.APPLIED) == refills


REFUSED = reply(500, '{"cause": "x", "message": "dial tcp: connection refused", "response": 500}')
UNDER_WAY = reply(200, '{"status": "Copying blob", "id": "1"}\n{"error": "unexpected EOF"}')


@pytest.mark.parametrize("pull", [REFUSED, UNDER_WAY])
def test_a_run_that_may_take_long_ends_when_something_else_is_requested(
    paths: Paths, engine: Engine, pull: bytes
) -> None:
    """A registry that refuses is asked again until the deadline, and a pull may take so long."""

    def changed(request: str) -> bytes | None:
        if "/images/pull" not in request:
            return None
        paths.image_env.write_text("NTO_IMAGE=registry.example/fixed:1\n")
        return pull

    engine.instead = changed
    with serving(engine, "[tuning]\ngate = closed\ntimeout = 3600\n") as conf, no_hang():
        with pytest.raises(HostError, match="what is requested has changed during this run"):
            boot._run(paths, conf, Notifier(), Why.START, Start(time.monotonic(), times=2))


@pytest.mark.parametrize(("gate", "seconds"), [("closed", 7200), ("open", 3600)])
def test_only_a_closed_gate_gives_a_run_more_time(
    paths: Paths, engine: Engine, monkeypatch: pytest.MonkeyPatch, gate: str, seconds: int
) -> None:
    """It may have been opened in the pause before the run."""
    monkeypatch.setattr(early, "MOST", 9999.0)
    ends: list[float] = []
    monkeypatch.setattr(lock, "ends", lambda _, at: ends.append(at))
    start = Start(time.monotonic(), times=2)
    with serving(engine, f"[tuning]\ngate = {gate}\ntimeout = 3600\n") as conf, no_hang():
        boot._run(paths, conf, Notifier(), Why.START, start)
    assert [at - start.at for at in ends] == [pytest.approx(seconds)]
