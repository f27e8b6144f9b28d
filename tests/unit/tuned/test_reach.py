"""Which custom profiles the profile of a node can reach. That TuneD says which it has looked for:
tests/lab/test_inside.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ocp_tuned_boot.tuned import reach
from ocp_tuned_boot.tuned.asked import Asked
from ocp_tuned_boot.tuned.profilefile import ProfileFile
from tests.unit.tuned.asking import NOTHING, meaning, section

#: A profile of another node.
OTHER = ProfileFile("foreign/tuned.conf", b"[sysctl]\na=3\n")


def reached(said: Asked, *files: tuple[str, str]) -> list[str]:
    """The folders that the profile `site` reaches, of those given and one of another node."""
    given = [ProfileFile("site/tuned.conf", b"[main]\n"), OTHER]
    given += [ProfileFile(path, text.encode()) for path, text in files]
    return sorted({file.path.partition("/")[0] for file in reach.reached(said, given)})


def test_only_what_is_included_counts_with_everything_in_its_folder() -> None:
    said = replace(NOTHING, profiles=(*NOTHING.profiles, ("own", "/etc/tuned/own/tuned.conf")))
    own, script = ProfileFile("own/tuned.conf", b""), ProfileFile("own/deep/script.sh", b"x")
    assert reach.reached(said, [own, OTHER, script]) == (own, script)


def test_a_custom_profile_that_would_be_used_instead_of_the_stock_one_counts() -> None:
    said = replace(NOTHING, profiles=(("stock", "/usr/lib/tuned/stock/tuned.conf"),))
    assert reached(said, ("stock/tuned.conf", "")) == ["stock"]


def test_a_profile_that_does_not_exist_reaches_nothing_until_it_does() -> None:
    said = replace(NOTHING, absent_profiles=("later",))
    assert reached(said) == ["site"]
    assert reached(said, ("later/tuned.conf", "")) == ["later", "site"]


@pytest.mark.parametrize(
    "said",
    [
        replace(NOTHING, files=("/etc/tuned/lib/variables.conf",)),
        replace(NOTHING, absent=("/etc/tuned/lib/variables.conf",)),
        replace(NOTHING, commands=("cat /var/lib/ocp-tuned/profiles/lib/x",)),
        meaning(section("script", {"script": "/etc/tuned/site/../lib/script.sh"})),
    ],
    ids=["read", "looked for", "command", "option"],
)
def test_a_folder_in_which_tuned_has_looked_counts(said: Asked) -> None:
    said = replace(said, profiles=NOTHING.profiles)
    assert reached(said, ("lib/script.sh", "")) == ["lib", "site"]


def test_so_does_one_that_is_named_in_a_file_of_such_a_folder() -> None:
    files = (
        ("site/script.sh", ". /etc/tuned/lib/a.sh\n"), ("lib/a.sh", ". /etc/tuned/more/b.sh\n"),
        ("more/b.sh", ""),
    )  # fmt: skip
    assert reached(NOTHING, *files) == ["lib", "more", "site"]


@pytest.mark.parametrize(
    "script", ["cat /etc/tuned/$1/x", "cd /etc/tuned; cat */x", "cat ../*/x", 'ls "$D/.."',
               "for d in /var/lib/ocp-tuned/profiles/*; do :; done", "x=/var/lib/ocp-tuned/$1"],
)  # fmt: skip
def test_a_script_that_computes_a_path_reaches_everything(script: str) -> None:
    assert reached(NOTHING, ("site/x.sh", script)) == ["foreign", "site"]


@pytest.mark.parametrize("script", ["echo done... now", "cat /etc/tuned/site/x", "cat ../site/x"])
def test_a_script_that_does_not_does_not(script: str) -> None:
    assert reached(NOTHING, ("site/x.sh", script)) == ["site"]


def test_what_is_not_known_reaches_everything() -> None:
    files = [ProfileFile("site/tuned.conf", b""), OTHER]
    assert reach.reached(None, files) == tuple(files)
    assert reach.reached(replace(NOTHING, left=1), files) == tuple(files)
