"""The unit file, the man pages, the README and boot.conf describe what the code does.

That systemd and TuneD behave as these texts say is tested with the nodes in tests/lab/.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from ocp_tuned_boot import cli, errors
from ocp_tuned_boot.agent import __main__ as agent
from ocp_tuned_boot.agent.metrics import Metrics
from ocp_tuned_boot.commands import parser as commands_parser
from ocp_tuned_boot.commands import table
from ocp_tuned_boot.commands.command import Option
from ocp_tuned_boot.commands.render import ignition
from ocp_tuned_boot.commands.status import UNCHECKED
from ocp_tuned_boot.host import files, messages, systemd
from ocp_tuned_boot.requested import config, keys
from ocp_tuned_boot.requested.keys import Key
from ocp_tuned_boot.tuned import container
from ocp_tuned_boot.tuned.findings import KINDS
from tests.lab.situations import BEFORE_TUNED, HELD, SITUATIONS

TREE = Path(__file__).resolve().parents[2]
UNIT_FILES = sorted(path for path in (TREE / "units").rglob("*") if path.is_file())
UNIT = (TREE / "units/ocp-tuned.service").read_text()
README = (TREE / "README.md").read_text()
#: The manuals by name, such as "boot.conf(5)".
MANUALS = {
    "{}({})".format(*path.stem.rsplit(".", 1)): path.read_text()
    for path in sorted((TREE / "man").glob("*.rst"))
}
MAN_CONF = MANUALS["boot.conf(5)"]
MAN_PROGRAM = MANUALS["ocp-tuned-boot(8)"]
MAN_UNIT = MANUALS["ocp-tuned.service(8)"]
MAN_AGENT = MANUALS["ocp-tuned-agent(8)"]
HACKING = (TREE / "docs/hacking.md").read_text()
TROUBLE = (TREE / "docs/troubleshooting.md").read_text()
VENDOR = (TREE / "packaging/boot.conf").read_text()


def section(manual: str, title: str) -> str:
    """The text of one section of a manual, or of one of its subsections."""
    underlined = rf"(?m)^{re.escape(title)}\n([=-])\1+\n"
    found = re.search(rf"{underlined}((?:.*\n)*?)(?=\S.*\n([=-])\3+\n|\Z)", manual)
    assert found is not None, title
    return found[2]


def entries(text: str) -> Iterator[tuple[str, str]]:
    """Term and text of each entry of a definition list, in plain words."""
    for term, words in re.findall(r"(?m)^(\S.*)\n((?:    .*\n|\n(?=    ))+)", text):
        yield plain(term), plain(words)


def plain(manual: str) -> str:
    """The words of a part of a manual, without markup, on one line."""
    text = re.sub(r"\\(\S)|\\ |``|\*", lambda match: match[1] or "", manual)
    return re.sub(r"\s+", " ", text).strip()


def directives(name: str, unit: str = UNIT) -> list[str]:
    """All values of one directive of a unit, split into words."""
    values = re.findall(rf"(?m)^{name}=(.*)$", unit)
    return [word for value in values for word in value.split()]


@pytest.mark.parametrize("path", UNIT_FILES, ids=lambda path: path.name)
def test_each_line_of_a_unit_that_orders_gates_or_restricts_has_its_reason(path: Path) -> None:
    """A comment right above it, or above lines that share the reason."""
    obvious = ("Description=", "Documentation=", "Type=", "ExecStart=", "ListenStream=", "[")
    explained = True
    for line in path.read_text().replace("\\\n", "").splitlines():
        if line.startswith("#"):
            explained = True
        elif line == "" or line.startswith(obvious):
            explained = False
        else:
            assert explained, line


def test_the_unit_gates_the_workload_and_never_blocks_it() -> None:
    assert "kubelet-dependencies.target" in directives("Before")
    assert set(directives("WantedBy")) == {"kubelet-dependencies.target", "multi-user.target"}
    for fatal in ("RequiredBy", "Requires", "BindsTo", "PartOf", "Restart", "FailureAction"):
        assert directives(fatal) == []


def test_the_workloads_that_wait_are_those_that_are_checked() -> None:
    """The list is systemd.WORKLOADS; each text has all of it, and nothing else."""
    target = "kubelet-dependencies.target"
    others = [(TREE / f"units/ocp-tuned-{name}.service").read_text() for name in ("retry", "go")]
    for unit in (UNIT, *others):
        assert sorted(directives("Before", unit)) == sorted([target, *systemd.WORKLOADS])
    listed = re.findall(r"(?m)^    ([\w.-]+\.service)$", section(MAN_UNIT, "WORKLOADS"))
    assert listed == list(systemd.WORKLOADS)
    # It must be started before the program checks whether it runs.
    assert systemd.HOST_TUNED in directives("After", others[1])
    assert directives("Conflicts") == []


def test_the_man_page_names_each_file_of_the_host_that_tuned_has() -> None:
    (part,) = re.findall(
        r"(?m)^\* Of the host's files, TuneD can write (.*\n(?:  .*\n)+)", MAN_PROGRAM
    )
    words = plain(part)
    writable, readable = (set(re.findall(r"/[\w./]*\w", it)) for it in words.split("It can read"))
    mounts = container._HOST_MOUNTS
    assert writable == {path for path, read_only in mounts if not read_only}
    assert readable == {path for path, read_only in mounts if read_only}


def test_the_unit_runs_commands_that_exist() -> None:
    commands = re.findall(r"(?m)^Exec\w+=/usr/bin/ocp-tuned-boot (.*)$", UNIT)
    assert commands == ["apply", "reload", "cleanup"]
    assert set(commands) <= {row.name for row in table.COMMANDS}


def named(rows: Iterable[Option]) -> set[str]:
    return {each.name for each in rows}


def test_the_man_page_has_each_command_with_its_sentence_and_its_options() -> None:
    found = list(entries(section(MAN_PROGRAM, "COMMANDS").split("Its options:\n")[0]))
    assert len(found) == len(table.COMMANDS)
    for command, (tag, words) in zip(table.COMMANDS, found):
        name, _, usage = tag.partition(" [")
        assert name == command.name
        assert words.startswith(f"{command.says}.")
        if not name.startswith("render "):
            told = set(re.findall(r"--[\w-]+|[A-Z]+(?=\]?$)", usage))
            assert told - {"FILE"} == named(command.options)


def test_the_man_page_has_each_option_of_render_with_its_sentence() -> None:
    part = section(MAN_PROGRAM, "COMMANDS").split("Its options:\n")[1]
    rendered = [each for row in table.COMMANDS if "render" in row.name for each in row.options]
    expected = {f"{each.name} {each.takes}": f"{each.says}." for each in rendered}
    found = dict(entries(part))
    assert list(found) == list(expected)
    assert all(found[tag].startswith(says) for tag, says in expected.items())


def test_the_man_page_has_each_common_option_with_its_sentence() -> None:
    part = section(MAN_PROGRAM, "OPTIONS")
    found = {re.findall(r"--\w+", tag)[0]: words for tag, words in entries(part)}
    common = (*table.OPTIONS, table.CONFIG, table.JSON)
    assert list(found) == [each.name for each in common]
    assert all(found[each.name].startswith(f"{each.says}.") for each in common)


REFERENCE = re.compile(
    r"\b(?:[Ss]ee|[Rr]ead|under) ([A-Z]{2,}(?: [A-Z0-9]+)*)\b(?: in ([\w.-]+\(\d\)))?"
    r"|([\w.-]+\(\d\)), ([A-Z]{2,}(?: [A-Z0-9]+)*)\b"
)
"""A section that a text refers to: "see DAY 0", "see DAY 0 in ocp-tuned-boot(8)", "(boot.conf(5),
EXAMPLE)". Without a manual it is one of the same manual."""


