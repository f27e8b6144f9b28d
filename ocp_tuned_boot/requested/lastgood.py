"""What worked last, for a boot in which what is requested cannot be used: the last image, if
`image.env` is not valid or the image is not available; the last profile, if the requested one is
not valid or TuneD cannot load it."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass

from ocp_tuned_boot.errors import HostError, NewerVersion
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.typedjson import check_version, from_json, typed
from ocp_tuned_boot.tuned.profilefile import ProfileFile

log = logging.getLogger(__name__)

VERSION = 1
#: The last profile with its files (bytes): 2 MiB of files in base64, and their names.
PROFILE_LIMIT = 4 * 1024 * 1024


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


@dataclass(frozen=True)
class LastProfile:
    """A profile that was applied: its name, the cloud provider, and all custom profile files."""

    profile: str
    provider: str = ""
    files: tuple[ProfileFile, ...] = ()


def profile(paths: Paths) -> LastProfile | None:
    """The last profile that was applied, or None. A file that cannot be used is logged."""
    try:
        return _profile(paths)
    except FileNotFoundError:
        return None
    except HostError as error:
        log.warning("%s", error)
        return None


def _profile(paths: Paths) -> LastProfile:
    """Raises `FileNotFoundError`, `HostError`, and `NewerVersion`."""
    import base64  # noqa: PLC0415  # not for a run that keeps what is applied

    where = str(paths.last_profile)
    try:
        content = from_json(files.read(paths.last_profile, PROFILE_LIMIT))
        check_version(content["version"], VERSION, where)
        name, provider = typed(str, content["profile"]), typed(str, content["provider"])
        found = tuple(
            ProfileFile(
                typed(str, each["path"]),
                base64.b64decode(typed(str, each["data"]), validate=True),
                typed(bool, each["executable"]),
            )
            for each in typed(list, content["files"])
        )
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(f"{where}: found no profile, ignoring the file: {error}") from error
    return LastProfile(name, provider, found)


def remember_profile(paths: Paths, applied: LastProfile) -> None:
    """Records that this profile was applied. Raises `HostError`."""
    import base64  # noqa: PLC0415

    try:
        if _profile(paths) == applied:  # no needless write in every boot
            return
    except NewerVersion:
        raise
    except (FileNotFoundError, HostError):
        pass
    content = {
        "version": VERSION,
        "profile": applied.profile,
        "provider": applied.provider,
        "files": [
            {
                "path": each.path,
                "executable": each.executable,
                "data": base64.b64encode(each.data).decode(),
            }
            for each in applied.files
        ],
    }
    files.directory(paths.state, paths.root)
    files.write(paths.last_profile, json.dumps(content).encode() + b"\n", 0o600)
