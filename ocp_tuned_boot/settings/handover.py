"""The hand-over list: settings owned by CRI-O, irqbalance, the CNI or the administrator.

Once workloads run, a run of TuneD is guarded. The settings on the hand-over list (boot.conf(5)) are
left out of it: a generated profile that drops them is merged over the requested one, as TuneD
merges profiles (tuned/profiles/merger.py: `drop=`, `enabled=`). If TuneD changes one of them
anyway, it is put back as soon as TuneD exits.
"""

from __future__ import annotations

import glob
import logging
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ocp_tuned_boot.errors import HostError, NewerVersion
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths, sysctl_file, sysctl_key
from ocp_tuned_boot.host.typedjson import Format
from ocp_tuned_boot.record.model import HandedOver
from ocp_tuned_boot.requested.config import Owners
from ocp_tuned_boot.settings import values

if TYPE_CHECKING:
    from ocp_tuned_boot.tuned.profiles import Setting

log = logging.getLogger(__name__)

#: The generated profile that is merged over the requested one.
PROFILE = "ocp-tuned-boot-guard"
#: The file of TuneD's irqbalance plugin, which also restarts irqbalance.
IRQBALANCE = "/etc/sysconfig/irqbalance"
_BANNED = re.compile(r"(?m)^\s*(IRQBALANCE_BANNED_\w+=.*)$")
#: The affinities of 5000 interrupts on 768 CPUs are 1.25 MB.
FORMAT = Format(1, 8 * 1024 * 1024)

# Plugins that move interrupts (tuned/plugins/plugin_scheduler.py, plugin_irq.py). A script may.
_IRQ_PLUGINS = {"scheduler", "irq", "script"}

# When one of these files is written, the kernel also changes all files that begin with the text
# beside it.
_V4, _V6 = "/proc/sys/net/ipv4/", "/proc/sys/net/ipv6/conf/"
_PROPAGATED = {
    f"{_V4}ip_forward": f"{_V4}conf/",
    f"{_V4}conf/all/forwarding": _V4,
    f"{_V6}all/forwarding": _V6,
}

# TuneD splits drop= at commas that follow a word (tuned/profiles/unit.py).
_DROPPABLE = re.compile(r"[^,;]*\w\Z")


