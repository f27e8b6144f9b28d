"""Having the image, from a Podman that says what the real one says: which step follows which.

That the real parts do so is for tests/lab/test_registry.py and test_fallback.py to show.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot import archives, brought, images, lastgood
from ocp_tuned_boot.brought import Brought
from ocp_tuned_boot.config import Images
from ocp_tuned_boot.deadline import Deadline
from ocp_tuned_boot.errors import BootError, ConfigurationError, ImageError, PodmanError
from ocp_tuned_boot.images import Had
from ocp_tuned_boot.paths import Paths
from ocp_tuned_boot.podman import Image, Podman
from ocp_tuned_boot.progress import Progress
from ocp_tuned_boot.systemd import Notifier
from tests.unit.fake_podman import listening, reply

ASKED = "registry.lab/tuned:new"
DIGEST = "sha256:" + "a" * 64
EXACT = f"registry.lab/tuned@{DIGEST}"
REFUSED = {"error": "manifest unknown"}
PASSING = {"error": "connection refused"}


class Store:
    """What Podman has, and what it answers to a pull."""

    def __init__(self) -> None:
        #: name → ID; the digest of each is `DIGEST`.
        self.images: dict[str, str] = {}
        self.pull: dict[str, str] = {}
        self.pulls_as = ""
        self.loads: list[str] = []
        self.broken: set[str] = set()
        self.in_use: set[str] = set()
        self.requests: list[str] = []

    def answer(self, request: str) -> bytes:  # noqa: PLR0911
        method, path, _ = request.split(" ")
        self.requests.append(f"{method} {path.partition('/libpod')[2].partition('?')[0]}")
        name = path.partition("/images/")[2].rpartition("/json")[0] or path.rpartition("/")[2]
        name = name.partition("?")[0].replace("%2F", "/").replace("%3A", ":").replace("%40", "@")
        if method == "DELETE":
            if name in self.in_use:
                return reply(409, "{}")
            self.broken.discard(name)
            known = self.images.pop(name, None)
            return reply(200 if known else 404, "{}")
        if "/images/pull" in path:
            if not self.pull and self.pulls_as:
                self.images[self.pulls_as] = "id-pulled"
            return reply(200, json.dumps(self.pull or {"id": "id-pulled"}))
        if "/images/load" in path:
            self.images.update(dict.fromkeys(self.loads, "id-loaded"))
            return reply(200, json.dumps({"Names": self.loads}))
        if name in self.broken:
            return reply(500, json.dumps({"message": "layer not known"}))
        if name not in self.images and name not in self.images.values():
            return reply(404, "{}")
        image_id = self.images.get(name, name)
        return reply(200, json.dumps({"Id": image_id, "Digest": DIGEST}))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def podman(store: Store) -> Iterator[Podman]:
    with listening(store.answer) as path, Podman(path, Deadline(20)) as connected:
        yield connected


def archive(paths: Paths, *names: str, digest: str = DIGEST, docker: bool = False) -> None:
    """In the admin's folder."""
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


def have(paths: Paths, podman: Podman, asked: str = ASKED, rules: Images = DEFAULT) -> Had:
    progress = Progress(Deadline(podman.deadline.seconds), Notifier())
    return images.have(paths, podman, asked, rules, progress)


def test_what_is_there_is_taken(paths: Paths, podman: Podman, store: Store) -> None:
    store.images[ASKED] = "id"
    assert have(paths, podman) == Had(Image(ASKED, "id", (DIGEST,)), "store")
    assert brought.read(paths) == ()


def test_what_is_not_is_pulled_and_taken_down(paths: Paths, podman: Podman, store: Store) -> None:
    store.pulls_as = ASKED
    assert have(paths, podman).source == "registry"
    assert brought.read(paths) == (Brought(ASKED, "id-pulled"),)


def test_by_its_digest_an_archive_comes_before_the_registry(
    paths: Paths, podman: Podman, store: Store
) -> None:
    archive(paths, "other/name:day-0")
    store.loads = ["other/name:day-0"]
    had = have(paths, podman, EXACT)
    assert (had.source, had.image) == ("archive", Image(EXACT, "id-loaded", (DIGEST,)))
    assert "POST /images/pull" not in store.requests
    # The next time it is found by what was taken down: its name is another one.
    assert have(paths, podman, EXACT).source == "store"


def test_a_digest_that_is_another_is_no_such_image(
    paths: Paths, podman: Podman, store: Store
) -> None:
    wrong = EXACT.replace("aaaa", "bbbb")
    store.images[wrong] = "id"
    store.pulls_as = wrong
    with pytest.raises(ImageError, match="was pulled and has another digest: sha256:aaa"):
        have(paths, podman, wrong)


@pytest.mark.parametrize("docker", [False, True])
def test_a_registry_that_refuses_gives_way_to_an_archive(
    paths: Paths, podman: Podman, store: Store, docker: bool
) -> None:
    archive(paths, ASKED, docker=docker)
    store.pull, store.loads = REFUSED, [ASKED]
    had = have(paths, podman)
    assert (had.source, had.stand_in) == ("archive", "")
    assert brought.read(paths) == (Brought(ASKED, "id-loaded"),)


def test_the_last_that_worked_stands_in_by_its_id(
    paths: Paths, podman: Podman, store: Store
) -> None:
    lastgood.remember(paths, "registry.lab/tuned:old", "id-old")
    # Its name means another one by now.
    store.images.update({"registry.lab/tuned:old": "id-other", "x": "id-old"})
    store.pull = REFUSED
    had = have(paths, podman)
    assert had.image.id == "id-old"
    assert had.source == "last-good"
    words = f"cannot pull {ASKED}: manifest unknown; registry.lab/tuned:old stands in for it"
    assert had.stand_in == words


