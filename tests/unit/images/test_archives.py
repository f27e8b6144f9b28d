"""Archives of images on the node."""

from __future__ import annotations

import json
import logging

import pytest

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import archives
from tests.unit.images.fake_store import DIGEST, archive
from tests.unit.tars import made


def test_archives_are_read_and_other_files_are_left_out(paths: Paths) -> None:
    archive(paths, "a:1", "a:2")
    archive(paths, "b:1", docker=True)
    folder = paths.archives[0]
    (folder / "empty.tar").touch()
    (folder / "text.tar").write_text("hello")
    (folder / "folder").mkdir()
    (folder / "link.tar").symlink_to(folder / "0.tar")
    data = (folder / "0.tar").read_bytes()
    (folder / "torn.tar").write_bytes(data[:700])
    found = {each.path.name: each for each in archives.all_of(paths)}
    assert set(found) == {"0.tar", "1.tar"}
    assert found["0.tar"].names == ("a:1", "a:2")
    assert found["0.tar"].digests == (DIGEST, DIGEST)
    assert (found["1.tar"].names, found["1.tar"].digests) == (("b:1",), ())


def test_a_name_without_a_tag_means_the_latest(paths: Paths) -> None:
    archive(paths, "localhost:5000/tuned:latest", docker=True)
    (found,) = archives.all_of(paths)
    assert found.has("localhost:5000/tuned")
    assert found.has("localhost:5000/tuned:latest")
    assert not found.has("localhost:5000/tuned:1")
    assert not found.has(f"localhost:5000/tuned@{DIGEST}")
    assert not found.has("tuned")


def test_folders_of_others_come_last_and_what_else_is_there_is_no_mistake(
    paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    archive(paths, "a:1")
    folder = paths.root / "var/lib/rancher/k3s/agent/images"
    folder.mkdir(parents=True)
    (folder / "b.tar").write_bytes((paths.archives[0] / "0.tar").read_bytes())
    (folder / "list.txt").write_text("docker.io/rancher/pause:3\n")
    (folder / "k3s-airgap-images.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd rest")
    found = [*archives.all_of(paths, ["/var/lib/rancher/k3s/agent/images", "/no/such"])]
    assert [(each.path.name, each.foreign) for each in found] == [
        ("0.tar", False), ("b.tar", True),
    ]  # fmt: skip
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []
    assert [*archives.all_of(paths)] == found[:1]


def test_containerd_writes_the_name_to_an_annotation_of_its_own(paths: Paths) -> None:
    entry = {archives.NAME: "1", archives.CONTAINERD_NAME: "registry.lab/tuned:1"}
    index = {"manifests": [{"digest": DIGEST, "annotations": entry}]}
    folder = paths.archives[0]
    folder.mkdir(parents=True)
    (folder / "0.tar").write_bytes(made({"index.json": json.dumps(index).encode()}))
    (found,) = archives.all_of(paths)
    assert found.names == ("registry.lab/tuned:1",)
