"""The settings of the plugins whose values this program does not read: cpu, disk, net and others.

What an earlier profile of this boot has set, and the applied one does not, is restored by TuneD's
plugins (inside/undo.py), or named. Nothing here touches the host.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ocp_tuned_boot.inside.section import NO_OPTION, NO_PLUGIN, is_parameter
from ocp_tuned_boot.record.model import Residue
from ocp_tuned_boot.settings.handover import IRQBALANCE, IRQBALANCE_FILE
from ocp_tuned_boot.settings.residue import ALL, Other

if TYPE_CHECKING:
    from ocp_tuned_boot.tuned.asked import Asked, Comparison, Original, Restored, Section

log = logging.getLogger(__name__)

#: The space for the settings that are remembered (bytes).
ROOM = 1024 * 1024
#: Plugins that set nothing in this boot (bootloader), or a file descriptor (settings/holds.py).
_ELSEWHERE = ("bootloader", "rtentsk", "sysctl", "sysfs", "vm")
_SCRIPTS = ("script", "script_pre", "script_post")
#: Options of net that are lists of parameters, each with a value.
_LISTS = ("features", "coalesce", "pause", "ring", "channels")
#: Files that plugins write, and that remain when the kernel is started again.
_FILES = {
    "irqbalance": IRQBALANCE_FILE,
    "modules": "/etc/modprobe.d/tuned.conf",
    # The first one until TuneD 2.27, with the administrator's own lines.
    "systemd": "/etc/systemd/system.conf or system.conf.d/00-tuned.conf",
}
_SHOWN = 3

# One device of an option, and what it has: `applied` and `first`.
_Key = tuple[str, str, str]
_Known = dict[_Key, tuple[str, "str | None"]]


def of_profile(
    meaning: Asked, rows: Iterable[Comparison], originals: Iterable[Original]
) -> tuple[Other, ...]:
    """What TuneD has set. `rows`: its comparisons; `originals`: the values that it remembers. An
    option that this machine does not have is not set."""
    compared: dict[tuple[str, str], list[Comparison]] = {}
    for row in rows:
        compared.setdefault((row.section, row.option), []).append(row)
    remembered: dict[tuple[str, str], list[Original]] = {}
    for original in originals:
        remembered.setdefault((original.plugin, original.option), []).append(original)
    found: _Known = {}
    for section, option, value in _options(meaning):
        these = compared.get((section.name, option), [])
        if these and not any(map(_is_set, these)):
            continue
        firsts = {
            device: (it.applied, it.first)
            for it in remembered.get((section.type, option), [])
            for device in it.devices
        }
        devices = {row.device for row in these if row.device or row.state != "unchecked"}
        devices |= set(firsts)
        for device in {value} if option in _SCRIPTS else _of_section(section, devices, meaning):
            applied, first = firsts.get(device, (value, None))
            for name, part, its_first in _parts(section.type, option, applied, first):
                found[section.type, name, device] = (part, its_first)
    return _grouped(found)


def _is_set(row: Comparison) -> bool:
    """Whether TuneD has set what it compares here. Of what it cannot compare it is supposed."""
    unset = row.why == NO_OPTION or row.why.startswith(NO_PLUGIN)
    return row.state in ("passed", "failed") or (row.state == "unchecked" and not unset)


def _of_section(section: Section, devices: set[str], meaning: Asked) -> set[str]:
    """The devices of an option, as far as they are known. `ALL` is one of them if no other section
    of the plugin can have taken one."""
    named = section.conditions.get("devices_udev_regex") or section.devices
    alone = sum(each.type == section.type for each in _in_effect(meaning)) == 1
    if named in ("", ALL):
        return devices | {ALL} if alone or not devices else devices
    return devices or {named}


def _options(meaning: Asked) -> Iterator[tuple[Section, str, str]]:
    """The options with an effect in this boot."""
    for section in _in_effect(meaning):
        for each in section.options:
            key = (section.type, each.option)
            elsewhere = section.type in _ELSEWHERE or key == ("cpu", "force_latency")
            if each.option in _SCRIPTS or not (elsewhere or is_parameter(*key)):
                yield section, each.option, each.value


def _in_effect(meaning: Asked) -> tuple[Section, ...]:
    from ocp_tuned_boot.tuned import wanted  # noqa: PLC0415  # not for `drift`

    return wanted.in_effect(meaning)


def _parts(
    plugin: str, option: str, applied: str, first: str | None
) -> Iterator[tuple[str, str, str | None]]:
    """Name, applied and first value of an option; of each parameter in a list of net's."""
    if plugin != "net" or option not in _LISTS:
        yield option, applied, first
        return
    before = _parameters(first or "")
    for name, value in _parameters(applied).items():
        its_first = f"{name} {before[name]}" if name in before else None
        yield f"{option} {name}", f"{name} {value}", its_first


def _parameters(value: str) -> dict[str, str]:
    """`a on b off` as TuneD reads it (tuned/plugins/plugin_net.py)."""
    words = [word for word in re.split(r"[\s:;,]+", value) if word]
    return dict(zip(words[::2], words[1::2]))


