"""Whether TuneD may run. With the real units: tests/lab/test_starting_line.py."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from ocp_tuned_boot import word
from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.word import Outlook
from tests.unit.patience import PATIENCE


def give(paths: Paths) -> None:
    """As ocp-tuned-go.service does (packaging/gate.sh)."""
    paths.go.mkdir(parents=True)
    if paths.wake_up.exists():
        with paths.wake_up.open("r+b", buffering=0) as fifo:
            fifo.write(b"\n")


def test_only_a_start_of_the_unit_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/nobody")
    paths = Paths(tmp_path)
    assert word.is_needed(paths, Notifier(in_unit=True))
    assert not word.is_needed(paths, Notifier())
    give(paths)
    assert not word.is_needed(paths, Notifier(in_unit=True))


@pytest.mark.parametrize("before", [True, False])
def test_who_waits_is_woken_whenever_the_word_is_given(tmp_path: Path, before: bool) -> None:
    paths, began = Paths(tmp_path), time.monotonic()
    with word.waiter(paths) as waiter:
        assert not waiter.given()
        giver = threading.Thread(target=give, args=[paths])
        giver.start()
        if before:
            giver.join()
        waiter.wait(2 * PATIENCE)
        giver.join()
        assert waiter.given()
    assert time.monotonic() - began < PATIENCE
    assert not paths.wake_up.exists()


def test_the_word_cannot_be_taken_back_from_who_has_seen_it(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    with word.waiter(paths) as waiter:
        give(paths)
        assert waiter.given()
        paths.go.rmdir()
        assert waiter.given()


def test_a_wake_up_without_the_word_wakes_once(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    with word.waiter(paths) as waiter:
        give(paths)
        paths.go.rmdir()
        waiter.wait(PATIENCE)
        began = time.monotonic()
        waiter.wait(0.2)
        assert time.monotonic() - began >= 0.2


def test_a_fifo_that_a_killed_run_has_left_is_replaced(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    paths.wake_up.write_text("")
    with word.waiter(paths):
        assert paths.wake_up.is_fifo()


def test_the_end_of_the_program_in_the_container_ends_a_wait(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, word.waiter(Paths(tmp_path)) as waiter:
        theirs.close()
        began = time.monotonic()
        waiter.wait(2 * PATIENCE, ours.fileno())
        assert time.monotonic() - began < PATIENCE


def test_a_program_that_goes_on_talking_does_not_keep_the_host_busy(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, word.waiter(Paths(tmp_path)) as waiter:
        theirs.send(b"more")
        before = time.monotonic()
        waiter.wait(0.2, ours.fileno())
        assert time.monotonic() - before >= 0.2


def test_how_long_ago_it_was_given(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert word.age(paths) == 0
    give(paths)
    os.utime(paths.go, (0, 0))  # that is not when it was made
    assert 0 <= word.age(paths) < PATIENCE


GO, UNIT = "ocp-tuned-go.service", "ocp-tuned.service"


def waits(number: int, name: str) -> str:
    return f"└─    waiting for job {number} ({name}/start)    -       -\n"


RUNS = f" 1 {UNIT}  start running\n"
GOES = f" 2 {GO} start waiting\n"
NET = " 3 network.target start waiting\n"
SITE = " 4 site.service start waiting\n"
# Ordered after both.
MORE = " 5 kubelet.service start waiting\n" + waits(1, UNIT) + waits(2, GO)
SLOW = " 6 slow.service start running\n 7 old.service stop running\n"
OURS = " 8 ocp-tuned-notice.service start running\n"


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        (RUNS + GOES + waits(6, "slow.service") + MORE + SLOW, Outlook(True, ("slow.service",))),
        (RUNS + f"2 {GO} start running\n", Outlook(True)),
        (RUNS + SLOW, Outlook(False, ("slow.service",))),
        # Whatever else goes on.
        (
            RUNS + GOES + waits(6, "slow.service") + waits(3, "network.target") + NET
            + waits(4, "site.service") + SITE + waits(3, "network.target") + waits(1, UNIT)
            + SLOW + OURS,
            Outlook(True, ("slow.service",), (GO, "network.target", "site.service")),
        ),
        (RUNS + GOES + waits(1, UNIT), Outlook(True, (), (GO,))),
        # Nobody waits for that one.
        (RUNS + GOES + SITE + waits(1, UNIT), Outlook(True)),
        (RUNS + GOES + waits(3, "network.target") + NET + waits(2, GO), Outlook(True)),
        ("", Outlook(False)),
    ],
)  # fmt: skip
def test_the_word_comes_from_a_unit_that_is_queued_and_does_not_wait_for_ours(
    monkeypatch: pytest.MonkeyPatch, jobs: str, expected: Outlook
) -> None:
    monkeypatch.setattr(systemd, "_systemctl", lambda *_: jobs)
    assert word.outlook(Paths()) == expected


def test_a_circle_is_named() -> None:
    found = word.refusal(Outlook(True, (), (GO, "network.target", "site.service")))
    assert found.message == (
        f"{GO} does not start: it waits for network.target, which waits for site.service, which "
        f"waits for {UNIT}, and TuneD is run only after it"
    )
    assert found.hint.startswith(f"Let site.service not be ordered after {UNIT}, or none of ")


def test_a_unit_that_cannot_be_started_is_named_with_its_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def systemctl(_: float, *arguments: str) -> str:
        if arguments[0] == "start":
            raise HostError("Unit ocp-tuned-go.service is masked.")
        return "masked\n" if "UnitFileState" in arguments[2] else "LoadState=masked\nActiveState=x"

    monkeypatch.setattr(systemd, "_systemctl", systemctl)
    assert not word.start()
    words = "ocp-tuned-go.service (masked) does not start, and TuneD is run only after it"
    assert word.refusal(Outlook(False)).message == words


def test_a_systemd_that_does_not_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def systemctl(*_: object) -> str:
        raise HostError("no answer within 5.0 s")

    monkeypatch.setattr(systemd, "_systemctl", systemctl)
    assert word.outlook(Paths()) == word.UNKNOWN
    assert not word.UNKNOWN.circle
