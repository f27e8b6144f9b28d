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
#: What the firmware of each says.
UUIDS = {
    SEED: "4C4C4544-0031-4A10-8059-B4C04F4E3732",
    TARGET: "4c4c4544-0031-4a10-8059-b4c04f4e3733",
}
ZEROS, ONES = "00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"
APPLIED = LastProfile("site")


def become(paths: Paths, machine_id: str, uuid: str = "") -> None:
    """The machine with this machine ID, and with this UUID if any."""
    for path, text in ((paths.machine_id, machine_id), (paths.product_uuid, uuid)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if text or path == paths.machine_id:
            path.write_text(f"{text}\n")


def run(boot_id: str) -> Record:
    return Record(Result.APPLIED, "2026-11-27T12:00:00.000Z", boot_id, profile="site")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """The disk of a node that has worked."""
    found = Paths(tmp_path)
    become(found, SEED)
    written(found)
    return found


def written(paths: Paths) -> None:
    lastgood.remember(paths, "registry.example/tuned:1", "id")
    lastgood.remember_profile(paths, APPLIED)
    known.remember(paths, Known("registry.example/tuned:1", "id"))
    history.add(paths, run("aa"))


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


def test_the_ids_themselves_are_in_no_file(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    become(paths, SEED, UUIDS[SEED])
    written(paths)
    names = machine.identity(paths)
    assert [len(name) for name in names.values()] == [32, 32]
    for path in paths.state.rglob("*.json"):
        text = path.read_text()
        assert all(name in text for name in names.values())
        assert not any(it in text for it in (SEED, UUIDS[SEED], UUIDS[SEED].lower()))


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


@pytest.mark.parametrize(("read", "written_by"), READERS)
def test_a_seed_that_brings_its_machine_id_along_is_told_by_the_firmware(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, read: Callable[[Paths], Any], written_by: Any
) -> None:
    paths = Paths(tmp_path)
    become(paths, SEED, UUIDS[SEED])
    written(paths)
    assert read(paths) == written_by
    become(paths, SEED, UUIDS[TARGET])
    assert not read(paths)
    assert "it was written on another machine, and is ignored" in caplog.text


@pytest.mark.parametrize("other", [UUIDS[SEED].lower(), "", ZEROS, ONES, "Not Specified"])
def test_a_uuid_that_says_nothing_is_not_compared(tmp_path: Path, other: str) -> None:
    """It has other letters, only root may read it, or the manufacturer has set none."""
    paths = Paths(tmp_path)
    become(paths, SEED, UUIDS[SEED])
    written(paths)
    become(paths, SEED, other)
    assert [read(paths) for read, _ in READERS] == [expected for _, expected in READERS]


def test_the_firmware_decides_where_each_boot_has_a_machine_id_of_its_own(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    become(paths, SEED, UUIDS[SEED])
    written(paths)
    become(paths, TARGET, UUIDS[SEED])
    assert [read(paths) for read, _ in READERS] == [expected for _, expected in READERS]
    machine.discard(paths)
    assert left(paths) == ALL
    assert machine.discarded(paths) == ()
    # What is written now is believed in the next boot, and on a copy of the disk it is not.
    written(paths)
    become(paths, SEED, UUIDS[SEED])
    assert lastgood.read(paths) is not None
    become(paths, SEED, UUIDS[TARGET])
    assert not any(read(paths) for read, _ in READERS)


def test_a_file_without_a_uuid_gets_one_when_it_is_confirmed(paths: Paths) -> None:
    become(paths, SEED, UUIDS[SEED])
    lastgood.remember(paths, "registry.example/tuned:1", "id")
    lastgood.remember_profile(paths, APPLIED)
    known.remember(paths, Known("registry.example/tuned:1", "id"))
    become(paths, SEED, UUIDS[TARGET])
    assert (lastgood.read(paths), lastgood.profile(paths), known.read(paths)) == (None, None, ())


def left(paths: Paths) -> list[str]:
    found = (path for path in paths.state.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(paths.state)) for path in found)


ALL = ["history/000001-aa.json", "images.json", "last-good.json", "last-profile.json"]


@pytest.mark.parametrize(
    ("seed", "target"),
    [((SEED,), (TARGET,)), ((SEED, UUIDS[SEED]), (SEED, UUIDS[TARGET])),
     ((SEED, UUIDS[SEED]), ("uninitialized", UUIDS[TARGET]))],
)  # fmt: skip
def test_the_state_of_another_machine_is_removed_and_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seed: tuple[str, ...], target: tuple[str, ...]
) -> None:
    paths = Paths(tmp_path)
    become(paths, *seed)
    written(paths)
    # The administrator's, a layout, which is of an image, and one that a later release has written.
    for name in ("images/site.tar", "layouts/id.json"):
        (paths.state / name).parent.mkdir(exist_ok=True)
        (paths.state / name).write_text('{"version": 1}')
    later = json.loads(paths.last_good.read_text())
    paths.last_good.write_text(json.dumps({**later, "version": 9}))
    machine.discard(paths)
    assert left(paths) == sorted([*ALL, "images/site.tar", "layouts/id.json"])
    assert machine.discarded(paths) == ()
    become(paths, *target)
    machine.discard(paths)
    assert left(paths) == ["images/site.tar", "layouts/id.json"]
    assert sorted(machine.discarded(paths)) == ALL
    assert caplog.text.count("was written on another machine") == 1
    machine.discard(paths)
    assert sorted(machine.discarded(paths)) == ALL


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"a": "\\ud800"}', "x" * 9000])
def test_what_names_no_machine_remains(paths: Paths, text: str) -> None:
    for name in ALL:
        (paths.state / name).write_text(text)
    become(paths, TARGET)
    machine.discard(paths)
    assert left(paths) == ALL


def test_what_cannot_be_removed_is_said_and_ignored_all_the_same(
    paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    become(paths, TARGET)
    (paths.foreign / "in-the-way").mkdir(parents=True)
    machine.discard(paths)
    assert left(paths) == ALL
    assert len(caplog.records) == 2
    assert lastgood.read(paths) is None
