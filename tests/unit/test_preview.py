"""`plan`: what is known beforehand is said, by whom it is decided, and what has no effect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from ocp_tuned_boot import preview
from ocp_tuned_boot.commands import plan_text, report
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record import store as records
from ocp_tuned_boot.record.model import Action, InForce, Record
from ocp_tuned_boot.requested import lastgood
from ocp_tuned_boot.tuned import layout
from ocp_tuned_boot.tuned.judge import Result
from ocp_tuned_boot.tuned.layout import Layout
from tests.unit.commands.shown import lines
from tests.unit.fake_podman import listening
from tests.unit.images.fake_store import ASKED, EXACT, Store, archive

STOCK = {"/usr/lib/tuned/balanced/tuned.conf": "[main]\n"}


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def paths(tmp_path: Path, store: Store) -> Iterator[Paths]:
    """A node that requests an image and one of its profiles."""
    found = Paths(tmp_path)
    for folder in (found.recommend.parent, found.boot_id.parent, found.admin_conf.parent):
        folder.mkdir(parents=True)
    found.boot_id.write_text("b\n")
    found.image_env.write_text(f"NTO_IMAGE={ASKED}\n")
    found.recommend.write_text("[balanced]\n")
    with listening(store.answer) as socket:
        found.admin_conf.write_text(f"[podman]\nsocket = {socket}\n")
        yield found


def boot_conf(paths: Paths, text: str) -> None:
    drop_in = paths.admin_conf.with_name("boot.conf.d") / "x.conf"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text(text)


def used(paths: Paths, store: Store) -> None:
    """The image is on the node and has been used, so its profiles are known."""
    store.images[ASKED] = "id"
    paths.layouts.mkdir(parents=True)
    layout.FORMAT.write(paths.layouts / "id.json", asdict(Layout(profiles=STOCK)))


def test_which_files_decide(paths: Paths) -> None:
    shown = lines(plan_text.rows(preview.preview(paths, None)))
    assert f"  named in     {paths.recommend} (profile)" in shown
    assert f"               {paths.image_env} (image)" in shown
    boot_conf(paths, f"[tuning]\nimage = {ASKED}\nprofile = other\n")
    found = preview.preview(paths, None)
    file = paths.admin_conf.with_name("boot.conf.d") / "x.conf"
    words = f"profile = other in {file} has no effect: {paths.recommend} decides"
    assert words in found.notes
    assert not any(each.startswith("image = ") for each in found.notes)
    boot_conf(paths, "[tuning]\nimage = other\nprofile = other\n")
    words = f"image = other in {file} has no effect: {paths.image_env} decides"
    assert words in preview.preview(paths, None).notes
    assert words in json.loads(report.plan_json(preview.preview(paths, None)))["notes"]
    # Without the agent's files, boot.conf decides.
    paths.image_env.unlink()
    paths.recommend.unlink()
    found = preview.preview(paths, None)
    assert found.requested.image_named_in == f"[tuning] of {file}"
    assert not any("no effect" in each for each in found.notes)


def test_a_profile_that_does_not_exist(paths: Paths, store: Store) -> None:
    used(paths, store)
    assert preview.preview(paths, None).notes == ()
    paths.recommend.write_text("[nowhere]\n")
    (note,) = preview.preview(paths, None).notes
    assert note.startswith(f'No profile "nowhere" in {paths.profiles} or in the image {ASKED}. ')
    assert f"It is named in {paths.recommend}. " in note
    folder = paths.profiles / "nowhere"
    folder.mkdir(parents=True)
    (folder / "tuned.conf").write_text("[main]\ninclude=balanced,gone\n")
    (note,) = preview.preview(paths, None).notes
    assert note.startswith('No profile "gone" in ')
    assert note.endswith("then: systemctl start ocp-tuned")
    assert f"It is named in include= in {folder}/tuned.conf. " in note


def test_so_does_one_that_waits_for_the_next_boot(paths: Paths, store: Store) -> None:
    used(paths, store)
    lastgood.remember(paths, ASKED, "id")
    paths.run.mkdir(parents=True)
    done = Record(
        Result.APPLIED, "b", in_force=InForce("b", Result.APPLIED, "balanced", ASKED, "id", "", "")
    )
    records.write(paths, done)
    paths.recommend.write_text("[nowhere]\n")
    found = preview.preview(paths, None)
    assert found.decision.action is Action.DEFER
    (note,) = (each for each in found.notes if each.startswith('No profile "nowhere" in '))
    # `systemctl start` would do nothing.
    assert note.endswith("then: systemctl reload ocp-tuned")
    assert 'it cannot be applied: No profile "nowhere" in ' in found.decision.reason


def test_where_the_images_profiles_are_not_known_that_is_said(paths: Paths) -> None:
    (note,) = preview.preview(paths, None).notes
    assert note.startswith('Profile "balanced" is not in ')
    assert f"whether it is in the image {ASKED} is not known yet. " in note
    assert note.endswith("To find out: ocp-tuned-boot image fetch")


def test_an_incomplete_image_env(paths: Paths, store: Store) -> None:
    used(paths, store)
    lastgood.remember(paths, ASKED, "id")
    paths.image_env.write_text("NTO_IM")
    found = preview.preview(paths, None)
    shown = "\n".join(lines(plan_text.rows(found)))
    assert "the last image that worked is used instead" in shown
    assert found.requested.image_named_in == str(paths.last_good)


LOCAL = "localhost/tuned:latest"


@pytest.mark.parametrize(
    ("asked", "has", "pull", "expected"),
    [
        (ASKED, "", "missing", "to be pulled"),
        (ASKED, ASKED, "missing", "to be pulled; or loaded from {archive}, if it cannot be pulled"),
        (ASKED, ASKED, "never", "to be loaded from {archive}"),
        (EXACT, EXACT.replace("@sha256:", ":sha256-"), "missing", "to be loaded from {archive}"),
        (ASKED, "", "never", "NOT on the node, and boot.conf says pull = never"),
        (LOCAL, "", "missing", "NOT on the node, and no registry has images below localhost/"),
        (LOCAL, LOCAL, "missing", "to be loaded from {archive}"),
    ],
)
def test_where_the_image_would_come_from(
    paths: Paths, asked: str, has: str, pull: str, expected: str
) -> None:
    paths.image_env.write_text(f"NTO_IMAGE={asked}\n")
    boot_conf(paths, f"[image]\npull = {pull}\n")
    if has:
        archive(paths, has)
    found = preview.preview(paths, None).image
    assert found == expected.format(archive=paths.archives[0] / "0.tar")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("enabled", None), ("", None), ("disabled", "systemctl enable ocp-tuned.service"),
        ("masked-runtime", "systemctl unmask ocp-tuned.service"),
    ],
)  # fmt: skip
def test_a_unit_that_is_not_started_at_boot(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, state: str, words: str | None
) -> None:
    monkeypatch.setattr(systemd, "file_state", lambda _: state)
    # Below another root, the units of this host say nothing.
    assert not any("at boot" in each for each in preview.preview(paths, None).notes)
    monkeypatch.setattr(preview, "Paths", lambda: paths)
    found = [each for each in preview.preview(paths, None).notes if "at boot" in each]
    assert [each.endswith(words or "-") for each in found] == [True] * (words is not None)
