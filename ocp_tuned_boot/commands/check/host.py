"""Podman's version, and space."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ocp_tuned_boot.commands.check.problem import Problem, not_checked, problem
from ocp_tuned_boot.errors import BootError, DeadlineExceeded, PodmanError
from ocp_tuned_boot.host import space
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.space import Space
from ocp_tuned_boot.host.typedjson import from_json
from ocp_tuned_boot.podman.client import Podman

#: The oldest Podman.
PODMAN = (4, 3)
#: What a TuneD image takes in the store until it is unpacked (bytes).
STORE = 1024 * 1024 * 1024


def podman_version(podman: Podman) -> Iterator[Problem]:
    """A Podman that is too old. Raises `BootError`."""
    text = podman.shown("/version")
    try:
        version = str(from_json(text.encode())["Version"])
    except (ValueError, LookupError, TypeError):
        version = ""
    yield from old(version)


def old(version: str) -> Iterator[Problem]:
    """Whether a version of Podman is too old. Pure."""
    found = re.match(r"(\d{1,4})\.(\d{1,4})", version)
    if found is None:
        yield not_checked("The version of Podman", f"found {version[:40]!r}")
    elif (int(found[1]), int(found[2])) < PODMAN:
        least = ".".join(map(str, PODMAN))
        yield problem(
            "podman-too-old", "", 0, f"Podman is version {version}, expected {least} or later"
        )


def store_folder(podman: Podman) -> Path | None:
    """Where Podman has its images; None if it does not say. Raises `BootError`."""
    try:
        found = from_json(podman.shown("/info").encode())["store"]["graphRoot"]
    except (ValueError, LookupError, TypeError):
        return None
    return Path(found) if isinstance(found, str) and found.startswith("/") else None


def spaces(paths: Paths, store: Path | None) -> Iterator[Space]:
    """The free space of each folder that a run writes to. `store`: that of Podman, if the image is
    still to be put there."""
    yield from space.of_own_files(paths)
    if store is not None:
        yield from space.left(store, STORE, "the image")


def low(found: Space) -> Iterator[Problem]:
    """Whether there is too little. Pure."""
    if found.is_low:
        yield problem("low-space", found.folder, 0, found.words)


def unreachable(error: BootError) -> Problem:
    """Podman or the image cannot be asked. Without the permission, or while another program does
    the same, this says nothing about the boot."""
    what = "Podman and the image"
    if os.geteuid() != 0:
        return not_checked(what, error.message, "Run this command as root.")
    if not isinstance(error, (PodmanError, DeadlineExceeded)):
        return not_checked(what, error.message, error.hint)
    return problem("podman-unreachable", "", 0, error.message, error.hint)
