"""The hand-over list: settings owned by CRI-O, irqbalance, the CNI or the administrator.

Once workloads run, a run of TuneD is guarded. In its container each file on the hand-over list
(boot.conf(5)) is covered by a copy (inside/cover.py). Whatever the profile requests, and whoever in
the container writes it, it is written to the copy: on the host the values of the owners are in
effect at all times, and remain. What a copy contains after the run is what TuneD would have set.

TuneD's irqbalance plugin also restarts irqbalance. With `contract = tuned`, a generated profile
that is merged over the requested one disables its section (tuned/profiles/merger.py: `enabled=`).
"""

from __future__ import annotations

import glob
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths, sysctl_file, sysctl_key
from ocp_tuned_boot.inside import cover
from ocp_tuned_boot.record.model import HandedOver
from ocp_tuned_boot.requested.config import Owners
from ocp_tuned_boot.settings import notation

log = logging.getLogger(__name__)

#: The generated profile that is merged over the requested one.
PROFILE = "ocp-tuned-boot-guard"
#: TuneD's irqbalance plugin, the usual name of its section, and the file that it writes.
IRQBALANCE = "irqbalance"
IRQBALANCE_FILE = "/etc/sysconfig/irqbalance"
_BANNED = re.compile(r"(?m)^\s*(IRQBALANCE_BANNED_\w+=.*)$")

# Some files change when another one is written: patterns for them, and the files that change them.
# `{}` is the group of the pattern. Sources: ip-sysctl in the kernel's networking documentation,
# net/ipv4/devinet.c, net/ipv6/addrconf.c.
_V4, _V6 = "/proc/sys/net/ipv4/", "/proc/sys/net/ipv6/conf/"
_FORWARDING = (f"{_V4}ip_forward", f"{_V4}conf/all/forwarding")
_CHANGED_BY: tuple[tuple[str, tuple[str, ...]], ...] = (
    (f"{_V4}ip_forward", _FORWARDING),
    (f"{_V4}conf/[^/]+/forwarding", _FORWARDING),
    (f"{_V4}conf/all/accept_redirects", _FORWARDING),
    (f"{_V4}conf/(?!all/)[^/]+/([^/]+)", (f"{_V4}conf/default/{{}}",)),
    (f"{_V6}[^/]+/(forwarding|disable_ipv6|ignore_routes_with_linkdown|addr_gen_mode)",
     (f"{_V6}all/{{}}",)),
    # sysctl/vm in the kernel's admin-guide: setting one of a pair sets the other to zero.
    ("/proc/sys/vm/dirty_(background_|)(?:bytes|ratio)",
     ("/proc/sys/vm/dirty_{}bytes", "/proc/sys/vm/dirty_{}ratio")),
    ("/proc/sys/vm/overcommit_(?:ratio|kbytes)",
     ("/proc/sys/vm/overcommit_ratio", "/proc/sys/vm/overcommit_kbytes")),
    # The same value as a list.
    ("/proc/irq/([^/]+)/smp_affinity", ("/proc/irq/{}/smp_affinity_list",)),
)  # fmt: skip

# The program that the container starts: cover.py, run by the interpreter in TuneD's first line,
# such as "#!/usr/bin/python3 -Es". Enterprise Linux 8 has none in /usr/bin.
_ENTER = """\
read -r first < /usr/sbin/tuned
exec ${first#??} "${0%/*}/cover.py" "$@"
"""


def prepare(paths: Paths) -> None:
    """Before the container of a guarded run is created: the folder that is mounted there, with the
    program that covers files (inside/cover.py). Raises `HostError`."""
    folder = paths.guard
    files.remove_tree(folder)
    files.directory(folder / "files", paths.root, 0o700)
    program = Path(cover.__file__)
    with files.explained("write", folder):
        (folder / "enter").write_text(_ENTER)
        (folder / "cover.py").write_bytes(program.read_bytes())


