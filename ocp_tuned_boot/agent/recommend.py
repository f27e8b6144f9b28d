"""Tuneds, and the labels of a node and of its pods → the profile of the node. Pure.

The rules are those of the operator (cluster-node-tuning-operator,
pkg/operator/profilecalculator.go). There are no MachineConfigPools where this runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ocp_tuned_boot.agent.objects import Match, Node, Operand, Rule, Tuned
from ocp_tuned_boot.errors import ConfigurationError

#: The Tuned whose last rule matches every node, and that says whether nodes are managed at all.
DEFAULT = "default"
#: HyperShift: the NodePool of a Node, and the NodePool whose nodes a Tuned is for.
NODE_POOL = "hypershift.openshift.io/nodePool"
TUNED_POOL = "hypershift.openshift.io/nodePoolName"

Labels = Mapping[str, str]


class NotEvaluated(ConfigurationError):
    """No profile can be chosen: what the node has stays as it is."""


@dataclass(frozen=True)
class Choice:
    """The profile of a node. `profiles`: all that the node gets, by name; `rule` has chosen it;
    `notes` are for people."""

    profile: str
    rule: Rule
    profiles: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()

    @property
    def operand(self) -> Operand:
        return self.rule.operand


def choose(tuneds: Sequence[Tuned], node: Node, pods: Iterable[Labels] = ()) -> Choice:
    """The first rule that matches, by priority. Raises `NotEvaluated`."""
    relevant = of_node(tuneds, node)
    _check_managed(relevant)
    profiles = _merged(relevant)
    rules = ordered(relevant)
    matched = _Matcher(node, tuple(pods))
    found = [rule for rule in rules if matched.rule(rule)]
    if not found:
        raise NotEvaluated(
            "no rule of a Tuned matches this node",
            f"Add a rule without match to the Tuned {DEFAULT!r}: it matches every node.",
        )
    notes = [*_never(rules, node), *_ambiguous(found)]
    return Choice(found[0].profile, found[0], profiles, tuple(notes))


def of_node(tuneds: Sequence[Tuned], node: Node) -> tuple[Tuned, ...]:
    """The Tuneds that are about this node, by name: all of them, but in HyperShift those of its
    NodePool and `default`."""
    pool = node.labels.get(NODE_POOL)
    return tuple(
        each
        for each in sorted(tuneds, key=lambda each: each.name)
        if pool is None or each.name == DEFAULT or each.labels.get(TUNED_POOL) == pool
    )


def ordered(tuneds: Sequence[Tuned]) -> tuple[Rule, ...]:
    """All rules: 0 is the highest priority, none the lowest; of equal ones the Tuned's name
    decides, then their order in it."""
    rules = (rule for each in sorted(tuneds, key=lambda each: each.name) for rule in each.rules)
    return tuple(
        sorted(rules, key=lambda rule: math.inf if rule.priority is None else rule.priority)
    )


def uses_pods(tuneds: Sequence[Tuned]) -> bool:
    """Whether a rule asks for the labels of pods."""
    return any(rule.uses_pods for each in tuneds for rule in each.rules)


def _check_managed(tuneds: Sequence[Tuned]) -> None:
    for each in tuneds:
        if each.name == DEFAULT and each.management in ("Unmanaged", "Removed"):
            raise NotEvaluated(
                f"the Tuned {DEFAULT!r} has managementState {each.management}: "
                "the profiles of nodes are not changed"
            )


def _merged(tuneds: Sequence[Tuned]) -> tuple[tuple[str, str], ...]:
    """The profiles of all Tuneds, by name. Raises `NotEvaluated` for two with other data."""
    found: dict[str, tuple[str, str]] = {}
    for each in tuneds:
        for name, data in each.profiles:
            owner, known = found.setdefault(name, (each.name, data))
            if known != data:
                raise NotEvaluated(
                    f"the profile {name!r} of the Tuned {each.name!r} and that of the Tuned "
                    f"{owner!r} have different content",
                    "Give one of the two another name.",
                )
    return tuple((name, found[name][1]) for name in sorted(found))


class _Matcher:
    def __init__(self, node: Node, pods: Sequence[Labels]) -> None:
        self._pool = node.labels.get(NODE_POOL)
        self._node = (node.labels,)
        self._pods = pods

    def rule(self, rule: Rule) -> bool:
        if rule.match is None:
            # In HyperShift, the Tuned's NodePool is that of the node already.
            return rule.pools is None or self._pool is not None
        return self._some(rule.match)

    def _some(self, match: Sequence[Match]) -> bool:
        """Whether one of them matches, with what is in it; an empty list does."""
        return not match or any(self._label(each) and self._some(each.inner) for each in match)

    def _label(self, match: Match) -> bool:
        if match.label is None:
            return True
        return any(
            match.label in labels and match.value in (None, labels[match.label])
            for labels in (self._pods if match.of_pod else self._node)
        )


def _never(rules: Sequence[Rule], node: Node) -> Iterable[str]:
    for rule in rules:
        if rule.match is None and rule.pools is not None and NODE_POOL not in node.labels:
            yield (
                f"Tuned {rule.tuned}: the rule for the profile {rule.profile!r} never matches: it "
                "has machineConfigLabels only, and there are no MachineConfigPools here"
            )


def _ambiguous(found: Sequence[Rule]) -> Iterable[str]:
    """The rules that would have matched with the same priority."""
    first = found[0]
    for rule in found[1:]:
        if None is not rule.priority == first.priority and rule.profile != first.profile:
            yield (
                f"the rules of the Tuneds {first.tuned} and {rule.tuned} for the profiles "
                f"{first.profile!r} and {rule.profile!r} match with the same priority "
                f"{first.priority}: give them different priorities"
            )
