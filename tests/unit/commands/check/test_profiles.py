"""Mistakes in the text of profiles: each is found as exactly its kind, with file and line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Optional

import pytest

from ocp_tuned_boot.commands.check import look, profiles, sysctls
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


@pytest.mark.parametrize(
    ("value", "severity"),
    [
        ("1000", Severity.ERROR),
        ("abc", Severity.ERROR),
        ("abc\n[more]\nenabled=0", Severity.ERROR),
        # TuneD may leave out the section.
        ("abc\nenabled=${x}", Severity.WARNING),
        ("abc\nuname_regex=lab", Severity.WARNING),
        ("abc\ncpuinfo_regex=lab", Severity.WARNING),
        # TuneD writes a limit only if the kernel's value is beyond it; of alternatives, any one.
        ("<1000", Severity.WARNING),
        (">abc", Severity.WARNING),
        ("10|1000", Severity.WARNING),
    ],
)
def test_a_value_that_no_kernel_takes_is_an_error_if_it_is_written(
    tmp_path: Path, value: str, severity: Severity
) -> None:
    plant(tmp_path, {"ours/tuned.conf": f"[sysctl]\nvm.swappiness={value}\n"})
    (problem,) = found(tmp_path)
    assert (problem.kind, problem.severity) == ("value-out-of-range", severity)


def test_a_value_that_does_not_count_is_no_error(tmp_path: Path) -> None:
    plant(tmp_path, {"ours/tuned.conf": "[sysctl]\nvm.swappiness=abc\nvm.swappiness=1\n"})
    assert {(it.kind, it.severity) for it in found(tmp_path)} == {
        ("duplicate-key", Severity.WARNING), ("value-out-of-range", Severity.WARNING),
    }  # fmt: skip


# A pod may write 500 profiles and more, of any content.


def made(includes: dict[str, list[str]]) -> Sources:
    """Profiles that include these, and nothing else; the image has none."""
    files = (
        ProfileFile(f"{name}/tuned.conf", f"[main]\ninclude={','.join(them)}\n".encode())
        for name, them in includes.items()
    )
    return Sources(Path("/x"), tuple(files), {})


def ring(number: int, each: int) -> dict[str, list[str]]:
    """Each profile includes the next ones; all of them are in one circle."""
    names = [f"p{at}" for at in range(number)]
    return {
        name: [names[(at + step) % number] for step in range(1, each + 1)]
        for at, name in enumerate(names)
    }


def chain(number: int, each: int) -> dict[str, list[str]]:
    """The same without a circle."""
    names = [f"p{at}" for at in range(number)]
    return {name: names[at + 1 : at + 1 + each] for at, name in enumerate(names)}


def pairs(number: int, _: int) -> dict[str, list[str]]:
    """Two and two include each other."""
    return {f"p{at}": [f"p{at ^ 1}"] for at in range(number)}


def star(number: int, _: int) -> dict[str, list[str]]:
    """All include one, which includes all of them."""
    others = [f"p{at}" for at in range(1, number)]
    return {"p0": others, **{name: ["p0"] for name in others}}


def steps(function: Callable[[], object]) -> int:
    """How many instructions of Python run; what is written in C is one of them."""
    number = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal number
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        number += event == "opcode"
        return trace

    before = sys.gettrace()
    # Python 3.12 looks for this in a frame only when tracing begins.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return number


@pytest.mark.parametrize("shape", [ring, chain, pairs, star])
@pytest.mark.parametrize("task", ["check", "top"])
def test_the_work_grows_with_the_number_of_includes_and_not_faster(
    shape: Callable[[int, int], dict[str, list[str]]], task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times as many profiles; what grows with the square takes sixteen times as much."""
    monkeypatch.setattr(profiles, "_STEPS", 200)

    def work(number: int) -> int:
        sources = made(shape(number, 10))
        if task == "top":
            return steps(lambda: look.top(sources))
        return steps(lambda: list(profiles.check(sources, Named("p1"))))

    few, many = work(50), work(200)
    assert few > 0
    assert many <= 5 * few


def test_ways_are_looked_for_only_so_often() -> None:
    """A step is an include that is followed."""
    sources = made(ring(60, 50))
    walk = profiles.Walk(sources)
    follows = {path: Counted(them) for path, them in walk._follows.items()}
    walk._follows = dict(follows)
    found = [it for name in sources.custom for it in walk.includes(name)]
    assert len(found) == 60 * 50
    assert sum(each.number for each in follows.values()) <= profiles._STEPS + len(found)
    assert "→" in found[0].message
    assert "→" not in found[-1].message


