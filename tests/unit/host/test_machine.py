"""What another machine has written is not believed: the seed of an image-based upgrade, a clone."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Callable

import pytest

from ocp_tuned_boot.host import machine
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import known
from ocp_tuned_boot.images.known import Known
from ocp_tuned_boot.record import history
from ocp_tuned_boot.record.model import Record
from ocp_tuned_boot.requested import lastgood
from ocp_tuned_boot.requested.lastgood import LastGood, LastProfile
from ocp_tuned_boot.tuned.judge import Result

SEED, TARGET = "00000000000000000000000000000001", "00000000000000000000000000000002"
APPLIED = LastProfile("site")


def become(paths: Paths, machine_id: str) -> None:
    paths.machine_id.parent.mkdir(parents=True, exist_ok=True)
    paths.machine_id.write_text(f"{machine_id}\n")


def run(boot_id: str) -> Record:
    return Record(Result.APPLIED, "2026-11-27T12:00:00.000Z", boot_id, profile="site")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """The disk of a node that has worked."""
    found = Paths(tmp_path)
    become(found, SEED)
    lastgood.remember(found, "registry.example/tuned:1", "id")
    lastgood.remember_profile(found, APPLIED)
    known.remember(found, Known("registry.example/tuned:1", "id"))
    history.add(found, run("aa"))
    return found


READERS: tuple[tuple[Callable[[Paths], Any], Any], ...] = (
    (lastgood.read, LastGood("registry.example/tuned:1", "id")),
    (lastgood.profile, APPLIED),
    (known.read, (Known("registry.example/tuned:1", "id"),)),
    (lambda paths: tuple(boot.boot_id for boot in history.read(paths)), ("aa",)),
)


@pytest.mark.parametrize(("read", "written"), READERS)
def test_it_is_believed_on_its_machine_only(
    paths: Paths, caplog: pytest.LogCaptureFixture, read: Callable[[Paths], Any], written: Any
) -> None:
    assert read(paths) == written
    become(paths, TARGET)
    caplog.set_level(logging.WARNING)
    assert not read(paths)
    assert "it was written on another machine, and is ignored" in caplog.text


@pytest.mark.parametrize(("read", "written"), READERS)
@pytest.mark.parametrize("state", ["uninitialized", ""])
def test_a_machine_without_an_id_believes_it(
    paths: Paths, read: Callable[[Paths], Any], written: Any, state: str
) -> None:
    """So it is early in the first boot (machine-id(5)), and in a container."""
    become(paths, state)
    assert read(paths) == written


@pytest.mark.parametrize(("read", "written"), READERS)
def test_what_an_earlier_release_has_written_is_believed(
    paths: Paths, read: Callable[[Paths], Any], written: Any
) -> None:
    for path in paths.state.rglob("*.json"):
        content = json.loads(path.read_text())
        del content["machine"]
        path.write_text(json.dumps(content))
    become(paths, TARGET)
    assert read(paths) == written


def test_the_first_run_on_another_machine_replaces_it(paths: Paths) -> None:
    become(paths, TARGET)
    lastgood.remember(paths, "registry.example/tuned:1", "id")
    lastgood.remember_profile(paths, APPLIED)
    known.remember(paths, Known("registry.example/tuned:2", "other"))
    history.add(paths, run("bb"))
    assert lastgood.read(paths) == LastGood("registry.example/tuned:1", "id")
    assert lastgood.profile(paths) == APPLIED
    assert known.read(paths) == (Known("registry.example/tuned:2", "other"),)
    assert [boot.boot_id for boot in history.read(paths)] == ["bb"]
    assert len(list(paths.history.iterdir())) == 1


def test_the_machine_id_itself_is_in_no_file(paths: Paths) -> None:
    name = machine.identity(paths)
    assert len(name) == 32
    for path in paths.state.rglob("*.json"):
        assert name in path.read_text()
        assert SEED not in path.read_text()


def test_what_an_earlier_release_has_written_is_named_when_it_is_confirmed(paths: Paths) -> None:
    """Also if nothing in it changes: else the seed would still be believed elsewhere."""
    for path in paths.state.glob("*.json"):
        content = json.loads(path.read_text())
        del content["machine"]
        path.write_text(json.dumps(content))
    lastgood.remember(paths, "registry.example/tuned:1", "id")
    lastgood.remember_profile(paths, APPLIED)
    known.remember(paths, Known("registry.example/tuned:1", "id"))
    become(paths, TARGET)
    assert (lastgood.read(paths), lastgood.profile(paths), known.read(paths)) == (None, None, ())
