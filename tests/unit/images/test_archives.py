"""Archives of images on the node."""

from __future__ import annotations

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import archives
from tests.unit.images.fake_store import DIGEST, archive


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
