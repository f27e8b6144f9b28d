"""The list of the images that ocp-tuned-boot pulled or loaded."""

from __future__ import annotations

import threading

import pytest

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import known
from ocp_tuned_boot.images.known import Known


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
