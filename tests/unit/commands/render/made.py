"""What is rendered in these tests."""

from __future__ import annotations

from pathlib import Path

from ocp_tuned_boot.commands.render.content import Content, read

TREE = Path(__file__).resolve().parents[4]
IMAGE = "registry.example/tuned:2.25"
AGENT = "/var/lib/ocp-tuned"
#: Each format, and each variant of one.
FORMS = (
    "ignition", "machineconfig", "fcos", "openshift", "cloud-init", "kickstart", "containerfile",
)  # fmt: skip


def content(profiles: Path, boot_conf: Path | None = None, provider: str = "") -> Content:
    return read(profiles, IMAGE, "site", boot_conf, provider)
