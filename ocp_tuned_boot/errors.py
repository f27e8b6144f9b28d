"""The failures this program expects. `cli.py` maps each type to an exit status.

An expected failure is reported as one line with the cause, and a hint, without a traceback. Any
other exception is a defect, and its traceback is logged.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

#: The longest message (characters): a message that quotes a file could have all of the file in it.
LONGEST = 4000

# C0 and C1 control characters, which a terminal would interpret; characters that change the
# direction of text; and those that some programs take for the end of a line. Newlines and tabs are
# allowed.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)


def escaped(text: str) -> str:
    """The text with control characters, and bytes that are not text, escaped. Everything that is
    printed, logged or sent to systemd goes through this: a pod may have written it, as the name or
    the content of a file."""
    whole = text.encode(errors="backslashreplace").decode()
    return _CONTROL.sub(_escape, whole)


def _escape(match: re.Match[str]) -> str:
    number = ord(match.group())
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


# A word with an address in it. Each is looked at once: a pod may have written a long one.
_ADDRESS = re.compile(r"""\w://[^\s"']*""")
# The digest of an image: registry:5000/tuned@sha256:…
_DIGEST = re.compile(r"@sha\d+:")
# If an address is not valid, the words after it may have a part of its password.
_PORT = re.compile(r'(invalid port )"[^"]*"')


def without_passwords(text: str) -> str:
    """The text without the user and the password of an address, such as that of a proxy."""
    return _PORT.sub(r'\1"…"', _ADDRESS.sub(_without_user, text)) if "://" in text else text


def _without_user(match: re.Match[str]) -> str:
    """A password may contain anything, also an "@"; a user no slash."""
    scheme, _, rest = match[0].partition("://")
    at = rest.rfind("@")
    while at >= 0 and _DIGEST.match(rest, at):
        at = rest.rfind("@", 0, at)
    path = rest.find("/")
    if at < 0 or (0 <= path < at and ":" not in rest[:path]):
        return match[0]
    return f"{scheme}://…{rest[at:]}"


def escaped_json(text: str) -> str:
    """The same for JSON. There control characters occur only in strings, where an escape has the
    same meaning."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def one_line(text: str) -> str:
    """The text escaped, newlines included: a file name must not start a line of its own in the
    journal. A text longer than `LONGEST` is cut."""
    line = escaped(text.strip()[: LONGEST + 1]).replace("\n", "\\x0a")
    return line if len(line) <= LONGEST else line[:LONGEST] + "…"


class BootError(Exception):
    """Base of every expected failure.

    `message` says what happened, to what, and why; `hint`, if any, what to do about it.
    `temporary`: another attempt may succeed although nothing has been changed.
    `kind` is the stable word for it in `status.json`.
    """

    kind = "failed"

    def __init__(self, message: str, hint: str = "", *, temporary: bool = False) -> None:
        message, hint = one_line(without_passwords(message)), escaped(hint)
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.temporary = temporary
        #: Set by the run that it has ended, which has recorded it as its failure.
        self.recorded = False

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class ConfigurationError(BootError):
    """`boot.conf` or one of the agent's files is not valid."""

    kind = "configuration"


class NotRequested(ConfigurationError):
    """No image, or no profile, is requested on this node, so there is nothing to apply."""


class UsageError(ConfigurationError):
    """Options of the command line that are not valid, or not together."""


class HostError(BootError):
    """A file or directory of the host cannot be read, prepared or written."""

    kind = "host"


class NewerVersion(HostError):
    """A file of this program was written by a later release. This release does not know its format,
    and must not treat it as empty."""

    def __init__(self, where: str, found: object, expected: int) -> None:
        # What is in /run ends with the boot.
        instead = "reboot" if "/run/" in where else "remove the file: what it records is lost then"
        super().__init__(
            f"{where}: found version {found}, expected {expected}: "
            "a later release of ocp-tuned-boot wrote this file",
            f"Install that release again, or {instead}.",
        )


class PodmanError(BootError):
    """Podman cannot be reached, or refuses a request."""

    kind = "podman"


class Refused(PodmanError):
    """Podman has answered, with an error."""


class NameTaken(Refused):
    """Another container has the name of the one to create."""


class NotRemoved(PodmanError):
    """A container is left over that is not ours or cannot be removed."""


class ImageError(BootError):
    """The TuneD image is not on the node and cannot be pulled or loaded."""

    kind = "image"


class DeadlineExceeded(BootError):
    """The time that `boot.conf` allows has run out. The message names the step."""

    kind = "timeout"


class CutOff(DeadlineExceeded):
    """A pull was under way when the time ran out. With more time it may be complete."""


class Busy(BootError):
    """Another run holds the lock."""

    kind = "busy"


class Defect(BootError):
    """An exception that this program does not expect: a mistake in it, or a package that it uses
    has changed. The message says which exception, and where."""

    kind = "defect"
    advice = (
        "This is a defect of ocp-tuned-boot, or a package that it uses has changed. "
        "Its traceback: journalctl -b -u ocp-tuned"
    )

    @classmethod
    def of(cls, error: Exception) -> Defect:
        """For an exception that was caught."""
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "/ocp_tuned_boot/" in frame.filename]
        where = (ours or frames)[-1]
        file = where.filename.rpartition("/ocp_tuned_boot/")[2]
        words = "".join(traceback.format_exception_only(type(error), error))
        return cls(f"{words.strip()} ({file}:{where.lineno})", cls.advice)


@contextmanager
def defects(*passed: type[Exception]) -> Iterator[None]:
    """Raises `Defect` for an exception that is not one of this module, and logs its traceback below
    the message. `passed` are exceptions that the caller handles."""
    expected: tuple[type[Exception], ...] = (BootError, *passed)
    try:
        yield
    except expected:
        raise
    except Exception as error:
        # The only place that catches everything: a record that says "applying" for ever, a gate
        # that nobody explains, or a bare traceback would be worse than the defect.
        defect = Defect.of(error)
        log.exception("%s", defect.message)
        raise defect from error


class Interrupted(BaseException):
    """SIGTERM or SIGINT was received.

    Not an `Exception`: no handler of failures may catch it and continue.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
