"""docs/selinux.md says which rules of a policy are needed and which do not exist. Debian's is asked
for each of them, and for the labels of our paths. No kernel of the lab has SELinux."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.lab import debian
from tests.lab.product import TREE

pytestmark = pytest.mark.lab

TEXT = (TREE / "docs/selinux.md").read_text()
_RECIPE = debian.Recipe(
    "trixie", "minbase", ("selinux-policy-default", "selinux-utils", "python3-setools")
)
_FOLDER = "/etc/selinux/default"


def table(heading: str, number: int = 0) -> list[list[str]]:
    """The rows of a table in a section, without its head."""
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"(?m)(?:^\|.*\n)+", section)[number]
    rows = [line.strip("|").split("|") for line in found.splitlines()]
    return [[cell.strip() for cell in row] for row in rows][2:]


#: Fedora's name of a type → Debian's.
NAMES = {fedora: its for its, fedora in re.findall(r"`(\w+_t)`\s+for\s+`(\w+_t)`", TEXT)}
NEEDED = [row[2].strip("`") for row in table("Who may do what")]
#: Rule → in which policy it is.
ABSENT = {row[0].strip("`"): row[1] for row in table("Who may do what", 1)}
LABELS = {row[0].strip("`"): row[2] for row in table("Labels")}


def as_in_debian(text: str) -> str:
    return re.sub(r"\w+_t\b", lambda match: NAMES.get(match[0], match[0]), text)


@pytest.fixture(scope="module")
def root() -> Path:
    """A root filesystem with the policy, as its package installs it, and the tools to ask it."""
    return debian.cached("selinux", _RECIPE)


@pytest.fixture(scope="module")
def missing(root: Path) -> dict[str, list[str]]:
    """What is missing of each rule of the document."""
    (policy,) = (root / _FOLDER.lstrip("/") / "policy").glob("policy.*")
    rules = [*NEEDED, *ABSENT]
    script = (TREE / "tests/lab/policyreader.py").read_text()
    done = subprocess.run(
        ["chroot", root, "python3", "-c", script, f"{_FOLDER}/policy/{policy.name}"],
        input="\n".join(as_in_debian(rule) for rule in rules),
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(rules, json.loads(done.stdout)))


def test_the_document_has_the_rules_of_each_domain() -> None:
    assert len(NAMES) == 4
    assert {rule.split()[1] for rule in NEEDED} == {
        "init_t", "systemd_tmpfiles_t", "unconfined_service_t", "container_runtime_t", "spc_t",
    }  # fmt: skip


def test_each_rule_that_is_needed_is_in_the_policy(missing: dict[str, list[str]]) -> None:
    assert {rule: missing[rule] for rule in NEEDED if missing[rule]} == {}


@pytest.mark.parametrize("rule", ABSENT)
def test_a_rule_is_in_the_policies_that_are_named(missing: dict[str, list[str]], rule: str) -> None:
    says = {"none": False, "not Fedora; Debian has it": True, "Fedora has it; not Debian": False}
    assert (missing[rule] == []) is says[ABSENT[rule]]


@pytest.mark.parametrize("path", LABELS)
def test_a_path_has_the_label_that_is_named(root: Path, path: str) -> None:
    done = subprocess.run(
        ["chroot", root, "matchpathcon", "-n", "-f", f"{_FOLDER}/contexts/files/file_contexts",
         "-m", "chr_file" if path.startswith("/dev/") else "file", path],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    expected = LABELS[path]
    if expected.startswith("none;"):
        assert done.stdout.strip() == "<<none>>"
    else:
        assert done.stdout.split(":")[2] == expected.strip("`")
