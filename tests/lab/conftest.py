"""What every lab test needs of the machine."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def _root_only() -> None:
    if os.geteuid() != 0:
        pytest.exit("the lab boots nodes and sets kernel settings of this machine: run it as root")
