"""What is being written is read once it is whole."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from ocp_tuned_boot.errors import ConfigurationError, HostError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import config, inputs, settled
from tests.unit.patience import no_hang

CONFIG = config.parse([])
CONF = "[tuning]\ngate = closed\nimage = localhost/b\n"


def writing(paths: Paths, *words: str) -> Iterator[None]:
    """States of the agent's: three files that belong together, one written with each step."""
    for word in words:
        for path in (paths.profiles / "site/tuned.conf", paths.profiles / "site/x.conf",
                     paths.recommend):  # fmt: skip
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"[{word}]\n")
            yield


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterator[None]], None]:
    """Has an agent work beside the reading: a step whenever that waits, and at its end time goes
    by without another one. So nothing depends on who is faster."""

    def works(agent: Iterator[None]) -> None:
        monkeypatch.setattr(settled, "QUIET", 3600.0)

        def step(_: float) -> None:
            if next(agent, "ended") == "ended":
                monkeypatch.setattr(settled, "QUIET", 0.0)

        monkeypatch.setattr(time, "sleep", step)

    return works


def test_files_that_are_being_rewritten_are_read_as_one_state(
    paths: Paths, beside: Callable[[Iterator[None]], None]
) -> None:
    shutil.rmtree(paths.profiles)
    agent = writing(paths, "first", "second", "third")
    for _ in range(4):
        next(agent)
    # Of the second state there is one file by now.
    beside(agent)
    found = settled.requested(paths, CONFIG)
    texts = {file.text for file in found.files}
    assert (found.profile, texts) == ("third", {"[third]\n"})


def test_what_is_written_while_it_is_read_is_read_again(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settled, "QUIET", 0.0)
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    states = iter(["torn", "whole"])

    def reading() -> str:
        state = next(states)
        if state == "torn":
            # Reading takes two seconds, and the file is written in the middle of it.
            clock[0] += 2
            middle = time.time() - 1
            os.utime(paths.recommend, (middle, middle))
        return state

    watched = lambda: settled._agent_files(paths)  # noqa: E731
    assert settled._settled(reading, watched) == "whole"


def test_a_file_that_is_missing_for_a_moment_is_waited_for(
    paths: Paths, beside: Callable[[Iterator[None]], None]
) -> None:
    paths.recommend.unlink()
    beside(writing(paths, "later"))
    assert settled.requested(paths, CONFIG).profile == "later"


def test_old_files_are_read_at_once(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "QUIET", 0.0)
    time.sleep(0.01)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waited"))
    assert settled.requested(paths, CONFIG) == inputs.read(paths, "tuned")


def test_an_agent_that_keeps_writing_is_reported(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settled, "PATIENCE", 0.2)
    # At each look everything counts as just written.
    monkeypatch.setattr(settled, "QUIET", 3600.0)
    with no_hang():
        with pytest.raises(HostError, match=r"this file kept changing for 0.2 s"):
            settled.requested(paths, CONFIG)


def editing(path: Path) -> Iterator[None]:
    """An editor that has emptied the file, and writes it at its next step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    yield
    path.write_text(CONF)
    yield


@pytest.mark.parametrize("drop_in", [False, True])
def test_half_of_a_boot_conf_does_not_open_a_closed_gate(
    paths: Paths, beside: Callable[[Iterator[None]], None], drop_in: bool
) -> None:
    path = paths.admin_conf.with_name("boot.conf.d") / "x.conf" if drop_in else paths.admin_conf
    editor = editing(path)
    next(editor)
    beside(editor)
    assert settled.gate(paths) == "closed"


def test_half_of_a_boot_conf_is_not_applied(
    paths: Paths, beside: Callable[[Iterator[None]], None]
) -> None:
    editor = editing(paths.admin_conf)
    next(editor)
    beside(editor)
    assert settled.config(paths).image == "localhost/b"


def test_a_boot_conf_that_is_always_being_written_has_the_gate_that_it_says(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settled, "PATIENCE", 0.0)
    monkeypatch.setattr(settled, "QUIET", 3600.0)
    paths.admin_conf.parent.mkdir(parents=True)
    paths.admin_conf.write_text(CONF)
    assert settled.gate(paths) == "closed"
    with pytest.raises(HostError, match="kept changing"):
        settled.config(paths)


def test_an_error_in_an_old_boot_conf_is_reported_at_once(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settled, "QUIET", 0.0)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waited"))
    paths.admin_conf.parent.mkdir(parents=True)
    paths.admin_conf.write_text("[tuning]\ngate = shut\n")
    with pytest.raises(ConfigurationError, match="found 'shut'"):
        settled.config(paths)


def test_a_state_that_is_being_put_in_place_is_waited_for_as_well(
    paths: Paths, beside: Callable[[Iterator[None]], None]
) -> None:
    """The agent's folder with a whole state, which counts while it exists."""
    later = inputs.whole(paths)

    def agent() -> Iterator[None]:
        shutil.copytree(paths.agent, paths.root / "copy")
        (paths.root / "copy").rename(paths.agent_next)
        yield
        for text in ("[half", "[second]\n"):
            (paths.agent_next / "recommend.d/50-openshift.conf").write_text(text)
            yield

    assert later is paths
    beside(agent())
    assert settled.requested(paths, CONFIG).profile == "second"
