"""A plain command line is read as argparse reads it, or left to argparse."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot.commands import command, parser, table
from ocp_tuned_boot.commands.command import Options

FULL = parser.build(table.COMMANDS, table.GROUPS, table.OPTIONS, table.EXAMPLES)
EVERY = [*table.OPTIONS, *(option for row in table.COMMANDS for option in row.options)]
WORDS = sorted({word for row in table.COMMANDS for word in row.name.split()})
NAMES = sorted({name for it in EVERY for name in (it.name, it.short) if name})
#: Mostly what the table has, and what may be a value, a mistake or a trap.
ANY = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(NAMES),
    st.sampled_from(["x", "", "-", "--", "-1", "-vv", "--conf", "--config=x", "fcos", "a/b", "-h"]),
)
#: Command lines that begin well.
LINES = st.one_of(
    st.lists(ANY, max_size=6),
    st.tuples(
        st.sampled_from(["", "--root x", "--verbose", "-v", "--root x --verbose"]),
        st.sampled_from([row.name for row in table.COMMANDS]),
        st.lists(ANY, max_size=4).map(shlex.join),
    ).map(lambda parts: shlex.split(" ".join(parts))),
)


@given(LINES)
def test_what_is_plain_means_the_same_to_argparse(arguments: list[str]) -> None:
    plain = command.plain(table.COMMANDS, table.OPTIONS, arguments)
    if plain is not None:
        assert plain == FULL.parse_args(arguments, Options())


@pytest.mark.parametrize(
    "line",
    ["apply", "reload", "notice", "cleanup", "image fetch", "status --json", "history",
     "--root /x apply --config /y", "--verbose reload --force", "status --verbose",
     "render ignition --profiles /x"],
)  # fmt: skip
def test_what_units_and_most_people_type_is_plain(line: str) -> None:
    assert command.plain(table.COMMANDS, table.OPTIONS, line.split()) is not None


@pytest.mark.parametrize(
    "line",
    ["", "--version", "-h", "apply -h", "apply --config", "apply --config=x", "apply x", "-v apply",
     "image", "image stage localhost/x", "render butane --variant fcos", "apply --config --json"],
)  # fmt: skip
def test_everything_else_is_left_to_argparse(line: str) -> None:
    assert command.plain(table.COMMANDS, table.OPTIONS, line.split()) is None


def test_verbose_counts_before_the_command_and_after_it() -> None:
    for line in ("-v status", "status -v", "--verbose status", "status --verbose --json"):
        assert FULL.parse_args(line.split(), Options()).verbose is True
    assert FULL.parse_args(["status"], Options()).verbose is False


@pytest.mark.parametrize("row", table.COMMANDS, ids=lambda row: row.name)
def test_the_help_of_each_command_has_an_example_that_can_be_typed(
    row: command.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        FULL.parse_args([*row.name.split(), "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    example = table.EXAMPLES[row.name]
    assert f"Example: ocp-tuned-boot {example}" in shown
    assert FULL.parse_args(shlex.split(example), Options()).command is row


@pytest.mark.parametrize("group", table.GROUPS)
def test_the_help_of_a_group_has_what_each_of_its_commands_does(
    group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        FULL.parse_args([group, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for row in table.COMMANDS:
        if row.name.startswith(f"{group} "):
            assert row.says in shown


def test_there_is_no_example_of_a_command_that_does_not_exist() -> None:
    assert list(table.EXAMPLES) == [row.name for row in table.COMMANDS]
