"""What is said of a pull: how far it has got, why it failed, what would mend that, and whether
asking again may."""

from __future__ import annotations

import re
from typing import Any

from ocp_tuned_boot.errors import ImageError

# What containers/image says of policy.json. Not "signature" alone: it is in the addresses that a
# registry sends us to for a layer.
_UNTRUSTED = r"rejected by policy|source image rejected|signature was required|no signature exists"
# A certificate of tomorrow: the clock was not set yet.
_CLOCK = r"not yet valid: current time \S+ is before"
# What a registry says when asking again is of no use (containers/image, docker/distribution).
_FOR_GOOD = re.compile(
    r"unauthorized|denied|authentication required|invalid username/password"
    r"|no such image|manifest unknown|name unknown|not known|not found|\b404\b"
    rf"|x509|certificate|no space left|{_UNTRUSTED}",
    re.IGNORECASE,
)
# How containers/image tells of several places: "(Mirrors also failed: [A: …] [B: …]): C: …".
_MIRRORS = re.compile(r"\(Mirrors also failed: \[|\] \[|\]\): ")
# A query may be a secret for as long as it is valid (those of presigned addresses are).
_QUERY = re.compile(r"(https?://[^\s\"'?]+\?)[^\s\"']+")
_ARCHIVE = "An archive of it in /var/lib/ocp-tuned-boot/images/ needs no registry."
#: Where nobody answers.
SILENT = (
    "Is the registry up, and reachable from here? The proxy is in /etc/mco/proxy.env. " + _ARCHIVE
)
# What mends it, by what it says; the first that fits.
_MENDS = (
    (_UNTRUSTED,
     "The node does not trust it: see /etc/containers/policy.json (containers-policy.json(5))."),
    (r"unauthorized|denied|authentication required|invalid username",
     "See whether /var/lib/kubelet/config.json has credentials for this registry and repository."),
    (_CLOCK, "The clock of this node is behind: see that it is set before the image is pulled."),
    (r"x509|certificate",
     "Put the registry's CA under /etc/containers/certs.d/<host:port>/ (containers-certs.d(5))."),
    (r"no space left", "Free some space on the node, or give the store more."),
    (r"manifest unknown|name unknown|not known|not found|\b404\b",
     "The registry has no such image: correct its name in image.env, or push it there."),
    (r"short-name", "Give its full name, with the registry in front."),
    (r"\blookup\b", "The registry's name cannot be resolved: see /etc/resolv.conf. " + _ARCHIVE),
    (r"digest|corrupt", "The registry serves something else than it says: push the image again."),
    (r"", SILENT),
)  # fmt: skip


def failed(reference: str, words: str) -> ImageError:
    """The error for these words of Podman's."""
    words = _QUERY.sub(r"\1…", words)
    # The reference is part of it, and may have any of these words in its name.
    said = words.replace(reference, "")
    hint = next(mends for pattern, mends in _MENDS if re.search(pattern, said, re.IGNORECASE))
    # With mirrors there are several that can come up: it is for good only if it is with each.
    parts = _MIRRORS.split(said)
    temporary = any(
        re.search(_CLOCK, part) or not _FOR_GOOD.search(part) for part in parts[1:] or parts
    )
    return ImageError(f"cannot pull {reference}: {words}", hint, temporary=temporary)


def progress(said: dict[str, Any]) -> str:
    """One line of a pull's answer, in either of Podman's two forms."""
    detail = said.get("progressDetail") or {}
    parts = [str(said.get("stream") or said.get("status") or "").strip()]
    if said.get("id") and "status" in said:
        parts.append(str(said["id"]))
    if detail.get("total"):
        megabytes = [f"{int(detail[key]) / 1e6:.1f}" for key in ("current", "total")]
        parts.append(f"{megabytes[0]} of {megabytes[1]} MB")
    return " ".join(filter(None, parts))
