"""Earlier states of this program that nodes and pods may still run while others run this tree.

The only place that names them. Nothing has a tag yet: after a release, its commit takes the place
of the older one here.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab import cache, product

#: The first release: the last state of which NEWS.md knows nothing newer. It has no node agent.
FIRST = "0.1.0"
#: What was built last, without a release, before anything of issue 20.
LAST = "2026-11-27"
#: The commit of each.
COMMITS = {
    FIRST: "d5ad3654e527c311ecfddd3dc2260703f0573c25",
    LAST: "9cb7a02e97b6fc87bc006b223c2a4c31848cee63",
}
#: The version of the package of this tree beside them: rpm compares it.
LATER = "0.2.0"


def package(suite: str, release: str) -> Path:
    """Its RPM, built as it was built then. Raises `product.NoHistory`."""
    _need_history()
    return product.released_package(suite, COMMITS[release])


def tree(release: str) -> Path:
    """Its source. Never write to it. Raises `product.NoHistory`."""
    _need_history()
    commit = COMMITS[release]
    return cache.entry(f"tree-{release}", commit, lambda target: product.checkout(target, commit))


def _need_history() -> None:
    """Skips the test in a shallow clone, which has no earlier commits. In any other one a commit
    that is missing is an error."""
    command = ["git", "rev-parse", "--is-shallow-repository"]
    found = subprocess.run(command, cwd=product.TREE, check=True, capture_output=True, text=True)
    if found.stdout.strip() == "true":
        pytest.skip("a shallow clone does not have the earlier programs")