@pytest.mark.parametrize("name", MANUALS)
def test_each_section_that_a_manual_refers_to_is_there(name: str) -> None:
    check_references(name, plain(MANUALS[name]))


def test_each_section_that_another_text_refers_to_is_in_the_manual_that_it_names() -> None:
    paths = [
        *(TREE / "ocp_tuned_boot").rglob("*.py"), *UNIT_FILES, *(TREE / "docs").glob("*.md"),
        *(TREE / "packaging").glob("*"), TREE / "README.md",
    ]  # fmt: skip
    found = 0
    for path in paths:
        if path.is_file():
            words = path.read_text().replace("`", "").replace("man ocp-tuned-boot", MAIN)
            found += check_references("", re.sub(r"[\s#\"]+", " ", words))
    assert found > 5


MAIN = "ocp-tuned-boot(8)"


def check_references(name: str, words: str) -> int:
    """`name`: the manual that a reference without one is to. Returns the number of references."""
    count = 0
    for title, of, before, after in REFERENCE.findall(words):
        manual = of or before or name
        if manual in MANUALS:
            assert re.search(rf"(?m)^{title or after}\n=+$", MANUALS[manual]), (
                manual,
                title,
                after,
            )
            count += 1
    return count


@pytest.mark.parametrize("path", UNIT_FILES, ids=lambda path: path.name)
def test_each_manual_that_a_unit_names_is_there(path: Path) -> None:
    named = re.findall(r"man:((?:ocp-tuned|boot\.conf)\S*)", path.read_text())
    assert set(named) <= set(MANUALS)
    assert named or path.suffix == ".conf"


