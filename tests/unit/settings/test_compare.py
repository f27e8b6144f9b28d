"""Whether settings are in effect: TuneD's comparison and that of this program, together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record.model import Hold, Standing, State, Value
from ocp_tuned_boot.settings import compare
from ocp_tuned_boot.settings.residue import Settings
from ocp_tuned_boot.tuned import wanted
from ocp_tuned_boot.tuned.asked import Comparison, Section
from ocp_tuned_boot.tuned.said import About, Said
from tests.unit.tuned.asking import held, meaning, message, section

KNOB = "/proc/sys/vm/x"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    knob = tmp_path / KNOB[1:]
    knob.parent.mkdir(parents=True)
    knob.write_text("5\n")
    (tmp_path / "run/ocp-tuned-boot").mkdir(parents=True)
    return Paths(tmp_path)


def row(state: str, found: str = "", section: str = "sysctl", option: str = "vm.x", **more: str
        ) -> Comparison:  # fmt: skip
    return Comparison(section, section, option, state, found=found, **more)


def compared(
    paths: Paths, sections: list[Section], rows: list[Comparison], states: tuple[State, ...] = ()
) -> list[Value]:
    said = meaning(*sections)
    profile = compare.Requested(wanted.settings(said), said, held(*rows))
    return list(compare.compare(paths, Settings("b"), profile, (), states)[0])


def one(paths: Paths, value: str, *rows: Comparison) -> tuple[str, str]:
    """State and judge of vm.x, which has the value 5."""
    (found,) = compared(paths, [section("sysctl", {"vm.x": value})], list(rows))
    assert (found.section, found.plugin, found.path) == ("sysctl", "sysctl", KNOB)
    return found.state, found.by


def test_it_is_verified_if_one_of_both_finds_it_equal(paths: Paths) -> None:
    assert one(paths, "5", row("failed", "5")) == ("verified", "ocp-tuned-boot")
    assert one(paths, "five", row("passed", "5")) == ("verified", "tuned")
    assert one(paths, "5", row("passed", "5")) == ("verified", "tuned, ocp-tuned-boot")
    assert one(paths, "5") == ("verified", "ocp-tuned-boot")


def test_it_is_different_only_if_both_do_not(paths: Paths) -> None:
    assert one(paths, "7", row("failed", "5")) == ("different", "tuned, ocp-tuned-boot")
    # TuneD has not compared it.
    assert one(paths, "7", row("unchecked")) == ("different", "ocp-tuned-boot")
    assert one(paths, "7") == ("different", "ocp-tuned-boot")


def test_what_has_changed_since_tuned_compared_it_is_different(paths: Paths) -> None:
    assert one(paths, "7", row("passed", "7")) == ("different", "ocp-tuned-boot")


def test_what_this_machine_does_not_have_is_not_applicable(paths: Paths) -> None:
    (paths.root / KNOB[1:]).unlink()
    assert one(paths, "7", row("not-applicable", why="No such file")) == ("not-applicable", "")


def test_the_rows_of_another_section_do_not_count(paths: Paths) -> None:
    assert one(paths, "7", row("passed", "5", section="more"))[0] == "different"


def test_each_file_that_a_wildcard_matches_has_its_row(paths: Paths) -> None:
    for name in ("a", "b"):
        file = paths.root / f"sys/{name}/x"
        file.parent.mkdir(parents=True)
        file.write_text("on\n")
    rows = [
        row("passed", "on", "sysfs", "/sys/*/x", device="/sys/a/x"),
        row("failed", "on", "sysfs", "/sys/*/x", device="/sys/b/x"),
    ]
    found = compared(paths, [section("sysfs", {"/sys/*/x": "full"})], rows)
    assert [(it.key, it.state) for it in found] == [
        ("/sys/a/x", "verified"), ("/sys/b/x", "different"),
    ]  # fmt: skip


GOVERNOR = section("cpu", {"governor": "performance", "load_threshold": "0.3"})


def plugin(paths: Paths, *rows: Comparison) -> Value:
    """How the governor is judged."""
    parameter = row("parameter", section="cpu", option="load_threshold")
    (found,) = compared(paths, [GOVERNOR], [parameter, *rows])
    assert (found.key, found.section, found.plugin) == ("cpu.governor", "cpu", "cpu")
    return found


def governor(state: str, found: str = "", **more: str) -> Comparison:
    return row(state, found, "cpu", "governor", **more)


def test_what_only_tuned_compares_is_one_value_for_all_devices(paths: Paths) -> None:
    every = [governor("passed", "performance", device=f"cpu{number}") for number in range(3)]
    found = plugin(paths, *every)
    assert (found.state, found.found, found.by) == ("verified", "performance", "tuned")
    worse = [replace(each, state="failed", found="powersave") for each in every[1:]]
    found = plugin(paths, every[0], *worse)
    assert (found.state, found.found) == ("different", "cpu1: powersave and 1 more")
    found = plugin(paths, governor("not-applicable", why="no cpufreq"))
    assert (found.state, found.why, found.by) == ("not-applicable", "no cpufreq", "")


def test_what_the_program_in_the_container_compares_instead_of_tuned(paths: Paths) -> None:
    ours = governor("passed", "performance", by="ocp-tuned-boot")
    assert plugin(paths, ours).by == "ocp-tuned-boot"
    both = plugin(paths, ours, governor("passed", "performance"))
    assert (both.state, both.by) == ("verified", "tuned, ocp-tuned-boot")
    # A part that others own counts, unless another one is different.
    owned = governor("handed-over", why="on the hand-over list: /x")
    found = plugin(paths, ours, owned)
    assert (found.state, found.why, found.by) == ("handed-over", owned.why, "")
    assert plugin(paths, replace(ours, state="failed"), owned).state == "different"


def test_what_nobody_compares_is_named_with_the_reason(paths: Paths) -> None:
    found = plugin(paths, governor("unchecked", why="TuneD does not compare it"))
    assert (found.state, found.why) == ("unchecked", "TuneD does not compare it")
    assert plugin(paths).why == "TuneD has not compared it"
    # A row without an option is about the whole section.
    found = plugin(paths, row("failed", section="cpu", option="", why="it says so"))
    assert (found.state, found.why) == ("different", "it says so")


def test_why_tuned_has_not_compared_is_a_reason_for_each_setting() -> None:
    unheld = json.dumps(
        {"version": 1, "kind": "unverified", "reason": "boot.conf sets verify = no"}
    )
    what = Said(About("b", "i", "f"), message(meaning(GOVERNOR)), unheld.encode())
    found = compare.judged(Paths(Path("/nowhere")), compare.requested(what), (), ())
    why = "TuneD has not compared it: boot.conf sets verify = no"
    assert {(it.key, it.state, it.why) for it in found} >= {("cpu.governor", "unchecked", why)}


def test_scripts_of_a_section_are_named_too(paths: Paths) -> None:
    rows = [row("unchecked", option="script_pre", why="the script would run again")]
    found = compared(paths, [section("sysctl", {"script_pre": "/x.sh"})], rows)
    assert [(it.key, it.state) for it in found] == [("sysctl.script_pre", "unchecked")]


@pytest.mark.parametrize(
    ("standing", "state"), [(Standing.IN_FORCE, "verified"), (Standing.LOST, "unchecked")]
)
def test_what_systemd_holds_is_in_effect_while_it_does(
    paths: Paths, standing: Standing, state: str
) -> None:
    latency = State(Hold("force_latency", "7", "7", "12:00"), standing, "it is gone")
    rows = [row("unchecked", section="cpu", option="force_latency", why="TuneD cannot")]
    sections = [section("cpu", {"force_latency": "7"})]
    (found,) = compared(paths, sections, rows, (latency,))
    assert found.state == state
    assert ("it is gone" in found.why) == (state == "unchecked")


def test_of_a_profile_that_tuned_could_not_say_nothing_is_verified(paths: Paths) -> None:
    profile = compare.requested(None, "the image has no Python")
    found, _ = compare.compare(paths, Settings("b"), profile, ())
    assert [(it.state, it.why) for it in found] == [("unchecked", "the image has no Python")]


def test_an_option_of_a_module_that_is_not_loaded_is_not_different(paths: Paths) -> None:
    sections = [section("modules", {"kvm": "nx_huge_pages=0"})]
    rows = [row("failed", "", "modules", "kvm", expected="nx_huge_pages=0")]
    (found,) = compared(paths, sections, rows)
    assert (found.state, found.why) == (
        "unchecked", "the module is not loaded, or has no such parameter",
    )  # fmt: skip
    loaded = [row("failed", "nx_huge_pages=1", "modules", "kvm", expected="nx_huge_pages=0")]
    (found,) = compared(paths, sections, loaded)
    assert found.state == "different"
