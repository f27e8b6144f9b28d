"""`profile list`: what is on the node, what is in the image, and what is used of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from ocp_tuned_boot.commands import profiles
from ocp_tuned_boot.commands.profiles import Listing
from ocp_tuned_boot.commands.terminal import Terminal
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import known
from ocp_tuned_boot.images.known import Known
from ocp_tuned_boot.record import store as records
from ocp_tuned_boot.record.model import InForce, Record
from ocp_tuned_boot.requested import lastgood
from ocp_tuned_boot.tuned import layout
from ocp_tuned_boot.tuned.judge import Result
from ocp_tuned_boot.tuned.layout import Layout
from tests.unit.fake_podman import listening
from tests.unit.images.fake_store import ASKED, Store

BALANCED = "/usr/lib/tuned/balanced/tuned.conf"
STOCK = {
    BALANCED: "[main]\nsummary=General non-specialized profile\n",
    "/usr/lib/tuned/throughput/tuned.conf": "[main]\nsummary=Fast.\n",
    "/usr/lib/tuned/profiles/balanced/tuned.conf": "[main]\nsummary=Another one\n",
    "/usr/lib/tuned/recommend.conf": "[balanced]\n",
}

INDENT = " " * 15
NOT_FIRST = "Not used: another one has this name and is found first"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A node with two custom profiles, and no Podman."""
    found = Paths(tmp_path)
    put(found.boot_id, "b\n")
    put(found.image_env, f"NTO_IMAGE={ASKED}\n")
    put(found.recommend, "[site]\n")
    put(profile(found, "site"), "[main]\nsummary=Of this\n  site\ninclude=throughput, -x${y}\n")
    put(profile(found, "balanced"), "[sysctl]\nvm.x=1\n")
    put(found.admin_conf, f"[podman]\nsocket = {tmp_path}/none.sock\n")
    return found


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def profile(paths: Paths, name: str) -> Path:
    return paths.profiles / name / "tuned.conf"


def looked_into(paths: Paths, image_id: str = "id") -> None:
    """This image was looked into."""
    paths.layouts.mkdir(parents=True)
    layout.FORMAT.write(paths.layouts / f"{image_id}.json", asdict(Layout(profiles=STOCK)))


def shown(found: Listing) -> str:
    return Terminal(200).text(profiles.rows(found))


def test_what_is_shown_of_each_profile(paths: Paths) -> None:
    looked_into(paths)
    known.remember(paths, Known(ASKED, "id"))
    paths.run.mkdir(parents=True, exist_ok=True)
    in_force = InForce("b", Result.APPLIED, "balanced", ASKED, "id", "", "2026-11-27T10:00:00Z")
    records.write(paths, Record(Result.APPLIED, "b", "b", in_force=in_force))
    assert shown(profiles.look(paths, None)).split("\n") == [
        f"  requested    site, named in {paths.recommend}",
        "  applied      balanced, since 2026-11-27T10:00:00Z",
        f"  image        {ASKED}",
        "",
        f"On this node, in {paths.profiles}:",
        "  balanced (applied)",
        f"{INDENT}It has no summary. Used in place of {BALANCED} of the image.",
        "  site (requested)",
        f"{INDENT}Of this site. Includes throughput, -x${{y}}.",
        "",
        f"In the image {ASKED}:",
        "  balanced",
        f"{INDENT}General non-specialized profile. {NOT_FIRST}.",
        "  balanced",
        f"{INDENT}Another one. {NOT_FIRST}.",
        "  throughput",
        f"{INDENT}Fast.",
    ]


@pytest.mark.parametrize("name", ["evil (applied)", "balanced\t(applied)", " (requested)", "böse"])
def test_a_name_that_is_none_cannot_look_like_a_row(paths: Paths, name: str) -> None:
    """A pod may give a folder any name, and include any."""
    put(profile(paths, name), "[main]\ninclude=x. Used in place of y of the image, -z (a)\n")
    lines = shown(profiles.look(paths, None)).split("\n")
    assert f"  {name!r}" in lines
    assert f"  {name}" not in lines
    # Neither of them ends as a row of the applied profile does.
    assert [it for it in lines if it.endswith(("(applied)", "(requested)"))] == [
        "  site (requested)"
    ]
    about = "It has no summary. Includes 'x. Used in place of y of the image', '-z (a)'."
    assert f"{INDENT}{about}" in lines