def test_the_manual_of_the_unit_has_every_unit_and_no_other() -> None:
    top = [path.name for path in UNIT_FILES if path.parent.name == "units"]
    for title in ("SYNOPSIS", "UNITS"):
        terms = re.findall(r"(?m)^(?:\| )?(\*ocp-tuned.*)$", section(MAN_UNIT, title))
        named = re.findall(r"\*(ocp-tuned[\w@.-]*)\*", " ".join(terms))
        assert sorted(named) == sorted(top)


def test_the_status_line_begins_with_the_words_of_the_manual() -> None:
    words = [term for term, _ in entries(section(MAN_UNIT, "THE STATUS LINE"))]
    code = "".join(
        (TREE / "ocp_tuned_boot" / name).read_text() for name in ("record/model.py", "gate.py")
    )
    assert len(words) == len(RESULT_WORDS)
    assert set(words) == RESULT_WORDS
    assert [word for word in words if not re.search(rf'"{word}\b', code)] == []


def test_the_manual_of_the_unit_has_every_message_of_the_journal_and_every_field() -> None:
    part, _, rest = section(MAN_UNIT, "JOURNAL").partition("Programs find")
    assert part
    ids = [each.id for each in vars(messages).values() if isinstance(each, messages.Message)]
    assert [term for term, _ in entries(rest.split("no-such-setting\n")[1])] == ids
    assert dict(entries(section(MAN_UNIT, "Journal fields"))) == messages.FIELDS
    examples = re.findall(r"MESSAGE_ID=(\w+)|OCP_TUNED_FINDING=([\w-]+)", rest)
    assert [(messages.FAILED.id, ""), ("", "no-such-setting")] == examples
    assert "no-such-setting" in KINDS


RESULT_WORDS = {
    "Applied", "Degraded", "Deferred", "Failed", "Held", "Stopped", "Unfinished",
}  # fmt: skip


def test_the_manual_of_the_agent_has_each_option_with_its_sentence() -> None:
    found = dict(entries(section(MAN_AGENT, "OPTIONS")))
    actions = agent._parser({})._actions
    expected = {
        ", ".join(each.option_strings) + (f" {each.metavar}" if each.metavar else ""): each
        for each in actions
    }
    assert set(found) == set(expected)
    for term, each in expected.items():
        if not term.endswith(("--help", "--version")):
            assert found[term].startswith(f"{each.help}."), term


