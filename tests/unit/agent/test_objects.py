"""Objects of the server → checked values, or an error that names the field."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot.agent import objects, recommend, told, wanted
from ocp_tuned_boot.agent.told import Seen
from ocp_tuned_boot.errors import ConfigurationError
from tests.unit.agent.made import DATA, NOW, Json, annotated, node, profile, rule, tuned
from tests.unit.hostile import TEXTS


def test_a_tuned() -> None:
    tree = [{"label": "a", "match": [{"label": "b", "value": "", "type": "pod"}]}]
    operand = {"debug": False, "tunedConfig": {"reapply_sysctl": False}, "verbosity": 2}
    content = tuned("example", rule("p", 20, match=tree, operand=operand), profiles={"p": DATA})
    found = objects.tuned(annotated(content, deferred="always"))
    (only,) = found.rules
    assert (found.name, found.profiles) == ("example", (("p", DATA),))
    assert (only.tuned, only.profile, only.priority) == ("example", "p", 20)
    assert only.match is not None
    assert only.match[0].inner[0] == objects.Match("b", "", True, ())
    assert only.operand == objects.Operand(False, 2, False)
    assert only.deferred == "always"
    assert only.uses_pods


def test_absent_match_and_empty_match_differ() -> None:
    content = tuned("x", rule("a", 1), rule("b", 1, match=[]), rule("c", 1, match=None))
    assert [each.match for each in objects.tuned(content).rules] == [None, (), None]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"providerID": "aws:///eu-1a/i-0"}, "aws"),
        ({"providerID": "metal"}, ""),
        ({}, ""),
    ],
)
def test_the_provider_of_a_node(spec: Json, expected: str) -> None:
    assert objects.node(node(**spec)).provider == expected


def test_a_profile() -> None:
    content = profile(providerName="aws", tunedConfig={"reapply_sysctl": True}, generation=4)
    found = objects.profile(content)
    assert (found.profile, found.provider, found.generation) == ("site", "aws", 4)
    assert found.operand.reapply_sysctl is True
    assert found.status == {}
    assert objects.profile({**content, "status": "x"}).status == {}


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("match", 0, "label"), 5, "match[0].label: found '5', expected a string"),
        (("match", 0, "match"), {}, "match[0].match: found '{}', expected a list"),
        (("match", 0, "match"), ["x"], "match[0].match[0]: found 'x', expected an object"),
        (("match", 0), None, "match[0]: found 'None', expected an object"),
        (("profile",), None, ": found no profile, expected one"),
        (("priority",), True, "priority: found 'True', expected a number"),
        (("priority",), "1", "priority: found '1', expected a number"),
        (("machineConfigLabels",), {"a": 1}, "machineConfigLabels[a]: found '1', expected a str"),
        (("operand",), [], "operand: found '[]', expected an object"),
        (("operand",), {"debug": 1}, "operand.debug: found '1', expected true or false"),
    ],
)
def test_what_a_rule_may_not_have(where: tuple[Any, ...], value: Any, message: str) -> None:
    changed = rule("p", 1, match=[{"label": "a"}])
    place: Any = changed
    for step in where[:-1]:
        place = place[step]
    place[where[-1]] = value
    with pytest.raises(ConfigurationError) as caught:
        objects.tuned(tuned("example", rule("q", 1), changed))
    assert caught.value.message.startswith("Tuned example: spec.recommend[1]")
    assert message in caught.value.message


def test_a_tree_without_end_is_refused() -> None:
    deepest: Json = {"label": "a"}
    for _ in range(objects.DEPTH):
        deepest = {"label": "a", "match": [deepest]}
    with pytest.raises(ConfigurationError, match="more than 50 levels of match"):
        objects.tuned(tuned("example", rule("p", 1, match=[deepest])))
    objects.tuned(tuned("example", rule("p", 1, match=deepest["match"])))


@pytest.mark.parametrize(
    "content", [{}, {"metadata": []}, {"metadata": {}}, {"metadata": {"name": "x"}, "spec": 1}]
)
def test_what_is_no_object_of_its_kind(content: Json) -> None:
    for read in (objects.tuned, objects.profile, objects.node):
        with pytest.raises(ConfigurationError, match="found"):
            read(content)


#: Any JSON, more often than not with the names of fields that an object has.
NAMES = st.one_of(
    st.sampled_from(
        ["metadata", "name", "labels", "annotations", "spec", "status", "config", "tunedProfile",
         "profile", "data", "recommend", "match", "label", "value", "type", "priority", "operand",
         "tunedConfig", "reapply_sysctl", "conditions", "generation", "providerID", "uid",
         "lastTransitionTime", "machineConfigLabels", "debug", "verbosity", "managementState"]
    ),
    TEXTS,
)  # fmt: skip
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=6)),
)


def spoilt(content: Json) -> st.SearchStrategy[Json]:
    """An object with anything in place of one part of it."""
    places: list[tuple[Any, ...]] = []

    def visit(part: Any, way: tuple[Any, ...]) -> None:
        places.append(way)
        for key, each in part.items() if isinstance(part, dict) else ():
            visit(each, (*way, key))
        for number, each in enumerate(part) if isinstance(part, list) else ():
            visit(each, (*way, number))

    visit(content, ())

    def with_part(place: tuple[Any, ...], part: Any) -> Json:
        copy = json.loads(json.dumps(content))
        inner = copy
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = part
        return dict(copy)

    return st.builds(with_part, st.sampled_from([each for each in places if each]), JSON)


TREE = [{"label": "a", "match": [{"label": "b", "value": "1", "type": "pod"}]}]
OPERAND: Json = {"debug": False, "verbosity": 1, "tunedConfig": {"reapply_sysctl": False}}


@given(spoilt(tuned("x", rule("p", 1, match=TREE, operand=OPERAND), profiles={"p": DATA})))
def test_whatever_a_tuned_is_it_is_evaluated_or_refused(content: Json) -> None:
    default = objects.tuned(tuned("default", rule("site", 40)))
    with suppress(ConfigurationError):
        found = recommend.choose([objects.tuned(content), default], objects.node(node({"a": ""})))
        made = wanted.new_profile(found, objects.node(node()), "ns")
        wanted.of_profile(objects.profile(made), "localhost/a")


@given(spoilt(annotated(profile(providerName="aws", **OPERAND), deferred="always")))
def test_whatever_a_profile_is_it_is_written_or_refused(content: Json) -> None:
    with suppress(ConfigurationError):
        for path in wanted.of_profile(objects.profile(content), "localhost/a").files:
            assert ".." not in path.split("/")
            assert not path.startswith("/")
            path.encode()


OLD = {"tunedProfile": "site", "observedGeneration": 3,
       "conditions": [{"type": "Applied", "status": "True", "reason": "", "message": "x",
                       "lastTransitionTime": NOW}]}  # fmt: skip


@given(spoilt({"status": OLD}))
def test_whatever_somebody_has_written_to_the_status_it_is_restored(content: Json) -> None:
    old = content["status"] if isinstance(content.get("status"), dict) else {}
    found = told.status(Seen(None, "unknown"), old, NOW)
    if found is not None:
        assert [each["type"] for each in found["conditions"]][:2] == ["Applied", "Degraded"]
        assert told.status(Seen(None, "unknown"), json.loads(json.dumps(found)), NOW) is None
