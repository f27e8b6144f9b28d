"""Making an image available, with a Podman that answers like the real one: the order of the steps.

tests/lab/test_registry.py and test_fallback.py test the same with the real parts.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from ocp_tuned_boot.errors import BootError, ConfigurationError, CutOff, ImageError, PodmanError
from ocp_tuned_boot.host.clock import Deadline, Progress
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.images import archives, ensure, known
from ocp_tuned_boot.images.archives import Archive
from ocp_tuned_boot.images.ensure import Available, ImageSession
from ocp_tuned_boot.images.known import Known
from ocp_tuned_boot.podman.client import Image, Podman
from ocp_tuned_boot.requested import lastgood
from ocp_tuned_boot.requested.config import Images
from tests.unit.fake_podman import listening
from tests.unit.images.fake_store import (
    ALL,
    ASKED,
    DIGEST,
    EXACT,
    REFUSED,
    TEMPORARY,
    Store,
    archive,
    available,
)
from tests.unit.patience import no_hang


def late() -> Progress:
    """Of a run, when two thirds of its time have gone by."""
    return Progress(Deadline(ALL, started=time.monotonic() - ALL * 2 / 3), Notifier())


def test_an_image_in_the_store_is_used(paths: Paths, podman: Podman, store: Store) -> None:
    store.images[ASKED] = "id"
    assert available(paths, podman) == Available(Image(ASKED, "id", (DIGEST,), (ASKED,)), "store")
    assert known.read(paths) == ()


def test_a_missing_image_is_pulled_and_remembered(
    paths: Paths, podman: Podman, store: Store
) -> None:
    store.pulls_as = ASKED
    assert available(paths, podman).source == "registry"
    assert known.read(paths) == (Known(ASKED, "id-pulled"),)


def test_for_a_digest_an_archive_is_used_before_the_registry(
    paths: Paths, podman: Podman, store: Store
) -> None:
    archive(paths, "other/name:day-0")
    store.loads = ["other/name:day-0"]
    found = available(paths, podman, EXACT)
    image = Image(EXACT, "id-loaded", (DIGEST,), ("other/name:day-0",))
    assert (found.source, found.image) == ("archive", image)
    assert "POST /images/pull" not in store.requests
    # The next time it is found by its remembered ID: it has another name.
    assert available(paths, podman, EXACT).source == "store"


def test_an_image_with_another_digest_is_not_the_requested_one(
    paths: Paths, podman: Podman, store: Store
) -> None:
    wrong = EXACT.replace("aaaa", "bbbb")
    store.images[wrong] = "id"
    store.pulls_as = wrong
    with pytest.raises(ImageError, match="was pulled and has another digest: sha256:aaa"):
        available(paths, podman, wrong)


@pytest.mark.parametrize("docker", [False, True])
def test_an_archive_is_used_when_the_registry_refuses(
    paths: Paths, podman: Podman, store: Store, docker: bool
) -> None:
    archive(paths, ASKED, docker=docker)
    store.pull, store.loads = REFUSED, [ASKED]
    found = available(paths, podman)
    assert (found.source, found.fallback) == ("archive", "")
    assert known.read(paths) == (Known(ASKED, "id-loaded"),)


def test_the_last_image_that_worked_is_the_fallback_by_its_id(
    paths: Paths, podman: Podman, store: Store
) -> None:
    lastgood.remember(paths, "registry.lab/tuned:old", "id-old")
    # Its name now means another image.
    store.images.update({"registry.lab/tuned:old": "id-other", "x": "id-old"})
    store.pull = REFUSED
    found = available(paths, podman)
    assert found.image.id == "id-old"
    assert found.source == "last-good"
    words = f"cannot pull {ASKED}: manifest unknown; registry.lab/tuned:old is used instead"
    assert found.fallback == words
    assert found.hint.startswith("The registry has no such image: fix its name in ")


def test_another_archive_is_the_fallback_without_it(
    paths: Paths, podman: Podman, store: Store
) -> None:
    lastgood.remember(paths, "registry.lab/tuned:old", "id-old")
    archive(paths, "day-0")
    store.pull, store.loads = REFUSED, ["day-0"]
    found = available(paths, podman)
    assert (found.source, found.image.reference) == ("archive", "day-0")
    assert "day-0 is used instead" in found.fallback


def test_a_temporary_failure_is_retried_for_a_third_of_the_time(
    paths: Paths, podman: Podman, store: Store
) -> None:
    lastgood.remember(paths, "registry.lab/tuned:old", "id-old")
    store.images["x"] = "id-old"
    store.pull = TEMPORARY
    with pytest.raises(ImageError, match="connection refused"):
        available(paths, podman)
    found = ImageSession(paths, Images(), ASKED, late()).ensure(podman, "it was refused")
    assert found.source == "last-good"
    # The registry was not tried again: the reason is that of the previous attempt.
    assert found.fallback.startswith("it was refused; ")


@pytest.mark.parametrize("has_fallback", [False, True])
def test_a_pull_that_was_cut_off_is_remembered_and_is_the_reason(
    paths: Paths, podman: Podman, store: Store, has_fallback: bool
) -> None:
    store.stuck = True
    if has_fallback:
        lastgood.remember(paths, "registry.lab/tuned:old", "id-old")
        store.images["x"] = "id-old"
    session = ImageSession(paths, Images(), ASKED, Progress(Deadline(1.5), Notifier()))
    assert not session.cut_off
    # This one says what the time was spent on, and the previous one may have the cause.
    words = r"was not complete in time .*; the attempt before failed: it was refused"
    if has_fallback:
        assert re.search(words, session.ensure(podman, "it was refused").fallback)
    else:
        with pytest.raises(CutOff, match=words):
            session.ensure(podman, "it was refused")
    assert session.cut_off


def test_from_a_folder_of_others_only_what_is_asked_for_is_loaded(
    paths: Paths, podman: Podman, store: Store
) -> None:
    rules = Images(archives=("/k3s/images",))
    folder = paths.root / "k3s/images"
    archive(paths, "rancher/pause:3", docker=True)
    folder.parent.mkdir()
    paths.archives[0].rename(folder)
    store.pull, store.loads = REFUSED, ["rancher/pause:3"]
    # Whatever the archive has is not an image with TuneD.
    with pytest.raises(ImageError, match="manifest unknown"):
        available(paths, podman, rules=rules)
    assert "POST /images/load" not in store.requests
    store.loads = [ASKED]
    archive(paths, ASKED, docker=True)
    paths.archives[0].joinpath("0.tar").rename(folder / "tuned.tar")
    found = available(paths, podman, rules=rules)
    assert (found.source, found.image.reference) == ("archive", ASKED)
    # And the last image that worked.
    lastgood.remember(paths, ASKED, "id-old")
    store.images.clear()
    found = available(paths, podman, "registry.lab/tuned:newer", rules=rules)
    assert (found.source, found.image.reference) == ("archive", ASKED)


def test_an_archive_that_lacks_a_part_of_the_image_is_not_sent(
    paths: Paths, podman: Podman, store: Store
) -> None:
    archive(paths, "other:1", ASKED)
    store.pull, store.loads = REFUSED, [ASKED]
    with pytest.raises(ImageError, match=r"cannot load .*0\.tar: .*is not complete"):
        available(paths, podman)
    assert "POST /images/load" not in store.requests


def test_a_fallback_that_is_gone_takes_no_time_from_the_registry(
    paths: Paths, podman: Podman, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # crio-wipe removed it.
    lastgood.remember(paths, "registry.lab/tuned:old", "id-wiped")
    store.pull = TEMPORARY
    with pytest.raises(ImageError, match="connection refused") as caught:
        ImageSession(paths, Images(), ASKED, late()).ensure(podman)
    # The registry was tried, and will be tried again.
    assert caught.value.temporary
    assert "POST /images/pull" in store.requests
    # A pull may take more than the registry's share of the time.
    monkeypatch.setattr(ensure, "SHARE", 0.3 / ALL)
    store.pull, store.pulls_as, store.pull_seconds = {}, ASKED, 1.0
    session = ImageSession(paths, Images(), ASKED, Progress(Deadline(ALL), Notifier()))
    before = store.requests.count("POST /images/pull")
    assert session.ensure(podman).source == "registry"
    assert store.requests.count("POST /images/pull") == before + 1


@pytest.mark.parametrize("name", [ASKED, "other:1"])
def test_an_archive_that_cannot_be_loaded_takes_no_time_from_the_registry(
    paths: Paths, podman: Podman, store: Store, name: str
) -> None:
    archive(paths, name)
    store.load_fails = "payload does not match any of the supported image formats"
    store.pulls_as = ASKED
    session = ImageSession(paths, Images(), ASKED, late())
    # The fallback is tried after a third of the time, but cannot be loaded.
    assert session.ensure(podman).source == "registry"
    del store.images[ASKED]
    loads = store.requests.count("POST /images/load")
    assert loads == 1
    # In this run it is not tried again.
    assert session.ensure(podman).source == "registry"
    assert store.requests.count("POST /images/load") == loads


def test_where_the_store_is_full_that_is_the_cause_and_not_the_registry(
    paths: Paths, podman: Podman, store: Store
) -> None:
    archive(paths, ASKED)
    store.pull = REFUSED
    store.load_fails = "writing blob: no space left on device"
    with pytest.raises(ImageError, match=r"cannot load \S+: no space left on device\nFree") as full:
        available(paths, podman)
    assert full.value.hint.startswith("Free disk space")
    # What is wrong with an archive is told as well, with what to do about the registry.
    store.load_fails = "it is no archive"
    with pytest.raises(ImageError, match=r"it is no archive; cannot pull") as broken:
        available(paths, podman)
    assert "fix its name" in broken.value.hint
    store.pull = TEMPORARY
    with pytest.raises(ImageError, match=r"it is no archive; cannot pull") as refused:
        available(paths, podman)
    assert refused.value.temporary


@pytest.mark.parametrize("said", [REFUSED, TEMPORARY])
def test_without_a_fallback_the_error_is_raised(
    paths: Paths, podman: Podman, store: Store, said: dict[str, str]
) -> None:
    store.pull = said
    with pytest.raises(ImageError, match=said["error"]):
        available(paths, podman)
    lastgood.remember(paths, "registry.lab/tuned:old", "id-old")
    store.images["x"] = "id-old"
    with pytest.raises(ImageError, match=said["error"]):
        available(paths, podman, rules=Images(fallback="none"))


def test_pull_never_and_pull_newer(paths: Paths, podman: Podman, store: Store) -> None:
    with pytest.raises(ImageError, match="pull = never"):
        available(paths, podman, rules=Images(pull="never"))
    store.images[ASKED] = "id"
    assert available(paths, podman, rules=Images(pull="never")).source == "store"
    newer = Images(pull="newer")
    # Nothing newer; something newer; no registry.
    assert available(paths, podman, rules=newer).source == "store"
    store.pulls_as = ASKED
    assert available(paths, podman, rules=newer).source == "registry"
    store.pull = REFUSED
    assert available(paths, podman, rules=newer).source == "store"


@pytest.mark.parametrize("pull", ["missing", "newer"])
def test_no_registry_is_asked_for_an_image_that_was_built_here(
    paths: Paths, podman: Podman, store: Store, pull: str
) -> None:
    rules, name = Images(pull=pull), "localhost/tuned:latest"
    with pytest.raises(ImageError) as caught:
        available(paths, podman, name, rules)
    assert caught.value.message == (
        f"the image {name} is not on the node, and no registry has images below localhost/"
    )
    assert "podman build" in caught.value.hint
    assert not caught.value.temporary
    store.images[name] = "id"
    assert available(paths, podman, name, rules).source == "store"
    del store.images[name]
    archive(paths, name)
    store.loads = [name]
    assert available(paths, podman, name, rules).source == "archive"
    assert not any("pull" in request for request in store.requests)
    # A registry on the node has a port in its name.
    store.pulls_as = name = "localhost:5000/tuned:latest"
    assert available(paths, podman, name, rules).source == "registry"


def test_there_is_no_newer_image_of_a_digest(paths: Paths, podman: Podman, store: Store) -> None:
    store.images[EXACT] = "id"
    archive(paths, "other/name:day-0")
    assert available(paths, podman, EXACT, Images(pull="newer")).source == "store"
    assert not any("pull" in request or "load" in request for request in store.requests)


def test_a_registry_that_is_silent_leaves_time_for_the_image_on_the_node(
    paths: Paths, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensure, "SHARE", 0.3 / ALL)
    store.images[ASKED] = "id"
    store.silent = True
    rules = Images(pull="newer", fallback="none")
    with listening(store.answer) as path, Podman(path, Deadline(ALL)) as podman, no_hang():
        assert available(paths, podman, rules=rules).source == "store"


def test_a_registry_that_is_silent_is_not_waited_for_long_where_an_archive_has_the_image(
    paths: Paths, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much time there is: a third of it may be twenty minutes."""
    monkeypatch.setattr(ensure, "PATIENCE", 0.3)
    archive(paths, ASKED)
    store.silent, store.loads = True, [ASKED]
    with listening(store.answer) as path, Podman(path, Deadline(6 * ALL)) as podman, no_hang():
        assert available(paths, podman).source == "archive"


