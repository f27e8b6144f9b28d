"""Which profiles this node can apply, and what is known of each (`ocp-tuned-boot profile list`).

For users who may not read everything, and without Podman: what cannot be found out is a note.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Callable, TypeVar

from ocp_tuned_boot.commands.terminal import Row, Style
from ocp_tuned_boot.errors import BootError, one_line
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import known
from ocp_tuned_boot.record import store
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import inputs, missing
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.requested.missing import Search
from ocp_tuned_boot.tuned import layout, profiles
from ocp_tuned_boot.tuned.layout import Layout
from ocp_tuned_boot.tuned.profilefile import ProfileFile
from ocp_tuned_boot.tuned.profiles import Profile

#: How long Podman may take to say which image has a name (seconds).
PATIENCE = 5.0

T = TypeVar("T")


@dataclass(frozen=True)
class Listing:
    """`requested`, `named_in`: the requested profile, and by which file; `applied`, `since`: the
    one that is applied in this boot; all of them may be empty. `folder`: that of the custom
    profiles; `is_known`: the profiles of the image are; `notes`: what is wrong, a sentence each.
    """

    folder: str
    profiles: tuple[Profile, ...] = ()
    requested: str = ""
    named_in: str = ""
    applied: str = ""
    since: str = ""
    image: str = ""
    is_known: bool = False
    notes: tuple[str, ...] = ()


def look(paths: Paths, config_file: Path | None) -> Listing:
    """The profiles on the node and in the requested image."""
    notes = _Notes()
    config = notes.of(lambda: boot_conf.load(paths, config_file), Config())
    image = notes.of(lambda: inputs.read_image(paths, config.image), "")
    profile = notes.of(lambda: inputs.read_named(paths, config.profile), ("", ""))
    nothing: tuple[ProfileFile, ...] = ()
    files = notes.of(lambda: inputs.read_files(paths), nothing)
    # The rest of `Inputs` matters to a run only.
    requested = boot_conf.located(
        config, Inputs(image, profile[0], config.contract, "", files=files, named_in=profile[1])
    )
    seen = _layout(paths, config, image) if image else None
    texts = profiles.texts(files, layout.texts(seen) if seen else {})
    done = notes.of(lambda: store.of_this_boot(paths, inputs.boot_id(paths)), None)
    if requested.profile:
        active = done is not None and done.leaves_active
        search = Search(paths, config, requested, texts, seen is not None, is_active=active)
        notes.add(*search.notes())
    notes.add(*boot_conf.profiles_overruled(config, requested))
    if image and seen is None:
        words = f"The profiles of the image {image} are not known yet."
        notes.add(f"{words} To find out: {missing.LOOK}")
    applied = done.in_force if done is not None else None
    return Listing(
        str(inputs.with_profiles(paths).profiles), profiles.existing(texts),
        requested.profile, requested.named_in,
        applied.profile if applied else "", applied.since if applied else "",
        image, seen is not None, tuple(notes.said),
    )  # fmt: skip


@dataclass
class _Notes:
    """What cannot be found out, and what is wrong."""

    said: list[str] = field(default_factory=list)

    def add(self, *words: str) -> None:
        """Adds what is not part of another one."""
        self.said += [each for each in words if not any(each in said for said in self.said)]

    def of(self, read: Callable[[], T], default: T) -> T:
        """What `read` returns; if it fails, that is noted."""
        try:
            return read()
        except BootError as error:
            self.add(" ".join(str(error).split()))
            return default


def _layout(paths: Paths, config: Config, image: str) -> Layout | None:
    """What the image contains. Podman is asked only if the records of this node do not say which
    image the name means."""
    seen = known.layout_of(paths, image)
    if seen is not None:
        return seen
    from ocp_tuned_boot.images import ensure  # noqa: PLC0415
    from ocp_tuned_boot.podman.client import Podman  # noqa: PLC0415

    with suppress(BootError), Podman(config.socket, Deadline(PATIENCE)) as podman:
        found = ensure.find(paths, podman, image)
        return None if found is None else layout.cached(paths, found.id)
    return None


def rows(listing: Listing) -> Iterator[Row]:
    """For people."""
    by = f", named in {listing.named_in}" if listing.requested else ""
    yield Row(f"{listing.requested or 'none'}{by}", "requested")
    since = f", since {listing.since}" if listing.applied else ""
    yield Row(f"{listing.applied or 'none in this boot'}{since}", "applied")
    yield Row(listing.image or "none", "image")
    for note in listing.notes:
        yield Row(note, "note", Style.WARNING)
    ours = [it for it in listing.profiles if it.is_custom]
    yield from _part(listing, f"On this node, in {listing.folder}:", ours)
    if listing.is_known:
        others = [it for it in listing.profiles if not it.is_custom]
        yield from _part(listing, f"In the image {listing.image}:", others)


def _part(listing: Listing, heading: str, found: list[Profile]) -> Iterator[Row]:
    yield Row("", indented=False)
    yield Row(heading, style=Style.STRONG, indented=False, verbatim=True)
    if not found:
        yield Row("  none", indented=False)
    for each in found:
        states = [
            word
            for word, name in (("requested", listing.requested), ("applied", listing.applied))
            if each.name == name and each.first
        ]
        words = f" ({', '.join(states)})" if states else ""
        style = Style.GOOD if "applied" in states else Style.PLAIN
        name = _shown(each.name, is_name=inputs.is_profile_name(each.name))
        yield Row(f"  {name}{words}", style=style, indented=False, verbatim=True)
        yield Row(_about(each))


def _shown(name: str, *, is_name: bool) -> str:
    """The name, in quotes if it is none: a pod may have chosen words that say something else."""
    return one_line(name if is_name else repr(name))


def _about(profile: Profile) -> str:
    """What a profile is, in a line or two."""
    parts = [" ".join(profile.summary.split()).rstrip(".") or "It has no summary"]
    if profile.includes:
        # There may be a "-" before a name, and variables in it.
        names = (_shown(it, is_name=len(it.split()) == 1) for it in profile.includes)
        parts.append(f"Includes {', '.join(names)}")
    if not profile.first:
        parts.append("Not used: another one has this name and is found first")
    elif profile.shadows:
        parts.append(f"Used in place of {profile.shadows} of the image")
    return f"{'. '.join(parts)}."


def as_json(listing: Listing) -> str:
    """For programs."""
    content = asdict(listing)
    content["profiles"] = [
        {
            "name": each.name,
            "where": "node" if each.is_custom else "image",
            "path": f"{listing.folder}/{each.name}/tuned.conf" if each.is_custom else each.path,
            "summary": each.summary,
            "includes": each.includes,
            "shadows": each.shadows,
            "used": each.first,
        }
        for each in listing.profiles
    ]
    return json.dumps(content, indent=2)
