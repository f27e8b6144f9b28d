"""Images that are no longer needed are removed, and no others."""

from __future__ import annotations

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import known, prune
from ocp_tuned_boot.images.known import Known
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.requested import lastgood
from tests.unit.images.fake_store import ASKED, EXACT, Store, archive, available


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