def test_the_manual_of_the_agent_has_each_metric_with_its_sentence() -> None:
    prometheus = pytest.importorskip("prometheus_client", reason="it comes with the agent")
    registry = prometheus.CollectorRegistry()
    Metrics(registry)
    text = prometheus.generate_latest(registry).decode()
    helps = dict(re.findall(r"(?m)^# HELP (\w+) (.+)$", text))
    found = dict(entries(section(MAN_AGENT, "METRICS")))
    assert found == {name: says for name, says in helps.items() if not name.endswith("_created")}


def test_the_limits_in_the_man_page_are_those_of_the_code() -> None:
    assert f"more than {files.LIMIT} bytes" in plain(section(MAN_PROGRAM, "DAY 0"))
    part = plain(section(MAN_PROGRAM, "MachineConfig, Ignition, Butane"))
    assert f"of more than {ignition.LIMIT} bytes" in part


def test_the_man_page_and_the_readme_have_every_exit_status() -> None:
    expected = [(str(each.status), each.says) for each in cli.EXITS]
    found = dict(entries(section(MAN_PROGRAM, "EXIT STATUS")))
    assert list(found) == [status for status, _ in expected]
    assert all(found[status].startswith(says) for status, says in expected)
    assert re.findall(r"(?m)^\| (\d+) \| (.*) \|$", README.replace("`", "")) == expected


KEYS = [
    pytest.param(header, name, row, id=f"{header}-{name}")
    for header, fields in config.SECTIONS.items()
    for name, row in keys.of(fields).items()
]