def _flat(others: Iterable[Other]) -> _Known:
    return {
        (each.plugin, each.option, device): (each.applied, each.first)
        for each in others
        for device in each.devices
    }


def _grouped(known: _Known) -> tuple[Other, ...]:
    """One for all devices that have the same values."""
    devices: dict[tuple[str, str, str, str | None], list[str]] = {}
    for (plugin, option, device), (applied, first) in known.items():
        devices.setdefault((plugin, option, applied, first), []).append(device)
    return tuple(
        Other(plugin, option, tuple(sorted(names)), applied, first)
        for (plugin, option, applied, first), names in devices.items()
    )


def named(meaning: Asked) -> set[tuple[str, str]]:
    """Plugin and name of each option of a profile, whether this machine has it or not."""
    return {
        (section.type, name)
        for section, option, value in _options(meaning)
        for name, _, _ in _parts(section.type, option, value, None)
    }


def to_restore(known: Iterable[Other], meaning: Asked | None) -> list[dict[str, Any]]:
    """What TuneD is to restore before it applies a profile that does not name these options: the
    rows of the file (inside/undo.py). If the profile is not known completely, nothing."""
    if meaning is None or meaning.left:
        return []
    there, rows = named(meaning), []
    for each in known:
        devices = [device for device in each.devices if device != ALL]
        if each.first is None or not devices or each.first == each.applied:
            continue
        if (each.plugin, each.option) not in there:
            rows.append({**asdict(each), "devices": devices})
    return rows


def settled(
    known: Iterable[Other], now: Iterable[Other], there: Collection[tuple[str, str]],
    restored: Iterable[Restored], owned: Collection[str],
) -> tuple[tuple[Other, ...], tuple[Residue, ...]]:  # fmt: skip
    """After a run: what is set by now, and what has become of what earlier profiles have set and
    this one does not. `there`: see `named`; `owned`: the files on the hand-over list."""
    before, after = _flat(known), _flat(now)
    everywhere = {(plugin, option) for plugin, option, device in after if device == ALL}
    plugins = {plugin for plugin, _, _ in after}
    elsewhere = {(plugin, option) for plugin, option, device in before if device != ALL} | {*there}
    how = {(each.plugin, each.option, each.device): each for each in restored}
    gone: dict[tuple[str, str], _Known] = {}
    for key, value in before.items():
        plugin, option, device = key
        if key in after or (plugin, option) in everywhere or value[0] == value[1]:
            continue
        # If the profile names it and has not set it, this machine does not have it.
        if device == ALL and (plugin, option) in elsewhere:
            continue
        result = how.get(key)
        word, why = (result.how, result.why) if result else ("stays", _lasting(plugin, plugins))
        if plugin == IRQBALANCE and IRQBALANCE_FILE in owned:
            word = "theirs"
        gone.setdefault((word, why), {})[key] = value
    residue = [
        _residue(each, word, why)
        for (word, why), values in gone.items()
        if word != "has-first"
        for each in _grouped(values)
    ]
    stays = {
        key: value
        for (word, _), values in gone.items()
        if word == "stays"
        for key, value in values.items()
    }
    ours = {key: (value[0], _first(key, value[1], before)) for key, value in after.items()}
    return _fitting(_grouped({**stays, **ours})), tuple(residue)


def _first(key: _Key, found: str | None, before: _Known) -> str | None:
    """The first value of the boot, whatever TuneD has found since."""
    earlier = before.get(key) or before.get((key[0], key[1], ALL))
    return earlier[1] if earlier else found


def _lasting(plugin: str, now: Collection[str]) -> str:
    """Why a setting may stay longer than until the next boot."""
    if plugin == "service":
        return "systemd enables and disables units for all boots"
    # With a section of its own, the plugin writes the file anew.
    file = "" if plugin in now else _FILES.get(plugin, "")
    return f"it is in {file}, also after the next boot" if file else ""


def with_unfinished(known: Iterable[Other], begun: Iterable[Other]) -> tuple[Other, ...]:
    """With what a run may have set that was killed, or failed. If a value may be that of this run
    or of the one before, nobody can say whose it is, and it is not restored."""
    before, found = _flat(known), _flat(begun)
    for key, (applied, _) in before.items():
        again = found.get(key) or found.get((key[0], key[1], ALL))
        if again is not None and again[0] != applied:
            before[key] = (again[0], None)
    return _grouped({**found, **before})


def _residue(each: Other, word: str, why: str) -> Residue:
    # Of a script, the device is its path, which is the applied value.
    names = [device for device in each.devices if device not in ("", ALL, each.applied)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return Residue(
        f"{each.plugin}.{each.option}", "put-back" if word == "restored" else word,
        each.first or "", each.applied, (each.first or "") if word == "restored" else "",
        ", ".join(names[:_SHOWN]) + more, why,
    )  # fmt: skip


def _fitting(others: tuple[Other, ...]) -> tuple[Other, ...]:
    """The last ones of those for which there is no room."""
    left, at = ROOM, len(others)
    for each in reversed(others):
        left -= len(json.dumps(asdict(each)))
        if left < 0:
            log.warning("%d settings of earlier profiles are not remembered: too many", at)
            break
        at -= 1
    return others[at:]
