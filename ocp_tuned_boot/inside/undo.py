"""What an earlier profile of this boot has set, and the one to be applied does not name: TuneD's
plugins restore it, as they do when a TuneD that keeps running changes its profile.

For this, TuneD remembers the original value of an option when it sets it, but only in memory: a
TuneD that exits never restores one. So they are said at the end of a run, and a later run is given
them in a file. Both are lists of objects with `plugin`, `option`, `devices`, `first` (the original
value) and `applied` (what the profile requested). The name of no device is empty.
"""

import json
import logging
from typing import Any

from tuned.hardware.inventory import Inventory
from tuned.profiles.unit import Unit

from ocp_tuned_boot.inside.harmless import Harmless
from ocp_tuned_boot.inside.quiet import ROOM_BEFORE, TEXT, Quiet, Replaced, Room, cut

#: The settings of these plugins are restored by the host.
_VALUES = ("sysctl", "sysfs", "vm")


class _Option:
    """An option of a section, for one device or for none."""

    def __init__(self, instance: "Any", command: "Any", device: "str") -> "None":
        self._instance, self._plugin = instance, instance.plugin
        self._command, self._device = command, device

    def original(self) -> "Any":
        """What TuneD remembers; None if it does not, or in another place."""
        return self._plugin._storage.get(self._key())

    def remember(self, value: "str") -> "None":
        """As TuneD does when it sets the option."""
        self._plugin._storage.set(self._key(), value)

    def _key(self) -> "Any":
        name, device = self._command["name"], self._device or None
        if self._command["custom"] is None:
            return self._plugin._storage_key(self._instance.name, name, device)
        # As the plugins with such options do it themselves (net, disk, mounts).
        return self._plugin._storage_key(command_name=name, device_name=device)

    def has(self, value: "str") -> "Any":
        """Whether TuneD finds this value in effect; None if it cannot say so."""
        if self._device:
            return self._plugin._verify_device_command(
                self._instance, self._command, self._device, value, True
            )
        return self._plugin._verify_non_device_command(self._instance, self._command, value, True)

    def restore(self) -> "None":
        """Sets the original value."""
        if self._device:
            self._plugin._cleanup_device_command(self._instance, self._command, self._device)
        else:
            self._plugin._cleanup_non_device_command(self._instance, self._command)


def originals(manager: "Any", units: "dict[str, Any]", room: "Room") -> "list[dict[str, Any]]":
    """The original values that TuneD remembers of the profile that it has applied."""
    found = {}  # type: dict[tuple[str, ...], list[str]]
    for instance in manager.instances:
        unit = units.get(instance.name)
        if unit is None or unit.type in _VALUES or not instance.active:
            continue
        for name, command in instance.plugin._commands.items():
            if name not in unit.options:
                continue
            applied = instance.plugin._variables.expand(unit.options[name])
            for device in sorted(instance.processed_devices) if command["per_device"] else [""]:
                first = _Option(instance, command, device).original()
                if isinstance(first, (str, int)) and len(str(first)) < TEXT:
                    key = (unit.type, name, str(first), cut(str(applied)))
                    found.setdefault(key, []).append(device)
    names = ("plugin", "option", "first", "applied")
    rows = [dict(zip(names, key), devices=devices) for key, devices in found.items()]
    return room.taken(rows)


def put_back(application: "Any", path: "str") -> "list[dict[str, Any]]":
    """Restores what the file says. Returns what has become of each: `plugin`, `option`, `device`,
    `how`, and `why` where that is known.

    `how`: `restored`; `has-first`, it has the original value already; `theirs`, it does not have
    the one that was applied; `stays`.
    """
    try:
        with open(path, encoding="utf-8") as file:
            wanted = json.load(file)
    except FileNotFoundError:
        return []
    manager, rows = application._daemon._unit_manager, []  # type: Any, list[dict[str, Any]]
    # What has no room is not known to be restored.
    room = Room(ROOM_BEFORE)
    with Quiet() as quiet, Replaced() as replaced:
        # TuneD would tune a device that is added now.
        replaced.replace(Inventory, "start_processing_events", lambda _: lambda _: None)
        with Harmless():
            manager.create(_units(wanted))
        instances = {instance.name: instance for instance in manager.instances}
        for row in wanted:
            for device in row["devices"]:
                start = len(quiet.texts)
                try:
                    how = _put_back(instances.get(row["plugin"]), row, device)
                except Exception as error:  # noqa: BLE001  # a plugin may be a site's
                    how, start = "stays", len(quiet.texts)
                    quiet.texts.append((logging.ERROR, f"it fails: {error!r}"))
                why = quiet.since(start, logging.WARNING) if how == "stays" else ""
                same = {name: row[name] for name in ("plugin", "option")}
                rows.append(dict(same, device=device, how=how, why=cut(why, 200)))
        try:
            with Harmless():
                manager.destroy_all()
        except Exception as error:  # noqa: BLE001  # a plugin may be a site's
            logging.getLogger(__name__).warning("an earlier profile: %r", error)
    return room.taken(rows)


def _units(wanted: "list[dict[str, Any]]") -> "dict[str, Any]":
    """A section for each plugin, with all the devices and options."""
    configs = {}  # type: dict[str, dict[str, Any]]
    for row in wanted:
        config = configs.setdefault(row["plugin"], {"type": row["plugin"], "devices": set()})
        config["devices"].update(each for each in row["devices"] if each)
        config[_command(row)] = row["applied"]
    for config in configs.values():
        config["devices"] = ",".join(sorted(config["devices"])) or "*"
    return {plugin: Unit(plugin, config) for plugin, config in configs.items()}


def _command(row: "dict[str, Any]") -> "str":
    """The option. A parameter of it, in a list of several, may follow."""
    return str(row["option"]).split(" ")[0]


def _put_back(instance: "Any", row: "dict[str, Any]", device: "str") -> "str":
    command = instance and instance.plugin._commands.get(_command(row))
    if command is None:
        return "stays"
    if device and device not in instance.assigned_devices:
        # It is not there any more, and its settings are gone with it.
        return "has-first"
    option = _Option(instance, command, device)
    if option.has(row["first"]) is True:
        return "has-first"
    found = option.has(row["applied"])
    if found is False:
        return "theirs"
    # A value with an operator, such as >100, can be in effect without being equal. What a plugin
    # sets in a way of its own, and cannot compare, may be anybody's.
    if found is True or command["custom"] is None:
        option.remember(row["first"])
        option.restore()
    return "restored" if option.has(row["first"]) is True else "stays"
