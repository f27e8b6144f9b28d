"""The kubelet's credentials for registries, as Podman's API takes them.

Podman's service reads no file of credentials for a pull that is asked of it (seen with 4.3 and 5.4,
REGISTRY_AUTH_FILE set or not): they go with the request, in a header, and nowhere else.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from typing import Any

from ocp_tuned_boot import files
from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.paths import Paths

log = logging.getLogger(__name__)

#: Those of all a site's registries are some KiB (bytes).
LIMIT = 256 * 1024
#: podman-py and Docker's API call it so; Podman takes several registries and paths in it.
HEADER = "X-Registry-Config"


def headers(paths: Paths, reference: str) -> dict[str, str]:
    """For the registry of this image; empty where the kubelet has none for it. A file that cannot
    be used is told of in the journal, and the image asked for as nobody."""
    try:
        text = files.read(paths.kubelet_config, LIMIT).decode()
        found = parse(text, reference.partition("/")[0])
    except FileNotFoundError:
        return {}
    except HostError as error:
        log.warning("%s", error)
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # Nothing of what is in it: not even in an error.
        log.warning(
            "%s: found no credentials as containers-auth.json(5) has them, expected some (%s)",
            paths.kubelet_config, type(error).__name__,
        )  # fmt: skip
        return {}
    if not found:
        return {}
    return {HEADER: base64.urlsafe_b64encode(json.dumps(found).encode()).decode()}


def parse(text: str, registry: str) -> dict[str, dict[str, str]]:
    """What the text of a containers-auth.json(5) has for a registry: for it, and for paths in it.
    Raises `ValueError`, `KeyError`, `TypeError`, `AttributeError`."""
    auths: dict[str, Any] = files.from_json(text).get("auths") or {}
    found = {}
    for key, entry in auths.items():
        # Docker writes addresses here, with a scheme and perhaps a version.
        path = key.partition("://")[2] or key
        if path.partition("/")[0] == registry:
            found[path.rstrip("/")] = _entry(entry)
    return found


def _entry(entry: dict[str, str]) -> dict[str, str]:
    config = {}
    if entry.get("auth"):
        try:
            plain = base64.b64decode(entry["auth"], validate=True).decode()
        except binascii.Error as error:
            raise ValueError("auth is not base64") from error
        user, colon, password = plain.partition(":")
        if not colon:
            raise ValueError("auth is not <user>:<password>")
        config = {"username": user, "password": password}
    if entry.get("identitytoken"):
        config["identitytoken"] = str(entry["identitytoken"])
    return config
