"""Images while workloads run: what is read, what is pulled, and what is not changed.

Staging, exporting and pruning with a real Podman is tested in tests/lab/test_fallback.py and
test_registry.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from ocp_tuned_boot import preview
from ocp_tuned_boot.commands import staging
from ocp_tuned_boot.errors import Busy, ConfigurationError, ImageError, PodmanError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import known
from ocp_tuned_boot.images.known import Known
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.requested import lastgood
from ocp_tuned_boot.tuned import layout, ours
from ocp_tuned_boot.tuned.layout import Layout
from tests.unit.fake_podman import listening, reply
from tests.unit.images.fake_store import ASKED, EXACT, REFUSED, Store, archive
from tests.unit.patience import PATIENCE


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def paths(tmp_path: Path, store: Store) -> Iterator[Paths]:
    """A node that requests an image, and has no profile yet."""
    found = Paths(tmp_path)
    found.agent.mkdir(parents=True)
    found.image_env.write_text(f"NTO_IMAGE={ASKED}\n")
    found.admin_conf.parent.mkdir(parents=True)
    with listening(store.answer) as socket:
        found.admin_conf.write_text(f"[podman]\nsocket = {socket}\n")
        yield found


def says(paths: Paths, image: str) -> None:
    """Adds this to the [image] section of boot.conf."""
    paths.admin_conf.write_text(paths.admin_conf.read_text() + f"[image]\n{image}\n")


def test_no_profile_is_needed_for_an_image(paths: Paths, store: Store) -> None:
    store.pulls_as = ASKED
    image = staging.fetch(paths, None)
    assert image is not None
    assert image.id == "id-pulled"
    assert staging.prune(paths, None) == ()
    rows = {(row.role, row.id) for row in staging.listing(paths, None)}
    assert rows == {("requested", "id-pulled"), ("pulled", "id-pulled")}


def test_without_a_request_nothing_is_pulled(paths: Paths, store: Store) -> None:
    paths.image_env.unlink()
    assert staging.fetch(paths, None) is None
    assert store.requests == []


def test_what_must_not_be_pulled_may_be_in_an_archive(paths: Paths, store: Store) -> None:
    says(paths, "pull = never")
    assert staging.fetch(paths, None) is None
    with pytest.raises(ImageError, match="pull = never"):
        staging.stage(paths, None, ASKED)
    archive(paths, ASKED)
    store.loads = [ASKED]
    image = staging.fetch(paths, None)
    assert image is not None
    assert image.id == "id-loaded"
    assert not any("pull" in request for request in store.requests)


def test_a_fetch_succeeds_although_the_image_cannot_be_looked_into(
    paths: Paths, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.images[ASKED] = "id"
    assert staging.fetch(paths, None) is not None
    assert "POST /containers/create" in store.requests
    assert "what the image contains is not known yet: Podman refuses to" in caplog.text
    # What is known is not looked for again.
    paths.layouts.mkdir(parents=True)
    layout.FORMAT.write(paths.layouts / "id.json", asdict(Layout()))
    store.requests.clear()
    assert staging.fetch(paths, None) is not None
    assert "POST /containers/create" not in store.requests


def test_an_export_prints_the_reference_and_logs_the_rest_elsewhere(
    paths: Paths, store: Store, tmp_path: Path
) -> None:
    store.images[ASKED], store.exports = "id", "x" * 2_000_000
    command = (sys.executable, "-m", "ocp_tuned_boot", "--root", str(paths.root),
               "image", "export", str(tmp_path / "a.tar"))  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout == f"{ASKED}\n"
    assert f"Exporting the image {ASKED} to {tmp_path}/a.tar: done, 2.0 MB in " in done.stderr


def test_a_fetch_uses_no_fallback(paths: Paths, store: Store) -> None:
    lastgood.remember(paths, "old:1", "id-old")
    store.images["old:1"], store.pull = "id-old", REFUSED
    with pytest.raises(ImageError, match="manifest unknown"):
        staging.fetch(paths, None)


def test_a_digest_is_required_here_too(paths: Paths) -> None:
    says(paths, "require_digest = yes")
    with pytest.raises(ConfigurationError, match="is requested by its tag"):
        staging.fetch(paths, None)
    with pytest.raises(ConfigurationError, match="is requested by its tag"):
        staging.stage(paths, None, "a:1")


def test_without_a_request_images_are_listed_and_pruned(paths: Paths, store: Store) -> None:
    paths.image_env.unlink()
    says(paths, "keep = 1")
    for name in ("a:1", "b:1"):
        store.images[name] = f"id-{name}"
        known.remember(paths, Known(name, f"id-{name}"))
    rows = [(row.role, row.reference) for row in staging.listing(paths, None)]
    assert rows == [("pulled", "b:1"), ("pulled", "a:1")]
    assert staging.prune(paths, None) == ("a:1",)


def test_what_was_pulled_is_pinned(paths: Paths, store: Store) -> None:
    paths.crio_conf.mkdir(parents=True)
    lastgood.remember(paths, "old:1", "id-old")
    store.pulls_as = ASKED
    staging.fetch(paths, None)
    text = (paths.crio_conf / "99-ocp-tuned-boot.conf").read_text()
    assert json.loads(text.partition("pinned_images = ")[2]) == [ASKED, "old:1"]


def test_an_image_that_is_known_by_its_digest_is_in_the_list(paths: Paths, store: Store) -> None:
    asked = EXACT.replace("aaaa", "bbbb")
    paths.image_env.write_text(f"NTO_IMAGE={asked}\n")
    known.remember(paths, Known(asked, "id-1"))
    store.images["other:1"] = "id-1"
    rows = staging.listing(paths, None)
    assert (rows[0].role, rows[0].reference, rows[0].id) == ("requested", asked, "id-1")
    # And it is not "to be pulled".
    paths.recommend.parent.mkdir()
    paths.recommend.write_text("[virtual-guest]\n")
    paths.boot_id.parent.mkdir(parents=True)
    paths.boot_id.write_text("b\n")
    assert preview.preview(paths, None).image == "in Podman's store"


def test_a_damaged_image_is_listed_and_left_alone(paths: Paths, store: Store) -> None:
    store.images[ASKED] = "id"
    store.broken.add(ASKED)
    assert staging.listing(paths, None)[0].id == ""
    with pytest.raises(PodmanError, match="layer not known"):
        staging.fetch(paths, None)
    assert not any(request.startswith("DELETE") for request in store.requests)


@pytest.mark.parametrize("mine", [True, False])
def test_the_container_of_a_killed_check_is_removed_and_no_other(paths: Paths, mine: bool) -> None:
    removed = []

    def answer(request: str) -> bytes:
        if request.startswith("DELETE"):
            removed.append(request)
            return reply(200, "[]")
        labels = {"ocp-tuned-boot": "1"} if mine else {}
        state = {"Status": "running", "Pid": 1, "ExitCode": 0}
        return reply(200, json.dumps({"Id": "c1", "Config": {"Labels": labels}, "State": state}))

    with listening(answer) as socket, Podman(socket, Deadline(PATIENCE)) as podman:
        if mine:
            assert ours.remove_check(podman, paths)
            assert len(removed) == 1
            # While one is at work it is left alone.
            with files.locked(paths.check_lock, 0, "image stage"):
                assert not ours.remove_check(podman, paths)
        else:
            with pytest.raises(PodmanError, match="ocp-tuned-boot did not create it"):
                ours.remove_check(podman, paths)
            assert removed == []


def test_two_do_not_try_images_at_the_same_time(paths: Paths) -> None:
    with (
        listening(lambda _: reply(404, "{}")) as socket,
        Podman(socket, Deadline(PATIENCE)) as podman,
    ):
        with ours.checking(podman, paths):
            with pytest.raises(Busy, match="image stage holds"):
                with ours.checking(podman, paths, patience=0.05):
                    pass


def test_an_archive_is_on_the_disk_before_it_takes_its_name(
    paths: Paths, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "day-0.tar"
    target.write_text("old")
    store.images[ASKED], store.exports = "id", "archive"
    synced: list[tuple[str, str]] = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        opened = Path(f"/proc/self/fd/{fd}")
        synced.append(("folder" if opened.is_dir() else opened.read_text(), target.read_text()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watched)
    assert staging.export(paths, None, target) == ASKED
    assert synced == [("archive", "old"), ("folder", "archive")]
    assert target.read_text() == "archive"
    assert sorted(each.name for each in tmp_path.glob("*day-0*")) == ["day-0.tar"]


SHARED, OWN = ("/run/ocp-tuned-boot/podman-shared.sock", "/run/ocp-tuned-boot/podman-own.sock")


@pytest.mark.parametrize(
    ("conf", "socket"),
    [
        ("", staging.QUIET),
        ("[podman]\nsocket = /run/ocp-tuned-boot/podman.sock\n", staging.QUIET),
        (f"[podman]\nsocket = {SHARED}\n[image]\nstore = own\n", staging.QUIET),
        ("[image]\nstore = own\n", OWN),
        # The store in which a run looks for the image.
        (f"[podman]\nsocket = {OWN}\n", OWN),
        ("[podman]\nsocket = /run/podman/podman.sock\n", "/run/podman/podman.sock"),
    ],
)
def test_a_pull_has_low_priority_where_a_service_for_that_has_the_same_store(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, conf: str, socket: str
) -> None:
    paths.admin_conf.write_text(conf)
    asked = []

    def podman(path: Path, _: object) -> None:
        asked.append(str(path))
        raise PodmanError("it is not there")

    monkeypatch.setattr(staging, "Podman", podman)
    with pytest.raises(PodmanError):
        staging.fetch(paths, None)
    assert asked == [str(socket)]
