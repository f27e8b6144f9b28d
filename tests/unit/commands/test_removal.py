"""What the removal of the package removes, and what remains."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ocp_tuned_boot.commands import inventory, removal
from ocp_tuned_boot.commands.terminal import Terminal
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import known
from ocp_tuned_boot.images.known import Known
from ocp_tuned_boot.record import store as record
from ocp_tuned_boot.record.model import Hold, InForce, Record
from ocp_tuned_boot.requested import lastgood
from ocp_tuned_boot.tuned import staying
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


def shown(paths: Paths, conf: Path, *, dry: bool = True) -> list[str]:
    return Terminal(200).text(removal.listing(paths, conf, dry=dry)).split("\n")


def everything(paths: Paths) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in paths.root.rglob("*") if path.is_file()}


def test_what_a_purge_removes_is_listed_with_sizes_and_nothing_is_touched(
    paths: Paths, conf: Path, store: Store
) -> None:
    store.size = 132_862_547
    (paths.crio_conf / "99-ocp-tuned-boot.conf").write_text("x" * 2500)
    paths.containers.mkdir()
    (paths.containers / "openshift-tuned").touch()
    (paths.own_store / "overlay").mkdir(parents=True)
    before, images = everything(paths), dict(store.images)
    state = paths.state
    known_size, good_size = paths.known_images.stat().st_size, paths.last_good.stat().st_size
    total = 132_862_547 + 2500 + 2 + known_size + good_size
    assert shown(paths, conf) == [
        "cleanup --purge would remove:",
        "  image        localhost/good:x, 132.9 MB",
        "  container    openshift-tuned",
        f"  folder       {state}/containers, 0 B, 1 file",
        f"  folder       {state}/history, 2 B, 1 file",
        f"  file         {state}/images.json, {known_size} B",
        f"  file         {state}/last-good.json, {good_size} B",
        f"  file         {paths.crio_conf}/99-ocp-tuned-boot.conf, 2.5 kB",
        f"  total        {inventory.size(total)}",
        f"  remains      {state}/images",
        f"  remains      {state}/storage",
    ]
    assert (everything(paths), store.images) == (before, images)


def test_what_is_listed_is_what_is_removed(paths: Paths, conf: Path, store: Store) -> None:
    assert shown(paths, conf, dry=False)[0] == "Removing:"
    removal.purge(paths, conf)
    assert shown(paths, conf, dry=False) == [
        "Nothing to remove.",
        f"  remains      {paths.state}/images",
    ]
    assert "localhost/good:x" not in store.images


def test_before_a_seed_is_taken_the_same_is_removed_and_the_unit_stays(
    paths: Paths, conf: Path, store: Store
) -> None:
    purged = [row.text for row in removal.listing(paths, conf, dry=True)]
    seed = [row.text for row in removal.listing(paths, conf, dry=True, seed=True)]
    assert seed == ["cleanup --seed would remove:", *purged[1:]]
    removal.purge(paths, conf, seed=True)
    assert set(store.images) == {"localhost/asked:x", "localhost/theirs:x"}
    assert kept(paths) == ["images/site.tar"]
    assert not paths.runtime_unit.exists()


def test_a_tuned_that_keeps_running_on_the_seed_remains_with_its_note(
    paths: Paths, conf: Path
) -> None:
    (paths.containers / "openshift-tuned").parent.mkdir()
    (paths.containers / "openshift-tuned").touch()
    staying.note(paths, staying.Staying("id", "b", "f"))
    seed = [(row.label, row.text) for row in removal.listing(paths, conf, dry=True, seed=True)]
    assert "container" not in [label for label, _ in seed]
    assert ("remains", str(paths.containers)) in seed
    removal.purge(paths, conf, seed=True)
    # The note is for `cleanup` to remove, which knows whether there is such a container.
    assert paths.containers.is_dir()
    assert staying.read(paths) is not None
    staying.forget(paths)
    removal.purge(paths, conf, seed=True)
    assert not paths.containers.exists()


def test_an_image_that_a_container_uses_is_said_to_remain(
    paths: Paths, conf: Path, store: Store
) -> None:
    store.containers["theirs"] = "id-good"
    words = "  image        localhost/good:x, 0 B, remains while the container theirs exists"
    assert words in shown(paths, conf)


def test_without_podman_that_is_said_and_the_files_are_listed(paths: Paths, tmp_path: Path) -> None:
    conf = tmp_path / "boot.conf"
    conf.write_text("[podman]\nsocket = /nowhere\n")
    said = shown(paths, conf)
    assert any(each.startswith("  problem      cannot reach Podman at /nowhere") for each in said)
    assert f"  remains      {paths.known_images}" in said
    assert any("last-good.json" in each for each in said)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (132_862_547, "132.9 MB"), (2e9, "2.0 GB")],
)
def test_a_size_for_people(number: int, text: str) -> None:
    assert inventory.size(number) == text


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
