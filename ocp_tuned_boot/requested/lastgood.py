"""The last image that worked. It is used in a boot in which `image.env` cannot be read, or in which
the requested image is not available."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.typedjson import from_json

log = logging.getLogger(__name__)

VERSION = 1


@dataclass(frozen=True)
class LastGood:
    """The reference by which it was requested, and its ID in Podman's store."""

    image: str
    image_id: str


def read(paths: Paths) -> LastGood | None:
    """The last image that worked, or None. A file that cannot be used is logged."""
    try:
        content = from_json(files.read(paths.last_good))
        image, image_id = content["image"], content["image_id"]
        if content["version"] != VERSION:
            raise ValueError(f"found version {content['version']}, expected {VERSION}")
        if not isinstance(image, str) or not image:
            raise TypeError(f"found the image {image!r}, expected its name")
    except FileNotFoundError:
        return None
    except (HostError, ValueError, KeyError, TypeError) as error:
        log.warning("%s: found no image that worked, ignoring the file: %s", paths.last_good, error)
        return None
    return LastGood(image, str(image_id))


def remember(paths: Paths, image: str, image_id: str) -> None:
    """Records that a profile was applied with this image. Raises `HostError`."""
    content = {"version": VERSION, **asdict(LastGood(image, image_id))}
    data = json.dumps(content).encode() + b"\n"
    try:
        same = files.read(paths.last_good) == data
    except (FileNotFoundError, HostError):
        same = False
    if not same:  # no needless write in every boot
        files.directory(paths.state, paths.root)
        files.write(paths.last_good, data)
