"""What the admission policies of packaging/agent allow, evaluated by an implementation of CEL: the
server that the lab can build has none. It does not know the types of the server's objects.

The rules: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot.agent import objects
from tests.unit.agent.made import NAMESPACE, node, profile

celpy = pytest.importorskip("celpy", reason="there is no CEL for this Python")
adapter = pytest.importorskip("celpy.adapter", reason="there is no CEL for this Python")
yaml = pytest.importorskip("yaml", reason="PyYAML comes with the agent's client")

POLICIES = Path(__file__).resolve().parents[2] / "packaging/agent/policies/policies.yaml"
Json = dict[str, Any]

AGENT = f"system:serviceaccount:{NAMESPACE}:ocp-tuned-agent"
NODE_NAME = "authentication.kubernetes.io/node-name"
HERE: Json = {"username": AGENT, "extra": {NODE_NAME: ["node-1"]}}
NODE: Json = {**node({"role": "worker"}), "status": {"conditions": [{"type": "Ready"}]}}
OWN = (objects.BOOTCMDLINE, objects.BOOTCMDLINE_DEPS)


def evaluated(expression: str, known: Json) -> Any:
    environment = celpy.Environment()
    program = environment.program(environment.compile(expression))
    return program.evaluate({name: adapter.json_to_cel(it) for name, it in known.items()})


def refused(resource: str, new: Json, old: Json | None = None, user: Json = HERE) -> list[str]:
    """The messages of the validations that a request fails."""
    request: Json = {"userInfo": user}
    found = []
    for policy in yaml.safe_load_all(POLICIES.read_text()):
        if policy["kind"] != "ValidatingAdmissionPolicy":
            continue
        spec = policy["spec"]
        (rule,) = spec["matchConstraints"]["resourceRules"]
        if resource not in rule["resources"]:
            continue
        assert ("UPDATE" if old is not None else "CREATE") in rule["operations"]
        known: Json = {"object": new, "oldObject": old, "request": request, "variables": {}}
        if not all(evaluated(each["expression"], known) for each in spec["matchConditions"]):
            continue
        for each in spec.get("variables", []):
            known["variables"][each["name"]] = evaluated(each["expression"], known)
        found += [
            each["message"]
            for each in spec["validations"]
            if not evaluated(each["expression"], known)
        ]
    return found


def annotated(**more: Any) -> Json:
    """The Node with other metadata; None: without it."""
    metadata = {**NODE["metadata"], **more}
    return {**NODE, "metadata": {key: it for key, it in metadata.items() if it is not None}}


@pytest.mark.parametrize("resource", ["profiles", "profiles/status"])
def test_an_agent_writes_the_profile_of_its_own_node(resource: str) -> None:
    theirs = {**profile(), "metadata": {**profile()["metadata"], "name": "node-2"}}
    for old in (None, profile()):
        assert refused(resource, profile(), old) == []
        words = ["an agent writes the Profile of its own node only"]
        assert refused(resource, theirs, old) == words
        # A server before 1.32 does not say of which node the token is.
        for user in (
            {"username": AGENT},
            {"username": AGENT, "extra": {}},
            {"username": AGENT, "extra": {NODE_NAME: ["node-2"]}},
        ):
            assert refused(resource, profile(), old, user) == words
        assert refused(resource, theirs, old, {"username": "system:admin"}) == []


@pytest.mark.parametrize("resource", ["nodes", "nodes/status"])
@pytest.mark.parametrize("before", [None, {}, {"of": "others"}, {OWN[0]: "a=1", "of": "others"}])
def test_an_agent_writes_its_own_annotations(resource: str, before: dict[str, str] | None) -> None:
    old = annotated(annotations=before)
    others = {key: it for key, it in (before or {}).items() if key not in OWN}
    assert refused(resource, old, old) == []
    for after in (others, {**others, OWN[0]: "b=2"}, {**others, OWN[0]: "b=2", OWN[1]: "x"}):
        assert refused(resource, annotated(annotations=after), old) == []
    words = ["an agent writes its own two annotations only"]
    for after in ({**others, "more": "1"}, {**others, "of": "another"}):
        assert refused(resource, annotated(annotations=after), old) == words
    if others:
        assert refused(resource, annotated(annotations={OWN[0]: "b=2"}), old) == words
        assert refused(resource, annotated(), old) == words


@pytest.mark.parametrize(
    "new",
    [
        annotated(labels={"role": "master"}), annotated(labels=None), annotated(finalizers=["x"]),
        annotated(ownerReferences=[{"name": "x"}]), {**NODE, "spec": {"unschedulable": True}},
        {**NODE, "status": {"conditions": []}},
        {key: it for key, it in NODE.items() if key != "status"},
    ],
)  # fmt: skip
def test_an_agent_writes_annotations_only(new: Json) -> None:
    words = ["an agent writes annotations only"]
    assert refused("nodes", new, NODE) == words
    assert refused("nodes", NODE, new) == words
    assert refused("nodes", new, NODE, {"username": "system:admin"}) == []


def test_an_agent_writes_to_its_own_node_only() -> None:
    words = ["an agent writes to its own Node only"]
    assert refused("nodes", NODE, NODE, {"username": AGENT}) == words
    theirs = annotated(name="node-2")
    assert refused("nodes", theirs, theirs) == words
