"""What rows are on a terminal so wide that nothing is wrapped."""

from __future__ import annotations

from collections.abc import Iterable

from ocp_tuned_boot.commands.terminal import Row, Terminal

WIDE = Terminal(columns=10_000)


def lines(rows: Iterable[Row]) -> list[str]:
    return WIDE.text(rows).splitlines()
