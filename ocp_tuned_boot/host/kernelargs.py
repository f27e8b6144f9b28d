"""The kernel command line (kernel-command-line(7)). Pure."""

from __future__ import annotations

import re

# As in the kernel (lib/cmdline.c, next_arg): in double quotes, white space is part of the argument.
_ARGUMENT = re.compile(r'(?:[^\s"]|"[^"]*(?:"|\Z))+')


def split(text: str) -> tuple[str, ...]:
    """The arguments of a command line, with their quotes."""
    return tuple(_ARGUMENT.findall(text))


def plain(argument: str) -> str:
    """An argument without its quotes: `a="b c"` and `"a=b c"` are the same to the kernel."""
    return argument.replace('"', "")
