"""JSON that this program keeps on disk → typed values, with errors that say what was found."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, TypeVar

from ocp_tuned_boot.errors import NewerVersion

T = TypeVar("T")
# By the annotations of the fields, which are text.
_TYPES = {"str": str, "float": (int, float), "bool": bool}


def from_json(data: bytes | str) -> Any:
    """What a JSON text says. Raises `ValueError`, also for one that nests too deeply."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error


def check_version(found: object, expected: int, where: str) -> None:
    """Raises `NewerVersion` for a file of a later release, `ValueError` for any other version but
    the one expected."""
    if isinstance(found, int) and found > expected:
        raise NewerVersion(where, found, expected)
    if found != expected:
        raise ValueError(f"found version {found}, expected {expected}")


def typed(kind: type[T], value: Any) -> T:
    """The value, if it is of this type. Raises `TypeError`."""
    if not isinstance(value, kind):
        raise TypeError(f"found {value!r}, expected a {kind.__name__}")
    return value


def built(kind: type[T], content: dict[str, Any]) -> T:
    """A dataclass of these fields, each of the type it is declared with. Unknown fields are
    ignored: a later release may have added them. Raises `TypeError`, `AttributeError`."""
    names = {field_.name for field_ in fields(kind)}  # type: ignore[arg-type]
    made = kind(**{name: value for name, value in content.items() if name in names})
    for field_ in fields(made):  # type: ignore[arg-type]
        expected = _TYPES.get(str(field_.type))
        if expected and not isinstance(getattr(made, field_.name), expected):  # type: ignore[arg-type]
            raise TypeError(f"{field_.name} is no {field_.type}")
    return made


def many(kind: type[T], content: Any) -> tuple[T, ...]:
    """`built`, of each item in a list."""
    return tuple(built(kind, each) for each in typed(list, content))


def texts(content: Any) -> tuple[str, ...]:
    """A list of strings. Raises `TypeError`."""
    return tuple(typed(str, each) for each in typed(list, content))
