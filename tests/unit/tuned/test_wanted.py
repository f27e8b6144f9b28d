"""The settings that a profile requests, from what TuneD said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ocp_tuned_boot.tuned import wanted
from ocp_tuned_boot.tuned.asked import Section
from ocp_tuned_boot.tuned.wanted import Setting
from tests.unit.tuned.asking import meaning, section


def test_the_settings_of_three_plugins_in_the_order_in_which_they_are_applied() -> None:
    found = wanted.settings(
        meaning(
            section("first", {"a": "1"}, "sysctl"),
            section("cpu", {"governor": "performance"}),
            section("vm", {"dirty_ratio": "5", "script_pre": "/x.sh"}),
            section("sysfs", {"/sys/a": "2"}),
        )
    )
    assert found == (
        Setting("sysctl", "a", "1", section="first"),
        Setting("vm", "dirty_ratio", "5", section="vm"),
        Setting("sysfs", "/sys/a", "2", section="sysfs"),
    )


def test_a_section_that_tuned_leaves_out_on_this_machine_requests_nothing() -> None:
    elsewhere = section("sysctl", {"a": "1"}, left_out="uname_regex")
    latency = section("cpu", {"force_latency": "1"}, left_out="enabled")
    said = meaning(elsewhere, latency)
    assert (wanted.settings(said), wanted.open_files(said), wanted.plugins(said)) == ((), (), {})


def test_only_for_sysctl_the_quotes_are_no_part_of_the_value() -> None:
    quoted = {"a": '"1 2"'}
    found = wanted.settings(meaning(*(section(name, quoted) for name in wanted.PLUGINS)))
    assert [it.value for it in found] == ["1 2", '"1 2"', '"1 2"']


def test_a_value_that_tuned_cannot_compute_is_not_known() -> None:
    (found,) = wanted.settings(meaning(section("sysctl", {"a": "${f:x}"}, unknown="no such f")))
    assert found.unknown == "no such f"


def test_what_is_too_much_is_reported_as_unknown() -> None:
    many = {f"k{number}": "1" for number in range(1001)}
    *first, last = wanted.settings(meaning(section("sysctl", many)))
    assert (len(first), last.plugin, last.key) == (1000, wanted.UNKNOWN, "1 more")
    wild = {f"/sys/{number}/*": "1" for number in range(40)}
    found = wanted.settings(meaning(section("sysfs", wild)))
    assert [it.plugin for it in found].count(wanted.UNKNOWN) == 8
    (left,) = wanted.settings(replace(meaning(), left=3))
    assert (left.plugin, left.key) == (wanted.UNKNOWN, "3 more")


LATENCY = section("cpu", {"force_latency": "7"})


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ([], []),
        ([LATENCY, section("rtentsk", {})], [("force_latency", "7"), ("rtentsk", "")]),
        # For the cpu plugin, quotes are a part of the value.
        ([section("cpu", {"force_latency": '"9"'})], [("force_latency", '"9"')]),
        # Only the first instance of the plugin is heard.
        ([section("a", {}, "cpu"), LATENCY], []),
        ([section("a", {"force_latency": "8"}, "cpu"), LATENCY], [("force_latency", "8")]),
        ([section("a", {}, "cpu", left_out="enabled"), LATENCY], [("force_latency", "7")]),
        ([section("a", {}, "rtentsk"), section("b", {}, "rtentsk")], [("rtentsk", "")]),
        ([section("cpu", {"force_latency": "7"}, devices="cpu1")],
         [("force_latency", "[cpu] has devices")]),
        ([section("a", {}, "rtentsk", conditions={"devices_udev_regex": "x"})],
         [("rtentsk", "[a] has devices_udev_regex")]),
    ],
)  # fmt: skip
def test_what_lasts_only_as_long_as_a_file_is_open(
    sections: list[Section], expected: list[tuple[str, str]]
) -> None:
    found = wanted.open_files(meaning(*sections))
    assert [(setting.key, setting.unknown or setting.value) for setting in found] == expected


def test_the_plugin_of_each_section() -> None:
    said = meaning(section("more", {}, "sysctl"), section("irqbalance", {}))
    assert wanted.plugins(said) == {"more": "sysctl", "irqbalance": "irqbalance"}


def test_sections_that_name_their_devices() -> None:
    said = meaning(
        replace(section("a", {"x": "1"}), devices="sda"),
        replace(section("b", {"x": "1"}), devices="!sda, !sdb"),
        replace(section("c", {"x": "1"}), devices="*"),
        replace(section("d", {"x": "1"}), conditions={"devices_udev_regex": "X=1"}),
        replace(section("e", {"x": "1"}), devices="!eth0;eth*"),
        replace(section("f", {"x": "1"}), devices=""),
        replace(section("g", {"x": "1"}), devices="sda", left_out="uname_regex"),
    )
    assert wanted.named_devices(said) == {"a", "e"}


def test_commands_that_the_profile_needs() -> None:
    apm = section("disk", {"apm": "128"})
    assert wanted.needed_commands(meaning(section("disk", {"readahead": "1"}))) == frozenset()
    assert wanted.needed_commands(meaning(section("other", {"apm": "1"}, "vm"))) == frozenset()
    assert wanted.needed_commands(meaning(replace(apm, left_out="enabled"))) == frozenset()
    assert wanted.needed_commands(meaning(apm)) == {"hdparm"}