class Guard:
    """Guards one run of TuneD: `save` before it, `put_back` after it, however it exits.

    `requested`: the settings of the profile; `sections`: the plugin of each of its sections;
    `obedient`: TuneD reads the generated profile (it does not with `contract = operand`).
    """

    def __init__(
        self, paths: Paths, owners: Owners, requested: Iterable[Setting],
        sections: Mapping[str, str], *, obedient: bool,
    ) -> None:  # fmt: skip
        self._paths = paths
        #: The files on the hand-over list.
        self.owned = owned(paths, owners)
        self._before: dict[str, str] = {}
        self._sections = sections
        self._obedient = obedient
        self._left_out = [each for each in requested if obedient and self._covered(each)]
        # The value that TuneD writes to each file, as far as it is known.
        self._wanted = {} if obedient or not owners.sysctl_d else _host_sysctls(paths)
        for each in requested:
            for path in self._files(each):
                self._wanted[path] = values.targets(paths.root, each)[1]

    def profile(self) -> str:
        """The text of the generated profile; empty if there is nothing to leave out."""
        dropped: dict[tuple[str, str], list[str]] = {}
        for each in self._left_out:
            dropped.setdefault((each.section, each.plugin), []).append(each.key)
        lines = []
        for (section, plugin), keys in dropped.items():
            lines += [f"[{section}]", f"type={plugin}", f"drop={','.join(keys)}"]
        for section in self._irqbalance():
            lines += [f"[{section}]", "type=irqbalance", "enabled=0"]
        head = ["[main]", "summary=Leaves out the settings on the hand-over list"]
        return "\n".join([*head, *lines]) + "\n" if lines else ""

    def save(self, boot_id: str) -> None:
        """Records the current values, to put them back later. Called as late as possible, because
        their owners may change them. Raises `HostError`."""
        self._before = {path: _read(self._paths.root, path) for path in self.owned}
        content = {"boot_id": boot_id, "before": self._before, "wanted": self._wanted}
        FORMAT.write(self._paths.handover, content, 0o600, cut="before")

    def put_back(self) -> tuple[HandedOver, ...]:
        """Puts back the values that TuneD has changed. Returns these, and those left out.

        A second call does nothing. Raises `HostError`.
        """
        root = self._paths.root
        if not self._paths.handover.exists():
            return ()
        now = {path: _read(root, path) for path in self._before}
        changed = {path: old for path, old in self._before.items() if now[path] != old}
        named = {path for path in changed if self._made(path, now[path])}
        tuned = {
            path: old
            for path, old in changed.items()
            if path in named or self._indirectly(path, named)
        }
        handed = _restore(root, now, tuned)
        for path in sorted({path for each in self._left_out for path in self._files(each)}):
            if not values.same(self._wanted[path], now[path]):
                key = sysctl_key(path)
                handed.append(HandedOver(key, "left-out", now[path], self._wanted[path], now[path]))
        if self._irqbalance():
            banned = "; ".join(_BANNED.findall(now[IRQBALANCE]))
            handed.append(HandedOver(IRQBALANCE, "left-out", banned, "[irqbalance]", banned))
        with files.explained("remove", self._paths.handover):
            self._paths.handover.unlink(missing_ok=True)
        return tuple(handed)

    def _made(self, path: str, now: str) -> bool:
        """Whether TuneD wrote this value, and not its owner."""
        return path in self._wanted and values.same(self._wanted[path], now)

    def _indirectly(self, path: str, made: Collection[str]) -> bool:
        """Whether TuneD may have changed a file that the profile does not name; `made`: those that
        it has written."""
        plugins = set(self._sections.values())
        if path in self._wanted:
            return False
        if path.startswith("/proc/irq/"):
            return bool(plugins & _IRQ_PLUGINS)
        # A script may change anything, and so may a TuneD that does not read our profile.
        return "script" in plugins or not self._obedient or _follows(path, made)

    def _irqbalance(self) -> list[str]:
        """The irqbalance sections, which are left out completely: their plugin also restarts
        irqbalance."""
        if not self._obedient or IRQBALANCE not in self.owned:
            return []
        return [name for name, plugin in self._sections.items() if plugin == "irqbalance"]

    def _files(self, setting: Setting) -> list[str]:
        found = values.targets(self._paths.root, setting)[0]
        return [path for path in found if path in self.owned]

    def _covered(self, setting: Setting) -> bool:
        """Whether all files of this setting are on the list, and `drop=` can name it."""
        found = values.targets(self._paths.root, setting)[0]
        return bool(found and _DROPPABLE.match(setting.key) and self.owned.issuperset(found))


def owned(paths: Paths, owners: Owners) -> frozenset[str]:
    """The files on the list that exist on this host."""
    patterns = [*owners.files, *(sysctl_file(pattern) for pattern in owners.sysctls)]
    prefix = str(paths.root).rstrip("/")
    found = {
        path[len(prefix) :]
        for pattern in patterns
        for path in glob.glob(f"{glob.escape(prefix)}{pattern}")
    }
    if owners.sysctl_d:
        found |= set(_host_sysctls(paths))
    return frozenset(path for path in found if (paths.root / path.lstrip("/")).is_file())


def _host_sysctls(paths: Paths) -> dict[str, str]:
    """The sysctls that the host's sysctl.d sets. TuneD applies them again after its own
    (`reapply_sysctl`)."""
    return {sysctl_file(key): value for path in paths.sysctl_files for key, value in _lines(path)}


