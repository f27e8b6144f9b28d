"""systemd's env-file syntax. tests/lab/test_boot.py compares it with systemd."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot.errors import ConfigurationError
from ocp_tuned_boot.requested import envfile


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("# only\n; comments\n\n", {}),
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("# A=1\nB=2\n ; C='\nD=4\n# \\\nE=5\n# end", {"B": "2", "D": "4", "E": "5"}),
        ("A=1\nA=2\n", {"A": "2"}),
        ("A=\n", {"A": ""}),
        ("  A = spaced out \t\n", {"A": "spaced out"}),
        ("A='single $x \\n'\n", {"A": "single $x \\n"}),
        ('A="double \\"q\\" \\$x \\n"\n', {"A": 'double "q" $x \\n'}),
        ("A='a\\'\nB=1\n", {"A": "a\\", "B": "1"}),
        ('A="over\nlines"\nB=1\n', {"A": "over\nlines", "B": "1"}),
        ("A=joined \\\nline\n", {"A": "joined line"}),
        ("A='a'\"b\"c\n", {"A": "abc"}),
        ("A=x#y\n", {"A": "x#y"}),
        ("A=no newline", {"A": "no newline"}),
        ("_A1=x\n", {"_A1": "x"}),
    ],
)
def test_the_variables_of_a_file(text: str, expected: dict[str, str]) -> None:
    assert envfile.parse(text, "x.env") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\nnonsense\n", "x.env: line 2: found 'nonsense', expected NAME=value"),
        ("1A=x\n", "x.env: line 1: found '1A=x', expected NAME=value"),
        ("export A=x\n", "x.env: line 1: found 'export A=x', expected NAME=value"),
        ("A=1\nNTO_IMA", "x.env: line 2: found 'NTO_IMA', expected NAME=value"),
        ("x" * 99, f"x.env: line 1: found '{'x' * 80}', expected NAME=value"),
        ("=x\n", "x.env: line 1: found '=x', expected NAME=value"),
        (
            "A=1\n\nB='torn\n",
            "x.env: line 3: found no closing ', expected one; the file is incomplete",
        ),
        ('A="torn', 'x.env: line 1: found no closing ", expected one; the file is incomplete'),
    ],
)
def test_a_line_that_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        envfile.parse(text, "x.env")
    assert caught.value.message == message


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@given(st.dictionaries(NAMES, st.text(max_size=30).filter(lambda text: "\0" not in text)))
def test_quoted_values_are_read_back(variables: dict[str, str]) -> None:
    def quoted(value: str) -> str:
        for char in '\\"`$':
            value = value.replace(char, "\\" + char)
        return f'"{value}"'

    text = "".join(f"{name}={quoted(value)}\n" for name, value in variables.items())
    assert envfile.parse(text, "x.env") == variables


@given(st.text(alphabet=st.sampled_from("AB=#;'\"\\\n $x\t\r\0é"), max_size=40))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    refusal = "x.env: line "
    try:
        envfile.parse(text, "x.env")
    except ConfigurationError as error:
        refusal = error.message
    assert refusal.startswith("x.env: line ")
