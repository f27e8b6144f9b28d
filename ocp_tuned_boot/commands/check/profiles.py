"""Custom profiles, by their text alone: without TuneD, without Podman, on any machine."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import nsmallest
from itertools import chain, count
from pathlib import Path

from ocp_tuned_boot.commands.check import lines, sysctls
from ocp_tuned_boot.commands.check.lines import Entry, Text
from ocp_tuned_boot.commands.check.problem import (
    Problem,
    Severity,
    lowered,
    not_checked,
    problem,
)
from ocp_tuned_boot.commands.check.request import Named
from ocp_tuned_boot.errors import ConfigurationError, HostError
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.tuned.profilefile import ProfileFile
from ocp_tuned_boot.tuned.profiles import CUSTOM, STOCK

#: The options whose values are scripts.
_SCRIPTS = ("script", "script_pre", "script_post")
#: The options because of which TuneD may leave out a section.
_CONDITIONS = ("enabled", "uname_regex", "cpuinfo_regex")
_FOLDER = "${i:PROFILE_DIR}"
#: How many includes are followed, at most, to say which way a circle goes: each time among so many
#: profiles, and in all of them together. A pod may write circles that take hours to describe.
_WAY, _STEPS = 100, 20_000
#: The most problems that are shown of the requested profile, and of each other one.
_MOST_REQUESTED, _MOST = 1000, 100
#: What a program may begin with: an interpreter, or the format of the kernel's own.
_PROGRAMS = (b"#!", b"\x7fELF")


@dataclass(frozen=True)
class Sources:
    """All that profiles are made of. `folder`: that of the custom profiles on this machine;
    `files`: theirs; `stock`: the text of each `tuned.conf` of the image, by its path in the
    container; None if it is not known."""

    folder: Path
    files: tuple[ProfileFile, ...] = ()
    stock: Mapping[str, str] | None = None

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """The text of each tuned.conf, by its path in the container."""
        custom = {
            f"{CUSTOM}/{file.path}": file.text
            for file in self.files
            if posixpath.basename(file.path) == "tuned.conf"
        }
        return {**(self.stock or {}), **custom}

    @cached_property
    def custom(self) -> Mapping[str, Text]:
        """The custom profiles by name."""
        return {
            file.path.partition("/")[0]: lines.read(file.text)
            for file in self.files
            if file.path.count("/") == 1 and file.path.endswith("/tuned.conf")
        }

    @cached_property
    def by_path(self) -> Mapping[str, ProfileFile]:
        """The files of the custom profiles by their path in the container."""
        return {f"{CUSTOM}/{file.path}": file for file in self.files}

    def on_host(self, path: str) -> str:
        """Where a file that has this path in the container is to be changed."""
        if path.startswith(f"{CUSTOM}/"):
            return str(self.folder / path[len(CUSTOM) + 1 :])
        return path

    def file(self, name: str) -> str:
        """The tuned.conf of a custom profile."""
        return str(self.folder / name / "tuned.conf")


# The folder.


def read(folder: Path, root: Path) -> tuple[tuple[ProfileFile, ...], list[Problem]]:
    """The files of all profiles in a folder below `root`, and what is wrong with their names and
    places."""
    found: list[Problem] = []
    try:
        files = tuple(inputs.profile_files(folder, root))
        entries = [(it.path.relative_to(folder), it.is_folder) for it in inputs.tree(folder, root)]
    except (ConfigurationError, HostError) as error:
        if isinstance(error.__cause__, PermissionError):
            return (), [not_checked("The profiles", error.message, "Run this command as root.")]
        file, line = _place(error.message, folder)
        return (), [problem("profiles-unreadable", file, line, error.message, error.hint)]
    found += places(folder, entries)
    return files, found


def _place(message: str, folder: Path) -> tuple[str, int]:
    """The file that an error names, and the line."""
    named = re.search(rf"{re.escape(str(folder))}[^:]*", message)
    line = re.search(r": line (\d+):", message)
    return (named[0] if named else str(folder)), int(line[1]) if line else 0


def places(folder: Path, entries: Sequence[tuple[Path, bool]]) -> Iterator[Problem]:
    """What lies in a wrong place. `entries`: paths below the folder, and whether it is a folder.
    Pure."""
    paths = {path for path, _ in entries}
    for path, is_folder in entries:
        if path.parts[0].startswith("."):
            continue
        where, name = folder / path, path.name
        if len(path.parts) == 1 and not is_folder and name.endswith(".conf"):
            own = "NAME" if name == "tuned.conf" else path.stem
            yield problem(
                "profile-not-in-folder", where, 1,
                f"{where} is a file, and a profile is a folder that contains tuned.conf",
                f"Move it to {folder / own / 'tuned.conf'}.",
            )  # fmt: skip
        elif len(path.parts) == 1 and is_folder:
            yield from _folder(where, path, paths)
        elif name == "tuned.conf" and len(path.parts) > 2:
            yield problem(
                "profile-too-deep", where, 1,
                f"TuneD does not look for a profile in {where.parent}",
                f"Move the folder to {folder / path.parent.name}.",
            )  # fmt: skip


def none_in(folder: Path, found: Sequence[Problem]) -> Iterator[Problem]:
    """That a folder contains no profile, beside what was `found` there. It may be the folder of one
    profile."""
    if any(it.kind in ("profiles-unreadable", "not-checked") for it in found):
        yield from found
        return
    own = folder / "tuned.conf"
    if not any(it.file == str(own) for it in found):
        words = f"{folder} contains no profile"
        advice = "Each profile is a folder in it: NAME/tuned.conf."
        yield problem("no-profiles", folder, 0, words, advice)
        yield from found
    else:
        above = folder.parent if folder.name not in ("", "..") else folder.resolve().parent
        words = f"{folder} is the folder of one profile, not the one that contains it"
        advice = f"To check it: ocp-tuned-boot check --profiles {shlex.quote(str(above))}"
        yield problem("no-profiles", own, 1, words, advice)


def _folder(where: Path, path: Path, paths: set[Path]) -> Iterator[Problem]:
    deeper = [it for it in paths if it.name == "tuned.conf" and it.parts[0] == path.name]
    if not deeper:
        yield problem(
            "no-tuned-conf", where, 0, f"the folder {where} has no tuned.conf",
            "Write this file, or remove the folder.",
        )  # fmt: skip
    elif not inputs.is_profile_name(path.name):
        yield problem(
            "profile-name", where / "tuned.conf", 1,
            f"TuneD ignores the profile {path.name!r}: a name has letters, digits, '_', '.', '-'",
            "Rename the folder.",
        )  # fmt: skip


# The texts. Everything from here on is pure.


def check(sources: Sources, profile: Named) -> Iterator[Problem]:
    """What is wrong with the custom profiles. Without a requested `profile` all of them count; else
    a mistake in one that it does not reach is at most a warning."""
    walk = Walk(sources)
    used = walk.reached(profile.value) if profile.value else set(sources.custom)
    # What matters most comes first: the ways of circles are looked for only so often.
    for name in sorted(sources.custom, key=lambda it: (it != profile.value, it not in used)):
        all_of = chain(_text(sources, name, sources.custom[name]), walk.includes(name))
        most = _MOST_REQUESTED if name == profile.value else _MOST
        found = _limited(all_of, most, name, sources.file(name))
        yield from found if name in used else (lowered(each, Severity.WARNING) for each in found)
    if profile.value:
        yield from unknown(sources, profile)
    yield from _shadows(sources)


def _limited(found: Iterable[Problem], most: int, name: str, file: str) -> Iterator[Problem]:
    """The worst problems of one profile, and how many more there are: a pod may write any number of
    mistakes."""
    order, numbers = list(Severity), count()
    counted = (each for each, _ in zip(found, numbers))
    yield from nsmallest(most, counted, key=lambda it: order.index(it.severity))
    left = next(numbers) - most
    if left > 0:
        words = f"{left} more problem{'s are' if left > 1 else ' is'} not shown"
        yield not_checked(f"The profile {name!r}", words, file=file)


def unknown(sources: Sources, profile: Named) -> Iterator[Problem]:
    """The requested profile, if there is none of this name."""
    texts = sources.texts
    if any(f"{folder}/{profile.value}/tuned.conf" in texts for folder in (CUSTOM, *STOCK)):
        return
    if sources.stock is None:
        yield not_checked(
            f"The profile {profile.value!r}",
            f"it is not in {sources.folder}; whether the image has it is not known",
            file=profile.file, line=profile.line,
        )  # fmt: skip
        return
    yield problem(
        "unknown-profile", profile.file, profile.line,
        f"No profile {profile.value!r} in {sources.folder} or in the image",
        "Fix the name, or add the profile.",
    )  # fmt: skip


def _shadows(sources: Sources) -> Iterator[Problem]:
    for name, text in sources.custom.items():
        stock = [f"{each}/{name}/tuned.conf" for each in STOCK]
        found = next((path for path in stock if path in (sources.stock or {})), "")
        if found and name not in _names(text):
            yield problem(
                "shadowed-stock-profile",
                sources.file(name),
                1,
                f"this profile is used instead of the image's own {name}",
            )


def _names(text: Text) -> list[str]:
    """The names in `include=`, each once, without those that are computed."""
    found = text.find("main", "include")
    if found is None or "${" in found.value:
        return []
    names = (each.strip() for each in re.split(r"[,;]", found.value))
    return [each for each in dict.fromkeys(names) if each]


class Walk:
    """Follows `include=` as TuneD does (tuned/profiles/loader.py): a profile that includes its own
    name includes the next one of that name, and what was included before is left out."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._texts = {path: lines.read(text) for path, text in sources.texts.items()}
        self._names = {path: _names(text) for path, text in self._texts.items()}
        #: The files that each file includes.
        self._follows = {
            path: [it for name in names if (it := self._locate(name, [path]))]
            for path, names in self._names.items()
        }
        self._groups = _groups(self._follows)
        self._steps = _STEPS

    def _locate(self, name: str, without: Sequence[str] = ()) -> str:
        for folder in (CUSTOM, *STOCK):
            path = f"{folder}/{_bare(name)}/tuned.conf"
            if path in self._texts and path not in without:
                return path
        return ""

    def reached(self, profile: str) -> set[str]:
        """The names of this profile and of all that it includes, as far as they are known."""
        found: set[str] = set()
        left = [profile]
        while left:
            name = _bare(left.pop())
            if name not in found:
                found.add(name)
                paths = [f"{folder}/{name}/tuned.conf" for folder in (CUSTOM, *STOCK)]
                left += [it for path in paths for it in self._names.get(path, ())]
        return found

    def top(self) -> list[str]:
        """The custom profiles that no other one includes; where some include each other, the first
        of them."""
        first: dict[str, str] = {}
        for name in self._sources.custom:
            first.setdefault(self._groups[_custom(name)], name)
        included, seen = set(), set()
        left = [_custom(name) for name in self._sources.custom]
        while left:
            here = left.pop()
            if here not in seen:
                seen.add(here)
                left += self._follows[here]
                groups = {self._groups[it] for it in self._follows[here]}
                included |= groups - {self._groups[here]}
        return [name for group, name in first.items() if group not in included]

    def includes(self, profile: str) -> Iterator[Problem]:
        """What is wrong with the includes of one custom profile."""
        path = _custom(profile)
        entry = self._texts[path].find("main", "include")
        for name in self._names[path]:
            yield from self._include(profile, name, entry.line if entry else 0)

    def _include(self, profile: str, name: str, line: int) -> Iterator[Problem]:
        file, own = self._sources.file(profile), _custom(profile)
        found = self._locate(name, [own])
        if not found and self._sources.stock is None and not name.startswith("-"):
            words = f"it is not in {self._sources.folder}; whether the image has it is not known"
            yield not_checked(f"The included profile {name!r}", words, file=file, line=line)
        elif not found and _bare(name) == profile:
            yield problem(
                "include-circle",
                file,
                line,
                f"the profile includes itself, and there is no other {profile!r}",
                "Remove the include.",
            )
        elif not found and not name.startswith("-"):
            yield problem(
                "missing-include",
                file,
                line,
                f"No profile {name!r} in {self._sources.folder} or in the image, which {profile} "
                "includes",
                "Fix the name, or write -NAME for a profile that may be missing.",
            )
        elif found and self._groups[found] == self._groups[own]:
            way = self._back(found, own)
            shown = f" ({' → '.join([profile, *way, profile])})" if way else ""
            yield problem(
                "include-circle",
                file,
                line,
                f"{profile} includes {name}, which includes {profile} again{shown}",
                "Remove one of the includes.",
            )

    def _back(self, path: str, to: str) -> list[str]:
        """The names of the profiles from this file to one that includes `to`; empty if that is too
        far, or if the ways of other circles took all steps."""
        seen, left = {path}, [(path, [_name(path)])]
        while left:
            here, way = left.pop(0)
            for following in self._follows[here]:
                if not self._steps:
                    return []
                self._steps -= 1
                if following == to:
                    return way
                if following not in seen and len(seen) < _WAY:
                    seen.add(following)
                    left.append((following, [*way, _name(following)]))
        return []


