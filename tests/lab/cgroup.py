"""The control group a machine lives in: a handle on all of its processes."""

from __future__ import annotations

import os
import re
import select
import time
from pathlib import Path

from tests.lab.patience import PATIENCE


class Cgroup:
    """A group at the top of the host's hierarchy of version 2, and of systemd's own where the
    host has both: nspawn moves what it starts in the two alike."""

    def __init__(self, name: str) -> None:
        (unified,) = _mounts("cgroup2")
        self.path = unified / name
        self._copies = [mount / name for mount in _mounts("cgroup", "name=systemd")]

    def create(self) -> None:
        for path in (self.path, *self._copies):
            path.mkdir(exist_ok=True)

    def entering(self, child: str = "") -> list[str]:
        """A command line to put before another, which then runs as a member."""
        procs = self.path / child / "cgroup.procs"
        return ["sh", "-c", f'echo 0 > "{procs}" && exec "$@"', "sh"]

    def kill(self, child: str = "", timeout: float = PATIENCE) -> None:
        """SIGKILL to every member; returns when none is left. Raises `TimeoutError`."""
        path = self.path / child
        try:
            (path / "cgroup.kill").write_text("1")
            self._wait_until_empty(path, timeout)
        except FileNotFoundError:
            return

    def remove(self) -> None:
        """Removes the group and those below it. Nobody may be in it any more."""
        for top in (self.path, *self._copies):
            for folder, _, _ in os.walk(top, topdown=False):
                os.rmdir(folder)

    @staticmethod
    def _wait_until_empty(path: Path, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        with (path / "cgroup.events").open() as events:
            change = select.poll()
            change.register(events, select.POLLPRI)
            while "populated 1" in events.read():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"{path} still has members after {timeout} s")
                change.poll(left * 1000)
                events.seek(0)


def _mounts(fstype: str, option: str = "") -> list[Path]:
    """Where filesystems of this type (with this superblock option) are mounted."""
    found = re.compile(rf"^(?:\S+ ){{4}}(?P<point>\S+) .* - {fstype} \S+ (?P<options>\S+)$")
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    matches = [match for match in map(found.match, lines) if match]
    return [Path(m["point"]) for m in matches if not option or option in m["options"].split(",")]
