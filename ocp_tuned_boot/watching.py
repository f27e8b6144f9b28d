"""Has systemd watch the folder of each custom profile, and boot.conf while a profile is applied,
and pull an image for which a run had not enough time.

A path unit does not watch the folders in a folder, and the names of the profiles are known only on
the node: each has an instance of ocp-tuned-folder@.path. Folders in a profile are not watched.
"""

from __future__ import annotations

import logging

from ocp_tuned_boot.errors import BootError, HostError
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record import store
from ocp_tuned_boot.requested import inputs, settled

log = logging.getLogger(__name__)

#: The most profiles that are watched. Each needs an inotify instance of root, and the kernel has
#: 128 of them by default (fs.inotify.max_user_instances).
MOST = 32
_PROFILES = "ocp-tuned-folder@profiles-"
#: Watches boot.conf.
CONF = "ocp-tuned-conf.path"
#: The longest name of a unit (systemd.unit(5)).
_LONGEST = 255


def watch(paths: Paths) -> None:
    """Starts the path units of the custom profiles that exist and that of boot.conf, and stops
    those of others. Why one is not watched is logged: a change of it is noticed by the next run."""
    if paths.root != Paths().root:
        return  # the units of this host are not about that folder
    try:
        names = units(paths)
        known = set(systemd.active("ocp-tuned-*.path"))
        gone = sorted(known - set(names))
        systemd.queue("stop", [name for name in gone if name.startswith(_PROFILES)])
        new = [name for name in names if name not in known]
        applied = store.in_force(paths, inputs.boot_id(paths)) is not None
        _start(new, [CONF] if applied and CONF not in known else [])
    except BootError as error:
        log.warning("changes of a profile may go unnoticed: %s", error)


def _start(names: list[str], conf: list[str]) -> None:
    """Starts them, and `conf` if ocp-tuned.service is not being stopped. Raises `HostError`."""
    try:
        systemd.queue("start", [*names, *conf])
    except HostError as error:
        if not conf:
            raise
        log.info("%s", error)
        systemd.queue("start", names)


def unit(name: str) -> str:
    """The path unit of a profile. Of the characters that its name may have, only `-` is escaped: it
    means a slash (systemd.unit(5))."""
    escaped = name.replace("-", r"\x2d")
    return f"{_PROFILES}{escaped}.path"


def after_run(paths: Paths, seconds: float) -> None:
    """The same after a run of TuneD that began so many `seconds` ago. What was written since, and
    may have been too early to be seen by the path units, is noticed."""
    watch(paths)
    if paths.root == Paths().root and settled.is_written_since(paths, seconds):
        try:
            systemd.queue("start", [systemd.NOTICE])
        except HostError as error:
            log.warning("%s", error)


def fetch(paths: Paths) -> None:
    """Has systemd pull the requested image with low priority after this run: its own pull was not
    complete in time, and would not be in the next boot either."""
    if paths.root != Paths().root:
        return
    try:
        systemd.queue("start", [systemd.IMAGE])
    except HostError as error:
        log.warning("the image is not pulled in the background: %s", error)


def units(paths: Paths) -> tuple[str, ...]:
    """The path units of the custom profiles, the requested one first. Raises `HostError`."""
    tree = inputs.tree(paths.profiles, paths.root)
    folders = [it.path.name for it in tree if it.is_folder and it.path.parent == paths.profiles]
    first = inputs.read_profile(paths)
    names = [
        unit(name)
        for name in sorted(folders, key=lambda name: (name != first, name))
        if inputs.is_profile_name(name) and len(unit(name)) <= _LONGEST
    ]
    if len(names) < len(folders) or len(names) > MOST:
        left = len(folders) - len(names[:MOST])
        log.warning("%d of %d custom profiles are not watched for changes", left, len(folders))
    return tuple(names[:MOST])
