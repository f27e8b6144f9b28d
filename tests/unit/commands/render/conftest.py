"""What the tests of `render` share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """A folder with one profile: text, a script, bytes that are no text."""
    folder = tmp_path / "profiles"
    (folder / "site/deep").mkdir(parents=True)
    (folder / "site/tuned.conf").write_text("[main]\nsummary=größer\n")
    (folder / "site/script.sh").write_text("#!/bin/sh\n\texit 0\n")
    (folder / "site/script.sh").chmod(0o775)
    (folder / "site/deep/blob").write_bytes(bytes(range(256)))
    (folder / "site/empty").touch()
    (folder / "README").write_text("beside the profiles: none of them\n")
    return folder
