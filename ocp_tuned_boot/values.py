"""Reads back from the host what a profile asked for, after TuneD has ended."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ocp_tuned_boot.profiles import Setting

_THP = "/sys/kernel/mm/transparent_hugepage"
# Options of TuneD's vm plugin (tuned/plugins/plugin_vm.py), by the file that each is.
_VM = {
    "transparent_hugepages": f"{_THP}/enabled",
    "transparent_hugepage": f"{_THP}/enabled",
    "transparent_hugepage.defrag": f"{_THP}/defrag",
    "dirty_bytes": "/proc/sys/vm/dirty_bytes",
    "dirty_ratio": "/proc/sys/vm/dirty_ratio",
    "dirty_background_bytes": "/proc/sys/vm/dirty_background_bytes",
    "dirty_background_ratio": "/proc/sys/vm/dirty_background_ratio",
}


@dataclass(frozen=True)
class Value:
    """One value on the host. `found` is None where nothing can be read; with `unchecked`, why it
    was not compared."""

    key: str
    expected: str
    found: str | None = None
    unchecked: str = ""

    @property
    def differs(self) -> bool:
        return not self.unchecked and not _same(self.expected, self.found)


def read_back(root: Path, settings: Iterable[Setting]) -> tuple[Value, ...]:
    """Each setting as the host has it now, one for each file that a wildcard stands for."""
    values: dict[str, Value] = {}
    for setting in settings:
        for path, value in _checked(root, setting):
            values[path] = _unambiguous(values.get(path), value)
    return tuple(values.values())


def _unambiguous(earlier: Value | None, value: Value) -> Value:
    """Which of two sections comes last is TuneD's business."""
    if earlier is None or _same(earlier.expected, value.expected):
        return value
    why = f"it is set twice, to {earlier.expected!r} and to {value.expected!r}"
    return Value(value.key, value.expected, unchecked=why)


def _checked(root: Path, setting: Setting) -> Iterator[tuple[str, Value]]:
    """`(path, value)` for each file that the setting is about."""
    key, expected = setting.key, setting.value
    if setting.unknown:
        yield f"{setting.plugin} {key}", Value(key, expected, unchecked=setting.unknown)
        return
    paths, expected = _targets(root, setting)
    if not paths:
        why = "there is no such file" if setting.plugin == "sysfs" else "this option is not known"
        yield f"{setting.plugin} {key}", Value(key, expected, unchecked=why)
    for path in paths:
        found = _read(root / path.lstrip("/"))
        # A wildcard's files are told apart by their own names.
        name = key if setting.plugin != "sysfs" else path
        yield path, Value(name, expected, found)


def _targets(root: Path, setting: Setting) -> tuple[list[str], str]:
    """The files that a setting is about, and the text each should have."""
    key, value = setting.key, setting.value
    if setting.plugin == "sysctl":
        # As sysctl(8): dots are slashes, and a slash in a name is a dot.
        return ["/proc/sys/" + key.translate(str.maketrans("./", "/."))], value
    if setting.plugin == "sysfs":
        found = glob.glob(f"{glob.escape(str(root))}/{key.lstrip('/')}")
        return sorted("/" + str(Path(path).relative_to(root)) for path in found), value
    if key.endswith("_bytes") and value.strip().endswith("%"):
        key, value = key.replace("_bytes", "_ratio"), value.strip()[:-1]
    return ([_VM[key]] if key in _VM else []), value


def _read(path: Path) -> str | None:
    try:
        text = path.read_text(errors="replace").strip()
    except OSError:
        return None
    # `always [madvise] never`: the choice is the word in brackets.
    chosen = re.match(r".*\[([^\]]+)\]", text)
    return chosen[1] if chosen else text


def _same(expected: str, found: str | None) -> bool:
    """As TuneD compares (tuned/plugins/base.py): white space and the way a number is written do
    not count; `>N` and `<N` ask for at least and at most N."""
    if found is None:
        return False
    expected, found = " ".join(expected.split()), " ".join(found.split())
    if expected == found:
        return True
    wanted, number = _number(expected.lstrip("<>")), _number(found)
    if wanted is None or number is None:
        return False
    if expected.startswith(">"):
        return number >= wanted
    return number <= wanted if expected.startswith("<") else number == wanted


def _number(text: str) -> int | None:
    try:
        return int(text, 0 if text.lower().startswith("0x") else 10)
    except ValueError:
        return None