def sysctl_d_file(paths: Paths, key: str) -> str:
    """The file of the host's sysctl.d that sets this sysctl, the last of several; empty if none
    does."""
    names = [
        str(path)
        for path in paths.sysctl_files
        if sysctl_file(key) in (sysctl_file(each) for each, _ in _lines(path))
    ]
    return names[-1] if names else ""


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Key and value of each line in a file of sysctl.d, as TuneD reads it
    (tuned/plugins/plugin_sysctl.py)."""
    try:
        text = files.read(files.resolved(path)).decode(errors="replace")
    except FileNotFoundError:
        return
    except HostError as error:
        log.warning("%s", error)
        return
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith(("#", ";")) and "\0" not in key:
            yield key.strip(), value.strip()


def recover(paths: Paths, boot_id: str) -> tuple[HandedOver, ...]:
    """Puts back the values that a killed run has left changed. Raises `HostError`, `NewerVersion`.

    Some time has passed since. Only a setting that still has the value of the profile is put back,
    with those that the kernel changed together with it. Others may have been set by their owners.
    """
    try:
        content = FORMAT.read(paths.handover)
        before = {str(path): str(value) for path, value in content["before"].items()}
        wanted = {str(path): str(value) for path, value in content["wanted"].items()}
        sound = content["boot_id"] == boot_id
    except FileNotFoundError:
        return ()
    except NewerVersion:
        raise
    except (HostError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: found no values to put back, expected them: %s", paths.handover, error)
        sound, before, wanted = False, {}, {}
    now = {path: _read(paths.root, path) for path in before}
    made = {
        path
        for path, value in wanted.items()
        if sound and path in before and values.same(value, now[path])
    }
    ours = {path: old for path, old in before.items() if path in made or _follows(path, made)}
    handed = _restore(paths.root, now, ours)
    files.remove_tree(paths.handover)
    return tuple(handed)


def _follows(path: str, made: Collection[str]) -> bool:
    """Whether the kernel changes this file when one of `made` is written (ip-sysctl in the kernel's
    networking documentation: ip_forward is conf/all/forwarding, and changes every interface)."""
    return any(path.startswith(_PROPAGATED.get(each, "//")) for each in made)


def _restore(root: Path, now: Mapping[str, str], before: Mapping[str, str]) -> list[HandedOver]:
    """Writes the values `before`, and keeps all others as they are `now`."""
    target = {**now, **before}
    # Files that change others come first, then those that they have changed.
    order = sorted(target, key=lambda path: ("/conf/" in path, "/conf/all/" not in path, path))
    for path in order if before else ():
        if _read(root, path) != target[path]:
            _write(root, path, target[path])
    handed = []
    for path in sorted(path for path in before if before[path] != now[path]):
        after = _read(root, path)
        how = "put-back" if after == before[path] else "lost"
        texts = _different_lines(before[path], now[path], after)
        handed.append(HandedOver(sysctl_key(path), how, *texts))
    return handed


def _different_lines(*texts: str) -> list[str]:
    """For texts of several lines, the lines that are not in all of them."""
    if not any("\n" in text for text in texts):
        return list(texts)
    same = set.intersection(*(set(text.splitlines()) for text in texts))
    return ["; ".join(line for line in text.splitlines() if line not in same) for text in texts]


def _read(root: Path, path: str) -> str:
    """The value in a file of the kernel, or the whole text of another file."""
    if path.startswith(("/proc/", "/sys/")):
        return values.read(root, path)
    try:
        return files.read(root / path.lstrip("/")).decode(errors="surrogateescape")
    except (FileNotFoundError, HostError) as error:
        log.warning("%s", error)
        return ""


def _write(root: Path, path: str, text: str) -> None:
    if path.startswith(("/proc/", "/sys/")):
        values.write(root, path, text)
        return
    target = root / path.lstrip("/")
    try:
        mode = stat.S_IMODE(target.stat().st_mode)
        files.write(target, text.encode(errors="surrogateescape"), mode)
    except (OSError, HostError) as error:
        log.warning("cannot put back %s: %s", target, error)