def written(value: object) -> str:
    """A value as boot.conf has it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def default(row: Key) -> str:
    """A default as boot.conf(5) has it."""
    said = written(row.default)
    quoted = f'"{said}"' if f'"{said}"' in row.kind.expected else said
    return f"Defaults to {quoted}." if said else "Empty by default"


@pytest.mark.parametrize(("header", "name", "row"), KEYS)
def test_the_man_page_has_the_sentence_the_limits_and_the_default_of_each_key(
    header: str, name: str, row: Key
) -> None:
    found = dict(entries(section(MAN_CONF, f"[{header}]")))
    assert list(found) == [f"{each}=" for each in keys.of(config.SECTIONS[header])]
    start = f"{row.says} Takes {row.kind.expected}. {default(row)}"
    assert found[f"{name}="].startswith(start)


@pytest.mark.parametrize(("header", "name", "row"), KEYS)
def test_the_vendors_boot_conf_has_the_sentence_the_limits_and_the_default_of_each_key(
    header: str, name: str, row: Key
) -> None:
    part = f"{VENDOR}\n[".split(f"\n[{header}]\n")[1].split("\n[")[0]
    ((comment, value),) = re.findall(rf"(?m)((?:^#.*\n)+)^{name} = (.*)$", part)
    said = re.sub(r"\s+", " ", comment.replace("#", ""))
    assert said.strip().startswith(f"{row.says} Takes {row.kind.expected}.")
    assert value == (written(row.default) or "''")


def test_the_vendors_boot_conf_has_no_other_key() -> None:
    assert len(re.findall(r"(?m)^\w", VENDOR)) == len(KEYS)
    assert config.parse([("boot.conf", VENDOR)]) == config.parse([])


def test_the_example_in_the_readme_and_in_the_man_page_is_valid() -> None:
    for text in (README, MAN_CONF):
        example = re.search(r"\[tuning\]\n(?: *\w+ = .+\n)+", text)
        assert example is not None
        lines = "\n".join(line.strip() for line in example[0].splitlines())
        assert config.parse([("example", lines)]).profile == "throughput-performance"


def test_the_table_of_folders_has_every_one_and_no_other() -> None:
    named = re.findall(r"(?m)^\| `([a-z_/]+)/` \|", HACKING)
    package = TREE / "ocp_tuned_boot"
    below = {path.parent.relative_to(package) for path in package.glob("*/**/__init__.py")}
    folders = {package.name, *map(str, below)}
    assert len(named) == len(set(named))
    assert set(named) == folders


SECTIONS = re.split(r"(?m)^## (.+)\n", (TREE / "docs/situations.md").read_text())
DOCUMENTED = dict(zip(SECTIONS[1::2], SECTIONS[2::2]))


def test_every_situation_in_the_docs_is_one_that_the_lab_makes() -> None:
    rows = re.findall(
        r"(?m)^\| (.+?) \| .* \| (Applied|Degraded|Failed)\b[^|]*\|.*\|$", SECTIONS[0]
    )
    known = {**SITUATIONS, **HELD, **BEFORE_TUNED}
    assert dict(rows) == {name: each.result.capitalize() for name, each in known.items()}
    for name, situation in SITUATIONS.items():
        (line,) = (line for line in SECTIONS[0].splitlines() if line.startswith(f"| {name} |"))
        accepted = situation.result == "applied"
        assert accepted or all(kind in line for kind, _ in situation.findings)


@pytest.mark.parametrize(
    ("section", "files"),
    [
        ("A node that has applied a profile before", ("test_gate", "test_once")),
        ("The image", ("test_fallback", "test_registry", "test_images", "test_scale")),
        ("Kills, full disks and broken files", ("test_limits",)),
        ("Beside other programs", ("test_neighbours", "test_boot")),
    ],
)
def test_every_row_about_a_fallback_the_image_or_others_has_its_test(
    section: str, files: tuple[str, ...]
) -> None:
    named = re.findall(r"(?m)^\| .* \| `(test_\w+)` \|$", DOCUMENTED[section])
    assert len(named) == len(re.findall(r"(?m)^\| ", DOCUMENTED[section])) - 1
    tests = "".join((TREE / f"tests/lab/{name}.py").read_text() for name in files)
    assert [name for name in named if f"def {name}(" not in tests] == []


def test_the_docs_have_every_finding_and_whether_it_is_fatal_or_acceptable() -> None:
    row = r"(?m)^\| `([\w-]+)` \| .+ \| (yes|no)\b.* \| (yes|no) \| .+ \|$"
    found = re.findall(row, DOCUMENTED["Findings"])
    flags = {True: "yes", False: "no"}
    expected = [(kind, flags[it.fatal], flags[it.acceptable]) for kind, it in KINDS.items()]
    assert found == expected


def failures(of: type[errors.BootError]) -> set[str]:
    """The kinds of the failures that this program expects; the node agent has some of its own."""
    below = [each for each in of.__subclasses__() if each.__module__ == errors.__name__]
    return {each.kind for each in below}.union(*map(failures, below))


def test_the_docs_have_every_failure_before_tuned_has_exited() -> None:
    found = re.findall(r"(?m)^\| `([\w-]+)` \| [^|]+ \|$", DOCUMENTED["Findings"])
    assert sorted(found) == sorted((failures(errors.BootError) | {"interrupted"}) - set(KINDS))


def test_the_table_of_folders_names_modules_that_exist() -> None:
    package = TREE / "ocp_tuned_boot"
    rows = dict(re.findall(r"(?m)^\| `([\w/]+)/` \| (.+) \|$", HACKING))
    assert len(rows) > 5
    for folder, words in rows.items():
        here = package if folder == package.name else package / folder
        for module in re.findall(r"(?:^|[:;,] )`(\w+)`", words):
            assert (here / f"{module}.py").is_file(), f"{folder}: {module}"
    top = {path.stem for path in package.glob("[a-z]*.py")}
    assert top <= set(re.findall(r"`(\w+)`", rows[package.name]))


def constants() -> str:
    """Every text in the code, without what is put into it, and every advice: one a line."""
    trees = (ast.parse(path.read_text()) for path in (TREE / "ocp_tuned_boot").rglob("*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree))
    texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
    advice = [each.advice for each in KINDS.values()]
    script = (TREE / "packaging/gate.sh").read_text()
    return "\n".join([*(text for text in texts if isinstance(text, str)), *advice, script])


def test_each_message_that_is_quoted_for_people_in_trouble_is_one_of_the_code() -> None:
    """ "…" stands for what differs."""
    quoted = re.findall(r"(?m)^> (.+)$", TROUBLE + (TREE / "docs/os-images.md").read_text())
    assert len(quoted) > 10
    # The first line of `status` begins with a capital letter, whatever it is made of.
    said = constants().replace("{subject}", "…").lower()
    for message in quoted:
        for part in message.lower().split("…"):
            assert part.strip(" :") in said, message


def spoken(functions: Iterable[str]) -> set[str]:
    """The texts of at least two words in these functions of `status`, each as far as it is fixed;
    without the docstrings."""
    tree = ast.parse((TREE / "ocp_tuned_boot/commands/status_text.py").read_text())
    bodies = [
        node.body
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name in functions
    ]
    assert len(bodies) == len(list(functions))
    nodes = [node for body in bodies for stated in body for node in ast.walk(stated)
             if not (isinstance(stated, ast.Expr) and stated is body[0])]  # fmt: skip
    texts = (node.value for node in nodes if isinstance(node, ast.Constant))
    words = (text.strip(" ;:,") for text in texts if isinstance(text, str))
    return {each for each in words if " " in each}


def test_what_status_says_first_is_found_in_the_page_for_people_in_trouble() -> None:
    first = spoken(("verdict", "_under_way", "_cause", "_tuned", "_since_then"))
    assert len(first) > 8
    pending = {
        "the requested profile has changed since", "only the image has changed",
        "Nothing has changed: nothing was applied", UNCHECKED, "did you mean",
        "the requested change was not applied",
    }  # fmt: skip
    said, trouble = constants(), TROUBLE.lower()
    assert [each for each in pending if each not in said] == []
    # A docstring has the same words as the text that it is about.
    assert [each for each in first | pending if each.lower() not in trouble] == []
    for label in ("guarded", "left over"):
        assert f"`{label}`" in TROUBLE
        assert f'"{label}"' in (TREE / "ocp_tuned_boot/commands/settings_text.py").read_text()


@pytest.mark.parametrize("name", ["troubleshooting.md", "migration.md", "os-images.md"])
def test_each_command_of_a_document_can_be_typed(name: str) -> None:
    text = (TREE / "docs" / name).read_text()
    lines = re.findall(r"(?m)^ {4,}(\S.*)$", text)
    parser = commands_parser.build(table.COMMANDS, table.GROUPS, table.OPTIONS, table.EXAMPLES)
    units = {path.name for path in UNIT_FILES} | {"ocp-tuned-one-shot.service"}
    assert len(lines) > 3
    for line in lines:
        program, *words = shlex.split(line, comments=True)
        if program == "ocp-tuned-boot":
            if words != ["--version"]:
                parser.parse_args(words)
            continue
        known = ("systemctl", "journalctl", "systemd-analyze", "df", "ls", "cat", "rm", "umount")
        assert program in known, line
        for word in words:
            if word.startswith("ocp-tuned"):
                unit = re.sub(r"@\w+|@\*", "@", word)
                assert {unit, f"{unit}.service"} & units, line


def test_the_manual_has_every_finding_and_whether_it_is_fatal_or_acceptable() -> None:
    found = [re.findall(r"[\w-]+", words) for _, words in entries(section(MAN_PROGRAM, "FINDINGS"))]
    fatal = [kind for kind, it in KINDS.items() if it.fatal]
    acceptable = [kind for kind, it in KINDS.items() if it.acceptable]
    assert found == [fatal, acceptable, [it for it in KINDS if it not in {*fatal, *acceptable}]]


@pytest.mark.parametrize("name", MANUALS)
def test_a_manual_names_findings_and_keys_that_exist(name: str) -> None:
    text = MANUALS[name]
    known = {f"{key}=" for fields in config.SECTIONS.values() for key in keys.of(fields)}
    # Those of systemd and of containers.conf.
    others = {"log_tag=", "hooks_dir="}
    assert set(re.findall(r"``([a-z_]+=)``", text)) <= known | others
    findings = re.findall(r"finding(?: is|s)?\s+``([a-z-]+)``", text)
    assert set(findings) <= set(KINDS)


@pytest.mark.parametrize("name", ["troubleshooting.md", "migration.md", "boot-flow.md"])
def test_a_document_names_findings_keys_and_units_that_exist(name: str) -> None:
    text = (TREE / "docs" / name).read_text()
    findings = [
        each
        for words in re.findall(r"finding((?: (?:is|or)?,? ?`[a-z-]+`)+)", text)
        for each in re.findall(r"`([a-z-]+)`", words)
    ]
    assert set(findings) <= set(KINDS)
    known = {f"{key}=" for fields in config.SECTIONS.values() for key in keys.of(fields)}
    assert set(re.findall(r"`([a-z_]+=)`", text)) <= known
    files = {path.name for path in UNIT_FILES} | {"ocp-tuned-one-shot.service"}
    units = re.findall(r"ocp-tuned[\w-]*@?[\w-]*\.(?:service|path|socket)", text)
    assert len(units) > 2
    assert {re.sub(r"@\w+", "@", each) for each in units} <= files
    assert findings or name != "troubleshooting.md"


def test_the_boot_flow_has_every_step_and_no_other() -> None:
    text = (TREE / "docs/boot-flow.md").read_text()
    sources = "".join(path.read_text() for path in (TREE / "ocp_tuned_boot").rglob("*.py"))
    steps = set(re.findall(r"\.step\(\s*\"([\w-]+)\"", sources))
    steps |= set(re.findall(r"\btransfer\([\w.]+, \"([\w-]+)\"", sources))
    assert set(re.findall(r"(?m)^\| `([\w-]+)` \|", text)) == steps
    assert set(re.findall(r"\bstep (\w+)$", text, re.MULTILINE)) <= steps


COMMAND = r"(?m)(?:^    |`)(make\b[^`#\n]*)"
"""A call of make in a document, up to its comment."""


@pytest.mark.parametrize("name", ["README.md", "docs/hacking.md"])
def test_a_document_names_targets_that_make_has(name: str) -> None:
    told = [shlex.split(each)[1:] for each in re.findall(COMMAND, (TREE / name).read_text())]
    targets = re.findall(r"(?m)^([a-z-]+):", (TREE / "Makefile").read_text())
    assert {words[0] for words in told if words} >= {"test", "unit", "lab", "shell", "slow"}
    for words in told:
        assert set(words[:1]) <= set(targets), words
        for tests in re.findall(r"tests/[\w/]+\.py", " ".join(words[1:])):
            assert (TREE / tests).is_file(), words


def called(*arguments: str) -> list[str]:
    """The calls of pytest that make would do, from -m on."""
    # Neither the options nor the variables of the make that runs this test.
    env = {"PATH": os.environ["PATH"]}
    command = ["make", "--dry-run", f"--directory={TREE}", *arguments]
    done = subprocess.run(command, check=True, env=env, capture_output=True, text=True)
    return re.findall(r"(?m)^\S+/python -m pytest (.*)$", done.stdout)


@pytest.mark.skipif(shutil.which("make") is None, reason="requires make")
def test_make_runs_the_tests_that_are_named_and_only_these() -> None:
    one = "tests/lab/test_gate.py -k hang"
    assert called("lab", f"TESTS={one}") == [f'-m "lab and not slow" {one}']
    assert called("unit", f"TESTS={one}") == [one]
    alone, others = called("lab")
    assert alone == '-m "lab and alone" tests'
    assert others.startswith('-m "lab and not slow and not alone" --numprocesses=2 ')


def test_make_without_a_target_changes_nothing() -> None:
    first = re.findall(r"(?m)^([\w-]+):.*\n((?:\t.*\n)*)", (TREE / "Makefile").read_text())[0]
    assert first[0] == "help"
    assert re.fullmatch(r"\t@sed -n .*\n", first[1])
