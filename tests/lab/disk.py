"""A disk that loses power: what the kernel had not written to it is lost."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from pathlib import Path

# EXT4_IOC_SHUTDOWN, and EXT4_GOING_FLAGS_NOLOGFLUSH (fs/ext4/ext4.h): from now on nothing is
# written, not even the journal.
_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = struct.pack("I", 2)


class Disk:
    """A file system (ext4) in a file, mounted at `point` while it has power."""

    def __init__(self, image: Path, point: Path, size: str) -> None:
        self._image = image
        self.point = point
        subprocess.run(["truncate", "--size", size, image], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=1", image], check=True)

    def mount(self) -> None:
        """Switches it on: the journal is replayed."""
        # A device of its own each time: mount(8) would take that of the mount before, which the
        # kernel may still know. It is detached at once, and so ends with the mount.
        found = subprocess.run(
            ["losetup", "--find", "--show", self._image], check=True, capture_output=True, text=True
        )
        device = found.stdout.strip()
        try:
            subprocess.run(["mount", device, self.point], check=True)
        finally:
            subprocess.run(["losetup", "--detach", device], check=True)

    def cut(self) -> None:
        """The power fails. Whoever writes gets EIO; `off` is next."""
        folder = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, _NO_LOG_FLUSH)
        finally:
            os.close(folder)

    def sync(self) -> None:
        """Returns when everything is written. An orderly end is `sync`, `cut` and `off`: other
        machines that started meanwhile may hold a copy of the mount, so an unmount alone neither
        writes everything nor keeps the kernel from writing later."""
        subprocess.run(["sync", "--file-system", self.point], check=True)

    def off(self) -> None:
        """Takes it off after `cut`, once nobody uses it. What it has at this moment is what is
        mounted next: a copy, since the kernel may still write to the one that was mounted."""
        subprocess.run(["umount", self.point], check=True)
        copy = self._image.with_name("copy")
        subprocess.run(["cp", "--sparse=always", self._image, copy], check=True)
        copy.replace(self._image)
