"""The table of commands → the parser of the command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Callable, NoReturn

from ocp_tuned_boot import __version__
from ocp_tuned_boot.commands.command import VERBOSE, Command, Option
from ocp_tuned_boot.errors import ConfigurationError


class _Parser(argparse.ArgumentParser):
    def __init__(self, **arguments: Any) -> None:
        # Options are given in full: packaging/gate.sh looks for --config.
        super().__init__(add_help=False, allow_abbrev=False, **arguments)
        self.add_argument("-h", "--help", action="help", help="Show this help")

    def error(self, message: str) -> NoReturn:
        """As argparse does, but with the exit status of sysexits.h."""
        self.print_usage(sys.stderr)
        self.exit(os.EX_USAGE, f"{self.prog}: error: {message}\n")


def build(
    commands: Iterable[Command],
    groups: Mapping[str, str],
    options: Iterable[Option],
    examples: Mapping[str, str],
) -> argparse.ArgumentParser:
    """The parser; what it returns has the row of the table as `command`. `groups`: what each is
    for, by name; `options`: those before the command, of which --verbose may also stand after it;
    `examples`: one of each command, by its name."""
    parser = _Parser(
        prog="ocp-tuned-boot",
        description="Apply a TuneD profile from a container before the kubelet starts.",
    )
    for option in options:
        _add(parser, option)
    top = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    inner: dict[str, Any] = {}
    for command in commands:
        group, _, name = command.name.rpartition(" ")
        if group and group not in inner:
            of_group = top.add_parser(
                group, help=_literal(groups[group]), description=f"{groups[group]}."
            )
            inner[group] = of_group.add_subparsers(
                title="commands", required=True, metavar="COMMAND"
            )
        adding = inner[group] if group else top
        one = adding.add_parser(
            name, help=_literal(command.says), description=f"{command.says}.",
            epilog=f"Example: ocp-tuned-boot {examples[command.name]}",
        )  # fmt: skip
        one.set_defaults(command=command)
        for option in command.options:
            _add(one, option)
        one.add_argument(
            VERBOSE.short, VERBOSE.name, action="store_true", help=_literal(VERBOSE.says),
            default=argparse.SUPPRESS,  # what was given before the command counts
        )  # fmt: skip
    return parser


def _add(parser: argparse.ArgumentParser, option: Option) -> None:
    names = [each for each in (option.short, option.name) if each]
    says = _literal(option.says)
    if option.name == "--version":
        version = f"%(prog)s {__version__}"
        parser.add_argument(*names, action="version", version=version, help=says)
    elif not option.takes and not option.is_argument:
        parser.add_argument(*names, action="store_true", help=says)
    elif option.is_argument:
        parser.add_argument(
            option.name.lower(), metavar=option.name, type=_type(option), help=says,
            nargs="?" if option.optional else None,
        )  # fmt: skip
    else:
        parser.add_argument(
            *names, metavar=option.takes, type=_type(option), default=option.default,
            choices=option.choices or None, help=says,
        )  # fmt: skip


def _literal(text: str) -> str:
    """A help text for argparse, which would take `%post` for the name of a value. Since Python 3.14
    it refuses that as soon as the parser is built."""
    return text.replace("%", "%%")


def _type(option: Option) -> Callable[[str], Any]:
    check = option.check
    if check is None:
        return option.type

    def checked(text: str) -> str:
        try:
            return check(text, option.name)
        except ConfigurationError as error:
            # argparse itself says which option.
            raise argparse.ArgumentTypeError(error.message.partition(": ")[2]) from error

    return checked
