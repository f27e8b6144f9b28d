"""A Profile object → what the files of the agent say. Pure.

Everything is checked here, by the code with which the host reads the files: what it would refuse is
not written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ocp_tuned_boot.agent import objects
from ocp_tuned_boot.agent.objects import BOOTCMDLINE_DEPS, DEFERRED, Node, Profile
from ocp_tuned_boot.agent.recommend import Choice
from ocp_tuned_boot.errors import ConfigurationError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import inputs

API_VERSION = "tuned.openshift.io/v1"
#: What an absent or unknown annotation means, as with the operator: a change is applied at once.
AT_ONCE = "never"
# The paths below the agent's folder, as the host has them.
_PATHS = Paths()
CONF = "tuned.conf"


@dataclass(frozen=True)
class Wanted:
    """The files, by their path below the agent's folder, and the Profile that they are of.

    `deps`: its annotation about kernel arguments, None if it has none. `notes`: what of it has no
    effect, for people."""

    profile: str
    files: Mapping[str, bytes]
    names: frozenset[str]
    generation: int
    deps: str | None
    notes: tuple[str, ...] = ()


def of_profile(profile: Profile, image: str) -> Wanted:
    """`image`: the reference of the image that contains TuneD; empty if the agent does not decide
    that. A file about which the Profile says nothing is not in the result: it stays as it is.

    Raises `ConfigurationError`."""
    where = f"Profile {profile.name}"
    recommended = inputs.parse_profile_name(profile.profile, f"{where}: spec.config.tunedProfile")
    custom, notes = _custom(profile, where)
    found: dict[str, bytes] = {}
    if profile.provider:
        found[_below("provider")] = _line(profile.provider, f"{where}: spec.config.providerName")
    for name, data in custom.items():
        found[f"{_below('profiles')}/{name}/{CONF}"] = data
    found[_below("recommend")] = f"[{recommended}]\n".encode()
    found[_below("agent_on_change")] = f"{_on_change(profile)}\n".encode()
    reapply = profile.operand.reapply_sysctl is not False
    found[_below("agent_reapply_sysctl")] = b"true\n" if reapply else b"false\n"
    if image:
        inputs.parse_image_reference(image, "the image of TuneD")
        found[_below("image_env")] = f"NTO_IMAGE={image}\n".encode()
    if profile.operand.debug:
        notes.append(
            "debug: true has no effect: TuneD would exit with status 0 after every failure"
        )
    deps = profile.annotations.get(BOOTCMDLINE_DEPS)
    return Wanted(recommended, found, frozenset(custom), profile.generation, deps, tuple(notes))


def spec(choice: Choice, node: Node) -> dict[str, Any]:
    """The spec of a Profile, as the operator makes it."""
    tuned_config: dict[str, Any] = {}
    if choice.operand.reapply_sysctl is not None:
        tuned_config["reapply_sysctl"] = choice.operand.reapply_sysctl
    config = {
        "tunedProfile": choice.profile,
        "debug": choice.operand.debug,
        "verbosity": choice.operand.verbosity,
        "tunedConfig": tuned_config,
    }
    if node.provider:
        config["providerName"] = node.provider
    profiles = [{"name": name, "data": data} for name, data in choice.profiles]
    return {"config": config, "profile": profiles}


def new_profile(choice: Choice, node: Node, namespace: str) -> dict[str, Any]:
    """The Profile of a node that has none. It is removed with its Node."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": node.name, "uid": node.uid}
    metadata: dict[str, Any] = {
        "name": node.name,
        "namespace": namespace,
        "ownerReferences": [owner],
    }
    if choice.rule.deferred:
        metadata["annotations"] = {DEFERRED: choice.rule.deferred}
    return {
        "apiVersion": API_VERSION,
        "kind": "Profile",
        "metadata": metadata,
        "spec": spec(choice, node),
    }


def changed_profile(
    choice: Choice, node: Node, content: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The Profile with what has changed; None if nothing has. What others have added to it
    remains."""
    metadata = dict(content.get("metadata") or {})
    annotations = dict(metadata.get("annotations") or {})
    annotations.pop(DEFERRED, None)
    if choice.rule.deferred:
        annotations[DEFERRED] = choice.rule.deferred
    wanted = spec(choice, node)
    if annotations == (metadata.get("annotations") or {}) and _says(content, wanted):
        return None
    return {**content, "metadata": {**metadata, "annotations": annotations}, "spec": wanted}


def _says(content: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the Profile has this spec, however the server writes it."""
    try:
        old, new = (objects.profile({**content, "spec": it}) for it in (content["spec"], wanted))
    except (ConfigurationError, KeyError):
        return False
    fields = ("profile", "provider", "operand", "profiles")
    return all(getattr(old, each) == getattr(new, each) for each in fields)


def _below(name: str) -> str:
    """The path of a file of the agent below its folder, by the name of `Paths`."""
    path = getattr(_PATHS, name)
    return str(path.relative_to(_PATHS.agent))


def _on_change(profile: Profile) -> str:
    word = profile.annotations.get(DEFERRED, AT_ONCE)
    return word if word in inputs.ON_CHANGE else AT_ONCE


def _line(text: str, where: str) -> bytes:
    if "\n" in text or "\0" in text:
        raise ConfigurationError(f"{where}: found {text[:80]!r}, expected one line")
    return _encoded(text, where)


def _encoded(text: str, where: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"{where}: found a character that UTF-8 does not have, expected text"
        ) from error


def _custom(profile: Profile, where: str) -> tuple[dict[str, bytes], list[str]]:
    """The data of each custom profile, and notes about those that TuneD could not load."""
    found: dict[str, bytes] = {}
    notes = []
    for name, data in profile.profiles:
        here = f"{where}: the profile {name[:80]!r} of spec.profile"
        if not inputs.is_profile_name(name):
            notes.append(f"{here} has no effect: TuneD accepts no profile of this name")
            continue
        content = _encoded(data, here)
        if found.setdefault(name, content) != content:
            raise ConfigurationError(f"{here} is there twice, with different data")
        if len(content) > files.LIMIT:
            raise ConfigurationError(f"{here} is larger than {files.LIMIT} bytes")
    _check_limits(found, f"{where}: spec.profile")
    return found, notes


def _check_limits(found: Mapping[str, bytes], where: str) -> None:
    """The limits of `inputs.read`. Each profile is a folder and a file."""
    if 2 * len(found) > inputs.ENTRIES_LIMIT:
        most = inputs.ENTRIES_LIMIT // 2
        raise ConfigurationError(f"{where}: found {len(found)} profiles, expected at most {most}")
    if sum(map(len, found.values())) > inputs.PROFILES_LIMIT:
        raise ConfigurationError(
            f"{where}: the profiles are larger than {inputs.PROFILES_LIMIT} bytes together"
        )
    if sum(len(f"{name}/{CONF}") for name in found) > inputs.NAMES_LIMIT:
        raise ConfigurationError(
            f"{where}: the names of the profiles are longer than {inputs.NAMES_LIMIT} bytes "
            "together"
        )
