"""Signals, sent to the program while it is at work with a Podman."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ocp_tuned_boot.record import store as record
from tests.unit import fake_manager
from tests.unit.fake_engine import Engine, serving
from tests.unit.fake_podman import reply
from tests.unit.hostile import GOOD, host
from tests.unit.patience import PATIENCE


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_second_signal_does_not_interrupt_the_clearing_up(second: signal.Signals) -> None:
    """systemd sends one, and a person at a terminal as many as he likes."""
    with host(GOOD) as (paths, _):
        engine = Engine(paths)
        with serving(engine) as conf:
            process = _apply(paths.root, conf)
            sent: list[int] = []

            def send(request: str) -> bytes | None:
                """The first when the container is started, the next when it is to be removed."""
                started, looked_for = "/start" in request, request.endswith("openshift-tuned/json")
                if started or (sent and looked_for):
                    sent.append(signal.SIGTERM if started else second)
                    os.kill(process.pid, sent[-1])
                return reply(204, "") if started else None

            engine.instead = send
            process.communicate(timeout=PATIENCE)
        done = record.read(paths)
    assert sent == [signal.SIGTERM, second]
    assert process.returncode == -signal.SIGTERM
    assert engine.requests[-1].startswith("DELETE ")
    assert "/containers/c1?" in engine.requests[-1]
    assert done is not None
    assert [each.kind for each in done.findings] == ["interrupted"]


def test_a_terminal_that_is_closed_ends_a_run_as_a_signal_does() -> None:
    with host(GOOD) as (paths, _):
        engine = Engine(paths)
        with serving(engine) as conf:
            process = _apply(paths.root, conf)

            def hang_up(request: str) -> bytes | None:
                if "/start" in request:
                    os.kill(process.pid, signal.SIGHUP)
                    return reply(204, "")
                return None

            engine.instead = hang_up
            process.communicate(timeout=PATIENCE)
        done = record.read(paths)
    assert process.returncode == -signal.SIGHUP
    assert engine.requests[-1].startswith("DELETE ")
    assert done is not None
    assert [each.kind for each in done.findings] == ["interrupted"]


def test_after_a_stop_systemd_is_not_asked_for_more_time() -> None:
    """It would extend the time of the stop, and what waits for that would wait as for a run."""
    with host(GOOD) as (paths, _), fake_manager.listening() as (address, manager):
        engine = Engine(paths)
        with serving(engine) as conf:
            process = _apply(paths.root, conf, {"NOTIFY_SOCKET": address})

            def stop(request: str) -> bytes | None:
                """The program waits for the answer meanwhile, and says nothing to systemd."""
                if "/start" not in request:
                    return None
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                    sender.sendto(b"STOPPED=1", address)
                os.kill(process.pid, signal.SIGTERM)
                return reply(204, "")

            engine.instead = stop
            process.communicate(timeout=PATIENCE)
        at = manager.messages.index(["STOPPED=1"])
    before, after = (
        [line.partition("=")[0] for lines in part for line in lines]
        for part in (manager.messages[:at], manager.messages[at:])
    )
    assert process.returncode == -signal.SIGTERM
    assert "EXTEND_TIMEOUT_USEC" in before
    assert "EXTEND_TIMEOUT_USEC" not in after


def _apply(
    root: Path, conf: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ocp_tuned_boot", "--root", str(root), "apply"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, "--config", str(conf)], env={**os.environ, **(environment or {})},
        stdout=pipe, stderr=pipe, text=True,
    )  # fmt: skip
