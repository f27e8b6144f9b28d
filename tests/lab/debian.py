"""Root filesystems made of Debian packages, by mmdebstrap."""

from __future__ import annotations

import dataclasses
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab import aptsources, cache
from tests.lab.activity import activity

# Nobody reads manuals or another language in a lab.
_LEFT_OUT = ("doc", "info", "locale", "lintian", "man", "bug")

# What names the mirror or the day of the build.
_TRACES = (
    "etc/apt/sources.list", "etc/apt/sources.list.d/*", "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/resolv.conf", "etc/hostname", "var/lib/apt/lists/*", "var/cache/*", "var/log/*",
)  # fmt: skip

#: The start of a command line for what mounts. In namespaces of its own those mounts, and its
#: processes, end with it, also when this process is killed.
ALONE = (
    "setpriv", "--pdeathsig", "KILL",
    "unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """All that decides what a root filesystem holds. `suite`: see `aptsources.for_suite`."""

    suite: str
    variant: str
    packages: tuple[str, ...]
    #: Shell commands, run at the end with the root's path as $1.
    hooks: tuple[str, ...] = ()


def bootstrap(recipe: Recipe, target: Path, form: str) -> None:
    """Makes the root: `form` is `directory` or `tar`."""
    hooks = [*recipe.hooks, *(f'rm -rf "$1"/{trace}' for trace in _TRACES)]
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder, "sources")
        sources.write_text(aptsources.for_suite(recipe.suite))
        command = [
            *ALONE, "mmdebstrap", "--quiet", "--mode=root",
            f"--format={form}", f"--variant={recipe.variant}",
            f"--include={','.join(recipe.packages)}",
            '--aptopt=Apt::Install-Recommends "false"',
            *(f"--aptopt={line}" for line in date_checks()),
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT),
            *(f"--customize-hook={hook}" for hook in hooks),
            recipe.suite.partition("+")[0], str(target), str(sources),
        ]  # fmt: skip
        count = len(recipe.packages)
        with activity(f"Building a root filesystem of Debian {recipe.suite} ({count} packages)"):
            subprocess.run(command, check=True)


def cached(name: str, recipe: Recipe, form: str = "directory") -> Path:
    """The root of this recipe alone, made once. Never write to it."""
    return cache.entry(
        name, dataclasses.asdict(recipe), lambda target: bootstrap(recipe, target, form)
    )


def apt_files(suite: str) -> dict[str, str]:
    """What apt of this suite needs to reach the archive as this machine does: text by path."""
    sources = aptsources.for_suite(suite)
    form = "sources" if sources.startswith("Types:") else "list"
    return {
        f"etc/apt/sources.list.d/debian.{form}": sources,
        "etc/apt/apt.conf.d/90dates": "\n".join([*date_checks(), ""]),
    }


def inside(root: Path, folder: str = "/") -> list[str]:
    """The start of a command line for a program in a root, in a folder of it, that ends with all it
    has started. It has /proc and /sys, as on a machine."""
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--root={root}",
            f"--wd={folder}", "--mount-proc",
            "sh", "-c", 'mount -t sysfs sysfs /sys && exec "$@"', "sh"]  # fmt: skip


def date_checks() -> list[str]:
    """How this machine's apt checks the archive's dates: its mirror may be a frozen one."""
    dump = subprocess.run(["apt-config", "dump"], check=True, stdout=subprocess.PIPE, text=True)
    return [
        line
        for line in dump.stdout.splitlines()
        if line.startswith(("Acquire::Check-Valid-Until ", "Acquire::Check-Date "))
    ]
