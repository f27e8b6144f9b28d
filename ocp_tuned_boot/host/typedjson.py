"""The JSON files of this program → typed values, with errors that say what was found."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, TypeVar

from ocp_tuned_boot.errors import NewerVersion

T = TypeVar("T")
# The annotations of dataclass fields, which are strings here.
_TYPES = {"str": str, "float": (int, float), "bool": bool}


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
