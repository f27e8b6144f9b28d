"""The only door to the host's files: bounded reads, atomic writes, no symbolic link followed.

A pod writes the agent's directories, so nothing in them is trusted. A link, a device, a FIFO or an
endless file is an error that names the file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from ocp_tuned_boot.errors import Busy, HostError

AS_ROOT = "Run this command as root."
#: The largest file that is read (bytes). No file that this program needs is larger.
LIMIT = 1024 * 1024
# The name of a file while it is written: `.NAME.PID`.
_TEMPORARY = re.compile(r"\..+\.[0-9]+")
_FULL = (errno.ENOSPC, errno.EDQUOT)
# The pause between two attempts to take a lock (seconds).
_TICK = 0.02


@contextmanager
def explained(action: str, path: Path) -> Iterator[None]:
    """Turns an `OSError` into a `HostError`: "cannot <action> <path>: <reason>"."""
    try:
        yield
    except OSError as error:
        raise _failed(action, path, error) from error


def _failed(action: str, path: Path, error: OSError) -> HostError:
    # Directories are opened with O_DIRECTORY, and a link is ENOTDIR there: this is a file.
    if error.errno == errno.ELOOP:
        return HostError(
            f"cannot {action} {path}: it is a symbolic link", "Replace it with a regular file."
        )
    return HostError(f"cannot {action} {path}: {error.strerror}", _hint(error, path))


def _hint(error: OSError, path: Path) -> str:
    if error.errno == errno.EROFS:
        return "The file system is read-only: remount it writable."
    if error.errno in _FULL:
        from ocp_tuned_boot.host import space  # noqa: PLC0415  # only for a failure

        return space.full_hint(path)
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        return AS_ROOT
    if error.errno == errno.ENOTDIR:
        return "A part of this path is a symbolic link or a file. Replace it with a directory."
    return ""


def read(path: Path, limit: int = LIMIT, folder: int | None = None, *, cut: bool = False) -> bytes:
    """The content of a regular file of at most `limit` bytes. `folder`: a descriptor of the open
    directory that contains it; then no other directory can be put in its place meanwhile. `cut`: of
    a larger file, its beginning.

    Raises `HostError`, and `FileNotFoundError` if there is no such file.
    """

    def in_folder(_: str, flags: int) -> int:
        return opener(path.name, flags, folder)

    try:
        with open(path, "rb", opener=opener if folder is None else in_folder) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            # Reading some of the kernel's files would block; then `read` returns None.
            data = (file.read(limit + 1) or b"") if regular else b""
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _failed("read", path, error) from error
    if not regular:
        raise HostError(f"cannot read {path}: it is not a regular file")
    if len(data) > limit and not cut:
        raise HostError(f"cannot read {path}: it is larger than {limit} bytes")
    return data[:limit]


def resolved(path: Path) -> Path:
    """The path with symbolic links followed, for a file whose owner may use links. Of a circle of
    links one remains, which `read` refuses (`Path.resolve` raises `RuntimeError` before 3.13)."""
    return Path(os.path.realpath(path))


def opener(path: str, flags: int, folder: int | None = None) -> int:
    """An opener for `open` that follows no link and does not wait for the writer of a FIFO."""
    # O_NONBLOCK: opening a FIFO would wait for its writer.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)


def read_below(path: Path, root: Path, limit: int = LIMIT) -> bytes:
    """As `read`, for a file below `root` in a directory that a pod writes: no component of the path
    below `root` may be a link."""
    try:
        folder = _folder(path.parent, root)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _failed("read", path, error) from error
    try:
        return read(path, limit, folder)
    finally:
        os.close(folder)


@dataclass(frozen=True)
class Entry:
    """A file or folder in a tree. `parent`: a descriptor of the open directory that contains it."""

    path: Path
    parent: int
    is_folder: bool

    def stat(self) -> os.stat_result:
        """The status of the entry itself, even if it is a link. Raises `OSError`."""
        return os.stat(self.path.name, dir_fd=self.parent, follow_symlinks=False)

    def read(self) -> bytes:
        """Its content, see `read`."""
        return read(self.path, folder=self.parent)


@dataclass
class Tree:
    """All entries of a directory below `root` and of its folders. A pod writes there, so there may
    be links, and any number of files.

    `depth`: the levels of folders allowed in each of its folders; `room`: the entries allowed."""

    path: Path
    root: Path
    depth: int
    room: int

    def __iter__(self) -> Iterator[Entry]:
        """Yields the entries by name, a folder before its entries. Links are not followed, even if
        files are replaced meanwhile. A missing directory has no entries.

        Raises `HostError`, also if there are too many entries or levels."""
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
                raise HostError(f"{where}: at most {self.depth} levels of folders are allowed")
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
            raise HostError(f"{self.path}: it contains too many files, the last one in {path}")
        self.room -= len(found)
        return sorted(found)


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _folder(path: Path, root: Path) -> int:
    """Opens a directory below `root` without following links below `root`, and returns the
    descriptor. Raises `OSError`."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in path.relative_to(root).parts:
        try:
            inner = os.open(part, _DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd


def directory(path: Path, root: Path, mode: int = 0o755) -> None:
    """Makes sure that `path`, which is below `root`, is a directory. Raises `HostError`.

    Every component below `root` is opened without following links. A directory that exists keeps
    its mode and owner, which the host or the agent has chosen. A new one gets `mode`.
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


def write(
    path: Path, data: bytes, mode: int = 0o644, staging: Path | None = None, *, durable: bool = True
) -> None:
    """Replaces `path` atomically and durably. Raises `HostError`; then the old file is unchanged.

    A symbolic link at `path` is replaced, not followed. `staging` and `durable`: see `replacing`.
    """
    with explained("write", path), replacing(path, mode, staging, durable=durable) as file:
        file.write(data)


@contextmanager
def replacing(
    path: Path, mode: int = 0o644, staging: Path | None = None, *, durable: bool = True
) -> Iterator[BinaryIO]:
    """A file to write; it replaces `path`, as `write` does, if the block ends without an exception.
    Raises `OSError`.

    Until it is complete the file has no name. If another file is to be replaced, it has a temporary
    name for a moment, and on file systems without O_TMPFILE from the beginning; see `clear`.
    `staging`: the folder of the temporary name, on the same mount as `path`; for a folder in which
    another program reads every file. The default is the folder of `path`. `durable`: False for a
    file in /run, and for a cache: after a power cut it is gone, or empty, and that does not matter.
    """
    with ExitStack() as opened:
        folder = _opened(opened, path.parent)
        stage = folder if staging is None else _opened(opened, staging)
        temporary = f".{path.name}.{os.getpid()}"
        try:
            with os.fdopen(_without_name(stage, temporary, mode & 0o777), "wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                os.fchmod(file.fileno(), mode & 0o777)
                yield file
                file.flush()
                if durable:
                    os.fsync(file.fileno())
                _name(file.fileno(), (stage, temporary), (folder, path.name))
            if durable:
                os.fsync(folder)
        finally:
            # After a signal, the file may have its name already.
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=stage)


def _opened(stack: ExitStack, folder: Path) -> int:
    descriptor = os.open(folder, _DIRECTORY)
    stack.callback(os.close, descriptor)
    return descriptor


def _without_name(folder: int, temporary: str, mode: int) -> int:
    """Creates a file in `folder`, without a name where the file system allows that."""
    flags = os.O_WRONLY | os.O_CLOEXEC
    try:
        return os.open(".", flags | os.O_TMPFILE, mode, dir_fd=folder)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
            raise
    with suppress(FileNotFoundError):  # of a killed run with the same process ID
        os.unlink(temporary, dir_fd=folder)
    return os.open(temporary, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=folder)


def _name(file: int, temporary: tuple[int, str], final: tuple[int, str]) -> None:
    """Gives a complete file its name. `temporary` and `final`: each the descriptor of a folder, and
    a name in it."""
    (stage, before), (folder, name) = temporary, final
    if os.fstat(file).st_nlink == 0:
        source = f"/proc/self/fd/{file}"
        try:
            os.link(source, name, dst_dir_fd=folder)
        except FileExistsError:
            with suppress(FileNotFoundError):
                os.unlink(before, dir_fd=stage)
            os.link(source, before, dst_dir_fd=stage)
        else:
            return
    os.rename(before, name, src_dir_fd=stage, dst_dir_fd=folder)


def is_full(error: HostError) -> bool:
    """Whether this is the error of a file system without space."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in _FULL


def reserve(path: Path, size: int) -> None:
    """Makes sure that a file of `size` bytes exists that can be removed when the file system is
    full: then there is space for others. Raises `HostError`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with explained("reserve space in", path):
        file = os.open(path, flags, 0o600)
        try:
            os.posix_fallocate(file, 0, size)
        finally:
            os.close(file)


def release(path: Path) -> None:
    """Removes the file that `reserve` has made. Raises `HostError`."""
    with explained("remove", path):
        path.unlink(missing_ok=True)


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that a killed `replacing` left."""
    return bool(_TEMPORARY.fullmatch(name))


def clear(folder: Path, names: str = "*") -> None:
    """Removes the temporary files that were left when files of these names (with wildcards) were
    written; not those that are being written. Raises `HostError`."""
    with explained("clean up", folder):
        try:
            descriptor = os.open(folder, _DIRECTORY)
        except FileNotFoundError:
            return
        try:
            for name in os.listdir(descriptor):
                if is_temporary(name) and fnmatchcase(name.rpartition(".")[0], f".{names}"):
                    _remove_unlocked(descriptor, name)
        finally:
            os.close(descriptor)


def _remove_unlocked(folder: int, name: str) -> None:
    """Removes a file, unless a process writes it: that has locked it."""
    with suppress(FileNotFoundError, BlockingIOError):
        if stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            file = opener(name, os.O_RDONLY, folder)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name, dir_fd=folder)
            finally:
                os.close(file)


