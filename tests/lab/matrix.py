"""docs/versions.md: runs the cells of its tables, and writes what they said.

    python3 -m tests.lab.matrix [ARGUMENT OF PYTEST...]

Without arguments all of them, otherwise those that pytest then selects; the others stay as they
were. What was found is kept in docs/versions.json, and the tables are made of that.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab import cache, product, rootfs, tunedroot

#: The systems, by suite, from the oldest to the newest.
SYSTEMS = {"bookworm": "Debian 12", "trixie": "Debian 13", rootfs.NEXT: "Debian testing"}
#: A system as well, on which less is run.
NEXT_PODMAN = "experimental"
#: What a system is known by: a title, and the package whose version it is.
PARTS = {"systemd": "systemd", "Podman": "podman", "Python": "python3"}

DOCUMENT = product.TREE / "docs/versions.md"
RESULTS = product.TREE / "docs/versions.json"

#: Says which cell a test is: the table, its row and its column.
Cell = Callable[[str, str, str], None]
_WORDS = {"passed": "passed", "failed": "**failed**", "skipped": "–"}


class Results:
    """What is known, as in docs/versions.json: `found`, versions by suite and title; `cells`, the
    outcome by table, row and column; `day` of the last run."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    @property
    def found(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = self.content.setdefault("found", {})
        return found

    def cell(self, table: str, row: str, column: str) -> str:
        outcome = self.content.get("cells", {}).get(table, {}).get(row, {}).get(column)
        return _WORDS[outcome] if outcome else "not run"

    def remember(self, table: str, row: str, column: str, outcome: str) -> None:
        cells = self.content.setdefault("cells", {})
        cells.setdefault(table, {}).setdefault(row, {})[column] = outcome


class Plugin:
    """Of pytest: keeps what each cell says. At once: a run takes long, and another one may run
    beside it."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        where = str(dict(report.user_properties).get("cell", ""))
        if where and (report.when == "call" or report.outcome == "failed"):
            table, row, column = where.split("|")
            with changing() as results:
                results.remember(table, row, column, report.outcome)


def read() -> Results:
    return Results(json.loads(RESULTS.read_text()))


@contextmanager
def changing() -> Iterator[Results]:
    """The results, which are written at the end, and the document with them."""
    with cache.lock(cache.directory() / "versions.lock"):
        results = read()
        yield results
        RESULTS.write_text(json.dumps(results.content, indent=1, sort_keys=True) + "\n")
        DOCUMENT.write_text(with_tables(DOCUMENT.read_text(), results))


def with_tables(text: str, results: Results) -> str:
    """The document with these results. Below each heading, its first table is replaced."""
    text = re.sub(r"(?m)^Last run: .*$", f"Last run: {results.content['day']}.", text)
    for heading, table in _tables(results).items():
        below = re.compile(rf"(?s)(\n## {re.escape(heading)}\n.*?\n\n)\|.*?\n(?=\n|\Z)")
        lines = "".join(f"| {' | '.join(row)} |\n" for row in table)
        first, _, rest = lines.partition("\n")
        ruled = f"{first}\n{'|---' * len(table[0])}|\n{rest}"
        match = below.search(text)
        if match is None:
            raise ValueError(f"there is no table below the heading {heading}")
        text = text[: match.end(1)] + ruled + text[match.end() :]
    return text


def _tables(results: Results) -> dict[str, list[list[str]]]:
    """By heading."""
    from tests import on_every_python
    from tests.lab import cells, previous

    systems, found = list(SYSTEMS), results.found
    titles = list(SYSTEMS.values())

    def across(table: str, row: str) -> list[str]:
        return [results.cell(table, row, system) for system in systems]

    versions = [
        [title, *(found.get(system, {}).get(title, "?") for system in systems)] for title in PARTS
    ]
    tuned = {system: found.get(system, {}).get("TuneD", "?") for system in systems}
    return {
        "Systems": [
            ["", *titles],
            *versions,
            *([check, *across("system", check)] for check in cells.CHECKS),
        ],
        "TuneD": [
            ["TuneD in the image", *(f"on {title}" for title in titles),
             f"with Podman {found.get(NEXT_PODMAN, {}).get('Podman', '?')}",
             "means and does the same"],
            *(
                [tuned[image], *across("tuned", image),
                 results.cell("tuned", image, NEXT_PODMAN), results.cell("said", "", image)]
                for image in systems
            ),
        ],
        "Earlier programs and node agents": [
            ["program", *titles],
            *([release, *across("earlier", release)] for release in previous.COMMITS),
        ],
        "Python": [
            ["Python", "unit tests"],
            *(
                [version, results.cell("python", version, "unit tests")]
                for version in on_every_python.VERSIONS
            ),
        ],
    }  # fmt: skip


def versions(suite: str) -> dict[str, str]:
    """What a system of this suite has, without Debian's revision."""
    of_node = {title: _version(rootfs.base_root(suite), name) for title, name in PARTS.items()}
    return {**of_node, "TuneD": _version(tunedroot.root_of(suite), "tuned")}


def _version(root: Path, package: str) -> str:
    done = subprocess.run(
        ["dpkg-query", f"--root={root}", "--show", "--showformat=${Version}", package],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return re.split(r"[-+~]", done.stdout.partition(":")[2] or done.stdout)[0]


def main(*arguments: str) -> int:
    found = {suite: versions(suite) for suite in SYSTEMS}
    found[NEXT_PODMAN] = {"Podman": _version(rootfs.next_podman_root(), "podman")}
    with changing() as results:
        results.content["day"] = time.strftime("%Y-%m-%d")
        results.found.update(found)
    # A cell may take longer than any test.
    quiet = (
        "-p",
        "no:cacheprovider",
        "-o",
        "faulthandler_timeout=0",
        "-W",
        "ignore:Module already",
    )
    return int(pytest.main([*quiet, "tests/lab/cells.py", *arguments], plugins=[Plugin()]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
