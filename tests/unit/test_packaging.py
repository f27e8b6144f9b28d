"""What the package installs is what there is, and says what is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ocp_tuned_boot
from ocp_tuned_boot.commands import table
from ocp_tuned_boot.commands.parser import Command

TREE = Path(__file__).resolve().parents[2]
SPEC = (TREE / "rpm.spec").read_text()
UNITS = {path.name: path.read_text() for path in (TREE / "units").iterdir()}
COMPLETION = TREE / "packaging/completions/ocp-tuned-boot"


def expanded(text: str) -> set[str]:
    """Shell's braces."""
    match = re.search(r"\{([^{}]*)\}", text)
    if match is None:
        return {text}
    parts = [text[: match.start()] + each + text[match.end() :] for each in match[1].split(",")]
    return {one for part in parts for one in expanded(part)}


def test_the_spec_has_every_unit_and_no_other() -> None:
    listed = re.findall(r"(?m)^%\{_unitdir\}/(ocp-tuned\S*(?:service|socket|path))$", SPEC)
    assert {unit for line in listed for unit in expanded(line)} == set(UNITS)
    scripts = re.search(r"%global units %\{shrink:(.*?)\n\}", SPEC, re.DOTALL)
    assert scripts is not None
    # That one is not stopped with the others.
    assert {*scripts[1].split(), "ocp-tuned.service"} == set(UNITS)


def test_the_preset_enables_what_can_be_enabled() -> None:
    preset = (TREE / "packaging/80-ocp-tuned-boot.preset").read_text()
    enabled = re.findall(r"(?m)^enable (.*)$", preset)
    assert sorted(enabled) == sorted(name for name, text in UNITS.items() if "[Install]" in text)


def test_what_the_unit_may_write_is_made_before_it_starts() -> None:
    made = re.findall(r"(?m)^[dD] (\S+)", (TREE / "packaging/tmpfiles.conf").read_text())
    for name in ("ocp-tuned.service", "ocp-tuned-notice.service", "ocp-tuned-image.service"):
        lines = re.findall(r"(?m)^ReadWritePaths=(.*)$", UNITS[name])
        writable = [word for line in lines for word in line.split()]
        assert writable
        for path in writable:
            # Without it the unit starts all the same, and says what is missing.
            assert path.startswith("-")
            assert path[1:] in made or path.startswith("-/etc/")


def test_podman_keeps_passwords_in_a_folder_of_its_own_that_is_emptied() -> None:
    """Each in its own: one that starts must not take away what another one is at work with."""
    made = (TREE / "packaging/tmpfiles.conf").read_text()
    assert "D /var/lib/ocp-tuned-boot/tmp 0700 root root -" in made
    folder = "/var/lib/ocp-tuned-boot/tmp/%N"
    for name in (each for each in UNITS if re.fullmatch(r"ocp-tuned-podman.*\.service", each)):
        assert f"\nEnvironment=TMPDIR={folder}\n" in UNITS[name]
        # Without it Podman starts all the same.
        steps = re.findall(r"(?m)^ExecStartPre=-/usr/bin/(.*)$", UNITS[name])
        assert steps == [f"rm -rf {folder}", f"mkdir -p -m 0700 {folder}"]


def test_what_is_brought_in_quietly_waits_for_the_run_and_is_tried_again() -> None:
    unit = UNITS["ocp-tuned-image.service"]
    assert "\nAfter=ocp-tuned.service\n" in unit
    assert "\nRestart=on-failure\nRestartSec=60\n" in unit
    # What will fail again is not.
    assert f"\nRestartPreventExitStatus={os.EX_USAGE} {os.EX_CONFIG}\n" in unit
    # What is asked for now, not what was asked for when it began.
    assert "--no-block restart ocp-tuned-image.service" in UNITS["ocp-tuned-notice.service"]


def test_the_version_is_said_once_and_the_news_have_it() -> None:
    assert ocp_tuned_boot.__version__ in (TREE / "NEWS.md").read_text()
    assert "0-1" in SPEC
    for name in ("rpm.spec", "pyproject.toml", "Makefile", "README.md"):
        assert ocp_tuned_boot.__version__ not in (TREE / name).read_text()


def test_the_package_is_not_built_when_a_unit_test_fails() -> None:
    assert re.search(
        r"\n%check\n#.*\n%pytest --ignore=tests/unit/test_memory.py tests/unit\n", SPEC
    )
    assert "nocheck" not in (TREE / "Makefile").read_text()


def completed(*words: str) -> set[str]:
    script = (
        f"source {COMPLETION}\n"
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))\n'
        '_ocp_tuned_boot ocp-tuned-boot "${@: -1}" "${@: -2:1}"\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    command = ["bash", "-euc", script, "bash", "ocp-tuned-boot", *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return set(done.stdout.split())


def test_the_completion_is_what_the_tables_make() -> None:
    command = [sys.executable, str(TREE / "packaging/completion.py")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout == COMPLETION.read_text(), "make completion"


@pytest.mark.parametrize("row", table.COMMANDS, ids=lambda row: row.name)
def test_bash_completes_every_command_and_its_options(row: Command) -> None:
    *group, last = row.name.split()
    beside = [each.name.split() for each in table.COMMANDS]
    offered = {name[len(group)] for name in beside if name[: len(group)] == group}
    assert completed(*group, last[:3]) == {each for each in offered if each.startswith(last[:3])}
    options = {each.name for each in row.options if each.name.startswith("-")}
    assert completed(*group, last, "--") == options | {"--help"}


def test_bash_completes_options_before_a_command_and_files_after_config(tmp_path: Path) -> None:
    assert {"--root", "--verbose", "--version"} <= completed("--")
    (tmp_path / "boot.conf").touch()
    assert completed("status", "--config", f"{tmp_path}/bo") == {f"{tmp_path}/boot.conf"}
    assert completed("render", "butane", "--variant", "") == {"fcos", "openshift"}
    assert completed("image", "export", f"{tmp_path}/bo") == {f"{tmp_path}/boot.conf"}
    (tmp_path / "folder").mkdir()
    assert completed("--root", f"{tmp_path}/") == {f"{tmp_path}/folder"}
    assert completed("render", "butane", "--role", "") == set()