def touch(path: Path) -> bool:
    """Creates an empty file, durably, and returns whether it did not exist. Raises `HostError`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with explained("write", path):
        folder = os.open(path.parent, _DIRECTORY)
        try:
            os.close(os.open(path.name, flags, 0o644, dir_fd=folder))
            os.fsync(folder)
        except FileExistsError:
            return False
        finally:
            os.close(folder)
    return True


@contextmanager
def locked(path: Path, patience: float, what: str) -> Iterator[None]:
    """Holds the lock file at `path`. `patience`: how long to wait for it (seconds); `what`: the
    other process that may hold it, for the message. Raises `Busy` and `HostError`."""
    # Only its owner may open it: else any user could hold it, and no run would begin.
    with explained("open", path):
        lock = open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "a")  # noqa: SIM115
    end = time.monotonic() + patience
    with lock:
        while not _taken(lock.fileno(), path):
            if time.monotonic() > end:
                raise Busy(f"{what} holds {path}", "Wait until it exits.")
            time.sleep(_TICK)
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock file at `path`. The caller need not be allowed to take it;
    False if it cannot be found out."""
    with suppress(OSError), path.open("rb") as lock:
        try:
            fcntl.flock(lock.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _taken(lock: int, path: Path) -> bool:
    """Takes the lock, if no other process holds it. Raises `HostError`."""
    with explained("lock", path):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def remove_tree(path: Path) -> None:
    """Removes a directory of this program with its content. A link is removed, not followed."""
    import shutil  # noqa: PLC0415  # half of the time to import this module

    with explained("remove", path), suppress(FileNotFoundError):
        # Only for a directory: rmtree would wait for the writer of a FIFO.
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()
