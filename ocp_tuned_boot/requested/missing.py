"""A profile that is named and does not exist: where it was looked for, where it lies instead, and
what to type. `Search` reads what lies on the host; the words of `Missing` are pure.

Each mistake gets a sentence of its own: the name is mistyped, another file of boot.conf overrides
the right one, the profile lies in a folder where it is not looked for, or its file is not in a
folder.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.requested.keys import nearest
from ocp_tuned_boot.tuned import profiles
from ocp_tuned_boot.tuned.findings import RELOAD, START, Finding

#: The kinds of finding that are about such a profile.
KINDS = ("unknown-profile", "missing-include")
#: Shows every name that may be used.
LIST = "ocp-tuned-boot profile list"
#: Makes the profiles of the image known, and changes no setting.
LOOK = "ocp-tuned-boot image fetch"

_OF_BOOT_CONF = "[tuning] of "
#: A place whose description is longer is not shown: a pod may have made it.
_LONGEST = 1000


@dataclass(frozen=True)
class Misplaced:
    """What lies where no profile is looked for. `what`: a sentence about it; `fix`: what puts it
    right, with the command."""

    what: str
    fix: str


@dataclass(frozen=True)
class Missing:
    """A profile that does not exist.

    `folder`: where the custom profiles are; `image`: the reference of the image; `is_known`:
    whether its profiles are. `by`: the file that names it, `is_included`: by include=;
    `is_fixable`: that file can be changed on this host.

    `near`: the profile with the nearest name; `misplaced`: where it lies; `overruled`: what
    boot.conf says of the profile without effect, a sentence each; `other`: the profile named there,
    if it exists. `then`: how the advice ends, `START` or `RELOAD`.
    """

    name: str
    folder: str
    image: str
    by: str
    is_known: bool = True
    is_included: bool = False
    is_fixable: bool = True
    near: str = ""
    misplaced: Misplaced | None = None
    overruled: tuple[str, ...] = ()
    other: str = ""
    then: str = START

    @property
    def message(self) -> str:
        """What is missing, and where it was looked for."""
        if self.is_known:
            return f'No profile "{self.name}" in {self.folder} or in the image {self.image}'
        return (
            f'Profile "{self.name}" is not in {self.folder}; whether it is in the image '
            f"{self.image} is not known yet"
        )

    @property
    def advice(self) -> str:
        """Who names it, and what to type."""
        how = "include= in " if self.is_included else ""
        facts = [f"It is named in {how}{self.by}", *self.overruled]
        if self.misplaced is not None:
            facts.append(self.misplaced.what)
        elif not self.is_known:
            return ". ".join([*facts, f"To find out: {LOOK}"])
        return f"{'. '.join(facts)}. {self._fix()}, {self.then}"

    def _fix(self) -> str:
        if self.misplaced is not None:
            return self.misplaced.fix
        if not self.is_fixable:
            return f"Add the profile to {self.folder}, or request another image"
        either = f", or {self._remove()}" if self.other else ""
        if self.near:
            return f'Did you mean "{self.near}"? Write {self.near} there{either}'
        return f"To see all names, type {LIST}. Fix the name there{either}"

    def _remove(self) -> str:
        """What has the other file of boot.conf decide."""
        what = self.by
        if what.startswith(_OF_BOOT_CONF):
            what = f"profile = {self.name} from {what[len(_OF_BOOT_CONF) :]}"
        return f'remove {what} to use "{self.other}"'


@dataclass(frozen=True)
class Search:
    """Where profiles are looked for. `texts`: as for `profiles.absent`; `is_known`: those of the
    image are among them; `is_active`: the unit is, so what is fixed is applied by a reload."""

    paths: Paths
    config: Config
    requested: Inputs
    texts: Mapping[str, str]
    is_known: bool = True
    is_active: bool = False

    def notes(self) -> tuple[str, ...]:
        """What keeps TuneD from loading the requested profile, or may do so, with what to type."""
        unknown = () if self.is_known else self.all()
        found: tuple[Finding | Missing, ...] = (*self.wrong(), *unknown)
        return tuple(f"{each.message}. {each.advice}" for each in found)

    def wrong(self) -> tuple[Finding, ...]:
        """What keeps TuneD from loading the requested profile, as far as that is known without
        TuneD."""
        name = self.requested.profile
        broken = profiles.unparsable(name, self.texts)
        missing = self.all() if self.is_known else ()
        return (
            *(self._unparsable(path, line) for path, line in broken.items()),
            *(Finding(KINDS[it.is_included], it.name, it.message, it.advice) for it in missing),
        )

    def _unparsable(self, path: str, line: int) -> Finding:
        where = f"{on_host(self.paths, path) or path}, line {line}"
        advice = f"Expected is [section] or option=value. Fix this line, {self._then}"
        return Finding("broken-profile", path, f"TuneD cannot parse {where}", advice)

    @property
    def _then(self) -> str:
        return RELOAD if self.is_active else START

    def all(self) -> tuple[Missing, ...]:
        """Every profile that is missing, as far as that is known without TuneD."""
        absent = profiles.absent(self.requested.profile, self.texts)
        return tuple(self.missing(name) for name in absent)

    def has(self, name: str) -> bool:
        """Whether the profile exists."""
        return any(it.name == name for it in profiles.existing(self.texts))

    def missing(self, name: str) -> Missing:
        """What is known of one that is missing."""
        requested = self.requested
        names = [it.name for it in profiles.existing(self.texts)]
        folder = str(inputs.with_profiles(self.paths).profiles)
        found = Missing(
            name, folder, requested.image, requested.named_in, self.is_known,
            near=nearest(name, names), then=self._then,
        )  # fmt: skip
        misplaced = self._misplaced(name, is_near=bool(found.near))
        if name == requested.profile:
            overruled = boot_conf.profiles_overruled(self.config, requested)
            others = [it.value for it in self.config.namings if it.key == "profile"]
            other = next((it for it in reversed(others) if it in names), "")
            return replace(found, misplaced=misplaced, overruled=overruled, other=other)
        by = profiles.absent(requested.profile, self.texts).get(name, "")
        return replace(
            found, is_included=True, misplaced=misplaced, by=on_host(self.paths, by) or
            f"a profile that {requested.profile} includes",
            is_fixable=not by or by.startswith(f"{profiles.CUSTOM}/"),
        )  # fmt: skip

    def _misplaced(self, name: str, *, is_near: bool) -> Misplaced | None:
        found = [*self._beside(name), *self._deeper(name), *self._elsewhere(name)]
        if not is_near:
            found += self._nameless(name)
        return next((it for it in found if len(it.what) + len(it.fix) < _LONGEST), None)

    def _beside(self, name: str) -> Iterator[Misplaced]:
        """A file that is not in a folder of its own."""
        folder = self.paths.profiles / name
        file = folder.with_name(f"{name}.conf")
        if folder.is_file():
            yield _to_folder(folder, folder, f"mv {_quoted(folder)} {_quoted(file)} && ", file)
        if file.is_file():
            yield _to_folder(file, folder)

    def _nameless(self, name: str) -> Iterator[Misplaced]:
        """A file that may be the one of any profile."""
        file = self.paths.profiles / "tuned.conf"
        if file.is_file():
            found = _to_folder(file, self.paths.profiles / name)
            yield Misplaced(found.what, f'If it is the one of "{name}", m{found.fix[1:]}')

    def _deeper(self, name: str) -> Iterator[Misplaced]:
        """A folder in the folder of another profile, or one without tuned.conf."""
        top, folder = self.paths.profiles, self.paths.profiles / name
        paths = [top / it.path for it in self.requested.files]
        for path in paths:
            if path.name == "tuned.conf" and path.parent.name == name:
                command = f"mv {_quoted(path.parent)} {_quoted(top)}/"
                if folder in path.parents:
                    command = f"mv {_quoted(path.parent)}/* {_quoted(folder)}/"
                what = f"The profile is in {path.parent}, which is one folder too deep"
                yield Misplaced(what, f"Move it ({command})")
        if folder.is_dir():
            inside = [it for it in paths if it.parent == folder]
            yield _without_tuned_conf(folder, [it.name for it in inside])

    def _elsewhere(self, name: str) -> Iterator[Misplaced]:
        """A folder where only the host's own TuneD looks, or nobody."""
        paths, target = self.paths, self.paths.profiles / name
        made = "" if paths.profiles.is_dir() else f"mkdir -p {_quoted(paths.profiles)} && "
        etc = paths.admin_conf.parent
        ours = (paths.agent, paths.state / "profiles", paths.state, etc / "profiles", etc)
        hosts = [
            paths.root / tuned / more
            for tuned in ("etc/tuned", "var/lib/tuned", "usr/lib/tuned", "usr/local/lib/tuned")
            for more in ("profiles", "")
        ]
        for parent in (*ours, *hosts):
            folder, file = parent / name, parent / f"{name}.conf"
            if (folder / "tuned.conf").is_file():
                # What belongs to the host's own TuneD, or to a package, remains there.
                does, verb = ("Move", "mv") if parent in ours else ("Copy", "cp -r")
                command = f"{made}{verb} {_quoted(folder)} {_quoted(paths.profiles)}/"
                what = f"The profile is in {folder}, where ocp-tuned-boot does not look"
                yield Misplaced(what, f"{does} it ({command})")
            elif parent in ours and file.is_file() and file != paths.admin_conf:
                yield _to_folder(file, target)


