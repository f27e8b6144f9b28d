"""How much time the active run has left, as people see it."""

from __future__ import annotations

import time
from pathlib import Path

from ocp_tuned_boot import lock
from ocp_tuned_boot.host.paths import Paths


def test_only_an_active_run_has_time_left(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert lock.left(paths) is None
    with lock.locked(paths):
        assert lock.left(paths) is None  # it has not said it yet
        lock.ends(paths, time.monotonic() + 1000)
        left = lock.left(paths)
        assert left is not None
        assert 900 < left < 1001
        lock.ends(paths, time.monotonic() - 1)
        assert lock.left(paths) == 0.0
        paths.deadline.write_text("soon")
        assert lock.left(paths) is None
    assert lock.left(paths) is None


def test_the_time_of_an_earlier_run_is_not_that_of_the_next(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    with lock.locked(paths):
        lock.ends(paths, time.monotonic() + 1000)
    with lock.locked(paths):
        assert lock.left(paths) is None


def test_no_other_user_may_hold_the_lock(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    with lock.locked(paths):
        assert paths.lock.stat().st_mode & 0o777 == 0o600
