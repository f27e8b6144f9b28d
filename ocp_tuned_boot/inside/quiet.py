"""What this program changes in the process of TuneD, and takes back: attributes and the log."""

import logging
import threading
from typing import Any, Callable, TypeVar

R = TypeVar("R", bound="Replaced")
Q = TypeVar("Q", bound="Quiet")
#: The longest text that is said (characters).
TEXT = 4096


def cut(text: "str", length: "int" = TEXT) -> "str":
    """The text, or as much of it as is allowed."""
    return text if len(text) <= length else text[: length - 1] + "…"


class Replaced:
    """Attributes of modules, classes and objects that are replaced until `__exit__`."""

    def __init__(self) -> "None":
        self._before = []  # type: list[tuple[Any, str, bool, Any]]

    def __enter__(self: "R") -> "R":
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self) -> "None":
        """Replaces what a subclass replaces, all or nothing. Raises `AttributeError`."""

    def __exit__(self, *_: "object") -> "None":
        while self._before:
            owner, name, own, value = self._before.pop()
            if own:
                setattr(owner, name, value)
            else:
                delattr(owner, name)

    def replace(self, owner: "Any", name: "str", make: "Callable[[Any], Any]") -> "None":
        """Replaces an attribute by what `make` makes of it. Raises `AttributeError`."""
        value = getattr(owner, name)
        self._before.append((owner, name, name in vars(owner), value))
        setattr(owner, name, make(value))


class Quiet(logging.Handler):
    """Takes TuneD's messages of this thread out of its log. `texts`: each with its level.

    TuneD must be imported: it makes its own loggers.
    """

    def __init__(self) -> "None":
        super().__init__()
        self.texts = []  # type: list[tuple[int, str]]
        self._thread = threading.get_ident()
        self._log = logging.getLogger("tuned")
        self._others = []  # type: list[logging.Handler]

    def __enter__(self: "Q") -> "Q":
        self._others, self._log.handlers = self._log.handlers, [self]
        return self

    def __exit__(self, *_: "object") -> "None":
        self._log.handlers = self._others

    def emit(self, record: "logging.LogRecord") -> "None":
        if record.thread == self._thread:
            self.texts.append((record.levelno, record.getMessage()))
            return
        for other in self._others:
            other.handle(record)

    def since(self, start: "int", level: "int" = logging.INFO) -> "str":
        """The messages from number `start` on, in one line."""
        return cut("; ".join(text for at, text in self.texts[start:] if at >= level), 1000)


class Listening(Quiet):
    """The same messages; TuneD logs them as well."""

    def emit(self, record: "logging.LogRecord") -> "None":
        self.texts.append((record.levelno, record.getMessage()))
        for other in self._others:
            other.handle(record)
