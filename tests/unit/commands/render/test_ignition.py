"""A request → Ignition and what contains it, and back. What Ignition makes of it on a node is
tested in tests/lab/test_render.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ocp_tuned_boot.commands.render import ignition
from ocp_tuned_boot.commands.render.content import UNITS, Content
from ocp_tuned_boot.errors import ConfigurationError, UsageError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.tuned.profilefile import ProfileFile
from tests.unit.commands.render.made import AGENT, IMAGE, content


def laid_out(config: dict[str, Any]) -> dict[str, tuple[bytes, int]]:
    """Contents and mode of each file that an Ignition config puts somewhere."""
    found = {}
    for file in config["storage"]["files"]:
        with urlopen(file["contents"]["source"]) as opened:
            found[file["path"]] = (opened.read(), file["mode"])
    return found


def test_everything_is_in_its_place_with_its_mode(profiles: Path, tmp_path: Path) -> None:
    conf = tmp_path / "boot.conf"
    conf.write_text("[tuning]\ngate = closed\n")
    made = ignition.document(content(profiles, conf), "ignition")
    assert made["ignition"] == {"version": "3.2.0"}
    assert laid_out(made) == {
        "/etc/ocp-tuned-boot/boot.conf": (b"[tuning]\ngate = closed\n", 0o644),
        f"{AGENT}/image.env": (f"NTO_IMAGE={IMAGE}\n".encode(), 0o644),
        f"{AGENT}/profiles/site/deep/blob": (bytes(range(256)), 0o644),
        f"{AGENT}/profiles/site/empty": (b"", 0o644),
        f"{AGENT}/profiles/site/script.sh": (b"#!/bin/sh\n\texit 0\n", 0o755),
        f"{AGENT}/profiles/site/tuned.conf": ("[main]\nsummary=größer\n".encode(), 0o644),
        f"{AGENT}/recommend.d/50-openshift.conf": (b"[site]\n", 0o644),
    }
    units = made["systemd"]["units"]
    assert units == [{"enabled": True, "name": name} for name in UNITS]
    assert all(file["overwrite"] is True for file in made["storage"]["files"])


def test_what_is_put_there_is_what_is_read_there(profiles: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for path, (data, mode) in laid_out(ignition.document(content(profiles), "ignition")).items():
        (root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (root / path.lstrip("/")).write_bytes(data)
        (root / path.lstrip("/")).chmod(mode)
    Paths(root).boot_id.parent.mkdir(parents=True)
    Paths(root).boot_id.write_text("x\n")
    found = inputs.read(Paths(root), "tuned")
    assert (found.image, found.profile) == (IMAGE, "site")
    given = tuple(inputs.profile_files(profiles, profiles))
    assert [(it.path, it.data, it.executable) for it in found.files] == [
        (it.path, it.data, it.executable) for it in given
    ]


def test_a_machineconfig_holds_the_ignition_config(profiles: Path) -> None:
    made = ignition.document(content(profiles), "machineconfig")
    assert made == {
        "apiVersion": "machineconfiguration.openshift.io/v1",
        "kind": "MachineConfig",
        "metadata": {
            "labels": {"machineconfiguration.openshift.io/role": "worker"},
            "name": "99-worker-ocp-tuned-boot",
        },
        "spec": {"config": ignition.document(content(profiles), "ignition")},
    }
    named = ignition.document(content(profiles), "machineconfig", "low-latency", "50-a.b")[
        "metadata"
    ]
    assert named["labels"] == {"machineconfiguration.openshift.io/role": "low-latency"}
    assert named["name"] == "50-a.b"


# What Butane makes of its own keys. Not checked here: that the real program takes the document
# (Debian has no package of it), its check for unknown keys, that it reads JSON as YAML, and that it
# may compress what is inline for fcos.
def test_a_butane_config_means_the_ignition_config(profiles: Path) -> None:
    for variant, version in (("fcos", "1.2.0"), ("openshift", "4.8.0")):
        made = ignition.document(content(profiles), variant)
        assert (made.pop("variant"), made.pop("version")) == (variant, version)
        wrapped = ignition.document(content(profiles), "machineconfig")
        assert made.pop("metadata", wrapped["metadata"]) == wrapped["metadata"]
        for file in made["storage"]["files"]:
            inline = file["contents"].pop("inline", None)
            if inline is not None:
                assert file["contents"] == {}
                file["contents"]["source"] = ignition.data_url(inline.encode())
        assert {"ignition": {"version": "3.2.0"}, **made} == wrapped["spec"]["config"]


def test_text_can_be_read_in_a_butane_config(profiles: Path) -> None:
    (profiles / "site/tuned.conf").write_text("[main]\nsummary=größer 😀\n")
    made = ignition.document(content(profiles), "fcos")
    # Not as JSON may have it: YAML does not know surrogates.
    assert "größer 😀" in ignition.text_of(made).decode()
    files = made["storage"]["files"]
    contents = {Path(file["path"]).name: file["contents"] for file in files}
    assert contents["tuned.conf"] == {"inline": "[main]\nsummary=größer 😀\n"}
    assert contents["script.sh"] == {"inline": "#!/bin/sh\n\texit 0\n"}
    assert contents["blob"]["source"].startswith("data:;base64,")


@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_what_is_decoded_is_what_was_there(data: bytes) -> None:
    made = with_file(data, "ignition")
    assert laid_out(made)[f"{AGENT}/profiles/site/x"] == (data, 0o644)
    for file in with_file(data, "fcos")["storage"]["files"]:
        if file["path"] == f"{AGENT}/profiles/site/x" and "inline" in file["contents"]:
            assert file["contents"]["inline"].encode() == data


def with_file(data: bytes, form: str) -> ignition.Document:
    """What is written of a profile with this file, read again."""
    given_files = Content(IMAGE, "site", files=(ProfileFile("site/x", data),))
    made: ignition.Document = json.loads(ignition.text_of(ignition.document(given_files, form)))
    return made


@given(st.one_of(st.binary(), st.text().map(str.encode)))
@example(b"[main]\n")
def test_a_data_url_has_only_what_ignition_takes(data: bytes) -> None:
    # Letters and digits, and the marks that its parser knows (RFC 2396, "reserved", "unreserved").
    allowed = set("-_.!~*'();/?:@&=+$,%")
    assert all(char.isascii() and (char.isalnum() or char in allowed)
               for char in ignition.data_url(data))  # fmt: skip


@given(st.text())
def test_what_is_written_is_yaml_that_can_be_printed(text: str) -> None:
    given_files = Content(IMAGE, "site", files=(ProfileFile("site/x", text.encode()),))
    made = ignition.text_of(ignition.document(given_files, "fcos")).decode()
    assert all(line.isprintable() for line in made.split("\n"))


@pytest.mark.parametrize("form", ["machineconfig", "openshift"])
def test_what_is_too_large_for_the_api(profiles: Path, form: str) -> None:
    (profiles / "site/largest").write_bytes(bytes(700_000))
    (profiles / "site/large").write_bytes(bytes(600_000))
    with pytest.raises(ConfigurationError) as error:
        ignition.document(content(profiles), form)
    first, hint = str(error.value).splitlines()
    assert "expected at most 1572864, the limit of etcd" in first
    assert hint == f"The largest file is {AGENT}/profiles/site/largest with 700000 bytes."
    # For a node alone it is not.
    ignition.document(content(profiles), "ignition")


def test_the_limit_is_that_of_the_object_as_the_api_gets_it() -> None:
    def made(size: int) -> ignition.Document:
        files = tuple(ProfileFile(f"site/{at}", b"x" * 500_000) for at in range(3))
        given_files = Content(IMAGE, "s", files=(*files, ProfileFile("s/x", b"x" * size)))
        return ignition.document(given_files, "machineconfig")

    compact = len(json.dumps(made(0), separators=(",", ":")))
    room = ignition.LIMIT - compact
    assert len(json.dumps(made(room), separators=(",", ":"))) == ignition.LIMIT
    with pytest.raises(ConfigurationError, match="has 1572865 bytes"):
        made(room + 1)


@pytest.mark.parametrize(
    ("role", "name", "message"),
    [
        ("Worker", "", "--name: found '99-Worker-ocp-tuned-boot', expected lower case"),
        ("", "Name", "--name: found 'Name'"),
        ("", "a..b", "--name: found 'a..b'"),
        ("", "-a", "--name: found '-a'"),
        ("", "a\n", r"--name: found 'a\n'"),
        ("", "a" * 254, "at most 253"),
        ("not a role", "a", "--role: found 'not a role'"),
        ("r" * 64, "a", "--role: found"),
    ],
)
def test_a_name_that_the_api_does_not_take(role: str, name: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        ignition.document(Content(IMAGE, "site"), "machineconfig", role, name)
    assert message in str(error.value)
    with pytest.raises(UsageError, match="--variant openshift"):
        ignition.document(Content(IMAGE, "site"), "fcos", role, name)
