"""Which container is the one in which TuneD keeps running."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.tuned import staying
from ocp_tuned_boot.tuned.staying import Staying

THIS = Staying("c1", "boot", "print")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(tmp_path)
    found.run.mkdir(parents=True)
    return found


def test_what_is_noted_is_read(paths: Paths) -> None:
    assert staying.read(paths) is None
    staying.note(paths, THIS)
    assert staying.read(paths) == THIS
    staying.release(paths)
    assert staying.read(paths) == Staying("", "boot", "print")
    staying.forget(paths)
    staying.forget(paths)
    assert staying.read(paths) is None
    staying.release(paths)
    assert not paths.daemon.exists()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"version": 1}', '{"version": 1, "container": 7}', '{"version": 2}']
)
def test_a_file_that_is_none_counts_as_missing(
    paths: Paths, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    paths.daemon.write_text(text)
    assert staying.read(paths) is None
    assert str(paths.daemon) in caplog.text
