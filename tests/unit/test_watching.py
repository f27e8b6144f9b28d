"""Which profiles systemd watches. tests/lab/test_operator.py shows what that does."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ocp_tuned_boot import watching
from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record import store
from ocp_tuned_boot.record.model import InForce, Record
from ocp_tuned_boot.tuned.judge import Result


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(tmp_path)
    found.recommend.parent.mkdir(parents=True)
    found.profiles.mkdir()
    return found


def profiles(paths: Paths, *names: str) -> None:
    for name in names:
        (paths.profiles / name / "deep").mkdir(parents=True)


def test_the_folder_of_each_profile_has_a_unit(paths: Paths) -> None:
    assert watching.units(paths) == ()
    profiles(paths, "b-1", "a_2.x")
    (paths.profiles / "README").write_text("")
    names = ("ocp-tuned-folder@profiles-a_2.x.path", r"ocp-tuned-folder@profiles-b\x2d1.path")
    assert watching.units(paths) == names
    # The requested one comes first.
    paths.recommend.write_text("[b-1]\n")
    assert watching.units(paths) == names[::-1]


def test_what_cannot_be_watched_is_said(paths: Paths, caplog: pytest.LogCaptureFixture) -> None:
    profiles(paths, "a b", "-" + "x" * 230, "a")
    assert watching.units(paths) == ("ocp-tuned-folder@profiles-a.path",)
    assert "2 of 3 custom profiles are not watched for changes" in caplog.text
    caplog.clear()
    profiles(paths, *(f"p{number}" for number in range(watching.MOST)), "z")
    paths.recommend.write_text("[z]\n")
    found = watching.units(paths)
    assert (len(found), found[0]) == (watching.MOST, "ocp-tuned-folder@profiles-z.path")
    assert "4 of 36 custom profiles" in caplog.text


def test_an_image_is_pulled_after_the_run_on_this_host_only(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[object] = []
    monkeypatch.setattr(systemd, "queue", lambda verb, names: done.append((verb, names)))
    watching.fetch(paths)
    assert done == []
    monkeypatch.setattr(watching, "Paths", lambda: paths)
    watching.fetch(paths)
    assert done == [("start", ["ocp-tuned-image.service"])]

    def refuses(*_: object) -> None:
        raise HostError("no such unit")

    monkeypatch.setattr(systemd, "queue", refuses)
    watching.fetch(paths)
    assert "the image is not pulled in the background: no such unit" in caplog.text


def test_units_are_started_and_stopped_as_profiles_come_and_go(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[tuple[str, ...]] = []
    known = (
        "ocp-tuned-folder@profiles-a.path",
        "ocp-tuned-folder@profiles-gone.path",
        "ocp-tuned-image.path",
    )
    paths.boot_id.parent.mkdir(parents=True)
    paths.boot_id.write_text("boot\n")
    monkeypatch.setattr(systemd, "active", lambda _: known)

    def queue(verb: str, names: list[str]) -> None:
        done.append((verb, *names))

    monkeypatch.setattr(systemd, "queue", queue)
    profiles(paths, "a", "b")
    # Below another root nothing is done: the units are about this one.
    watching.after_run(paths, 60.0)
    assert done == []
    monkeypatch.setattr(watching, "Paths", lambda: paths)
    watching.watch(paths)
    assert done == [("stop", known[1]), ("start", "ocp-tuned-folder@profiles-b.path")]
    # boot.conf is watched while a profile is applied.
    paths.run.mkdir(parents=True)
    in_force = InForce("boot", Result.APPLIED, "a", "i", "id", "f", "12:00")
    store.write(paths, Record(Result.APPLIED, "12:00", "boot", in_force=in_force))
    watching.watch(paths)
    assert done[2:] == [
        ("stop", known[1]),
        ("start", "ocp-tuned-folder@profiles-b.path", watching.CONF),
    ]
    # What was written while a run was under way may have been too early to be noticed.
    watching.after_run(paths, 0.0)
    assert ("start", systemd.NOTICE) not in done
    watching.after_run(paths, 3600.0)
    assert done[-1] == ("start", systemd.NOTICE)

    # While ocp-tuned.service is being stopped, boot.conf is not watched.
    def stopping(verb: str, names: list[str]) -> None:
        if watching.CONF in names:
            raise HostError("Transaction is destructive.")
        queue(verb, names)

    monkeypatch.setattr(systemd, "queue", stopping)
    with caplog.at_level(logging.WARNING):
        watching.watch(paths)
    assert done[-1] == ("start", "ocp-tuned-folder@profiles-b.path")
    assert caplog.text == ""

    def silent(_: str) -> tuple[str, ...]:
        raise HostError("cannot reach systemd over D-Bus")

    monkeypatch.setattr(systemd, "active", silent)
    with caplog.at_level(logging.WARNING):
        watching.watch(paths)
    assert "changes of a profile may go unnoticed: cannot reach systemd" in caplog.text
