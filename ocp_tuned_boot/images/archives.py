"""Image archives on the node: for the first boot, for sites without a registry, and for times when
the registry does not answer. Their indexes are read without loading the archives.

An archive is a tar file with the `index.json` of the OCI image layout (image-layout.md of the image
specification) or with the `manifest.json` of `docker save`.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Optional

from ocp_tuned_boot.errors import ConfigurationError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.typedjson import from_json
from ocp_tuned_boot.requested import inputs

log = logging.getLogger(__name__)

#: The annotations with the name of an image. containerd and Docker write the whole name to one of
#: their own, and only the tag to the other one.
NAME, CONTAINERD_NAME = "org.opencontainers.image.ref.name", "io.containerd.image.name"
#: The largest index (bytes).
INDEX_LIMIT = 1024 * 1024
#: The most archives that are read in one folder.
_ARCHIVES = 100

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Archive:
    """An image archive: the names of its images, and their digests if its index has them.
    `foreign`: it is in a folder of another program, so that only an image that is asked for by its
    name or digest is taken from it."""

    path: Path
    names: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    foreign: bool = False

    def has(self, reference: str) -> bool:
        """Whether it contains this image: by name, by digest, or by the name that `exported_as`
        gives to an image that is exported by digest. Without a tag, `latest` is meant, which an
        archive names."""
        digest = reference.partition("@")[2]
        return digest in self.digests or any(named_as(name, reference) for name in self.names)


#: Archives that were read before, by path, inode, size and time; None: a file that is none.
Known = dict[tuple[Path, int, int, int], Optional[Archive]]


def named_as(name: str, reference: str) -> bool:
    """Whether an image that has this name in an archive is the one that is requested."""
    asked, _, digest = reference.partition("@")
    if digest:
        return name in (reference, exported_as(reference))
    tagged = ":" in asked.rpartition("/")[2]
    return name == asked or (not tagged and name == f"{asked}:latest")


def exported_as(reference: str) -> str:
    """The name in an archive of an image that is requested by digest: `name:sha256-…` for
    `name@sha256:…`. An export compresses the layers again, so the manifest and its digest change,
    and Podman could not load an archive that names the old digest."""
    name, _, digest = reference.partition("@")
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}:{digest.replace(':', '-')}"


def all_of(
    paths: Paths, others: Iterable[str] = (), known: Known | None = None
) -> Iterator[Archive]:
    """The archives in `paths.archives`, the administrator's before the vendor's, and then those in
    the folders of other programs (`archives` in boot.conf). One that cannot be read is left out,
    which is logged. `known`: what was found before, and is found now."""
    known = {} if known is None else known
    for folder in paths.archives:
        yield from _in(folder, logging.WARNING, known)
    for name in others:
        # There, files of other kinds are no mistake.
        found = _in(paths.root / name.lstrip("/"), logging.INFO, known)
        yield from (replace(archive, foreign=True) for archive in found)


def _in(folder: Path, level: int, known: Known) -> Iterator[Archive]:
    for path in sorted(islice(folder.iterdir(), _ARCHIVES)) if folder.is_dir() else []:
        if files.is_temporary(path.name):
            continue
        try:
            found = path.lstat()
            this = (path, found.st_ino, found.st_size, found.st_mtime_ns)
            if this not in known:
                known[this] = None
                known[this] = _read(path)
        except ERRORS as error:
            log.log(level, "%s: found no image archive, ignoring the file: %s", path, error)
            continue
        archive = known[this]
        if archive is not None:
            yield archive


#: The errors of reading an archive, and of an index that is not valid.
ERRORS = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


def _read(path: Path) -> Archive:
    with open(path, "rb", opener=files.opener) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a regular file")
        if file.read(2) in _COMPRESSED:
            raise ValueError("it is compressed; decompress it")
        file.seek(0)
        return _indexed(path, file)


# gzip, bzip2, xz, zstd: finding the index would mean to decompress an archive of any size.
_COMPRESSED = (b"\x1f\x8b", b"BZ", b"\xfd7", b"\x28\xb5")


def _indexed(path: Path, file: BinaryIO) -> Archive:
    from ocp_tuned_boot.host import tar  # noqa: PLC0415  # rarely needed, and slow to import

    for member in tar.members(file):
        name = member.name.removeprefix("./")
        if name in ("index.json", "manifest.json") and member.isreg():
            index = from_json(tar.content(file, member, INDEX_LIMIT))
            return _oci(path, index) if name == "index.json" else _docker(path, index)
    raise ValueError("it has neither index.json nor manifest.json")


def _oci(path: Path, index: dict[str, Any]) -> Archive:
    manifests = index["manifests"]
    annotations = [each.get("annotations", {}) for each in manifests]
    names = (each.get(CONTAINERD_NAME) or each.get(NAME) for each in annotations)
    digests = (str(each["digest"]) for each in manifests)
    return Archive(path, _names(path, names), tuple(filter(_DIGEST.match, digests)))


def _docker(path: Path, manifest: list[dict[str, Any]]) -> Archive:
    return Archive(path, _names(path, (name for it in manifest for name in it["RepoTags"] or ())))


def _names(path: Path, found: Iterable[object]) -> tuple[str, ...]:
    """The names that are valid image references. Others are not passed on, which is logged."""
    names = []
    for name in filter(None, found):
        try:
            names.append(inputs.parse_image_reference(str(name), str(path)))
        except ConfigurationError as error:
            log.warning("%s", error)
    return tuple(names)
