"""What TuneD says about a profile, for tests that do not ask it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from ocp_tuned_boot.tuned.asked import Asked, Comparison, Option, Section, Verified

#: Nothing but that it is the profile `site`.
NOTHING = Asked(
    "2.25", "3.13", "site", (), 0, (("site", "/etc/tuned/site/tuned.conf"),), (), (), (), (), ()
)


def section(
    name: str, options: dict[str, str], plugin: str = "", unknown: str = "", **more: Any
) -> Section:
    """In effect on this machine; `more`: other fields of `Section`."""
    made = tuple(Option(key, value, "", unknown) for key, value in options.items())
    usual = {"devices": "*", "conditions": {}, "priority": 0, "left_out": ""}
    return Section(name, plugin or name, options=made, **{**usual, **more})


def meaning(*sections: Section) -> Asked:
    return replace(NOTHING, sections=sections)


def held(*rows: Comparison) -> Verified:
    return Verified(rows, 0, (), ())


def message(said: Asked) -> bytes:
    """As the program in the container says it."""
    return json.dumps({"version": 1, "kind": "asked", **asdict(said)}).encode()