def test_the_ways_of_the_requested_profile_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = made(ring(60, 50))
    monkeypatch.setattr(profiles, "_STEPS", 6000)
    found = list(profiles.check(sources, Named("p59")))
    assert all("→" in it.message for it in circles(found, "p59"))
    assert not any("→" in it.message for it in circles(found, "p58"))


class Counted(list[str]):
    """Counts what is read of it."""

    number = 0

    def __iter__(self) -> Iterator[str]:
        for each in super().__iter__():
            self.number += 1
            yield each


def circles(problems: Iterable[Problem], name: str) -> list[Problem]:
    return [
        it for it in problems
        if it.kind == "include-circle" and it.file == f"/x/{name}/tuned.conf"
    ]  # fmt: skip


def left_out(problems: Iterable[Problem]) -> dict[str, str]:
    """The profiles of which not all problems are shown, and the words that say so."""
    return {
        it.file.split("/")[2]: it.message for it in problems
        if it.kind == "not-checked" and "not shown" in it.message
    }  # fmt: skip


def test_every_circle_is_reported() -> None:
    found = list(profiles.check(made(ring(500, 3)), Named()))
    assert {len(circles(found, f"p{at}")) for at in range(500)} == {3}
    assert left_out(found) == {}


def test_what_is_not_shown_is_said_in_words_and_more_is_shown_of_the_requested_profile() -> None:
    most = profiles._MOST
    sources = made({**ring(300, 150), "other": [f"none{at}" for at in range(most + 1)]})
    found = list(profiles.check(sources, Named("p299")))
    assert len(circles(found, "p299")) == 150
    assert {len(circles(found, f"p{at}")) for at in range(299)} == {most}
    words = left_out(found)
    assert set(words) == {*(f"p{at}" for at in range(299)), "other"}
    assert words["p7"] == f"The profile 'p7': {150 - most} more problems are not shown"
    assert words["other"] == "The profile 'other': 1 more problem is not shown"


def test_of_the_requested_profile_not_every_one_of_a_million_mistakes_is_shown() -> None:
    sources = Sources(
        Path("/x"), (ProfileFile("ours/tuned.conf", b"[main]\n" + b"x\n" * 1001),), {}
    )
    found = list(profiles.check(sources, Named("ours")))
    assert len(found) == profiles._MOST_REQUESTED + 1
    assert left_out(found) == {"ours": "The profile 'ours': 1 more problem is not shown"}


def test_an_error_is_shown_before_any_number_of_warnings() -> None:
    many = "vm.swappiness=1\n" * 1000
    text = f"[main]\ninclude=none\n[sysctl]\n{many}"
    sources = Sources(Path("/x"), (ProfileFile("ours/tuned.conf", text.encode()),), {})
    found = list(profiles.check(sources, Named()))
    assert found[0].kind == "missing-include"
    assert len(found) == profiles._MOST + 1


@pytest.mark.parametrize("at", [0, 99, 100, 5000])
def test_an_include_is_followed_however_many_there_are(at: int) -> None:
    names = [f"q{each}" for each in range(5001)]
    there: dict[str, list[str]] = {name: [] for name in names}
    sources = made({"ours": names, **there, names[at]: ["missing"]})
    (problem,) = profiles.check(sources, Named("ours"))
    assert (problem.kind, problem.severity) == ("missing-include", Severity.ERROR)


def test_a_script_is_found_however_many_files_and_scripts_there_are() -> None:
    class Name(str):
        asked = 0

        def __format__(self, how: str) -> str:
            Name.asked += 1
            return super().__format__(how)

    number = 300
    sections = "".join(f"[s{at}]\nscript=${{i:PROFILE_DIR}}/last.sh\n" for at in range(number))
    others = [ProfileFile(Name(f"ours/f{at}"), b"") for at in range(number)]
    files = (
        ProfileFile("ours/tuned.conf", sections.encode()), *others,
        ProfileFile("ours/last.sh", b"#!/bin/sh\n", 0o755),
    )  # fmt: skip
    assert list(profiles.check(Sources(Path("/x"), files, {}), Named())) == []
    assert Name.asked <= 10 * number


def test_a_profile_whose_name_begins_with_a_dash() -> None:
    """In an include it would mean that the profile may be missing."""
    (problem,) = profiles.check(made({"-x": ["-x", "none"]}), Named())
    assert problem.kind == "missing-include"
