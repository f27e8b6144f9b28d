"""`verify` with a made-up Podman and a program that says what the test has it say. The same with
the real parts: tests/lab/test_verify.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot import cli
from ocp_tuned_boot.commands import settings_text, verify
from ocp_tuned_boot.commands.verify import Checked
from ocp_tuned_boot.errors import HostError, ImageError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record import store
from ocp_tuned_boot.record.model import Hold, InForce, Record, Standing, State
from ocp_tuned_boot.requested import lastgood
from ocp_tuned_boot.requested.lastgood import LastProfile
from ocp_tuned_boot.tuned import layout
from ocp_tuned_boot.tuned.judge import Result
from ocp_tuned_boot.tuned.layout import Layout
from tests.unit.commands.shown import lines
from tests.unit.fake_engine import HELD, MEANING, Engine, serving
from tests.unit.hostile import BOOT_ID, GOOD, file, host

KNOB = "proc/sys/vm/x"


def section(name: str, **options: str) -> dict[str, Any]:
    given = [{"option": option, "value": value} for option, value in options.items()]
    usual = {"devices": "*", "conditions": {}, "priority": 0, "left_out": ""}
    return {**usual, "name": name, "type": name, "options": given}


def row(plugin: str, option: str, state: str, **more: str) -> dict[str, str]:
    return {"section": plugin, "plugin": plugin, "option": option, "state": state, **more}


SECTIONS = [
    section("sysctl", **{"vm.x": "1"}),
    section("cpu", governor="performance"),
    section("irqbalance", banned_cpus="1"),
    section("script", script="/etc/tuned/site/s.sh"),
]
ROWS = [
    row("sysctl", "vm.x", "failed", expected="1", found="7"),
    row("cpu", "governor", "not-applicable", why="no cpufreq"),
    row("irqbalance", "banned_cpus", "failed", expected="1", found="2"),
    row("script", "script", "unchecked", why="the script would run again"),
]


@contextmanager
def applied(conf: str = "") -> Iterator[tuple[Paths, Path, Engine]]:
    """A host on which the profile `site` has been applied, its boot.conf, and Podman."""
    with host({**GOOD, KNOB: file(b"7\n"), "run/ocp-tuned-boot/x": file(b"")}) as (paths, _):
        in_force = InForce(BOOT_ID, Result.APPLIED, "site", "registry.example/tuned:x", "id", "f", "12:00")
        store.write(paths, Record(Result.APPLIED, "12:00", BOOT_ID, in_force=in_force))
        lastgood.remember_profile(paths, LastProfile("site"))
        layout._remember(paths, "id", Layout())
        engine = Engine(paths)
        engine.meaning = {**MEANING, "sections": SECTIONS}
        engine.held = {**HELD, "rows": ROWS}
        engine._pulled = True
        with serving(engine, conf or "[tuning]\ntimeout = 600\n") as path:
            yield paths, path, engine


def test_every_setting_of_every_plugin_has_a_state() -> None:
    with applied() as (paths, conf, engine):
        before = paths.status.read_bytes()
        found = verify.look(paths, conf)
        assert paths.status.read_bytes() == before
        assert "DELETE" in engine.requests[-1]
    states = {each.key: each.state for each in found.values}
    assert states == {
        "vm.x": "different",
        "cpu.governor": "not-applicable",
        "irqbalance.banned_cpus": "different",
        "script.script": "unchecked",
    }
    assert cli.exit_status(found) == cli.DRIFTED
    shown = lines(settings_text.verify(found))
    words = "0 of 4 settings of site are verified; 2 different; 1 unchecked; 1 not applicable"
    assert shown[0] == words
    assert shown[1] == "  setting      [sysctl] vm.x: requested '1', found '7'"


def test_what_others_own_is_not_unexpected() -> None:
    files = "files = /etc/sysconfig/irqbalance\n"
    owned = f"[tuning]\ntimeout = 600\n[handover]\nsysctls = vm.x\n{files}"
    with applied(owned) as (paths, conf, _):
        (paths.root / "etc/sysconfig").mkdir(parents=True)
        (paths.root / "etc/sysconfig/irqbalance").write_text("")
        found = verify.look(paths, conf)
    states = {each.key: each.state for each in found.values}
    assert states["vm.x"] == states["irqbalance.banned_cpus"] == "handed-over"
    assert cli.exit_status(found) == cli.DONE
    words = "vm.x: requested '1', found '7' (owned by others)"
    assert any(words in line for line in lines(settings_text.verify(found)))


def test_what_systemd_does_not_hold_any_more_is_not_in_effect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = State(Hold("force_latency", "7", "7"), Standing.LOST, "systemd holds nothing")
    monkeypatch.setattr("ocp_tuned_boot.settings.holds.look", lambda *_: (lost,))
    with applied() as (paths, conf, engine):
        done = store.read(paths)
        assert done is not None
        assert done.in_force is not None
        in_force = replace(done.in_force, holds=(lost.hold,))
        store.write(paths, replace(done, in_force=in_force))
        # In its container, TuneD has the descriptor itself.
        engine.meaning = {**MEANING, "sections": [section("cpu", force_latency="7")]}
        engine.held = {**HELD, "rows": [row("cpu", "force_latency", "passed", expected="7")]}
        found = verify.look(paths, conf)
    assert [(each.key, each.state, each.why) for each in found.values] == [
        ("cpu.force_latency", "different", lost.words)
    ]
    assert cli.exit_status(found) == cli.DRIFTED


def test_it_does_not_wait_for_a_run() -> None:
    from ocp_tuned_boot.lock import locked

    with applied() as (paths, conf, _), locked(paths):
        assert verify.look(paths, conf).values != ()


def test_without_a_profile_there_is_nothing_to_compare() -> None:
    with host(GOOD) as (paths, _):
        found = verify.look(paths, None)
    assert (found, cli.exit_status(found)) == (Checked(), cli.FAILED)


def test_an_image_that_is_gone() -> None:
    with applied() as (paths, conf, engine):
        engine._pulled = False
        with pytest.raises(ImageError, match="is not on the node any more"):
            verify.look(paths, conf)


@pytest.mark.parametrize("missing", ["last_profile", "layouts"])
def test_a_profile_that_is_not_known_any_more(missing: str) -> None:
    with applied() as (paths, conf, _):
        path = paths.layouts / "id.json" if missing == "layouts" else paths.last_profile
        path.unlink()
        with pytest.raises(HostError, match=r"cannot be compared: .* not known any more"):
            verify.look(paths, conf)


@pytest.mark.parametrize(
    ("meaning", "held", "why"),
    [
        ({"version": 1, "kind": "unasked", "reason": "it is too old", "profile": False}, HELD,
         "it is too old"),
        (MEANING, {"version": 1, "kind": "unverified", "reason": "x"}, "it has compared nothing"),
        ({"version": 9}, HELD, "found version 9"),
    ],
)  # fmt: skip
def test_a_tuned_that_does_not_say_what_holds(
    meaning: dict[str, Any], held: dict[str, Any], why: str
) -> None:
    with applied() as (paths, conf, engine):
        engine.meaning, engine.held = meaning, held
        with pytest.raises(HostError, match=why):
            verify.look(paths, conf)
