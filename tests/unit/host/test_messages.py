"""The IDs of messages, and the catalog that explains them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ocp_tuned_boot.commands.table import COMMANDS
from ocp_tuned_boot.host import messages
from ocp_tuned_boot.host.messages import Message

ROOT = Path(__file__).resolve().parents[3]
CATALOG = (ROOT / "packaging/ocp-tuned-boot.catalog").read_text()
KNOWN = {name: each for name, each in vars(messages).items() if isinstance(each, Message)}
#: What never changes: others filter by it. A new message is added here, none is removed.
IDS = {
    "APPLIED": "9ce18455153c4e60915cc91bf06b4cda",
    "DEGRADED": "3f98d308f29f49ab80b53725b81cacfe",
    "FAILED": "ebea57f135f9493bbf9df7e3241b5404",
    "KEPT": "f2bea11edd034eba84e706b5e897ff45",
    "DEFERRED": "d63610d0cf1643c991dbf3265f69830f",
    "ERROR": "261939d1a65b4563a4d18b0624420cfd",
    "DEFECT": "298b6bfd5a2a418189674dccaf0535b8",
    "FINDING": "de930c687dd44dca8cef5276e2ef36a0",
    "FALLBACK": "f9194c3ad5f440bea7528efb10597837",
    "ATTEMPT_FAILED": "bd9e1535f926498fa9c437c629247966",
    "HOLD_LOST": "4e8a92a45604477b93d328ded65c1233",
    "HELD": "a196709e83d2464a9c83fc64101ca692",
    "RELEASED": "8715d426011940dc99f315001a3e309e",
    "DRIFTED": "4c9936943a92471d925cfc004c42d6aa",
}


def explained() -> dict[str, tuple[dict[str, str], str]]:
    """By ID: the headers and the text (catalog entries of systemd, catalog format)."""
    found = {}
    for entry in re.split(r"(?m)^-- ", CATALOG)[1:]:
        first, _, rest = entry.partition("\n")
        headers, _, text = rest.partition("\n\n")
        fields = dict(line.split(": ", 1) for line in headers.splitlines())
        assert first not in found
        found[first] = fields, text
    return found


def test_an_id_never_changes() -> None:
    assert {name: each.id for name, each in KNOWN.items()} == IDS
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in IDS.values())
    assert len(set(IDS.values())) == len(IDS)


def test_the_catalog_explains_each_message_and_no_other() -> None:
    assert explained().keys() == set(IDS.values())


@pytest.mark.parametrize("name", IDS)
def test_an_explanation_is_whole(name: str) -> None:
    headers, text = explained()[IDS[name]]
    assert list(headers) == ["Subject", "Defined-By", "Documentation"]
    assert headers["Defined-By"] == "ocp-tuned-boot"
    fields = re.findall("@(.*?)@", headers["Subject"] + text)
    assert set(fields) <= messages.FIELDS.keys()
    # A line is indented by three more columns.
    assert max(map(len, text.splitlines())) <= 96
    # What to type, or the field that says it.
    assert re.search(r"(?m)^    (@OCP_TUNED_ADVICE@|systemctl |ocp-tuned-boot |journalctl )", text)


def test_a_failure_before_tuned_has_run_has_no_subject_to_show() -> None:
    for message in (messages.FAILED, messages.HELD):
        assert "@OCP_TUNED_FINDING@" in explained()[message.id][1]
        assert "@OCP_TUNED_SUBJECT@" not in explained()[message.id][1]


def test_a_command_that_is_to_be_typed_is_one() -> None:
    commands = {command.name.split()[0] for command in COMMANDS}
    typed = re.findall(r"(?m)^    ocp-tuned-boot ([a-z]+)", CATALOG)
    assert typed
    assert set(typed) <= commands


@pytest.mark.parametrize("name", IDS)
def test_each_message_is_logged_somewhere(name: str) -> None:
    places = [
        path for path in (ROOT / "ocp_tuned_boot").rglob("*.py")
        if path.name != "messages.py" and re.search(rf"messages\.{name}\b", path.read_text())
    ]  # fmt: skip
    assert places != []


def test_the_package_and_make_install_the_catalog() -> None:
    spec, makefile = ((ROOT / name).read_text() for name in ("rpm.spec", "Makefile"))
    assert "%{_journalcatalogdir}/ocp-tuned-boot.catalog" in spec
    assert len(re.findall(r"(?m)^%journal_catalog_update$", spec)) == 2
    assert "/usr/lib/systemd/catalog packaging/ocp-tuned-boot.catalog" in makefile
    assert "journalctl --update-catalog" in makefile
