"""Which custom profile files the profile of this node can reach. Pure.

On OpenShift, a node has the profiles of the whole cluster. A change of one that this node does not
use is none here. Rather too many files are reached than too few: a profile's folder is taken as a
whole, with its scripts and variables files, and everything is reached where an include or a path is
computed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ocp_tuned_boot.tuned import profiles
from ocp_tuned_boot.tuned.profilefile import ProfileFile

#: What the operator's own profiles include by: the name of the cloud provider, which is known.
_PROVIDER = "${f:exec:cat:/var/lib/ocp-tuned/provider}"
# The folder of all profiles, with a pattern or a variable in the name behind it, or nothing.
_COMPUTED = re.compile(
    rb"(?:/etc/tuned|/ocp-tuned/profiles|(?<![\w.])\.\.)(?![\w.-]|/[\w.-])|/ocp-tuned/(?![\w.-])"
    rb"|(?:/etc/tuned|/profiles|(?<![\w.])\.\.)/[\w.-]*[$*?\[{]"
)


def texts(files: Sequence[ProfileFile], image: Mapping[str, str]) -> dict[str, str]:
    """Every text that a profile may be made of, by its path in the container: those of the image
    and those of the custom profiles."""
    custom = {f"{profiles.CUSTOM}/{file.path}": file.text for file in files}
    return {**image, **custom}


def reached(
    profile: str, provider: str, files: Sequence[ProfileFile], image: Mapping[str, str]
) -> tuple[ProfileFile, ...]:
    """Those of the custom profile `files` that can affect what `profile` does. `image`: the texts
    of the image, by path."""
    known = {path: text.replace(_PROVIDER, provider) for path, text in texts(files, image).items()}
    paths = profiles.loaded(profile, known)
    if paths is None:
        return tuple(files)
    # A folder counts if TuneD loads its profile, or if a file that counts names it in a path.
    names = {_folder(file) for file in files}
    found = {name for name in names if f"{profiles.CUSTOM}/{name}/tuned.conf" in paths}
    unread = [known[path].encode() for path in paths]
    seen: set[str] = set()
    while unread:
        if any(_COMPUTED.search(data) for data in unread):
            return tuple(files)
        found |= {name for name in names - found if _names(unread, name)}
        unread = [file.data for file in files if _folder(file) in found - seen]
        seen |= found
    return tuple(file for file in files if _folder(file) in found)


def _folder(file: ProfileFile) -> str:
    return file.path.partition("/")[0]


def _names(texts: Sequence[bytes], folder: str) -> bool:
    """Whether one of the texts has the name of a folder, in a path or alone."""
    name = re.compile(rb"(?<![\w.-])" + re.escape(folder.encode()) + rb"(?![\w.-])")
    return any(name.search(data) for data in texts)
