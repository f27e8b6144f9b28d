"""Two runs of user space under one kernel are told apart."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ocp_tuned_boot.host import userspace
from ocp_tuned_boot.host.paths import Paths

TREE = Path(__file__).resolve().parents[3]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    return paths


def test_the_first_run_of_user_space_has_the_name_of_the_boot(paths: Paths) -> None:
    assert userspace.named("boot", paths) == "boot"
    userspace.count_restarts(paths)
    assert userspace.named("boot", paths) == "boot"


def test_each_further_run_has_a_name_of_its_own(paths: Paths) -> None:
    userspace.count_restarts(paths)
    for count in (1, 2):
        with paths.restarts.open("a") as file:
            file.write(".")
        # The next run of this program does not start the count again.
        userspace.count_restarts(paths)
        assert userspace.named("boot", paths) == f"boot+{count}"
        assert userspace.kernel_of(f"boot+{count}") == "boot"


def test_systemd_tmpfiles_counts_at_boot_only_and_one_at_a_time() -> None:
    """What `named` reads. That systemd-tmpfiles does this is tested in tests/lab/."""
    made = (TREE / "packaging/tmpfiles.conf").read_text()
    (line,) = re.findall(rf"(?m)^\S+ {Paths().restarts} .*$", made)
    kind, _, *unset, text = line.split()
    assert kind == "w+!"
    assert unset == ["-"] * 4
    assert len(text) == 1
