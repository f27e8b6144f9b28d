"""What is put on a node on day 0: read, checked, and as files with their paths and modes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ocp_tuned_boot.errors import ConfigurationError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import config, inputs
from ocp_tuned_boot.tuned import profiles
from ocp_tuned_boot.tuned.profilefile import ProfileFile

#: The units of the package that have an [Install] section. The package installs their files.
UNITS = ("ocp-tuned.path", "ocp-tuned.service")


@dataclass(frozen=True)
class Content:
    """What is put on a node, checked. `image` and `profile` are empty if boot.conf sets them,
    `provider` if none was given. `boot_conf` is the text of that file, empty if there is none."""

    image: str = ""
    profile: str = ""
    boot_conf: str = ""
    files: tuple[ProfileFile, ...] = ()
    provider: str = ""
    #: `contract` in boot.conf.
    contract: str = "tuned"
    #: What the user should know, one sentence each.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeFile:
    """One file on the node, owned by root."""

    path: str
    data: bytes
    mode: int = 0o644


def read(
    folder: Path | None, image: str, profile: str, boot_conf: Path | None, provider: str = ""
) -> Content:
    """Reads and checks. `folder` contains a folder for each profile. Raises `ConfigurationError`
    and `HostError`, which name the file."""
    text = _boot_conf(boot_conf) if boot_conf else ""
    parsed = config.parse([(str(boot_conf), text)] if boot_conf else [])
    if image:
        inputs.parse_image_reference(image, "--image")
    if profile:
        inputs.parse_profile_name(profile, "--profile")
    if provider:
        inputs.parse_provider(provider, "--provider")
    for name, value in (("image", image or parsed.image), ("profile", profile or parsed.profile)):
        if not value:
            raise ConfigurationError(
                f"no {name} was given",
                f"Use --{name}, or set {name} in the [tuning] section of the --boot-conf file.",
            )
    parsed.images.check(image or parsed.image)
    files = _profile_files(folder) if folder else ()
    named = (("image", image, parsed.image), ("profile", profile, parsed.profile))
    notes = [
        f"--{name} {value} is used instead of {name} = {other} in {boot_conf}"
        for name, value, other in named
        if value and other not in ("", value)
    ]
    notes += _notes(profile or parsed.profile, files)
    return Content(image, profile, text, files, provider, parsed.contract, tuple(notes))


def _boot_conf(path: Path) -> str:
    if not os.path.lexists(path):
        raise ConfigurationError(f"{path}: there is no such file")
    return config.text(path)


def _profile_files(folder: Path) -> tuple[ProfileFile, ...]:
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: there is no such directory")
    if os.path.lexists(folder / "tuned.conf"):
        raise ConfigurationError(
            f"{folder}: found a tuned.conf, expected a directory for each profile"
        )
    for each in sorted(folder.iterdir()):
        if each.is_dir() and not os.path.lexists(each / "tuned.conf"):
            raise ConfigurationError(f"{each}: no tuned.conf found, expected one in each profile")
    found = sorted(inputs.profile_files(folder, folder), key=lambda file: file.path)
    for file in found:
        path = folder / file.path
        inputs.parse_profile_name(file.path.partition("/")[0], str(path))
        if not file.path.isprintable():
            raise ConfigurationError(
                f"{path}: found a character that cannot be printed, expected a plain file name"
            )
    return tuple(found)


def _notes(profile: str, files: Sequence[ProfileFile]) -> tuple[str, ...]:
    texts = {f"{profiles.CUSTOM}/{file.path}": file.text for file in files}
    return tuple(
        f"{name!r} is not one of the given profiles: the image must contain it"
        for name in profiles.absent(profile, texts)
    )


def placed(content: Content) -> tuple[NodeFile, ...]:
    """The files on the node, by path, as an agent would write them."""
    node = Paths()
    found = [
        *profiles_below(node.profiles, content.files),
        *texts(
            {
                node.image_env: content.image and f"NTO_IMAGE={content.image}\n",
                node.recommend: content.profile and f"[{content.profile}]\n",
                # As the agent writes it: a profile may have the file's content as part of a name.
                node.provider: content.provider,
                node.admin_conf: content.boot_conf,
            }
        ),
    ]
    return tuple(sorted(found, key=lambda file: file.path))


def profiles_below(folder: Path, files: Sequence[ProfileFile]) -> list[NodeFile]:
    """The files of the profiles. Each gets mode 0755 if its owner may execute it, else 0644: all
    other mode bits of a checkout come from a umask."""
    return [
        NodeFile(str(folder / file.path), file.data, 0o755 if file.executable else 0o644)
        for file in files
    ]


def texts(found: dict[Path, str]) -> list[NodeFile]:
    """A file for each text that is not empty."""
    return [NodeFile(str(path), text.encode()) for path, text in found.items() if text]


def folders(files: Sequence[NodeFile]) -> list[str]:
    """The folders of these files, each once."""
    return sorted({os.path.dirname(file.path) for file in files})


def printable(data: bytes) -> str | None:
    """Text that needs no escapes in YAML except for line feeds and tabs; None for other data."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if text.replace("\n", " ").replace("\t", " ").isprintable() else None
