"""Watches settings inside a node all the time, so that nothing that changes them goes unseen."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Optional

from tests.lab.node import Node

#: (path, from, to)
Change = tuple[str, Optional[str], Optional[str]]


class Watch:
    """`with Watch(node, *patterns) as watch:`; `changes` tells what changed since the last time."""

    def __init__(self, node: Node, *patterns: str) -> None:
        self._visit = node.popen("/usr/local/bin/lab-watch", *patterns)
        #: How many files are watched.
        self.files = 0
        #: How often all of them were read.
        self.sweeps = 0

    def __enter__(self) -> Watch:
        self.files = int(self._line())
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._visit.kill()
        self._visit.close()

    def changes(self) -> list[Change]:
        assert self._visit.stdin is not None
        self._visit.stdin.write("?")
        self._visit.stdin.flush()
        said = json.loads(self._line())
        self.sweeps += int(said["sweeps"])
        return [(path, before, after) for path, before, after in said["changes"]]

    def _line(self) -> str:
        assert self._visit.stdout is not None
        line = self._visit.stdout.readline()
        assert line, "the watcher has ended"
        return line
