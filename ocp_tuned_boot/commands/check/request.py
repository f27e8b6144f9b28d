"""What is requested on a node: image, profile, and the words of the agent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from ocp_tuned_boot.commands.check import configuration
from ocp_tuned_boot.commands.check.configuration import Configuration
from ocp_tuned_boot.commands.check.problem import Problem, not_checked, problem
from ocp_tuned_boot.errors import ConfigurationError, HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.requested.inputs import Inputs

_LINE = re.compile(r": line (\d+):")


@dataclass(frozen=True)
class Named:
    """A value and where it is named: a file, and its line (0: not known); empty if it is not.
    `is_broken`: the file that names it is not valid."""

    value: str = ""
    file: str = ""
    line: int = 0
    is_broken: bool = False


@dataclass(frozen=True)
class Request:
    """The requested image and profile. `reapply`: the host's sysctl.d is applied again after the
    sysctls of the profile."""

    image: Named = Named()
    profile: Named = Named()
    reapply: bool = True


def read(
    paths: Paths, known: Configuration, reference: str = "", name: str = ""
) -> tuple[Request, list[Problem]]:
    """What is requested, as `inputs.read` finds it, and what is wrong with each file. An image
    `reference`, or the `name` of a profile, is used instead of the requested one."""
    agent = inputs.whole(paths)
    found: list[Problem] = []
    in_env = _named(agent, agent.image_env, "image-env-invalid", inputs.parse_image_env, found)
    in_file = _named(agent, agent.recommend, "recommend-invalid", inputs.parse_recommend, found)
    image = Named(reference) if reference else in_env or _of_boot_conf(known, "image")
    profile = Named(name) if name else in_file or _of_boot_conf(known, "profile")
    said = Inputs(
        image.value, profile.value, known.config.contract, "",
        named_in=profile.file, image_named_in=image.file,
    )  # fmt: skip
    # An Inputs without a request is given, too: only the words of the agent are read.
    said = inputs.following(paths, said, known.config.on_change, known.config.reapply_sysctl)
    found += [problem("agent-word", it.subject, 1, it.message, it.advice) for it in said.doubts]
    # A file of the agent decides, not the files of boot.conf themselves.
    messages = boot_conf.overruled(known.config, said)
    found += configuration.overruled(
        known, [it for it in messages if it.startswith(_agents(agent, image, profile))]
    )
    found += _missing(paths, image, profile)
    found += _by_tag(known, image)
    return Request(image, profile, said.reapply_sysctl), found


def _agents(agent: Paths, image: Named, profile: Named) -> tuple[str, ...]:
    """The keys that a file of the agent decides."""
    said = (("image ", image, agent.image_env), ("profile ", profile, agent.recommend))
    return tuple(key for key, named, file in said if named.file == str(file))


def _named(
    paths: Paths, path: Path, kind: str, parse: Callable[[str, str], str], found: list[Problem]
) -> Named | None:
    """What a file of the agent names; None if there is no such file. What is wrong with it is added
    to `found`."""
    try:
        text = files.read_below(path, paths.root, inputs.TEXT_LIMIT).decode(errors="replace")
        value = parse(text, str(path))
    except FileNotFoundError:
        return None
    except (ConfigurationError, HostError) as error:
        if isinstance(error.__cause__, PermissionError):
            found.append(not_checked(str(path), error.message, "Run this command as root."))
        else:
            line = _LINE.search(error.message)
            number = int(line[1]) if line else 1
            found.append(problem(kind, path, number, error.message, error.hint))
        return Named("", str(path), 0, is_broken=True)
    lines = enumerate(text.splitlines(), 1)
    return Named(value, str(path), next((number for number, it in lines if value in it), 1))


def _of_boot_conf(known: Configuration, key: str) -> Named:
    value = getattr(known.config, key)
    return Named(value, *known.place("tuning", key)) if value else Named()


def _missing(paths: Paths, image: Named, profile: Named) -> Iterator[Problem]:
    missing = [
        (what, file)
        for what, named, file in (
            ("image", image, paths.image_env), ("profile", profile, paths.recommend)
        )
        if not named.value and not named.is_broken
    ]  # fmt: skip
    if len(missing) == 2:
        yield problem(
            "nothing-requested", "", 0, "no image and no profile is requested",
            f"Set image and profile in [tuning] of {paths.admin_conf}.",
        )  # fmt: skip
        return
    for what, file in missing:
        other = profile if what == "image" else image
        yield problem(
            "half-requested", other.file, other.line,
            f"no {what} is requested: {file} does not exist, and boot.conf has no [tuning] {what}",
            f"Set {what} in [tuning] of {paths.admin_conf}.",
        )  # fmt: skip


def _by_tag(known: Configuration, image: Named) -> Iterator[Problem]:
    """A tag, where boot.conf requires a digest. One that is allowed is for image.py."""
    try:
        if image.value:
            known.config.images.check(image.value)
    except ConfigurationError as error:
        yield problem("digest-required", image.file, image.line, error.message, error.hint)
