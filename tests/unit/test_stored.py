"""The files that this program writes and reads again: what fits into one can be read from it, and
one of a later release is left as it is."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest

from ocp_tuned_boot.errors import HostError, NewerVersion
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import known
from ocp_tuned_boot.images.known import Known
from ocp_tuned_boot.record import history, store
from ocp_tuned_boot.record.model import (
    Action,
    Decision,
    HandedOver,
    InForce,
    Record,
    Residue,
    Value,
)
from ocp_tuned_boot.record.recorder import ATTEMPTS, Recorder
from ocp_tuned_boot.requested import inputs, lastgood
from ocp_tuned_boot.requested.config import Owners
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.requested.lastgood import LastProfile
from ocp_tuned_boot.settings import drift, residue
from ocp_tuned_boot.settings.handover import Guard
from ocp_tuned_boot.settings.residue import Saved, Settings
from ocp_tuned_boot.tuned import layout
from ocp_tuned_boot.tuned.findings import Finding
from ocp_tuned_boot.tuned.judge import Result
from ocp_tuned_boot.tuned.layout import Layout
from ocp_tuned_boot.tuned.profilefile import ProfileFile

BOOT = "11111111-2222-4333-8444-555555555555"
IN_FORCE = InForce(BOOT, Result.APPLIED, "site", "localhost/a", "id", "f" * 64, "12:00")
DONE = Record(Result.APPLIED, "12:00", BOOT, "apply", in_force=IN_FORCE)
OWNERS = Owners(("/proc/irq/*/smp_affinity",), (), False)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    for folder in (paths.run, paths.history, paths.layouts, paths.boot_id.parent):
        folder.mkdir(parents=True)
    paths.boot_id.write_text(f"{BOOT}\n")
    return paths


def _drift(paths: Paths) -> None:
    drift.look(paths, OWNERS)


#: Each file, and what writes it.
FILES: dict[str, Callable[[Paths], object]] = {
    "run/ocp-tuned-boot/status.json": lambda it: store.write(it, DONE),
    "run/ocp-tuned-boot/settings.json": lambda it: residue.store(it, Settings(BOOT)),
    "run/ocp-tuned-boot/drift.json": _drift,
    f"var/lib/ocp-tuned-boot/history/000001-{BOOT}.json": lambda it: history.add(it, DONE),
    "var/lib/ocp-tuned-boot/images.json": lambda it: known.remember(it, Known("a", "id")),
    "var/lib/ocp-tuned-boot/last-good.json": lambda it: lastgood.remember(it, "localhost/a", "id"),
    "var/lib/ocp-tuned-boot/last-profile.json": lambda it: lastgood.remember_profile(
        it, LastProfile("site")
    ),
    "var/lib/ocp-tuned-boot/layouts/id.json": lambda it: layout._remember(it, "id", Layout()),
}
NEWER = {
    "version": '{"version": 99, "boot_id": 1}',
    "version, not at the beginning": '{"boot_id": 1, "version": 99}',
    "version, and larger than any": '{"version": 99, "x": "' + "x" * (9 << 20) + '"}',
}


@pytest.mark.parametrize("text", NEWER.values(), ids=NEWER)
@pytest.mark.parametrize("name", FILES)
def test_the_file_of_a_later_release_is_refused_in_words_and_stays(
    paths: Paths, name: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = paths.root / name
    path.write_text(text)
    words = ""
    try:
        FILES[name](paths)
    except NewerVersion as error:
        words = str(error)
    words += caplog.text
    assert f"{path}: found version 99, expected " in words
    assert "a later release of ocp-tuned-boot wrote this file" in words
    assert "Install that release again, or " in words
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["", "{", '{"version": 0}', "[]", '{"version": "99"}'])
@pytest.mark.parametrize("name", FILES)
def test_a_broken_file_is_replaced(paths: Paths, name: str, text: str) -> None:
    path = paths.root / name
    path.write_text(text)
    FILES[name](paths)
    assert json.loads(path.read_text())["version"] in (1, 4)


def test_what_a_later_release_keeps_of_others_is_not_taken_for_nothing(paths: Paths) -> None:
    """To go on without it would lose the values that are to be put back."""
    paths.settings.write_text('{"version": 99}')
    with pytest.raises(NewerVersion):
        residue.load(paths, BOOT)
    paths.status.write_text(NEWER["version, and larger than any"])
    with pytest.raises(NewerVersion):
        store.of_this_boot(paths, BOOT)


# Sizes of real machines.


def test_the_affinities_of_5000_interrupts_on_768_cpus_are_kept_from_tuned(paths: Paths) -> None:
    before, tuned = ",".join(["ffffffff"] * 24), ",".join(["00000003"] * 24)
    irqs = [paths.root / f"proc/irq/{number}/smp_affinity" for number in range(5000)]
    for irq in irqs:
        irq.parent.mkdir(parents=True)
        irq.write_text(before + "\n")
    guard = Guard(paths, OWNERS, {})
    guard.save()
    copies = sorted(paths.guard.glob("files/proc/irq/*/smp_affinity"))
    for copy in copies:
        copy.write_text(tuned + "\n")
    handed = guard.collect()
    assert (len(copies), len(handed)) == (5000, 5000)
    assert {irq.read_text().strip() for irq in irqs} == {before}
    # The record of it can be read, and says how much of it there is.
    store.write(paths, replace(DONE, handover=handed))
    found = store.read(paths)
    assert found is not None
    assert found.in_force == IN_FORCE
    assert len(found.handover) == 1000
    assert found.left_out == {"handover": 4000}


def test_650_attempts_do_not_forget_what_is_applied(paths: Paths) -> None:
    recorder = Recorder(paths, time.monotonic())
    recorder.decided(Inputs("localhost/a", "site", "tuned", BOOT), Decision(Action.APPLY, "x"))
    for number in range(650):
        recorder.attempt_failed("podman", f"{number} " + "x" * 3990)
    assert len(recorder.attempts) == ATTEMPTS
    recorder._record = replace(recorder._record, in_force=IN_FORCE)
    recorder.write()
    found = store.read(paths)
    assert found is not None
    assert found.in_force == IN_FORCE
    assert len(found.attempts) == ATTEMPTS
    assert found.attempts[-1].message.startswith("649 ")
    assert found.left_out == {"attempts": 650 - ATTEMPTS}


MANY: dict[str, Record] = {
    "values": replace(
        DONE, values=tuple(Value(f"/sys/{n}", "verified", "x" * 300, "y") for n in range(5000))
    ),
    "long values": replace(
        DONE, values=tuple(Value(f"/sys/{n}", "verified", "x" * 4096) for n in range(900))
    ),
    "findings": replace(
        DONE, findings=(Finding("x", "vm.x", "\x1b" * 1000),) * 3000,
        in_force=replace(IN_FORCE, findings=(Finding("x", "vm.x", "no" * 500),) * 3000),
    ),
    "handover": replace(DONE, handover=(HandedOver("x", "lost", "a" * 65536, "b", "c"),) * 300),
    "residue": replace(DONE, residue=(Residue("x", "theirs", "a" * 65536, "b", "c"),) * 300),
    "arguments": replace(DONE, kernel_arguments=("a" * 60,) * 60_000),
}  # fmt: skip


@pytest.mark.parametrize("name", MANY)
def test_a_record_that_would_be_too_large_is_cut_and_says_so(paths: Paths, name: str) -> None:
    store.write(paths, MANY[name])
    found = store.read(paths)
    assert found is not None
    assert found.in_force is not None
    assert replace(found.in_force, findings=()) == IN_FORCE
    assert found.result is Result.APPLIED
    # Of a long text the beginning is shown.
    assert sum(found.left_out.values()) > 0 or "…" in paths.status.read_text()


def test_of_the_values_those_that_differ_are_kept(paths: Paths) -> None:
    verified = tuple(Value(f"/sys/{n}", "verified", "x" * 300) for n in range(5000))
    differs = Value("/sys/last", "different", "1", "2")
    store.write(paths, replace(DONE, values=(*verified, differs)))
    found = store.read(paths)
    assert found is not None
    assert found.values is not None
    assert found.values[0] == differs


def test_long_runs_are_remembered_the_last_ones(paths: Paths) -> None:
    for number in range(history.RUNS):
        long = Finding("x", "", f"{number} " + "\U0001f4a5" * 4000, "\U0001f4a5" * 2000)
        history.add(paths, replace(DONE, result=Result.FAILED, findings=(long,)))
    (boot,) = history.read(paths)
    assert 1 < len(boot.runs) < history.RUNS
    assert boot.runs[-1].summary.startswith(f"Failed: {history.RUNS - 1} ")
    (path,) = paths.history.iterdir()
    assert json.loads(path.read_text())["left_out"] > 0


def test_the_settings_of_a_large_machine_are_read_again(paths: Paths) -> None:
    saved = {f"/sys/{n}/affinity": Saved("f" * 216, "3" * 216) for n in range(10_000)}
    residue.store(paths, Settings(BOOT, saved, "12:00"))
    assert residue.read(paths, BOOT) == Settings(BOOT, saved, "12:00")
    # What is beyond any machine is cut: a part of it is better than none.
    saved = {f"/sys/{n}/affinity": Saved("f" * 9000, "3" * 9000) for n in range(1000)}
    residue.store(paths, Settings(BOOT, saved, "12:00"))
    found = residue.read(paths, BOOT)
    assert 400 < len(found.saved) < 1000
    assert found.applied_at == "12:00"


def _names(count: int, name: str) -> Sequence[str]:
    return [f"site/{number:03}{name}" for number in range(count)]


@pytest.mark.parametrize("letter", ["x", "\xe9", "\u4e16", "\U0001f4a5", "\x01"])
def test_the_largest_profiles_of_any_names_are_read_again(paths: Paths, letter: str) -> None:
    """As many files as are allowed, with names as long as they may be, and as much in them."""
    # Beside `site/` and a number.
    most = inputs.NAMES_LIMIT // inputs.ENTRIES_LIMIT - 10
    name = letter * (most // len(letter.encode()))
    for folder in (paths.profiles / "site", paths.recommend.parent):
        folder.mkdir(parents=True)
    paths.image_env.write_text("NTO_IMAGE=localhost/a\n")
    paths.recommend.write_text("[site]\n")
    for each in _names(inputs.ENTRIES_LIMIT - 1, name):
        data = b"\xff" * (inputs.PROFILES_LIMIT // inputs.ENTRIES_LIMIT)
        (paths.profiles / each).write_bytes(data)
    requested = inputs.read(paths, "tuned")
    assert len(requested.files) == inputs.ENTRIES_LIMIT - 1
    applied = LastProfile("site", "\x01" * 60_000, requested.files)
    lastgood.remember_profile(paths, applied)
    assert lastgood.profile(paths) == applied


def test_names_that_could_not_be_written_again_are_refused(paths: Paths) -> None:
    folder = paths.profiles
    for level in range(inputs.DEPTH_LIMIT):
        folder /= f"{level}" + "\x01" * 240
    folder.mkdir(parents=True)
    for number in range(200):
        (folder / f"{number:03}{'x' * 200}").touch()
    with pytest.raises(HostError, match=r"names .* longer than 262144 bytes"):
        list(inputs.profile_files(paths.profiles, paths.root))


def test_what_cannot_be_cut_is_not_written(paths: Paths) -> None:
    files = (ProfileFile("site/x", b"x" * (6 << 20)),)
    with pytest.raises(HostError, match="it would be larger than 5242880 bytes"):
        lastgood.remember_profile(paths, LastProfile("site", files=files))
    assert not paths.last_profile.exists()


def test_of_too_many_findings_the_worst_are_kept(paths: Paths) -> None:
    words = "x" * 20_000
    accepted = tuple(Finding("overridden", str(n), words, accepted=True) for n in range(100))
    last = Finding("value-differs", "last", words)
    store.write(paths, replace(DONE, findings=(*accepted, last)))
    found = store.of_this_boot(paths, BOOT)
    assert found is not None
    assert len(found.findings) < 101
    assert found.findings[0].subject == "last"
