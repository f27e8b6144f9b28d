"""What a killed run left behind is removed by the next one, also where nothing is applied."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

import pytest

from ocp_tuned_boot import boot, cleanup
from ocp_tuned_boot.errors import DeadlineExceeded, HostError
from ocp_tuned_boot.host import files, systemd
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.podman import client
from ocp_tuned_boot.tuned import ours, staying
from ocp_tuned_boot.tuned.staying import Staying
from tests.unit.fake_podman import listening, reply


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(tmp_path)
    for folder in (found.run, found.containers, found.history, found.archives[0]):
        files.directory(folder, found.root)
    return found


def test_without_a_note_podman_is_not_asked(
    paths: Paths, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    # There is no socket: a request would be logged.
    cleanup.containers(paths, tmp_path / "missing")
    paths.containers.rmdir()
    cleanup.containers(paths, tmp_path / "missing")
    assert caplog.text == ""


def test_noted_containers_are_removed_without_a_run_of_tuned(
    paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (ours.CONTAINER, f"{ours.CONTAINER}-01234567", ours.CHECK):
        files.touch(paths.containers / name)
    asked: list[str] = []

    def answer(line: str) -> bytes:
        asked.append(line)
        # Only Podman's storage knows them.
        return reply(200, "[]") if line.startswith("DELETE") else reply(404, "{}")

    caplog.set_level(logging.WARNING)
    with listening(answer) as socket:
        cleanup.containers(paths, socket)
    assert len([line for line in asked if line.startswith("DELETE")]) == 3
    assert ours.noted(paths) == ()
    assert "removed the container of a run that was killed" in caplog.text


def test_a_podman_that_is_away_is_no_failure(
    paths: Paths, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    files.touch(paths.containers / ours.CONTAINER)
    cleanup.containers(paths, tmp_path / "missing")
    assert "cannot reach Podman" in caplog.text
    assert ours.noted(paths) == (ours.CONTAINER,)


def test_temporary_files_are_removed_from_every_folder_of_ours(paths: Paths) -> None:
    left = [
        paths.state / ".last-good.json.7",
        paths.history / ".000001-x.json.7",
        paths.archives[0] / ".day-0.tar.7",
        paths.run / ".status.json.7",
    ]
    for path in left:
        path.write_text("half")
    cleanup.temporary(paths)
    assert [path for path in left if path.exists()] == []


def test_a_boot_conf_that_cannot_be_read_is_reported_in_brief(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    paths.boot_id.parent.mkdir(parents=True, exist_ok=True)
    paths.boot_id.write_text("11111111-2222-4333-8444-555555555555\n")
    paths.admin_conf.parent.mkdir(parents=True, exist_ok=True)
    paths.admin_conf.write_text("[tuning\n")

    def podman(socket: Path, _: Deadline) -> None:
        assert socket == Path("/run/ocp-tuned-boot/podman-shared.sock")
        raise DeadlineExceeded("Podman did not answer in time")

    monkeypatch.setattr(client, "Podman", podman)
    with pytest.raises(DeadlineExceeded):
        cleanup.cleanup(paths, None)
    warned = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert warned == ["boot.conf cannot be read; using the default socket"]


def test_every_run_looks_for_both() -> None:
    (run,) = [
        each
        for each in ast.parse(Path(boot.__file__).read_text()).body
        if isinstance(each, ast.FunctionDef) and each.name == "_run_once"
    ]
    called = {ast.unparse(each.func) for each in ast.walk(run) if isinstance(each, ast.Call)}
    assert {"cleanup.temporary", "cleanup.containers"} <= called


@pytest.mark.parametrize(
    ("service", "seconds"),
    [
        # By hand, and at a stop of a unit that is well.
        ({}, cleanup.PATIENCE),
        ({"SERVICE_RESULT": "success", "EXIT_CODE": "exited"}, cleanup.PATIENCE),
        # The program was killed: nothing has been removed yet.
        ({"SERVICE_RESULT": "signal", "EXIT_CODE": "killed"}, cleanup.PATIENCE),
        ({"SERVICE_RESULT": "timeout", "EXIT_CODE": "killed"}, cleanup.PATIENCE),
        # The run has failed, after its own clean-up, and the kubelet waits.
        ({"SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited"}, cleanup.BRIEF),
    ],
)
def test_a_clean_up_that_the_kubelet_waits_for_is_brief(
    tmp_path: Path, service: dict[str, str], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot_id = tmp_path / "proc/sys/kernel/random/boot_id"
    boot_id.parent.mkdir(parents=True)
    boot_id.write_text("11111111-2222-4333-8444-555555555555\n")
    given: list[float] = []

    def podman(_: Path, deadline: Deadline) -> None:
        given.append(deadline.seconds)
        raise DeadlineExceeded("Podman did not answer in time")

    for name in ("SERVICE_RESULT", "EXIT_CODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in service.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(client, "Podman", podman)
    with pytest.raises(DeadlineExceeded, match="cannot look for containers") as caught:
        cleanup.cleanup(Paths(tmp_path), None)
    assert caught.value.hint.startswith("The next start of ocp-tuned.service removes it.")
    assert given == [seconds]


def test_while_the_machine_stops_podman_is_not_asked(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client, "Podman", lambda *_: pytest.fail("Podman was asked"))
    monkeypatch.setattr(systemd, "is_shutting_down", lambda: True)
    caplog.set_level(logging.INFO)
    assert cleanup.cleanup(paths, None) is False
    assert ours.LATER in caplog.text


@pytest.mark.parametrize(
    ("state", "remains"),
    [("inactive", ""), ("failed", ""), ("active", "c1"), ("activating", "c1"), (None, "c1")],
)
def test_a_tuned_that_nobody_supervises_is_ended(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, state: str | None, remains: str
) -> None:
    """A run that was ended between READY=1 and the start of the unit."""

    def states(_: object) -> dict[str, str]:
        if state is None:
            raise HostError("systemd does not answer")
        return {systemd.DAEMON: state}

    conf = paths.root / "boot.conf"
    monkeypatch.setattr(systemd, "unit_states", states)
    seen: list[str] = []

    def remove_all(*_: object) -> bool:
        known = staying.read(paths)
        assert known is not None
        seen.append(known.container)
        return False

    monkeypatch.setattr(ours, "remove_all", remove_all)
    monkeypatch.setattr(ours, "remove_check", lambda *_: False)
    staying.note(paths, Staying("c1", "boot", "print"))
    with listening(lambda _: reply(200, "OK")) as socket:
        conf.write_text(f"[podman]\nsocket = {socket}\n")
        cleanup.cleanup(paths, conf)
    assert seen == [remains]
