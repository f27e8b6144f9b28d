"""Reads the requested settings back from the host, after TuneD has exited."""

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

    `handed_over`: the files on the hand-over list. Their values are not compared.
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
        replace(value, path=path if path.startswith("/") else "") for path, value in values.items()
    )


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
        found = read(root, path)
        state = "verified" if same(expected, found) else "different"
        yield path, Value(name, state, expected, found)


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
    try:
        data = files.read(files.resolved(root / path.lstrip("/")), _VALUE)
    except (OSError, HostError, ValueError):
        return ""
    return parse(data)


def parse(content: bytes) -> str:
    """The value that one of the kernel's files contains."""
    text = content.decode(errors="replace").strip()
    # `always [madvise] never`: the word in brackets is the value.
    chosen = re.match(r".*\[([^\]]+)\]", text)
    return chosen[1] if chosen else text


def write(root: Path, path: str, value: str) -> bool:
    """Writes one of the kernel's files, and returns whether the kernel accepted the value."""
    try:
        # Without O_CREAT and O_TRUNC: a file that does not exist is not one of the kernel's.
        fd = os.open(root / path.lstrip("/"), os.O_WRONLY | os.O_CLOEXEC)
        with open(fd, "wb", buffering=0) as file:
            file.write(value.encode())
    except (OSError, ValueError) as error:
        log.warning("cannot write %r to %s: %s", value, path, error)
    return same(value, read(root, path))


def same(expected: str, found: str) -> bool:
    """Whether two values are equal, as TuneD compares them (tuned/plugins/base.py): white space and
    the notation of a number do not matter; `>N` means at least N, `<N` at most N."""
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
