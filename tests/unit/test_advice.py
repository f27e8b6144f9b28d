"""The advice of a finding names the file to change, as it is called on the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocp_tuned_boot import advice
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.tuned.findings import KINDS, make
from ocp_tuned_boot.tuned.judge import Outcome, Result, with_files

TEXTS = {
    "/etc/tuned/site/tuned.conf": "[main]\ninclude=base,stock\n",
    "/etc/tuned/base/tuned.conf": "[main]\ninclude=-optional,nowhere\n",
    "/usr/lib/tuned/stock/tuned.conf": "[main]\ninclude=gone\n",
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
        ("unknown-profile", "nowhere", "", "THE FILE"),
        ("wrong-profile", "balanced", "", "THE FILE"),
        ("missing-include", "nowhere", "", "{profiles}/base/tuned.conf"),
        ("missing-include", "gone", "", "/usr/lib/tuned/stock/tuned.conf in the image"),
        ("missing-include", "never-seen", "", ""),
        ("broken-profile", "/etc/tuned/site/tuned.conf", BROKEN,
         "{profiles}/site/tuned.conf, line 7"),
        ("broken-profile", "/var/lib/ocp-tuned/profiles/site/tuned.conf", "no line",
         "/var/lib/ocp-tuned/profiles/site/tuned.conf"),
        ("broken-profile", "daemon", "never seen, line: 7", ""),
        ("script-failed", "/etc/tuned/site/script.sh", "", "{profiles}/site/script.sh"),
        ("overridden", "vm.x", "", "{root}/etc/sysctl.d/20.conf"),
        ("overridden", "vm.z", "", ""),
        ("killed", "SIGKILL", "", ""),
    ],
)  # fmt: skip
def test_the_file_to_change(paths: Paths, kind: str, subject: str, message: str, file: str) -> None:
    requested = Inputs("image", "site", "tuned", "boot", named_in="THE FILE")
    finding = make(kind, subject, message)
    found = advice.file_for(paths, requested, TEXTS, finding)
    assert found == file.format(profiles=paths.profiles, root=paths.root)
    (named,) = with_files(Outcome(Result.FAILED, (finding,)), lambda _: found).findings
    assert (found or KINDS[kind].file) in named.advice
    assert (named.kind, named.subject, named.message) == (kind, subject, message)


def test_a_file_name_cannot_break_the_line() -> None:
    assert "a\\x1bb" in make("missing-include", "x", "", "a\x1bb").advice


@pytest.mark.parametrize("kind", KINDS)
def test_every_advice_is_whole_sentences_without_a_placeholder(kind: str) -> None:
    text = make(kind, "SUBJECT", "").advice
    assert text[0].isupper() or text.startswith("SUBJECT")
    assert "{" not in text
    # The last sentence may be a command, which has no full stop.
    assert text.endswith(".") or ": " in text
