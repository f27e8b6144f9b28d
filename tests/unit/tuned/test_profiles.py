"""The settings that a profile requests. tests/lab/test_profiles.py compares them with TuneD's own,
for every stock profile of two versions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot.tuned import profiles
from ocp_tuned_boot.tuned.profiles import Setting

COMPUTED = "an include= with a computed name may have changed it"


def asked(*texts: str, **files: str) -> list[tuple[str, str]]:
    """The keys and values of a profile `x` whose file is the first text; `base` is the second."""
    known = {f"/etc/tuned/{name}/tuned.conf": text for name, text in zip(("x", "base"), texts)}
    known.update((f"/etc/tuned/{name}.conf", text) for name, text in files.items())
    return [
        (setting.key, setting.unknown or setting.value) for setting in profiles.resolve("x", known)
    ]


BASE = "[sysctl]\na=1\nb=2\n"


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("[sysctl]\na=9\n", [("a", "9")]),
        ("[main]\ninclude=base\n", [("a", "1"), ("b", "2")]),
        ("[main]\ninclude=base\n[sysctl]\nb=9\nc=3\n", [("a", "1"), ("b", "9"), ("c", "3")]),
        ("[main]\ninclude=base\n[sysctl]\nreplace=1\nc=3\n", [("c", "3")]),
        ("[main]\ninclude=base\n[sysctl]\nreplace=true\n", []),
        ("[main]\ninclude=base\n[sysctl]\nreplace=yes\n", [("a", "1"), ("b", "2")]),
        ("[main]\ninclude=base\n[sysctl]\ndrop=a\n", [("b", "2")]),
        ("[main]\ninclude=base\n[sysctl]\ndrop=a, b\nb=9\n", [("b", "9")]),
        ("[main]\ninclude=base\n[sysctl]\nenabled=0\n", []),
        ("[main]\ninclude=base\n[sysctl]\nenabled=false\na=9\n", []),
        ("[main]\ninclude=base\n[sysctl]\ntype=net\n", []),
        ("[main]\ninclude=base\n[more]\ntype=sysctl\nc=3\n", [("a", "1"), ("b", "2"), ("c", "3")]),
        ("[main]\ninclude=-base\n", [("a", "1"), ("b", "2")]),
        ("[main]\ninclude=-nowhere\n[sysctl]\na=9\n", [("a", "9")]),
        ("[main]\ninclude=nowhere , base\n", [("a", "1"), ("b", "2")]),
        ("[main]\ninclude=base;base\n", [("a", "1"), ("b", "2")]),
        ("[main]\ninclude=x\n[sysctl]\na=9\n", [("a", "9")]),
        ("[main]\ninclude=base${f:exec:id}\n[sysctl]\nc=3\n",
         [("base${f:exec:id}", "its settings are not known"), ("c", "3")]),
        ("[net]\nchannels=1\n[sysctl]\na=9 # why\n", [("a", "9")]),
        ('[sysctl]\na="4 5"\n', [("a", "4 5")]),
        ("[sysctl]\na=${f:kb2s:4}\n", [("a", "TuneD computes it: ${f:kb2s:4}")]),
        ("[sysctl]\nuname_regex=x\na=1\n",
         [("a", "[sysctl] has uname_regex, which only TuneD can evaluate")]),
        ("[broken\n", [("x", "its settings are not known")]),
        ("", []),
    ],
)  # fmt: skip
def test_one_profile_on_top_of_another(profile: str, expected: list[tuple[str, str]]) -> None:
    assert asked(profile, BASE) == expected


def test_what_a_computed_include_may_have_changed_is_not_known() -> None:
    files = {
        "/etc/tuned/x/tuned.conf": "[main]\ninclude=base,odd\n[sysctl]\nb=9\n",
        "/etc/tuned/base/tuned.conf": "[sysctl]\na=1\nb=2\n",
        "/etc/tuned/odd/tuned.conf": "[main]\ninclude=${f:exec:uname}\n[sysctl]\nc=3\n",
    }
    assert profiles.resolve("x", files) == (
        Setting("include", "${f:exec:uname}", "", "its settings are not known"),
        Setting("sysctl", "a", "1", COMPUTED, "sysctl"),
        Setting("sysctl", "b", "9", section="sysctl"),
        Setting("sysctl", "c", "3", section="sysctl"),
    )


def test_variables() -> None:
    base = "[variables]\na=1\nb=${a}2\ninclude=/etc/tuned/more.conf\n[sysctl]\nk=${b} ${c}\n"
    top = "[main]\ninclude=base\n[variables]\na=9\n[sysctl]\nl=${a}${nowhere}\nm=\\${a}\n"
    assert asked(top, base, more="# text\nc = 3\n") == [
        ("k", "92 3"),
        ("l", "TuneD computes it: 9${nowhere}"),
        ("m", "TuneD computes it: ${a}"),
    ]


def test_variables_of_a_file_that_is_not_there_are_not_known() -> None:
    top = "[variables]\ninclude=/etc/tuned/more.conf\n[sysctl]\nk=${c}\n"
    assert asked(top) == [("k", "TuneD computes it: ${c}")]


def test_variables_that_are_replaced() -> None:
    base = "[variables]\na=1\nb=2\n"
    top = "[main]\ninclude=base\n[variables]\nreplace=1\nb=3\n[sysctl]\nk=${b}\nl=${a}\n"
    assert asked(top, base) == [("k", "3"), ("l", "TuneD computes it: ${a}")]


def test_a_custom_profile_hides_a_stock_one_and_may_include_it() -> None:
    files = {
        "/etc/tuned/x/tuned.conf": "[main]\ninclude=x\n[sysctl]\na=9\n",
        "/usr/lib/tuned/x/tuned.conf": "[main]\ninclude=x\n[sysctl]\na=1\nb=2\n",
        "/usr/lib/tuned/profiles/x/tuned.conf": "[sysctl]\nc=3\n",
    }
    keys = {setting.key: setting.value for setting in profiles.resolve("x", files)}
    assert keys == {"a": "9", "b": "2", "c": "3"}


@given(st.text(alphabet=st.sampled_from("[]main=sysctl\n#${:}include,x-;'\" \\1"), max_size=80))
def test_any_text_is_resolved_somehow(text: str) -> None:
    profiles.resolve("x", {"/etc/tuned/x/tuned.conf": text})


def test_the_sections_that_are_enabled_and_what_they_are_for() -> None:
    files = {
        "/etc/tuned/x/tuned.conf": "[main]\ninclude=base\n[off]\ntype=cpu\nenabled=0\n",
        "/etc/tuned/base/tuned.conf": "[more]\ntype=sysctl\na=1\n[off]\nb=1\n[irqbalance]\n",
    }
    found = profiles.sections("x", files)
    assert found == {"more": "sysctl", "irqbalance": "irqbalance"}
    (setting,) = profiles.resolve("x", files)
    assert setting.section == "more"


HELD = "[cpu]\nforce_latency=cstate.id:1|10\n[rtentsk]\n"


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("", []),
        (HELD, [("force_latency", "cstate.id:1|10"), ("rtentsk", "")]),
        ("[main]\ninclude=base\n", [("force_latency", "5"), ("rtentsk", "")]),
        ("[main]\ninclude=base\n[cpu]\nforce_latency=7\n",
         [("force_latency", "7"), ("rtentsk", "")]),
        ("[main]\ninclude=base\n[cpu]\nenabled=0\n[rtentsk]\nenabled=false\n", []),
        ("[main]\ninclude=base\n[cpu]\nreplace=1\ngovernor=x\n[rtentsk]\ntype=net\n", []),
        ("[main]\ninclude=base\n[cpu]\ndrop=force_latency\n", [("rtentsk", "")]),
        ("[lat]\ntype=cpu\nforce_latency=7\n[sock]\ntype=rtentsk\n[sock2]\ntype=rtentsk\n",
         [("force_latency", "7"), ("rtentsk", "")]),
        # Only the first instance of the plugin is heard, and a priority makes one the first.
        ("[cpu]\ngovernor=x\n[more]\ntype=cpu\nforce_latency=7\n", []),
        ("[a]\ntype=cpu\nforce_latency=7\n[b]\ntype=cpu\nforce_latency=8\n",
         [("force_latency", "7")]),
        ("[a]\ntype=cpu\nforce_latency=7\n[b]\ntype=cpu\npriority=-1\nforce_latency=8\n",
         [("force_latency", "8")]),
        ("[main]\ninclude=base\n[b]\ntype=cpu\nforce_latency=8\n[cpu]\npriority=x\n",
         [("force_latency", "5"), ("rtentsk", "")]),
        ("[main]\ninclude=base\n[b]\ntype=cpu\nforce_latency=8\n[cpu]\npriority=3\n",
         [("force_latency", "8"), ("rtentsk", "")]),
        ("[variables]\na=9\n[cpu]\nforce_latency=${a}\n", [("force_latency", "9")]),
        ('[cpu]\nforce_latency="9"\n', [("force_latency", '"9"')]),
        ("[cpu]\nforce_latency=${f:x}\n", [("force_latency", "TuneD computes it: ${f:x}")]),
        ("[cpu]\ndevices=cpu1\nforce_latency=7\n",
         [("force_latency", "[cpu] has devices, which only TuneD can evaluate")]),
        ("[a]\ntype=rtentsk\nuname_regex=x\n",
         [("rtentsk", "[a] has uname_regex, which only TuneD can evaluate")]),
        ("[a]\ntype=rtentsk\nuname_regex=x\n[b]\ntype=rtentsk\n", [("rtentsk", "")]),
        ("[broken\n", []),
    ],
)  # fmt: skip
def test_what_lasts_only_as_long_as_a_file_is_open(
    profile: str, expected: list[tuple[str, str]]
) -> None:
    base = "[cpu]\nforce_latency=5\n[rtentsk]\n"
    known = {"/etc/tuned/x/tuned.conf": profile, "/etc/tuned/base/tuned.conf": base}
    found = profiles.open_files("x", known)
    assert [(setting.key, setting.unknown or setting.value) for setting in found] == expected


def test_sections_that_name_their_devices() -> None:
    text = (
        "[a]\ntype=disk\ndevices=sda\n[b]\ntype=disk\ndevices=!sda, !sdb\n[c]\ntype=disk\n"
        "[d]\ntype=disk\ndevices_udev_regex=X=1\n[e]\ntype=net\ndevices=!eth0;eth*\n"
        "[f]\ntype=net\ndevices=*\n"
    )
    found = profiles.named_devices("x", {"/etc/tuned/x/tuned.conf": text})
    assert found == {"a", "e"}
