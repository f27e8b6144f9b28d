"""What is sent to Podman of an archive with several images."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot.host.transfer import Part
from ocp_tuned_boot.images import selection
from ocp_tuned_boot.images.archives import CONTAINERD_NAME, NAME, exported_as
from tests.unit.tars import BOMBS

TUNED, OTHER = "registry.lab/tuned:1", "registry.lab/other:1"


def archive(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w") as out:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            out.addfile(member)
    return path


def sent(path: Path, parts: tuple[Part, ...]) -> dict[str, bytes]:
    """The files of the archive that these parts make; a link has the name of its target."""
    data = path.read_bytes()
    whole = b"".join(
        it if isinstance(it, bytes) else data[it.offset : it.offset + it.size] for it in parts
    )
    with tarfile.open(fileobj=io.BytesIO(whole)) as made:
        found = {}
        for member in made:
            file = made.extractfile(member) if member.isreg() else None
            found[member.name] = file.read() if file else member.linkname.encode()
        return found


def docker(path: Path, *more: dict[str, Any]) -> Path:
    index: list[dict[str, Any]] = [
        {"Config": "o.json", "RepoTags": [OTHER], "Layers": ["o/layer.tar"]},
        {"Config": "t.json", "RepoTags": ["a:1", TUNED], "Layers": ["base.tar", "t/layer.tar"]},
        *more,
    ]
    long = "x" * 200
    files = {"o.json": b"{}", "o/layer.tar": b"o" * 9999, "base.tar": b"b" * 700, "t.json": b"{t}",
             long: b"", "top.tar": b"t" * 512,
             "manifest.json": json.dumps(index).encode()}  # fmt: skip
    return archive(path, files, {"t/layer.tar": "../top.tar"})


def test_of_a_docker_archive_the_image_its_layers_and_what_they_link_to(tmp_path: Path) -> None:
    path = docker(tmp_path / "a.tar")
    found = sent(path, selection.parts(path, TUNED))
    (entry,) = json.loads(found.pop("manifest.json"))
    # By no other name: that one may be somebody else's.
    assert entry == {"Config": "t.json", "RepoTags": [TUNED], "Layers": ["base.tar", "t/layer.tar"]}
    assert found == {"t.json": b"{t}", "base.tar": b"b" * 700, "top.tar": b"t" * 512,
                     "t/layer.tar": b"../top.tar"}  # fmt: skip


def test_one_that_was_exported_for_a_digest_and_the_first_one(tmp_path: Path) -> None:
    asked = "registry.lab/tuned@sha256:" + "b" * 64
    more = {"Config": "t.json", "RepoTags": [exported_as(asked)], "Layers": []}
    path = docker(tmp_path / "a.tar", more)
    found = sent(path, selection.parts(path, asked))
    assert json.loads(found["manifest.json"]) == [more]
    assert {*sent(path, selection.parts(path, ""))} == {"manifest.json", "o.json", "o/layer.tar"}


def test_an_archive_of_one_image_is_sent_as_it_is(tmp_path: Path) -> None:
    index = [{"Config": "t.json", "RepoTags": [TUNED], "Layers": []}]
    one = archive(tmp_path / "a.tar", {"manifest.json": json.dumps(index).encode()})
    assert selection.parts(one, TUNED) == ()
    layout = {"manifests": [{"digest": "sha256:" + "a" * 64}]}
    two = archive(tmp_path / "b.tar", {"./index.json": json.dumps(layout).encode()})
    assert selection.parts(two, TUNED) == ()


def test_of_one_image_with_several_names_only_the_one_that_is_wanted(tmp_path: Path) -> None:
    """Podman gives it all of them, and one may be the name of another program's image."""
    index = [{"Config": "t.json", "RepoTags": [OTHER, TUNED], "Layers": ["base.tar"]}]
    files = {"t.json": b"{t}", "base.tar": b"b", "manifest.json": json.dumps(index).encode()}
    path = archive(tmp_path / "a.tar", files)
    found = sent(path, selection.parts(path, TUNED))
    assert json.loads(found.pop("manifest.json")) == [{**index[0], "RepoTags": [TUNED]}]
    assert found == {"t.json": b"{t}", "base.tar": b"b"}
    # The first one, whatever it is called, and one whose name is not that of the request.
    assert selection.parts(path, "") == selection.parts(path, "registry.lab/x:1") == ()


