"""What the tests of a request share."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocp_tuned_boot.host.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A host with valid requests."""
    paths = Paths(tmp_path)
    for path, text in (
        (paths.boot_id, "boot-1\n"),
        (paths.image_env, "NTO_IMAGE=localhost/a\n"),
        (paths.recommend, "[site]\n"),
        (paths.profiles / "site/tuned.conf", "[main]\n"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return paths