def _groups(follows: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The group of each path, by one of its members: from each in a group one comes to each other
    one of it. One that is on no circle is a group by itself. (Tarjan's strongly connected
    components, without recursion.)"""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    group: dict[str, str] = {}
    for start in follows:
        work = [] if start in number else [(start, iter(follows[start]))]
        if work:
            number[start] = low[start] = len(number)
            stack.append(start)
        while work:
            here, left = work[-1]
            step = next(left, None)
            if step is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[here])
                while low[here] == number[here] and here not in group:
                    group[stack.pop()] = here
            elif step not in number:
                number[step] = low[step] = len(number)
                stack.append(step)
                work.append((step, iter(follows[step])))
            elif step not in group:
                low[here] = min(low[here], low[step])
    return group


def _bare(name: str) -> str:
    """The name in an `include=`: "-" before it means that it may be missing, and TuneD ignores a
    path."""
    return posixpath.basename(name.lstrip("-"))


def _custom(name: str) -> str:
    """The path of a custom profile."""
    return f"{CUSTOM}/{name}/tuned.conf"


def _name(path: str) -> str:
    return posixpath.basename(posixpath.dirname(path))


def _text(sources: Sources, name: str, text: Text) -> Iterator[Problem]:
    """What is wrong with one tuned.conf by itself."""
    file = sources.file(name)
    for broken in text.broken:
        yield problem(
            "profile-syntax",
            file,
            broken.line,
            f"found {broken.found!r}, expected '[section]' or 'option=value'",
        )
    for each, before in text.twice():
        if each.key:
            words = f"{each.key} in [{each.section}] is in line {before} as well; this one counts"
            yield problem("duplicate-key", file, each.line, words)
        else:
            words = f"[{each.section}] is in line {before} as well; TuneD merges both"
            yield problem("duplicate-section", file, each.line, words)
    for each in text.options():
        if each.key in _SCRIPTS:
            yield from _script(sources, name, each)
    for each, is_written in _sysctls(text):
        if why := sysctls.refused(each.key, each.value):
            wrong = problem("value-out-of-range", file, each.line, f"{each.key}: {why}")
            yield wrong if is_written else lowered(wrong, Severity.WARNING)


def _sysctls(text: Text) -> Iterator[tuple[Entry, bool]]:
    """The options of the sections of the sysctl plugin, and whether TuneD writes the value wherever
    the profile is applied."""
    options = text.options()
    kinds = {it.section: it.value for it in options if it.key == "type"}
    conditional = {it.section for it in options if it.key in _CONDITIONS}
    last = {(it.section, it.key): it for it in options}
    for each in options:
        if kinds.get(each.section, each.section) == "sysctl":
            counts = last[each.section, each.key] is each and each.section not in conditional
            yield each, counts and not sysctls.is_conditional(each.value)


def _script(sources: Sources, name: str, entry: Entry) -> Iterator[Problem]:
    file, folder = sources.file(name), f"{CUSTOM}/{name}"
    value = entry.value.replace(_FOLDER, folder)
    if "${" in value:
        return
    if entry.key != "script" and not value.startswith("/"):
        yield problem(
            "script-refused", file, entry.line,
            f"{entry.key} = {entry.value} is not an absolute path",
            f"Write {entry.key}={_FOLDER}/{value}",
        )  # fmt: skip
        return
    path = posixpath.normpath(posixpath.join(folder, value))
    if not path.startswith((f"{CUSTOM}/", *(f"{each}/" for each in STOCK))):
        yield problem(
            "script-refused", file, entry.line,
            f"{entry.value}: TuneD runs a script only from the folders of profiles",
            f"Move the script to {sources.folder / name}, and write "
            f"{_FOLDER}/{posixpath.basename(path)}",
        )  # fmt: skip
    elif path.startswith(f"{CUSTOM}/"):
        yield from _program(sources, file, entry, path)


def _program(sources: Sources, file: str, entry: Entry, path: str) -> Iterator[Problem]:
    """What is wrong with a script of a custom profile."""
    where = sources.on_host(path)
    found = sources.by_path.get(path)
    if found is None:
        yield problem("script-missing", file, entry.line, f"there is no script {where}")
        return
    if not found.executable:
        yield problem(
            "script-not-executable", where, 1, f"{where} is not executable",
            f"To make it executable: chmod +x {shlex.quote(where)}",
        )  # fmt: skip
    first = found.data.split(b"\n", 1)[0]
    if not first.startswith(_PROGRAMS):
        words = f"{where} does not begin with #! and an interpreter: the kernel cannot run it"
        yield problem("script-no-interpreter", where, 1, words, "Begin it with #!/bin/sh")
    elif first.endswith(b"\r"):
        words = f"the first line of {where} ends in a carriage return, which is a part of the name"
        yield problem(
            "script-no-interpreter", where, 1, words, "Write the file with Unix newlines."
        )
