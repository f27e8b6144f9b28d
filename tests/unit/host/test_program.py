"""Whatever a program does, what it printed is returned in time, and nothing of it remains."""

from __future__ import annotations

import time

import pytest

from ocp_tuned_boot.host.program import printed
from tests.unit.patience import eventually

LIMIT = 1000


def shell(script: str, seconds: float = 30, *, last: bool = False) -> tuple[str, str]:
    found = printed(["sh", "-c", script], seconds, LIMIT, last=last)
    return found.text, found.problem


def test_what_it_prints_and_its_errors() -> None:
    assert shell("echo a; echo b >&2") == ("a\nb\n", "")
    assert shell("echo a; exit 3") == ("a\n", "exit status 3")
    assert shell("kill -9 $$") == ("", "exit status -9")
    assert shell("printf '\\377'") == ("\ufffd", "")


def test_a_program_that_is_not_there() -> None:
    assert (
        printed(["/no/such"], 1, LIMIT).problem == "cannot run /no/such: No such file or directory"
    )


def test_it_has_no_input_and_none_of_our_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "x")
    assert shell("cat; echo $LD_PRELOAD.") == (".\n", "")


def test_of_what_is_too_long_the_beginning_or_the_end_is_kept_in_whole_lines() -> None:
    many = "seq -f 'line %03g' 1 999"
    first, problem = shell(many)
    assert problem == "longer than 1000 bytes: the rest is left out"
    assert first.split("\n") == [f"line {it:03}" for it in range(1, 112)]
    last, problem = shell(many, last=True)
    assert problem == "longer than 1000 bytes: the beginning is left out"
    assert last.split("\n") == [*(f"line {it:03}" for it in range(889, 1000)), ""]


@pytest.mark.parametrize("script", ["yes", "yes >&2", "while :; do echo; done"])
@pytest.mark.parametrize("last", [False, True])
def test_one_that_never_ends_is_ended(script: str, last: bool) -> None:
    text, problem = shell(script, 0.5, last=last)
    assert len(text) <= LIMIT
    assert problem


def test_one_that_hangs_is_killed_with_all_that_it_has_started() -> None:
    began = time.monotonic()
    text, problem = shell("trap '' TERM; sleep 1000 & echo $!; wait", 0.5)
    assert problem == "no answer within 0 s" or problem.startswith("no answer")
    assert time.monotonic() - began < 20
    process = int(text)

    def is_gone() -> bool:
        try:
            with open(f"/proc/{process}/stat", encoding="utf-8") as stat:
                return stat.read().split()[2] == "Z"
        except FileNotFoundError:
            return True

    eventually(is_gone)


def test_one_that_closes_its_output_and_hangs_is_not_waited_for() -> None:
    assert shell("echo a; exec >&- 2>&-; exec sleep 1000")[0] == "a\n"


def test_one_whose_child_keeps_the_output_open_is_ended_in_time() -> None:
    text, problem = shell("echo a; sleep 1000 &", 0.5)
    assert text == "a\n"
    assert problem.startswith("no answer")
