"""The last image that worked, for the boot in which `image.env` cannot be read."""

from __future__ import annotations

import json
import logging

from ocp_tuned_boot import files
from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.paths import Paths

log = logging.getLogger(__name__)

VERSION = 1


def read(paths: Paths) -> str:
    """Its reference; empty where none is known."""
    try:
        content = json.loads(files.read(paths.last_good))
        image = content["image"] if content["version"] == VERSION else ""
    except FileNotFoundError:
        return ""
    except (HostError, ValueError, KeyError, TypeError) as error:
        log.warning("%s: found no image that worked, expected one: %s", paths.last_good, error)
        return ""
    return image if isinstance(image, str) else ""


def remember(paths: Paths, image: str, image_id: str) -> None:
    """Takes down that this image has put a profile in force. Raises `HostError`."""
    data = json.dumps({"version": VERSION, "image": image, "image_id": image_id}).encode() + b"\n"
    try:
        same = files.read(paths.last_good) == data
    except (FileNotFoundError, HostError):
        same = False
    if not same:  # a disk is not written to at every boot for nothing
        files.directory(paths.state, paths.root)
        files.write(paths.last_good, data)
