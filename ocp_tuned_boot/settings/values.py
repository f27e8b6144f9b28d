"""Reads the requested settings back from the host, after TuneD has exited."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import sysctl_file
from ocp_tuned_boot.record.model import Value
from ocp_tuned_boot.settings.notation import equal, parse, same

if TYPE_CHECKING:
    from ocp_tuned_boot.tuned.wanted import Setting

log = logging.getLogger(__name__)

_THP = "/sys/kernel/mm/transparent_hugepage"
# The options of TuneD's vm plugin (tuned/plugins/plugin_vm.py), and the file that each one sets.
_VM = {
    "transparent_hugepages": f"{_THP}/enabled",
    "transparent_hugepage": f"{_THP}/enabled",
    "transparent_hugepage.defrag": f"{_THP}/defrag",
    "dirty_bytes": "/proc/sys/vm/dirty_bytes",
    "dirty_ratio": "/proc/sys/vm/dirty_ratio",
    "dirty_background_bytes": "/proc/sys/vm/dirty_background_bytes",
    "dirty_background_ratio": "/proc/sys/vm/dirty_background_ratio",
}

# The kernel sets one of a pair to zero when the other one is written (vm.dirty_bytes and
# vm.overcommit_kbytes in the kernel's admin-guide).
_PAIRS = (
    ("dirty_bytes", "dirty_ratio"),
    ("dirty_background_bytes", "dirty_background_ratio"),
    ("overcommit_kbytes", "overcommit_ratio"),
)
#: The file that is set to zero when this one is written.
COUNTERPARTS = {
    f"/proc/sys/vm/{one}": f"/proc/sys/vm/{other}"
    for pair in _PAIRS
    for one, other in (pair, pair[::-1])
}

#: The maximum size of a value (bytes): the kernel returns at most one page, of up to 64 KiB.
_VALUE = 64 * 1024
#: The most files and folders that a wildcard may match: 512 CPUs with 9 idle states each do.
_FILES, _FOLDERS = 5000, 2000
_MAGIC = re.compile(r"[*?[]")


def _unchecked(key: str, expected: str, why: str) -> Value:
    return Value(key, "unchecked", expected, why=why)


def read_back(
    root: Path, settings: Iterable[Setting], handed_over: Collection[str] = ()
) -> tuple[Value, ...]:
    """Each setting as it is on the host now, one value for each file that a wildcard matches.

    `settings` are in the order in which TuneD applies them: of two for one file the later one
    counts. `handed_over`: the files on the hand-over list. Their values are not compared.
    """
    values: dict[str, Value] = {}
    for setting in settings:
        for path, value in _checked(root, setting):
            seen = value
            if path in handed_over:
                seen = replace(value, state="handed-over", found=read(root, path), why="")
            # Of two settings of one file, TuneD applies the later one last.
            values.pop(path, None)
            values[path] = replace(seen, section=setting.section, plugin=setting.plugin)
    return tuple(
        replace(_replaced(root, path, value, values), path=path if path.startswith("/") else "")
        for path, value in values.items()
    )


def _replaced(root: Path, path: str, value: Value, values: Mapping[str, Value]) -> Value:
    """A value whose counterpart the profile sets as well, and the kernel has replaced it."""
    other = values.get(COUNTERPARTS.get(path, ""))
    if value.state != "different" or value.found != "0" or other is None:
        return value
    if other.state == "verified" and read(root, COUNTERPARTS[path]) != "0":
        why = f"the profile sets {other.key} as well, which replaces it"
        return replace(value, state="unchecked", found="", why=why)
    return value


def _checked(root: Path, setting: Setting) -> Iterator[tuple[str, Value]]:
    """`(path, value)` for each file of the setting."""
    paths, expected = targets(root, setting)
    if not paths:
        missing = "no such file" if setting.plugin == "sysfs" else "the option is not supported"
        value = _unchecked(setting.key, expected, setting.unknown or missing)
        yield f"{setting.plugin} {setting.key}", value
    for path in paths:
        # Each file that a wildcard matches has a name of its own.
        name = setting.key if setting.plugin != "sysfs" else path
        if setting.unknown:
            yield path, _unchecked(name, expected, setting.unknown)
            continue
        current = found(root, path)
        if current is None and os.path.lexists(f"{root}{path}"):
            yield path, _unchecked(name, expected, "the file cannot be read")
            continue
        verified = current is not None and same(expected, current, path, setting.plugin)
        yield path, Value(name, "verified" if verified else "different", expected, current or "")


def targets(root: Path, setting: Setting) -> tuple[list[str], str]:
    """The files that a setting writes, and the text that each should contain."""
    key, value = setting.key, setting.value
    if "\0" in key:
        return [], value
    if setting.plugin == "sysctl":
        return _below("/proc/sys", [sysctl_file(key)]), value
    if setting.plugin == "sysfs":
        return [
            found
            for path in _below("/sys", ["/" + key.lstrip("/")])
            for found in _matching(root, path)
        ], value
    if key.endswith("_bytes") and value.strip().endswith("%"):
        key, value = key.replace("_bytes", "_ratio"), value.strip()[:-1]
    return ([_VM[key]] if key in _VM else []), value


def _below(folder: str, paths: Iterable[str]) -> list[str]:
    """The paths below this folder. A profile must not make us read any other file of the host, and
    TuneD writes to no other (tuned/plugins/plugin_sysfs.py)."""
    normal = {os.path.normpath(path) for path in paths}
    return sorted(path for path in normal if path.startswith(f"{folder}/"))


def _matching(root: Path, pattern: str) -> list[str]:
    """The files that a pattern matches (glob(7)); none if it matches too many. `/sys` has many
    files, and symbolic links that form circles."""
    found = [""]
    for part in pattern.strip("/").split("/"):
        if not _MAGIC.search(part):
            found = [f"{path}/{part}" for path in found]
        elif len(found) <= _FOLDERS:
            found = [f"{path}/{name}" for path in found for name in _names(root, path, part)]
        if len(found) > _FILES:
            log.warning("%s matches more than %d files; it is not checked", pattern, _FILES)
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
    """The value in one of the kernel's files; empty if the file cannot be read."""
    return found(root, path) or ""


def found(root: Path, path: str) -> str | None:
    """The value in one of the kernel's files; None if the file cannot be read."""
    try:
        data = files.read(files.resolved(root / path.lstrip("/")), _VALUE)
    except (OSError, HostError, ValueError):
        return None
    return parse(data, path)


def write(root: Path, path: str, value: str) -> bool:
    """Writes one of the kernel's files, and returns whether the kernel accepted the value."""
    try:
        # Without O_CREAT and O_TRUNC: a file that does not exist is not one of the kernel's.
        fd = os.open(root / path.lstrip("/"), os.O_WRONLY | os.O_CLOEXEC)
        with open(fd, "wb", buffering=0) as file:
            # A text of no bytes would not be written at all.
            file.write(value.encode() or b"\n")
    except (OSError, ValueError) as error:
        log.warning("cannot write %r to %s: %s", value, path, error)
    return equal(value, read(root, path), path)
