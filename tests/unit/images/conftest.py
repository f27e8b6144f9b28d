"""What the tests of images share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.podman.client import Podman
from tests.unit.fake_podman import listening
from tests.unit.images.fake_store import ALL, Store


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def podman(store: Store) -> Iterator[Podman]:
    with listening(store.answer) as path, Podman(path, Deadline(ALL)) as connected:
        yield connected
