"""Failures of storage, in Podman's words."""

from __future__ import annotations

import pytest

from ocp_tuned_boot.podman import failures

#: What Podman 5.4 reports of an OCI archive, the digests shortened.
LOAD = """\
unable to load image: payload does not match any of the supported image formats:
 * oci: open /var/tmp/libpod-images-load.tar1/index.json: not a directory
 * oci-archive: writing blob: adding layer with blob "sha256:d1"/""/"sha256:97": unpacking failed \
(error: exit status 1; output: write /usr/bin/python3.13: no space left on device)
 * dir: open /var/tmp/libpod-images-load.tar1/manifest.json: not a directory"""


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (LOAD, "write /usr/bin/python3.13: no space left on device"),
        ("creating x: mkdir /var/lib/containers/a: read-only file system",
         "mkdir /var/lib/containers/a: read-only file system"),
        ("database or disk is full", "disk is full"),
        ("it is no archive", "it is no archive"),
    ],
)  # fmt: skip
def test_what_is_said_about_storage(reason: str, said: str) -> None:
    assert failures.of_storage(reason) == said


def test_where_podman_has_no_space_decides_what_helps() -> None:
    layers = "/run/containers/storage/overlay-layers/.tmp-mountpoints.json1"
    # What Podman 5.4 reports when it creates a container.
    words = f"creating container storage: write {layers}: no space left on device"
    assert "is in memory" in failures.storage_hint(words)
    assert failures.storage_hint(words.replace("/run/", "/var/lib/")) == failures.FULL_HINT
    assert failures.storage_hint("write /usr/bin/x: no space left") == failures.FULL_HINT
