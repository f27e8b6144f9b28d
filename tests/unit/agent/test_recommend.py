"""The profile of a node is the one that the operator would choose
(cluster-node-tuning-operator, pkg/operator/profilecalculator.go)."""

from __future__ import annotations

import pytest

from ocp_tuned_boot.agent import objects, recommend
from ocp_tuned_boot.agent.recommend import NODE_POOL, TUNED_POOL, Choice, NotEvaluated
from tests.unit.agent.made import DATA, Json, annotated, node, rule, tuned

DEFAULT = tuned(
    "default",
    rule(
        "openshift-control-plane",
        30,
        match=[
            {"label": "node-role.kubernetes.io/control-plane"},
            {"label": "node-role.kubernetes.io/infra"},
        ],
    ),
    rule("openshift-node", 40),
    profiles={"openshift": DATA},
)


def choice(
    *tuneds: Json,
    labels: dict[str, str] | None = None,
    pods: tuple[dict[str, str], ...] = (),
) -> Choice:
    found = [objects.tuned(each) for each in tuneds]
    return recommend.choose(found, objects.node(node(labels)), pods)


def chosen(
    *tuneds: Json,
    labels: dict[str, str] | None = None,
    pods: tuple[dict[str, str], ...] = (),
) -> str:
    return choice(*tuneds, labels=labels, pods=pods).profile


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, "openshift-node"),
        ({"node-role.kubernetes.io/control-plane": ""}, "openshift-control-plane"),
        ({"node-role.kubernetes.io/infra": "x"}, "openshift-control-plane"),
    ],
)
def test_the_default_tuned(labels: dict[str, str], expected: str) -> None:
    assert chosen(DEFAULT, labels=labels) == expected


def test_zero_is_the_highest_priority_and_none_is_the_lowest() -> None:
    rules = [rule("none", None), rule("ten", 10), rule("zero", 0), rule("two", 2)]
    found = recommend.ordered([objects.tuned(tuned("x", *rules))])
    assert [each.profile for each in found] == ["zero", "two", "ten", "none"]


def test_of_equal_priorities_the_name_of_the_tuned_decides_and_then_the_order_in_it() -> None:
    a = tuned("a", rule("a-first", 5), rule("a-second", 5))
    b = tuned("b", rule("b-first", 5))
    assert chosen(b, a) == "a-first"
    notes = choice(b, a).notes
    assert len(notes) == 2
    assert "match with the same priority 5" in notes[0]
    # Those that do not match, and those of the same profile, are no trouble.
    assert not choice(a, tuned("c", rule("c", 5, match=[{"label": "no"}]))).notes[1:]
    assert not choice(tuned("a", rule("p", 5)), tuned("b", rule("p", 5))).notes


TREE = [{"label": "a", "match": [{"label": "b", "value": "1"}, {"label": "c"}]}, {"label": "d"}]


@pytest.mark.parametrize(
    ("labels", "matches"),
    [
        ({}, False),
        ({"a": ""}, False),
        ({"a": "", "b": "1"}, True),
        ({"a": "", "b": "2"}, False),
        ({"a": "", "b": "2", "c": ""}, True),
        ({"b": "1", "c": ""}, False),
        ({"d": "anything"}, True),
    ],
)
def test_a_list_is_or_and_what_is_in_an_item_is_and(labels: dict[str, str], matches: bool) -> None:
    special = tuned("special", rule("special", 20, match=TREE))
    assert (chosen(DEFAULT, special, labels=labels) == "special") is matches


def test_an_item_without_a_label_matches_and_an_empty_value_is_a_value() -> None:
    nameless = [{"label": "a", "match": [{"value": "ignored"}]}]
    assert chosen(DEFAULT, tuned("x", rule("x", 1, match=nameless)), labels={"a": "1"}) == "x"
    empty = tuned("x", rule("x", 1, match=[{"label": "a", "value": ""}]))
    assert chosen(DEFAULT, empty, labels={"a": "1"}) == "openshift-node"
    assert chosen(DEFAULT, empty, labels={"a": ""}) == "x"


