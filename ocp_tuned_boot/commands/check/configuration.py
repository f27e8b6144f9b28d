"""boot.conf and its drop-ins: each by itself, all together, and files that are not read."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ocp_tuned_boot.commands.check import lines
from ocp_tuned_boot.commands.check.lines import Text
from ocp_tuned_boot.commands.check.problem import Problem, not_checked, problem
from ocp_tuned_boot.errors import ConfigurationError, HostError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import keys
from ocp_tuned_boot.requested.config import Config

#: The most problems that are shown of one file.
_MOST = 20
_LINE = re.compile(r": line (\d+):")
# Where `config` says that something is: "[section] key" after the name of the file.
_PLACE = re.compile(
    r": (?:\[(?P<section>[^\]]*)\](?: (?P<key>[^:\s]+))?:|found the key '(?P<first>[^']*)')"
)
_NAMED = re.compile(r"found the (section|key) \[?'?([^\]']*)")


@dataclass(frozen=True)
class Layer:
    """One file of boot.conf. `text`: as it is; `sound`: without the lines that are not valid."""

    path: Path
    text: Text
    sound: str = ""


@dataclass(frozen=True)
class Configuration:
    """What boot.conf says, as far as it is valid, and its files in the order in which they are
    read. `is_valid`: all of them are."""

    config: Config = field(default_factory=Config)
    layers: tuple[Layer, ...] = ()
    is_valid: bool = True

    def place(self, section: str, key: str) -> tuple[str, int]:
        """The file and the line that decide a key; nothing if none sets it."""
        for layer in reversed(self.layers):
            found = layer.text.find(section, key)
            if found is not None:
                return str(layer.path), found.line
        return "", 0


def read(paths: Paths, override: Path | None) -> tuple[Configuration, list[Problem]]:
    """The files of boot.conf, or `override` alone (`--config`), and what is wrong with each."""
    found: list[Problem] = []
    layers = []
    for path in boot_conf.names(paths, override):
        if path != override and not os.path.lexists(path):
            continue
        try:
            text = boot_conf.text(path)
        except (ConfigurationError, HostError) as error:
            found.append(_unreadable(path, error))
            continue
        layer, wrong = parse(path, text)
        layers.append(layer)
        found += wrong
    config = boot_conf.parse((str(each.path), each.sound) for each in layers)
    is_valid = not any(each.kind == "boot-conf-invalid" for each in found)
    return Configuration(config, tuple(layers), is_valid), found


def _unreadable(path: Path, error: ConfigurationError | HostError) -> Problem:
    if isinstance(error.__cause__, PermissionError):
        return not_checked("boot.conf", error.message, "Run this command as root.", path)
    line = _LINE.search(error.message)
    return problem(
        "boot-conf-invalid", path, int(line[1]) if line else 0, error.message, error.hint
    )


def parse(path: Path, text: str) -> tuple[Layer, list[Problem]]:
    """One file, and every problem of it. Pure."""
    seen, found = lines.read(text), []
    sound = re.split("\r\n|\r|\n", text)
    for _ in range(_MOST):
        try:
            boot_conf.parse([(str(path), "\n".join(sound))])
        except ConfigurationError as error:
            line = _line(error.message[len(str(path)) :], seen)
            found.append(problem("boot-conf-invalid", path, line, error.message))
            if not line:
                return Layer(path, seen), found
            # What else is wrong is found without it.
            for number in _lines_of(seen, line, len(sound)):
                sound[number - 1] = ""
        else:
            return Layer(path, seen, "\n".join(sound)), found
    return Layer(path, seen), found


def _line(message: str, seen: Text) -> int:
    """The line that an error of `config` is about; 0 if it does not say."""
    if line := _LINE.match(message):
        return int(line[1])
    place, named = _PLACE.match(message), _NAMED.search(message)
    if place and place["section"] is not None:
        if named and named[1] == "section":
            return seen.line(f"[{named[2]}]")
        key = place["key"] or (named[2] if named and named[1] == "key" else "")
        return seen.line(place["section"], key)
    if place:
        return next((it.line for it in seen.broken if it.found.startswith(place["first"])), 0)
    return seen.line(named[2]) if named else 0


def _lines_of(seen: Text, line: int, last: int) -> range:
    """The line, and of the head of a section all that is in it."""
    starts = [it.line for it in seen.entries if not it.key]
    if line not in starts:
        return range(line, line + 1)
    after = [start for start in starts if start > line]
    return range(line, after[0] if after else last + 1)


def ignored(paths: Paths) -> Iterator[Problem]:
    """Files of boot.conf.d that are not read, and look as if they were to be."""
    folder = paths.drop_ins
    read_ones = set(boot_conf.names(paths, None))
    try:
        entries = sorted(folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        yield not_checked(str(folder), f"cannot list it: {error.strerror}")
        return
    for path in entries:
        if path not in read_ones and (why := _why_ignored(path)):
            yield problem("drop-in-ignored", path, 0, f"{path} is not read: {why}")


def _why_ignored(path: Path) -> str:
    """Empty for what nobody expects to be read."""
    name = path.name
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""
    if stat.S_ISCHR(mode):
        return ""  # a link to /dev/null masks, as for systemd
    if not stat.S_ISREG(mode):
        return "it is not a file" if name.endswith(".conf") else ""
    if name.startswith("."):
        return "its name begins with a dot" if name.endswith(".conf") else ""
    if name.endswith(("~", ".rpmsave", ".rpmnew", ".bak", ".orig")) or name.startswith("README"):
        return ""
    return "its name does not end in .conf"


def together(known: Configuration, *, requested: bool) -> Iterator[Problem]:
    """What the keys say together. `requested`: an image and a profile are. Pure."""
    config = known.config
    file, line = known.place("tuning", "tuned_timeout")
    if _is_set(known, "tuned_timeout") and config.tuned_timeout > config.timeout:
        yield problem(
            "conflicting-timeouts", file, line,
            f"tuned_timeout = {config.tuned_timeout:g} is longer than timeout = "
            f"{config.timeout:g}, which is for the whole run",
            "Increase timeout, or reduce tuned_timeout.",
        )  # fmt: skip
    if config.gate == "closed" and not requested:
        yield problem(
            "gate-without-request", *known.place("tuning", "gate"),
            "gate = closed has no effect without an image and a profile",
            "Set image and profile in [tuning], or have the agent request them.",
        )  # fmt: skip


def _is_set(known: Configuration, key: str) -> bool:
    """Whether a file sets a key of [tuning] to something else than the default."""
    default = keys.of(boot_conf.Tuning)[key].default
    return bool(getattr(known.config, key) != default)


def overruled(known: Configuration, messages: Sequence[str]) -> Iterator[Problem]:
    """What boot.conf says without effect: `messages` of `config.overruled`, which begin with the
    key. Pure."""
    for message in messages:
        file, line = known.place("tuning", message.partition(" ")[0])
        yield problem("overruled", file, line, message)
