"""A run of TuneD: the time it is given, and a TuneD that cannot be asked. All else is tested with
the real parts: the lab."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ocp_tuned_boot import applying, boot
from ocp_tuned_boot.applying import Attempting
from ocp_tuned_boot.errors import DeadlineExceeded
from ocp_tuned_boot.host.clock import Deadline, Progress, Step
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.inside.program import SWITCHED_OFF
from ocp_tuned_boot.record.model import Record
from ocp_tuned_boot.settings import residue
from ocp_tuned_boot.settings.residue import Settings
from ocp_tuned_boot.tuned import layout, running, said
from ocp_tuned_boot.tuned.asked import Comparison, Verified
from ocp_tuned_boot.tuned.judge import Result
from ocp_tuned_boot.tuned.layout import PROGRAMS, Layout
from ocp_tuned_boot.tuned.said import About, Said
from tests.unit.fake_engine import HELD, Engine, serving
from tests.unit.hostile import BOOT_ID, GOOD, file, host
from tests.unit.patience import no_hang
from tests.unit.tuned.asking import meaning, message, section

NEEDED = running.LEAST + running.STOPPING


def at(left: float, *steps: Step, before: str = "") -> Attempting:
    """An attempt in a run of 90 s of which so much is left."""
    progress = Progress(Deadline(90, lambda: 0.0, started=left - 90), Notifier(), list(steps))
    attempts = [SimpleNamespace(message=before)] if before else []
    recorder = SimpleNamespace(attempts=attempts)
    return cast("Attempting", SimpleNamespace(progress=progress, recorder=recorder))


def test_tuned_is_started_while_there_is_time_to_stop_it() -> None:
    applying._check_time(at(NEEDED))


def test_a_pull_that_takes_the_time_is_reported_as_the_pull() -> None:
    steps = (Step("image", 1.0), Step("pull", 50.0), Step("prepare", 2.0), Step("pull", 34.5))
    with pytest.raises(DeadlineExceeded) as caught:
        applying._check_time(at(NEEDED - 0.5, *steps))
    assert caught.value.message == (
        "TuneD was not started: 3.5 s remain of 90 s, it needs at least 4 s; "
        "the step 'pull' took 84.5 s"
    )
    assert "ocp-tuned-boot image stage" in caught.value.hint
    assert "tuned_timeout" not in caught.value.hint


def test_the_failure_that_took_the_time_is_reported() -> None:
    with pytest.raises(DeadlineExceeded, match="before failed: TuneD crashed") as caught:
        applying._check_time(at(1.0, Step("tuned", 80.0), before="TuneD crashed"))
    assert caught.value.hint == "Raise timeout in boot.conf."


@pytest.fixture
def paths() -> Iterator[Paths]:
    with host({**GOOD, "proc/sys/vm/x": file(b"1\n"), "proc/cmdline": file(b"quiet\n")}) as (
        found,
        _,
    ):
        yield found


def applied(engine: Engine, conf: str = "") -> Record:
    with serving(engine, f"[tuning]\ntimeout = 600\n{conf}") as conf_file, no_hang():
        return boot.apply(engine.paths, conf_file, Notifier())


def test_what_tuned_said_is_kept_for_the_runs_after_this_one(paths: Paths) -> None:
    done = applied(Engine(paths))
    assert done.result is Result.APPLIED
    assert done.values is not None
    assert [(it.key, it.state) for it in done.values] == [("vm.x", "verified")]
    assert done.in_force is not None
    about = About(done.boot_id, "id", done.in_force.fingerprint)
    kept = said.load(paths.said, about)
    assert kept is not None
    assert kept.asked() is not None
    assert isinstance(kept.end(), Verified)
    assert said.load(paths.said, replace(about, fingerprint="another")) is None


UNASKED = {"version": 1, "kind": "unasked", "reason": "its API has changed", "profile": False}


@pytest.mark.parametrize(
    ("meaning", "why", "starts"),
    [
        # It is run all the same, in the same container if it has not exited.
        (UNASKED, "its API has changed", 1),
        (None, "the program in the container exited before it connected", 2),
        ({"version": 2, "kind": "asked"}, "found version 2, expected 1", 2),
    ],
    ids=["unasked", "exits", "another version"],
)
def test_a_tuned_that_cannot_be_asked_is_run_and_nothing_is_called_verified(
    paths: Paths, meaning: dict[str, Any] | None, why: str, starts: int
) -> None:
    engine = Engine(paths)
    engine.meaning = meaning
    done = applied(engine)
    (finding,) = done.findings
    assert (done.result, finding.kind) == (Result.DEGRADED, "not-asked")
    assert why in finding.message
    assert done.values is not None
    assert [(it.state, it.why) for it in done.values] == [("unchecked", finding.message)]
    assert sum("/start" in each for each in engine.requests) == starts


@pytest.mark.parametrize("meaning", [UNASKED, None])
def test_a_tuned_that_cannot_be_asked_does_not_keep_running(
    paths: Paths, meaning: dict[str, Any] | None
) -> None:
    engine = Engine(paths)
    engine.meaning = meaning
    done = applied(engine, "mode = daemon\n")
    assert [each.kind for each in done.findings] == ["not-asked", "no-daemon"]
    assert (done.result, done.mode) == (Result.DEGRADED, "daemon")
    # It was told to exit, and it is no container of a unit.
    assert "\ndaemon = 0\n" in (paths.etc_tuned / "tuned-main.conf").read_text()
    assert not paths.daemon.exists()


def test_what_is_no_message_at_the_end_is_no_failure(paths: Paths) -> None:
    engine = Engine(paths)
    engine.held = {"kind": "nonsense"}
    done = applied(engine)
    assert done.result is Result.APPLIED
    assert done.values is not None
    assert [(it.state, it.by) for it in done.values] == [("verified", "ocp-tuned-boot")]


@pytest.mark.parametrize("switch", ["", "verify = no\n"], ids=["on", "off"])
@pytest.mark.parametrize("contract", ["tuned", "operand"])
def test_boot_conf_switches_off_that_tuned_compares(
    paths: Paths, contract: str, switch: str
) -> None:
    engine = Engine(paths)
    engine.contract = contract
    engine.layout = Layout(programs=tuple(PROGRAMS.values()), refills=True)
    layout._remember(paths, "id", engine.layout)
    sections = [section("sysctl", {"vm.x": "1"}), section("audio", {"timeout": "10"})]
    engine.meaning = json.loads(message(meaning(*sections)))
    row = asdict(Comparison("audio", "audio", "timeout", "passed", found="10"))
    engine.held = {**HELD, "rows": [row]}
    done = applied(engine, f"contract = {contract}\n{switch}")
    assert done.values is not None
    found = {it.key: (it.state, it.why or it.by) for it in done.values}
    # This program reads these in any case.
    assert found.pop("vm.x") == ("verified", "ocp-tuned-boot")
    why = f"TuneD has not compared it: {SWITCHED_OFF}"
    unchecked = ("unchecked", why) if switch else ("verified", "tuned")
    assert found == {"audio.timeout": unchecked}
    # The run, and with contract = operand TuneD asked before it; and after it, if it compares.
    starts = sum("/start" in each for each in engine.requests)
    assert starts == (1 if contract == "tuned" else 2 if switch else 3)


@pytest.mark.parametrize("begun", ["another", ""], ids=["killed", "recorded"])
def test_what_a_killed_run_may_have_set_is_named(paths: Paths, begun: str) -> None:
    before = meaning(section("audio", {"timeout": "10"}))
    about = About(BOOT_ID, "id", "another")
    paths.run.mkdir(parents=True)
    said.store(paths.said, Said(about, message(before)))
    residue.store(paths, Settings(BOOT_ID, begun=begun))
    done = applied(Engine(paths))
    found = [(each.kind, each.subject) for each in done.findings]
    assert found == ([("still-set", "audio.timeout")] if begun else [])
    known = residue.load(paths, BOOT_ID)
    assert known.begun == ""
    assert [each.option for each in known.others] == (["timeout"] if begun else [])
