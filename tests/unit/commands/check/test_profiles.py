"""Mistakes in the text of profiles: each is found as exactly its kind, with file and line."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Optional

import pytest

from ocp_tuned_boot.commands.check import profiles, sysctls
from ocp_tuned_boot.commands.check.problem import Problem, Severity
from ocp_tuned_boot.commands.check.profiles import Sources
from ocp_tuned_boot.commands.check.request import Named
from ocp_tuned_boot.tuned.profilefile import ProfileFile

SOUND = {
    "ours/tuned.conf": """\
[main]
summary=ours
include=base,-may-be-missing,stock

[sysctl]
vm.swappiness=10
kernel.printk=3 4 1 7
vm.dirty_ratio=${ratio}

[more]
type=sysctl
net.core.somaxconn=>1024

[script]
script=${i:PROFILE_DIR}/script.sh
script_pre=${i:PROFILE_DIR}/../base/pre.sh
""",
    "ours/script.sh": "#!/bin/sh\n",
    "base/tuned.conf": "[disk]\nscript_post=/usr/lib/tuned/functions\n[script]\nscript=pre.sh\n",
    "base/pre.sh": "#!/bin/sh\n",
    "README": "about these\n",
}
STOCK = {"/usr/lib/tuned/stock/tuned.conf": "[main]\n", "/usr/lib/tuned/other/tuned.conf": ""}
CONF = SOUND["ours/tuned.conf"]


def plant(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        if text.startswith("#!"):
            path.chmod(0o755)


def found(folder: Path, stock: Optional[dict[str, str]] = None, profile: str = "") -> list[Problem]:
    files, problems = profiles.read(folder, folder)
    sources = Sources(folder, files, stock)
    return [*problems, *profiles.check(sources, Named(profile, "named", 7))]


def places(folder: Path, problems: list[Problem]) -> list[tuple[str, str, int]]:
    prefix = f"{folder}/"
    return [(each.kind, each.file.replace(prefix, ""), each.line) for each in problems]


@pytest.mark.parametrize("profile", ["", "ours", "stock"])
def test_sound_profiles_have_no_problem(tmp_path: Path, profile: str) -> None:
    plant(tmp_path, SOUND)
    assert found(tmp_path, STOCK, profile) == []


OURS = "ours/tuned.conf"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({OURS: CONF + "nonsense\n"}, [("profile-syntax", OURS, 17)]),
        ({OURS: "x=1\n" + CONF}, [("profile-syntax", OURS, 1)]),
        ({OURS: CONF + "[sysctl]\n"}, [("duplicate-section", OURS, 17)]),
        (
            {OURS: CONF.replace("[more]", "vm.swappiness=11\n[more]")},
            [("duplicate-key", OURS, 10)],
        ),
        ({OURS: CONF.replace("base,", "bases,")}, [("missing-include", OURS, 3)]),
        ({OURS: CONF.replace(",stock", ",ours")}, [("include-circle", OURS, 3)]),
        (
            {"base/tuned.conf": "[main]\ninclude=ours\n"},
            [("include-circle", "base/tuned.conf", 2), ("include-circle", OURS, 3)],
        ),
        ({OURS: CONF.replace("swappiness=10", "swappiness=-1")}, [("value-out-of-range", OURS, 6)]),
        ({OURS: CONF.replace("=>1024", "=many")}, [("value-out-of-range", OURS, 12)]),
        ({OURS: CONF.replace("/script.sh", "/scripts.sh")}, [("script-missing", OURS, 15)]),
        (
            {OURS: CONF.replace("script=${i:PROFILE_DIR}", "script=/usr/local/bin")},
            [("script-refused", OURS, 15)],
        ),
        (
            {OURS: CONF.replace("script=${i:PROFILE_DIR}", "script=/var/lib/ocp-tuned/profiles")},
            [("script-refused", OURS, 15)],
        ),
        (
            {OURS: CONF.replace("script_pre=${i:PROFILE_DIR}/", "script_pre=")},
            [("script-refused", OURS, 16)],
        ),
        ({"ours/script.sh": "#!/bin/sh\r\n"}, [("script-no-interpreter", "ours/script.sh", 1)]),
        ({"lone.conf": "[main]\n"}, [("profile-not-in-folder", "lone.conf", 1)]),
        ({"tuned.conf": "[main]\n"}, [("profile-not-in-folder", "tuned.conf", 1)]),
        ({"base/deep/tuned.conf": "[main]\n"}, [("profile-too-deep", "base/deep/tuned.conf", 1)]),
        ({"empty/x": ""}, [("no-tuned-conf", "empty", 0)]),
        ({"with space/tuned.conf": ""}, [("profile-name", "with space/tuned.conf", 1)]),
        ({"stock/tuned.conf": "[main]\n"}, [("shadowed-stock-profile", "stock/tuned.conf", 1)]),
    ],
)
def test_one_mistake_is_one_problem(
    tmp_path: Path, files: dict[str, str], expected: list[tuple[str, str, int]]
) -> None:
    plant(tmp_path, {**SOUND, **files})
    assert places(tmp_path, found(tmp_path, STOCK)) == expected


def test_a_script_that_cannot_be_run(tmp_path: Path) -> None:
    plant(tmp_path, SOUND)
    (tmp_path / "ours/script.sh").chmod(0o644)
    (tmp_path / "base/pre.sh").write_text("echo\n")
    assert set(places(tmp_path, found(tmp_path, STOCK))) == {
        ("script-no-interpreter", "base/pre.sh", 1),
        ("script-not-executable", "ours/script.sh", 1),
    }


def test_what_keeps_all_profiles_from_being_read(tmp_path: Path) -> None:
    plant(tmp_path, SOUND)
    (tmp_path / OURS).write_bytes(b"[main]\nsummary=\xff\n")
    assert places(tmp_path, found(tmp_path)) == [("profiles-unreadable", OURS, 2)]
    plant(tmp_path, {**SOUND, "recommend.d/tuned.conf": ""})
    problems = places(tmp_path, found(tmp_path))
    assert problems == [("profiles-unreadable", "recommend.d/tuned.conf", 0)]


def test_a_profile_that_extends_the_stock_one_of_its_name(tmp_path: Path) -> None:
    plant(tmp_path, {"stock/tuned.conf": "[main]\ninclude=stock\n"})
    assert found(tmp_path, STOCK) == []


def test_the_requested_profile_that_does_not_exist(tmp_path: Path) -> None:
    plant(tmp_path, SOUND)
    (problem,) = found(tmp_path, STOCK, "our")
    assert (problem.kind, problem.file, problem.line) == ("unknown-profile", "named", 7)


def test_without_the_image_what_may_be_in_it_is_not_known(tmp_path: Path) -> None:
    plant(tmp_path, SOUND)
    problems = found(tmp_path, None, "elsewhere")
    assert places(tmp_path, problems) == [("not-checked", OURS, 3), ("not-checked", "named", 7)]


def test_a_mistake_in_a_profile_that_is_not_reached_is_a_warning(tmp_path: Path) -> None:
    plant(tmp_path, {**SOUND, "third/tuned.conf": "[main]\ninclude=nothing\n"})
    (problem,) = found(tmp_path, STOCK, "ours")
    assert (problem.kind, problem.severity) == ("missing-include", Severity.WARNING)
    (problem,) = found(tmp_path, STOCK, "third")
    assert problem.severity is Severity.ERROR


def test_a_diamond_of_includes_is_no_circle(tmp_path: Path) -> None:
    tops = {f"{name}/tuned.conf": "[main]\ninclude=d\n" for name in "bc"}
    plant(tmp_path, {**tops, "a/tuned.conf": "[main]\ninclude=b,c\n", "d/tuned.conf": "[main]\n"})
    assert found(tmp_path, STOCK) == []


@pytest.mark.parametrize(
    "text", ["[main]\nx=1\n" + " y\n" * 300_000, "[a]\n[b]\n" * 120_000, "[" * 1_000_000]
)
def test_a_profile_of_any_size_is_read_in_time(tmp_path: Path, text: str) -> None:
    """A pod may write it. What takes quadratic time would take hours."""
    plant(tmp_path, {"ours/tuned.conf": text})
    started = time.process_time()
    problems = found(tmp_path, STOCK)
    assert time.process_time() - started < 60
    assert "profiles-unreadable" not in {each.kind for each in problems}
    assert len(problems) <= 101


@pytest.mark.parametrize(
    ("key", "value", "is_refused"),
    [
        ("vm.swappiness", "200", False),
        ("vm/swappiness", "201", True),
        ("vm.swappiness", '"10"', False),
        ("vm.swappiness", "0x0a", False),
        ("vm.swappiness", "0400", True),
        ("vm.swappiness", "10|20", False),
        ("vm.swappiness", "<300", True),
        ("vm.swappiness", "", True),
        ("vm.swappiness", "${x}", False),
        ("kernel.sched_rt_runtime_us", "-1", False),
        ("kernel.core_pattern", "core", False),
    ],
)
def test_values_that_are_documented(key: str, value: str, is_refused: bool) -> None:
    assert bool(sysctls.refused(key, value)) is is_refused


@pytest.mark.parametrize("many", ["all in a circle", "none"])
def test_many_profiles_that_include_many_take_no_time(many: str) -> None:
    """A pod may write them."""
    number = 1000
    names = [f"p{at}" for at in range(number)]
    files = tuple(
        ProfileFile(
            f"{name}/tuned.conf",
            b"[main]\ninclude="
            + ",".join(
                names[(at + step) % number] if many != "none" else names[min(at + step, number - 1)]
                for step in range(1, 101)
            ).encode()
            + b"\n",
        )
        for at, name in enumerate(names)
    )
    began = time.process_time()
    found = list(profiles.check(Sources(Path("/x"), files, {}), Named()))
    assert time.process_time() - began < 30
    circles = {(each.file, each.message) for each in found if each.kind == "include-circle"}
    assert len(circles) == (200 if many != "none" else 1)
