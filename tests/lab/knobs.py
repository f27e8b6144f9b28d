"""Settings of the machine's one kernel, which every node here shares: set before, restored after.

A machine forgets its settings when it reboots, a lab node does not: `KernelKnobs` is the reset.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Optional

from tests.lab import cache

USED = "the kernel settings"
# Everything that a stock profile of TuneD may set outside a network namespace.
_WATCHED = (
    "proc/sys/vm/*",
    "proc/sys/fs/**/*",
    "proc/sys/kernel/**/*",
    "sys/kernel/mm/transparent_hugepage/**/*",
    "sys/kernel/mm/ksm/*",
    "sys/kernel/mm/swap/*",
    "sys/block/*/queue/read_ahead_kb",
    "sys/block/*/queue/scheduler",
    "sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    "sys/devices/system/cpu/cpu*/power/energy_perf_bias",
    "sys/devices/system/cpu/cpu*/power/pm_qos_resume_latency_us",
    "sys/module/*/parameters/*",
)
# To read or write these is to do something, or they change by themselves.
_ACTIONS = re.compile(
    r"proc/sys/(kernel/(random/|ns_last_pid|cad_pid|modules_disabled|kexec_load)"
    r"|fs/(binfmt_misc|quota)/|vm/(drop_caches|compact_memory|stat_refresh))"
)
# Setting one of a pair sets the other to zero. The kernel refuses a zero, or sets the first one to
# zero again.
_PAIRS = {
    f"proc/sys/vm/{one}": f"proc/sys/vm/{other}"
    for pair in (
        ("dirty_bytes", "dirty_ratio"), ("dirty_background_bytes", "dirty_background_ratio"),
        ("overcommit_kbytes", "overcommit_ratio"),
    )
    for one, other in (pair, pair[::-1])
}  # fmt: skip
# A choice is shown as `always [madvise] never`, and written as the word in brackets.
_CHOSEN = re.compile(r"\[([^\]]+)\]")


class KernelKnobs:
    """Sets knobs (path → value); afterwards every knob that a profile may touch is what it was.

    One holder at a time on this machine: others wait. The values to go back to are in a file
    before anything is set, so that the next holder restores what a killed one has left.
    """

    def __init__(self, values: Mapping[str, str], root: Path = Path("/")) -> None:
        self._values = values
        self._root = root
        self._stack = ExitStack()

    def __enter__(self) -> KernelKnobs:
        with ExitStack() as stack:
            stack.enter_context(cache.lock(self._originals.with_suffix(".lock"), USED))
            self._restore()
            partial = self._originals.with_suffix(".partial")
            partial.write_text(json.dumps(_snapshot(self._root)))
            partial.rename(self._originals)
            stack.callback(self._restore)
            self.reset()
            self._stack = stack.pop_all()
        return self

    def reset(self) -> None:
        """Sets the knobs again, as a kernel that boots does."""
        for path, value in self._values.items():
            (self._root / path.lstrip("/")).write_text(value)

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._stack.close()

    @property
    def _originals(self) -> Path:
        return cache.directory() / "knobs.json"

    def _restore(self) -> None:
        """Raises `OSError` if the kernel does not take a value back; all others are restored."""
        if not self._originals.exists():
            return
        originals = json.loads(self._originals.read_text())
        with ExitStack() as stack:
            for name, value in originals.items():
                path = self._root / name
                replaced = value == "0" and originals.get(_PAIRS.get(name, ""), "0") != "0"
                if not replaced and _read(path) not in (value, None):
                    stack.callback(path.write_text, value)
        self._originals.unlink()


def _snapshot(root: Path) -> dict[str, str]:
    found = {}
    for pattern in _WATCHED:
        for path in _files(root, pattern):
            value = _read(path)
            if value is not None:
                found[str(path.relative_to(root))] = value
    return found


def _files(root: Path, pattern: str) -> Iterator[Path]:
    """What root can read but not write is no knob."""
    for path in root.glob(pattern):
        acts = _ACTIONS.match(str(path.relative_to(root)))
        if not acts and path.is_file() and path.stat().st_mode & 0o600 == 0o600:
            yield path


def _read(path: Path) -> Optional[str]:
    """The value as it has to be written, or None for what cannot be read."""
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    chosen = _CHOSEN.search(text)
    return chosen[1] if chosen else text
