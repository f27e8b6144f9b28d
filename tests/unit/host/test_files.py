"""The door to the host's files: no link is followed, and no file is half written."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot.errors import HostError, Interrupted
from ocp_tuned_boot.host import files


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * files.LIMIT)
    assert files.read(path) == b"x" * files.LIMIT


def test_a_missing_file_is_for_the_caller_to_judge(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "missing")


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "device", "endless", "large"])
def test_anything_but_a_small_regular_file_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/null")
    elif kind == "endless":
        path = Path("/dev/zero")
    else:
        path.write_bytes(b"x" * (files.LIMIT + 1))
    with pytest.raises(HostError, match=f"cannot read {path}: "):
        files.read(path)


def test_directories_get_their_mode_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        files.directory(tmp_path / "a/b/c", tmp_path)
    finally:
        os.umask(umask)
    for name in ("a", "a/b", "a/b/c"):
        assert (tmp_path / name).stat().st_mode & 0o7777 == 0o755


def test_a_directory_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o700)
    files.directory(tmp_path / "a/b", tmp_path)
    files.directory(tmp_path / "a/b", tmp_path)
    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("where", ["a", "a/b", "a/b/c"])
@pytest.mark.parametrize("kind", ["link", "dangling", "file"])
def test_an_obstacle_in_the_path_of_a_directory_is_not_followed(
    tmp_path: Path, where: str, kind: str
) -> None:
    target = tmp_path / "elsewhere"
    obstacle = tmp_path / "root" / where
    obstacle.parent.mkdir(parents=True)
    if kind == "link":
        target.mkdir()
        obstacle.symlink_to(target)
    elif kind == "dangling":
        obstacle.symlink_to(target)
    else:
        obstacle.touch()
    path = tmp_path / "root/a/b/c"
    with pytest.raises(HostError, match=f"cannot prepare the directory {path}: ") as caught:
        files.directory(path, tmp_path / "root")
    assert "Replace it with a directory" in caught.value.hint
    assert not target.exists() or not list(target.iterdir())


def test_a_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    files.write(path, b"new", 0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o7777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_of_the_old_file_keeps_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with path.open() as reader:
        files.write(path, b"new")
        assert reader.read() == "old"


def test_a_link_at_the_place_of_a_file_is_replaced_not_followed(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "file"
    target.write_text("untouched")
    path.symlink_to(target)
    files.write(path, b"new")
    assert target.read_text() == "untouched"
    assert not path.is_symlink()


def test_a_file_is_not_written_through_a_linked_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to("real")
    with pytest.raises(HostError, match=f"cannot write {tmp_path}/folder/file: "):
        files.write(tmp_path / "folder/file", b"new")
    assert list((tmp_path / "real").iterdir()) == []


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(HostError, match=f"cannot write {path}: "):
        files.write(path, b"new")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_temporary_file_of_a_killed_run_is_replaced(tmp_path: Path, kind: str) -> None:
    left = tmp_path / f".file.{os.getpid()}"
    target = tmp_path / "target"
    target.write_text("untouched")
    if kind == "file":
        left.write_text("half")
    else:
        left.symlink_to(target)
    files.write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert target.read_text() == "untouched"
    assert not os.path.lexists(left)


@pytest.mark.parametrize("supported", [True, False])
def test_a_file_that_is_not_complete_has_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    if not supported:
        no_tmpfile(monkeypatch)
    path = tmp_path / "file"
    for data in (b"first", b"second"):
        before = sorted(tmp_path.iterdir())
        with files.replacing(path) as file:
            file.write(data)
            file.flush()
            left = [each.name for each in tmp_path.iterdir() if each not in before]
            assert left == ([] if supported else [f".file.{os.getpid()}"])
            # Nobody takes it away meanwhile.
            files.clear(tmp_path)
        assert path.read_bytes() == data
        assert list(tmp_path.iterdir()) == [path]


def no_tmpfile(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system without O_TMPFILE."""
    real = os.open

    def refusing(path: Any, flags: int, *arguments: Any, **more: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real(path, flags, *arguments, **more)

    monkeypatch.setattr(os, "open", refusing)


def test_the_temporary_files_of_killed_writes_are_removed_and_no_others(tmp_path: Path) -> None:
    others = ["file", ".file", ".file.1x", "file.12", ".other.12", ".x-file.12.json"]
    for name in (*others, ".file.12", ".file.345"):
        (tmp_path / name).write_text("")
    (tmp_path / ".file.67").mkdir()
    files.clear(tmp_path, "f*")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, ".file.67"])
    files.clear(tmp_path)
    assert not (tmp_path / ".other.12").exists()
    files.clear(tmp_path / "missing")


def test_a_tree_is_removed_and_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "folder").mkdir(parents=True)
    tree = tmp_path / "tree"
    (tree / "deep/er").mkdir(parents=True)
    (tree / "link").symlink_to(target)
    files.remove_tree(tree)
    assert not tree.exists()
    files.remove_tree(tree)
    tree.symlink_to(target)
    files.remove_tree(tree)
    assert not os.path.lexists(tree)
    tree.write_text("a file")
    files.remove_tree(tree)
    assert not tree.exists()
    os.mkfifo(tree)
    files.remove_tree(tree)
    assert not tree.exists()
    assert (target / "folder").is_dir()


def test_a_signal_after_a_file_was_replaced_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first file gets its name at once.
    (tmp_path / "file").write_bytes(b"old")
    rename = os.rename

    def interrupted(*arguments: Any, **more: Any) -> None:
        rename(*arguments, **more)
        raise Interrupted(15)

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(Interrupted):
        files.write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_file_is_on_the_disk_before_it_takes_its_name_and_so_is_its_name_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    synced: list[tuple[str, str]] = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        # Through this link a file without a name can be read, too.
        opened = Path(f"/proc/self/fd/{fd}")
        what = opened.readlink().name if opened.is_dir() else opened.read_text()
        # What is synced, and what was at the path then.
        synced.append((what, path.read_text()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watched)
    files.write(path, b"new")
    assert synced == [("new", "old"), (tmp_path.name, "new")]


def failing(number: int) -> HostError:
    with pytest.raises(HostError) as caught, files.explained("write", Path("/proc/x")):
        raise OSError(number, os.strerror(number))
    return caught.value


def test_the_file_system_that_is_full_is_named() -> None:
    assert failing(errno.ENOSPC).hint.startswith("The file system /proc is full")


def test_a_user_who_may_not_do_it_is_told_who_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert failing(errno.EACCES).hint == "Run this command as root."
    # For root it is another cause.
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert failing(errno.EACCES).hint == ""
