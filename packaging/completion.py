"""Writes the completions for bash, zsh and fish, made from the tables in
ocp_tuned_boot/commands/table.py.

    completion.py FOLDER

`make completion` writes them to packaging/completions/; a test fails when they are out of date.
Asking the program itself at each TAB would start Python each time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from ocp_tuned_boot.commands import table
from ocp_tuned_boot.commands.command import Command, Option

HEADER = """\
# Completion for ocp-tuned-boot(8). Made by "make completion" from the tables in
# ocp_tuned_boot/commands/table.py: do not edit."""

HELP = Option("--help", "Show this help", short="-h")


# The model: what may stand where. All writers use it.


def top() -> dict[str, str]:
    """The first words of a command line, and what each does: commands and groups of them."""
    names = dict.fromkeys(row.name.split()[0] for row in table.COMMANDS)
    single = {row.name: row.says for row in table.COMMANDS}
    return {name: table.GROUPS.get(name) or single[name] for name in names}


def inner(group: str) -> dict[str, str]:
    """The second words of the commands of a group."""
    rows = (row for row in table.COMMANDS if row.name.startswith(f"{group} "))
    return {row.name.split()[1]: row.says for row in rows}


def options(row: Command) -> list[Option]:
    return [*(each for each in row.options if not each.is_argument), HELP]


def arguments(row: Command) -> list[Option]:
    return [each for each in row.options if each.is_argument]


def before() -> list[Option]:
    """The options before the command."""
    return [*table.OPTIONS, HELP]


def with_values() -> list[str]:
    """The names of all options that take a value."""
    rows = [*before(), *(each for row in table.COMMANDS for each in row.options)]
    return list(dict.fromkeys(it.name for it in rows if it.takes and not it.is_argument))


def quoted(text: str) -> str:
    """As one word of bash or zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


# bash

BASH = """\
{header}

_ocp_tuned_boot() {{
    local current=$2 previous=$3 word command='' words='' files=''

    case $previous in
{values}
    esac
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case $command/$word in
{commands}
        esac
    done
    case $command in
{words}
    esac
    if [[ $files && $current != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -W "--help $words" -- "$current")
    fi
}}
complete -F _ocp_tuned_boot ocp-tuned-boot
"""


def bash() -> str:
    return BASH.format(
        header=HEADER,
        values="\n".join(_bash_values()),
        commands="\n".join(_bash_commands()),
        words="\n".join(_bash_words()),
    )


def _bash_values() -> Iterator[str]:
    """What may stand after an option that takes a value."""
    rows = [*table.OPTIONS, *(each for command in table.COMMANDS for each in command.options)]
    names: dict[str, list[str]] = {}
    for each in rows:
        if each.takes and not each.is_argument:
            names.setdefault(_compgen(each), []).append(each.name)
    for how, those in names.items():
        yield f"        {' | '.join(dict.fromkeys(those))})"
        yield f'            mapfile -t COMPREPLY < <(compgen {how} -- "$current")'
        yield "            return ;;"


def _compgen(option: Option) -> str:
    """What compgen makes the values of an option from. It makes none of a name or reference."""
    paths = {"DIR": "-d", "FILE": "-f"}
    return paths.get(option.takes, f"-W '{' '.join(option.choices)}'")


def _bash_commands() -> Iterator[str]:
    """The words that a command is made of."""
    second = [f"{group}/{name}" for group in table.GROUPS for name in inner(group)]
    yield f"            {' | '.join(f'/{name}' for name in top())}) command=$word ;;"
    yield f'            {" | ".join(second)}) command+=" $word" ;;'


def _bash_words() -> Iterator[str]:
    """What may stand after each command."""
    yield f"        '') words='{_names(table.OPTIONS)} {' '.join(top())}' ;;"
    for group in table.GROUPS:
        yield f"        {group}) words='{' '.join(inner(group))}' ;;"
    for row in table.COMMANDS:
        taken = arguments(row)
        files = any(each.takes in ("FILE", "DIR") for each in taken)
        choices = "".join(f" {word}" for each in taken for word in each.choices)
        words = _names(it for it in row.options if not it.is_argument) + choices
        yield f"        '{row.name}') words='{words}'{' files=1' * files} ;;"


def _names(rows: Iterable[Option]) -> str:
    return " ".join(each.name for each in rows)


# zsh

ZSH = """\
#compdef ocp-tuned-boot
{header}
{functions}
_ocp-tuned-boot "$@"
"""

ZSH_FUNCTION = """
{name}() {{
    local curcontext=$curcontext state line
    local -a commands
    typeset -A opt_args

    _arguments -C \\
        {options} \\
        '1: :->command' '*:: :->arguments' && return
    case $state in
        command)
            commands=(
                {commands}
            )
            _describe -t commands command commands ;;
        arguments)
            case $words[1] in
                {arguments}
            esac ;;
    esac
}}
"""


def zsh() -> str:
    single = [row for row in table.COMMANDS if row.name in top()]
    groups = [f"{name}) _ocp-tuned-boot-{name} ;;" for name in table.GROUPS]
    functions = [_zsh_function("", before(), top(), [*map(_zsh_case, single), *groups])]
    for name in table.GROUPS:
        rows = [row for row in table.COMMANDS if row.name.startswith(f"{name} ")]
        functions.append(_zsh_function(f"-{name}", [HELP], inner(name), map(_zsh_case, rows)))
    return ZSH.format(header=HEADER, functions="".join(functions))


def _zsh_function(
    name: str, rows: Iterable[Option], words: dict[str, str], cases: Iterable[str]
) -> str:
    commands = (quoted(f"{word}:{_zsh_escaped(says, ':')}") for word, says in words.items())
    return ZSH_FUNCTION.format(
        name=f"_ocp-tuned-boot{name}",
        options=_zsh_lines((spec for row in rows for spec in _zsh_specs(row)), 8, " \\"),
        commands=_zsh_lines(commands, 16),
        arguments=_zsh_lines(cases, 16),
    )


def _zsh_lines(lines: Iterable[str], indent: int, end: str = "") -> str:
    return f"{end}\n{' ' * indent}".join(lines)


def _zsh_case(row: Command) -> str:
    """What may stand after a command."""
    specs = [spec for option in options(row) for spec in _zsh_specs(option)]
    specs += [quoted(f":{each.name}:{_zsh_action(each)}") for each in arguments(row)]
    lines = _zsh_lines(["_arguments", *specs], 24, " \\")
    return f"{row.name.split()[-1]})\n{' ' * 20}{lines} ;;"


def _zsh_escaped(text: str, characters: str) -> str:
    return "".join(f"\\{each}" if each in characters else each for each in text)


def _zsh_specs(option: Option) -> Iterator[str]:
    says = _zsh_escaped(option.says, "[]:")
    if option.takes:
        yield quoted(f"{option.name}=[{says}]:{option.takes}:{_zsh_action(option)}")
    elif option.short:
        apart = f"({option.short} {option.name})"
        yield from (quoted(f"{apart}{name}[{says}]") for name in (option.short, option.name))
    else:
        yield quoted(f"{option.name}[{says}]")


def _zsh_action(option: Option) -> str:
    """What the values of an option are completed with; a space: they are not."""
    paths = {"DIR": "_files -/", "FILE": "_files"}
    return paths.get(option.takes) or (f"({' '.join(option.choices)})" if option.choices else " ")


# fish

FISH = """\
{header}

