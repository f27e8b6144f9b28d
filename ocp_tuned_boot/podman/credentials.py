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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.typedjson import from_json

log = logging.getLogger(__name__)

#: The largest credentials file (bytes). The one of a site with many registries has some KiB.
LIMIT = 1024 * 1024
#: The header's name in Docker's API. Podman accepts several registries, and paths, in it.
HEADER = "X-Registry-Config"
#: The longest value of the header (bytes): Podman's server refuses a request whose headers are
#: larger than 1 MiB together (net/http, DefaultMaxHeaderBytes).
HEADER_LIMIT = 1_000_000

# A key that Podman accepts. Podman refuses the whole pull because of one that it does not accept.
_KEY = re.compile(r"[\w.\[\]:-]+(?:/[\w.-]+)*\Z", re.ASCII)
# The names that Docker uses for its own registry.
_DOCKER = {"index.docker.io", "registry-1.docker.io"}
# Go's decoder, and so Podman, ignores them anywhere in base64: base64(1) prints lines.
_LINE_BREAKS = str.maketrans("", "", "\r\n")
# The most entries that a message names.
_NAMED = 3


@dataclass(frozen=True)
class Found:
    """The credentials in a file, by registry or by path in a registry. `unusable`: the keys of
    entries that cannot be used; `helped`: the registries for which the file has only a credential
    helper."""

    credentials: dict[str, dict[str, str]]
    unusable: tuple[str, ...] = ()
    helped: tuple[str, ...] = ()


def headers(paths: Paths, reference: str = "") -> dict[str, str]:
    """The headers of a pull of this image; empty if the kubelet has no credentials. Entries that
    cannot be used are left out, which is logged."""
    try:
        found = parse(files.read(paths.kubelet_config, LIMIT).decode())
    except FileNotFoundError:
        return {}
    except HostError as error:
        log.warning("%s; pulling without credentials", error)
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # The error has no content of the file: that may be a secret.
        log.warning(
            "%s: found no credentials in the format of containers-auth.json(5); "
            "pulling without credentials (%s)",
            paths.kubelet_config, type(error).__name__,
        )  # fmt: skip
        return {}
    if found.unusable:
        log.warning(
            "%s: found no <user>:<password> in %d of its entries; ignoring them: %s",
            paths.kubelet_config, len(found.unusable), _names(found.unusable),
        )  # fmt: skip
    if found.helped:
        log.warning(
            "%s: credential helpers are not supported; there are no credentials for: %s",
            paths.kubelet_config, _names(found.helped),
        )  # fmt: skip
    if not found.credentials:
        return {}
    return {HEADER: _value(paths, found.credentials, reference)}


def _names(keys: Sequence[str]) -> str:
    return ", ".join([*keys[:_NAMED], *(["…"] if len(keys) > _NAMED else [])])


def _value(paths: Paths, found: Mapping[str, dict[str, str]], reference: str) -> str:
    """The header's value. If it would be too long, it has the credentials of the image itself, and
    of as many other registries as there is room for, since one may be a mirror."""
    value = _encoded(found)
    if len(value) <= HEADER_LIMIT:
        return value
    name = reference.partition("@")[0]
    order = sorted(
        found, key=lambda key: not name.startswith((f"{key}/", f"{key}:")) and name != key
    )
    sent: dict[str, dict[str, str]] = {}
    # Base64 makes four bytes of three.
    left = HEADER_LIMIT * 3 // 4 - 4
    for key in order:
        left -= len(json.dumps({key: found[key]}))
        if left < 0:
            break
        sent[key] = found[key]
    log.warning(
        "%s: the credentials of %d of %d registries are too long to be sent to Podman with the "
        "others; ignoring them", paths.kubelet_config, len(found) - len(sent), len(found),
    )  # fmt: skip
    return _encoded(sent)


def _encoded(found: Mapping[str, dict[str, str]]) -> str:
    return base64.urlsafe_b64encode(json.dumps(found).encode()).decode()


def parse(text: str) -> Found:
    """The credentials in the text of a containers-auth.json(5). Entries that cannot be used are
    broken ones, and those with only an identity token, which Podman does not accept in this header.

    Raises `ValueError`, `TypeError`, `AttributeError`."""
    content = from_json(text)
    auths: dict[str, Any] = _field(content, "auths") or {}
    found: dict[str, dict[str, str]] = {}
    unusable = []
    # Docker also writes URLs as keys. The plain name wins if there are both.
    for name, entry in sorted(auths.items(), key=lambda item: "://" not in item[0]):
        try:
            key = _key(name)
        except ValueError:
            unusable.append(name)
            continue
        try:
            found[key] = _entry(entry)
        except (ValueError, KeyError, TypeError, AttributeError):
            unusable.append(name)
            found[key] = {}
    helpers = _field(content, "credHelpers")
    known = helpers if isinstance(helpers, dict) else {}
    helped = tuple(name for name in known if not found.get(name))
    return Found(_given(found), tuple(unusable), helped)


def _field(content: Mapping[str, Any], name: str) -> Any:
    """A field, whose name may be in upper case or lower case: for Go, and so for Podman and the
    kubelet, that is the same."""
    if name in content:
        return content[name]
    return next((it for key, it in content.items() if key.lower() == name.lower()), None)


def _given(found: Mapping[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """All credentials; and none, for a path whose entry has none although the registry's has some:
    Podman uses only the entry of the longest path."""
    given = {}
    for key, entry in found.items():
        if entry:
            given[key] = entry
        elif any(found.get(parent) for parent in _parents(key)):
            given[key] = {"username": "", "password": ""}
    return given


def _parents(key: str) -> Iterator[str]:
    """The paths above a path in a registry, and the registry."""
    while "/" in key:
        key = key.rpartition("/")[0]
        yield key


def _key(name: str) -> str:
    """The registry, or the path in one, of a key. A URL such as `https://registry.example/v1/`
    means the whole registry, as for Podman (normalizeAuthFileKey)."""
    scheme, separator, rest = name.partition("://")
    key = rest.partition("/")[0] if separator else scheme.rstrip("/")
    if not _KEY.match(key):
        raise ValueError("not a registry and not a path in one")
    return "docker.io" if key in _DOCKER else key


def _entry(entry: Mapping[str, Any]) -> dict[str, str]:
    """User and password; nothing for an entry without any, which Docker writes beside a helper."""
    auth = _field(entry, "auth")
    if not auth and not _field(entry, "identitytoken"):
        return {}
    try:
        plain = base64.b64decode(auth.translate(_LINE_BREAKS), validate=True).decode()
    except binascii.Error as error:
        raise ValueError("auth is not base64") from error
    user, colon, password = plain.partition(":")
    if not colon:
        raise ValueError("auth is not <user>:<password>")
    # As Podman does (decodeDockerAuth).
    return {"username": user, "password": password.strip("\0")}
