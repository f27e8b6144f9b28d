"""Kubernetes objects → frozen, checked values. Pure.

The server validates an object by its CRD, which leaves out what is below the first level of
`match`, and a CRD may be older than this agent: so nothing is taken for granted. An error names the
object, the field, what was found and what was expected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ocp_tuned_boot.errors import ConfigurationError

T = TypeVar("T")

#: When a change is applied, on a Tuned and on a Profile.
DEFERRED = "tuned.openshift.io/deferred"
#: The release and the Tuneds that kernel arguments come from, on a Profile and on a Node.
BOOTCMDLINE_DEPS = "tuned.openshift.io/bootcmdline-deps"
#: The kernel arguments that the profile of a Node requests.
BOOTCMDLINE = "tuned.openshift.io/bootcmdline"
#: The most levels of `match` in each other. Python's own limit is far higher.
DEPTH = 50


@dataclass(frozen=True)
class Match:
    """An item of `match`. Without `label` it always matches; `value` of None means any."""

    label: str | None
    value: str | None
    of_pod: bool
    inner: tuple[Match, ...]

    @property
    def uses_pods(self) -> bool:
        return self.of_pod or any(each.uses_pods for each in self.inner)


@dataclass(frozen=True)
class Operand:
    """How TuneD is run. `reapply_sysctl` of None means that it is not set."""

    debug: bool = False
    verbosity: int = 0
    reapply_sysctl: bool | None = None


@dataclass(frozen=True)
class Rule:
    """An item of `recommend`. `match` of None: there is none, which is not the same as an empty
    one; `pools`: the machineConfigLabels, or None."""

    tuned: str
    profile: str
    priority: int | None
    match: tuple[Match, ...] | None
    pools: Mapping[str, str] | None
    operand: Operand
    deferred: str

    @property
    def uses_pods(self) -> bool:
        return any(each.uses_pods for each in self.match or ())


@dataclass(frozen=True)
class Tuned:
    """A Tuned object. `profiles` are names with their data; `management` is managementState."""

    name: str
    labels: Mapping[str, str]
    profiles: tuple[tuple[str, str], ...]
    rules: tuple[Rule, ...]
    management: str = ""


@dataclass(frozen=True)
class Node:
    """What a Node says that a profile may depend on. `provider`: the start of its providerID."""

    name: str
    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    provider: str = ""


@dataclass(frozen=True)
class Profile:
    """A Profile object: what its node is to have. `content` is the whole object, for an update."""

    name: str
    generation: int
    annotations: Mapping[str, str]
    profile: str
    provider: str
    operand: Operand
    profiles: tuple[tuple[str, str], ...]
    content: Mapping[str, Any]

    @property
    def status(self) -> Mapping[str, Any]:
        """Its status; empty for one that is no status."""
        found = self.content.get("status")
        return found if isinstance(found, dict) else {}


def name(content: Mapping[str, Any]) -> str:
    """The name of an object of any kind. Raises `ConfigurationError`."""
    return _required(_metadata(content, "object"), "name", "object: metadata")


def labels(content: Mapping[str, Any]) -> Mapping[str, str]:
    """The labels of an object of any kind. Raises `ConfigurationError`."""
    metadata = _metadata(content, "object")
    return _texts(metadata, "labels", "object: metadata") or {}


def tuned(content: Mapping[str, Any]) -> Tuned:
    """Raises `ConfigurationError`."""
    where = f"Tuned {name(content)}"
    metadata = _metadata(content, where)
    deferred = (_texts(metadata, "annotations", f"{where}: metadata") or {}).get(DEFERRED, "")
    spec = _get(content, "spec", dict, where, {})
    rules = _get(spec, "recommend", list, f"{where}: spec", [])
    return Tuned(
        name(content),
        _texts(metadata, "labels", f"{where}: metadata") or {},
        _profiles(spec, where),
        tuple(
            _rule(each, name(content), deferred, f"{where}: spec.recommend[{number}]")
            for number, each in enumerate(rules)
        ),
        _get(spec, "managementState", str, f"{where}: spec", ""),
    )


def node(content: Mapping[str, Any]) -> Node:
    """Raises `ConfigurationError`."""
    where = f"Node {name(content)}"
    metadata = _metadata(content, where)
    spec = _get(content, "spec", dict, where, {})
    # "aws:///us-east-1a/i-0"; without "://" the operator takes none, either.
    provider, separator, _ = _get(spec, "providerID", str, f"{where}: spec", "").partition("://")
    return Node(
        name(content),
        _get(metadata, "uid", str, f"{where}: metadata", ""),
        _texts(metadata, "labels", f"{where}: metadata") or {},
        _texts(metadata, "annotations", f"{where}: metadata") or {},
        provider if separator else "",
    )


def profile(content: Mapping[str, Any]) -> Profile:
    """Raises `ConfigurationError`."""
    where = f"Profile {name(content)}"
    metadata = _metadata(content, where)
    spec = _get(content, "spec", dict, where, {})
    config = _get(spec, "config", dict, f"{where}: spec", {})
    return Profile(
        name(content),
        _get(metadata, "generation", int, f"{where}: metadata", 0),
        _texts(metadata, "annotations", f"{where}: metadata") or {},
        _required(config, "tunedProfile", f"{where}: spec.config"),
        _get(config, "providerName", str, f"{where}: spec.config", ""),
        _operand(config, f"{where}: spec.config"),
        _profiles(spec, where),
        content,
    )


def _rule(content: Any, tuned_name: str, deferred: str, where: str) -> Rule:
    rule = _typed(content, dict, where)
    matches = _optional(rule, "match", list, where)
    return Rule(
        tuned_name,
        _required(rule, "profile", where),
        _optional(rule, "priority", int, where),
        None if matches is None else _matches(matches, where, DEPTH),
        _texts(rule, "machineConfigLabels", where),
        _operand(_get(rule, "operand", dict, where, {}), f"{where}.operand"),
        deferred,
    )


def _matches(content: list[Any], where: str, depth: int) -> tuple[Match, ...]:
    if content and not depth:
        raise ConfigurationError(f"{where}: found more than {DEPTH} levels of match")
    found = []
    for number, each in enumerate(content):
        here = f"{where}.match[{number}]"
        item = _typed(each, dict, here)
        found.append(
            Match(
                _optional(item, "label", str, here),
                _optional(item, "value", str, here),
                # As upstream: any other type means the node.
                _get(item, "type", str, here, "node") == "pod",
                _matches(_get(item, "match", list, here, []), here, depth - 1),
            )
        )
    return tuple(found)


def _operand(content: Mapping[str, Any], where: str) -> Operand:
    tuned_config = _get(content, "tunedConfig", dict, where, {})
    return Operand(
        _get(content, "debug", bool, where, False),
        _get(content, "verbosity", int, where, 0),
        _optional(tuned_config, "reapply_sysctl", bool, f"{where}.tunedConfig"),
    )


def _profiles(spec: Mapping[str, Any], where: str) -> tuple[tuple[str, str], ...]:
    found = []
    for number, each in enumerate(_get(spec, "profile", list, f"{where}: spec", [])):
        here = f"{where}: spec.profile[{number}]"
        content = _typed(each, dict, here)
        found.append((_required(content, "name", here), _required(content, "data", here)))
    return tuple(found)


def _metadata(content: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    return _get(content, "metadata", dict, where, {})


def _texts(content: Mapping[str, Any], key: str, where: str) -> Mapping[str, str] | None:
    found = _optional(content, key, dict, where)
    for each, value in (found or {}).items():
        _typed(value, str, f"{where}.{key}[{each}]")
    return found


def _required(content: Mapping[str, Any], key: str, where: str) -> str:
    found = _optional(content, key, str, where)
    if found is None:
        raise ConfigurationError(f"{where}: found no {key}, expected one")
    return found


def _get(content: Mapping[str, Any], key: str, kind: type[T], where: str, default: T) -> T:
    found = _optional(content, key, kind, where)
    return default if found is None else found


def _optional(content: Mapping[str, Any], key: str, kind: type[T], where: str) -> T | None:
    """The value of a field. One that is missing and one that is null mean the same."""
    found = content.get(key)
    return None if found is None else _typed(found, kind, f"{where}.{key}")


def _typed(found: Any, kind: type[T], where: str) -> T:
    # For Python, true is a number.
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        expected = {dict: "an object", list: "a list", str: "a string", int: "a number",
                    bool: "true or false"}[kind]  # fmt: skip
        raise ConfigurationError(f"{where}: found {str(found)[:80]!r}, expected {expected}")
    return found
