"""Day 0: what a node is to apply → one document that puts it there before the first boot.

`read` fetches the profiles and `boot.conf`; the rest is a pure function of that. The same content
gives the same bytes. Rules are those of the Ignition configuration spec v3.2.0, of the
MachineConfig API of OpenShift's machine-config-operator, and of the Butane specs that make
Ignition 3.2.0 (fcos 1.2.0, openshift 4.8.0). Every document is JSON, which is YAML, too.
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
from ocp_tuned_boot.tuned.profiles import ProfileFile

#: All of the package's units that have an [Install] section. Their text belongs to the package.
UNITS = (
    "ocp-tuned-podman-own.socket",
    "ocp-tuned-podman-quiet.socket",
    "ocp-tuned-podman.socket",
    "ocp-tuned.path",
    "ocp-tuned.service",
)

#: A MachineConfig as JSON (bytes): what etcd takes in one request, and with it
#: machine-config-operator (MaxMachineConfigSize).
LIMIT = 1572864

IGNITION = "3.2.0"
_ROLE = "machineconfiguration.openshift.io/role"

# A name of most objects, and the value of a label (Kubernetes, "Object Names and IDs", "Labels").
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\Z")
_VALUE = re.compile(r"(?=.{1,63}\Z)[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?\Z")

Document = dict[str, Any]


@dataclass(frozen=True)
class Content:
    """What goes onto a node, checked. `image` and `profile` are empty where `boot_conf`, which is
    the text of that file, names them; an empty `boot_conf` is none."""

    image: str = ""
    profile: str = ""
    boot_conf: str = ""
    files: tuple[ProfileFile, ...] = ()
    #: What the image has to have, in words.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeFile:
    """One file as it is to be on the node, root's own."""

    path: str
    data: bytes
    mode: int = 0o644


def read(folder: Path | None, image: str, profile: str, boot_conf: Path | None) -> Content:
    """Reads and checks. `folder` has a folder for each profile. Raises `ConfigurationError`,
    `HostError`, with the file's name in it."""
    text = config.text(boot_conf) if boot_conf else ""
    said = config.parse([(str(boot_conf), text)] if boot_conf else [])
    if image:
        inputs.parse_image_reference(image, "--image")
    if profile:
        inputs.parse_profile_name(profile, "--profile")
    for name, value in (("image", image or said.image), ("profile", profile or said.profile)):
        if not value:
            raise ConfigurationError(
                f"nobody has said which {name}",
                f"Give --{name}, or set {name} in the [tuning] section of --boot-conf.",
            )
    said.images.check(image or said.image)
    files = _profile_files(folder) if folder else ()
    notes = [
        f"--{name} {value} wins over {boot_conf}, which says {name} = {other}"
        for name, value, other in (("image", image, said.image), ("profile", profile, said.profile))
        if value and other not in ("", value)
    ]
    notes += _notes(profile or said.profile, files)
    return Content(image, profile, text, files, tuple(notes))


def _profile_files(folder: Path) -> tuple[ProfileFile, ...]:
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: there is no such folder")
    if os.path.lexists(folder / "tuned.conf"):
        raise ConfigurationError(
            f"{folder}: found a tuned.conf, expected a folder with a folder for each profile"
        )
    for each in sorted(folder.iterdir()):
        if each.is_dir() and not os.path.lexists(each / "tuned.conf"):
            raise ConfigurationError(
                f"{each}: there is no tuned.conf, expected one in each profile"
            )
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
        f"{name!r} is not among the profiles given: the image has to have it"
        for name in profiles.absent(profile, texts)
    )


def placed(content: Content) -> tuple[NodeFile, ...]:
    """The files on the node, by path. Those of a profile are 0755 if their owner may execute
    them, else 0644: what else a checkout's modes say is the umask of whoever made it."""
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
    and `name` are those of a MachineConfig. Raises `ConfigurationError` for what does not fit."""
    if form in ("machineconfig", "openshift"):
        made = _machineconfig(content, role or "worker", name)
        return made if form == "machineconfig" else _butane_openshift(content, made["metadata"])
    if role or name:
        raise ConfigurationError(
            "--role and --name are those of a MachineConfig: they need --variant openshift"
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
            f"the MachineConfig has {size} bytes, expected at most {LIMIT}: etcd takes no more",
            f"The largest file is {largest.path} with {len(largest.data)} bytes.",
        )
    return made


def _butane_fcos(content: Content) -> Document:
    """For Fedora CoreOS, and whatever else takes plain Ignition."""
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
    # The mode is a decimal number in JSON. Whatever stands there already is replaced.
    return {"path": file.path, "mode": file.mode, "overwrite": True, "contents": contents}


def _inline(data: bytes) -> dict[str, str]:
    text = _printable(data)
    return {"source": data_url(data)} if text is None else {"inline": text}


def data_url(data: bytes) -> str:
    """RFC 2397: text percent-encoded, so that a diff of two documents shows what has changed; other
    bytes in base64. Not compressed, which Butane refuses for a MachineConfig."""
    text = _printable(data)
    if text is None:
        return "data:;base64," + base64.b64encode(data).decode()
    # Ignition refuses brackets as they are.
    return "data:," + quote(text, safe="/:=,")


def _printable(data: bytes) -> str | None:
    """Text that YAML takes unescaped, but for line feeds and tabs; None for anything else."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if text.replace("\n", " ").replace("\t", " ").isprintable() else None


def text_of(document: Document) -> bytes:
    """The document as it is written, in the order in which it was made."""
    return json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"
