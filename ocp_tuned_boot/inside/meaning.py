"""What a profile means: loads it with TuneD's own loader, as TuneD itself does when it starts."""

import argparse
import builtins
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

import tuned.daemon
import tuned.version
from tuned.exceptions import TunedException
from tuned.profiles.locator import Locator
from tuned.profiles.variables import Variables
from tuned.utils.commands import commands
from tuned.utils.global_config import GlobalConfig

from ocp_tuned_boot.inside.quiet import TEXT, Quiet, Replaced, Room, cut

_CONDITIONS = ("devices_udev_regex", "cpuinfo_regex", "uname_regex")
_SCRIPTS = ("script_pre", "script_post")


class NotLoaded(Exception):
    """TuneD itself cannot load the profile. `program.py` asks for this attribute."""

    profile = True


class _Loading(Replaced):
    """Notes what TuneD reads while it loads a profile: the keyword arguments of `asked`.

    `files` were read; `absent` were looked for; `profiles` are names and files of the profile and
    of those it includes, in the order in which TuneD finds them; `absent_profiles` are optional and
    do not exist; `commands` were run by functions of the profile.
    """

    def __init__(self) -> "None":
        super().__init__()
        self.profiles = []  # type: list[tuple[str, str]]
        kinds = ("files", "absent", "absent_profiles", "commands")
        self.noted = {kind: [] for kind in kinds}  # type: dict[str, list[str]]

    def start(self) -> "None":
        self.replace(builtins, "open", self._open)
        self.replace(Locator, "get_config", self._get_config)
        self.replace(Variables, "add_from_file", self._add_from_file)
        self.replace(commands, "execute", self._execute)

    def _note(self, kind: "str", what: "Any") -> "None":
        if isinstance(what, str) and what not in self.noted[kind]:
            self.noted[kind].append(what)

    def _open(self, real: "Any") -> "Any":
        def opened(file: "Any", *args: "Any", **options: "Any") -> "Any":
            try:
                found = real(file, *args, **options)
            except FileNotFoundError:
                self._note("absent", file)
                raise
            self._note("files", file)
            return found

        return opened

    def _get_config(self, real: "Any") -> "Any":
        def get_config(locator: "Any", name: "str", *rest: "Any") -> "Any":
            found = real(locator, name, *rest)
            plain = name[1:] if name.startswith("-") else name
            if found:
                self.profiles.append((plain, found))
            elif plain not in [known for known, _ in self.profiles]:
                self._note("absent_profiles", plain)
            return found

        return get_config

    def _add_from_file(self, real: "Any") -> "Any":
        def add_from_file(variables: "Any", path: "str") -> "None":
            if not os.path.exists(path):
                self._note("absent", path)
            real(variables, path)

        return add_from_file

    def _execute(self, real: "Any") -> "Any":
        def execute(self_: "Any", args: "Any", *rest: "Any", **options: "Any") -> "Any":
            self._note("commands", args if isinstance(args, str) else " ".join(map(str, args)))
            return real(self_, args, *rest, **options)

        return execute


def load(command: "list[str]") -> "tuple[Any, dict[str, Any]]":
    """Loads the profile that TuneD would load with this command line, and changes nothing.

    Returns TuneD's application, and the content of the message `asked`. Raises `NotLoaded`, and
    whatever a TuneD raises that cannot be asked.
    """
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--profile", "-p")
    profile = options.parse_known_args(command[1:])[0].profile
    with Quiet() as quiet, _Loading() as loading:
        try:
            application = tuned.daemon.Application(profile, GlobalConfig())
        except TunedException as error:
            raise NotLoaded(quiet.since(0, logging.ERROR) or str(error)) from error
        # Some versions only log what is wrong.
        if application._daemon.profile is None:
            raise NotLoaded(quiet.since(0, logging.ERROR) or "TuneD has no profile to load")
        room = Room()
        said = _meaning(application, room)
        _import_plugins(application)
    said.update({kind: room.taken(noted) for kind, noted in loading.noted.items()})
    said["profiles"] = room.taken(loading.profiles)
    warnings = [cut(text, 1000) for level, text in quiet.texts if level >= logging.WARNING]
    return application, dict(said, warnings=room.taken(warnings), left=room.left)


def _import_plugins(application: "Any") -> "None":
    """What TuneD imports first when it applies the profile. It reports what is wrong with it."""
    repository = application._daemon._unit_manager.plugins_repository
    for unit in application._daemon.profile.units.values():
        try:
            repository.load_class(unit.type)
        except Exception:  # noqa: BLE001, S112  # a plugin may be a site's
            continue


def _meaning(application: "Any", room: "Room") -> "dict[str, Any]":
    manager, profile = application._daemon._unit_manager, application._daemon.profile
    sections = []  # type: list[dict[str, Any]]
    # As in tuned/units/manager.py: of two sections that set the same, the later one wins.
    for unit in sorted(profile.units.values(), key=lambda unit: _priority(manager, unit)):
        section = _section(manager, unit)
        if room.takes(section):
            options = room.taken(_options(application.variables, unit))
            sections.append(dict(section, options=options))
    return {
        "tuned": tuned.version.TUNED_VERSION_STR,
        "python": ".".join(map(str, sys.version_info[:3])),
        "profile": profile.name,
        "sections": sections,
    }


def _section(manager: "Any", unit: "Any") -> "dict[str, Any]":
    conditions = {name: getattr(unit, name) for name in _CONDITIONS}
    return {
        "name": cut(unit.name),
        "type": cut(unit.type),
        "devices": cut(str(unit.devices)),
        "conditions": {name: cut(str(it)) for name, it in conditions.items() if it is not None},
        "priority": _priority(manager, unit),
        "left_out": left_out(manager, unit),
    }


def _priority(manager: "Any", unit: "Any") -> "int":
    # Before TuneD 2.23, it is one of the options.
    found = getattr(unit, "priority", unit.options.get("priority"))
    return int(manager._def_instance_priority if found is None else found)


def left_out(manager: "Any", unit: "Any") -> "str":
    """The option for which TuneD leaves out a section on this machine; empty if it does not."""
    if not unit.enabled:
        return "enabled"
    if not manager._unit_matches_cpuinfo(unit):
        return "cpuinfo_regex"
    if not manager._unit_matches_uname(unit):
        return "uname_regex"
    return ""


def given(unit: "Any") -> "Iterator[tuple[str, str]]":
    """The options of a section as the profile has them. The scripts of included profiles are one
    option each: TuneD merges them into a list."""
    for name in _SCRIPTS:
        if getattr(unit, name) is not None:
            yield name, str(getattr(unit, name))
    for name, value in unit.options.items():
        if name == "priority" and not hasattr(unit, name):
            continue
        for each in value if isinstance(value, list) else [value]:
            yield name, str(each)


def _options(variables: "Any", unit: "Any") -> "Iterator[dict[str, str]]":
    for name, raw in given(unit):
        option = {"option": cut(name), "value": cut(raw)}
        try:
            value = variables.expand(raw)
        except Exception as error:  # noqa: BLE001  # a function may be a site's
            option["unknown"] = cut(f"TuneD cannot compute it: {error}")
        else:
            if value != raw:
                option.update(value=cut(value), raw=cut(raw))
            if max(len(name), len(value)) > TEXT:
                option["unknown"] = f"it is longer than {TEXT} characters"
        yield option
