"""The kinds of messages that programs look for in the journal, and their fields.

packaging/ocp-tuned-boot.catalog explains each of them (`journalctl -x`); a test compares the two.
An ID stays what it is: others filter by it (`journalctl MESSAGE_ID=…`). A new one is what
`systemd-id128 new` prints.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The name under which a log record carries its fields.
ATTRIBUTE = "fields"

Extra = dict[str, dict[str, str]]

#: The fields, in addition to those of every program (systemd.journal-fields(7)). An entry has those
#: that say something about it.
FIELDS = {
    "OCP_TUNED_RESULT": "The result of the run: applied, degraded, failed or deferred.",
    "OCP_TUNED_PROFILE": "The profile that is applied, or the requested one if none is.",
    "OCP_TUNED_IMAGE": "The image that is used, or the requested one if none is.",
    "OCP_TUNED_FINDING": "The kind of the finding or failure, as in status.json.",
    "OCP_TUNED_SUBJECT": "The setting, plugin, profile or file that it is about.",
    "OCP_TUNED_ADVICE": "What to do about it.",
    "OCP_TUNED_STEP": "The step of the run that has ended, as in status.json.",
    "OCP_TUNED_SECONDS": "How long the step, or the run, took (seconds).",
    "TUNED_LOGGER": "The part of TuneD that wrote this line of TuneD's log.",
}

#: The advice where the cause has none of its own.
WITHOUT_ADVICE = "To see what is known about this node: ocp-tuned-boot status"
# What a field has that is empty, if not "-".
_EMPTY = {"OCP_TUNED_ADVICE": WITHOUT_ADVICE}


@dataclass(frozen=True)
class Message:
    """One kind: its MESSAGE_ID (sd-id128(3))."""

    id: str

    def extra(self, **values: str | float) -> Extra:
        """What a call of `logging` passes on as `extra=`: the ID, and the fields by their names
        without OCP_TUNED_. An empty one is `-`, or for an advice where to look: where the catalog
        names a field that an entry does not have, journalctl shows the name of the field."""
        return _extra({"MESSAGE_ID": self.id, **_named(values)})


def extra(**values: str | float) -> Extra:
    """The same for a message without an ID."""
    return _extra(_named(values))


def of_tuned(logger: str, message: str) -> Extra:
    """For a line of TuneD's log. In the journal it is logged as `message`: the time and the level
    of the line are fields there."""
    return _extra({"TUNED_LOGGER": logger, "MESSAGE": f"{logger}: {message}"} if logger else {})


def _named(values: dict[str, str | float]) -> dict[str, str]:
    given = {f"OCP_TUNED_{name.upper()}": value for name, value in values.items()}
    if not given.keys() <= FIELDS.keys():
        raise KeyError(*(given.keys() - FIELDS.keys()))
    return {name: _text(value) or _EMPTY.get(name, "-") for name, value in given.items()}


def _text(value: str | float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else value


def _extra(fields: dict[str, str]) -> Extra:
    return {ATTRIBUTE: fields}


# How a run ended.
APPLIED = Message("9ce18455153c4e60915cc91bf06b4cda")
DEGRADED = Message("3f98d308f29f49ab80b53725b81cacfe")
FAILED = Message("ebea57f135f9493bbf9df7e3241b5404")
KEPT = Message("f2bea11edd034eba84e706b5e897ff45")
DEFERRED = Message("d63610d0cf1643c991dbf3265f69830f")
#: A command other than these has failed.
ERROR = Message("261939d1a65b4563a4d18b0624420cfd")
DEFECT = Message("298b6bfd5a2a418189674dccaf0535b8")

# What happened in it.
FINDING = Message("de930c687dd44dca8cef5276e2ef36a0")
FALLBACK = Message("f9194c3ad5f440bea7528efb10597837")
ATTEMPT_FAILED = Message("bd9e1535f926498fa9c437c629247966")
HOLD_LOST = Message("4e8a92a45604477b93d328ded65c1233")

# The gate.
HELD = Message("a196709e83d2464a9c83fc64101ca692")
RELEASED = Message("8715d426011940dc99f315001a3e309e")

# Later.
DRIFTED = Message("4c9936943a92471d925cfc004c42d6aa")
