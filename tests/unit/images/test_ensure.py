"""Making an image available, with a Podman that answers like the real one: the order of the steps.

tests/lab/test_registry.py and test_fallback.py test the same with the real parts.
"""

from __future__ import annotations

import io
import json
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from ocp_tuned_boot.errors import BootError, ConfigurationError, ImageError, PodmanError
from ocp_tuned_boot.host.clock import Deadline, Progress
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.images import archives, ensure, known, prune
from ocp_tuned_boot.images.ensure import Available, ImageSession
from ocp_tuned_boot.images.known import Known
from ocp_tuned_boot.podman.client import Image, Podman
from ocp_tuned_boot.requested import lastgood
from ocp_tuned_boot.requested.config import Images
from tests.unit.fake_podman import listening, reply
from tests.unit.patience import no_hang

ASKED = "registry.lab/tuned:new"
DIGEST = "sha256:" + "a" * 64
EXACT = f"registry.lab/tuned@{DIGEST}"
REFUSED = {"error": "manifest unknown"}
TEMPORARY = {"error": "connection refused"}


class Store:
    """The images in Podman's store, and its answer to a pull."""

    def __init__(self) -> None:
        #: name → ID; the digest of each is `DIGEST`. One without a name is called `<ID>`.
        self.images: dict[str, str] = {}
        self.pull: dict[str, str] = {}
        self.pulls_as = ""
        self.pulled = "id-pulled"
        self.silent = False
        #: The duration of a pull (seconds).
        self.pull_seconds = 0.0
        self.loads: list[str] = []
        self.load_fails = ""
        #: What is in the archive of any image.
        self.exports = ""
        self.broken: set[str] = set()
        self.in_use: set[str] = set()
        #: name → ID of its image.
        self.containers: dict[str, str] = {}
        self.forced: list[str] = []
        self.requests: list[str] = []

    def answer(self, request: str) -> bytes | None:
        method, path, _ = request.split(" ")
        path = path.partition("/libpod")[2]
        self.requests.append(f"{method} {path.partition('?')[0]}")
        if "/containers/json" in path:
            listed = [{"Names": [name], "ImageID": it} for name, it in self.containers.items()]
            return reply(200, json.dumps(listed))
        if "/containers/" in path:
            return reply(404, "{}")
        if "/images/pull" in path:
            return self._pull()
        if "/images/load" in path:
            return self._load()
        name = path.partition("/images/")[2].partition("?")[0].removesuffix("/json")
        name = unquote(name)
        if method == "DELETE":
            return self._delete(name, force="force=True" in path)
        return reply(200, self.exports) if name.endswith("/get") else self._inspect(name)

    def named(self, name: str, image_id: str) -> None:
        """A tag that moves leaves an image without a name."""
        old = self.images.get(name)
        self.images[name] = image_id
        if old and old not in self.images.values():
            self.images[f"<{old}>"] = old

    def _pull(self) -> bytes | None:
        time.sleep(self.pull_seconds)
        if self.silent:
            return None
        if not self.pull and self.pulls_as:
            self.named(self.pulls_as, self.pulled)
        return reply(200, json.dumps(self.pull or {"id": self.pulled}))

    def _load(self) -> bytes:
        if self.load_fails:
            return reply(500, json.dumps({"message": self.load_fails}))
        self.images.update(dict.fromkeys(self.loads, "id-loaded"))
        return reply(200, json.dumps({"Names": self.loads}))

    def _delete(self, name: str, *, force: bool) -> bytes:
        if force:
            self.forced.append(name)
        elif name in self.in_use:
            return reply(409, "{}")
        self.broken.discard(name)
        gone = [each for each, image_id in self.images.items() if name in (each, image_id)]
        for each in gone:
            del self.images[each]
        return reply(200 if gone else 404, "{}")

    def _inspect(self, name: str) -> bytes:
        if name in self.broken:
            return reply(500, json.dumps({"message": "layer not known"}))
        if name not in self.images and name not in self.images.values():
            return reply(404, "{}")
        image_id = self.images.get(name, name)
        tags = [each for each, it in self.images.items() if it == image_id and each[0] != "<"]
        return reply(200, json.dumps({"Id": image_id, "Digest": DIGEST, "RepoTags": tags}))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def podman(store: Store) -> Iterator[Podman]:
    with listening(store.answer) as path, Podman(path, Deadline(ALL)) as connected:
        yield connected


def archive(paths: Paths, *names: str, digest: str = DIGEST, docker: bool = False) -> None:
    """Writes an archive to the administrator's folder."""
    folder = paths.archives[0]
    folder.mkdir(parents=True, exist_ok=True)
    key = "org.opencontainers.image.ref.name"
    manifests = [{"digest": digest, "annotations": {key: name}} for name in names]
    index: Any = [{"RepoTags": list(names)}] if docker else {"manifests": manifests}
    data = json.dumps(index).encode()
    with tarfile.open(folder / f"{len(list(folder.iterdir()))}.tar", "w") as file:
        member = tarfile.TarInfo("manifest.json" if docker else "index.json")
        member.size = len(data)
        file.addfile(member, io.BytesIO(data))


