"""The images that CRI-O is configured to keep, besides those that others pinned."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from ocp_tuned_boot import cleanup
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import pins
from ocp_tuned_boot.requested import lastgood
from tests.unit.host.test_files import no_tmpfile
from tests.unit.names import names_in


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(tmp_path)
    found.crio_conf.mkdir(parents=True)
    return found


def pinned(paths: Paths) -> list[str]:
    text = (paths.crio_conf / "99-ocp-tuned-boot.conf").read_text()
    images: list[str] = json.loads(text.partition("pinned_images = ")[2])
    return images


def test_without_cri_o_nothing_is_pinned(tmp_path: Path) -> None:
    pins.keep(Paths(tmp_path), "shared", ["a:1"])
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_file_of_ours_is_nobodys_pin(paths: Paths) -> None:
    # The second: of an earlier release.
    for folder in (paths.crio, paths.crio_conf):
        left = folder / ".99-ocp-tuned-boot.conf.17"
        left.write_text('pinned_images = ["stale:1"]\n')
        pins.keep(paths, "shared", ["a:1"])
        assert pinned(paths) == ["a:1"]
        other = folder / ".10-other.conf.17"
        other.write_text("")
        cleanup.temporary(paths)
        assert not left.exists()
        assert other.exists()


@pytest.mark.parametrize("supported", [True, False])
def test_cri_o_never_finds_a_temporary_file(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    """It reads every file in the folder. The names that the kernel reports are all that there ever
    were."""
    if not supported:
        no_tmpfile(monkeypatch)
    with names_in(paths.crio_conf) as names:
        for images in (["a:1"], ["a:2"]):
            pins.keep(paths, "shared", images)
    assert set(names) == {"99-ocp-tuned-boot.conf"}
    assert sorted(os.listdir(paths.crio)) == ["crio.conf.d"]


def test_pins_follow_the_images_and_the_store(paths: Paths) -> None:
    file = paths.crio_conf / "99-ocp-tuned-boot.conf"
    pins.keep(paths, "shared", ["a:1", "a:1", 'b"2'])
    assert 'pinned_images = ["a:1", "b\\"2"]' in file.read_text()
    before = file.stat()
    pins.keep(paths, "shared", ["a:1", 'b"2'])
    assert file.stat() == before
    pins.keep(paths, "own", ["a:1"])
    assert not file.exists()


def test_the_last_image_that_worked_is_pinned(paths: Paths) -> None:
    lastgood.remember(paths, "a:0", "id")
    pins.keep(paths, "shared", ["a:1"])
    assert pinned(paths) == ["a:1", "a:0"]


def test_images_that_others_pinned_remain_pinned(paths: Paths) -> None:
    main = paths.crio_conf.parent / "crio.conf"
    main.write_text('[crio.image]\npinned_images = ["main:1"]\n')
    pins.keep(paths, "shared", ["a:1"])
    assert pinned(paths) == ["main:1", "a:1"]
    # A file that is read later has the whole list.
    (paths.crio_conf / "10-site.conf").write_text(
        "[crio.image]\npinned_images = [\n  \"site:1\", # not 'this:1' ]\n  'site:2',\n]\n"
    )
    (paths.crio_conf / "00-first").write_text('pinned_images = ["first:1"]\n')
    (paths.crio_conf / "20-none.conf").write_text('# pinned_images = ["x"]\n')
    pins.keep(paths, "shared", ["a:1"])
    assert pinned(paths) == ["site:1", "site:2", "a:1"]
    # CRI-O reads folders, too.
    (paths.crio_conf / "50-site").mkdir()
    (paths.crio_conf / "50-site/pins").write_text('pinned_images = ["deep:1"]\n')
    pins.keep(paths, "shared", ["a:1"])
    assert pinned(paths) == ["deep:1", "a:1"]
    (paths.crio_conf / "50-site/pins").unlink()
    # An image that others no longer pin is not pinned by ours.
    (paths.crio_conf / "10-site.conf").unlink()
    pins.keep(paths, "shared", ["a:2"])
    assert pinned(paths) == ["first:1", "a:2"]


def test_a_file_that_cri_o_reads_after_ours_is_reported(
    paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    (paths.crio_conf / "99-z.conf").write_text('pinned_images = ["z:1"]\n')
    with caplog.at_level(logging.WARNING):
        pins.keep(paths, "shared", ["a:1"])
    assert "99-z.conf: found pinned_images; CRI-O ignores those of ocp-tuned-boot" in caplog.text


def test_the_file_of_an_earlier_version_is_removed(paths: Paths) -> None:
    (paths.crio_conf / "50-ocp-tuned-boot.conf").write_text('pinned_images = ["old:1"]\n')
    pins.keep(paths, "shared", ["a:1"])
    assert [path.name for path in paths.crio_conf.iterdir()] == ["99-ocp-tuned-boot.conf"]
    assert pinned(paths) == ["a:1"]
