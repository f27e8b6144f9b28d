"""What is changed in the process of TuneD and taken back, and what has room in a message."""

import builtins
import json
import logging
import os
import threading
from collections.abc import Iterable
from typing import Any, Callable, TypeVar

R = TypeVar("R", bound="Replaced")
Q = TypeVar("Q", bound="Quiet")
#: The longest text that is said (characters).
TEXT = 4096
#: The size of all lists of a message (bytes), and of the one that is made before TuneD runs. The
#: host takes 1 MiB.
ROOM, ROOM_BEFORE = 640 * 1024, 256 * 1024


def cut(text: "str", length: "int" = TEXT) -> "str":
    """The text, or as much of it as is allowed."""
    return text if len(text) <= length else text[: length - 1] + "…"


def first(texts: "list[str]") -> "str":
    """The first one of several texts, and how many there are besides."""
    more = len(texts) - 1
    return texts[0] + (f" and {more} more" if more else "")


class Room:
    """How much of a message is left. `left`: the number of items that had no room."""

    def __init__(self, room: "int" = ROOM) -> "None":
        self._room = room
        self.left = 0

    def takes(self, item: "Any") -> "bool":
        """Whether an item, which is a JSON value, is in the message."""
        size = len(json.dumps(item)) + 2
        if size > self._room:
            self.left += 1
            return False
        self._room -= size
        return True

    def taken(self, items: "Iterable[Any]") -> "list[Any]":
        """Those of several that are in the message."""
        return [item for item in items if self.takes(item)]


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


class Reading(Replaced):
    """Which of some files are read. `files`: as the kernel names them; `read`: those that were."""

    def __init__(self, files: "frozenset[str]") -> "None":
        super().__init__()
        self._files = files
        self.read = set()  # type: set[str]

    def start(self) -> "None":
        if self._files:
            self.replace(builtins, "open", self._open)

    def _open(self, real: "Any") -> "Any":
        def opened(file: "Any", *args: "Any", **options: "Any") -> "Any":
            if isinstance(file, str) and os.path.realpath(file) in self._files:
                self.read.add(file)
            return real(file, *args, **options)

        return opened


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
