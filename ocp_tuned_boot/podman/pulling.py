"""What Podman reports of a pull: how far it is, why it failed, how to fix that, and whether another
attempt may succeed."""

from __future__ import annotations

import re
from typing import Any

from ocp_tuned_boot.errors import ImageError

# What containers/image reports because of policy.json. Not "signature" alone: that word is in the
# addresses to which a registry redirects the request for a layer.
_UNTRUSTED = r"rejected by policy|source image rejected|signature was required|no signature exists"
# The certificate is valid from a later time on: the node's clock is not set yet.
_CLOCK = r"not yet valid: current time \S+ is before"
# Errors that another attempt does not change (containers/image, docker/distribution).
_PERMANENT = re.compile(
    r"unauthorized|denied|authentication required|invalid username/password"
    r"|no such image|manifest unknown|name unknown|not known|not found|\b404\b"
    rf"|x509|certificate|no space left|{_UNTRUSTED}",
    re.IGNORECASE,
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
_UNKNOWN = (
    "The registry has no such image: fix its name in /var/lib/ocp-tuned/image.env (or in "
    "boot.conf, [tuning] image), or push the image."
)
# The hint for each error; the first pattern that matches.
_HINTS = (
    (_UNTRUSTED,
     "The node's policy rejects it: see /etc/containers/policy.json (containers-policy.json(5))."),
    (r"unauthorized|denied|authentication required|invalid username",
     "Check that /var/lib/kubelet/config.json has credentials for this registry and repository."),
    (_CLOCK, "The clock of this node is behind: set it before the image is pulled."),
    (r"x509|certificate",
     "Put the registry's CA into /etc/containers/certs.d/<host:port>/ (containers-certs.d(5))."),
    (r"no space left", "Free disk space on the node, or enlarge the image store."),
    (r"manifest unknown|name unknown|not known|not found|\b404\b",
     _UNKNOWN),
    (r"short-name", "Use the image's full name, with the registry."),
    (r"\blookup\b",
     "The registry's host name cannot be resolved: check /etc/resolv.conf. " + _ARCHIVE),
    (r"digest|corrupt",
     "The registry served data that does not match its digest: push the image again."),
    (r"", SILENT),
)  # fmt: skip


def failure(reference: str, reason: str) -> ImageError:
    """The error of a pull that failed for this reason, in Podman's words."""
    reason = _QUERY.sub(r"\1…", reason)
    # The reference is part of the reason, and may contain any of the words searched for.
    bare = reason.replace(reference, "")
    hint = next(hint for pattern, hint in _HINTS if re.search(pattern, bare, re.IGNORECASE))
    # With mirrors, the failure is permanent only if it is permanent with each of them.
    parts = _MIRRORS.split(bare)
    temporary = any(
        re.search(_CLOCK, part) or not _PERMANENT.search(part) for part in parts[1:] or parts
    )
    return ImageError(f"cannot pull {reference}: {reason}", hint, temporary=temporary)


def progress(answer: dict[str, Any]) -> str:
    """One line of a pull's answer as text, from either of Podman's two formats."""
    detail = answer.get("progressDetail") or {}
    parts = [str(answer.get("stream") or answer.get("status") or "").strip()]
    if answer.get("id") and "status" in answer:
        parts.append(str(answer["id"]))
    if detail.get("total"):
        megabytes = [f"{int(detail[key]) / 1e6:.1f}" for key in ("current", "total")]
        parts.append(f"{megabytes[0]} of {megabytes[1]} MB")
    return " ".join(filter(None, parts))
