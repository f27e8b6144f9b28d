"""The cache of what images look like inside: a broken one is looked up again, never believed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ocp_tuned_boot.errors import ImageError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.tuned import layout
from ocp_tuned_boot.tuned.layout import Layout

WHOLE = {"version": layout.FORMAT.version, "links": ["/var/lib/tuned"],
         "variables": {"a.conf": "x=1\n"},
         "profiles": {"/usr/lib/tuned/p/tuned.conf": "[main]\n"},
         "programs": ["/usr/sbin/tuned"], "made_for": "1 2", "refills": True}  # fmt: skip


def cached(root: Path, text: str) -> Layout | None:
    paths = Paths(root)
    paths.layouts.mkdir(parents=True)
    (paths.layouts / "abc.json").write_text(text)
    return layout.cached(paths, "abc")


def test_an_image_that_was_looked_into_is_known(tmp_path: Path) -> None:
    assert cached(tmp_path, json.dumps(WHOLE)) == Layout(
        ("/var/lib/tuned",), {"a.conf": "x=1\n"}, {"/usr/lib/tuned/p/tuned.conf": "[main]\n"},
        ("/usr/sbin/tuned",), "1 2", True,
    )  # fmt: skip


def test_an_image_that_was_not_is_not(tmp_path: Path) -> None:
    assert layout.cached(Paths(tmp_path), "abc") is None


@pytest.mark.parametrize(
    "text",
    [
        "", "torn {", "[]", "null", "{}", json.dumps({**WHOLE, "version": 0}),
        json.dumps({**WHOLE, "links": None}), json.dumps({**WHOLE, "variables": 1}),
        json.dumps({**WHOLE, "variables": {"a.conf": 1}}),
        json.dumps({**WHOLE, "variables": {"../../etc/passwd": "x"}}),
        json.dumps({**WHOLE, "links": ["/etc"]}), json.dumps({**WHOLE, "profiles": None}),
        json.dumps({**WHOLE, "profiles": {"x": 1}}), json.dumps({**WHOLE, "programs": ["/bin/sh"]}),
        json.dumps({**WHOLE, "programs": None}), json.dumps({**WHOLE, "made_for": 1}),
        json.dumps({**WHOLE, "refills": "no"}),
    ],
)  # fmt: skip
def test_a_file_that_is_no_cache_of_ours_is_not_believed(tmp_path: Path, text: str) -> None:
    assert cached(tmp_path, text) is None


def test_some_images_are_remembered_and_no_more(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    for number, name in enumerate(("one", "two", "three", "four")):
        layout._remember(paths, name, Layout())
        os.utime(paths.layouts / f"{name}.json", (number, number))
    layout._remember(paths, "five", Layout())
    known = {path.stem for path in paths.layouts.iterdir()}
    assert known == {"three", "four", "five"}


@pytest.mark.parametrize("made_for", ["", "1", "2 1"])
def test_an_image_that_keeps_the_contract_is_taken(made_for: str) -> None:
    layout.check(Layout(programs=("/usr/sbin/tuned",), made_for=made_for), "tuned", "localhost/a")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Layout(programs=("/usr/sbin/tuned",), made_for="2 \x1b[1m"), "is made for layout 2"),
        (Layout(programs=("/usr/sbin/tuned",), made_for="11"), "expected 1\n"),
        (Layout(), "localhost/a has no /usr/sbin/tuned, which contract = tuned requires"),
        (Layout(programs=(layout.PROGRAMS["operand"],)), "has no /usr/sbin/tuned"),
    ],
)
def test_an_image_that_does_not_is_refused_with_words(seen: Layout, words: str) -> None:
    with pytest.raises(ImageError, match=words) as refused:
        layout.check(seen, "tuned", "localhost/a")
    assert "\x1b" not in str(refused.value)
    assert refused.value.hint
    assert not refused.value.temporary
