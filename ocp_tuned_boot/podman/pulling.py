"""What Podman reports of a pull: how far it is, why it failed, how to fix that, and whether another
attempt may succeed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ocp_tuned_boot.errors import CutOff, DeadlineExceeded, ImageError
from ocp_tuned_boot.host.transfer import Amount
from ocp_tuned_boot.podman import failures

# What containers/image reports because of policy.json. Not "signature" alone: that word is in the
# addresses to which a registry redirects the request for a layer.
_UNTRUSTED = (
    r"rejected by policy|source image rejected|signature was required|no signature exists"
    r"|invalid policy in|no policy\.json file"
)
# containers/image reports mirrors so: "(Mirrors also failed: [A: …] [B: …]): C: …".
_MIRRORS = re.compile(r"\(Mirrors also failed: \[|\] \[|\]\): ")
# The query of a presigned address is a secret for as long as it is valid.
_QUERY = re.compile(r"(https?://[^\s\"'?]+\?)[^\s\"']+")
_ARCHIVE = (
    "To do without a registry, put an archive of the image into /var/lib/ocp-tuned-boot/images/."
)
#: The hint for a registry that does not answer.
SILENT = (
    "Check that the registry is up and reachable from this node; the proxy is set in "
    "/etc/mco/proxy.env. " + _ARCHIVE
)
#: The hint for a pull that was not complete in time.
SLOW = (
    "Raise timeout in boot.conf, or pull the image in advance: ocp-tuned-boot image stage. "
    + _ARCHIVE
)
# Of one layer, or of the image.
_COMPLETE = "Download complete"
_WHERE = "in /var/lib/ocp-tuned/image.env (or in boot.conf, [tuning] image)"


@dataclass(frozen=True)
class _Cause:
    """Why a pull fails: what containers/image and docker/distribution report then, how to fix it,
    and whether another attempt may succeed."""

    pattern: str
    hint: str
    temporary: bool = False

    def among(self, parts: Sequence[str]) -> bool:
        return any(re.search(self.pattern, part, re.IGNORECASE) for part in parts)


_FULL = _Cause(failures.FULL.pattern, failures.FULL_HINT)
# The first one that matches.
_CAUSES = (
    _FULL,
    _Cause(failures.READ_ONLY.pattern, failures.READ_ONLY_HINT),
    _Cause(
        r"loading (?:drop-in )?registries configuration",
        "Fix the named file (containers-registries.conf(5)).",
    ),
    _Cause(
        r"registry \S+ is blocked in",
        f"Request an image of another registry {_WHERE}, or unblock this one in "
        "/etc/containers/registries.conf and registries.conf.d/ (containers-registries.conf(5)).",
    ),
    _Cause(
        r"invalid reference format|repository name must be",
        f"Podman cannot read this name: fix it {_WHERE}. "
        "Podman does not support an IPv6 address as the registry's host: use its host name.",
    ),
    _Cause(
        r"short-name",
        "Use the image's full name, with the registry, such as registry.example/tuned:2.25: fix it "
        f"{_WHERE}.",
    ),
    _Cause(
        _UNTRUSTED,
        "The node's policy rejects it: check /etc/containers/policy.json "
        "(containers-policy.json(5)).",
    ),
    _Cause(
        r"unauthorized|denied|authentication required|invalid username",
        "Check that /var/lib/kubelet/config.json has credentials for this registry and repository.",
    ),
    _Cause(
        r"not yet valid: current time \S+ is before",
        "The clock of this node is behind: set it before the image is pulled.",
        temporary=True,
    ),
    _Cause(
        r"x509|certificate",
        "Put the registry's CA into /etc/containers/certs.d/<host:port>/ (containers-certs.d(5)).",
    ),
    _Cause(
        r"server gave HTTP response to HTTPS client",
        "The registry does not use TLS: set insecure = true for it in "
        "/etc/containers/registries.conf.d/ (containers-registries.conf(5)).",
    ),
    _Cause(
        r"no such image|manifest unknown|name unknown|not known|not found|\b404\b",
        f"The registry has no such image: fix its name {_WHERE}, or push the image.",
    ),
    _Cause(
        r"\blookup\b",
        "The registry's host name cannot be resolved: check /etc/resolv.conf. " + _ARCHIVE,
        temporary=True,
    ),
    _Cause(
        r"digest|corrupt",
        "The registry served data that does not match its digest: push the image again.",
        temporary=True,
    ),
    _Cause(r"", SILENT, temporary=True),
)


def failure(reference: str, reason: str) -> ImageError:
    """The error of a pull that failed for this reason, in Podman's words."""
    reason = _QUERY.sub(r"\1…", reason)
    # The reference is part of the reason, and may contain any of the words searched for.
    bare = reason.replace(reference, "")
    parts = _MIRRORS.split(bare)
    parts = parts[1:] or parts
    if _FULL.among(parts):
        # Of this node, not of a registry: that the others failed as well does not matter.
        (first, *_) = (part for part in _MIRRORS.split(reason) if _FULL.among([part]))
        return ImageError(f"cannot pull {reference}: {first}", _FULL.hint)
    cause = next(each for each in _CAUSES if each.among([bare]))
    # With mirrors, the failure is permanent only if it is permanent with each of them.
    each = (next(it for it in _CAUSES if it.among([part])) for part in parts)
    temporary = any(it.temporary for it in each)
    return ImageError(f"cannot pull {reference}: {reason}", cause.hint, temporary=temporary)


def too_late(reference: str, last: str, reason: str) -> DeadlineExceeded:
    """The error of a pull that was not complete in time. `last`: the progress that was reported
    last; with any, it is `CutOff`. Without, the registry may not have answered at all."""
    # Podman 4 reports this before it asks the registry.
    if not last or last.startswith("Trying to pull"):
        return DeadlineExceeded(f"cannot pull {reference}: {reason}", SILENT)
    return CutOff(
        f"cannot pull {reference}: the pull was not complete in time (last: {last})", SLOW
    )


class Layers:
    """How far a pull is, from the lines of Podman's answer, in either of its two formats.

    With `compatMode`, Podman 5 counts the bytes of each layer that it has begun; six are pulled at
    a time. So the total is that of these layers, and grows with the next ones. Podman 4.3 counts no
    bytes; then the amount is in words.
    """

    def __init__(self) -> None:
        self._bytes: dict[str, tuple[int, int]] = {}
        self._copied = 0

    def heard(self, answer: dict[str, Any]) -> Amount | None:
        """How far it is after this line; None if the line says nothing of that."""
        words = str(answer.get("stream") or answer.get("status") or "").strip()
        if not words:
            return None
        self._copied += words.startswith("Copying blob")
        layer, detail = str(answer.get("id") or ""), answer.get("progressDetail") or {}
        if detail.get("total"):
            self._bytes[layer] = int(detail["current"]), int(detail["total"])
        elif words == _COMPLETE and layer in self._bytes:
            total = self._bytes[layer][1]
            self._bytes[layer] = total, total
        if self._bytes:
            done, total = map(sum, zip(*self._bytes.values()))
            return Amount(done, total)
        if words.startswith("Copying blob"):
            words = f"layer {self._copied}, {words}"
        return Amount(words=words)