def test_some_pod_of_the_node_has_the_label() -> None:
    web = tuned("web", rule("web", 20, match=[{"label": "app", "value": "web", "type": "pod"}]))
    assert chosen(DEFAULT, web, labels={"app": "web"}) == "openshift-node"
    assert chosen(DEFAULT, web, pods=({"app": "db"}, {"app": "web"})) == "web"
    assert chosen(DEFAULT, web, pods=({"app": "db"},)) == "openshift-node"
    # Two labels may be those of two pods.
    both = [{"label": "app", "value": "web", "type": "pod",
             "match": [{"label": "tier", "type": "pod"}]}]  # fmt: skip
    deep = tuned("deep", rule("deep", 10, match=both))
    assert chosen(DEFAULT, deep, pods=({"app": "web"}, {"tier": "1"})) == "deep"
    assert recommend.uses_pods([objects.tuned(deep)])
    assert not recommend.uses_pods([objects.tuned(DEFAULT)])


def test_another_type_than_pod_is_the_node() -> None:
    odd = tuned("odd", rule("odd", 20, match=[{"label": "a", "type": "Pod"}]))
    assert chosen(DEFAULT, odd, labels={"a": ""}) == "odd"


def test_machine_config_labels_alone_never_match_here_and_that_is_said() -> None:
    pools = {"machineConfigLabels": {"machineconfiguration.openshift.io/role": "worker-rt"}}
    only = tuned("rt", rule("rt", 1, **pools))
    found = choice(DEFAULT, only)
    assert found.profile == "openshift-node"
    assert "the rule for the profile 'rt' never matches" in found.notes[0]
    # With labels they are not needed, and an empty list of labels catches all.
    both = tuned("rt", rule("rt", 1, match=[{"label": "rt"}], **pools))
    assert chosen(DEFAULT, both, labels={"rt": ""}) == "rt"
    assert chosen(DEFAULT, both) == "openshift-node"
    assert chosen(DEFAULT, tuned("rt", rule("rt", 1, match=[], **pools))) == "rt"


def test_profiles_of_one_name_with_the_same_data_are_one() -> None:
    again = tuned("again", profiles={"openshift": DATA, "a": DATA})
    assert choice(DEFAULT, again).profiles == (("a", DATA), ("openshift", DATA))


def test_profiles_of_one_name_with_other_data_are_refused() -> None:
    other = tuned("other", profiles={"openshift": "[main]\n"})
    with pytest.raises(NotEvaluated) as caught:
        choice(other, DEFAULT)
    assert caught.value.message == (
        "the profile 'openshift' of the Tuned 'other' and that of the Tuned 'default' have "
        "different content"
    )


def test_without_a_rule_that_matches_nothing_is_chosen() -> None:
    for tuneds in ((), (tuned("x", rule("x", 1, match=[{"label": "no"}])),)):
        with pytest.raises(NotEvaluated, match="no rule of a Tuned matches this node"):
            choice(*tuneds)


@pytest.mark.parametrize("state", ["Unmanaged", "Removed"])
def test_nodes_that_are_not_managed(state: str) -> None:
    unmanaged = {**DEFAULT, "spec": {**DEFAULT["spec"], "managementState": state}}
    with pytest.raises(NotEvaluated, match=f"managementState {state}"):
        choice(unmanaged)
    forced = {**DEFAULT, "spec": {**DEFAULT["spec"], "managementState": "Force"}}
    assert chosen(forced) == "openshift-node"
    # Only that of the default one counts.
    other = tuned("x", rule("x", 1))
    assert chosen(DEFAULT, {**other, "spec": {**other["spec"], "managementState": state}}) == "x"


def test_hyper_shift_only_the_tuneds_of_the_node_pool_and_the_default() -> None:
    labels = {NODE_POOL: "blue"}
    pools = {"machineConfigLabels": {"a": "b"}}
    blue = tuned("blue", rule("blue", 20, **pools), labels={TUNED_POOL: "blue"})
    red = tuned("red", rule("red", 0), labels={TUNED_POOL: "red"}, profiles={"red": DATA})
    free = tuned("free", rule("free", 0))
    found = choice(DEFAULT, red, free, annotated(blue, deferred="update"), labels=labels)
    # A rule without match is that of the NodePool. The operator forgets the annotation here.
    assert (found.profile, found.rule.deferred, found.notes) == ("blue", "update", ())
    assert [name for name, _ in found.profiles] == ["openshift"]
    assert chosen(DEFAULT, red, labels=labels) == "openshift-node"
    labelled = tuned("x", rule("x", 1, match=[{"label": "a"}]), labels={TUNED_POOL: "blue"})
    assert chosen(DEFAULT, labelled, labels=labels) == "openshift-node"
    assert chosen(DEFAULT, labelled, labels={**labels, "a": ""}) == "x"
