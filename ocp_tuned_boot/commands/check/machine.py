"""What this machine says about the settings of a profile. Reads, and writes nothing."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths, sysctl_file
from ocp_tuned_boot.record.model import Value
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.settings import handover, holds, kubelet, values
from ocp_tuned_boot.settings.holds import CState
from ocp_tuned_boot.tuned import wanted
from ocp_tuned_boot.tuned.asked import Asked

_CHOSEN = re.compile(r"\[[^\[\]]+\]\Z")


@dataclass(frozen=True)
class Line:
    """A line of the host's sysctl.d that sets `value`."""

    file: str
    line: int
    value: str


@dataclass(frozen=True)
class Machine:
    """`values`: each setting of the profile as it is now; of their files (paths on the host),
    `missing` do not exist, `read_only` cannot be written by anybody, and `choices` are the words of
    which the kernel takes one. `sysctl_d`: the line of the host's sysctl.d that counts, by the file
    that it sets; `reapply`: it counts more than the
    profile. `arguments`: of the running kernel; `cpus`: the CPUs; `protected_by`: the file that
    sets protectKernelDefaults."""

    values: tuple[Value, ...] = ()
    missing: frozenset[str] = frozenset()
    read_only: frozenset[str] = frozenset()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sysctl_d: Mapping[str, Line] = field(default_factory=dict)
    reapply: bool = True
    arguments: tuple[str, ...] = ()
    cpus: frozenset[int] = frozenset()
    cstates: tuple[CState, ...] = ()
    protected_by: Path | None = None


def read(paths: Paths, meaning: Asked, *, reapply: bool) -> Machine:
    """This machine, for the settings of this profile. Raises `HostError`."""
    found = values.read_back(paths.root, wanted.settings(meaning))
    named = [each.path for each in found if each.path]
    return Machine(
        found,
        frozenset(path for path in named if not os.path.lexists(f"{paths.root}{path}")),
        frozenset(path for path in named if _is_read_only(paths.root, path)),
        {path: words for path in named if (words := _choices(paths.root, path))},
        _sysctl_d(paths),
        reapply,
        inputs.kernel_arguments(paths),
        _cpus(paths),
        holds.cstates(paths),
        kubelet.look(paths).protected_by,
    )


def _is_read_only(root: Path, path: str) -> bool:
    try:
        mode = os.stat(f"{root}{path}").st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and not mode & 0o222


def _choices(root: Path, path: str) -> tuple[str, ...]:
    """The words of a file such as `always [madvise] never`, which shows all that it takes; none of
    another one."""
    # The kernel loads the module of a scheduler that it does not show yet (block/elevator.c).
    if not path.startswith("/sys/") or path.endswith("/queue/scheduler"):
        return ()
    try:
        text = files.read(files.resolved(root / path.lstrip("/"))).decode(errors="replace")
    except (FileNotFoundError, HostError):
        return ()
    words = text.split() if len(text.splitlines()) == 1 else []
    chosen = [word for word in words if _CHOSEN.match(word)]
    return tuple(word.strip("[]") for word in words) if len(chosen) == 1 else ()


def _sysctl_d(paths: Paths) -> dict[str, Line]:
    """Of several lines for one file, the last one counts."""
    found = {}
    for path in paths.sysctl_files:
        for number, key, value in handover.sysctl_d_lines(path):
            found[sysctl_file(key)] = Line(str(path), number, value)
    return found


def _cpus(paths: Paths) -> frozenset[int]:
    """The CPUs that the machine has; none if that is not known."""
    try:
        text = files.read(paths.cpus_present).decode()
        return frozenset(_numbers(text.strip()))
    except (FileNotFoundError, HostError, ValueError):
        return frozenset()


def _numbers(text: str) -> Iterator[int]:
    """The numbers of a list such as `0-3,8`. Raises `ValueError`."""
    for each in text.split(","):
        first, _, last = each.partition("-")
        yield from range(int(first), int(last or first) + 1)
