"""Which profiles are missing, as far as that is known without TuneD."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot.tuned import profiles

X, BASE = "/etc/tuned/x/tuned.conf", "/etc/tuned/base/tuned.conf"


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("", {}),
        ("[main]\ninclude=base\n", {}),
        ("[main]\ninclude=nowhere , base\n", {"nowhere": X}),
        ("[main]\ninclude=base;also\n", {"also": X}),
        ("[main]\ninclude=-nowhere\n", {}),
        ("[main]\ninclude=deep\n", {"deeper": "/usr/lib/tuned/deep/tuned.conf"}),
        # It is not known whether there is one.
        ("[main]\ninclude=nowhere${f:exec:id}\n", {}),
        ("[main]\ninclude=x\n", {}),
        ("[broken\n", {}),
    ],
)
def test_a_profile_that_is_included_and_missing(profile: str, expected: dict[str, str]) -> None:
    files = {X: profile, BASE: "", "/usr/lib/tuned/deep/tuned.conf": "[main]\ninclude=deeper\n"}
    assert profiles.absent("x", files) == expected


def test_the_profile_itself_may_be_missing() -> None:
    assert profiles.absent("x", {BASE: ""}) == {"x": ""}


def test_a_custom_profile_may_include_the_stock_one_of_its_name() -> None:
    files = {X: "[main]\ninclude=x\n", "/usr/lib/tuned/x/tuned.conf": "[main]\ninclude=y\n"}
    assert profiles.absent("x", files) == {"y": "/usr/lib/tuned/x/tuned.conf"}


def test_a_profile_without_end_is_not_followed_for_ever() -> None:
    many = ",".join(f"x{number}" for number in range(1000))
    assert len(profiles.absent("x", {X: f"[main]\ninclude={many}\n"})) == 100
    assert profiles.absent("x", {X: "[main]\ninclude=y\n" + "#" * 300_000}) == {}


@given(st.text(alphabet=st.sampled_from("[]main=sysctl\n#${:}include,x-;'\" \\1"), max_size=80))
def test_any_text_is_read_somehow(text: str) -> None:
    profiles.absent("x", {X: text})
