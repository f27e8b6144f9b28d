"""docs/versions.md is what `make matrix` has found, of all that the lab knows."""

from __future__ import annotations

import re

import pytest

from tests import on_every_python
from tests.lab import cells, matrix, previous, product, rootfs

TEXT = matrix.DOCUMENT.read_text()
NOT_RUN = matrix.Results({}).cell("system", "", "")


def test_the_document_is_what_the_last_run_has_found() -> None:
    assert matrix.with_tables(TEXT, matrix.read()) == TEXT


def test_every_system_and_release_that_the_lab_knows_has_a_row() -> None:
    assert {*rootfs.SUITES, rootfs.NEXT} <= set(matrix.SYSTEMS)
    found = matrix.read().found
    for suite in matrix.SYSTEMS:
        assert f"| {found[suite]['TuneD']} |" in TEXT
        assert f" {found[suite]['systemd']} |" in TEXT
    for row in (*previous.COMMITS, *on_every_python.VERSIONS):
        assert f"| {row} | " in TEXT


def test_with_each_system_and_each_tuned_something_was_run() -> None:
    results = matrix.read()
    for suite in matrix.SYSTEMS:
        assert any(results.cell("system", check, suite) != NOT_RUN for check in cells.CHECKS)
        for image in matrix.SYSTEMS:
            assert results.cell("tuned", image, suite) != NOT_RUN
    for release in previous.COMMITS:
        assert any(results.cell("earlier", release, suite) != NOT_RUN for suite in matrix.SYSTEMS)


def test_what_a_run_finds_replaces_its_cell_only() -> None:
    results = matrix.read()
    results.remember("tuned", "trixie", "bookworm", "failed")
    changed = matrix.with_tables(TEXT, results)
    ((old, new),) = [
        (old, new) for old, new in zip(TEXT.splitlines(), changed.splitlines()) if old != new
    ]
    assert new.replace("**failed**", "passed", 1) == old


def test_a_table_that_is_not_there_is_missed() -> None:
    with pytest.raises(ValueError, match="below the heading Systems"):
        matrix.with_tables("# Versions\n", matrix.read())


def test_the_tests_that_it_names_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", TEXT)
    assert named
    assert [name for name in named if not (product.TREE / name).is_file()] == []