def test_an_image_that_was_there_before_is_not_remembered(
    paths: Paths, podman: Podman, store: Store
) -> None:
    store.pulls_as = ASKED
    store.images[ASKED] = store.pulled = "id-theirs"
    # Nothing newer.
    assert available(paths, podman, rules=Images(pull="newer")).source == "store"
    assert known.read(paths) == ()
    # And one of an archive.
    archive(paths, "theirs:1")
    store.images, store.loads, store.pull = {"theirs:1": "id-loaded"}, ["theirs:1"], REFUSED
    assert available(paths, podman).image.id == "id-loaded"
    assert known.read(paths) == ()


def test_another_image_of_an_archive_is_not_the_requested_one(
    paths: Paths, podman: Podman, store: Store
) -> None:
    archive(paths, "other/app:1", ASKED, docker=True)
    store.loads, store.pull = ["other/app:1"], REFUSED
    with pytest.raises(ImageError, match="manifest unknown"):
        available(paths, podman, rules=Images(fallback="none"))
    # Its image was loaded, so it is remembered.
    assert known.read(paths) == (Known("other/app:1", "id-loaded"),)


def test_an_archive_is_read_once_in_a_run_and_again_when_it_is_another_file(
    paths: Paths, podman: Podman, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(paths, "other/app:1")
    (paths.archives[0] / "text").write_text("no archive")
    opened: list[str] = []
    read = archives._read

    def noted(path: Path) -> Archive:
        opened.append(path.name)
        return read(path)

    monkeypatch.setattr(archives, "_read", noted)
    store.pull = REFUSED
    session = ImageSession(paths, Images(fallback="none"), ASKED, late())
    for _ in "12":
        with pytest.raises(ImageError):
            session.ensure(podman)
    assert opened == ["0.tar", "text"]
    # It is put there while the run waits for the registry.
    (paths.archives[0] / "text").unlink()
    archive(paths, ASKED)
    store.loads = [ASKED]
    assert session.ensure(podman).source == "archive"
    assert opened == ["0.tar", "text", "1.tar"]


def test_an_archive_without_names_can_be_the_fallback(
    paths: Paths, podman: Podman, store: Store
) -> None:
    archive(paths, docker=True)
    store.loads, store.pull = ["sha256:id-loaded"], REFUSED
    found = available(paths, podman)
    assert (found.source, found.image.id) == ("archive", "id-loaded")


def test_an_image_exported_for_a_digest_is_found_by_it(
    paths: Paths, podman: Podman, store: Store
) -> None:
    # In the archive it has another manifest, and so another digest.
    asked = "registry.lab:5000/a/tuned@sha256:" + "b" * 64
    tag = "registry.lab:5000/a/tuned:sha256-" + "b" * 64
    assert archives.exported_as(asked) == tag
    archive(paths, tag)
    store.loads = [tag]
    assert available(paths, podman, asked).image.id == "id-loaded"
    assert available(paths, podman, asked).source == "store"
    found = ensure.find(paths, podman, asked)
    assert found is not None
    assert (found.reference, found.id) == (asked, "id-loaded")


def test_a_damaged_image_is_removed_and_pulled_again(
    paths: Paths, podman: Podman, store: Store
) -> None:
    store.images[ASKED] = "id"
    store.broken.add(ASKED)
    store.pulls_as = ASKED
    assert available(paths, podman).image.id == "id-pulled"
    assert f"DELETE /images/{quote(ASKED, safe='')}" in store.requests
    assert store.forced == []


OLD = "a" * 64


@pytest.mark.parametrize(
    ("image", "containers", "forced"),
    [
        (OLD, {}, [OLD]),
        # A container of CRI-O or of an administrator must not be removed.
        (OLD, {"theirs": OLD}, []),
        (OLD, {"theirs": "b" * 64}, [OLD]),
        # By a name, Podman cannot list the containers.
        (ASKED, {}, []),
    ],
)
def test_a_damaged_image_is_removed_by_force_only_if_no_container_of_others_uses_it(
    paths: Paths, podman: Podman, store: Store, image: str, containers: dict[str, str],
    forced: list[str],
) -> None:  # fmt: skip
    store.images[ASKED] = OLD
    store.in_use.add(image)
    store.containers = containers
    why = PodmanError("layer not known")
    if forced:
        ensure.discard(paths, podman, image, why)
    else:
        with pytest.raises(ImageError, match=r"damaged \(layer not known\) and cannot be removed"):
            ensure.discard(paths, podman, image, why)
    assert store.forced == forced
    assert (ASKED in store.images) is not bool(forced)


def test_only_a_run_removes_a_damaged_image(paths: Paths, podman: Podman, store: Store) -> None:
    store.images[ASKED] = "id"
    store.broken.add(ASKED)
    progress = Progress(Deadline(ALL), Notifier())
    session = ImageSession(paths, Images(), ASKED, progress, repair=False)
    with pytest.raises(PodmanError, match="layer not known"):
        session.ensure(podman)
    assert store.images == {ASKED: "id"}


@pytest.mark.parametrize(
    ("message", "damage"),
    [
        ("Podman refuses to create container x: layer not known", True),
        ("… Stat /var/lib/containers/storage/overlay/f88e/diff: no such file or directory", True),
        ("… stat /var/lib/containers/storage/overlay/88dd: no such file or directory", True),
        ('… locating item named "manifest" for image with ID "x"', True),
        ("… digest sha256:e3 does not match expected sha256:57", True),
        ("… readlink /var/lib/containers/storage/overlay/f88e/merged/x: no such file", False),
        ('… graph driver info "x": readlink /a/storage/overlay/l/ZI: invalid argument', True),
        ('… graph driver info "x": readlink /a/storage/overlay/l: invalid argument', True),
        ("exec container process `/usr/sbin/tuned`: Exec format error", False),
        ("Podman refuses to create container x: no such image", False),
        ("Podman went away", False),
        ("… /var/lib/tuned: no such file or directory", False),
    ],
)
def test_which_errors_mean_damage(message: str, damage: bool) -> None:
    assert ensure.is_damage(PodmanError(message)) is damage
    assert not ensure.is_damage(BootError(message))


def test_a_panic_means_damage_when_it_is_repeated() -> None:
    panic = PodmanError("… runtime error: invalid memory address or nil pointer dereference")
    assert not ensure.is_damage(panic)
    assert not ensure.is_damage(panic, "Podman went away")
    assert ensure.is_damage(panic, panic.message)


def test_a_tag_can_be_refused(paths: Paths, podman: Podman, store: Store) -> None:
    store.images.update({ASKED: "id", EXACT: "id"})
    rules = Images(require_digest=True)
    with pytest.raises(ConfigurationError, match="is requested by its tag"):
        available(paths, podman, rules=rules)
    assert available(paths, podman, EXACT, rules).source == "store"
    # A fallback by tag is refused, too.
    store.images, store.pull, store.loads = {"x": "id-old"}, REFUSED, ["other:1"]
    lastgood.remember(paths, "registry.lab/tuned:old", "id-old")
    archive(paths, "other:1", digest="sha256:" + "c" * 64)
    with pytest.raises(ImageError, match="manifest unknown"):
        available(paths, podman, EXACT, rules)
    lastgood.remember(paths, "registry.lab/tuned@sha256:" + "d" * 64, "id-old")
    assert available(paths, podman, EXACT, rules).source == "last-good"
    # The archive does not contain the image that its index names.
    archive(paths, "first", digest="sha256:" + "d" * 64)
    store.images = {}
    with pytest.raises(ImageError, match="manifest unknown"):
        available(paths, podman, EXACT, rules)
