"""The one door to the host's files: bounded reads, atomic writes, no symbolic link followed.

The agent's directories are written by a pod, so nothing in them is trusted: a link put in the
way, a device, a FIFO or an endless file is an error with the file's name in it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ocp_tuned_boot.errors import HostError

#: No file this program reads has a reason to be larger (bytes).
LIMIT = 1024 * 1024


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


def read(path: Path, limit: int = LIMIT) -> bytes:
    """The bytes of a regular file of at most `limit` bytes. Raises `HostError`.

    A missing file is for the caller to judge: `FileNotFoundError` passes through.
    """
    try:
        with open(path, "rb", opener=opener) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            data = file.read(limit + 1) if regular else b""
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


def opener(path: str, flags: int) -> int:
    """For `open`: follows no link, and waits for no writer of a FIFO."""
    # O_NONBLOCK: opening a FIFO must not wait for its writer.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


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
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=parent)


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replaces `path` atomically and durably. Raises `HostError`; then the old file is whole.

    A link standing at `path` is replaced, not followed.
    """
    with explained("write", path):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
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
