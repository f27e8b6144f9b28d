"""The root filesystem of a node, as it is before anything of ours is installed."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab import cache, debian

SUITES = ("trixie", "bookworm")
#: The release that comes next: Debian testing, by the name that it will have. It changes every day;
#: only the tests of versions use it (cells.py), and one boot (test_versions.py).
NEXT = "forky"
# Podman's next major release is not in it yet; what belongs together.
_EXPERIMENTAL = ("podman", "netavark", "golang-github-containers-common")

_PACKAGES = (
    # The system. procps and iproute2 for the tests' sake.
    "systemd", "systemd-sysv", "dbus", "udev", "kmod", "procps", "iproute2", "ca-certificates",
    # Containers.
    "podman", "crun", "conmon", "netavark", "nftables",
    # A registry and a proxy, for tests of pulling; started by those.
    "docker-registry", "tinyproxy-bin", "openssl",
    # What the product runs on, but for python3-podman.
    "python3", "python3-configobj", "python3-pystemd", "python3-requests", "python3-sdnotify",
    # What installs the product.
    "rpm",
)  # fmt: skip

_PODMAN_PY = "podman==5.4.0.1"  # where Debian has no python3-podman; it needs tomli only on 3.10
_DIST_PACKAGES = "usr/lib/python3/dist-packages"

#: What every node is configured with.
FILES = {
    # There are no cgroup controllers in here: no limit can be set.
    "etc/containers/containers.conf.d/lab.conf": (
        '[containers]\npids_limit = 0\n[network]\nnetwork_backend = "netavark"\n'
    ),
    # Without unqualified names nothing ever looks for a registry that is not there.
    # Of the registries on the node itself this one has no certificate.
    "etc/containers/registries.conf.d/lab.conf": (
        "unqualified-search-registries = []\n"
        '[[registry]]\nlocation = "localhost:5000"\ninsecure = true\n'
        '[[registry]]\nlocation = "registry.lab:5000"\ninsecure = true\n'
    ),
    # Nothing of the journal outlives a boot; every message of a flood is kept.
    "etc/systemd/journald.conf.d/lab.conf": (
        "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nRateLimitBurst=0\n"
    ),
    "etc/fstab": "",
    # A name that is not the loopback's: for that no program asks a proxy.
    "etc/hosts": "127.0.0.1 localhost\n192.0.2.10 registry.lab\n",
    # systemd fills it at every start of a machine; Node writes one of its own.
    "etc/machine-id": "",
}

_MASKED = (
    # The devices are the host kernel's: a coldplug in here would be one of the host.
    "systemd-udevd.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
    "systemd-udev-trigger.service",
    # Nobody logs in.
    "console-getty.service", "getty.target", "systemd-logind.service",
    "systemd-user-sessions.service",
    # Upkeep of machines that live longer than a test.
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "e2scrub_reap.service", "fstrim.timer", "systemd-tmpfiles-clean.timer",
    "podman-auto-update.timer", "podman-auto-update.service", "podman-restart.service",
    "podman-clean-transient.service",
    "netavark-dhcp-proxy.service", "netavark-dhcp-proxy.socket",
    # What belongs to hardware or to a disk.
    "systemd-firstboot.service", "systemd-hwdb-update.service", "systemd-machine-id-commit.service",
    "systemd-pcrphase.service", "systemd-random-seed.service", "systemd-remount-fs.service",
    "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
    "systemd-pstore.service", "dev-hugepages.mount", "dev-mqueue.mount",
    "sys-fs-fuse-connections.mount", "sys-kernel-config.mount", "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
)  # fmt: skip

# systemd-sysctl works as on any node, on files of the tests: Debian's own would set values of the
# host's kernel.
_NO_SYSCTL = 'rm -f "$1"/usr/lib/sysctl.d/*.conf "$1"/etc/sysctl.d/*.conf "$1"/etc/sysctl.conf'

_NO_DAEMON = 'systemctl --root="$1" --quiet disable tuned.service'

_HOOKS = (
    _NO_SYSCTL,
    # podman.service is started by its socket, as on a node.
    'systemctl --root="$1" --quiet disable podman.service docker-registry.service',
    'systemctl --root="$1" --quiet enable podman.socket',
    'systemctl --root="$1" --quiet set-default multi-user.target',
    # Where every node gets its own.
    'mkdir -p "$1"/var/lib/containers',
)


def base_root(suite: str, *, more: Sequence[str] = (), host_tuned: bool = False) -> Path:
    """A root filesystem to mount a node on. `more`: further packages; `host_tuned`: with Debian's
    TuneD, which is not started at boot. Never write to it."""
    recipe = debian.Recipe(suite, "minbase", (*_packages(suite), *more), _HOOKS)
    if host_tuned:
        recipe = debian.Recipe(suite, "minbase", (*recipe.packages, "tuned"), (*_HOOKS, _NO_DAEMON))
    ingredients = [dataclasses.asdict(recipe), FILES, _MASKED, wheels(suite)]

    def build(target: Path) -> None:
        debian.bootstrap(recipe, target, "directory")
        install_wheels(target, wheels(suite))
        configure(target, FILES, _MASKED)

    return cache.entry(f"root-{suite}", ingredients, build)


def next_podman_root() -> Path:
    """A root filesystem of the next release, with the Podman of Debian experimental. Never write to
    it."""
    suite = f"{NEXT}+experimental"
    packages = {*_packages(NEXT), *_EXPERIMENTAL}
    named = [f"{name}/experimental" if name in _EXPERIMENTAL else name for name in packages]
    recipe = debian.Recipe(suite, "minbase", tuple(sorted(named)), _HOOKS)
    ingredients = [dataclasses.asdict(recipe), FILES, _MASKED]

    def build(target: Path) -> None:
        debian.bootstrap(recipe, target, "directory")
        configure(target, FILES, _MASKED)

    return cache.entry("root-next-podman", ingredients, build)


def as_node(root: Path) -> None:
    """Configures a root filesystem that was not made here as the lab's nodes are."""
    subprocess.run(["sh", "-c", _NO_SYSCTL, "sh", root], check=True)
    configure(root, FILES, _MASKED)


def _packages(suite: str) -> tuple[str, ...]:
    return _PACKAGES if wheels(suite) else (*_PACKAGES, "python3-podman")


def wheels(suite: str) -> tuple[str, ...]:
    """What this suite has no package of."""
    return (_PODMAN_PY,) if suite == "bookworm" else ()


def install_wheels(root: Path, requirements: tuple[str, ...]) -> None:
    """Pure Python only: such a wheel is a zip file of what belongs into dist-packages."""
    for requirement in requirements:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                 "--only-binary=:all:", "--dest", folder, requirement],
                check=True,
            )  # fmt: skip
            (wheel,) = Path(folder).iterdir()
            shutil.unpack_archive(wheel, root / _DIST_PACKAGES, "zip")
        subprocess.run(
            ["chroot", root, "python3", "-m", "compileall", "-q", f"/{_DIST_PACKAGES}"],
            check=True,
        )


def configure(root: Path, files: Mapping[str, str], masked: Sequence[str]) -> None:
    """Writes the files, and masks the units."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for unit in masked:
        path = root / "etc/systemd/system" / unit
        path.unlink(missing_ok=True)
        path.symlink_to("/dev/null")
