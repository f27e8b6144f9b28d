"""The kubelet's credentials for registries, as Podman's API takes them.

Podman's service reads no file of credentials for a pull that is asked of it (seen with 4.3 and 5.4,
REGISTRY_AUTH_FILE set or not): they go with the request, in a header. All of them, because which
registry is asked in the end, a mirror perhaps, only Podman knows (containers-registries.conf(5));
it sends to each registry what belongs to that one, or to the path in it, and no other.

For the time of the pull Podman has them in a file of its own (pkg/auth, authConfigsToAuthFile), in
the folder that the units of ours give it (TMPDIR=): 0700, and emptied whenever Podman starts.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
from typing import Any

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.typedjson import from_json

log = logging.getLogger(__name__)

#: Those of all a site's registries are some KiB (bytes).
LIMIT = 256 * 1024
#: podman-py and Docker's API call it so; Podman takes several registries and paths in it.
HEADER = "X-Registry-Config"

# What Podman takes for one; of one that it does not take it would refuse the whole pull.
_KEY = re.compile(r"[\w.\[\]:-]+(?:/[\w.-]+)*\Z", re.ASCII)
# What Docker calls its registry.
_DOCKER = {"index.docker.io", "registry-1.docker.io"}


def headers(paths: Paths) -> dict[str, str]:
    """For a pull; empty where the kubelet has no credentials. What cannot be used of the file is
    told in the journal, and left out."""
    try:
        found, left_out = parse(files.read(paths.kubelet_config, LIMIT).decode())
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
    if left_out:
        log.warning(
            "%s: found no <user>:<password> in %d of its entries, which are left out",
            paths.kubelet_config, left_out,
        )  # fmt: skip
    if not found:
        return {}
    return {HEADER: base64.urlsafe_b64encode(json.dumps(found).encode()).decode()}


def parse(text: str) -> tuple[dict[str, dict[str, str]], int]:
    """What the text of a containers-auth.json(5) has for registries and for paths in them, and how
    many entries cannot be used: those that are broken, and those with only an identity token, which
    Podman does not take in this header. Raises `ValueError`, `TypeError`, `AttributeError`."""
    auths: dict[str, Any] = from_json(text).get("auths") or {}
    found: dict[str, dict[str, str]] = {}
    left_out = 0
    # Docker writes addresses, too; where both are there, the plain name counts.
    for name, entry in sorted(auths.items(), key=lambda item: "://" not in item[0]):
        try:
            found[_key(name)] = _entry(entry)
        except (ValueError, KeyError, TypeError, AttributeError):
            left_out += 1
    return found, left_out


def _key(name: str) -> str:
    """`https://registry.example/v1/` stands for all of that registry, as Podman has it
    (normalizeAuthFileKey)."""
    scheme, separator, rest = name.partition("://")
    key = rest.partition("/")[0] if separator else scheme.rstrip("/")
    if not _KEY.match(key):
        raise ValueError("no registry, and no path in one")
    return "docker.io" if key in _DOCKER else key


def _entry(entry: dict[str, str]) -> dict[str, str]:
    try:
        plain = base64.b64decode(entry["auth"], validate=True).decode()
    except binascii.Error as error:
        raise ValueError("auth is not base64") from error
    user, colon, password = plain.partition(":")
    if not colon:
        raise ValueError("auth is not <user>:<password>")
    return {"username": user, "password": password}
