"""What a TuneD image looks like inside, found out before it runs, once per image ID.

The contract with images, in its version `LAYOUT` (ocp-tuned-boot(8), THE IMAGE):

- the program of `contract = tuned` or of `contract = operand` is in it (`PROGRAMS`);
- a generated directory is mounted at `/etc/tuned`; the image's own files there, or in
  `/etc/tuned.orig`, are put into it for stock profiles to include;
- the host's `/var/lib/ocp-tuned` and `/var/lib/tuned` are mounted under `/host`, and in their own
  place where the image has no symbolic links there (as the operator's image has, dangling ones,
  over which nothing can be mounted);
- stock profiles are in `/usr/lib/tuned`.

An image may say which versions it is made for, in the label `LAYOUT_LABEL`, words apart.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from typing import Any

from ocp_tuned_boot.errors import HostError, ImageError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.typedjson import from_json
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.tuned import log as tunedlog

log = logging.getLogger(__name__)

#: Raised when an image that suits the version before may not suit this one.
LAYOUT = 1
LAYOUT_LABEL = "ocp-tuned-boot.layout"

#: What each contract starts.
PROGRAMS = {"tuned": "/usr/sbin/tuned", "operand": "/usr/bin/cluster-node-tuning-operator"}

#: Of the cache. Raised when what is looked at changes; an older file is looked up again.
VERSION = 3

#: So many images are remembered: the current one, the one before, and one that is tried.
KEPT = 3

#: The name of our container, and the label by which we know it is ours.
CONTAINER = "openshift-tuned"
LABEL = "ocp-tuned-boot"

#: Where the proposal's unit mounts the host's directories, and where they stand on the host.
HOST_LINKS = ("/var/lib/ocp-tuned", "/var/lib/tuned")

#: Where TuneD's packages put their profiles.
STOCK_PROFILES = "/usr/lib/tuned"

# What TuneD's own packages put in /etc/tuned that is not for profiles to include.
_NOT_FOR_PROFILES = {"tuned-main.conf", "recommend.conf", "ppd.conf"}


@dataclass(frozen=True)
class Layout:
    """`links`: those of `HOST_LINKS` that are symbolic links in the image; `variables`: the
    image's own files in `/etc/tuned` for profiles to include, by name; `profiles`: the `tuned.conf`
    of each of its own profiles, by its path; `programs`: those of `PROGRAMS` that it has;
    `made_for`: what it says in `LAYOUT_LABEL`."""

    links: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    profiles: dict[str, str] = field(default_factory=dict)
    programs: tuple[str, ...] = ()
    made_for: str = ""


def check(layout: Layout, contract: str, reference: str) -> None:
    """Raises `ImageError` for an image that does not keep the contract: it is never started."""
    if layout.made_for and str(LAYOUT) not in layout.made_for.split():
        said = tunedlog.printable(layout.made_for.encode())
        raise ImageError(
            f"the image {reference} is made for layout {said} (its label {LAYOUT_LABEL}), "
            f"expected {LAYOUT}",
            "It and this version of ocp-tuned-boot do not go together: update one of them.",
        )
    program = PROGRAMS[contract]
    if program not in layout.programs:
        raise ImageError(
            f"the image {reference} has no {program}, which contract = {contract} starts",
            "Is it an image with TuneD? See THE IMAGE in ocp-tuned-boot(8).",
        )


def of(paths: Paths, podman: Podman, image_id: str) -> Layout:
    """The layout of an image: from the cache, or by looking into it. Raises `PodmanError`."""
    known = cached(paths, image_id)
    if known is not None:
        return known
    layout = _look(podman, image_id)
    try:
        _remember(paths, image_id, layout)
    except HostError as error:
        # It costs the next boot some time, no more.
        log.warning("%s", error)
    return layout


def _remember(paths: Paths, image_id: str, layout: Layout) -> None:
    """In the place of those of other images: they are seldom asked for again."""
    files.directory(paths.layouts, paths.root)
    content = {"version": VERSION, **asdict(layout)}
    files.write(paths.layouts / f"{image_id}.json", json.dumps(content, indent=2).encode())
    with files.explained("clear up", paths.layouts):
        known = sorted(paths.layouts.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in known[:-KEPT]:
            old.unlink()


def cached(paths: Paths, image_id: str) -> Layout | None:
    """What was found in this image before, or None."""
    try:
        return _parse(from_json(files.read(paths.layouts / f"{image_id}.json")))
    except (FileNotFoundError, HostError, ValueError, KeyError, TypeError, AttributeError):
        # A cache that cannot be read is no reason to fail: look again and write it anew.
        return None


def _parse(content: dict[str, Any]) -> Layout:
    links, variables = tuple(content["links"]), dict(content["variables"])
    profiles, programs = dict(content["profiles"]), tuple(content["programs"])
    sound = (
        set(links) <= set(HOST_LINKS)
        and set(programs) <= set(PROGRAMS.values())
        and isinstance(content["made_for"], str)
        and all(isinstance(text, str) for text in (*variables.values(), *profiles.values()))
        and not any("/" in name for name in variables)
    )
    if content["version"] != VERSION or not sound:
        raise ValueError("this version has not written that")
    return Layout(links, variables, profiles, programs, content["made_for"])


def _look(podman: Podman, image_id: str) -> Layout:
    """Looks into a container of the image that is created and never started."""
    created = podman.create(
        {"name": CONTAINER, "image": image_id, "labels": {LABEL: "1"}, "entrypoint": ["/never-run"]}
    )
    variables: dict[str, str] = {}
    # The operator's image has moved /etc/tuned aside.
    for folder in ("/etc/tuned.orig", "/etc/tuned"):
        for name, data in podman.files(created.id, folder).items():
            if "/" not in name and name.endswith(".conf") and name not in _NOT_FOR_PROFILES:
                variables[name] = data.decode(errors="replace")
    links = tuple(path for path in HOST_LINKS if podman.is_link(created.id, path))
    profiles = {
        f"{STOCK_PROFILES}/{path}": data.decode(errors="replace")
        for path, data in podman.files(created.id, STOCK_PROFILES).items()
        if path.endswith("/tuned.conf")
    }
    programs = tuple(path for path in PROGRAMS.values() if podman.has(created.id, path))
    podman.remove(created.id)
    return Layout(links, variables, profiles, programs, created.labels.get(LAYOUT_LABEL, ""))
