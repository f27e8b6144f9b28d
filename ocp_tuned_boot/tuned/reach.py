"""Which custom profile files the profile of this node can reach. Pure.

On OpenShift, a node has the profiles of the whole cluster. A change of one that this node does not
use is none here. Rather too many files are reached than too few: a profile's folder is taken as a
whole, with its scripts and variables files, and everything is reached where a path is computed by a
script.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ocp_tuned_boot.tuned.asked import Asked
from ocp_tuned_boot.tuned.profilefile import ProfileFile
from ocp_tuned_boot.tuned.profiles import CUSTOM

# The folder of all profiles, with a pattern or a variable in the name behind it, or nothing.
_COMPUTED = re.compile(
    rb"(?:/etc/tuned|/ocp-tuned/profiles|(?<![\w.])\.\.)(?![\w.-]|/[\w.-])|/ocp-tuned/(?![\w.-])"
    rb"|(?:/etc/tuned|/profiles|(?<![\w.])\.\.)/[\w.-]*[$*?\[{]"
)
# What can be the name of a folder, in a path or alone.
_WORD = re.compile(rb"[\w.-]+")


def reached(meaning: Asked | None, files: Sequence[ProfileFile]) -> tuple[ProfileFile, ...]:
    """Those of the custom profile `files` that can affect what the profile does. `meaning`: what
    TuneD said when it loaded the profile; without it all of them can."""
    if meaning is None or meaning.left:
        return tuple(files)
    # A folder counts if TuneD has looked there, or if something that counts names it in a path. One
    # whose name is no word cannot be found in that way.
    texts: dict[str, list[bytes]] = {}
    for file in files:
        texts.setdefault(_folder(file), []).append(file.data)
    names = set(texts)
    odd = {name for name in names if not _WORD.fullmatch(name.encode())}
    found = new = names & {*_looked_for(meaning), *odd}
    unread = [text.encode() for text in _texts(meaning)]
    while new or unread:
        unread += [data for name in new for data in texts[name]]
        if any(_COMPUTED.search(data) for data in unread):
            return tuple(files)
        words = set(_WORD.findall(b"\n".join(unread)))
        new = {name for name in names - found if name.encode() in words}
        found, unread = found | new, []
    return tuple(file for file in files if _folder(file) in found)


def _looked_for(meaning: Asked) -> Iterator[str]:
    """The profiles that TuneD has loaded, wherever it found them, and those that it did not find:
    a custom one of this name would be used."""
    yield from (name for name, _ in meaning.profiles)
    yield from meaning.absent_profiles
    for path in (*meaning.files, *meaning.absent):
        if path.startswith(f"{CUSTOM}/"):
            yield path[len(CUSTOM) + 1 :].partition("/")[0]


def _texts(meaning: Asked) -> Iterator[str]:
    """What TuneD has computed: paths of scripts and files may be in it."""
    yield from meaning.commands
    for section in meaning.sections:
        yield from (option.value for option in section.options)


def _folder(file: ProfileFile) -> str:
    return file.path.partition("/")[0]