# The words of the command line that are neither options nor their values.
function __ocp_tuned_boot_words
    set -l value
    for word in (commandline -opc)[2..]
        if set -q value[1]
            set value
        else if contains -- $word {with_values}
            set value next
        else if not string match -q -- '-*' $word
            echo $word
        end
    end
end

# Whether these are all words so far.
function __ocp_tuned_boot_is
    test "$(__ocp_tuned_boot_words | string join ' ')" = "$argv"
end

# Whether the command is this one; arguments may follow.
function __ocp_tuned_boot_runs
    set -l words (__ocp_tuned_boot_words)
    test "$words[1..$(count $argv)]" = "$argv"
end

complete -c ocp-tuned-boot -f
{lines}
"""


def fish() -> str:
    return FISH.format(
        header=HEADER, with_values=" ".join(with_values()), lines="\n".join(_fish_lines())
    )


def _fish_lines() -> Iterator[str]:
    yield _fish("", "h", "help", HELP.says)
    for option in table.OPTIONS:
        yield _fish_option("is", "", option)
    for name, says in top().items():
        yield _fish_word("", name, says)
    for group in table.GROUPS:
        for name, says in inner(group).items():
            yield _fish_word(group, name, says)
    for row in table.COMMANDS:
        for option in row.options:
            # "complete -f" above: an argument is not completed with files.
            if not option.is_argument or _fish_values(option) != "-x":
                yield _fish_option("runs", row.name, option)


def _fish_word(group: str, name: str, says: str) -> str:
    return f"complete -c ocp-tuned-boot -n {_condition('is', group)} -a {name} -d {_single(says)}"


def _condition(how: str, words: str) -> str:
    return _single(f"__ocp_tuned_boot_{how} {words}".rstrip())


def _fish_option(how: str, words: str, option: Option) -> str:
    when = f"-n {_condition(how, words)} "
    if option.is_argument:
        return f"complete -c ocp-tuned-boot {when}{_fish_values(option)[3:]}"
    short, name = option.short.lstrip("-"), option.name.lstrip("-")
    return _fish(when, short, name, option.says, _fish_values(option) if option.takes else "")


def _fish(when: str, short: str, name: str, says: str, values: str = "") -> str:
    names = f"-s {short} -l {name}" if short else f"-l {name}"
    return " ".join(f"complete -c ocp-tuned-boot {when}{names} {values} -d {_single(says)}".split())


def _fish_values(option: Option) -> str:
    """The options of `complete` for a value."""
    paths = {"DIR": "-x -a '(__fish_complete_directories)'", "FILE": "-r -F"}
    choices = f" -a {_single(' '.join(option.choices))}" if option.choices else ""
    return paths.get(option.takes) or f"-x{choices}"


def _single(text: str) -> str:
    """As one word of fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


FILES = {"ocp-tuned-boot": bash, "_ocp-tuned-boot": zsh, "ocp-tuned-boot.fish": fish}


def main(folder: str) -> None:
    for name, write in FILES.items():
        Path(folder, name).write_text(write())


if __name__ == "__main__":
    main(sys.argv[1])
