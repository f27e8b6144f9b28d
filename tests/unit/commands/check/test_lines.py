"""Lines are found as configparser, with which TuneD reads its profiles, understands them."""

from __future__ import annotations

import configparser

from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot.commands.check import lines

TEXT = """\
# a comment
[main]
include = base   # another one
[sysctl]
kernel.printk = 3
    4
a#b=c#d
[sysctl]
kernel.printk=5
nonsense
"""


def test_what_stands_where() -> None:
    text = lines.read(TEXT)
    assert text.line("main") == 2
    assert text.line("main", "include") == 3
    assert text.line("main", "no-such-key") == 2
    assert text.line("elsewhere", "include") == 0
    assert text.line("sysctl", "kernel.printk") == 9
    assert [(it.line, it.key, before) for it, before in text.twice()] == [
        (8, "", 4), (9, "kernel.printk", 5)
    ]  # fmt: skip
    assert [(it.line, it.found) for it in text.broken] == [(10, "nonsense")]
    values = {it.key: it.value for it in text.options()}
    assert values == {"include": "base", "kernel.printk": "5", "a#b": "c#d"}
    assert text.options("sysctl")[0].value == "3\n4"


def test_a_key_before_any_section_and_a_line_without_a_key_are_broken() -> None:
    assert [it.line for it in lines.read("a=1\n[x]\n=2\nb=3\n").broken] == [1, 3]


_PIECES = st.sampled_from(
    ["[a]", "[b]", "k=1", "k = 2 # c", "l=#3", "l=x#y", " m=4", "\tn", "# c", "; c", "",
     "  ", "o", "=5", "p=", "  q r", "k=[c]"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=8))
def test_configparser_agrees(pieces: list[str]) -> None:
    text = "\n".join(pieces)
    parser = configparser.RawConfigParser(
        delimiters=("=",), inline_comment_prefixes=("#",), strict=False
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    found = lines.read(text)
    try:
        parser.read_string(text)
    except configparser.Error:
        assert found.broken
        return
    assert not found.broken
    assert {it.section for it in found.entries} == set(parser.sections())
    for section in parser.sections():
        for key, value in parser.items(section):
            entry = found.find(section, key)
            assert entry is not None
            # Empty lines within a value are not remembered.
            assert entry.value.split() == value.split()
