"""Which profiles a profile includes, as far as that is known without TuneD: for what is said before
it runs. Pure.

Follows tuned/profiles/{loader,locator}.py (2.20 to 2.28). A name that is computed (`${…}`) is not
known here. What a profile means, TuneD itself says when it is asked (asked.py).
"""

from __future__ import annotations

import configparser
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ocp_tuned_boot.tuned.profilefile import ProfileFile

#: Where TuneD searches for a profile: custom profiles, then stock ones. The first match wins.
CUSTOM, STOCK = "/etc/tuned", ("/usr/lib/tuned", "/usr/lib/tuned/profiles")

#: The limits of a profile with all its includes: characters, lines and files. What is beyond them
#: is not read: a pod may write a profile that takes hours to parse.
_SIZE, _LINES, _INCLUDES = 256 * 1024, 4000, 100


def texts(files: Sequence[ProfileFile], image: Mapping[str, str]) -> dict[str, str]:
    """Every text that a profile may be made of, by its path in the container: those of the image
    and those of the custom profiles."""
    custom = {f"{CUSTOM}/{file.path}": file.text for file in files}
    return {**image, **custom}


@dataclass(frozen=True)
class Profile:
    """A profile that exists. `path`: of its tuned.conf in the container; `includes`: as it says
    them, with variables; `shadows`: the path of the next one of this name, which is not used
    instead; empty if there is none. `first`: whether TuneD uses this one of its name."""

    name: str
    path: str
    summary: str = ""
    includes: tuple[str, ...] = ()
    shadows: str = ""
    first: bool = True

    @property
    def is_custom(self) -> bool:
        return self.path.startswith(f"{CUSTOM}/")


def existing(files: Mapping[str, str]) -> tuple[Profile, ...]:
    """Every profile in `files` (as for `absent`) by name, the one that TuneD uses first."""
    paths = sorted(((name, order, path) for path in files for name, order in _place(path)))
    found: list[Profile] = []
    for (name, _, path), (after, _, shadowed) in zip(paths, [*paths[1:], ("", 0, "")]):
        main = _main(files[path][:_SIZE])
        includes = tuple(filter(None, (each.strip() for each in _split(main.get("include", "")))))
        first = not found or found[-1].name != name
        shadows = shadowed if after == name else ""
        found.append(Profile(name, path, main.get("summary", ""), includes, shadows, first))
    return tuple(found)


def _place(path: str) -> Sequence[tuple[str, int]]:
    """The name of the profile whose file this is, and the place of its folder in the search; empty
    if it is no profile's."""
    folder, name = posixpath.split(posixpath.dirname(path))
    is_profile = posixpath.basename(path) == "tuned.conf" and folder in (CUSTOM, *STOCK)
    return [(name, (CUSTOM, *STOCK).index(folder))] if is_profile else []


def _split(include: str) -> list[str]:
    return re.split(r"[,;]", include)[:_INCLUDES] if include else []


def absent(profile: str, files: Mapping[str, str]) -> dict[str, str]:
    """The profiles that are missing in `files`: `profile` itself, or included ones (those included
    with `-` before the name are optional). With each, the path of the file that includes it.

    `files`: the text of each `tuned.conf`, by its path in the container. Other files do not exist.
    Never raises: TuneD reports what is wrong.
    """
    includes = _Includes(files)
    includes.follow(profile)
    return includes.absent


def unparsable(profile: str, files: Mapping[str, str]) -> dict[str, int]:
    """The files that TuneD reads for this profile and cannot parse, by their path in the container,
    with the first line that is neither a section nor an option. Otherwise as `absent`."""
    includes = _Includes(files)
    includes.follow(profile)
    return includes.unparsable


def loaded(profile: str, files: Mapping[str, str]) -> tuple[str, ...]:
    """The paths of the files that this profile is made of, as far as that is known without TuneD:
    its own, whose values win, and then those that it includes. `files`: as for `absent`."""
    includes = _Includes(files)
    includes.follow(profile)
    return tuple(includes._processed)


class _Includes:
    """A profile and those that it includes."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files
        self._processed: list[str] = []
        self._size = self._lines = 0
        self.absent: dict[str, str] = {}
        self.unparsable: dict[str, int] = {}

    def follow(self, name: str, by: str = "") -> None:
        path = self._locate(name, self._processed)
        if not name.startswith("-") and not self._locate(name, []):
            self.absent.setdefault(name, by)
        if not path:
            # Optional, or included before. In all other cases TuneD itself fails.
            return
        self._processed.append(path)
        if not self._has_room(self._files[path]):
            return
        main, line = _parsed(self._files[path])
        if line:
            self.unparsable[path] = line
        include = main.get("include", "")
        if "${" not in include:
            for each in _split(include):
                self.follow(each.strip(), path)

    def _has_room(self, text: str) -> bool:
        """Counts one more file, and returns whether the profile is still within the limits."""
        self._size += len(text)
        self._lines += text.count("\n")
        within = self._size <= _SIZE and self._lines <= _LINES
        return within and len(self._processed) <= _INCLUDES

    def _locate(self, name: str, processed: Sequence[str]) -> str:
        """The path of a profile's file; empty if there is none. A profile that includes its own
        name includes the next one of that name."""
        for folder in (CUSTOM, *STOCK):
            path = posixpath.join(folder, posixpath.basename(name.lstrip("-")), "tuned.conf")
            if path in self._files and path not in processed:
                return path
        return ""


def _main(text: str) -> Mapping[str, str]:
    """The section [main] of a profile; empty if there is none, or if the file is broken."""
    return _parsed(text)[0]


def _parsed(text: str) -> tuple[Mapping[str, str], int]:
    """The section [main] of a profile, and the first line that cannot be parsed; 0 if there is
    none."""
    # configparser needs quadratic time for a long run of spaces in a key.
    text = re.sub(r"[^\S\n]{64,}", " " * 64, text)
    parser = configparser.RawConfigParser(
        delimiters=("=",), inline_comment_prefixes=("#",), strict=False
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
        return (dict(parser.items("main")) if parser.has_section("main") else {}), 0
    except configparser.MissingSectionHeaderError as error:
        return {}, error.lineno
    except configparser.ParsingError as error:
        return {}, error.errors[0][0]
    except configparser.Error:
        return {}, 0
