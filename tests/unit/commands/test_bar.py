"""A bar: on a terminal that has tqdm, and nowhere else."""

from __future__ import annotations

import io
import os
import sys
from types import ModuleType
from typing import Any

import pytest

from ocp_tuned_boot.commands import bar


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


class Tqdm:
    """What is used of tqdm: these names are its own (tqdm 4)."""

    made: list[Tqdm] = []  # noqa: RUF012

    def __init__(self, **options: Any) -> None:
        self.options, self.shown = options, list[tuple[int, Any, str]]()
        self.total: Any = None
        self.n, self.postfix, self.open = 0, "", True
        self.made.append(self)

    def __enter__(self) -> Tqdm:
        return self

    def __exit__(self, *_: object) -> None:
        self.open = False

    def set_postfix_str(self, text: str, *, refresh: bool) -> None:
        assert not refresh
        self.postfix = text

    def refresh(self) -> None:
        self.shown.append((self.n, self.total, self.postfix))


def has_tqdm(monkeypatch: pytest.MonkeyPatch, *, yes: bool) -> None:
    module = ModuleType("tqdm")
    module.tqdm = Tqdm  # type: ignore[attr-defined]
    # None in sys.modules: an import fails.
    monkeypatch.setitem(sys.modules, "tqdm", module if yes else None)


def test_a_bar_is_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((0, 0)))
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    has_tqdm(monkeypatch, yes=True)
    stream = Tty()
    opened = bar.on(stream)
    assert opened is not None
    with opened("Pulling \x1b[2J x") as draw:
        draw(0, 0, "Trying to pull \x1b")
        draw(5, 10, "")
    (made,) = Tqdm.made
    assert made.shown == [(0, None, "Trying to pull \\x1b"), (5, 10, "")]
    assert not made.open
    # What a registry or a pod may have written obeys no terminal.
    assert stream.getvalue() == "Pulling \\x1b[2J x...\n"
    assert made.options["file"] is stream
    # tqdm shows nothing on a terminal without a size, which a serial console is.
    assert made.options["ncols"] >= 10
    assert made.options["nrows"] >= 2
    assert made.options["ascii"]


@pytest.mark.parametrize(("terminal", "tqdm"), [(True, False), (False, True), (False, False)])
def test_without_a_terminal_or_without_tqdm_there_is_no_bar(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool, tqdm: bool
) -> None:
    has_tqdm(monkeypatch, yes=tqdm)
    assert bar.on(Tty() if terminal else io.StringIO()) is None
