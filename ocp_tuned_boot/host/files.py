"""The one door to the host's files: bounded reads, atomic writes, no symbolic link followed.

The agent's directories are written by a pod, so nothing in them is trusted: a link put in the
way, a device, a FIFO or an endless file is an error with the file's name in it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ocp_tuned_boot.errors import Busy, HostError

#: No file this program reads has a reason to be larger (bytes).
LIMIT = 1024 * 1024
# How long to wait before looking at a lock again (seconds).
_TICK = 0.02


@contextmanager
def explained(action: str, path: Path) -> Iterator[None]:
    """Turns an `OSError` into a `HostError` that says what could not be done to which file."""
    try:
        yield
    except OSError as error:
        raise HostError(f"cannot {action} {path}: {error.strerror}", _hint(error)) from error


def _hint(error: OSError) -> str:
    if error.errno == errno.EROFS:
        return "The filesystem is read-only; it has to be writable here."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The filesystem is full; free some space and start the unit again."
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "Something else, perhaps a symbolic link, is in the way; remove it."
    return ""


def read(path: Path, limit: int = LIMIT, folder: int | None = None) -> bytes:
    """The bytes of a regular file of at most `limit` bytes. Raises `HostError`. With `folder`, the
    open directory that it stands in, nobody can put another directory in the way.

    A missing file is for the caller to judge: `FileNotFoundError` passes through.
    """

    def in_folder(_: str, flags: int) -> int:
        return opener(path.name, flags, folder)

    try:
        with open(path, "rb", opener=opener if folder is None else in_folder) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            # Some of the kernel's files have nothing to say yet: that is None.
            data = (file.read(limit + 1) or b"") if regular else b""
    except FileNotFoundError:
        raise
    except OSError as error:
        raise HostError(f"cannot read {path}: {error.strerror}", _hint(error)) from error
    if not regular:
        raise HostError(f"cannot read {path}: it is not a regular file")
    if len(data) > limit:
        raise HostError(f"cannot read {path}: it is larger than {limit} bytes")
    return data


def resolved(path: Path) -> Path:
    """Where links lead, for a file that its owner may well have linked. Of links that lead in a
    circle one is left, which `read` refuses (`Path.resolve` raises `RuntimeError` before 3.13)."""
    return Path(os.path.realpath(path))


def opener(path: str, flags: int, folder: int | None = None) -> int:
    """For `open`: follows no link, and waits for no writer of a FIFO."""
    # O_NONBLOCK: opening a FIFO must not wait for its writer.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)


def read_below(path: Path, root: Path, limit: int = LIMIT) -> bytes:
    """As `read`, of a file somewhere below `root` where a pod writes: not one component of its path
    may be a link."""
    try:
        folder = _folder(path.parent, root)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise HostError(f"cannot read {path}: {error.strerror}", _hint(error)) from error
    try:
        return read(path, limit, folder)
    finally:
        os.close(folder)


@dataclass(frozen=True)
class Entry:
    """Something in a tree; `parent` is the open directory that it stands in."""

    path: Path
    parent: int
    is_folder: bool

    def stat(self) -> os.stat_result:
        """Of itself, should it be a link. Raises `OSError`."""
        return os.stat(self.path.name, dir_fd=self.parent, follow_symlinks=False)

    def read(self) -> bytes:
        """As `read` does it."""
        return read(self.path, folder=self.parent)


@dataclass
class Tree:
    """What is in a directory somewhere below `root`, and in its folders: where a pod writes, so
    that there are links and endless numbers of files. `depth`: so many levels of folders each
    folder in it may have; `room`: for so many entries in all."""

    path: Path
    root: Path
    depth: int
    room: int

    def __iter__(self) -> Iterator[Entry]:
        """By name, a folder before what is in it. Links are not followed, whatever is exchanged
        meanwhile. Raises `HostError`, also where there is too much; nothing is fine."""
        try:
            with explained("list", self.path):
                folder = _folder(self.path, self.root)
        except HostError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return
            raise
        try:
            yield from self._in(folder, self.path, self.depth + 1)
        finally:
            os.close(folder)

    def _in(self, folder: int, path: Path, depth: int) -> Iterator[Entry]:
        for name, is_folder in self._listed(folder, path):
            where = path / name
            yield Entry(where, folder, is_folder)
            if not is_folder:
                continue
            if not depth:
                raise HostError(f"{where}: there may be at most {self.depth} levels of folders")
            with explained("list", where):
                inside = os.open(name, _DIRECTORY, dir_fd=folder)
            try:
                yield from self._in(inside, where, depth - 1)
            finally:
                os.close(inside)

    def _listed(self, folder: int, path: Path) -> list[tuple[str, bool]]:
        with explained("list", path), os.scandir(folder) as entries:
            found = [
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in islice(entries, self.room + 1)
            ]
        if len(found) > self.room:
            raise HostError(f"{self.path}: there are too many files in it, the last in {path}")
        self.room -= len(found)
        return sorted(found)


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _folder(path: Path, root: Path) -> int:
    """An open directory, of whose path below `root` nothing is a link. Raises `OSError`."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in path.relative_to(root).parts:
        try:
            inner = os.open(part, _DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd


def directory(path: Path, root: Path, mode: int = 0o755) -> None:
    """Makes sure that `path`, somewhere below `root`, is a directory. Raises `HostError`.

    Every component below `root` is opened without following links. One that exists keeps its
    mode and owner: it is the host's or the agent's business; a new one gets `mode`.
    """
    with explained("prepare the directory", path):
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in path.relative_to(root).parts:
                fd, parent = _enter(fd, part, mode), fd
                os.close(parent)
        finally:
            os.close(fd)


def _enter(parent: int, name: str, mode: int) -> int:
    try:
        os.mkdir(name, mode, dir_fd=parent)
    except FileExistsError:
        pass
    else:
        os.chmod(name, mode, dir_fd=parent)  # mkdir's mode is subject to the umask
    return os.open(name, _DIRECTORY, dir_fd=parent)


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replaces `path` atomically and durably. Raises `HostError`; then the old file is whole.

    A link standing at `path` is replaced, not followed.
    """
    with explained("write", path):
        folder = os.open(path.parent, _DIRECTORY)
        try:
            _replace(folder, path.name, data, mode)
        finally:
            os.close(folder)


def _replace(folder: int, name: str, data: bytes, mode: int) -> None:
    temporary = f".{name}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with_mode = mode & 0o777
    try:
        fd = os.open(temporary, flags, with_mode, dir_fd=folder)
    except FileExistsError:  # left by a killed run that had our process ID
        os.unlink(temporary, dir_fd=folder)
        fd = os.open(temporary, flags, with_mode, dir_fd=folder)
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, with_mode)
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        # A signal may arrive when it has been renamed.
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        raise
    os.fsync(folder)


@contextmanager
def locked(path: Path, patience: float, what: str) -> Iterator[None]:
    """Holds the lock file at `path`. Raises `Busy` when whoever holds it, `what`, does not let go
    in so many seconds, and `HostError`."""
    with explained("open", path):
        lock = path.open("a")
    end = time.monotonic() + patience
    with lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Busy(f"{what} holds {path}", "Wait for it to end.") from None
                time.sleep(_TICK)
        yield


def remove_tree(path: Path) -> None:
    """Removes a directory of ours and all in it; a link is removed, not followed."""
    import shutil  # noqa: PLC0415  # half of what most runs would spend on this module

    with explained("remove", path):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            pass
        except NotADirectoryError:
            path.unlink()
        except OSError:
            # What rmtree raises for a symbolic link has no errno.
            if not path.is_symlink():
                raise
            path.unlink()
