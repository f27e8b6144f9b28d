"""The advice of a finding names the file to change, as it is called on the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocp_tuned_boot import advice
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.requested.missing import Search
from ocp_tuned_boot.tuned.findings import KINDS, START, make

TEXTS = {
    "/etc/tuned/site/tuned.conf": "[main]\ninclude=base,stock\n\n[sysctl]\n vm.own = 1\n",
    "/etc/tuned/other/tuned.conf": "[sysctl]\nvm.other=1\nvm.stock=1\n",
    "/etc/tuned/base/tuned.conf": "[main]\ninclude=-optional,nowhere\n",
    "/usr/lib/tuned/stock/tuned.conf": "[main]\ninclude=gone\n[sysctl]\nvm.stock=2\n",
}
BROKEN = "Cannot parse '/etc/tuned/site/tuned.conf'.\nfile: '/etc/tuned/site/tuned.conf', line: 7"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A host on which two files of sysctl.d set the same key."""
    folder = tmp_path / "etc/sysctl.d"
    folder.mkdir(parents=True)
    (folder / "10.conf").write_text("vm.x = 1\n")
    (folder / "20.conf").write_text("vm.y = 1\nvm.x = 2\n")
    return Paths(tmp_path)


@pytest.mark.parametrize(
    ("kind", "subject", "message", "file"),
    [
        ("wrong-profile", "balanced", "", "THE FILE"),
        ("broken-profile", "/etc/tuned/site/tuned.conf", BROKEN,
         "{profiles}/site/tuned.conf, line 7"),
        ("broken-profile", "/var/lib/ocp-tuned/profiles/site/tuned.conf", "no line",
         "/var/lib/ocp-tuned/profiles/site/tuned.conf"),
        ("broken-profile", "daemon", "never seen, line: 7", ""),
        ("script-failed", "/etc/tuned/site/script.sh", "", "{profiles}/site/script.sh"),
        ("overridden", "vm.x", "", "{root}/etc/sysctl.d/20.conf"),
        ("overridden", "vm.z", "", ""),
        ("no-such-setting", "vm.own", "", "{profiles}/site/tuned.conf, line 5"),
        # What another profile sets, which this one does not include, is not meant.
        ("no-such-setting", "vm.stock", "", "/usr/lib/tuned/stock/tuned.conf in the image, line 4"),
        ("setting-refused", "vm.other", "", ""),
        ("killed", "SIGKILL", "", ""),
    ],
)  # fmt: skip
def test_the_file_to_change(paths: Paths, kind: str, subject: str, message: str, file: str) -> None:
    requested = Inputs("image", "site", "tuned", "boot", named_in="THE FILE")
    search = Search(paths, Config(), requested, TEXTS)
    finding = make(kind, subject, message)
    found = advice.file_for(finding, search)
    assert found == file.format(profiles=paths.profiles, root=paths.root)
    named = advice.explained(finding, search)
    assert (found or KINDS[kind].file) in named.advice
    assert (named.kind, named.subject, named.message) == (kind, subject, message)


@pytest.mark.parametrize(
    ("kind", "subject", "by"),
    [
        ("unknown-profile", "top", "THE FILE"),
        ("missing-include", "nowhere", "include= in {profiles}/base/tuned.conf"),
        ("missing-include", "gone", "include= in /usr/lib/tuned/stock/tuned.conf in the image"),
        ("missing-include", "never-seen", "include= in a profile that site includes"),
    ],
)
def test_who_names_a_profile_that_does_not_exist(
    paths: Paths, kind: str, subject: str, by: str
) -> None:
    profile = "top" if kind == "unknown-profile" else "site"
    requested = Inputs("image", profile, "tuned", "boot", named_in="THE FILE")
    words = "TuneD logged: Cannot find profile in '/etc/tuned'"
    found = advice.explained(
        make(kind, subject, words), Search(paths, Config(), requested, TEXTS)
    )  # fmt: skip
    assert (found.kind, found.subject) == (kind, subject)
    assert found.message == f'No profile "{subject}" in {paths.profiles} or in the image image'
    assert found.advice.startswith(f"It is named in {by.format(profiles=paths.profiles)}. ")
    assert found.advice.endswith(START)


def test_of_a_profile_that_exists_tuneds_own_words_remain(paths: Paths) -> None:
    requested = Inputs("image", "site", "tuned", "boot", named_in="THE FILE")
    found = make("unknown-profile", "site", "TuneD logged: Cannot find profile")
    told = advice.explained(found, Search(paths, Config(), requested, TEXTS))
    assert told.message == found.message
    assert "It is named in THE FILE; " in told.advice


def test_a_file_name_cannot_break_the_line() -> None:
    assert "a\\x1bb" in make("missing-include", "x", "", "a\x1bb").advice


@pytest.mark.parametrize("kind", KINDS)
def test_every_advice_is_whole_sentences_without_a_placeholder(kind: str) -> None:
    text = make(kind, "SUBJECT", "").advice
    assert text[0].isupper() or text.startswith("SUBJECT")
    assert "{" not in text
    # The last sentence may be a command, which has no full stop.
    assert text.endswith(".") or ": " in text
