"""Reads what is requested once nobody is writing it.

A file may be written in place, by an agent or by an administrator's editor. Half of a boot.conf
must not open a gate that the other half closes, and half of a profile must not be applied.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Callable, TypeVar

from ocp_tuned_boot.errors import BootError, ConfigurationError, HostError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.requested.inputs import Inputs

#: Files written less than this time ago may be incomplete (seconds).
QUIET = 0.5
#: How long to wait for a program that keeps writing (seconds).
PATIENCE = 10.0
_TICK = 0.05

T = TypeVar("T")
Watched = Iterator[tuple[Path, os.stat_result]]


def config(paths: Paths, override: Path | None = None) -> Config:
    """`boot.conf`, as `config.load` reads it. Raises `ConfigurationError`, `HostError`."""
    return _settled(
        lambda: boot_conf.load(paths, override), lambda: _boot_conf_files(paths, override)
    )


def gate(paths: Paths, override: Path | None = None) -> str:
    """`open` or `closed`, as `config.gate` reads it."""
    try:
        return _settled(
            lambda: boot_conf.gate(paths, override), lambda: _boot_conf_files(paths, override)
        )
    except HostError:  # a file kept changing
        return boot_conf.gate(paths, override)


def requested(paths: Paths, config: Config, fallback: str = "none") -> Inputs:
    """The agent's files, which belong together, as `read` reads them. Raises `ConfigurationError`,
    `HostError`."""
    return _settled(lambda: read(paths, config, fallback), lambda: _agent_files(paths))


def read(paths: Paths, config: Config, fallback: str = "none") -> Inputs:
    """The agent's files as they are now, with `boot.conf`. Raises `ConfigurationError`,
    `HostError`."""
    found = inputs.read(paths, config.contract, config.image, config.profile, fallback)
    found = boot_conf.located(config, replace(found, mode=config.mode))
    return inputs.following(paths, found, config.on_change, config.reapply_sysctl)


def is_written_since(paths: Paths, seconds: float) -> bool:
    """Whether a file of the agent was written in the last `seconds`."""
    return _younger(_agent_files(paths), seconds) is not None


def image(paths: Paths, config: Config) -> str:
    """The requested image alone, as `inputs.read_image` reads it. Raises `ConfigurationError`,
    `HostError`."""
    return _settled(lambda: inputs.read_image(paths, config.image), lambda: _agent_files(paths))


def _settled(reading: Callable[[], T], watched: Callable[[], Watched]) -> T:
    """What `reading` returns. Files that were written less than `QUIET` seconds before they were
    read are read again. Raises what `reading` raises, and `HostError` after `PATIENCE` seconds."""
    end = time.monotonic() + PATIENCE
    while True:
        started = time.monotonic()
        error: BootError | None = None
        try:
            found = reading()
        except (ConfigurationError, HostError) as caught:
            error = caught
        young = _younger(watched(), QUIET + time.monotonic() - started)
        if not young and error is None:
            return found
        if not young and error is not None:
            raise error
        if time.monotonic() > end:
            raise HostError(
                f"{young}: this file kept changing for {PATIENCE:g} s",
                "Stop the program that writes it, then: systemctl start ocp-tuned",
            )
        time.sleep(_TICK)


def _younger(watched: Watched, seconds: float) -> Path | None:
    """A file or folder that was written in the last `seconds`, or None."""
    now = time.time()
    for path, found in watched:
        # A time in the future means nothing: the clock was set back.
        if 0 <= now - found.st_ctime < seconds:
            return path
    return None


def _boot_conf_files(paths: Paths, override: Path | None) -> Watched:
    # The time of a folder changes when a file in it is created, renamed or removed.
    folders = (paths.admin_conf.parent, paths.drop_ins)
    for path in (*boot_conf.names(paths, override), *(() if override else folders)):
        with suppress(OSError):
            yield path, path.stat()


def _agent_files(paths: Paths) -> Watched:
    yield from _files_of(paths)
    complete = inputs.whole(paths)
    if complete is not paths:
        yield from _files_of(complete)


def _files_of(paths: Paths) -> Watched:
    for path in (paths.agent, paths.image_env, paths.recommend.parent, paths.recommend,
                 paths.provider, paths.profiles, paths.agent_on_change,
                 paths.agent_reapply_sysctl):  # fmt: skip
        with suppress(OSError):
            yield path, path.lstat()
    # `inputs.read` reports too many files.
    with suppress(HostError):
        for entry in inputs.tree(paths.profiles, paths.root):
            with suppress(OSError):
                yield entry.path, entry.stat()
