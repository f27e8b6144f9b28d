"""When units were started: what systemd and its journal say."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import starts, systemd
from ocp_tuned_boot.host.starts import Started, Startup

TIMES = """\
LoadState=loaded
After=network.target -.mount
Before=kubelet.service
InactiveExitTimestampMonotonic=2000000
ActiveEnterTimestampMonotonic=2500000
InactiveEnterTimestampMonotonic=1000000

LoadState=loaded
After=
Before=
InactiveExitTimestampMonotonic=2000000
ActiveEnterTimestampMonotonic=0
InactiveEnterTimestampMonotonic=2100000

LoadState=loaded
After=
Before=
InactiveExitTimestampMonotonic=3000000
ActiveEnterTimestampMonotonic=1000000
InactiveEnterTimestampMonotonic=2000000

LoadState=not-found
After=
Before=
InactiveExitTimestampMonotonic=0
ActiveEnterTimestampMonotonic=0
InactiveEnterTimestampMonotonic=0
"""


def test_the_start_of_units_comes_from_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def systemctl(*words: object) -> str:
        asked.append(words)
        return TIMES

    monkeypatch.setattr(systemd, "_systemctl", systemctl)
    names = ["ocp-tuned.service", "oneshot.service", "starting.service", "absent.service"]
    assert starts.started(names) == {
        "ocp-tuned.service": Started("ocp-tuned.service", 2.0, 2.5,
                                     ("network.target", "-.mount"), ("kubelet.service",)),
        # It has done its work, and is not active afterwards.
        "oneshot.service": Started("oneshot.service", 2.0, 2.1),
        # It was active before, and is being started again.
        "starting.service": Started("starting.service", 3.0, None),
    }  # fmt: skip
    assert len(asked) == 1
    assert starts.started([]) == {}


@pytest.mark.parametrize(
    ("finished", "expected"), [("3000000", Startup(1.0, 3.0)), ("0", Startup(1.0, None))]
)
def test_the_start_of_user_space(
    monkeypatch: pytest.MonkeyPatch, finished: str, expected: Startup
) -> None:
    said = f"UserspaceTimestampMonotonic=1000000\nFinishTimestampMonotonic={finished}\n"
    monkeypatch.setattr(systemd, "_systemctl", lambda *_: said)
    assert starts.startup() == expected


@pytest.mark.parametrize("said", ["", "UserspaceTimestampMonotonic=x\n"])
def test_a_start_of_user_space_that_is_not_told_is_an_error(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(systemd, "_systemctl", lambda *_: said)
    with pytest.raises(HostError, match="expected UserspaceTimestampMonotonic"):
        starts.startup()


def journal(monkeypatch: pytest.MonkeyPatch, folder: Path, *entries: object) -> Path:
    """A journalctl that prints these entries; the file that has its arguments."""
    program, asked, said = folder / "journalctl", folder / "asked", folder / "said"
    said.write_text("".join(f"{each if isinstance(each, str) else json.dumps(each)}\n"
                            for each in entries))  # fmt: skip
    program.write_text(f'#!/bin/sh\necho "$@" > {asked}\ncat {said}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return asked


def entry(at: int, message: str, **fields: object) -> dict[str, object]:
    return {"__MONOTONIC_TIMESTAMP": str(at), "MESSAGE_ID": message, **fields}


STARTING, UP, FAILED = (
    "7d4958e842da4a758f6c1cdc7b36dcc5", "39f53479d3a045ac8e11786248231fbf",
    "be02cf6855d2428ba40df7e9d022f03d",
)  # fmt: skip


def test_the_starts_of_units_in_a_boot_come_from_its_journal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = journal(
        monkeypatch, tmp_path,
        entry(1_000_000, STARTING, UNIT="a.service"),
        # At once, without a message that it is starting.
        entry(1_100_000, UP, UNIT="b.target"),
        entry(1_500_000, UP, UNIT="a.service"),
        entry(1_600_000, UP, UNIT="b.target"),
        "no JSON", "[]", {"MESSAGE_ID": UP, "UNIT": "a.service"},
        entry(9_000_000, STARTING, UNIT="a.service"),
        entry(9_500_000, FAILED, UNIT="a.service"),
    )  # fmt: skip
    assert starts.logged_starts("ab-cd-ef", ["a.service", "b.target"]) == {
        "a.service": (Started("a.service", 1.0, 1.5), Started("a.service", 9.0, 9.5)),
        "b.target": (Started("b.target", 1.1, 1.1), Started("b.target", 1.6, 1.6)),
    }
    words = asked.read_text().split()
    assert {"--boot=abcdef", "_PID=1", "UNIT=a.service", "UNIT=b.target"} <= set(words)


def test_each_start_of_user_space_comes_from_the_journal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    journal(
        monkeypatch, tmp_path,
        entry(5_000_000, "b07a249cd024414a82dd00cd181378ff", USERSPACE_USEC="4000000"),
        entry(20_000_000, "b07a249cd024414a82dd00cd181378ff", USERSPACE_USEC="2000000"),
        entry(30_000_000, "b07a249cd024414a82dd00cd181378ff"),
    )  # fmt: skip
    assert starts.logged_startups("b0") == (Startup(1.0, 5.0), Startup(18.0, 20.0))


def test_a_journal_without_that_boot_has_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    journal(monkeypatch, tmp_path)
    assert starts.logged_starts("b0", ["a.service"]) == {}
    assert starts.logged_startups("b0") == ()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HostError, match="cannot read the journal"):
        starts.logged_startups("b0")
    assert starts.logged_starts("b0", []) == {}
