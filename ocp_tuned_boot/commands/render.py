"""Day 0: writes one document that puts image, profiles and boot.conf on a node before its first
boot.

`read` reads the profiles and `boot.conf`; everything else is pure. The same content gives the same
bytes. The rules are those of the Ignition configuration spec v3.2.0, of the MachineConfig API of
OpenShift's machine-config-operator, and of the Butane specs that make Ignition 3.2.0 (fcos 1.2.0,
openshift 4.8.0). Every document is JSON, which is also YAML.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ocp_tuned_boot.errors import ConfigurationError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import config, inputs
from ocp_tuned_boot.tuned import profiles
from ocp_tuned_boot.tuned.profilefile import ProfileFile

#: The units of the package that have an [Install] section. The package installs their files.
UNITS = ("ocp-tuned.path", "ocp-tuned.service")

#: The largest MachineConfig as JSON (bytes): the limit of etcd for one request, and of the
#: machine-config-operator (MaxMachineConfigSize).
LIMIT = 1572864

IGNITION = "3.2.0"
_ROLE = "machineconfiguration.openshift.io/role"

# The name of most objects, and the value of a label (Kubernetes, "Object Names and IDs", "Labels").
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\Z")
_VALUE = re.compile(r"(?=.{1,63}\Z)[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?\Z")

Document = dict[str, Any]


@dataclass(frozen=True)
class Content:
    """What is put on a node, checked. `image` and `profile` are empty if boot.conf sets them.
    `boot_conf` is the text of that file, empty if there is none."""

    image: str = ""
    profile: str = ""
    boot_conf: str = ""
    files: tuple[ProfileFile, ...] = ()
    #: What the user should know, one sentence each.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeFile:
    """One file on the node, owned by root."""

    path: str
    data: bytes
    mode: int = 0o644


def read(folder: Path | None, image: str, profile: str, boot_conf: Path | None) -> Content:
    """Reads and checks. `folder` contains a folder for each profile. Raises `ConfigurationError`
    and `HostError`, which name the file."""
    text = config.text(boot_conf) if boot_conf else ""
    parsed = config.parse([(str(boot_conf), text)] if boot_conf else [])
    if image:
        inputs.parse_image_reference(image, "--image")
    if profile:
        inputs.parse_profile_name(profile, "--profile")
    for name, value in (("image", image or parsed.image), ("profile", profile or parsed.profile)):
        if not value:
            raise ConfigurationError(
                f"no {name} was given",
                f"Use --{name}, or set {name} in the [tuning] section of the --boot-conf file.",
            )
    parsed.images.check(image or parsed.image)
    files = _profile_files(folder) if folder else ()
    named = (("image", image, parsed.image), ("profile", profile, parsed.profile))
    notes = [
        f"--{name} {value} is used instead of {name} = {other} in {boot_conf}"
        for name, value, other in named
        if value and other not in ("", value)
    ]
    notes += _notes(profile or parsed.profile, files)
    return Content(image, profile, text, files, tuple(notes))


def _profile_files(folder: Path) -> tuple[ProfileFile, ...]:
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: there is no such directory")
    if os.path.lexists(folder / "tuned.conf"):
        raise ConfigurationError(
            f"{folder}: found a tuned.conf, expected a directory for each profile"
        )
    for each in sorted(folder.iterdir()):
        if each.is_dir() and not os.path.lexists(each / "tuned.conf"):
            raise ConfigurationError(f"{each}: no tuned.conf found, expected one in each profile")
    found = sorted(inputs.profile_files(folder, folder), key=lambda file: file.path)
    for file in found:
        path = folder / file.path
        inputs.parse_profile_name(file.path.partition("/")[0], str(path))
        if not file.path.isprintable():
            raise ConfigurationError(
                f"{path}: found a character that cannot be printed, expected a plain file name"
            )
    return tuple(found)


def _notes(profile: str, files: Sequence[ProfileFile]) -> tuple[str, ...]:
    texts = {f"{profiles.CUSTOM}/{file.path}": file.text for file in files}
    return tuple(
        f"{name!r} is not one of the given profiles: the image must contain it"
        for name in profiles.absent(profile, texts)
    )


def placed(content: Content) -> tuple[NodeFile, ...]:
    """The files on the node, by path. A file of a profile gets mode 0755 if its owner may execute
    it, else 0644: all other mode bits of a checkout come from a umask."""
    node = Paths()
    found = [
        NodeFile(str(node.profiles / file.path), file.data, 0o755 if file.executable else 0o644)
        for file in content.files
    ]
    for path, text in (
        (node.image_env, content.image and f"NTO_IMAGE={content.image}\n"),
        (node.recommend, content.profile and f"[{content.profile}]\n"),
        (node.admin_conf, content.boot_conf),
    ):
        if text:
            found.append(NodeFile(str(path), text.encode()))
    return tuple(sorted(found, key=lambda file: file.path))


def document(content: Content, form: str, role: str = "", name: str = "") -> Document:
    """`form`: `ignition`, `machineconfig`, or a variant of Butane, `fcos` or `openshift`; `role`
    and `name` are those of a MachineConfig. Raises `ConfigurationError` if such a document cannot
    be made."""
    if form in ("machineconfig", "openshift"):
        made = _machineconfig(content, role or "worker", name)
        return made if form == "machineconfig" else _butane_openshift(content, made["metadata"])
    if role or name:
        raise ConfigurationError(
            "--role and --name are for a MachineConfig: they require --variant openshift"
        )
    return _ignition(content) if form == "ignition" else _butane_fcos(content)


def _ignition(content: Content) -> Document:
    files = [_file(each, {"source": data_url(each.data)}) for each in placed(content)]
    return {"ignition": {"version": IGNITION}, **_body(files)}


def _machineconfig(content: Content, role: str, name: str) -> Document:
    made = {
        "apiVersion": "machineconfiguration.openshift.io/v1",
        "kind": "MachineConfig",
        "metadata": _metadata(role, name),
        "spec": {"config": _ignition(content)},
    }
    size = len(json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode())
    if size > LIMIT:
        largest = max(placed(content), key=lambda file: len(file.data))
        raise ConfigurationError(
            f"the MachineConfig has {size} bytes, expected at most {LIMIT}, the limit of etcd",
            f"The largest file is {largest.path} with {len(largest.data)} bytes.",
        )
    return made


def _butane_fcos(content: Content) -> Document:
    """For Fedora CoreOS and every other system that reads plain Ignition."""
    return {"variant": "fcos", "version": "1.2.0", **_butane_body(content)}


def _butane_openshift(content: Content, metadata: Document) -> Document:
    head = {"variant": "openshift", "version": "4.8.0", "metadata": metadata}
    return {**head, **_butane_body(content)}


def _butane_body(content: Content) -> Document:
    return _body([_file(each, _inline(each.data)) for each in placed(content)])


def _metadata(role: str, name: str) -> Document:
    if not _VALUE.match(role):
        raise ConfigurationError(
            f"--role: found {role!r}, expected the name of a MachineConfigPool, such as 'worker'"
        )
    name = name or f"99-{role}-ocp-tuned-boot"
    if not _SUBDOMAIN.match(name):
        raise ConfigurationError(
            f"--name: found {name!r}, expected lower case letters, digits, '-' and '.', at most "
            "253, with a letter or a digit at both ends of each part (a DNS subdomain, RFC 1123)"
        )
    return {"labels": {_ROLE: role}, "name": name}


def _body(files: list[Document]) -> Document:
    units = [{"enabled": True, "name": name} for name in UNITS]
    return {"storage": {"files": files}, "systemd": {"units": units}}


def _file(file: NodeFile, contents: dict[str, str]) -> Document:
    # The mode is a decimal number in JSON. A file that exists is replaced.
    return {"path": file.path, "mode": file.mode, "overwrite": True, "contents": contents}


def _inline(data: bytes) -> dict[str, str]:
    text = _printable(data)
    return {"source": data_url(data)} if text is None else {"inline": text}


def data_url(data: bytes) -> str:
    """A data URL (RFC 2397). Text is percent-encoded, so that a diff of two documents shows what
    changed; other bytes are in base64. Not compressed: Butane refuses that for a MachineConfig."""
    text = _printable(data)
    if text is None:
        return "data:;base64," + base64.b64encode(data).decode()
    # Ignition refuses brackets that are not encoded.
    return "data:," + quote(text, safe="/:=,")


def _printable(data: bytes) -> str | None:
    """Text that needs no escapes in YAML except for line feeds and tabs; None for other data."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if text.replace("\n", " ").replace("\t", " ").isprintable() else None


def text_of(document: Document) -> bytes:
    """The document as JSON, with the keys in the order of the document."""
    return json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"
