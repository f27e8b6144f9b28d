"""What a command and an option are, and how a plain command line is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from ocp_tuned_boot.commands.verify import Checked
    from ocp_tuned_boot.record.model import Record
    from ocp_tuned_boot.settings.drift import Drift

#: The options of one command line, an attribute each, and the row of the table as `command`.
Options = SimpleNamespace


@dataclass(frozen=True)
class Option:
    """One option, or with a name in capitals one argument.

    `takes`: the name of its value; empty for a switch. A DIR or a FILE is a `Path`, anything else
    text; None if the option is not given. `choices`: the only words it may be, the default first.
    `check(text, where)` raises `ConfigurationError`, and the exit status is that of wrong usage.
    `optional`: of an argument, whether it may be left out.
    """

    name: str
    says: str
    takes: str = ""
    short: str = ""
    choices: tuple[str, ...] = ()
    check: Callable[[str, str], str] | None = None
    optional: bool = False

    @property
    def is_argument(self) -> bool:
        return not self.name.startswith("-")

    @property
    def attribute(self) -> str:
        """Its name in `Options`."""
        return self.name.lstrip("-").replace("-", "_").lower()

    @property
    def default(self) -> Any:
        """What it is if it is not given."""
        return (self.choices[0] if self.choices else None) if self.takes else False

    @property
    def type(self) -> Callable[[str], Any]:
        """What makes its value from text."""
        return Path if self.takes in ("DIR", "FILE") else str


#: May stand before the command and after it.
VERBOSE = Option("--verbose", "Show everything", short="-v")


@dataclass(frozen=True)
class Command:
    """One command.

    `name`: one word, or two if it belongs to a group. `run` returns what decides the exit status:
    the record of a run, what was compared with the host, the status itself, or None for success.
    `shows`: it only shows something; standard output is for that, and it logs to standard error.
    `answers`: so does one that does something, and prints what a script needs next.
    """

    name: str
    run: Callable[[Options], Record | Drift | Checked | int | None]
    says: str
    options: tuple[Option, ...] = ()
    shows: bool = False
    answers: bool = False


def plain(
    commands: Iterable[Command], common: Iterable[Option], arguments: Sequence[str]
) -> Options | None:
    """The options of a command line that has nothing but a command and whole options, such as those
    of the units. None for any other: `parser` reads it, or refuses it.

    argparse alone takes as long as a fifth of a run that keeps what is applied.
    """
    words = list(arguments)
    found = Options()
    _take(words, common, found)
    named = (it for it in commands if words[: len(it.name.split())] == it.name.split())
    command = next(named, None)
    if command is None or any(it.is_argument for it in command.options):
        return None
    del words[: len(command.name.split())]
    before = found.verbose
    _take(words, (*command.options, VERBOSE), found)
    found.verbose = found.verbose or before
    found.command = command
    return None if words else found


def _take(words: list[str], options: Iterable[Option], found: Options) -> None:
    """Takes these options from the beginning of a command line, up to one that is not plain."""
    known = {it.name: it for it in options if it.name != "--version"}
    for it in known.values():
        setattr(found, it.attribute, it.default)
    while words and (option := known.get(words[0])) is not None:
        if not option.takes:
            setattr(found, option.attribute, True)
        elif option.check or option.choices or len(words) < 2 or words[1].startswith("-"):
            return
        else:
            setattr(found, option.attribute, option.type(words[1]))
            del words[1]
        del words[0]