def test_for_programs(paths: Paths) -> None:
    looked_into(paths)
    known.remember(paths, Known(ASKED, "id"))
    found = json.loads(profiles.as_json(profiles.look(paths, None)))
    assert (found["requested"], found["named_in"]) == ("site", str(paths.recommend))
    assert (found["applied"], found["image"], found["is_known"]) == ("", ASKED, True)
    assert found["profiles"][0] == {
        "name": "balanced", "where": "node", "path": str(profile(paths, "balanced")),
        "summary": "", "includes": [], "shadows": "/usr/lib/tuned/balanced/tuned.conf",
        "used": True,
    }  # fmt: skip
    assert [(it["name"], it["where"], it["used"]) for it in found["profiles"][1:]] == [
        ("balanced", "image", False), ("balanced", "image", False), ("site", "node", True),
        ("throughput", "image", True),
    ]  # fmt: skip


def remembered(paths: Paths) -> None:
    known.remember(paths, Known(ASKED, "id"))


def worked(paths: Paths) -> None:
    lastgood.remember(paths, ASKED, "id")


def applied(paths: Paths) -> None:
    paths.run.mkdir(parents=True)
    in_force = InForce("b", Result.APPLIED, "site", ASKED, "id", "", "")
    records.write(paths, Record(Result.APPLIED, "b", "b", in_force=in_force))


@pytest.mark.parametrize("said_by", [remembered, worked, applied])
def test_the_image_is_found_in_what_was_recorded(
    paths: Paths, said_by: Callable[[Paths], None]
) -> None:
    looked_into(paths)
    assert not profiles.look(paths, None).is_known
    said_by(paths)
    assert profiles.look(paths, None).is_known


def test_podman_is_asked_only_if_no_record_says_which_image_it_is(paths: Paths) -> None:
    looked_into(paths)
    store = Store()
    store.images[ASKED] = "id"
    with listening(store.answer) as socket:
        put(paths.admin_conf, f"[podman]\nsocket = {socket}\n")
        assert profiles.look(paths, None).is_known
        assert store.requests != []
        store.requests.clear()
        worked(paths)
        assert profiles.look(paths, None).is_known
        assert store.requests == []


def test_an_image_that_was_never_looked_into(paths: Paths) -> None:
    put(profile(paths, "site"), "[main]\nsummary=x\n")
    found = profiles.look(paths, None)
    (note,) = found.notes
    assert note == (
        f"The profiles of the image {ASKED} are not known yet. "
        "To find out: ocp-tuned-boot image fetch"
    )
    assert "In the image" not in shown(found)
    # A profile in the wrong folder is found all the same.
    put(paths.recommend, "[edge]\n")
    put(paths.root / "etc/tuned/edge/tuned.conf", "")
    assert "The profile is in " in profiles.look(paths, None).notes[0]


def test_a_file_of_boot_conf_without_effect_is_a_note(paths: Paths) -> None:
    looked_into(paths)
    worked(paths)
    put(paths.admin_conf, f"[tuning]\nprofile = other\n[podman]\nsocket = {paths.root}/none\n")
    words = f"profile = other in {paths.admin_conf} has no effect: {paths.recommend} decides"
    assert profiles.look(paths, None).notes == (words,)
    # It is not said twice.
    put(paths.recommend, "[nowhere]\n")
    (note,) = profiles.look(paths, None).notes
    assert words in note


def test_a_requested_profile_that_does_not_exist_is_a_note(paths: Paths) -> None:
    looked_into(paths)
    worked(paths)
    put(paths.recommend, "[sit]\n")
    (note,) = profiles.look(paths, None).notes
    assert note.startswith('No profile "sit" in ')
    assert note.endswith("then: systemctl start ocp-tuned")
    applied(paths)
    (note,) = profiles.look(paths, None).notes
    assert note.endswith("then: systemctl reload ocp-tuned")
    assert 'Did you mean "site"?' in note


def test_what_cannot_be_read_is_a_note(paths: Paths) -> None:
    looked_into(paths)
    worked(paths)
    paths.recommend.unlink()
    put(paths.boot_id, "")
    paths.image_env.write_text("NTO_IM")
    put(paths.profiles / "balanced/x\udcff", "")
    put(paths.admin_conf, "[nowhere]\n")
    found = profiles.look(paths, None)
    assert found.requested == ""
    # What can be read is shown.
    assert {it.is_custom for it in found.profiles} == {False}
    for words in ("found the section [nowhere]", f"{paths.recommend}: there is no such file",
                  "found a file name that is not UTF-8"):  # fmt: skip
        assert [each for each in found.notes if words in each], found.notes
    assert "requested    none" in shown(found)


def test_without_a_request_and_without_profiles(tmp_path: Path) -> None:
    found = profiles.look(Paths(tmp_path), None)
    assert "On this node, in " in shown(found)
    assert "\n  none" in shown(found)
    assert found.image == ""
