"""The settings that a TuneD profile requests, resolved as TuneD resolves them. Pure.

Follows tuned/profiles/{loader,locator,merger,variables}.py (2.20 to 2.28): `include=` chains,
later wins, `replace=`, `drop=`, `enabled=`, `type=`, `[variables]`. Built-in functions (`${f:…}`)
are not evaluated: a setting that depends on one is reported as unknown.
"""

from __future__ import annotations

import configparser
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

#: Where TuneD searches for a profile: custom profiles, then stock ones. The first match wins.
CUSTOM, STOCK = "/etc/tuned", ("/usr/lib/tuned", "/usr/lib/tuned/profiles")
#: The plugins whose settings are a single value in a file.
PLUGINS = ("sysctl", "sysfs", "vm")

#: The limits of a profile with all its includes: characters, lines and files. Settings beyond them
#: are reported as unknown: a pod may write a profile that takes hours to parse.
_SIZE, _LINES, _INCLUDES = 256 * 1024, 4000, 100
#: The most settings that are compared with the host, and the most of them with wildcards.
_SETTINGS, _WILDCARDS = 1000, 32
#: The maximum length of a value (characters): variables made of two others double with each line.
_VALUE = 4096

_TRUE = ("True", "true", "1")
# Options that control a section and set nothing (tuned/profiles/unit.py).
_CONTROLS = {
    "priority", "type", "enabled", "replace", "prepend", "drop", "devices", "devices_udev_regex",
    "cpuinfo_regex", "uname_regex", "script_pre", "script_post",
}  # fmt: skip
# With one of these options TuneD decides on the machine whether the section applies.
_CONDITIONS = ("cpuinfo_regex", "uname_regex", "devices_udev_regex")


@dataclass(frozen=True)
class Setting:
    """One value that a profile requests. `unknown` is the reason if the value is not known.

    `plugin` is one of `PLUGINS`, or `include` for a whole profile that is not known.
    """

    plugin: str
    key: str
    value: str
    unknown: str = ""
    #: The section that contains it. Its name may differ from the plugin's.
    section: str = ""


@dataclass
class _Unit:
    """A section of a profile, merged with those of the same name in the included profiles."""

    type: str
    enabled: bool
    conditions: dict[str, str]
    options: dict[str, str]
    #: The options that an include with unknown content may have changed.
    doubtful: set[str] = field(default_factory=set)
    #: With a value other than `*` TuneD checks whether the machine has such a device.
    devices: str = "*"
    priority: str = ""


def resolve(profile: str, files: Mapping[str, str]) -> tuple[Setting, ...]:
    """The settings of `PLUGINS` in `profile`, in the order in which TuneD applies them.

    `files`: the text of each `tuned.conf`, and of each file that `[variables]` may include, by its
    path in the container. Other files do not exist. Never raises: TuneD reports what is wrong.
    """
    merged = _merged(profile, files)
    variables = _variables(merged.variables, files)
    settings = [
        Setting("include", name, "", "its settings are not known") for name in merged.unknown
    ]
    for name, unit in _by_priority(merged):
        if unit.type in PLUGINS and unit.enabled:
            settings += [
                _setting(name, unit, key, value, variables) for key, value in unit.options.items()
            ]
    return tuple(_few(settings))


def _few(settings: list[Setting]) -> Iterator[Setting]:
    """The settings up to the limits. The rest is reported as unknown."""
    wildcards = 0
    for each in settings[:_SETTINGS]:
        wildcards += each.plugin == "sysfs" and bool(re.search(r"[*?[]", each.key))
        if each.plugin == "sysfs" and wildcards > _WILDCARDS:
            yield Setting("include", each.key, each.value, "the profile has too many wildcards")
        else:
            yield each
    if len(settings) > _SETTINGS:
        left = len(settings) - _SETTINGS
        yield Setting("include", f"{left} more", "", "the profile has too many settings")


