"""What worked last, for a boot in which what is requested cannot be used: the last image, if
`image.env` is not valid or the image is not available; the last profile, if the requested one is
not valid or TuneD cannot load it."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from ocp_tuned_boot.errors import HostError, NewerVersion
from ocp_tuned_boot.host import files, machine
from ocp_tuned_boot.host.machine import OtherMachine
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.typedjson import Format, typed
from ocp_tuned_boot.tuned.profilefile import ProfileFile

log = logging.getLogger(__name__)

FORMAT = Format(1)
#: The largest file has 2 MiB of files in base64, and 256 KiB of their names, of which JSON may
#: escape each byte.
PROFILE_FORMAT = Format(1, 5 * 1024 * 1024)


@dataclass(frozen=True)
class LastGood:
    """The reference by which it was requested, and its ID in Podman's store."""

    image: str
    image_id: str


def read(paths: Paths) -> LastGood | None:
    """The last image that worked, or None. A file that cannot be used is logged."""
    try:
        content = FORMAT.read(paths.last_good)
        machine.check(paths, content, paths.last_good)
        image, image_id = content["image"], content["image_id"]
        if not isinstance(image, str) or not image:
            raise TypeError(f"found the image {image!r}, expected its name")
    except FileNotFoundError:
        return None
    except (NewerVersion, OtherMachine) as error:
        log.warning("%s", error)
        return None
    except (HostError, ValueError, KeyError, TypeError) as error:
        log.warning("%s: found no image that worked, ignoring the file: %s", paths.last_good, error)
        return None
    return LastGood(image, str(image_id))


def remember(paths: Paths, image: str, image_id: str) -> None:
    """Records that a profile was applied with this image. Raises `HostError`."""
    known = read(paths) == LastGood(image, image_id)
    if not (known and _is_named(paths, FORMAT, paths.last_good)):  # no needless write in every boot
        files.directory(paths.state, paths.root)
        content = machine.named(paths, asdict(LastGood(image, image_id)))
        FORMAT.write(paths.last_good, content)


def _is_named(paths: Paths, form: Format, path: Path) -> bool:
    """Whether a file that was read just now names this machine. Raises `HostError`."""
    return machine.is_named(paths, form.read(path))


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
        content = PROFILE_FORMAT.read(paths.last_profile)
        machine.check(paths, content, paths.last_profile)
        name, provider = typed(str, content["profile"]), typed(str, content["provider"])
        found = tuple(
            ProfileFile(
                typed(str, each["path"]),
                base64.b64decode(typed(str, each["data"]), validate=True),
                # Earlier releases wrote only whether it may be executed.
                typed(int, each.get("mode", 0o755 if typed(bool, each["executable"]) else 0o644)),
            )
            for each in typed(list, content["files"])
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HostError(f"{where}: found no profile, ignoring the file: {error}") from error
    return LastProfile(name, provider, found)


def remember_profile(paths: Paths, applied: LastProfile) -> None:
    """Records that this profile was applied. Raises `HostError`."""
    import base64  # noqa: PLC0415

    try:
        known = _profile(paths) == applied
        if known and _is_named(paths, PROFILE_FORMAT, paths.last_profile):
            return  # no needless write in every boot
    except NewerVersion:
        raise
    except (FileNotFoundError, HostError):
        pass
    content = {
        "profile": applied.profile,
        "provider": applied.provider,
        "files": [
            {
                "path": each.path,
                "executable": each.executable,
                "mode": each.mode,
                "data": base64.b64encode(each.data).decode(),
            }
            for each in applied.files
        ],
    }
    files.directory(paths.state, paths.root)
    PROFILE_FORMAT.write(paths.last_profile, machine.named(paths, content), 0o600)
