"""The directories on the host, and the /etc/tuned made for the container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested.inputs import Inputs, profile_files
from ocp_tuned_boot.tuned import prepare
from ocp_tuned_boot.tuned.profilefile import ProfileFile


def inputs(*files: ProfileFile) -> Inputs:
    return Inputs("localhost/tuned", "site", "tuned", "boot", files=files)


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode & 0o7777,
            "" if path.is_dir() else path.read_text(),
        )
        for path in folder.rglob("*")
    }


def generate(paths: Paths, requested: Inputs, *arguments: Any) -> None:
    prepare.etc_tuned(paths, requested.profile, requested.files, *arguments)


def test_the_directories_are_made_once_and_then_left_as_they_are(tmp_path: Path) -> None:
    prepare.directories(Paths(tmp_path))
    made = tree(tmp_path)
    assert set(made) == {
        "run", "run/tuned", "run/ocp-tuned-boot", "var", "var/lib", "var/lib/tuned",
        "var/lib/ocp-tuned",
    }  # fmt: skip
    assert {mode for mode, _ in made.values()} == {0o755}
    (tmp_path / "var/lib/ocp-tuned").chmod(0o700)
    (tmp_path / "run/tuned/kept").touch()
    prepare.directories(Paths(tmp_path))
    assert (tmp_path / "var/lib/ocp-tuned").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "run/tuned/kept").exists()


def test_what_an_earlier_container_said_is_removed(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    prepare.directories(paths)
    paths.container_log.write_text("old")
    paths.tuned_log.write_text("old")
    prepare.directories(paths)
    assert not paths.container_log.exists()
    assert not paths.tuned_log.exists()


@pytest.mark.parametrize(
    "name", ["run/tuned", "run/ocp-tuned-boot", "var/lib/tuned", "var/lib/ocp-tuned"]
)
def test_a_link_in_the_way_is_refused_by_name(tmp_path: Path, name: str) -> None:
    root, target = tmp_path / "root", tmp_path / "target"
    target.mkdir()
    (root / name).parent.mkdir(parents=True)
    (root / name).symlink_to(target)
    with pytest.raises(HostError, match=f"cannot prepare the directory {root / name}: "):
        prepare.directories(Paths(root))
    assert list(target.iterdir()) == []


def test_the_pid_file_of_a_killed_tuned_is_removed_and_that_of_another_one_is_not(
    tmp_path: Path,
) -> None:
    paths = Paths(tmp_path)
    prepare.forget_tuned(paths)
    prepare.directories(paths)
    prepare.forget_tuned(paths)
    paths.own_pid.write_text("17")
    # Its process ID may be one of another PID namespace: nothing is concluded from it.
    paths.tuned_pid.write_text(f"{2**31 - 1}\n")
    prepare.forget_tuned(paths)
    assert not paths.own_pid.exists()
    assert paths.tuned_pid.read_text() == f"{2**31 - 1}\n"


@pytest.mark.parametrize("before", ["", "17\n"], ids=["none", "another TuneD's"])
def test_a_pid_file_that_our_tuned_writes_is_put_back_as_it_was(
    tmp_path: Path, before: str
) -> None:
    paths = Paths(tmp_path)
    prepare.directories(paths)
    if before:
        paths.tuned_pid.write_text(before)
    prepare.keep_pid_file(paths)
    # It writes its own, and is killed; or it removes the file when it exits.
    paths.tuned_pid.write_text("4711")
    prepare.forget_tuned(paths)
    prepare.forget_tuned(paths)
    assert (paths.tuned_pid.read_text() if before else paths.tuned_pid.exists()) == (before or 0)


def test_etc_tuned_is_what_tuned_needs_and_nothing_of_an_earlier_run(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    prepare.directories(paths)
    generate(paths, inputs(ProfileFile("gone/tuned.conf", b"")), {})
    asked = inputs(
        ProfileFile("site/tuned.conf", b"[main]\n"),
        ProfileFile("site/deep/script.sh", b"#!/bin/sh\n", 0o755),
    )
    generate(paths, asked, {"site-variables.conf": "a=1\n"})
    made = tree(paths.etc_tuned)
    assert made.pop("tuned-main.conf")[0] == 0o644
    assert made == {
        "active_profile": (0o644, ""),
        "bootcmdline": (0o644, ""),
        "profile_mode": (0o644, "auto\n"),
        "recommend.d": (0o755, ""),
        "recommend.d/00-ocp-tuned-boot.conf": (0o644, "[site]\n"),
        "site": (0o755, ""),
        "site/tuned.conf": (0o644, "[main]\n"),
        "site/deep": (0o755, ""),
        "site/deep/script.sh": (0o755, "#!/bin/sh\n"),
        "site-variables.conf": (0o644, "a=1\n"),
    }


def test_each_file_keeps_its_mode(tmp_path: Path) -> None:
    """A file with a password is not there for all to read."""
    paths = Paths(tmp_path)
    modes = {"script.sh": 0o700, "password": 0o600, "group": 0o640, "none": 0o000, "all": 0o777}
    for name, mode in modes.items():
        path = paths.profiles / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        path.chmod(mode)
    custom = tuple(profile_files(paths.profiles, paths.root))
    generate(paths, inputs(*custom), {})
    made = tree(paths.etc_tuned)
    assert {name: made[f"site/{name}"][0] for name in modes} == modes


def test_tuned_main_conf_makes_tuned_run_once_and_keep_its_settings(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    generate(paths, inputs(), {})
    lines = (paths.etc_tuned / "tuned-main.conf").read_text().splitlines()
    said = dict(line.split(" = ") for line in lines if not line.startswith("#"))
    assert said["daemon"] == "0"
    assert said["rollback"] == "not_on_exit"
    assert said["recommend_command"] == "1"
    # The custom profiles are in /etc/tuned, and win over stock profiles of the same name.
    assert said["profile_dirs"].split(",")[-1] == "/etc/tuned"


def test_a_profile_is_merged_over_the_requested_one(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    over = prepare.Overlay("ours", "[main]\n", reapply=False)
    generate(paths, inputs(), {}, over)
    assert "ours/tuned.conf" not in tree(paths.etc_tuned)
    prepare.lay_over(paths, "site", over)
    made = tree(paths.etc_tuned)
    assert made["ours/tuned.conf"] == (0o644, "[main]\n")
    assert made["recommend.d/00-ocp-tuned-boot.conf"][1] == "[site ours]\n"
    assert "reapply_sysctl = 0\n" in made["tuned-main.conf"][1]


def test_without_a_text_nothing_is_merged_over_it(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    generate(paths, inputs(), {}, prepare.Overlay("ours", ""))
    made = tree(paths.etc_tuned)
    assert "ours" not in made
    assert made["recommend.d/00-ocp-tuned-boot.conf"][1] == "[site]\n"
    assert "reapply_sysctl = 1\n" in made["tuned-main.conf"][1]


def test_a_link_in_the_place_of_etc_tuned_is_replaced_not_followed(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "root")
    target = tmp_path / "target"
    target.mkdir()
    (target / "kept").touch()
    paths.root.mkdir()
    prepare.directories(paths)
    paths.etc_tuned.symlink_to(target)
    generate(paths, inputs(), {})
    assert not paths.etc_tuned.is_symlink()
    assert [path.name for path in target.iterdir()] == ["kept"]
