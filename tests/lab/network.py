"""How this machine reaches the network, for another that shares it."""

from __future__ import annotations

import os
import re
from pathlib import Path

_FILES = (
    "etc/resolv.conf", "etc/hosts", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt",
)  # fmt: skip
_VARIABLES = re.compile(
    r"(?i)(https?|all|no)_proxy|PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|CERT|DEFAULT_TIMEOUT)"
)


def files() -> list[str]:
    """The files that say it, where this machine has these; relative to the root."""
    return [name for name in _FILES if Path("/", name).exists()]


def variables() -> dict[str, str]:
    """The variables that say it, of the environment of this process."""
    return {name: value for name, value in os.environ.items() if _VARIABLES.fullmatch(name)}
