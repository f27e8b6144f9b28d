"""Which run of user space this is.

A soft-reboot starts user space again under the same kernel, and so does the way back from
emergency.target: the boot ID stays the same, but systemd-sysctl and udev set their values again,
and the kubelet is started again. systemd-tmpfiles counts this in a file in /run
(packaging/tmpfiles.conf), whose size is read in no time. To ask systemd (`SoftRebootsCount`) takes
as long as a whole run that keeps everything, and it does not count emergency.target.
"""

from __future__ import annotations

from contextlib import suppress

from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths


def count_restarts(paths: Paths) -> None:
    """From now on, systemd-tmpfiles counts: it appends only to a file that exists. Raises
    `HostError`."""
    if not paths.restarts.exists():
        files.write(paths.restarts, b"", durable=False)


def named(kernel_boot_id: str, paths: Paths) -> str:
    """The name of this run of user space: the kernel's boot ID, with `+` and a number if user space
    was started again since the first run of this program. Raises `HostError`."""
    count = 0
    with files.explained("read", paths.restarts), suppress(FileNotFoundError):
        count = paths.restarts.stat().st_size
    return f"{kernel_boot_id}+{count}" if count else kernel_boot_id


def kernel_of(boot_id: str) -> str:
    """The kernel's boot ID in the name of a run of user space."""
    return boot_id.partition("+")[0]
