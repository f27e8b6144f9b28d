"""Another TuneD that tunes this node: that of the operator's pod, which applies changes by itself.

The host's own tuned.service is not meant: it is stopped before a profile is applied.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import HOST_TUNED
from ocp_tuned_boot.tuned.findings import Finding, make

#: The control groups of pods, by the kubelet's cgroup driver: systemd, cgroupfs. With version 1 of
#: control groups, systemd has a hierarchy of its own.
_PODS = ("kubepods.slice", "kubepods", "systemd/kubepods.slice", "systemd/kubepods")
# The program is one of the first arguments: an interpreter and its options may precede it.
_FIRST = 4


@dataclass(frozen=True)
class Other:
    """A process of TuneD, and its control group."""

    pid: int
    group: str

    @property
    def place(self) -> str:
        """Where it runs: `pod`, or the last part of its control group."""
        return "pod" if "kubepods" in self.group else self.group.rpartition("/")[2] or "host"

    @property
    def words(self) -> str:
        """For people."""
        where = "in a pod" if self.place == "pod" else f"in {self.place}"
        return f"TuneD {where} (process {self.pid})"

    def finding(self) -> Finding:
        message = f"{self.words} tunes this node as well; its control group is {self.group or '/'}"
        return make("other-tuned", self.place, message)


def running(paths: Paths) -> Other | None:
    """Another TuneD that runs now: the process that its PID file names, or one in a pod. Of several
    the first one."""
    for pid in _candidates(paths):
        process = paths.root / "proc" / str(pid)
        if _is_tuned(process):
            group = _group(process)
            if HOST_TUNED not in group.split("/"):
                return Other(pid, group)
    return None


def _candidates(paths: Paths) -> Iterator[int]:
    with suppress(FileNotFoundError, HostError, ValueError):
        yield int(files.read(paths.tuned_pid, 64))
    for name in _PODS:
        # Pods come and go meanwhile: os.walk passes over a folder that does not exist any more, and
        # Path.glob does so only from Python 3.12 on.
        for group, _, _ in os.walk(paths.cgroups / name):
            with suppress(OSError, ValueError):
                yield from map(int, Path(group, "cgroup.procs").read_text().split())


def _is_tuned(process: Path) -> bool:
    try:
        arguments = files.read(process / "cmdline").split(b"\0")[:_FIRST]
    except (FileNotFoundError, HostError):
        return False
    return any(each.endswith(b"bin/tuned") for each in arguments)


def _group(process: Path) -> str:
    """The control group of a process, with version 1 that of systemd's hierarchy."""
    try:
        lines = files.read(process / "cgroup").decode(errors="replace").splitlines()
    except (FileNotFoundError, HostError):
        return ""
    groups = [
        line.split(":", 2)[2] for line in lines if line.startswith(("0::", "1:name=systemd:"))
    ]
    return next((each for each in groups if each != "/"), "")
