"""The last boots: bounded, in order, and never in the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ocp_tuned_boot.errors import NewerVersion
from ocp_tuned_boot.host.clock import Step
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record import history
from ocp_tuned_boot.record.model import Moments, Record
from ocp_tuned_boot.requested import lastgood
from ocp_tuned_boot.requested.lastgood import LastGood
from ocp_tuned_boot.tuned.judge import Result

DONE = Record(Result.APPLIED, "12:00", "b0", "apply", "because", "site", "localhost/a", "id",
              fingerprint="f", seconds=0.5)  # fmt: skip


def test_the_runs_of_each_boot_in_their_order(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert history.read(paths) == ()
    history.add(paths, DONE)
    history.add(paths, replace(DONE, boot_id="a1", result=Result.FAILED))
    history.add(paths, replace(DONE, boot_id="a1", action="defer"))
    # By the order in which they came, not by name or by the clock.
    assert [boot.boot_id for boot in history.read(paths)] == ["b0", "a1"]
    first, second = history.read(paths)[1].runs
    assert (first.result, second.action) == ("failed", "defer")
    assert second.summary == replace(DONE, boot_id="a1", action="defer").summary()


def test_only_the_last_boots_are_kept(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    for number in range(history.BOOTS + 3):
        history.add(paths, replace(DONE, boot_id=f"b{number}"))
    kept = [boot.boot_id for boot in history.read(paths)]
    assert kept == [f"b{number}" for number in range(3, history.BOOTS + 3)]


def test_a_soft_reboot_has_a_file_of_its_own(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    boots = ["a1", "a1+1", "a1+12"]
    for boot in boots:
        history.add(paths, replace(DONE, boot_id=boot))
    history.add(paths, replace(DONE, boot_id="a1+1"))
    assert [(boot.boot_id, len(boot.runs)) for boot in history.read(paths)] == [
        ("a1", 1), ("a1+1", 2), ("a1+12", 1),
    ]  # fmt: skip


def test_of_a_boot_the_first_run_and_the_last_ones_are_kept(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    for number in range(history.RUNS + 3):
        history.add(paths, replace(DONE, started=str(number)))
    (boot,) = history.read(paths)
    assert [run.started for run in boot.runs] == [
        "0", *(str(number) for number in range(4, history.RUNS + 3)),
    ]  # fmt: skip


def test_what_a_later_release_has_written_of_this_boot_stays(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.history.mkdir(parents=True)
    text = '{"version": 2, "runs": "otherwise"}'
    path = paths.history / f"000001-{DONE.boot_id}.json"
    path.write_text(text)
    with pytest.raises(NewerVersion, match="found version 2, expected 1"):
        history.add(paths, DONE)
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["", "torn {", '{"version": 0, "runs": []}', '{"version": 1}'])
def test_a_broken_file_is_left_out_logged_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    paths = Paths(tmp_path)
    history.add(paths, replace(DONE, boot_id="a0"))
    history.add(paths, DONE)
    broken = paths.history / "000002-b0.json"
    broken.write_text(text)
    assert [boot.boot_id for boot in history.read(paths)] == ["a0"]
    assert str(broken) in caplog.text
    history.add(paths, DONE)
    assert [boot.boot_id for boot in history.read(paths)] == ["a0", "b0"]


def test_the_last_image_that_worked(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert lastgood.read(paths) is None
    lastgood.remember(paths, "localhost/a", "id")
    assert lastgood.read(paths) == LastGood("localhost/a", "id")
    before = paths.last_good.stat()
    lastgood.remember(paths, "localhost/a", "id")
    assert paths.last_good.stat() == before
    lastgood.remember(paths, "localhost/b", "id")
    assert lastgood.read(paths) == LastGood("localhost/b", "id")


@pytest.mark.parametrize("text", ["", "torn {", "[]", '{"version": 0, "image": "x"}',
                                  '{"version": 1, "image": 5}'])  # fmt: skip
def test_a_broken_note_of_it_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    paths = Paths(tmp_path)
    paths.state.mkdir(parents=True)
    paths.last_good.write_text(text)
    assert lastgood.read(paths) is None
    assert f"{paths.last_good}: found no image that worked" in caplog.text
    lastgood.remember(paths, "localhost/a", "id")
    assert lastgood.read(paths) == LastGood("localhost/a", "id")


def test_the_times_of_a_run_are_kept_and_an_earlier_release_had_none(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    steps = tuple(Step(f"s{number}", 0.1, float(number)) for number in range(history.STEPS + 3))
    timed = replace(DONE, steps=steps, moments=Moments(4.0, 1.0, 4.3), early=steps[:2])
    history.add(paths, timed)
    (boot,) = history.read(paths)
    run = boot.runs[0]
    assert (run.steps, run.early) == (steps[3:], steps[:2])
    assert run.moments == Moments(4.0, 1.0, 4.3)

    (path,) = paths.history.iterdir()
    content = json.loads(path.read_text())
    for name in ("steps", "moments", "early"):
        del content["runs"][0][name]
    path.write_text(json.dumps(content))
    (boot,) = history.read(paths)
    assert boot.runs == (replace(run, steps=(), moments=None, early=()),)


@pytest.mark.parametrize(
    ("name", "broken"),
    [("moments", {"word": "now"}), ("moments", {"word": 1.0, "ready": "soon"}), ("moments", 5),
     ("steps", [{"name": "x", "seconds": 1.0, "at": "then"}]), ("early", "none")],
)  # fmt: skip
def test_times_that_are_none_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, broken: object
) -> None:
    paths = Paths(tmp_path)
    history.add(paths, DONE)
    (path,) = paths.history.iterdir()
    content = json.loads(path.read_text())
    content["runs"][0][name] = broken
    path.write_text(json.dumps(content))
    assert history.read(paths) == ()
    assert f"{path}: found no history of a boot" in caplog.text
