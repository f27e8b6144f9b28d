"""Which file system is full is said by its name, with what helps there."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocp_tuned_boot.host import space
from ocp_tuned_boot.host.paths import Paths

MIB = 1024 * 1024


def test_a_path_belongs_to_the_file_system_that_is_mounted_above_it() -> None:
    assert space.mount_point(Path("/proc/self/status")) == Path("/proc")
    assert space.mount_point(Path("/proc/none/there")) == Path("/proc")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/run/ocp-tuned-boot/status.json", "is in memory"),
        ("/run", "is in memory"),
        ("/runner/x", "free disk space"),
        ("/proc/x", "The file system /proc is full: free disk space and try again."),
    ],
)
def test_what_helps_a_file_system_that_is_full(path: str, words: str) -> None:
    assert words in space.full_hint(Path(path))


@pytest.mark.parametrize(
    ("free", "low", "full"),
    [(16 * MIB, False, False), (16 * MIB - 1, True, False), (MIB - 1, True, True)],
)
def test_when_it_is_low(free: int, low: bool, full: bool) -> None:
    found = space.Space(Path("/run"), free, space.RUN, "a run")
    assert (found.is_low, found.is_full) == (low, full)


def test_the_space_of_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert [it.folder for it in space.of_own_files(paths)] == [paths.run, paths.state]
    assert all(it.free > 0 for it in space.of_own_files(paths))
