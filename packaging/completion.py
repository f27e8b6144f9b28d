"""Prints the completion for bash, made from the tables in ocp_tuned_boot/commands/table.py.

`make completion` writes it to packaging/completions/; a test fails when that is out of date.
Asking the program itself at each TAB would start Python each time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from ocp_tuned_boot.commands import table
from ocp_tuned_boot.commands.command import Option

SCRIPT = """\
# Completion for ocp-tuned-boot(8). Made by "make completion" from the tables in
# ocp_tuned_boot/commands/table.py: do not edit.

_ocp_tuned_boot() {
    local current=$2 previous=$3 word command='' words='' files=''

    case $previous in
@values@
    esac
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $command/$word in
@commands@
        esac
    done
    case $command in
@words@
    esac
    if [[ $files && $current != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -W "--help $words" -- "$current")
    fi
}
complete -F _ocp_tuned_boot ocp-tuned-boot
"""


def values() -> Iterator[str]:
    """What may stand after an option that takes a value."""
    rows = [*table.OPTIONS, *(each for command in table.COMMANDS for each in command.options)]
    names: dict[str, list[str]] = {}
    for each in rows:
        if each.takes and not each.is_argument and each.name not in names.get(generated(each), ()):
            names.setdefault(generated(each), []).append(each.name)
    for how, those in names.items():
        yield f"        {' | '.join(those)})"
        yield f'            mapfile -t COMPREPLY < <(compgen {how} -- "$current")'
        yield "            return ;;"


def generated(option: Option) -> str:
    """What compgen makes the values of an option from. It makes none of a name or reference."""
    paths = {"DIR": "-d", "FILE": "-f"}
    return paths.get(option.takes, f"-W '{' '.join(option.choices)}'")


def commands() -> Iterator[str]:
    """The words that a command is made of."""
    names = [command.name.split() for command in table.COMMANDS]
    first = " | ".join(f"/{each}" for each in dict.fromkeys(name[0] for name in names))
    second = " | ".join("/".join(name) for name in names if len(name) == 2)
    yield f"            {first}) command=$word ;;"
    yield f'            {second}) command+=" $word" ;;'


def words() -> Iterator[str]:
    """What may stand after each command."""
    rows = table.COMMANDS
    top = dict.fromkeys(row.name.split()[0] for row in rows)
    yield f"        '') words='{named(table.OPTIONS)} {' '.join(top)}' ;;"
    for group in table.GROUPS:
        inner = [row.name.split()[1] for row in rows if row.name.startswith(f"{group} ")]
        yield f"        {group}) words='{' '.join(inner)}' ;;"
    for row in rows:
        files = any(each.is_argument and each.takes == "FILE" for each in row.options)
        yield f"        '{row.name}') words='{named(row.options)}'{' files=1' * files} ;;"


def named(options: Iterable[Option]) -> str:
    return " ".join(each.name for each in options if not each.is_argument)


def main() -> None:
    text = SCRIPT
    for name, lines in (("values", values()), ("commands", commands()), ("words", words())):
        text = text.replace(f"@{name}@", "\n".join(lines))
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
