"""The kubelet's registry credentials, in the form that Podman's API expects.

Podman's service reads no credentials file for a pull that is requested over the API (seen with 4.3
and 5.4, with REGISTRY_AUTH_FILE set or not): the credentials are in a header of the request. The
header has all of them, because only Podman knows which registries it contacts, for example a mirror
(containers-registries.conf(5)). Podman sends each registry only the credentials of that registry,
or of the path in it.

During the pull Podman keeps them in a file (pkg/auth, authConfigsToAuthFile), in the directory that
the package's units set with TMPDIR=. Its mode is 0700, and it is emptied when Podman starts.
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

#: The largest credentials file (bytes). The one of a site with many registries has some KiB.
LIMIT = 256 * 1024
#: The header's name in Docker's API. Podman accepts several registries, and paths, in it.
HEADER = "X-Registry-Config"

# A key that Podman accepts. Podman refuses the whole pull because of one that it does not accept.
_KEY = re.compile(r"[\w.\[\]:-]+(?:/[\w.-]+)*\Z", re.ASCII)
# The names that Docker uses for its own registry.
_DOCKER = {"index.docker.io", "registry-1.docker.io"}


def headers(paths: Paths) -> dict[str, str]:
    """The headers of a pull; empty if the kubelet has no credentials. Entries that cannot be used
    are left out, which is logged."""
    try:
        found, left_out = parse(files.read(paths.kubelet_config, LIMIT).decode())
    except FileNotFoundError:
        return {}
    except HostError as error:
        log.warning("%s", error)
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # The error has no content of the file: that may be a secret.
        log.warning(
            "%s: found no credentials in the format of containers-auth.json(5); "
            "pulling without credentials (%s)",
            paths.kubelet_config, type(error).__name__,
        )  # fmt: skip
        return {}
    if left_out:
        log.warning(
            "%s: found no <user>:<password> in %d of its entries; ignoring them",
            paths.kubelet_config, left_out,
        )  # fmt: skip
    if not found:
        return {}
    return {HEADER: base64.urlsafe_b64encode(json.dumps(found).encode()).decode()}


def parse(text: str) -> tuple[dict[str, dict[str, str]], int]:
    """The credentials in the text of a containers-auth.json(5), by registry or by path in a
    registry, and the number of entries that cannot be used: broken ones, and those with only an
    identity token, which Podman does not accept in this header.

    Raises `ValueError`, `TypeError`, `AttributeError`."""
    auths: dict[str, Any] = from_json(text).get("auths") or {}
    found: dict[str, dict[str, str]] = {}
    left_out = 0
    # Docker also writes URLs as keys. The plain name wins if there are both.
    for name, entry in sorted(auths.items(), key=lambda item: "://" not in item[0]):
        try:
            found[_key(name)] = _entry(entry)
        except (ValueError, KeyError, TypeError, AttributeError):
            left_out += 1
    return found, left_out


def _key(name: str) -> str:
    """The registry, or the path in one, of a key. A URL such as `https://registry.example/v1/`
    means the whole registry, as for Podman (normalizeAuthFileKey)."""
    scheme, separator, rest = name.partition("://")
    key = rest.partition("/")[0] if separator else scheme.rstrip("/")
    if not _KEY.match(key):
        raise ValueError("not a registry and not a path in one")
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
