"""One image of an archive with several, such as one that is also there for k3s, RKE2 or k0s; and
none of the other names that it has there.

Podman loads all images of a `docker save` archive, and refuses an OCI archive with more than one.
So it is sent an archive that has only the wanted one: a new index, and the parts of the file that
this index needs, as they are. Nothing is unpacked or written.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any, BinaryIO

from ocp_tuned_boot.host import files, tar
from ocp_tuned_boot.host.transfer import Part, Span
from ocp_tuned_boot.host.typedjson import from_json
from ocp_tuned_boot.images.archives import CONTAINERD_NAME, ERRORS, INDEX_LIMIT, NAME, named_as

#: The most manifests of an image: one for each platform, and for what goes with it.
_MANIFESTS = 100
_END = b"\0" * 2 * tarfile.BLOCKSIZE


@dataclass(frozen=True)
class _Member:
    """Where a file is in the archive: from its header on, and its content; and for a link the name
    of its target."""

    whole: Span
    info: tarfile.TarInfo
    target: str = ""


@dataclass(frozen=True)
class _Opened:
    """An archive whose members are known."""

    file: BinaryIO
    members: dict[str, _Member] = field(default_factory=dict)

    def json(self, name: str) -> Any:
        """The content of a file. Raises `ValueError` where it is missing or not JSON."""
        found = self._member(name)
        return from_json(tar.content(self.file, found.info, INDEX_LIMIT))

    def spans(self, names: Iterator[str]) -> Iterator[Span]:
        """Where these files are, and what they link to. Raises `ValueError` for one that is
        missing."""
        for name in names:
            member = self._member(name)
            yield member.whole
            if member.target:
                yield self._member(member.target).whole

    def _member(self, name: str) -> _Member:
        if name not in self.members:
            raise ValueError(f"it is not complete: {name!r} is missing")
        return self.members[name]


def parts(path: Path, reference: str) -> tuple[Part, ...]:
    """What to send of this archive for this image, or for its first one where `reference` is empty;
    empty where it has no other image and no other name, and is sent as it is.

    Raises `ValueError`, `OSError` for an archive that cannot be read, or does not have it.
    """
    with open(path, "rb", opener=files.opener) as file:
        try:
            opened = _open(file)
            if "manifest.json" in opened.members:
                return _docker(opened, reference)
            return _oci(opened, reference)
        except OSError:
            raise
        except ERRORS as error:
            raise ValueError(f"cannot take {reference or 'an image'} from it: {error}") from error


def _open(file: BinaryIO) -> _Opened:
    opened = _Opened(file)
    for info in tar.members(file):
        padded = -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE if info.isreg() else 0
        name, target = _plain(info.name), ""
        if info.issym():
            target = normpath(join(dirname(name), info.linkname))
        elif info.islnk():
            target = _plain(info.linkname)
        whole = Span(info.offset, info.offset_data + padded - info.offset)
        opened.members[name] = _Member(whole, info, target)
    return opened


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _docker(opened: _Opened, reference: str) -> tuple[Part, ...]:
    index: list[dict[str, Any]] = opened.json("manifest.json")
    for entry in index:
        tags = entry["RepoTags"] or []
        names = [name for name in tags if named_as(name, reference)]
        # Podman gives an image all of its names; others may be somebody else's.
        if len(index) == 1 and names in ([], tags):
            return ()
        if names or not reference:
            found = {**entry, "RepoTags": names or entry["RepoTags"]}
            return _made("manifest.json", [found], opened, [entry["Config"], *entry["Layers"]])
    raise ValueError("its index does not name it")


def _oci(opened: _Opened, reference: str) -> tuple[Part, ...]:
    manifests: list[dict[str, Any]] = opened.json("index.json")["manifests"]
    if len(manifests) == 1:
        return ()
    digest = reference.partition("@")[2]
    for entry in manifests:
        said = entry.get("annotations", {})
        name = said.get(CONTAINERD_NAME) or said.get(NAME, "")
        if not reference or named_as(name, reference) or entry["digest"] == digest:
            named = {**entry, "annotations": {**said, NAME: name}} if name else entry
            index = {"schemaVersion": 2, "manifests": [named]}
            wanted = ["oci-layout", *_blobs(opened, entry["digest"])]
            return _made("index.json", index, opened, wanted)
    raise ValueError("its index does not name it")


def _blobs(opened: _Opened, digest: str) -> Iterator[str]:
    """The blobs of a manifest; of an index for several platforms, those that are in the archive.
    Raises `ValueError` for too many."""
    known = [digest]
    # Grows while it is walked.
    for each in known:
        name = _blob(each)
        yield name
        manifest = opened.json(name)
        if "manifests" in manifest:
            more = dict.fromkeys(it["digest"] for it in manifest["manifests"])
            known += [it for it in more if it not in known and _blob(it) in opened.members]
        else:
            yield from (_blob(it["digest"]) for it in (manifest["config"], *manifest["layers"]))
        if len(known) > _MANIFESTS:
            raise ValueError(f"found an image of more than {_MANIFESTS} manifests")


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _made(
    name: str, index: object, opened: _Opened, wanted: Sequence[str]
) -> tuple[Part, ...]:  # fmt: skip
    """An archive with this index and these files, in the order in which they are in the file."""
    data = json.dumps(index).encode()
    info = tarfile.TarInfo(name)
    info.size = len(data)
    padding = b"\0" * (-len(data) % tarfile.BLOCKSIZE)
    spans = sorted(set(opened.spans(_plain(each) for each in wanted)))
    return (info.tobuf(tarfile.GNU_FORMAT) + data + padding, *spans, _END)
