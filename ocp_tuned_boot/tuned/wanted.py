"""The settings that a profile requests, from what TuneD itself said about it (asked.py). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ocp_tuned_boot.tuned.asked import Asked, Option, Section

#: The plugins whose settings are compared by this program, too, besides TuneD's own comparison.
PLUGINS = ("sysctl", "sysfs", "vm")
#: Commands for which TuneD also looks where nothing needs them, and the options that do
#: (tuned/plugins/plugin_disk.py).
COMMANDS = {"hdparm": {("disk", "apm"), ("disk", "spindown")}}
#: The `plugin` of a setting that stands for a profile of which nothing is known.
UNKNOWN = "include"
#: The most settings that are compared, and the most of them with wildcards. The rest is reported as
#: unknown: a pod may write a profile of any size.
_SETTINGS, _WILDCARDS = 1000, 32


@dataclass(frozen=True)
class Setting:
    """One value that a profile requests. `unknown` is the reason if the value is not known.

    `plugin` is one of `PLUGINS`, or `UNKNOWN`; `section` contains it, and its name may differ from
    the plugin's.
    """

    plugin: str
    key: str
    value: str
    unknown: str = ""
    section: str = ""


def unknown(why: str) -> tuple[Setting, ...]:
    """The settings of a profile that TuneD was not asked about, or could not load."""
    return (Setting(UNKNOWN, "", "", why),)


def settings(meaning: Asked) -> tuple[Setting, ...]:
    """Those of `PLUGINS`, in the order in which TuneD applies them: of two that set the same, the
    later one wins. A section that TuneD leaves out on this machine sets nothing."""
    found = [
        Setting(section.type, option.option, _value(section, option), option.unknown, section.name)
        for section in in_effect(meaning)
        if section.type in PLUGINS
        for option in section.options
        if option.option not in ("script_pre", "script_post")
    ]
    if meaning.left:
        found.append(Setting(UNKNOWN, f"{meaning.left} more", "", "the profile is too large"))
    return tuple(_few(found))


def in_effect(meaning: Asked) -> tuple[Section, ...]:
    """The sections that TuneD does not leave out on this machine."""
    return tuple(section for section in meaning.sections if not section.left_out)


def _value(section: Section, option: Option) -> str:
    # Only the sysctl plugin takes quotes off (tuned/plugins/plugin_sysctl.py, `unquote`).
    if section.type == "sysctl":
        return re.sub(r'^"(.*)"$', r"\1", option.value)
    return option.value


def _few(found: list[Setting]) -> Iterator[Setting]:
    """The settings up to the limits. The rest is reported as unknown."""
    wildcards = 0
    for each in found[:_SETTINGS]:
        wildcards += each.plugin == "sysfs" and bool(re.search(r"[*?[]", each.key))
        if each.plugin == "sysfs" and wildcards > _WILDCARDS:
            yield Setting(UNKNOWN, each.key, each.value, "the profile has too many wildcards")
        else:
            yield each
    if len(found) > _SETTINGS:
        left = len(found) - _SETTINGS
        yield Setting(UNKNOWN, f"{left} more", "", "the profile has too many settings")


def open_files(meaning: Asked) -> tuple[Setting, ...]:
    """The settings that require a file descriptor that stays open: `force_latency` of the cpu
    plugin and the rtentsk plugin. At most one of each.

    Of several cpu sections only the first one counts (tuned/plugins/plugin_cpu.py).
    """
    cpu = [section for section in in_effect(meaning) if section.type == "cpu"][:1]
    found = [
        Setting("cpu", option.option, option.value, option.unknown or _devices(section))
        for section in cpu
        for option in section.options
        if option.option == "force_latency"
    ]
    sockets = [
        Setting("rtentsk", "rtentsk", "", _devices(section))
        for section in in_effect(meaning)
        if section.type == "rtentsk"
    ]
    # One of them is sufficient; prefer one that is known.
    return (*found, *sorted(sockets, key=lambda each: bool(each.unknown))[:1])


def _devices(section: Section) -> str:
    """Why it is not known whether a section has an effect: TuneD looks for its devices."""
    limits = [name for name in ("devices_udev_regex",) if name in section.conditions]
    limits += ["devices"] if section.devices not in ("", "*") else []
    return f"[{section.name}] has {', '.join(limits)}" if limits else ""


def plugins(meaning: Asked) -> dict[str, str]:
    """The plugin of each section in effect, by the section's name."""
    return {section.name: section.type for section in in_effect(meaning)}


def named_devices(meaning: Asked) -> frozenset[str]:
    """The sections that name their devices. A condition such as devices_udev_regex does not: such a
    section is for machines that have these devices."""
    return frozenset(section.name for section in in_effect(meaning) if _names_one(section.devices))


def needed_commands(meaning: Asked) -> frozenset[str]:
    """Those of `COMMANDS` without which a section in effect cannot be applied."""
    options = {(each.type, it.option) for each in in_effect(meaning) for it in each.options}
    return frozenset(command for command, of in COMMANDS.items() if options & of)


def _names_one(devices: str) -> bool:
    """Whether `devices=` names one, rather than all, or all except some."""
    named = [each for each in re.split(r"[\s,;]+", devices) if each]
    return any(not each.startswith("!") and each != "*" for each in named)
