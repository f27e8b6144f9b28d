"""What a TuneD profile asks for, resolved as TuneD does. Pure.

Follows tuned/profiles/{loader,locator,merger,variables}.py (2.20 to 2.28): `include=` chains,
later wins, `replace=`, `drop=`, `enabled=`, `type=`, `[variables]`. Built-in functions (`${f:…}`)
are not evaluated: what depends on one is said to be unknown.
"""

from __future__ import annotations

import configparser
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

#: Where TuneD looks for a profile, first match wins: the custom profiles, then the image's own.
CUSTOM, STOCK = "/etc/tuned", ("/usr/lib/tuned", "/usr/lib/tuned/profiles")
#: The plugins whose settings are one value in one file.
PLUGINS = ("sysctl", "sysfs", "vm")

#: A profile with all that it includes: characters, lines, and files that are laid over each other.
#: What is beyond is not looked at, and told of as unknown: who writes a profile may write one that
#: takes hours to read.
_SIZE, _LINES, _INCLUDES = 256 * 1024, 4000, 100
#: So many settings are compared with the host, so many of them with wildcards.
_SETTINGS, _WILDCARDS = 1000, 32
#: No value is longer (characters): variables that stand for two others each double it every line.
_VALUE = 4096

_TRUE = ("True", "true", "1")
# Options of a section that say how it is used, not what is set (tuned/profiles/unit.py).
_CONTROLS = {
    "priority", "type", "enabled", "replace", "prepend", "drop", "devices", "devices_udev_regex",
    "cpuinfo_regex", "uname_regex", "script_pre", "script_post",
}  # fmt: skip
# With one of these TuneD itself decides, on the machine, whether the section applies.
_CONDITIONS = ("cpuinfo_regex", "uname_regex", "devices_udev_regex")


@dataclass(frozen=True)
class ProfileFile:
    """One file of a custom profile; `path` is relative to the profiles' folder."""

    path: str
    data: bytes
    executable: bool = False

    @property
    def text(self) -> str:
        return self.data.decode(errors="replace")


@dataclass(frozen=True)
class Setting:
    """One value that a profile asks for; with `unknown`, why it cannot be told which.

    `plugin` is one of `PLUGINS`, or `include` for a whole profile that is not known.
    """

    plugin: str
    key: str
    value: str
    unknown: str = ""
    #: The section that it stands in, which need not be named like its plugin.
    section: str = ""


@dataclass
class _Unit:
    """A section of a profile, merged over those of the same name in the profiles it includes."""

    type: str
    enabled: bool
    conditions: dict[str, str]
    options: dict[str, str]
    #: What was set before something whose content is not known could have changed it.
    doubtful: set[str] = field(default_factory=set)
    #: With another value than `*` TuneD looks whether the machine has such a device.
    devices: str = "*"
    priority: str = ""


def resolve(profile: str, files: Mapping[str, str]) -> tuple[Setting, ...]:
    """The settings of `PLUGINS` in `profile`.

    `files`: the text of each `tuned.conf`, and of what `[variables]` may include, by its path in
    the container. What is not in it is taken for not there. Never raises: TuneD is the judge.
    """
    merged = _merged(profile, files)
    variables = _variables(merged.variables, files)
    settings = [
        Setting("include", name, "", "what it asks for is not known") for name in merged.unknown
    ]
    for name, unit in merged.units.items():
        if unit.type in PLUGINS and unit.enabled:
            settings += [
                _setting(name, unit, key, value, variables) for key, value in unit.options.items()
            ]
    return tuple(_few(settings))


def _few(settings: list[Setting]) -> Iterator[Setting]:
    """As many as can be looked at; what is left out is told of."""
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
    """What `profile` asks for that lasts only as long as a file is open: `force_latency` of the
    cpu plugin (its first section alone counts, by TuneD's plugin_cpu.py) and the rtentsk plugin.
    At most one setting of each."""
    merged = _merged(profile, files)
    variables = _variables(merged.variables, files)
    found = []
    for name, unit in _instances(merged, "cpu")[:1]:
        if unit.devices != "*":
            unit.conditions["devices"] = unit.devices
        if "force_latency" in unit.options:
            asked = unit.options["force_latency"]
            setting = _setting(name, unit, "force_latency", asked, variables)
            # The cpu plugin takes quotes for a part of the value.
            quoted = asked.startswith('"') and not setting.unknown
            found.append(replace(setting, value=_expanded(asked, variables)) if quoted else setting)
    sockets = [
        _setting(name, unit, "rtentsk", "", variables)
        for name, unit in _instances(merged, "rtentsk")
    ]
    # One of them is enough.
    return (*found, *sorted(sockets, key=lambda each: bool(each.unknown))[:1])