def open_files(profile: str, files: Mapping[str, str]) -> tuple[Setting, ...]:
    """The settings of `profile` that require a file descriptor that stays open: `force_latency` of
    the cpu plugin and the rtentsk plugin. At most one of each.

    Of several cpu sections only the first one counts (tuned/plugins/plugin_cpu.py).
    """
    merged = _merged(profile, files)
    variables = _variables(merged.variables, files)
    found = []
    for name, unit in _instances(merged, "cpu")[:1]:
        if unit.devices != "*":
            unit.conditions["devices"] = unit.devices
        if "force_latency" in unit.options:
            value = unit.options["force_latency"]
            setting = _setting(name, unit, "force_latency", value, variables)
            # For the cpu plugin, quotes are a part of the value.
            quoted = value.startswith('"') and not setting.unknown
            found.append(replace(setting, value=_expanded(value, variables)) if quoted else setting)
    sockets = [
        _setting(name, unit, "rtentsk", "", variables)
        for name, unit in _instances(merged, "rtentsk")
    ]
    # One of them is sufficient; prefer one that is known.
    return (*found, *sorted(sockets, key=lambda each: bool(each.unknown))[:1])


def _instances(merged: _Merged, plugin: str) -> list[tuple[str, _Unit]]:
    """The sections of a plugin, in the order in which TuneD creates instances of them."""
    return [(n, unit) for n, unit in _by_priority(merged) if unit.enabled and unit.type == plugin]


def _by_priority(merged: _Merged) -> list[tuple[str, _Unit]]:
    """The sections in the order in which TuneD applies them (tuned/units/manager.py)."""
    return sorted(merged.units.items(), key=lambda each: _priority(each[1].priority))


def _priority(text: str) -> int:
    # If it is not a number, TuneD itself fails.
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,9}", text) else 0


def sections(profile: str, files: Mapping[str, str]) -> dict[str, str]:
    """The plugin of each enabled section of `profile`, by the section's name."""
    units = _merged(profile, files).units
    return {name: unit.type for name, unit in units.items() if unit.enabled}


def named_devices(profile: str, files: Mapping[str, str]) -> frozenset[str]:
    """The sections of `profile` that name their devices. A condition such as devices_udev_regex
    does not: the section is for machines that have such devices."""
    units = _merged(profile, files).units
    return frozenset(name for name, unit in units.items() if names_devices(unit.devices))


def names_devices(devices: str) -> bool:
    """Whether an option `devices=` names one, rather than all, or all except some."""
    return any(not each.startswith("!") and each != "*" for each in re.split(r"[\s,;]+", devices))


def absent(profile: str, files: Mapping[str, str]) -> dict[str, str]:
    """The profiles that are missing in `files`: `profile` itself, or included ones (those included
    with `-` before the name are optional). With each, the path of the file that includes it."""
    return _merged(profile, files).absent


def loaded(profile: str, files: Mapping[str, str]) -> tuple[str, ...] | None:
    """The paths of the files that TuneD loads for `profile`; None if an include is computed, or
    cannot be resolved for another reason."""
    merged = _Merged()
    paths: list[str] = []
    _load(profile, files, merged, paths)
    return None if merged.unknown else tuple(paths)


def _merged(profile: str, files: Mapping[str, str]) -> _Merged:
    merged = _Merged()
    _load(profile, files, merged, [])
    return merged


class _Merged:
    """Profiles merged into one; later wins (tuned/profiles/merger.py)."""

    def __init__(self) -> None:
        self.units: dict[str, _Unit] = {}
        self.variables: dict[str, str] = {}
        #: Included profiles whose content is not known.
        self.unknown: list[str] = []
        #: Required profiles that do not exist, and the path of the file that includes each.
        self.absent: dict[str, str] = {}
        self.size = self.lines = 0

    def doubt(self, name: str) -> None:
        """A profile with unknown content is merged over the others."""
        self.unknown.append(name)
        for unit in self.units.values():
            unit.doubtful |= set(unit.options)
        # It may have changed any variable.
        for variable in self.variables:
            self.variables[variable] = "${f:unknown}"

    def has_room(self, text: str) -> bool:
        """Counts one more file, and returns whether the profile is still within the limits."""
        self.size += len(text)
        self.lines += text.count("\n")
        return self.size <= _SIZE and self.lines <= _LINES

    def add(self, name: str, section: dict[str, str]) -> None:
        options = {key: value for key, value in section.items() if key not in _CONTROLS}
        replaces = section.get("replace") in _TRUE
        if name == "variables":
            if replaces:
                self.variables.clear()
            self.variables.update(options)
            return
        conditions = {key: section[key] for key in _CONDITIONS if key in section}
        fresh = _Unit(
            section.get("type", name), section.get("enabled", "1") in _TRUE, conditions, options,
            devices=section.get("devices", "*"), priority=section.get("priority", ""),
        )  # fmt: skip
        known = self.units.get(name)
        if known is None or replaces:
            self.units[name] = fresh
            return
        known.type, known.enabled, known.devices = fresh.type, fresh.enabled, fresh.devices
        known.priority = fresh.priority or known.priority
        known.conditions.update(conditions)
        for dropped in re.split(r"\b\s*[,;]\s*", section.get("drop", "")):
            known.options.pop(dropped, None)
        known.options.update(options)
        known.doubtful -= set(options)


