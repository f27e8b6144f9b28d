"""The door to systemd: the messages on the notification socket, and a systemd that is missing."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocp_tuned_boot.errors import HostError, Interrupted
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """The other end of NOTIFY_SOCKET."""
    with tempfile.TemporaryDirectory(prefix="otb-") as folder:
        name = f"{folder}/notify" if request.param == "path" else f"@{folder}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
            bound.bind(name.replace("@", "\0", 1))
            bound.setblocking(False)
            monkeypatch.setenv("NOTIFY_SOCKET", name)
            yield bound


def received(manager: socket.socket) -> list[str]:
    """The lines of the one message that has arrived."""
    lines = manager.recv(65536).decode().split("\n")
    with pytest.raises(BlockingIOError):
        manager.recv(1)
    return lines


def test_ready_and_the_status_arrive_as_one_message(manager: socket.socket) -> None:
    Notifier().ready("Applied: site in 0.30 s")
    assert received(manager) == ["READY=1", "STATUS=Applied: site in 0.30 s"]


def test_a_status_arrives_alone(manager: socket.socket) -> None:
    Notifier().status("Judging")
    assert received(manager) == ["STATUS=Judging"]


@pytest.mark.parametrize("text", ["x" * 100_000, "…" * 50_000])
def test_a_long_text_is_cut_because_systemd_would_ignore_the_whole_message(
    manager: socket.socket, text: str
) -> None:
    Notifier().ready(text)
    message = manager.recv(200_000)
    assert len(message) < 4096
    ready, status = message.decode().split("\n")
    assert ready == "READY=1"
    assert status.startswith("STATUS=" + text[:600])
    assert status.endswith("…")


def test_a_held_status_remains_until_ready_or_released(manager: socket.socket) -> None:
    notifier = Notifier()
    notifier.hold("Held since 12:00")
    notifier.status("Pulling", extend=1)
    assert received(manager) == ["STATUS=Held since 12:00", "EXTEND_TIMEOUT_USEC=1000000"]
    notifier.hold("")
    notifier.status("Pulling")
    assert received(manager) == ["STATUS=Pulling"]
    notifier.hold("Held since 12:00")
    notifier.ready("Applied")
    assert received(manager) == ["READY=1", "STATUS=Applied"]
    notifier.status("Degraded")
    assert received(manager) == ["STATUS=Degraded"]


def test_the_extension_is_in_microseconds(manager: socket.socket) -> None:
    Notifier().status("Pulling", extend=1.5)
    assert received(manager) == ["STATUS=Pulling", "EXTEND_TIMEOUT_USEC=1500000"]


def test_once_a_stop_is_requested_systemd_is_not_asked_for_more_time(
    manager: socket.socket,
) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as in cli.py
    try:
        Notifier().status("Removing the container", extend=1)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received(manager) == ["STATUS=Removing the container"]


def test_text_that_is_not_latin_1_arrives(manager: socket.socket) -> None:
    Notifier().status("Pulling the image… Ω 漢字")
    assert received(manager) == ["STATUS=Pulling the image… Ω 漢字"]


def test_a_status_cannot_contain_another_message(manager: socket.socket) -> None:
    Notifier().status("failed:\nREADY=1\r\nERRNO=0")
    assert received(manager) == ["STATUS=failed: READY=1 ERRNO=0"]


@pytest.mark.parametrize("address", [None, "", "/nowhere/notify", "@nobody-listens-here"])
def test_without_a_manager_nothing_breaks(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notifier = Notifier()
    notifier.status("…", extend=1)
    notifier.ready("done")


def test_a_manager_that_has_gone_away_breaks_nothing(manager: socket.socket) -> None:
    notifier = Notifier()
    manager.close()
    notifier.ready("done")


@pytest.mark.usefixtures("manager")
def test_a_signal_during_a_notification_is_not_lost() -> None:
    def interrupt(number: int, _frame: object) -> None:
        raise Interrupted(number)

    notifier = Notifier()

    def tell() -> None:
        while True:  # until the socket is full and sending waits
            notifier.status("Trying again")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
    try:
        with pytest.raises(Interrupted):
            tell()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_without_systemd_no_unit_has_a_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nobody")
    assert systemd.unit_states(systemd.WORKLOADS) == {}


def systemctl(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """For answers that the real one cannot be made to give; see tests/lab/test_neighbours.py."""
    program = folder / "systemctl"
    program.write_text(f"#!/bin/sh\n{script}")
    program.chmod(0o755)
    monkeypatch.setattr(systemd, "_SYSTEMCTL", str(program))


def test_a_service_that_the_site_orders_after_the_unit_runs_workloads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    later = "multi-user.target site-kubelet.service ocp-tuned-image.service shutdown.target"
    systemctl(monkeypatch, tmp_path, f"echo {later} kubelet.service engine@1.service\n")
    found = systemd.workloads()
    assert found == (*systemd.WORKLOADS, "engine@1.service", "site-kubelet.service")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo Failed to connect >&2; exit 1", "Failed to connect"),
        ("exec sleep 60", "no answer within 0.1 s"),
        ("", ""),
    ],
)
def test_without_an_answer_the_workloads_are_those_of_the_list(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    script: str, words: str,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    systemctl(monkeypatch, tmp_path, script)
    if "sleep" in script:
        monkeypatch.setattr(systemd, "_ANSWER", 0.1)
    assert systemd.workloads() == systemd.WORKLOADS
    assert words in caplog.text
    assert bool(words) == bool(caplog.text)


@pytest.mark.parametrize(
    ("group", "file", "text", "runs"),
    [
        ("system.slice/crio.service", "cgroup.events", "populated 1\nfrozen 0\n", True),
        ("kubelet.slice/crio.service", "cgroup.events", "populated 1\n", True),
        ("system.slice/system-x.slice/crio.service", "cgroup.events", "populated 1\n", True),
        ("systemd/system.slice/system-x.slice/crio.service", "cgroup.procs", "17\n", True),
        ("system.slice/crio.service", "cgroup.events", "populated 0\nfrozen 0\n", False),
        ("system.slice/crio.service", "other", "populated 1\n", False),
        ("system.slice/other.service", "cgroup.events", "populated 1\n", False),
        # Version 1 has no events.
        ("systemd/system.slice/crio.service", "cgroup.procs", "17\n", True),
        ("systemd/system.slice/crio.service", "cgroup.procs", "", False),
    ],
)
def test_a_unit_runs_if_its_control_group_has_processes(
    tmp_path: Path, group: str, file: str, text: str, runs: bool
) -> None:
    paths = Paths(tmp_path)
    (paths.cgroups / group).mkdir(parents=True)
    (paths.cgroups / group / file).write_text(text)
    found = systemd.running(paths, ("kubelet.service", "crio.service"))
    assert found == (("crio.service",) if runs else ())


def test_a_missing_bus_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nobody")
    assert systemd.stored(systemd.UNIT) is None
    with pytest.raises(HostError, match="cannot reach systemd over D-Bus: "):
        systemd.reload(systemd.UNIT)


def test_a_barrier_is_passed_when_systemd_closes_its_descriptor(
    manager: socket.socket,
) -> None:
    notifier = Notifier(in_unit=True)
    notifier.status("before")
    # The other end is not closed.
    assert not notifier.barrier(0.05)
    assert manager.recv(100) == b"STATUS=before"
    # A message that was not read is discarded with its descriptors.
    data, opened, _, _ = socket.recv_fds(manager, 100, 1)
    assert (data, len(opened)) == (b"BARRIER=1", 1)
    os.close(opened[0])


def test_an_open_file_arrives_with_its_name(manager: socket.socket, tmp_path: Path) -> None:
    notifier = Notifier(in_unit=True)
    assert notifier.in_unit
    with (tmp_path / "file").open("w") as file:
        notifier.store("a-name", file.fileno())
        notifier.discard("a-name")
        data, (opened,), _, _ = socket.recv_fds(manager, 100, 1)
        assert data.decode().split("\n") == ["FDSTORE=1", "FDNAME=a-name", "FDPOLL=0"]
        assert os.path.sameopenfile(opened, file.fileno())
        os.close(opened)
    assert received(manager) == ["FDSTOREREMOVE=1", "FDNAME=a-name"]


def test_without_a_manager_nothing_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier(in_unit=True)
    assert not notifier.in_unit
    notifier.store("name", 0)
    notifier.discard("name")
    assert not notifier.barrier(5)


def test_stored_descriptors_as_text() -> None:
    assert str(systemd.Stored(0)) == "0 file descriptors"
    assert str(systemd.Stored(1, ("a",))) == "1 file descriptor (a)"
    assert str(systemd.Stored(2, ("a", "b"))) == "2 file descriptors (a, b)"


def test_with_the_socket_of_another_unit_nothing_is_stored(manager: socket.socket) -> None:
    # systemd would answer its barrier nevertheless.
    notifier = Notifier(in_unit=False)
    notifier.store("name", 0)
    assert not notifier.barrier(5)
    with pytest.raises(BlockingIOError):
        manager.recv(1)


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("0::/system.slice/ocp-tuned.service\n", True),
        ("0::/system.slice/ocp-tuned.service/.control\n", True),
        ("1:name=systemd:/system.slice/ocp-tuned.service\n0::/\n", True),
        ("0::/system.slice/ocp-tuned-notice.service\n", False),
        ("0::/system.slice/run-u5.service\n", False),
        ("0::/user.slice/x-ocp-tuned.service.scope\n", False),
        (None, False),
    ],
)
def test_a_process_is_the_units_by_its_control_group(
    tmp_path: Path, text: str | None, own: bool
) -> None:
    paths = Paths(tmp_path)
    if text is not None:
        paths.own_cgroup.parent.mkdir(parents=True)
        paths.own_cgroup.write_text(text)
    assert systemd.is_own_process(paths) is own


SHOWN = "LoadState=loaded\nActiveState=active\n\nActiveState=inactive\nLoadState=not-found\n"


def test_the_states_of_several_units_come_from_one_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(systemd, "_systemctl", lambda *_: SHOWN)
    assert systemd.unit_states(["a.service", "b.service"]) == {"a.service": "active"}


@pytest.mark.parametrize(
    "said",
    ["", "\n", "LoadState=loaded\n\nLoadState=loaded\n", SHOWN.partition("\n\n")[0], "x\n\ny"],
)
def test_states_that_are_not_those_asked_for_are_unknown(
    said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_systemctl", lambda *_: said)
    assert systemd.unit_states(["a.service", "b.service"]) == {}


@pytest.mark.parametrize(
    ("job", "stops"),
    [
        ("7 shutdown.target start waiting", True),
        ("7 ocp-tuned.service stop running", False),
        ("", False),
    ],
)
def test_a_machine_is_shutting_down_while_systemd_has_that_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: str, stops: bool
) -> None:
    systemctl(monkeypatch, tmp_path, f"echo '{job}'\n")
    assert systemd.is_shutting_down() is stops
    systemctl(monkeypatch, tmp_path, "echo Failed to connect >&2; exit 1")
    assert systemd.is_shutting_down() is False
