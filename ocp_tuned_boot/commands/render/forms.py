"""The formats by name."""

from __future__ import annotations

from typing import Callable

from ocp_tuned_boot.commands.render import cloudinit, containerfile, ignition, kickstart
from ocp_tuned_boot.commands.render.content import Content

_TEXTS: dict[str, Callable[[Content], bytes]] = {
    "cloud-init": cloudinit.text,
    "kickstart": kickstart.text,
    "containerfile": containerfile.text,
}


def text(content: Content, form: str, role: str = "", name: str = "") -> bytes:
    """`form`: what follows `render` on the command line, or the variant of Butane. Raises
    `ConfigurationError` and `UsageError` if such a document cannot be made."""
    if form in _TEXTS:
        return _TEXTS[form](content)
    return ignition.text_of(ignition.document(content, form, role, name))