def _load(
    name: str, files: Mapping[str, str], merged: _Merged, processed: list[str], by: str = ""
) -> None:
    path = _locate(name, files, processed)
    if not name.startswith("-") and not _locate(name, files, []):
        merged.absent.setdefault(name, by)
    if not path:
        # Optional, or included before. In all other cases TuneD itself fails.
        return
    processed.append(path)
    has_room = len(processed) <= _INCLUDES and merged.has_room(files[path])
    sections = _sections(files[path]) if has_room else None
    if sections is None:
        merged.doubt(name)
        return
    include = sections.pop("main", {}).get("include", "")
    if "${" in include:
        merged.doubt(include)
    elif include:
        included = re.split(r"[,;]", include)
        for each in included[:_INCLUDES]:
            _load(each.strip(), files, merged, processed, path)
        if len(included) > _INCLUDES:
            merged.doubt(f"{len(included) - _INCLUDES} more")
    for section, options in sections.items():
        merged.add(section, options)


def _locate(name: str, files: Mapping[str, str], processed: list[str]) -> str:
    """The path of a profile's file; empty if there is none. A profile that includes its own name
    includes the next one of that name."""
    for folder in (CUSTOM, *STOCK):
        path = posixpath.join(folder, posixpath.basename(name.lstrip("-")), "tuned.conf")
        if path in files and path not in processed:
            return path
    return ""


def _sections(text: str) -> dict[str, dict[str, str]] | None:
    # configparser needs quadratic time for a long run of spaces in a key.
    text = re.sub(r"[^\S\n]{64,}", " " * 64, text)
    parser = configparser.RawConfigParser(
        delimiters=("=",), inline_comment_prefixes=("#",), strict=False
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error:
        return None
    return {name: dict(parser.items(name)) for name in parser.sections()}


def _variables(definitions: Mapping[str, str], files: Mapping[str, str]) -> dict[str, str]:
    """The values of the variables. Each may refer to those before it
    (tuned/profiles/variables.py)."""
    known: dict[str, str] = {}
    for name, value in definitions.items():
        if name != "include":
            known[name] = _expanded(value, known)
            continue
        text = files.get(posixpath.normpath(value), "")
        small = len(text) <= _SIZE and text.count("\n") <= _LINES
        sections = _sections("[file]\n" + text) if small else None
        for each, text in (sections or {}).get("file", {}).items():
            known[each] = _expanded(text, known)
    return known


_VARIABLE = re.compile(r"(?<!\\)\$\{(\w+)\}")


def _expanded(value: str, variables: Mapping[str, str]) -> str:
    used = _VARIABLE.finditer(value)
    if len(value) + sum(len(variables.get(match[1], "")) for match in used) > _VALUE:
        return "${f:too_long}"
    found = _VARIABLE.sub(lambda match: variables.get(match[1], match[0]), value)
    return re.sub(r"\\(\$\{\w+\})", r"\1", found)


def _setting(name: str, unit: _Unit, key: str, value: str, variables: Mapping[str, str]) -> Setting:
    value = _expanded(re.sub(r'^"(.*)"$', r"\1", value), variables)
    unknown = ""
    if key in unit.doubtful:
        unknown = "an include= with a computed name may have changed it"
    elif unit.conditions:
        unknown = f"[{name}] has {', '.join(unit.conditions)}, which only TuneD can evaluate"
    elif "${" in value:
        unknown = f"TuneD computes it: {value}"
    return Setting(unit.type, key, value, unknown, name)
