"""Text that the product has wrapped for people, also in a pipe."""

from __future__ import annotations


def unwrapped(text: str) -> str:
    """A text as one line, with one blank where there was any space."""
    return " ".join(text.split())
