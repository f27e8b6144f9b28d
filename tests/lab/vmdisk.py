"""The disk of a virtual machine that is a node: Debian with its own kernel, podman and TuneD's
image; and the initrd that brings it up."""

from __future__ import annotations

import dataclasses
import gzip
import lzma
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cache, debian, rootfs, tunedimage

_SUITE = "trixie"
_PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "udev", "kmod", "procps", "iproute2", "ca-certificates",
    "podman", "crun", "conmon", "netavark", "nftables",
    "python3", "python3-configobj", "python3-pystemd", "python3-requests", "python3-sdnotify",
    "python3-podman",
    "linux-image-cloud-amd64", "busybox-static", "openssh-server",
)  # fmt: skip
# What reads the disk has to be loaded before there is one; ext4 is built into the kernel.
_MODULES = ("virtio_pci", "virtio_blk")
_NODE_FILES = Path(__file__).with_name("node-files")
_SIZE = "4G"

_FILES = {
    **rootfs.FILES,
    "etc/systemd/network/eth0.network": (
        "[Match]\nName=eth0\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n"
    ),
    "etc/ssh/sshd_config.d/lab.conf": "UsePAM no\nPermitRootLogin prohibit-password\n",
    # The journal of a boot that was cut off is there to be read.
    "etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=persistent\nSyncIntervalSec=1s\n",
    "etc/hostname": "lab\n",
}  # fmt: skip
_MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "e2scrub_reap.service", "fstrim.timer", "podman-auto-update.timer",
    "podman-auto-update.service", "podman-restart.service", "podman-clean-transient.service",
    "netavark-dhcp-proxy.service", "netavark-dhcp-proxy.socket", "getty.target",
    "systemd-networkd-wait-online.service", "systemd-pcrphase.service", "serial-getty@.service",
)  # fmt: skip
_HOOKS = (
    'rm -f "$1"/usr/lib/sysctl.d/*.conf "$1"/etc/sysctl.d/*.conf "$1"/etc/sysctl.conf',
    'systemctl --root="$1" --quiet disable podman.service',
    'systemctl --root="$1" --quiet enable podman.socket systemd-networkd.service ssh.service',
    'systemctl --root="$1" --quiet set-default multi-user.target',
)

# The product comes on a disk of its own, so that the big one is the same for every commit.
_INIT = """\
#!/bin/busybox sh
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t devtmpfs none /dev
for module in /modules/*; do /bin/busybox insmod $module; done
until [ -b /dev/vdb ]; do /bin/busybox sleep 0.05; done
/bin/busybox mount -t ext4 /dev/vda /root
if ! [ -e /root/etc/lab/installed ]; then
    /bin/busybox mount -t ext4 -o ro /dev/vdb /product
    /bin/busybox cp -a /product/. /root/
    /bin/busybox mkdir -p /root/etc/lab
    /bin/busybox touch /root/etc/lab/installed
    /bin/busybox umount /product
fi
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /sbin/init
"""


@dataclass(frozen=True)
class Disk:
    """What a machine is started from. Never write to any of it: `image` is a raw disk."""

    image: Path
    kernel: Path
    initrd: Path
    key: Path


def disk() -> Disk:
    """From the cache, or made now (some minutes)."""
    recipe = debian.Recipe(_SUITE, "minbase", _PACKAGES, _HOOKS)
    store = tunedimage.image_store(_SUITE, _SUITE)
    files = [
        (str(file.relative_to(_NODE_FILES)), file.read_text())
        for file in sorted(_NODE_FILES.rglob("*"))
        if file.is_file()
    ]
    ingredients = [dataclasses.asdict(recipe), _FILES, _MASKED, _INIT, _SIZE, store.name, files]
    folder = cache.entry("vm", ingredients, lambda target: _build(recipe, store, target))
    return Disk(folder / "disk.raw", folder / "vmlinuz", folder / "initrd", folder / "key")


def _build(recipe: debian.Recipe, store: Path, target: Path) -> None:
    target.mkdir()
    # On the same disk as the cache: it is too big for a temporary folder in memory.
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        root = Path(temporary, "root")
        debian.bootstrap(recipe, root, "directory")
        rootfs.configure(root, _FILES, _MASKED)
        shutil.copytree(_NODE_FILES, root, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(root / "var/lib/containers", ignore_errors=True)
        subprocess.run(["cp", "-a", store, root / "var/lib/containers"], check=True)
        _key(root, target / "key")
        (kernel,) = root.glob("boot/vmlinuz-*")
        shutil.copy(kernel, target / "vmlinuz")
        _initrd(root, Path(temporary, "initrd"), target / "initrd")
        _ext4(root, target / "disk.raw", _SIZE)


def _key(root: Path, key: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    folder = root / "root/.ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(f"{key}.pub", folder / "authorized_keys")


def _initrd(root: Path, tree: Path, target: Path) -> None:
    for name in ("bin", "proc", "dev", "root", "product", "modules"):
        (tree / name).mkdir(parents=True)
    shutil.copy(root / "usr/bin/busybox", tree / "bin/busybox")
    (tree / "init").write_text(_INIT)
    (tree / "init").chmod(0o755)
    (version,) = (path.name for path in (root / "usr/lib/modules").iterdir())
    shown = subprocess.run(
        ["chroot", root, "modprobe", "--show-depends", "-a", "-S", version, *_MODULES],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    paths = [line.split()[1] for line in shown.stdout.splitlines() if line.startswith("insmod")]
    for number, path in enumerate(dict.fromkeys(paths)):
        source = root / path.lstrip("/")
        data = source.read_bytes()
        if source.suffix == ".xz":  # which busybox cannot load
            data = lzma.decompress(data)
        (tree / "modules" / f"{number:02}.ko").write_bytes(data)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    packed = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"], cwd=tree, check=True, input=names.encode(),
        stdout=subprocess.PIPE,
    )  # fmt: skip
    target.write_bytes(gzip.compress(packed.stdout))


def product_disk(layer: Path, target: Path) -> None:
    """What the product's package installs, as a disk."""
    _ext4(layer, target, "64M")


def _ext4(tree: Path, target: Path, size: str) -> None:
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, target, size], check=True)
