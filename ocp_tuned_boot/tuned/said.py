"""What TuneD said about the profile that is applied, kept in `/run`: what it means, and what holds.

So no later run, and no command, needs a container to know which settings there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host.typedjson import Format, typed
from ocp_tuned_boot.tuned import asked
from ocp_tuned_boot.tuned.asked import Asked, Unasked, Unverified, Verified

#: Each of the two messages may be as long as `asked.LIMIT`; in quotes it is longer.
FORMAT = Format(1, 5 * asked.LIMIT, durable=False)


@dataclass(frozen=True)
class About:
    """What was applied: the boot (`inputs.boot_id`), the image and the fingerprint."""

    boot_id: str
    image_id: str
    fingerprint: str


@dataclass(frozen=True)
class Said:
    """`meaning` and `held` are messages of the program in the container (`asked.parse`); `held` is
    empty before TuneD has compared."""

    about: About
    meaning: bytes
    held: bytes = b""

    def asked(self) -> Asked | None:
        """What the profile means; None if TuneD could not say it."""
        found = parsed(self.meaning)
        return found if isinstance(found, Asked) else None

    def reason(self) -> str:
        """Why TuneD could not say what the profile means."""
        found = parsed(self.meaning)
        why = found.reason if isinstance(found, Unasked) else "its answer cannot be read"
        return f"TuneD cannot be asked what the profile means: {why}"

    def end(self) -> Verified | Unverified | None:
        """What TuneD said at the end of its run; None if it said nothing."""
        found = parsed(self.held)
        return found if isinstance(found, (Verified, Unverified)) else None


def parsed(message: bytes) -> asked.Said | None:
    """The message; None if there is none, or if it is broken."""
    try:
        return asked.parse(message) if message else None
    except ValueError:
        return None


def store(path: Path, said: Said) -> None:
    """Replaces the file. Raises `HostError`."""
    about = said.about
    content = {
        "boot_id": about.boot_id, "image_id": about.image_id, "fingerprint": about.fingerprint,
        "meaning": said.meaning.decode(errors="replace"),
        "held": said.held.decode(errors="replace"),
    }  # fmt: skip
    FORMAT.write(path, content, 0o600)


def load(path: Path, about: About) -> Said | None:
    """What was said about exactly this; None if that is not known, or cannot be read."""
    found = last(path)
    return found if found is not None and found.about == about else None


def last(path: Path) -> Said | None:
    """What was said last; None if that cannot be read."""
    try:
        content = FORMAT.read(path)
        about = About(content["boot_id"], content["image_id"], content["fingerprint"])
        meaning, held = typed(str, content["meaning"]), typed(str, content["held"])
        return Said(about, meaning.encode(), held.encode())
    except (FileNotFoundError, HostError, ValueError, KeyError, TypeError, AttributeError):
        return None
