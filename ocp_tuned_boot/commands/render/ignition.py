"""Ignition, MachineConfig and Butane.

The rules are those of the Ignition configuration spec v3.2.0, of the MachineConfig API of
OpenShift's machine-config-operator, and of the Butane specs that make Ignition 3.2.0 (fcos 1.2.0,
openshift 4.8.0). Every document is JSON, which is also YAML.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any
from urllib.parse import quote

from ocp_tuned_boot.commands.render.content import UNITS, Content, NodeFile, placed, printable
from ocp_tuned_boot.errors import ConfigurationError, UsageError

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


def document(content: Content, form: str, role: str = "", name: str = "") -> Document:
    """`form`: `ignition`, `machineconfig`, or a variant of Butane, `fcos` or `openshift`; `role`
    and `name` are those of a MachineConfig. Raises `UsageError`, and `ConfigurationError` if the
    document is too large."""
    if form in ("machineconfig", "openshift"):
        made = _machineconfig(content, role or "worker", name)
        return made if form == "machineconfig" else _butane_openshift(content, made["metadata"])
    if role or name:
        raise UsageError(
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
        raise UsageError(
            f"--role: found {role!r}, expected the name of a MachineConfigPool, such as 'worker'"
        )
    name = name or f"99-{role}-ocp-tuned-boot"
    if not _SUBDOMAIN.match(name):
        raise UsageError(
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
    text = printable(data)
    return {"source": data_url(data)} if text is None else {"inline": text}


def data_url(data: bytes) -> str:
    """A data URL (RFC 2397). Text is percent-encoded, so that a diff of two documents shows what
    changed; other bytes are in base64. Not compressed: Butane refuses that for a MachineConfig."""
    text = printable(data)
    if text is None:
        return "data:;base64," + base64.b64encode(data).decode()
    # Ignition refuses brackets that are not encoded.
    return "data:," + quote(text, safe="/:=,")


def text_of(document: Document) -> bytes:
    """The document as JSON, with the keys in the order of the document."""
    return json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"
