"""The only door to the files of the agent: writes what is wanted, and reads it as the host does.

What the host reads is always one whole state, wherever the agent is killed, and also if the file
system is full. One file is replaced by renaming. Several are first written to a folder of their
own, which counts from the moment it has its name (`inputs.whole`), and is removed when all of them
are in their place.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ocp_tuned_boot.agent.wanted import Wanted
from ocp_tuned_boot.errors import BootError, Busy, HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import inputs

log = logging.getLogger(__name__)

# A state is made in the first folder. One that counts no more has the second name until it is
# removed.
_MAKING, _GONE = "making", "gone"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class _File:
    data: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class _State:
    """Every file that the host reads, by its path below the agent's folder. `refused`: there is
    something among the profiles that the host refuses, so it reads none of them."""

    files: Mapping[str, _File]
    refused: bool = False


def write(paths: Paths, wanted: Wanted) -> bool:
    """Makes the files say what is wanted, and returns whether one of them had to be changed.

    Only what differs is written, each file renamed into place, image.env last. A profile that is
    not wanted any more is removed; a file about which `wanted` says nothing stays. Raises
    `HostError`, and `Busy` if another agent is writing; then the files say what they said before,
    or all that is wanted.
    """
    old = _read(paths)
    if inputs.whole(paths) is paths and not _changes(old, _new(old, wanted)):
        return False
    with _locked(paths):
        _finish(paths)
        old = _read(paths)
        new = _new(old, wanted)
        changes = _changes(old, new)
        if len(changes) > 1 or not changes <= set(old.files) or old.refused:
            _announce(paths, new)
            _replace(paths, new)
            _withdraw(paths)
        else:
            _replace(paths, new)
    return True


def recover(paths: Paths) -> None:
    """Finishes what an agent that was killed has begun; when an agent starts. Raises `HostError`,
    `Busy`."""
    with _locked(paths):
        _finish(paths)


def fingerprint(paths: Paths, contract: str, mode: str = "oneshot") -> str:
    """What a run of the host that reads the files now records as its request; empty if it could not
    read them. `contract` and `mode` are boot.conf's, which are in the record."""
    try:
        requested = inputs.read(paths, contract)
        requested = replace(requested, mode=mode)
        return inputs.following(paths, requested, "agent", "agent").fingerprint
    except BootError as error:
        log.debug("%s", error)
        return ""


def _finish(paths: Paths) -> None:
    for name in (_MAKING, _GONE):
        files.remove_tree(paths.agent / name)
    files.clear(paths.agent)
    complete = inputs.whole(paths)
    if complete is not paths:
        log.info("an earlier agent was stopped while it replaced its files: finishing that")
        _replace(paths, _read(complete).files)
        _withdraw(paths)


@contextmanager
def _locked(paths: Paths) -> Iterator[None]:
    """Of two agents, which are a mistake, each writes whole states. The folder itself is locked:
    the host would notice a file that is opened in it."""
    with files.explained("lock", paths.agent):
        folder = os.open(paths.agent, _FOLDER)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(folder)
            raise Busy(
                f"another agent on this node writes {paths.agent}", "Remove one of the two."
            ) from None
    try:
        yield
    finally:
        os.close(folder)


def _read(paths: Paths) -> _State:
    found: dict[str, _File] = {}
    for path in _single(paths):
        # One that the host refuses is written anew.
        with suppress(FileNotFoundError, HostError):
            data = files.read_below(path, paths.root, inputs.TEXT_LIMIT)
            found[_name(paths, path)] = _File(data)
    try:
        profiles = {
            f"{paths.profiles.name}/{file.path}": _File(file.data, file.mode)
            for file in inputs.profile_files(paths.profiles, paths.root)
        }
        return _State({**found, **profiles}, refused=paths.profiles.is_symlink())
    except BootError as error:
        log.warning("the profiles are written anew: %s", error)
        return _State(found, refused=True)


def _single(paths: Paths) -> tuple[Path, ...]:
    """In the order in which they are written."""
    return (paths.provider, paths.recommend, paths.agent_on_change, paths.agent_reapply_sysctl,
            paths.image_env)  # fmt: skip


def _name(paths: Paths, path: Path) -> str:
    return str(path.relative_to(paths.agent))


def _new(old: _State, wanted: Wanted) -> dict[str, _File]:
    """What is there and not of a profile that has to go, with what is wanted."""
    new = {path: file for path, file in old.files.items() if _stays(path, wanted)}
    for path, data in wanted.files.items():
        if path not in new or new[path].data != data:
            new[path] = _File(data)
    return new


def _stays(path: str, wanted: Wanted) -> bool:
    """Of a profile that is wanted, files other than its tuned.conf are somebody else's."""
    parts = Path(path).parts
    return parts[0] != "profiles" or parts[1] in wanted.names


def _changes(old: _State, new: Mapping[str, _File]) -> set[str]:
    changed = {path for path in {*old.files, *new} if old.files.get(path) != new.get(path)}
    return changed | ({"profiles"} if old.refused else set())


def _announce(paths: Paths, new: Mapping[str, _File]) -> None:
    """Makes a folder with the new state, and gives it its name. From then on it counts."""
    making = paths.agent / _MAKING
    try:
        for path, file in new.items():
            _write(paths, making / path, file)
        with files.explained("write", paths.agent_next):
            for folder in (making, *(path for path in making.rglob("*") if path.is_dir())):
                _sync(folder)
            os.rename(making, paths.agent_next)
            _sync(paths.agent)
    except HostError:
        # The reason is what counts; what is left is removed by the next attempt.
        with suppress(HostError):
            files.remove_tree(making)
        raise


def _withdraw(paths: Paths) -> None:
    """The files are in their place: the folder with the same content does not count any more."""
    gone = paths.agent / _GONE
    with files.explained("remove", paths.agent_next):
        os.rename(paths.agent_next, gone)
        _sync(paths.agent)
    files.remove_tree(gone)


def _replace(paths: Paths, new: Mapping[str, _File]) -> None:
    """Makes the files in their place those of `new`."""
    old = _read(paths)
    if old.refused:
        files.remove_tree(paths.profiles)
        old = _read(paths)
    first, *rest = (_name(paths, path) for path in _single(paths))
    profiles = sorted(path for path in new if path.startswith("profiles/"))
    for path in (first, *profiles, *rest):
        if path in new and old.files.get(path) != new[path]:
            _write(paths, paths.agent / path, new[path])
    names = {Path(path).parts[1] for path in profiles}
    for folder in _folders(paths):
        if folder.name not in names:
            files.remove_tree(folder)


def _folders(paths: Paths) -> list[Path]:
    """The folders of the profiles, however many there are."""
    with files.explained("list", paths.profiles), suppress(FileNotFoundError):
        with os.scandir(paths.profiles) as found:
            return [Path(each.path) for each in found if each.is_dir(follow_symlinks=False)]
    return []


def _write(paths: Paths, path: Path, file: _File) -> None:
    """Writes a file, and the folders that contain it, in place of whatever is there."""
    for folder in reversed([each for each in path.parents if paths.agent in each.parents]):
        if folder.is_symlink() or (os.path.lexists(folder) and not folder.is_dir()):
            files.remove_tree(folder)
    files.directory(path.parent, paths.root)
    if path.is_dir() and not path.is_symlink():
        files.remove_tree(path)
    # The host reads every file in the folder of a profile: no temporary name there.
    files.write(path, file.data, file.mode, staging=paths.agent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, _FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
