"""The layout of a TuneD image: which files it contains. Read before it runs, once per image ID.

The contract with images, in its version `LAYOUT` (ocp-tuned-boot(8), THE IMAGE):

- The image contains the program of `contract = tuned` or of `contract = operand` (`PROGRAMS`).
- With `contract = tuned`, a generated directory is mounted at `/etc/tuned`. The image's own files
  there, or in `/etc/tuned.orig`, are copied to it, for stock profiles to include. With
  `contract = operand`, an empty directory is mounted there if the image has `/etc/tuned.orig`: the
  program then replaces its content by that of `/etc/tuned.orig`.
- The host's `/var/lib/ocp-tuned` and `/var/lib/tuned` are mounted below `/host`. They are also
  mounted at their own paths, unless the image has symbolic links there: those of the operator's
  image are dangling, and nothing can be mounted over them.
- Stock profiles are in `/usr/lib/tuned`.

The label `LAYOUT_LABEL` of an image lists the versions that it supports, separated by spaces.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from typing import Any

from ocp_tuned_boot.errors import HostError, ImageError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.typedjson import Format
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.tuned import log as tunedlog
from ocp_tuned_boot.tuned import ours, profiles
from ocp_tuned_boot.tuned.ours import CONTAINER, LABEL

log = logging.getLogger(__name__)

#: Incremented when an image made for the previous version may not work with this one.
LAYOUT = 1
LAYOUT_LABEL = "ocp-tuned-boot.layout"

#: The program that each contract starts.
PROGRAMS = {"tuned": "/usr/sbin/tuned", "operand": "/usr/bin/cluster-node-tuning-operator"}

#: The version of a cached layout is incremented when more is read; an older one is read again.
FORMAT = Format(4, durable=False)

#: The number of cached layouts: the current image, the previous one, and one that is tried.
KEPT = 3

#: The host's directories that the proposal's unit mounts below `/host`.
HOST_LINKS = ("/var/lib/ocp-tuned", "/var/lib/tuned")

#: The folder of the profiles in TuneD's packages.
STOCK_PROFILES = "/usr/lib/tuned"

# Files of TuneD's packages in /etc/tuned that profiles do not include.
_NOT_FOR_PROFILES = {"tuned-main.conf", "recommend.conf", "ppd.conf"}


@dataclass(frozen=True)
class Layout:
    """What an image contains.

    `links`: those of `HOST_LINKS` that are symbolic links; `variables`: the text of each file in
    `/etc/tuned` that profiles may include, by name; `profiles`: the text of the `tuned.conf` of
    each stock profile, by path; `programs`: those of `PROGRAMS` that exist; `made_for`: the label
    `LAYOUT_LABEL`; `refills`: it has `/etc/tuned.orig`.
    """

    links: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    profiles: dict[str, str] = field(default_factory=dict)
    programs: tuple[str, ...] = ()
    made_for: str = ""
    refills: bool = False


def texts(layout: Layout) -> dict[str, str]:
    """Every text of the image that a profile may be made of, by its path in the container."""
    variables = {f"{profiles.CUSTOM}/{name}": text for name, text in layout.variables.items()}
    return {**layout.profiles, **variables}


def check(layout: Layout, contract: str, reference: str) -> None:
    """Raises `ImageError` for an image that does not follow the contract. It is never started."""
    if layout.made_for and str(LAYOUT) not in layout.made_for.split():
        label = tunedlog.printable(layout.made_for.encode())
        raise ImageError(
            f"the image {reference} is made for layout {label} (label {LAYOUT_LABEL}), "
            f"expected {LAYOUT}",
            "This version of ocp-tuned-boot cannot run the image: update one of the two.",
        )
    program = PROGRAMS[contract]
    if program not in layout.programs:
        raise ImageError(
            f"the image {reference} has no {program}, which contract = {contract} requires",
            "Request an image that contains TuneD; see THE IMAGE in ocp-tuned-boot(8).",
        )


def of(paths: Paths, podman: Podman, image_id: str, container: str = CONTAINER) -> Layout:
    """The layout of an image, from the cache or read from the image, in a container of this name.
    Raises `PodmanError`."""
    known = cached(paths, image_id)
    if known is not None:
        return known
    layout = _read(paths, podman, image_id, container)
    try:
        _remember(paths, image_id, layout)
    except HostError as error:
        # The next boot reads the image again, which only takes time.
        log.warning("%s", error)
    return layout


def _remember(paths: Paths, image_id: str, layout: Layout) -> None:
    """Adds a layout to the cache, and removes the oldest ones. Raises `HostError`."""
    files.directory(paths.layouts, paths.root)
    FORMAT.write(paths.layouts / f"{image_id}.json", asdict(layout))
    with files.explained("clean up", paths.layouts):
        known = sorted(paths.layouts.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in known[:-KEPT]:
            old.unlink()


def cached(paths: Paths, image_id: str) -> Layout | None:
    """The layout of an image from the cache, or None."""
    try:
        return _parse(FORMAT.read(paths.layouts / f"{image_id}.json"))
    except (FileNotFoundError, HostError, ValueError, KeyError, TypeError, AttributeError):
        # A broken cache is no reason to fail: the image is read again.
        return None


def _parse(content: dict[str, Any]) -> Layout:
    links, variables = tuple(content["links"]), dict(content["variables"])
    stock, programs = dict(content["profiles"]), tuple(content["programs"])
    sound = (
        set(links) <= set(HOST_LINKS)
        and set(programs) <= set(PROGRAMS.values())
        and isinstance(content["made_for"], str)
        and isinstance(content["refills"], bool)
        and all(isinstance(text, str) for text in (*variables.values(), *stock.values()))
        and not any("/" in name for name in variables)
    )
    if not sound:
        raise ValueError("not written by this version")
    return Layout(links, variables, stock, programs, content["made_for"], content["refills"])


def _read(paths: Paths, podman: Podman, image_id: str, container: str) -> Layout:
    """Reads the files of the image, in a container that is created and never started."""
    created = ours.create(
        podman, paths,
        {
            "name": container, "image": image_id, "labels": {LABEL: "1"},
            "entrypoint": ["/never-run"], "image_volume_mode": "tmpfs",
        },
    )  # fmt: skip
    variables: dict[str, str] = {}
    # The operator's image has its files in /etc/tuned.orig.
    original = podman.files(created.id, "/etc/tuned.orig")
    for found in (original, podman.files(created.id, "/etc/tuned")):
        for name, data in found.items():
            if "/" not in name and name.endswith(".conf") and name not in _NOT_FOR_PROFILES:
                variables[name] = data.decode(errors="replace")
    links = tuple(path for path in HOST_LINKS if podman.is_link(created.id, path))
    stock = {
        f"{STOCK_PROFILES}/{path}": data.decode(errors="replace")
        for path, data in podman.files(created.id, STOCK_PROFILES).items()
        if path.endswith("/tuned.conf")
    }
    programs = tuple(path for path in PROGRAMS.values() if podman.has(created.id, path))
    podman.remove(created.id)
    made_for = created.labels.get(LAYOUT_LABEL, "")
    return Layout(links, variables, stock, programs, made_for, bool(original))