class Guard:
    """Guards one run of TuneD: `save` before TuneD runs, `collect` after the run, however it ended.

    `sections`: the plugin of each section of the profile; `complete`: these are all of them.
    """

    def __init__(
        self, paths: Paths, owners: Owners, sections: Mapping[str, str], *, complete: bool = True
    ) -> None:
        self._paths = paths
        #: The files on the hand-over list, and those with which the kernel changes one of them.
        self.owned = owned(paths, owners)
        self._listed = _listed(paths, owners)
        self._sections = sections
        self._complete = complete
        self._before: dict[str, bytes] = {}

    def profile(self) -> str:
        """The text of the generated profile; empty if there is nothing to leave out."""
        names = self._irqbalance()
        known = self._complete or IRQBALANCE in self._sections
        if not known and IRQBALANCE_FILE in self.owned:
            names.append(IRQBALANCE)
        lines = [f"[{name}]\ntype={IRQBALANCE}\nenabled=0\n" for name in names]
        head = "[main]\nsummary=Leaves irqbalance to its owner\n"
        return "".join([head, *lines]) if lines else ""

    def _irqbalance(self) -> list[str]:
        """The sections of the irqbalance plugin, if its file is on the list."""
        if IRQBALANCE_FILE not in self.owned:
            return []
        return [name for name, plugin in self._sections.items() if plugin == IRQBALANCE]

    def save(self) -> None:
        """Makes the copies. Called as late as possible: TuneD reads them, and their owners may
        change the files. Raises `HostError`."""
        root = self._paths.root
        # Imported here: `drift` needs the list, and no Podman.
        from ocp_tuned_boot.tuned import container  # noqa: PLC0415

        covered = [path for path in self.owned if container.can_write(path)]
        before = {path: _read(root, path) for path in covered}
        for path, data in before.items():
            copy = self._copy(path)
            with files.explained("write", copy):
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(data)
        self._before = before

    def collect(self) -> tuple[HandedOver, ...]:
        """What TuneD would have set, and what others have set since `save`. Removes the copies.

        A second call returns nothing. Raises `HostError`.
        """
        handed = []
        for path, saved in sorted(self._before.items()):
            contents = saved, self._written(path), _read(self._paths.root, path)
            before, tuned, now = (_text(path, each) for each in contents)
            key, shown = sysctl_key(path), _different_lines(before, tuned, now)
            if not notation.same(tuned, before, path):
                handed.append(HandedOver(key, "left-out", *shown))
            elif path == IRQBALANCE_FILE and self._irqbalance():
                banned = ["; ".join(_BANNED.findall(text)) for text in (before, now)]
                sections = ", ".join(f"[{name}]" for name in self._irqbalance())
                handed.append(HandedOver(key, "left-out", banned[0], sections, banned[1]))
            elif path in self._listed and not notation.equal(before, now, path):
                handed.append(HandedOver(key, "changed", shown[0], "", shown[2]))
        self._before = {}
        files.remove_tree(self._paths.guard)
        return tuple(handed)

    def _copy(self, path: str) -> Path:
        return self._paths.guard / "files" / path.lstrip("/")

    def _written(self, path: str) -> bytes:
        """What the copy contains; as before if TuneD has removed it."""
        try:
            return files.read(self._copy(path))
        except (FileNotFoundError, HostError) as error:
            log.warning("%s", error)
            return self._before[path]


def owned(paths: Paths, owners: Owners) -> frozenset[str]:
    """The files on the list that exist on this host, and those with which the kernel changes one of
    them."""
    listed = _listed(paths, owners)
    return frozenset(
        path
        for path in listed | {other for path in listed for other in _changed_by(path)}
        if os.path.normpath(path) == path and (paths.root / path.lstrip("/")).is_file()
    )


def _listed(paths: Paths, owners: Owners) -> set[str]:
    """The files on the list; some may not exist."""
    patterns = [*owners.files, *(sysctl_file(pattern) for pattern in owners.sysctls)]
    if owners.sysctl_d:
        patterns += [_sysctl_d_pattern(key) for path in paths.sysctl_files for key in _keys(path)]
    prefix = str(paths.root).rstrip("/")
    return {
        path[len(prefix) :]
        for pattern in patterns
        for path in glob.glob(f"{glob.escape(prefix)}{pattern}")
    }


def _sysctl_d_pattern(key: str) -> str:
    """The files that a key in sysctl.d sets, as systemd reads it (sysctl.d(5)): after `-` a failure
    does not matter, and if a slash comes first, dots are part of names."""
    key = key[1:].strip() if key.startswith("-") else key
    slash = re.match(r"[^./]*/", key)
    return f"/proc/sys/{key}" if slash else sysctl_file(key)


def _changed_by(path: str) -> Iterator[str]:
    """The files with which the kernel changes this one."""
    for pattern, others in _CHANGED_BY:
        if match := re.fullmatch(pattern, path):
            yield from (other.format(*match.groups()) for other in others)


def sysctl_d_file(paths: Paths, key: str) -> str:
    """The file of the host's sysctl.d that sets this sysctl, the last of several; empty if none
    does."""
    names = [
        str(path)
        for path in paths.sysctl_files
        if sysctl_file(key) in map(sysctl_file, _keys(path))
    ]
    return names[-1] if names else ""


def _keys(path: Path) -> Iterator[str]:
    """The key of each line in a file of sysctl.d that sets one."""
    yield from (key for _, key, _ in sysctl_d_lines(path))


def sysctl_d_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """Number, key and value of each line in a file of sysctl.d that sets one, as TuneD reads it
    (tuned/plugins/plugin_sysctl.py)."""
    try:
        text = files.read(files.resolved(path)).decode(errors="replace")
    except FileNotFoundError:
        return
    except HostError as error:
        log.warning("%s", error)
        return
    for number, line in enumerate(text.splitlines(), 1):
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith(("#", ";")) and "\0" not in key:
            yield number, key.strip(), value.strip()


def _text(path: str, content: bytes) -> str:
    """The value in a file of the kernel, or the whole text of another file."""
    if path.startswith(("/proc/", "/sys/")):
        return notation.parse(content, path)
    return content.decode(errors="backslashreplace").strip()


def _different_lines(*texts: str) -> list[str]:
    """For texts of several lines, the lines that are not in all of them."""
    if not any("\n" in text for text in texts):
        return list(texts)
    same = set.intersection(*(set(text.splitlines()) for text in texts))
    return ["; ".join(line for line in text.splitlines() if line not in same) for text in texts]


def _read(root: Path, path: str) -> bytes:
    """The content of a file on the list; empty if it cannot be read."""
    try:
        return files.read(files.resolved(root / path.lstrip("/")))
    except (FileNotFoundError, HostError) as error:
        log.debug("%s", error)
        return b""