class Layout:
    """An OCI image layout that is being made."""

    def __init__(self) -> None:
        self.files = {"./oci-layout": b"{}"}

    def blob(self, content: object) -> str:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        name = hashlib.sha256(data).hexdigest()
        self.files[f"./blobs/sha256/{name}"] = data
        return f"sha256:{name}"

    def image(self, word: bytes) -> str:
        config, layer = self.blob({"word": word.decode()}), self.blob(word * 900)
        return self.blob({"config": {"digest": config}, "layers": [{"digest": layer}]})


def oci(path: Path, platforms: bool = False) -> tuple[Path, Layout, str]:
    """An archive of two images, as containerd exports it, and the digest of the second one."""
    made = Layout()
    other, tuned = made.image(b"other"), made.image(b"tuned")
    if platforms:
        missing = "sha256:" + "c" * 64
        tuned = made.blob({"manifests": [{"digest": tuned}, {"digest": missing}]})
    entries = [
        {"digest": digest, "annotations": {NAME: "1", CONTAINERD_NAME: name}}
        for digest, name in ((other, OTHER), (tuned, TUNED))
    ]
    made.files["./index.json"] = json.dumps({"manifests": entries}).encode()
    return archive(path, made.files), made, tuned


@pytest.mark.parametrize("platforms", [False, True])
@pytest.mark.parametrize("by", ["name", "digest"])
def test_of_an_oci_archive_the_image_and_its_blobs(
    tmp_path: Path, platforms: bool, by: str
) -> None:
    path, made, digest = oci(tmp_path / "a.tar", platforms)
    asked = TUNED if by == "name" else f"registry.lab/x@{digest}"
    found = sent(path, selection.parts(path, asked))
    (entry,) = json.loads(found["index.json"])["manifests"]
    # The name is where Podman looks for it.
    assert (entry["digest"], entry["annotations"][NAME]) == (digest, TUNED)
    others = {name for name, data in made.files.items() if b"other" in data}
    kept = {name for name, data in made.files.items() if b"tuned" in data}
    assert len(kept) == 3
    assert {*found}.isdisjoint(others)
    assert kept - {"./index.json"} < {*found}
    assert "./oci-layout" in found


def test_what_is_missing_or_broken_is_said(tmp_path: Path) -> None:
    path = docker(tmp_path / "a.tar", {"Config": "no.json", "RepoTags": ["b:1"], "Layers": []})
    with pytest.raises(ValueError, match=r"is not complete: 'no\.json' is missing"):
        selection.parts(path, "b:1")
    with pytest.raises(ValueError, match="its index does not name it"):
        selection.parts(path, "c:1")
    for index in (b"[1, 2]", b'[{"RepoTags": 1}, {}]', b"[", b'{"a": 1, "b": 2}'):
        broken = archive(tmp_path / "b.tar", {"manifest.json": index})
        with pytest.raises(ValueError, match="cannot take b:1 from it"):
            selection.parts(broken, "b:1")
    with pytest.raises(ValueError, match="cannot take b:1 from it"):
        selection.parts(archive(tmp_path / "c.tar", {}), "b:1")


def test_indexes_that_refer_to_themselves_end(tmp_path: Path) -> None:
    # Of a real one nobody can make the digest.
    loop = "sha256:" + "d" * 64
    files = {
        "index.json": json.dumps({"manifests": [
            {"digest": loop, "annotations": {NAME: TUNED}}, {"digest": loop},
        ]}).encode(),
        "oci-layout": b"{}",
        f"blobs/{loop.replace(':', '/')}": json.dumps({"manifests": [{"digest": loop}]}).encode(),
    }  # fmt: skip
    path = archive(tmp_path / "a.tar", files)
    assert {*sent(path, selection.parts(path, TUNED))} == {*files}


def test_an_image_of_too_many_manifests_is_refused(tmp_path: Path) -> None:
    made = Layout()
    many = [made.blob({"manifests": [], "number": number}) for number in range(100)]
    tuned = made.blob({"manifests": [{"digest": each} for each in many]})
    entries = [{"digest": tuned, "annotations": {NAME: TUNED}}, {"digest": many[0]}]
    made.files["./index.json"] = json.dumps({"manifests": entries}).encode()
    with pytest.raises(ValueError, match="more than 100 manifests"):
        selection.parts(archive(tmp_path / "a.tar", made.files), TUNED)


@pytest.mark.parametrize("name", BOMBS)
def test_an_archive_of_a_hostile_one_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(BOMBS[name]())
    with pytest.raises(ValueError, match="cannot take"):
        selection.parts(path, TUNED)
