"""A Debian machine on which nothing is installed yet, in namespaces of its own on this one.

    unshare --mount python3 -m tests.lab.bare SUITE COMMAND...

runs a command there, in a clone of the tree, of what is committed. The machine is in memory and
ends with the command, also when this process is killed. It shares the network, the devices and the
kernel with this machine, and of its files only the lab's cache, and pyenv's Pythons if there are
any: Debian has no package of some versions that the unit tests run on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.lab import cache, debian, mounts, network

TREE = Path(__file__).resolve().parents[2]

#: Where the tree is on it.
CLONE = "/root/ocp-tuned-boot"

# What the README takes for granted. Without the certificates git and pip have nobody to trust.
PACKAGES = ("ca-certificates", "git", "make")

# In namespaces that are this script's alone. By pivot_root, not by chroot: in a chroot the kernel
# refuses Podman and systemd-nspawn what they need. The shell stays, as the machine's PID 1.
_ENTER = """\
set -e
root=$1 cache=$2 pythons=$3 folder=$4
shift 4
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs -o mode=0755 tmpfs run
mkdir -p "./$cache"
mount --bind "$cache" "./$cache"
if [ -d "$pythons" ]; then
    mkdir -p "./$pythons"
    mount -o bind,ro "$pythons" "./$pythons"
fi
pivot_root . .
umount --lazy .
cd "$folder"
"$@"
exit
"""


def furnish(root: Path, suite: str, packages: Sequence[str] = PACKAGES) -> None:
    """Makes the root filesystem of such a machine of an empty folder, with a clone of the tree."""
    recipe = debian.Recipe(suite, "minbase", tuple(packages))
    archive = debian.cached(f"bare-{suite}", recipe, "tar")
    subprocess.run(["tar", "--extract", f"--file={archive}", f"--directory={root}"], check=True)
    for name in network.files():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path("/", name), root / name)
    for name, text in debian.apt_files(suite).items():
        (root / name).write_text(text)
    # No --local: the tree's owner may be another.
    subprocess.run(
        ["git", "clone", "--quiet", "--no-local", TREE, root / CLONE.lstrip("/")], check=True
    )


def command(root: Path, *argv: str, folder: str = CLONE) -> list[str]:
    """A command line that runs another one on the machine with this root."""
    pyenv = os.environ.get("PYENV_ROOT", "/root/.pyenv")
    variables = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "OCP_TUNED_LAB_CACHE": str(cache.directory()),
        # The Makefile's environment of the tests is not shared with this machine.
        "OCP_TUNED_LAB_MACHINE": "bare",
        "PYENV_ROOT": pyenv,
        **network.variables(),
    }
    return [
        *debian.ALONE, "sh", "-c", _ENTER, "sh", str(root), str(cache.directory()),
        f"{pyenv}/versions", folder,
        "env", "--ignore-environment", *(f"{name}={value}" for name, value in variables.items()),
        *argv,
    ]  # fmt: skip


def main(suite: str, *argv: str) -> int:
    with tempfile.TemporaryDirectory(dir=cache.directory()) as folder:
        root = Path(folder)
        mounts.tmpfs(root, "8g")
        try:
            furnish(root, suite)
            return subprocess.run(command(root, *argv), check=False).returncode
        finally:
            mounts.unmount(root)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
