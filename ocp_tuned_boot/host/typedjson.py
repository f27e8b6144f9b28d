"""The JSON files of this program → typed values, with errors that say what was found."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from ocp_tuned_boot.errors import HostError, NewerVersion
from ocp_tuned_boot.host import files

log = logging.getLogger(__name__)

T = TypeVar("T")
# Each of these files begins with its version, so that also a file that is too large to be read
# tells which release wrote it.
_VERSION = re.compile(rb'\s*\{\s*"version"\s*:\s*([0-9]{1,9})\s*[,}]')
_HEAD = 4096
# The annotations of dataclass fields, which are strings here.
_TYPES = {
    "str": str,
    "float": (int, float),
    "float | None": (int, float, type(None)),
    "bool": bool,
}


def from_json(data: bytes | str) -> Any:
    """The value of a JSON text. Raises `ValueError`, also if it is nested too deeply."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def check_version(found: object, expected: int, where: str) -> None:
    """Raises `NewerVersion` if a later release wrote the file, `ValueError` for any other version
    that is not the expected one."""
    if isinstance(found, int) and found > expected:
        raise NewerVersion(where, found, expected)
    if found != expected:
        raise ValueError(f"found version {found}, expected {expected}")


def typed(kind: type[T], value: Any) -> T:
    """Returns the value if it has this type. Raises `TypeError`."""
    if not isinstance(value, kind):
        raise TypeError(f"found {value!r}, expected a {kind.__name__}")
    return value


@dataclass(frozen=True)
class Format:
    """A kind of JSON file that this program writes and reads again: its version, and its largest
    size (bytes), which is the same for both. `durable`: see `files.replacing`.

    The file of a later release is neither read nor overwritten.
    """

    version: int
    limit: int = files.LIMIT
    durable: bool = True

    def read(self, path: Path) -> dict[str, Any]:
        """The content of the file, of exactly this version. Raises `FileNotFoundError`,
        `HostError`, `NewerVersion`; and `ValueError`, `KeyError`, `TypeError` for anything else
        that this version did not write."""
        self.refuse_newer(path)
        content = typed(dict, from_json(files.read(path, self.limit)))
        check_version(content["version"], self.version, str(path))
        return content

    def write(
        self, path: Path, content: Mapping[str, Any], mode: int = 0o644, cut: str = ""
    ) -> None:
        """Replaces the file. `cut`: the name of a list, or of an object, in `content`: if the file
        would be too large, it has only the last entries of it. That is logged, and `left_out` in
        the file is the number of the others.

        Raises `HostError`, `NewerVersion`; then the old file is unchanged."""
        self.refuse_newer(path)
        data = self._encoded(content)
        if len(data) > self.limit and cut:
            data = self._shortened(path, content, cut)
        self.check_size(path, data)
        files.write(path, data, mode, durable=self.durable)

    def check_size(self, path: Path, data: bytes) -> None:
        """Raises `HostError` for a file that could not be read again."""
        if len(data) > self.limit:
            raise HostError(f"cannot write {path}: it would be larger than {self.limit} bytes")

    def refuse_newer(self, path: Path) -> None:
        """Raises `NewerVersion` if a later release wrote the file. Other mistakes in it are not
        looked for."""
        found: object = None
        with suppress(FileNotFoundError, HostError, ValueError, AttributeError):
            if match := _VERSION.match(files.read(path, _HEAD, cut=True)):
                found = int(match[1])
            else:
                found = from_json(files.read(path, self.limit)).get("version")
        if isinstance(found, int) and found > self.version:
            raise NewerVersion(str(path), found, self.version)

    def _encoded(self, content: Mapping[str, Any]) -> bytes:
        return (json.dumps({"version": self.version, **content}, indent=1) + "\n").encode()

    def _shortened(self, path: Path, content: Mapping[str, Any], cut: str) -> bytes:
        """With as many of the last entries as there is room for."""
        entries = content[cut]
        every = list(entries.items() if isinstance(entries, dict) else entries)

        def with_last(number: int) -> bytes:
            left_out = len(every) - number
            last = every[left_out:]
            shorter = dict(last) if isinstance(entries, dict) else last
            return self._encoded({**content, cut: shorter, "left_out": left_out})

        fitting, too_many = 0, len(every)
        while too_many - fitting > 1:
            middle = (fitting + too_many) // 2
            if len(with_last(middle)) <= self.limit:
                fitting = middle
            else:
                too_many = middle
        log.warning(
            "%s: %d of %d entries are left out: the file would be larger than %d bytes",
            path, len(every) - fitting, len(every), self.limit,
        )  # fmt: skip
        return with_last(fitting)


def built(kind: type[T], content: dict[str, Any]) -> T:
    """A dataclass of type `kind` with these fields; the type of each is checked. Unknown fields are
    ignored: a later release may have added them. Raises `TypeError`, `AttributeError`."""
    names = {field_.name for field_ in fields(kind)}  # type: ignore[arg-type]
    made = kind(**{name: value for name, value in content.items() if name in names})
    for field_ in fields(made):  # type: ignore[arg-type]
        expected = _TYPES.get(str(field_.type))
        if expected and not isinstance(getattr(made, field_.name), expected):  # type: ignore[arg-type]
            raise TypeError(f"found a {field_.name} that is not a {field_.type}")
    return made


def many(kind: type[T], content: Any) -> tuple[T, ...]:
    """`built` for each item of a list. Raises `TypeError`, `AttributeError`."""
    return tuple(built(kind, each) for each in typed(list, content))


def texts(content: Any) -> tuple[str, ...]:
    """A list of strings. Raises `TypeError`."""
    return tuple(typed(str, each) for each in typed(list, content))
