"""Mistakes in what is requested: each is found with its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocp_tuned_boot.commands.check import configuration, request
from ocp_tuned_boot.host.paths import Paths

Places = list[tuple[str, str, int]]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    for folder in (paths.recommend.parent, paths.profiles, paths.admin_conf.parent):
        folder.mkdir(parents=True)
    paths.image_env.write_text("# the image\nNTO_IMAGE=registry.example/tuned:1\n")
    paths.recommend.write_text("# the profile\n[ours]\n")
    return paths


def found(paths: Paths, *instead: str) -> Places:
    known, _ = configuration.read(paths, None)
    _, problems = request.read(paths, known, *instead)
    return [(each.kind, each.file, each.line) for each in problems]


def test_a_sound_request_has_no_problem_and_its_places(paths: Paths) -> None:
    known, _ = configuration.read(paths, None)
    wanted, problems = request.read(paths, known)
    assert problems == []
    assert (wanted.image.value, wanted.image.line) == ("registry.example/tuned:1", 2)
    assert (wanted.profile.value, wanted.profile.line) == ("ours", 2)
    assert (wanted.image.file, wanted.profile.file) == (str(paths.image_env), str(paths.recommend))


@pytest.mark.parametrize(
    ("text", "line"),
    [("", 1), ("NTO_IMAGE=registry.example/tuned:1", 1), ("\nNTO_IMAGE='x\n", 2), ("A=1\n", 1)],
)
def test_an_image_env_that_is_not_valid(paths: Paths, text: str, line: int) -> None:
    paths.image_env.write_text(text)
    assert found(paths) == [("image-env-invalid", str(paths.image_env), line)]


@pytest.mark.parametrize(
    ("text", "line"), [("", 1), ("# none\nours\n", 2), ("[ours]\nx=1\n", 2), ("[../x]\n", 1)]
)
def test_a_recommend_file_that_is_not_valid(paths: Paths, text: str, line: int) -> None:
    paths.recommend.write_text(text)
    assert found(paths) == [("recommend-invalid", str(paths.recommend), line)]


def test_a_link_in_the_place_of_a_file(paths: Paths) -> None:
    paths.recommend.unlink()
    paths.recommend.symlink_to("elsewhere")
    assert found(paths) == [("recommend-invalid", str(paths.recommend), 1)]


def test_nothing_is_requested(paths: Paths) -> None:
    paths.image_env.unlink()
    paths.recommend.unlink()
    assert found(paths) == [("nothing-requested", "", 0)]
    assert found(paths, "registry.example/tuned:2", "other") == []


def test_a_half_of_the_request_is_missing(paths: Paths) -> None:
    paths.recommend.unlink()
    assert found(paths) == [("half-requested", str(paths.image_env), 2)]
    paths.recommend.write_text("[ours]\n")
    paths.image_env.unlink()
    assert found(paths) == [("half-requested", str(paths.recommend), 1)]


def test_boot_conf_does_not_count_beside_the_agents_files(paths: Paths) -> None:
    paths.admin_conf.write_text("[tuning]\nprofile = mine\n\nimage = registry.example/tuned:3\n")
    file = str(paths.admin_conf)
    assert sorted(found(paths)) == [("overruled", file, 2), ("overruled", file, 4)]
    # The same said twice is no mistake.
    paths.admin_conf.write_text("[tuning]\nprofile = ours\n")
    assert found(paths) == []


def test_an_image_by_tag_where_a_digest_is_required(paths: Paths) -> None:
    paths.admin_conf.write_text("[image]\nrequire_digest = yes\n")
    assert found(paths) == [("digest-required", str(paths.image_env), 2)]


@pytest.mark.parametrize("key", ["on_change", "reapply_sysctl"])
def test_a_word_of_the_agent_that_is_not_known(paths: Paths, key: str) -> None:
    paths.admin_conf.write_text(f"[tuning]\n{key} = agent\n")
    file = paths.agent / key
    file.write_text("perhaps\n")
    assert found(paths) == [("agent-word", str(file), 1)]


def test_the_word_of_the_agent_counts(paths: Paths) -> None:
    (paths.agent / "reapply_sysctl").write_text("false\n")
    known, _ = configuration.read(paths, None)
    assert request.read(paths, known)[0].reapply is False
