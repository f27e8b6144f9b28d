"""In the container, before TuneD only says something: nothing that is mounted can be written.

Podman's read-only mounts do not do: a container that is privileged, as the one that applies the
profile is, has the host's settings in its own /proc, and what is mounted below /sys stays writable.
"""

import ctypes
import os
import re

from ocp_tuned_boot.inside.cover import BIND, RDONLY, REMOUNT, mount

# linux/sched.h
_NEWNS = 0x20000
# Flags of a mount (linux/mount.h), by their names in proc(5). Those that it has are kept.
_FLAGS = {
    "nosuid": 2,
    "nodev": 4,
    "noexec": 8,
    "noatime": 1024,
    "nodiratime": 2048,
    "relatime": 1 << 21,
}


def everything() -> "None":
    """Makes all mounts read-only, for this process and what it starts: it gets a mount namespace of
    its own, wherever it runs. Raises `OSError`, also if one stays writable."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEWNS) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "mount namespace")
    for target, flags in _mounts():
        try:
            mount("", target, REMOUNT | BIND | RDONLY | flags)
        except (FileNotFoundError, NotADirectoryError):
            # Hidden by another mount.
            continue
        if not os.statvfs(target).f_flag & os.ST_RDONLY:
            raise OSError(0, "it stays writable", target)


def _mounts() -> "list[tuple[str, int]]":
    """Mount point and flags of each mount."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            fields = line.split(" ")
            # A space, tab, newline or backslash in a path.
            target = re.sub(r"\\([0-7]{3})", lambda it: chr(int(it.group(1), 8)), fields[4])
            names = fields[5].split(",")
            found.append((target, sum(_FLAGS.get(name, 0) for name in names)))
    return found