def test_another_archive_stands_in_when_that_is_gone(
    paths: Paths, podman: Podman, store: Store
) -> None:
    lastgood.remember(paths, "registry.lab/tuned:old", "id-old")
    archive(paths, "day-0")
    store.pull, store.loads = REFUSED, ["day-0"]
    had = have(paths, podman)
    assert (had.source, had.image.reference) == ("archive", "day-0")
    assert "day-0 stands in for it" in had.stand_in


def test_what_may_pass_is_insisted_on_for_a_third_of_the_time(
    paths: Paths, podman: Podman, store: Store
) -> None:
    lastgood.remember(paths, "registry.lab/tuned:old", "id-old")
    store.images["x"] = "id-old"
    store.pull = PASSING
    with pytest.raises(ImageError, match="connection refused"):
        have(paths, podman)
    late = Progress(Deadline(20, started=podman.deadline.end - 20 - 7), Notifier())
    had = images.have(paths, podman, ASKED, Images(), late, "it was refused")
    assert had.source == "last-good"
    # The registry was not asked again: what is told is what the attempt before has found.
    assert had.stand_in.startswith("it was refused; ")


@pytest.mark.parametrize("said", [REFUSED, PASSING])
def test_without_a_stand_in_the_error_is_what_it_is(
    paths: Paths, podman: Podman, store: Store, said: dict[str, str]
) -> None:
    store.pull = said
    with pytest.raises(ImageError, match=said["error"]):
        have(paths, podman)
    lastgood.remember(paths, "registry.lab/tuned:old", "id-old")
    store.images["x"] = "id-old"
    with pytest.raises(ImageError, match=said["error"]):
        have(paths, podman, rules=Images(fallback="none"))


def test_pull_never_and_pull_newer(paths: Paths, podman: Podman, store: Store) -> None:
    with pytest.raises(ImageError, match="pull = never"):
        have(paths, podman, rules=Images(pull="never"))
    store.images[ASKED] = "id"
    assert have(paths, podman, rules=Images(pull="never")).source == "store"
    newer = Images(pull="newer")
    # Nothing newer; something newer; nobody to ask.
    assert have(paths, podman, rules=newer).source == "store"
    store.pulls_as = ASKED
    assert have(paths, podman, rules=newer).source == "registry"
    store.pull = REFUSED
    assert have(paths, podman, rules=newer).source == "store"


def test_a_damaged_image_is_removed_and_had_again(
    paths: Paths, podman: Podman, store: Store
) -> None:
    store.images[ASKED] = "id"
    store.broken.add(ASKED)
    store.pulls_as = ASKED
    assert have(paths, podman).image.id == "id-pulled"
    assert f"DELETE /images/{ASKED}".replace("/tuned", "%2Ftuned").replace(":", "%3A") in (
        store.requests
    )


@pytest.mark.parametrize(
    ("message", "damage"),
    [
        ("Podman refuses to create container x: layer not known", True),
        ("… Stat /var/lib/containers/storage/overlay/f88e/diff: no such file or directory", True),
        ('… locating item named "manifest" for image with ID "x"', True),
        ("… digest sha256:e3 does not match expected sha256:57", True),
        ("… runtime error: invalid memory address or nil pointer dereference", True),
        ("Podman refuses to create container x: no such image", False),
        ("Podman went away", False),
        ("… /var/lib/tuned: no such file or directory", False),
    ],
)
def test_what_is_damage(message: str, damage: bool) -> None:
    assert images.is_damage(PodmanError(message)) is damage
    assert not images.is_damage(BootError(message))


def test_a_tag_can_be_refused(paths: Paths, podman: Podman, store: Store) -> None:
    store.images.update({ASKED: "id", EXACT: "id"})
    rules = Images(require_digest=True)
    with pytest.raises(ConfigurationError, match="expected one by its digest"):
        have(paths, podman, rules=rules)
    assert have(paths, podman, EXACT, rules).source == "store"


def test_what_was_brought_and_is_not_needed_is_removed(
    paths: Paths, podman: Podman, store: Store
) -> None:
    for number in range(5):
        brought.remember(paths, f"n:{number}", f"id-{number}")
        store.images[f"n:{number}"] = f"id-{number}"
    store.images["theirs"] = "id-theirs"
    lastgood.remember(paths, "n:0", "id-0")
    store.in_use.add("n:2".replace(":", "%3A"))
    store.in_use.add("n:2")
    assert images.prune(paths, podman, "id-4", 2) == ("n:1",)
    assert set(store.images) == {"n:0", "n:2", "n:3", "n:4", "theirs"}
    assert [each.id for each in brought.read(paths)] == ["id-4", "id-3", "id-2", "id-0"]
    assert images.prune(paths, podman, "id-4", 1) == ("n:3",)


@pytest.mark.parametrize(
    "text", ["", "torn {", "[]", '{"version": 9, "images": []}', '{"version": 1, "images": [{}]}',
             '{"version": 1, "images": [{"reference": 1, "id": "x"}]}'],
)  # fmt: skip
def test_a_broken_list_of_what_was_brought_removes_nothing(paths: Paths, text: str) -> None:
    paths.state.mkdir(parents=True)
    paths.brought.write_text(text)
    assert brought.read(paths) == ()
    brought.remember(paths, "x", "id")
    assert brought.read(paths) == (Brought("x", "id"),)


def test_archives_are_read_and_what_is_none_is_left_out(paths: Paths) -> None:
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
