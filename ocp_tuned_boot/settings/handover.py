"""Who tunes after us keeps what is theirs: CRI-O, irqbalance, the CNI, an admin.

Once workloads run, a run of TuneD is guarded. What is on the hand-over list (boot.conf(5)) is left
out of it, by a profile of ours that is laid over the one asked for, as TuneD merges profiles
(tuned/profiles/merger.py: `drop=`, `enabled=`). What TuneD changes all the same is put back as
soon as it has ended.
"""

from __future__ import annotations

import glob
import json
import logging
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths, sysctl_file, sysctl_key
from ocp_tuned_boot.host.typedjson import from_json
from ocp_tuned_boot.record.model import HandedOver
from ocp_tuned_boot.requested.config import Owners
from ocp_tuned_boot.settings import values

if TYPE_CHECKING:
    from ocp_tuned_boot.tuned.profiles import Setting

log = logging.getLogger(__name__)

#: The profile that is laid over the one asked for.
PROFILE = "ocp-tuned-boot-guard"
#: The file of TuneD's irqbalance plugin, which also restarts irqbalance.
IRQBALANCE = "/etc/sysconfig/irqbalance"
_BANNED = re.compile(r"(?m)^\s*(IRQBALANCE_BANNED_\w+=.*)$")
VERSION = 1

# Plugins that move interrupts (tuned/plugins/plugin_scheduler.py, plugin_irq.py), and one that may.
_IRQ_PLUGINS = {"scheduler", "irq", "script"}

# What the kernel hands on to all files that begin so.
_V4, _V6 = "/proc/sys/net/ipv4/", "/proc/sys/net/ipv6/conf/"
_HANDED_ON = {
    f"{_V4}ip_forward": f"{_V4}conf/",
    f"{_V4}conf/all/forwarding": _V4,
    f"{_V6}all/forwarding": _V6,
}

# TuneD splits drop= at commas that follow a word (tuned/profiles/unit.py).
_DROPPABLE = re.compile(r"[^,;]*\w\Z")


