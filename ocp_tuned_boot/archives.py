"""Image archives on the node, for the first boot, for sites without a registry, and for when it is
away: what is in them is found out without loading them.

The OCI image layout's `index.json` (image-layout.md of the image specification), or the
`manifest.json` of `docker save`, in a tar file.
"""

from __future__ import annotations

import json
import logging
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocp_tuned_boot import files
from ocp_tuned_boot.paths import Paths

log = logging.getLogger(__name__)

_NAME = "org.opencontainers.image.ref.name"
#: No index is larger (bytes), and no archive has more members before it.
_INDEX_LIMIT = 1024 * 1024
_MEMBERS = 10_000


@dataclass(frozen=True)
class Archive:
    """An image archive: what the images in it are called, and their digests where it has them."""

    path: Path
    names: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()


def all_of(paths: Paths) -> Iterator[Archive]:
    """Those in the folders for them, the admin's before the vendor's. One that cannot be read is
    told of and left out."""
    for folder in paths.archives:
        for path in sorted(folder.glob("*")) if folder.is_dir() else []:
            try:
                yield _read(path)
            except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
                log.warning("%s: found no image archive, expected one: %s", path, error)


def _read(path: Path) -> Archive:
    with open(path, "rb", opener=files.opener) as file, tarfile.open(fileobj=file) as archive:
        for number, member in enumerate(archive):
            if number > _MEMBERS:
                break
            name = member.name.removeprefix("./")
            if name not in ("index.json", "manifest.json") or not member.isreg():
                continue
            content = archive.extractfile(member)
            assert content is not None  # noqa: S101  # it is a regular file
            index = json.loads(content.read(_INDEX_LIMIT))
            return _oci(path, index) if name == "index.json" else _docker(path, index)
    raise ValueError("it has neither index.json nor manifest.json")


def _oci(path: Path, index: dict[str, Any]) -> Archive:
    manifests = index["manifests"]
    names = (each.get("annotations", {}).get(_NAME) for each in manifests)
    return Archive(
        path,
        tuple(str(name) for name in names if name),
        tuple(str(it["digest"]) for it in manifests),
    )


def _docker(path: Path, manifest: list[dict[str, Any]]) -> Archive:
    return Archive(path, tuple(str(name) for each in manifest for name in each["RepoTags"] or ()))
