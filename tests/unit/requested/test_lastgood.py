"""What worked last: written when it did, and used only as it was written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ocp_tuned_boot.errors import ConfigurationError, HostError, NewerVersion
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import inputs, lastgood
from ocp_tuned_boot.requested.lastgood import LastProfile
from ocp_tuned_boot.tuned.profilefile import ProfileFile

APPLIED = LastProfile(
    "site",
    "aws",
    (ProfileFile("site/tuned.conf", b"[main]\n"), ProfileFile("site/run.sh", b"\xff\0", 0o700)),
)


@pytest.fixture
def paths(paths: Paths) -> Paths:
    """A node on which `site` is requested, as it was applied."""
    paths.provider.write_text("aws\n")
    return paths


def test_a_profile_that_was_applied_is_read_back_whole(paths: Paths) -> None:
    assert lastgood.profile(paths) is None
    lastgood.remember_profile(paths, APPLIED)
    assert lastgood.profile(paths) == APPLIED
    # It may have passwords in it.
    assert paths.last_profile.stat().st_mode & 0o777 == 0o600


def test_what_an_earlier_release_has_written_of_modes_is_read(paths: Paths) -> None:
    lastgood.remember_profile(paths, APPLIED)
    content = json.loads(paths.last_profile.read_text())
    assert [each["executable"] for each in content["files"]] == [False, True]
    for each in content["files"]:
        del each["mode"]
    paths.last_profile.write_text(json.dumps(content))
    found = lastgood.profile(paths)
    assert found is not None
    assert [each.mode for each in found.files] == [0o644, 0o755]


def test_the_same_profile_is_not_written_again(paths: Paths) -> None:
    lastgood.remember_profile(paths, APPLIED)
    before = paths.last_profile.stat()
    lastgood.remember_profile(paths, APPLIED)
    assert paths.last_profile.stat().st_ino == before.st_ino
    lastgood.remember_profile(paths, LastProfile("other"))
    assert lastgood.profile(paths) == LastProfile("other")


def test_the_largest_profiles_fit(paths: Paths) -> None:
    data = b"\xff" * (inputs.PROFILES_LIMIT // inputs.ENTRIES_LIMIT)
    names = (f"{'x' * 200}/{number:03}" for number in range(inputs.ENTRIES_LIMIT))
    largest = LastProfile("x", files=tuple(ProfileFile(name, data) for name in names))
    lastgood.remember_profile(paths, largest)
    assert lastgood.profile(paths) == largest


@pytest.mark.parametrize(
    "change",
    [{"version": 0}, {"profile": 1}, {"files": {}}, {"files": [{"path": "x"}]}, {"provider": None},
     {"files": [{"path": "x", "executable": False, "data": "no base64!"}]}],
)  # fmt: skip
def test_what_is_not_a_profile_is_ignored_and_replaced(
    paths: Paths, change: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    lastgood.remember_profile(paths, APPLIED)
    content = json.loads(paths.last_profile.read_text())
    paths.last_profile.write_text(json.dumps({**content, **change}))
    assert lastgood.profile(paths) is None
    assert f"{paths.last_profile}: found no profile, ignoring the file" in caplog.text
    lastgood.remember_profile(paths, APPLIED)
    assert lastgood.profile(paths) == APPLIED


def test_the_file_of_a_later_release_is_not_overwritten(paths: Paths) -> None:
    paths.state.mkdir(parents=True)
    paths.last_profile.write_text('{"version": 2}')
    with pytest.raises(NewerVersion):
        lastgood.remember_profile(paths, APPLIED)
    assert lastgood.profile(paths) is None
    assert paths.last_profile.read_text() == '{"version": 2}'


def broken_recommend(paths: Paths) -> None:
    paths.recommend.write_text("[si")


def broken_profile(paths: Paths) -> None:
    (paths.profiles / "site/tuned.conf").write_bytes(b"[main]\nsummary=\xff\n")


def folder_for_recommend(paths: Paths) -> None:
    paths.recommend.unlink()
    paths.recommend.mkdir()


def file_for_recommend_d(paths: Paths) -> None:
    paths.recommend.unlink()
    paths.recommend.parent.rmdir()
    paths.recommend.parent.write_text("")


def circle_for_provider(paths: Paths) -> None:
    paths.provider.unlink()
    paths.provider.symlink_to(paths.provider)


def fifo_in_profile(paths: Paths) -> None:
    os.mkfifo(paths.profiles / "site/pipe")


def name_that_is_no_text(paths: Paths) -> None:
    Path(os.fsdecode(bytes(paths.profiles / "site") + b"/\xff\n")).write_text("")


def linked_profiles(paths: Paths) -> None:
    paths.profiles.rename(paths.profiles.with_name("elsewhere"))
    paths.profiles.symlink_to("elsewhere")


def deep_profile(paths: Paths) -> None:
    (paths.profiles / "site" / "/".join("a" * 20)).mkdir(parents=True)


def large_profile(paths: Paths) -> None:
    with (paths.profiles / "site/large").open("wb") as file:
        file.truncate(inputs.PROFILES_LIMIT + 1)


@pytest.mark.parametrize(
    "breaks",
    [broken_recommend, broken_profile, folder_for_recommend, file_for_recommend_d,
     circle_for_provider, fifo_in_profile, name_that_is_no_text, linked_profiles, deep_profile,
     large_profile],
)  # fmt: skip
def test_the_last_profile_is_used_instead_of_one_that_is_not_valid_or_cannot_be_read(
    paths: Paths, breaks: Callable[[Paths], None]
) -> None:
    requested = inputs.read(paths, "tuned")
    breaks(paths)
    with pytest.raises((ConfigurationError, HostError)):
        inputs.read(paths, "tuned", fallback="last-good")
    lastgood.remember_profile(
        paths, LastProfile(requested.profile, requested.provider, requested.files)
    )
    with pytest.raises((ConfigurationError, HostError)):
        inputs.read(paths, "tuned")
    found = inputs.read(paths, "tuned", fallback="last-good")
    assert found.fingerprint == requested.fingerprint
    assert (found.image, found.boot_id) == (requested.image, requested.boot_id)
    (finding,) = found.fallback
    assert finding.kind == "profile-fallback"
    assert "the last profile that was applied is used instead: site" in finding.message


def test_a_profile_that_nobody_requested_has_no_fallback(paths: Paths) -> None:
    lastgood.remember_profile(paths, APPLIED)
    paths.recommend.unlink()
    with pytest.raises(ConfigurationError, match="there is no such file"):
        inputs.read(paths, "tuned", fallback="last-good")


def test_a_profile_on_a_disk_that_fails_gives_way_as_well(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the kernel that exists and cannot be read stands for such a disk (EIO)."""
    lastgood.remember_profile(paths, APPLIED)
    opened = files.opener

    def opener(path: str, flags: int, folder: int | None = None) -> int:
        return opened("/proc/self/mem" if path == "tuned.conf" else path, flags, folder)

    monkeypatch.setattr(files, "opener", opener)
    with pytest.raises(HostError, match=r"cannot read .*tuned.conf: Input/output error"):
        inputs.read(paths, "tuned")
    found = inputs.read(paths, "tuned", fallback="last-good")
    assert found.profile == APPLIED.profile
    assert "Input/output error" in found.fallback[0].message


def test_the_last_image_is_used_instead_of_an_image_env_that_cannot_be_read(paths: Paths) -> None:
    paths.image_env.unlink()
    paths.image_env.mkdir()
    with pytest.raises(HostError, match=r"image\.env: Is a directory"):
        inputs.read(paths, "tuned")
    lastgood.remember(paths, "localhost/worked", "sha256:1")
    found = inputs.read(paths, "tuned")
    assert (found.image, found.profile) == ("localhost/worked", "site")
    assert [each.kind for each in found.doubts] == ["torn-image-env"]
