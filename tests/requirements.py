"""The packages that pyproject.toml names: those the program needs, and those of the extras given.

An environment of the tests has these and not the program itself: that is always the one of the
tree the tests run in.
"""

from __future__ import annotations

import sys
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def of(*extras: str) -> list[str]:
    """As pip takes them."""
    # Not on Python 3.9, where the unit tests run, too.
    import tomllib

    project = tomllib.loads(PYPROJECT.read_text())["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(each for extra in extras for each in optional[extra])]


if __name__ == "__main__":
    print("\n".join(of(*sys.argv[1:])))
