"""Trying again, and holding the gate."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from ocp_tuned_boot import boot, watching
from ocp_tuned_boot.early import Start, allowed
from ocp_tuned_boot.errors import CutOff, DeadlineExceeded, ImageError, PodmanError
from ocp_tuned_boot.gate import OPENED, Gate, last_words
from ocp_tuned_boot.host import clock
from ocp_tuned_boot.host.clock import GRACE, WORTHWHILE, Deadline, Progress
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.record.model import Record, Why


def test_pauses_grow_up_to_a_limit_and_are_not_the_same_on_two_nodes() -> None:
    one, two = list(islice(clock.pauses(), 12)), list(islice(clock.pauses(), 12))
    assert one != two
    assert 0.05 < one[0] < 0.15
    assert all(later > earlier for earlier, later in zip(one[:5], one[1:5]))
    assert all(0.7 * clock.LONGEST_PAUSE < pause < 1.3 * clock.LONGEST_PAUSE for pause in one[-3:])


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with tempfile.TemporaryDirectory(prefix="otb-") as folder:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
            bound.bind(f"{folder}/notify")
            monkeypatch.setenv("NOTIFY_SOCKET", f"{folder}/notify")
            yield bound


def test_a_pause_is_announced_and_never_outlasts_the_deadline(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    progress = Progress(Deadline(10, lambda: 100.0), Notifier(in_unit=True))
    progress.pause(60, "no socket")
    progress.pause(1, "no socket")
    # Half of it is for the attempt.
    assert slept == [5, 1]
    said = manager.recv(999).decode()
    assert said.startswith("STATUS=Trying again: no socket\nEXTEND_TIMEOUT_USEC=")


def test_an_attempt_that_would_only_be_cut_off_is_not_begun() -> None:
    assert Progress(Deadline(WORTHWHILE + 1), Notifier(in_unit=True)).has_time()
    assert not Progress(Deadline(WORTHWHILE - 1), Notifier(in_unit=True)).has_time()
    assert not Progress(Deadline(-1), Notifier(in_unit=True)).has_time()


def test_after_a_pull_that_was_cut_off_a_run_gets_more_time_up_to_an_hour() -> None:
    assert [allowed(90, times) for times in (1, 2, 32, 64, 2**99)] == [90, 180, 2880, 3600, 3600]
    # What boot.conf says is never shortened.
    assert allowed(3600, 2) == 3600


@pytest.mark.usefixtures("manager")
def test_behind_a_closed_gate_each_pull_that_is_cut_off_doubles_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes that pull at once would else begin again for ever."""
    paths = Paths(tmp_path)
    paths.admin_conf.parent.mkdir(parents=True)
    paths.admin_conf.write_text("[tuning]\ngate = closed\n")
    paths.go.mkdir(parents=True)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(watching, "watch", lambda _: None)
    left = [CutOff("cut"), DeadlineExceeded("TuneD"), CutOff("cut"), PodmanError("gone")]
    times: list[int] = []

    def run(_: Paths, __: None, ___: Notifier, ____: Why, start: Start) -> Record:
        times.append(start.times)
        if not left:
            # Ends it.
            paths.admin_conf.write_text("[tuning]\ngate = open\n")
            raise ImageError("the last one")
        raise left.pop(0)

    monkeypatch.setattr(boot, "_run", run)
    with pytest.raises(ImageError, match="the last one"):
        boot.apply(paths, None, Notifier(in_unit=True))
    assert times == [1, 2, 2, 4, 4]


def test_an_open_gate_holds_nobody(tmp_path: Path) -> None:
    assert not Gate(Paths(tmp_path), None, Notifier(in_unit=True)).holds("why", "do this")


def test_a_closed_gate_holds_and_says_why(tmp_path: Path, manager: socket.socket) -> None:
    paths = Paths(tmp_path)
    paths.admin_conf.parent.mkdir(parents=True)
    paths.admin_conf.write_text("[tuning]\ngate = closed\n")
    paths.console.parent.mkdir()
    paths.console.touch()
    notifier = Notifier(in_unit=True)
    gate = Gate(paths, None, notifier)
    assert gate.holds("no such profile", "Correct its name.")
    status, extend = manager.recv(999).decode().split("\n")
    # The pager of systemctl cuts the line: why is before the time.
    assert status.startswith(
        "STATUS=Held (gate = closed): no such profile. Correct its name. Held since 20"
    )
    assert status.endswith(
        "Z. Boot continues automatically once this is fixed. "
        "To start the kubelet without the profile: systemctl stop ocp-tuned"
    )
    assert int(extend.partition("=")[2]) > GRACE * 1e6
    # The next run says what it does; who waits still wants to know why.
    notifier.status("Connecting to Podman…")
    assert manager.recv(999).decode() == status
    assert paths.console.read_text() == f"ocp-tuned-boot: {status.partition('=')[2]}\n"
    # Opened by the admin meanwhile.
    paths.admin_conf.write_text("[tuning]\ngate = open\n")
    assert not gate.holds("no such profile", "")
    assert manager.recv(999).decode() == (
        "STATUS=no such profile. The kubelet runs without the profile. Once this is fixed: "
        "systemctl start ocp-tuned"
    )


STOPPED = "Stopped. The kubelet runs without the profile. To apply it: systemctl start ocp-tuned"


@pytest.mark.parametrize(
    ("result", "status", "gate", "words"),
    [
        ("success", "TERM", "closed", STOPPED),
        # The program has said so.
        ("exit-code", "69", "closed", ""),
        ("signal", "KILL", "open", f"before it was done (signal KILL). {OPENED}"),
        ("timeout", "TERM", "closed", "(timeout TERM). Held (gate = closed). Boot continues"),
    ],
)
def test_the_last_status_line_says_what_ended_the_program_and_what_that_means(
    tmp_path: Path, result: str, status: str, gate: str, words: str
) -> None:
    paths = Paths(tmp_path)
    paths.admin_conf.parent.mkdir(parents=True)
    paths.admin_conf.write_text(f"[tuning]\ngate = {gate}\n")
    told = {"SERVICE_RESULT": result, "EXIT_STATUS": status, "INVOCATION_ID": "i"}
    assert words in last_words(paths, None, told)
    assert bool(words) == bool(last_words(paths, None, told))
    # A program that had to be killed in a stop that was requested.
    paths.run.mkdir(parents=True)
    paths.stopped.write_text("i\n")
    assert last_words(paths, None, told) == STOPPED
    paths.stopped.write_text("another\n")
    assert words in last_words(paths, None, told)


@pytest.mark.parametrize("gate", ["open", "closed"])
def test_the_status_line_has_one_instruction_and_no_other(
    tmp_path: Path, manager: socket.socket, gate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The advice of a finding ends with a command for a unit that is not active."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    paths = Paths(tmp_path)
    paths.admin_conf.parent.mkdir(parents=True)
    paths.admin_conf.write_text(f"[tuning]\ngate = {gate}\n")
    advice = "Fix FILE, then: systemctl start ocp-tuned"
    held = Gate(paths, None, Notifier(in_unit=True)).holds("Failed: no such profile", advice)
    status = manager.recv(999).decode().split("\n")[0]
    assert held is (gate == "closed")
    if held:
        assert status.startswith("STATUS=Held (gate = closed): no such profile. Fix FILE. Held")
        assert status.endswith(
            "Boot continues automatically once this is fixed. "
            "To start the kubelet without the profile: systemctl stop ocp-tuned"
        )
    else:
        assert status == (
            "STATUS=Failed: no such profile. Fix FILE. The kubelet runs without the profile. "
            "Once this is fixed: systemctl start ocp-tuned"
        )
