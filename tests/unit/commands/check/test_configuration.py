"""Mistakes in boot.conf: each is found with its file and line, and a sound one has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocp_tuned_boot.commands.check import configuration
from ocp_tuned_boot.commands.check.problem import Problem
from ocp_tuned_boot.host.paths import Paths

VENDOR = Path(__file__).resolve().parents[4] / "packaging/boot.conf"
SOUND = f"""\
# of this site
[tuning]
image = registry.example/tuned@sha256:{"0" * 64}
profile = ours
gate = closed
timeout = 120
tuned_timeout = 90
[image]
require_digest = yes
"""
ADMIN, DROP_IN = "boot.conf", "boot.conf.d/10-site.conf"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    paths.vendor_conf.parent.mkdir(parents=True)
    paths.vendor_conf.write_bytes(VENDOR.read_bytes())
    paths.admin_conf.with_name("boot.conf.d").mkdir(parents=True)
    paths.admin_conf.write_text(SOUND)
    return paths


def written(paths: Paths, name: str, text: str) -> str:
    path = paths.admin_conf.parent / name
    path.write_text(text)
    return str(path)


def found(paths: Paths, *, requested: bool = True) -> list[Problem]:
    known, problems = configuration.read(paths, None)
    return [
        *problems, *configuration.ignored(paths),
        *configuration.together(known, requested=requested),
    ]  # fmt: skip


def places(problems: list[Problem]) -> list[tuple[str, str, int]]:
    return [(each.kind, each.file, each.line) for each in problems]


def test_a_sound_boot_conf_has_no_problem(paths: Paths) -> None:
    written(paths, DROP_IN, "[metrics]\ntextfile = /var/lib/x/y.prom\n")
    assert found(paths) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[tuning]\ngate = shut\n", 2),
        ("[tuning]\n\ntimeout = soon\n", 3),
        ("[tuning]\ngates = open\n", 2),
        ("[image]\npull = never\n[tunings]\ngate = open\n", 3),
        ("[tuning]\ngate = open\ngate = closed\n", 3),
        ("[tuning]\ngate = open\n[image]\n[tuning]\n", 4),
        ("gate = closed\n", 1),
        ("[tuning]\nnonsense\n", 2),
        ("[tuning]\n[[inner]]\n", 2),
        ("[handover]\nsysctls = vm.swappiness, no\n", 2),
    ],
)
def test_a_line_that_is_not_valid(paths: Paths, text: str, line: int) -> None:
    file = written(paths, DROP_IN, text)
    assert places(found(paths)) == [("boot-conf-invalid", file, line)]


def test_every_line_of_a_file_that_is_not_valid(paths: Paths) -> None:
    text = "[tuning]\ngate = shut\nlate = soon\n[nothing]\nx = 1\n[image]\nkeep = all\n"
    file = written(paths, DROP_IN, text)
    lines = [(each.file, each.line) for each in found(paths)]
    assert lines == [(file, 2), (file, 3), (file, 4), (file, 7)]


def test_bytes_that_are_not_text(paths: Paths) -> None:
    path = paths.admin_conf.parent / DROP_IN
    path.write_bytes(b"[tuning]\nprofile = \xff\n")
    assert places(found(paths)) == [("boot-conf-invalid", str(path), 2)]


def test_a_link_to_nothing_and_a_named_file_that_is_missing(paths: Paths, tmp_path: Path) -> None:
    link = paths.admin_conf.parent / DROP_IN
    link.symlink_to("nowhere")
    assert places(found(paths)) == [("boot-conf-invalid", str(link), 0)]
    _, problems = configuration.read(paths, tmp_path / "none.conf")
    assert places(problems) == [("boot-conf-invalid", str(tmp_path / "none.conf"), 0)]


@pytest.mark.parametrize("name", ["site", ".site.conf", "site.cfg"])
def test_a_drop_in_that_is_not_read(paths: Paths, name: str) -> None:
    file = written(paths, f"boot.conf.d/{name}", "[tuning]\ngate = open\n")
    assert places(found(paths)) == [("drop-in-ignored", file, 0)]


def test_a_folder_in_the_place_of_boot_conf(paths: Paths) -> None:
    paths.admin_conf.unlink()
    paths.admin_conf.mkdir()
    assert places(found(paths)) == [("boot-conf-invalid", str(paths.admin_conf), 0)]


def test_a_folder_that_looks_like_a_drop_in(paths: Paths) -> None:
    folder = paths.admin_conf.parent / DROP_IN
    folder.mkdir()
    assert places(found(paths)) == [("drop-in-ignored", str(folder), 0)]


@pytest.mark.parametrize("name", [".site.conf.swp", "site.conf~", "README", "site.conf.rpmsave"])
def test_what_nobody_expects_to_be_read(paths: Paths, name: str) -> None:
    written(paths, f"boot.conf.d/{name}", "x")
    assert found(paths) == []


def test_a_drop_in_that_is_masked(paths: Paths) -> None:
    (paths.admin_conf.parent / DROP_IN).symlink_to("/dev/null")
    assert found(paths) == []


def test_tuned_gets_more_time_than_the_run(paths: Paths) -> None:
    file = written(paths, DROP_IN, "[tuning]\ntimeout = 100\ntuned_timeout = 101\n")
    assert places(found(paths)) == [("conflicting-timeouts", file, 3)]


def test_the_default_of_tuned_timeout_is_no_mistake(paths: Paths) -> None:
    paths.admin_conf.write_text("[tuning]\ntimeout = 30\n")
    assert found(paths) == []


def test_a_closed_gate_without_a_request(paths: Paths) -> None:
    assert places(found(paths, requested=False)) == [
        ("gate-without-request", str(paths.admin_conf), 5)
    ]


def test_what_is_valid_counts_although_something_else_is_not(paths: Paths) -> None:
    written(paths, DROP_IN, "[tuning]\ngate = shut\nprofile = other\n")
    known, _ = configuration.read(paths, None)
    assert (known.config.gate, known.config.profile, known.is_valid) == ("closed", "other", False)
