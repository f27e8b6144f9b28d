"""What the removal of the package removes, and what remains."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ocp_tuned_boot.commands import removal
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import known
from ocp_tuned_boot.images.known import Known
from ocp_tuned_boot.record import store as record
from ocp_tuned_boot.record.model import Hold, InForce, Record
from ocp_tuned_boot.requested import lastgood
from ocp_tuned_boot.tuned.judge import Result
from tests.unit.fake_podman import listening
from tests.unit.images.fake_store import Store

IMAGE_ENV = "NTO_IMAGE=localhost/asked:x\n"


@pytest.fixture
def store() -> Store:
    made = Store()
    made.images = {
        "localhost/asked:x": "id-asked",
        "localhost/good:x": "id-good",
        "localhost/theirs:x": "id-theirs",
    }
    return made


@pytest.fixture
def conf(store: Store) -> Iterator[Path]:
    with listening(store.answer) as socket:
        conf = socket.with_name("boot.conf")
        conf.write_text(f"[podman]\nsocket = {socket}\n")
        yield conf


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A node that has all files that this program can have."""
    paths = Paths(tmp_path)
    for name, text in {
        "proc/sys/kernel/random/boot_id": "b\n",
        "var/lib/ocp-tuned/image.env": IMAGE_ENV,
        "var/lib/ocp-tuned/recommend.d/50-openshift.conf": "[site]\n",
        "etc/crio/crio.conf.d/10-site.conf": "theirs",
        "var/lib/ocp-tuned-boot/images/site.tar": "the admin's",
        "var/lib/ocp-tuned-boot/history/000001-b.json": "{}",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    held = InForce("b", Result.APPLIED, "site", "i", "id", "f", "now", (), (Hold("rtentsk"),))
    paths.run.mkdir(parents=True)
    record.write(paths, Record(Result.APPLIED, "now", "b", in_force=held))
    for name in ("asked", "good"):
        known.remember(paths, Known(f"localhost/{name}:x", f"id-{name}"))
    lastgood.remember(paths, "localhost/good:x", "id-good")
    return paths


def kept(paths: Paths) -> list[str]:
    found = (path for path in paths.state.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(paths.state)) for path in found)


def test_what_is_not_requested_is_removed_and_the_rest_remains(
    paths: Paths, conf: Path, store: Store
) -> None:
    removal.purge(paths, conf)
    assert set(store.images) == {"localhost/asked:x", "localhost/theirs:x"}
    assert kept(paths) == ["images/site.tar"]
    assert paths.image_env.read_text() == IMAGE_ENV
    assert paths.status.exists()
    assert [each.name for each in paths.crio_conf.iterdir()] == ["10-site.conf"]


def test_if_no_image_is_requested_all_pulled_images_are_removed(
    paths: Paths, conf: Path, store: Store
) -> None:
    paths.image_env.unlink()
    removal.purge(paths, conf)
    assert set(store.images) == {"localhost/theirs:x"}
    assert kept(paths) == ["images/site.tar"]


def test_without_podman_the_list_of_pulled_images_is_kept(
    paths: Paths, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    conf = tmp_path / "boot.conf"
    conf.write_text("[podman]\nsocket = /nowhere\n")
    removal.purge(paths, conf)
    assert kept(paths) == ["images.json", "images/site.tar"]
    assert len(json.loads(paths.known_images.read_text())["images"]) == 2
    assert "cannot reach Podman at /nowhere" in caplog.text


@pytest.mark.parametrize("holds", [(), (Hold("rtentsk"),)])
def test_what_systemd_holds_has_a_unit_until_the_next_boot(
    paths: Paths, conf: Path, holds: tuple[Hold, ...]
) -> None:
    done = record.read(paths)
    assert done is not None
    assert done.in_force is not None
    record.write(paths, replace(done, in_force=replace(done.in_force, holds=holds)))
    removal.purge(paths, conf)
    assert paths.runtime_unit.exists() == bool(holds)
    assert not holds or "FileDescriptorStoreMax=4\n" in paths.runtime_unit.read_text()