class Guard:
    """Of one run. `save` before TuneD, `put_back` after it, whatever has become of it.

    `asked` are the settings of the profile, `sections` the plugin of each of its sections;
    `obedient`: TuneD is told what to leave out (it is not under `contract = operand`).
    """

    def __init__(
        self, paths: Paths, owners: Owners, asked: Iterable[Setting],
        sections: Mapping[str, str], *, obedient: bool,
    ) -> None:  # fmt: skip
        self._paths = paths
        #: Every file that somebody else owns.
        self.owned = owned(paths, owners)
        self._before: dict[str, str] = {}
        self._sections = sections
        self._obedient = obedient
        self._left_out = [each for each in asked if obedient and self._covered(each)]
        # What TuneD makes of a file, as far as it is known.
        self._wanted = {} if obedient or not owners.sysctl_d else _host_sysctls(paths)
        for each in asked:
            for path in self._files(each):
                self._wanted[path] = values.targets(paths.root, each)[1]

    def profile(self) -> str:
        """The text of the profile that leaves out what can be; empty if there is nothing."""
        dropped: dict[tuple[str, str], list[str]] = {}
        for each in self._left_out:
            dropped.setdefault((each.section, each.plugin), []).append(each.key)
        lines = []
        for (section, plugin), keys in dropped.items():
            lines += [f"[{section}]", f"type={plugin}", f"drop={','.join(keys)}"]
        for section in self._irqbalance():
            lines += [f"[{section}]", "type=irqbalance", "enabled=0"]
        head = ["[main]", "summary=Leaves out what others own by now"]
        return "\n".join([*head, *lines]) + "\n" if lines else ""

    def save(self, boot_id: str) -> None:
        """Reads what may have to be put back, and puts it on disk; as late as can be, for its
        owners go on tuning. Raises `HostError`."""
        self._before = {path: _read(self._paths.root, path) for path in self.owned}
        content = {
            "version": VERSION, "boot_id": boot_id,
            "before": self._before, "wanted": self._wanted,
        }  # fmt: skip
        files.write(self._paths.handover, json.dumps(content).encode(), 0o600)

    def put_back(self) -> tuple[HandedOver, ...]:
        """What TuneD has changed, as it was before; and what there is to tell of the list.

        Once: the second time there is nothing to do. Raises `HostError`.
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
            if path in named or self._by_the_way(path, named)
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
        """Whether this is what TuneD makes of it, and not what its owner has just set."""
        return path in self._wanted and values.same(self._wanted[path], now)

    def _by_the_way(self, path: str, made: Collection[str]) -> bool:
        """Whether TuneD may have changed what the profile does not name; `made` it has."""
        plugins = set(self._sections.values())
        if path in self._wanted:
            return False
        if path.startswith("/proc/irq/"):
            return bool(plugins & _IRQ_PLUGINS)
        # A script may do anything, and so may a TuneD that was not told what to leave out.
        return "script" in plugins or not self._obedient or _follows(path, made)

    def _irqbalance(self) -> list[str]:
        """The sections that are left out whole: their plugin restarts irqbalance, too."""
        if not self._obedient or IRQBALANCE not in self.owned:
            return []
        return [name for name, plugin in self._sections.items() if plugin == "irqbalance"]

    def _files(self, setting: Setting) -> list[str]:
        found = values.targets(self._paths.root, setting)[0]
        return [path for path in found if path in self.owned]

    def _covered(self, setting: Setting) -> bool:
        """Whether all that this setting is about is owned, and TuneD lets it be left out."""
        found = values.targets(self._paths.root, setting)[0]
        return bool(found and _DROPPABLE.match(setting.key) and self.owned.issuperset(found))


def owned(paths: Paths, owners: Owners) -> frozenset[str]:
    """The files on the list that this host has."""
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
    """What the host's sysctl.d sets, which TuneD sets again after its own (`reapply_sysctl`)."""
    return {sysctl_file(key): value for path in paths.sysctl_files for key, value in _lines(path)}


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
    """Finishes what a killed run has left undone. Raises `HostError`.

    Time has gone by: only what still has the very value that the profile wanted is put back, and
    what the kernel changed with it; all else may be its owner's by now.
    """
    try:
        content = from_json(files.read(paths.handover))
        before = {str(path): str(value) for path, value in content["before"].items()}
        wanted = {str(path): str(value) for path, value in content["wanted"].items()}
        sound = content["boot_id"] == boot_id
        if sound and content["version"] != VERSION:
            raise ValueError(f"found version {content['version']}, expected {VERSION}")
    except FileNotFoundError:
        return ()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: found nothing to put back, expected it: %s", paths.handover, error)
        sound, before, wanted = False, {}, {}
    now = {path: _read(paths.root, path) for path in before}
    made = {
        path
        for path, value in wanted.items()
        if sound and path in before and values.same(value, now[path])
    }
    ours = {path: old for path, old in before.items() if path in made or _follows(path, made)}
    handed = _restore(paths.root, now, ours)
    with files.explained("remove", paths.handover):
        paths.handover.unlink(missing_ok=True)
    return tuple(handed)


def _follows(path: str, made: Collection[str]) -> bool:
    """Whether the kernel has changed this file with one of those (ip-sysctl in its documentation
    of networking: ip_forward is conf/all/forwarding, and is handed on to every interface)."""
    return any(path.startswith(_HANDED_ON.get(each, "//")) for each in made)


def _restore(root: Path, now: Mapping[str, str], before: Mapping[str, str]) -> list[HandedOver]:
    """Writes the values `before`, and lets all others stay as they are `now`."""
    target = {**now, **before}
    # What is handed on comes first, and then what that has changed.
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
    """Of files with many lines those that are not the same in all of them."""
    if not any("\n" in text for text in texts):
        return list(texts)
    same = set.intersection(*(set(text.splitlines()) for text in texts))
    return ["; ".join(line for line in text.splitlines() if line not in same) for text in texts]


def _read(root: Path, path: str) -> str:
    """A kernel's file by its value, another one whole."""
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
