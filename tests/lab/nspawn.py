"""systemd-nspawn as the lab uses it on a host whose PID 1 need not be systemd."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.lab import mounts
from tests.lab.cgroup import Cgroup

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
    # Whatever the host has: one hierarchy of version 2 inside.
    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
    # /proc/sys and /sys can be written, as on a node.
    "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1",
}

_OPTIONS = (
    "--quiet", "--settings=no", "--register=no", "--keep-unit",
    "--resolv-conf=off", "--timezone=off", "--link-journal=no",
    "--capability=all",
    # crun creates a session keyring.
    "--system-call-filter=@keyring",
)  # fmt: skip


def command(name: str, root: Path, *, network: str = "private") -> list[str]:
    """The start of a command line: a machine of this name, in the control group of that name.
    `network`: `private`, or `shared` with this machine."""
    cgroup = cgroup_of(name)
    cgroup.create()
    private = ["--private-network"] if network == "private" else []
    return [
        *cgroup.entering(), "systemd-nspawn", *_OPTIONS, *private,
        f"--machine={name}", f"--directory={root}",
    ]  # fmt: skip


class CommandFailed(RuntimeError):
    """A command in a machine that is not booted; with all that it said."""


def run(name: str, root: Path, *arguments: str, network: str = "private") -> None:
    """Runs a command in a machine that is not booted, and keeps nothing that it writes but what
    is bound (`--bind=`) from outside."""
    clear(name)
    start = command(name, root, network=network)
    try:
        done = subprocess.run(
            [*start, "--console=pipe", "--volatile=overlay", *arguments],
            env=ENVIRONMENT, check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    finally:
        clear(name)
    if done.returncode != 0:
        raise CommandFailed(f"{name}: status {done.returncode}\n{done.stdout}")


def cgroup_of(name: str) -> Cgroup:
    """Where all processes of a machine are, nspawn's own included."""
    return Cgroup(f"ocp-tuned-lab-{name}")


def clear(name: str) -> None:
    """Ends every process of a machine of this name, and removes what nspawn leaves on the host
    when it is killed, or when /run is no tmpfs."""
    cgroup = cgroup_of(name)
    cgroup.kill()
    cgroup.remove()
    shutil.rmtree(f"/run/systemd/nspawn/propagate/{name}", ignore_errors=True)
    # Mounted by systemd 254 and later.
    exported = Path("/run/systemd/nspawn/unix-export", name)
    if exported.is_mount():
        mounts.unmount(exported)
        exported.rmdir()
