"""The failures this program expects. `cli.py` maps each type to an exit status.

An expected failure is told in one line per cause and without a traceback; anything else is a
defect and is allowed to show its traceback.
"""

from __future__ import annotations

import re

#: No message is longer (characters): what was found in a file may be the whole file.
LONGEST = 4000

# C0 and C1 control characters, which a terminal would obey, and what turns the order of a line
# around or ends it for some programs. A line may end, and have tabs.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)


def escaped(text: str) -> str:
    """Text in which neither control characters nor bytes that are no text can do harm: whatever is
    printed, logged or told to systemd may be a name or content of a file that a pod has written."""
    whole = text.encode(errors="backslashreplace").decode()
    return _CONTROL.sub(_escape, whole)


def _escape(match: re.Match[str]) -> str:
    number = ord(match.group())
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def escaped_json(text: str) -> str:
    """The same for JSON, where such characters can stand in strings only, and mean the same so."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def one_line(text: str) -> str:
    """Escaped, with its line ends: a file's name must not begin a line of its own in the journal.
    What is too long is cut off."""
    line = escaped(text.strip()[: LONGEST + 1]).replace("\n", "\\x0a")
    return line if len(line) <= LONGEST else line[:LONGEST] + "…"


class BootError(Exception):
    """Base of every expected failure.

    `message` says what was found where; `hint`, when there is one, what to do about it.
    `temporary`: trying again may help, with nobody changing anything.
    `kind` is the stable word that `status.json` carries for it.
    """

    kind = "failed"

    def __init__(self, message: str, hint: str = "", *, temporary: bool = False) -> None:
        message, hint = one_line(message), escaped(hint)
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.temporary = temporary

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class ConfigurationError(BootError):
    """`boot.conf` or one of the agent's files does not say what it has to."""

    kind = "configuration"


class NotRequested(ConfigurationError):
    """Nobody has said which image, or which profile: there is nothing to wait for."""


class HostError(BootError):
    """A file or directory of the host cannot be read, prepared or written."""

    kind = "host"


class NewerVersion(HostError):
    """A file of ours that a later release has written: what is in it is not known here, and must
    not be taken for nothing."""

    def __init__(self, where: str, found: object, expected: int) -> None:
        super().__init__(
            f"{where}: found version {found}, expected {expected}: a later release has written it",
            "Install that release again, or reboot.",
        )


class PodmanError(BootError):
    """Podman cannot be reached or refuses."""

    kind = "podman"


class ImageError(BootError):
    """The TuneD image is not on the node and cannot be had."""

    kind = "image"


class DeadlineExceeded(BootError):
    """The time allowed by `boot.conf` has run out; the message names the step."""

    kind = "timeout"


class Busy(BootError):
    """Another run holds the lock."""

    kind = "busy"


class Interrupted(BaseException):
    """SIGTERM or SIGINT arrived.

    Not an `Exception`: nothing on the way up may take it for a failure and go on.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
