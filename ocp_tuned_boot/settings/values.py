"""Reads back from the host what a profile asked for, after TuneD has ended."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import sysctl_file
from ocp_tuned_boot.record.model import Value

if TYPE_CHECKING:
    from ocp_tuned_boot.tuned.profiles import Setting

log = logging.getLogger(__name__)

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

#: No value is longer (bytes): the kernel hands out a page, which has up to 64 KiB.
_VALUE = 64 * 1024
#: A wildcard stands for so many files in so many folders, at most: 512 CPUs have 9 idle states.
_FILES, _FOLDERS = 5000, 2000
_MAGIC = re.compile(r"[*?[]")


def _unchecked(key: str, expected: str, why: str) -> Value:
    return Value(key, "unchecked", expected, why=why)


def read_back(
    root: Path, settings: Iterable[Setting], handed_over: Collection[str] = ()
) -> tuple[Value, ...]:
    """Each setting as the host has it now, one for each file that a wildcard stands for.

    `handed_over`: the files that somebody else owns by now, whatever the profile says.
    """
    values: dict[str, Value] = {}
    for setting in settings:
        for path, value in _checked(root, setting):
            seen = value
            if path in handed_over:
                seen = replace(value, state="handed-over", found=read(root, path), why="")
            values[path] = _unambiguous(values.get(path), seen)
    return tuple(
        replace(value, path=path if path.startswith("/") else "") for path, value in values.items()
    )


def _unambiguous(earlier: Value | None, value: Value) -> Value:
    """Of two sections about one file: which one comes last is TuneD's business."""
    if earlier is None or same(earlier.expected, value.expected):
        return value
    for state in ("handed-over", "unchecked"):
        if state in (earlier.state, value.state):
            return earlier if earlier.state == state else value
    why = f"it is set twice, to {earlier.expected!r} and to {value.expected!r}"
    return _unchecked(value.key, value.expected, why)


def _checked(root: Path, setting: Setting) -> Iterator[tuple[str, Value]]:
    """`(path, value)` for each file that the setting is about."""
    paths, expected = targets(root, setting)
    if not paths:
        missing = "there is no such file" if setting.plugin == "sysfs" else "it is not known here"
        value = _unchecked(setting.key, expected, setting.unknown or missing)
        yield f"{setting.plugin} {setting.key}", value
    for path in paths:
        # A wildcard's files are told apart by their own names.
        name = setting.key if setting.plugin != "sysfs" else path
        if setting.unknown:
            yield path, _unchecked(name, expected, setting.unknown)
            continue
        found = read(root, path)
        state = "verified" if same(expected, found) else "different"
        yield path, Value(name, state, expected, found)


def targets(root: Path, setting: Setting) -> tuple[list[str], str]:
    """The files that a setting is about, and the text each should have."""
    key, value = setting.key, setting.value
    if "\0" in key:
        return [], value
    if setting.plugin == "sysctl":
        return _below("/proc/sys", [sysctl_file(key)]), value
    if setting.plugin == "sysfs":
        return [
            found
            for path in _below("/sys", ["/" + key.lstrip("/")])
            for found in _there(root, path)
        ], value
    if key.endswith("_bytes") and value.strip().endswith("%"):
        key, value = key.replace("_bytes", "_ratio"), value.strip()[:-1]
    return ([_VM[key]] if key in _VM else []), value


def _below(folder: str, paths: Iterable[str]) -> list[str]:
    """Those in this folder: a profile is not to have any other file of the host's read, and TuneD
    writes to none (tuned/plugins/plugin_sysfs.py)."""
    normal = {os.path.normpath(path) for path in paths}
    return sorted(path for path in normal if path.startswith(f"{folder}/"))


def _there(root: Path, pattern: str) -> list[str]:
    """The files that a pattern stands for, as glob(7) has it: none where it would take more than a
    profile has a reason for. `/sys` is full of links in circles, and its files are many."""
    found = [""]
    for part in pattern.strip("/").split("/"):
        if not _MAGIC.search(part):
            found = [f"{path}/{part}" for path in found]
        elif len(found) <= _FOLDERS:
            found = [f"{path}/{name}" for path in found for name in _names(root, path, part)]
        if len(found) > _FILES:
            log.warning("%s stands for too many files, and is not looked at", pattern)
            return []
    return sorted(path for path in found if os.path.lexists(f"{root}{path}"))


def _names(root: Path, folder: str, pattern: str) -> list[str]:
    try:
        names = os.listdir(f"{root}{folder}")
    except OSError:
        return []
    hidden = pattern.startswith(".")
    return [n for n in names if fnmatchcase(n, pattern) and (hidden or not n.startswith("."))]


def read(root: Path, path: str) -> str:
    """The value in one of the kernel's files; empty for one that cannot be read."""
    try:
        data = files.read(files.resolved(root / path.lstrip("/")), _VALUE)
        text = data.decode(errors="replace").strip()
    except (OSError, HostError, ValueError):
        return ""
    # `always [madvise] never`: the choice is the word in brackets.
    chosen = re.match(r".*\[([^\]]+)\]", text)
    return chosen[1] if chosen else text


def write(root: Path, path: str, value: str) -> bool:
    """Sets one of the kernel's files, and says whether the kernel took it."""
    try:
        # Neither created nor cut off: what is not there is not one of the kernel's files.
        fd = os.open(root / path.lstrip("/"), os.O_WRONLY | os.O_CLOEXEC)
        with open(fd, "wb", buffering=0) as file:
            file.write(value.encode())
    except (OSError, ValueError) as error:
        log.warning("cannot write %r to %s: %s", value, path, error)
    return same(value, read(root, path))


def same(expected: str, found: str) -> bool:
    """As TuneD compares (tuned/plugins/base.py): white space and the way a number is written do
    not count; `>N` and `<N` ask for at least and at most N."""
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
