"""What the screen says about a TuneD that keeps running."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocp_tuned_boot.commands import daemon_status
from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.tuned import staying
from ocp_tuned_boot.tuned.staying import Staying, Supervised

SHOWN = {
    "ActiveState": "active", "Result": "success", "MainPID": "7",
    "ActiveEnterTimestamp": "Fri 2026-11-27 20:33:06 UTC", "NRestarts": "2",
}  # fmt: skip

SEE = "see journalctl -b -u ocp-tuned-daemon.service"
START = "The settings remain. To start it: systemctl reload-or-restart ocp-tuned"


def line(found: Supervised | None) -> str:
    return "".join(row.text for row in daemon_status.rows(found))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, ""),
        (Supervised("active", "success", 7, "Fri", 0), "TuneD runs since Fri"),
        (Supervised("active", "success", 7, "Fri", 1), "TuneD runs since Fri; restarted 1 time"),
        (Supervised("activating", "signal", 0, "", 2), "TuneD is being started; restarted 2 times"),
        (
            Supervised("failed", "exit-code", 0, "", 5),
            f"TuneD does NOT run: it has exited and was restarted 5 times, {SEE}. {START}",
        ),
        (
            Supervised("inactive", "success", 0, "", 0),
            f"TuneD does NOT run: ocp-tuned-daemon.service is inactive. {START}",
        ),
    ],
)
def test_one_line_says_whether_it_runs_and_what_to_type(
    found: Supervised | None, words: str
) -> None:
    assert line(found) == words


def test_systemd_is_asked_only_where_tuned_is_to_keep_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, asked = Paths(tmp_path), []

    def properties(names: list[str], _: object) -> dict[str, dict[str, str]]:
        asked.append(names)
        return {names[0]: SHOWN}

    monkeypatch.setattr(systemd, "properties", properties)
    assert daemon_status.look(paths) is None
    assert asked == []
    paths.run.mkdir(parents=True)
    staying.note(paths, Staying("c1", "boot", "print"))
    since = "Fri 2026-11-27 20:33:06 UTC"
    assert daemon_status.look(paths) == Supervised("active", "success", 7, since, 2)


def test_a_systemd_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def properties(*_: object) -> None:
        raise HostError("no answer")

    monkeypatch.setattr(systemd, "properties", properties)
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    staying.note(paths, Staying("c1", "boot", "print"))
    assert daemon_status.look(paths) is None
