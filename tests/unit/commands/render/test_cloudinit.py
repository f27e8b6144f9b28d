"""User-data of cloud-init. What cloud-init makes of it is tested in tests/lab/test_cloudinit.py."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot.commands.render import cloudinit
from ocp_tuned_boot.commands.render.content import UNITS, Content, placed
from ocp_tuned_boot.tuned.profilefile import ProfileFile
from tests.unit.commands.render.made import AGENT, content


def parsed(text: bytes) -> dict[str, Any]:
    first, rest = text.split(b"\n", 1)
    assert first == b"#cloud-config"
    made: dict[str, Any] = json.loads(rest)
    return made


def test_text_can_be_read_and_a_mode_is_octal(profiles: Path) -> None:
    made = parsed(cloudinit.text(content(profiles, provider="aws")))
    files = {file.pop("path"): file for file in made["write_files"]}
    owner = {"owner": "root:root"}
    assert files[f"{AGENT}/profiles/site/tuned.conf"] == {
        **owner, "permissions": "0644", "content": "[main]\nsummary=größer\n",
    }  # fmt: skip
    assert files[f"{AGENT}/profiles/site/script.sh"]["permissions"] == "0755"
    assert files[f"{AGENT}/profiles/site/deep/blob"]["encoding"] == "b64"
    assert files[f"{AGENT}/provider"]["content"] == "aws"
    assert made["runcmd"] == [["systemctl", "enable", "--now", *UNITS]]


@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_what_is_decoded_is_what_was_there(data: bytes) -> None:
    given_files = Content("a", "b", files=(ProfileFile("site/x", data),))
    text = cloudinit.text(given_files)
    assert all(line.isprintable() for line in text.decode().split("\n"))
    found = {
        file["path"]: base64.b64decode(file["content"])
        if "encoding" in file
        else file["content"].encode()
        for file in parsed(text)["write_files"]
    }
    assert found == {file.path: file.data for file in placed(given_files)}
