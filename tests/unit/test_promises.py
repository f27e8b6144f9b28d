"""The unit file, the man pages, the README and boot.conf describe what the code does.

That systemd and TuneD behave as these texts say is tested with the nodes in tests/lab/.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
from configobj import ConfigObj

from ocp_tuned_boot import cli
from ocp_tuned_boot.commands import render
from ocp_tuned_boot.host import files, systemd
from ocp_tuned_boot.requested import config
from tests.lab.situations import BEFORE_TUNED, HELD, SITUATIONS

TREE = Path(__file__).resolve().parents[2]
UNIT = (TREE / "units/ocp-tuned.service").read_text()
README = (TREE / "README.md").read_text()
MAN_CONF = (TREE / "man/boot.conf.5").read_text()
MAN_PROGRAM = (TREE / "man/ocp-tuned-boot.8").read_text()
SPEC = ConfigObj(config.SPEC.splitlines(), list_values=False, interpolation=False)


def directives(name: str) -> list[str]:
    """All values of one directive of the unit, words apart."""
    values = re.findall(rf"(?m)^{name}=(.*)$", UNIT)
    return [word for value in values for word in value.split()]


def test_each_line_of_the_unit_that_orders_gates_or_restricts_has_its_reason() -> None:
    obvious = ("Description=", "Documentation=", "ExecStart=", "[", "#")
    for block in UNIT.split("\n\n"):
        lines = block.splitlines()
        restricting = [line for line in lines if not line.startswith(obvious)]
        first = next((at for at, line in enumerate(lines) if line in restricting), None)
        assert first is None or lines[first - 1].startswith("#"), block


def test_the_unit_gates_the_workload_and_never_blocks_it() -> None:
    assert "kubelet-dependencies.target" in directives("Before")
    assert set(directives("WantedBy")) == {"kubelet-dependencies.target", "multi-user.target"}
    for fatal in ("RequiredBy", "Requires", "BindsTo", "PartOf", "Restart", "FailureAction"):
        assert directives(fatal) == []


def test_the_workloads_that_wait_are_those_that_are_checked() -> None:
    assert set(systemd.WORKLOADS) <= set(directives("Before"))
    # It must be started before the program checks whether it runs.
    assert systemd.HOST_TUNED in directives("After")
    assert directives("Conflicts") == []


def test_the_unit_runs_commands_that_exist() -> None:
    commands = [line.split()[1] for line in re.findall(r"(?m)^Exec\w+=(.*)$", UNIT)]
    assert commands == ["apply", "reload", "cleanup"]
    assert set(commands) <= set(subcommands())


def subcommands(*names: str) -> dict[str, argparse.ArgumentParser]:
    """Those of the program, or of one of its commands."""
    parser = subcommands()[names[0]] if names else cli._parser()
    (action,) = (each for each in parser._actions if isinstance(each.choices, dict))
    assert isinstance(action.choices, dict)
    return action.choices


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings} - {"-h", "--help"}


def plain(man: str) -> str:
    """The words of a man page."""
    text = re.sub(r'(?m)^\.\\".*$|\\f[BIRP]', "", man).replace("\\-", "-").replace('" ', " ")
    return re.sub(r"(?m)^\.[A-Z]{1,2} ?", "", text).replace('"', "")


def test_the_man_page_has_every_command_and_every_option() -> None:
    page = MAN_PROGRAM.replace("\\-", "-")
    commands = page.split(".SH COMMANDS")[1].split(".SH OPTIONS")[0]
    for name, parser in subcommands().items():
        (usage,) = re.findall(rf"(?m)^\.TP\n\.B {name}\b(.*)$", commands)
        assert set(re.findall(r"--\w+", usage)) == options(parser)
    told = page.split(".SH OPTIONS")[1].split(".SH RESULTS")[0]
    entries = " ".join(re.findall(r"(?m)^\.TP\n(.*)$", told))
    assert set(re.findall(r"--?[a-z]+", entries)) == options(cli._parser()) | {"--config"}


def test_the_man_page_has_every_form_and_every_option_of_render() -> None:
    page = MAN_PROGRAM.replace("\\-", "-")
    (entry,) = re.findall(r"(?ms)^\.B render .*?^\.RS\n(.*?)^\.RE$", page)
    told = re.findall(r"(?m)^\.TP\n(.*)$", entry)
    forms = subcommands("render")
    assert {line.split()[1] for line in told if line.startswith(".B ")} == set(forms)
    asked = {name for form in forms.values() for name in options(form)}
    assert set(re.findall(r"--[a-z-]+", entry)) == asked


def test_each_section_that_a_text_refers_to_is_in_the_man_page() -> None:
    sections = set(re.findall(r"(?m)^\.SH (.+)$", MAN_PROGRAM))
    sources = [path.read_text() for path in (TREE / "ocp_tuned_boot").rglob("*.py")]
    words = " ".join(" ".join([README, plain(MAN_PROGRAM), plain(MAN_CONF), *sources]).split())
    name = r"([A-Z][A-Z0-9]*(?: [A-Z0-9]+)*)"
    named = re.findall(rf"\b(?:[Ss]ee|read) {name}\b", words)
    named += re.findall(rf"ocp-tuned-boot\(8\), {name}", words)
    assert named
    assert set(named) <= sections


def test_the_limits_in_the_man_page_are_those_of_the_code() -> None:
    part = MAN_PROGRAM.split(".SH DAY 0")[1].split(".SH ")[0]
    assert f"more than {files.LIMIT} bytes" in part
    assert f"of more than {render.LIMIT} bytes" in part


def test_the_man_page_and_the_readme_have_every_exit_status() -> None:
    statuses = {0, *cli.STATUSES.values(), cli.FAILED, cli.DRIFTED}
    part = MAN_PROGRAM.split(".SH EXIT STATUS")[1].split(".SH FILES")[0]
    assert {int(number) for number in re.findall(r"(?m)^\.B (\d+)$", part)} == statuses
    assert {int(number) for number in re.findall(r"(?m)^\| (\d+) \|", README)} == statuses - {0}


@pytest.mark.parametrize("section", list(SPEC))
def test_the_man_page_has_every_key_with_its_range_and_default(section: str) -> None:
    part = MAN_CONF.split(f".SH [{section.upper()}]")[1].split("\n.SH ")[0]
    entries = dict(re.findall(r"(?ms)^\.TP\n\.B (\w+)\n(.*?)(?=^\.TP|\Z)", part))
    assert set(entries) == set(SPEC[section])
    for key, check in SPEC[section].items():
        for number in re.findall(r"(?:min|max)=(\d\d+)", check):
            assert number in entries[key]
        default = re.search(r"default='?([^')]*)", check)
        assert default is not None
        said = re.sub(r"\s+", " ", plain(entries[key]))
        assert f"Default: {default[1] or 'empty'}" in said


def test_the_vendors_boot_conf_says_the_defaults_and_names_every_key() -> None:
    text = (TREE / "packaging/boot.conf").read_text()
    assert config.parse([("boot.conf", text)]) == config.parse([])
    said = ConfigObj(text.splitlines(), list_values=False, interpolation=False)
    assert {name: set(keys) for name, keys in said.items()} == {
        name: set(keys) for name, keys in SPEC.items()
    }


def test_the_example_in_the_readme_and_in_the_man_page_is_valid() -> None:
    for text in (README, MAN_CONF):
        example = re.search(r"\[tuning\]\n(?: *\w+ = .+\n)+", text)
        assert example is not None
        lines = "\n".join(line.strip() for line in example[0].splitlines()).replace("\\-", "-")
        assert config.parse([("example", lines)]).profile == "throughput-performance"


def test_the_readme_names_every_folder_and_no_other() -> None:
    named = re.findall(r"(?m)^\| `([a-z_]+)/` \|", README)
    folders = {path.parent.name for path in (TREE / "ocp_tuned_boot").glob("**/__init__.py")}
    assert len(named) == len(set(named))
    assert set(named) == folders


def test_every_situation_in_the_docs_is_one_that_the_lab_makes() -> None:
    text = (TREE / "docs/situations.md").read_text()
    rows = re.findall(r"(?m)^\| (.+?) \| .* \| (Applied|Degraded|Failed)\b[^|]*\|.*\|$", text)
    known = {**SITUATIONS, **HELD, **BEFORE_TUNED}
    assert dict(rows) == {name: each.result.capitalize() for name, each in known.items()}
    for name, situation in SITUATIONS.items():
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {name} |"))
        accepted = situation.result == "applied"
        assert accepted or all(kind in line for kind, _ in situation.findings)


def test_every_row_about_the_image_has_its_test() -> None:
    text = (TREE / "docs/situations.md").read_text().split("## The image")[1]
    named = re.findall(r"(?m)^\| .* \| `(test_\w+)` \|$", text)
    assert len(named) == len(re.findall(r"(?m)^\| ", text)) - 1
    files = ("test_fallback", "test_registry", "test_images")
    tests = "".join((TREE / f"tests/lab/{name}.py").read_text() for name in files)
    assert [name for name in named if f"def {name}(" not in tests] == []


def test_the_readme_names_targets_that_make_has() -> None:
    told = set(re.findall(r"(?m)(?:^    |`)make (\w+)", README))
    assert told == {"demo", "test", "slow", "fuzz", "install", "uninstall", "rpm"}
    targets = re.findall(r"(?m)^([a-z-]+):", (TREE / "Makefile").read_text())
    assert told <= set(targets)