def _instances(merged: _Merged, plugin: str) -> list[tuple[str, _Unit]]:
    """The sections of a plugin in the order in which TuneD makes instances of them
    (tuned/units/manager.py)."""
    found = [(n, unit) for n, unit in merged.units.items() if unit.enabled and unit.type == plugin]
    return sorted(found, key=lambda each: _priority(each[1].priority))


def _priority(text: str) -> int:
    # What is no number ends TuneD itself.
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,9}", text) else 0


def sections(profile: str, files: Mapping[str, str]) -> dict[str, str]:
    """The plugin of each section that is enabled in `profile`, by the section's name."""
    units = _merged(profile, files).units
    return {name: unit.type for name, unit in units.items() if unit.enabled}


def absent(profile: str, files: Mapping[str, str]) -> tuple[str, ...]:
    """The profiles that `files` has not: `profile` itself, and what is included by a plain name on
    the way (one with `-` before it need not be there)."""
    return tuple(dict.fromkeys(_merged(profile, files).absent))


def _merged(profile: str, files: Mapping[str, str]) -> _Merged:
    merged = _Merged()
    _load(profile, files, merged, [])
    return merged


class _Merged:
    """Profiles laid over each other; later wins (tuned/profiles/merger.py)."""

    def __init__(self) -> None:
        self.units: dict[str, _Unit] = {}
        self.variables: dict[str, str] = {}
        #: Profiles that are included and cannot be told.
        self.unknown: list[str] = []
        #: Profiles that have to be there and are not.
        self.absent: list[str] = []
        self.size = self.lines = 0

    def doubt(self, name: str) -> None:
        """Something unknown is laid over all that was merged so far."""
        self.unknown.append(name)
        for unit in self.units.values():
            unit.doubtful |= set(unit.options)
        # A variable may come from anywhere now.
        for variable in self.variables:
            self.variables[variable] = "${f:unknown}"

    def has_room(self, text: str) -> bool:
        """For one more file; takes it into account."""
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


def _load(name: str, files: Mapping[str, str], merged: _Merged, processed: list[str]) -> None:
    path = _locate(name, files, processed)
    if not name.startswith("-") and not _locate(name, files, []):
        merged.absent.append(name)
    if not path:
        # Conditional and not there, or there already: nothing. Else TuneD has failed.
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
            _load(each.strip(), files, merged, processed)
        if len(included) > _INCLUDES:
            merged.doubt(f"{len(included) - _INCLUDES} more")
    for section, options in sections.items():
        merged.add(section, options)


def _locate(name: str, files: Mapping[str, str], processed: list[str]) -> str:
    """The path of a profile's file. A profile that includes its own name means the next one."""
    for folder in (CUSTOM, *STOCK):
        path = posixpath.join(folder, posixpath.basename(name.lstrip("-")), "tuned.conf")
        if path in files and path not in processed:
            return path
    return ""


def _sections(text: str) -> dict[str, dict[str, str]] | None:
    # configparser tries each end of such a run for the end of a key.
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
    """Each may use those before it (tuned/profiles/variables.py)."""
    known: dict[str, str] = {}
    for name, value in definitions.items():
        if name != "include":
            known[name] = _expanded(value, known)
            continue
        text = files.get(posixpath.normpath(value), "")
        few = len(text) <= _SIZE and text.count("\n") <= _LINES
        sections = _sections("[file]\n" + text) if few else None
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
        unknown = "an include= whose name is computed may have changed it"
    elif unit.conditions:
        unknown = f"[{name}] has {', '.join(unit.conditions)}, which TuneD decides on the machine"
    elif "${" in value:
        unknown = f"TuneD computes it: {value}"
    return Setting(unit.type, key, value, unknown, name)