def on_host(paths: Paths, path: str) -> str:
    """Where to change a file that has this path in the container: our `/etc/tuned` there is a copy
    of the custom profiles. Empty if it is not known."""
    folder = f"{profiles.CUSTOM}/"
    if path.startswith(folder):
        return str(inputs.with_profiles(paths).profiles / path[len(folder) :])
    if path.startswith("/usr/"):
        return f"{path} in the image"
    return path if path.startswith("/") else ""


def _to_folder(file: Path, folder: Path, first: str = "", source: Path | None = None) -> Misplaced:
    """A file that is the tuned.conf of the profile `folder`. `first`: a command that moves it to
    `source`."""
    command = f"{first}mkdir -p {_quoted(folder)} && mv {_quoted(source or file)}"
    return Misplaced(
        f"{file} is a file, and a profile is a folder that contains tuned.conf",
        f"Move it ({command} {_quoted(folder / 'tuned.conf')})",
    )


def _without_tuned_conf(folder: Path, names: Sequence[str]) -> Misplaced:
    """A folder that has only files of these `names`."""
    likely = [each for each in names if ".conf" in each or each in (folder.name, "tuned")]
    if len(likely) != 1:
        return Misplaced(f"The folder {folder} has no tuned.conf", "Write this file")
    command = f"mv {_quoted(folder / likely[0])} {_quoted(folder / 'tuned.conf')}"
    what = f"The folder {folder} has {likely[0]}, but no tuned.conf"
    return Misplaced(what, f"Rename it ({command})")


def _quoted(path: Path) -> str:
    return shlex.quote(os.fspath(path))
