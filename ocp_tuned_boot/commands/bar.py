"""A bar that shows how far a transfer has got, for a person at a terminal.

It needs tqdm (python3-tqdm in Debian and EPEL). Without it, and where standard error is no
terminal, how far it has got is logged, a line every few seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from ocp_tuned_boot.commands.terminal import Terminal
from ocp_tuned_boot.errors import one_line

if TYPE_CHECKING:
    from ocp_tuned_boot.host.clock import Bar, Draw


def on(stream: TextIO) -> Bar | None:
    """What opens a bar on this stream; None if it is no terminal, or without tqdm."""
    if not stream.isatty():
        return None
    try:
        from tqdm import tqdm  # noqa: PLC0415  # not for a boot
    except ImportError:
        return None

    @contextmanager
    def opened(what: str) -> Iterator[Draw]:
        terminal = Terminal.of(stream, os.environ)
        # On a line of its own: the name of an image leaves no room for a bar.
        stream.write(terminal.plain(f"{one_line(what)}…") + "\n")
        with tqdm(
            unit="B", unit_scale=True, leave=False, file=stream,
            # A serial console has no size, for which tqdm shows nothing.
            ncols=terminal.columns - 1, nrows=24, ascii=not terminal.unicode,
        ) as bar:  # fmt: skip
            yield _drawing(bar)

    return opened


def _drawing(bar: Any) -> Draw:
    def draw(done: int, total: int, words: str) -> None:
        bar.total, bar.n = total or None, done
        bar.set_postfix_str(one_line(words), refresh=False)
        bar.refresh()

    return draw