DEFAULT = Images()
#: As long as a run may take (seconds).
ALL = 600.0


def late() -> Progress:
    """Of a run, when two thirds of its time have gone by."""
    return Progress(Deadline(ALL, started=time.monotonic() - ALL * 2 / 3), Notifier())


def available(
    paths: Paths, podman: Podman, asked: str = ASKED, rules: Images = DEFAULT
) -> Available:
    progress = Progress(Deadline(podman.deadline.seconds), Notifier())
    return ImageSession(paths, rules, asked, progress).ensure(podman)


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


def test_images_that_are_no_longer_needed_are_removed(
    paths: Paths, podman: Podman, store: Store
) -> None:
    for number in range(5):
        known.remember(paths, Known(f"n:{number}", f"id-{number}"))
        store.images[f"n:{number}"] = f"id-{number}"
    store.images["theirs"] = "id-theirs"
    lastgood.remember(paths, "n:0", "id-0")
    store.in_use.add("n:2".replace(":", "%3A"))
    store.in_use.add("n:2")
    assert prune.prune(paths, podman, "id-4", 2) == ("n:1",)
    assert set(store.images) == {"n:0", "n:2", "n:3", "n:4", "theirs"}
    assert [each.id for each in known.read(paths)] == ["id-4", "id-3", "id-2", "id-0"]
    assert prune.prune(paths, podman, "id-4", 1) == ("n:3",)


def test_a_name_that_now_means_another_image_is_not_removed(
    paths: Paths, podman: Podman, store: Store
) -> None:
    for image_id in ("id-a", "id-b", "id-c"):
        store.named(ASKED, image_id)
        known.remember(paths, Known(ASKED, image_id))
    assert prune.prune(paths, podman, "id-c", 2) == (ASKED,)
    assert store.images == {ASKED: "id-c", "<id-b>": "id-b"}
    # An image without a name that is in use.
    store.in_use.add("id-b")
    assert prune.prune(paths, podman, "id-c", 1) == ()
    assert store.images == {ASKED: "id-c", "<id-b>": "id-b"}
    assert [each.id for each in known.read(paths)] == ["id-c", "id-b"]


def test_only_images_that_were_there_are_reported_as_removed(paths: Paths, podman: Podman) -> None:
    known.remember(paths, Known("gone:1", "id-gone"))
    assert prune.prune(paths, podman, "id", 1) == ()
    assert known.read(paths) == ()


def test_an_image_from_an_archive_is_removed_by_the_archives_name(
    paths: Paths, podman: Podman, store: Store
) -> None:
    archive(paths, "other/name:day-0")
    store.loads = ["other/name:day-0"]
    available(paths, podman, EXACT)
    store.images["now"] = "id-now"
    assert "other/name:day-0" in prune.prune(paths, podman, "id-now", 1)
    assert store.images == {"now": "id-now"}


def test_an_image_with_a_name_given_by_others_remains(
    paths: Paths, podman: Podman, store: Store
) -> None:
    known.remember(paths, Known("n:1", "id-1"), Known("sha256:id-1", "id-1"))
    store.images = {"n:1": "id-1", "theirs": "id-1", "now": "id-now"}
    prune.prune(paths, podman, "id-now", 1)
    assert store.images == {"theirs": "id-1", "now": "id-now"}


def test_the_image_requested_now_and_the_one_pulled_last_remain(
    paths: Paths, podman: Podman, store: Store
) -> None:
    for number in range(4):
        known.remember(paths, Known(f"n:{number}", f"id-{number}"))
        store.images[f"n:{number}"] = f"id-{number}"
    also = prune.needed(paths, podman, "n:1")
    assert also == ("id-1", "id-3")
    assert prune.prune(paths, podman, "id-0", 1, also) == ("n:2",)


def test_two_writers_of_the_list_lose_nothing(paths: Paths) -> None:
    def remember(name: str) -> None:
        for number in range(8):
            known.remember(paths, Known(f"{name}:{number}", "id"))

    threads = [threading.Thread(target=remember, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(known.read(paths)) == 16


@pytest.mark.parametrize(
    "text", ["", "torn {", "[]", '{"version": 0, "images": []}', '{"version": 1, "images": [{}]}',
             '{"version": 1, "images": [{"reference": 1, "id": "x"}]}'],
)  # fmt: skip
def test_with_a_broken_list_nothing_is_removed(paths: Paths, text: str) -> None:
    paths.state.mkdir(parents=True)
    paths.known_images.write_text(text)
    assert known.read(paths) == ()
    known.remember(paths, Known("x", "id"))
    assert known.read(paths) == (Known("x", "id"),)


def test_the_list_of_a_later_release_is_not_overwritten(
    paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    paths.state.mkdir(parents=True)
    text = '{"version": 1, "images": [{"reference": "x", "id": "id", "size": 5}]}'
    paths.known_images.write_text(text)
    assert known.read(paths) == (Known("x", "id"),)
    text = text.replace('"version": 1', '"version": 2')
    paths.known_images.write_text(text)
    assert known.read(paths) == ()
    known.remember(paths, Known("y", "id"))
    assert paths.known_images.read_text() == text
    assert "found version 2, expected 1" in caplog.text


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
