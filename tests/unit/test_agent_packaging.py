"""What `kubectl apply -k packaging/agent` installs is what the agent needs, and not more.

A real server and kubectl accept it in the lab; the policies: test_agent_policies.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot.agent import __main__ as command
from ocp_tuned_boot.agent import objects, recommend
from ocp_tuned_boot.agent.tell import EVENTS
from ocp_tuned_boot.host.paths import Paths
from tests.unit.agent.fake_api import Api, Request, serving
from tests.unit.agent.made import DATA, NAMESPACE, host, node, profile, rule, tuned
from tests.unit.agent.test_agent import EVALUATE, OPTIONS, applies, conditions, pod, running, wanted
from tests.unit.patience import eventually

yaml = pytest.importorskip("yaml", reason="PyYAML comes with the agent's client")

TREE = Path(__file__).resolve().parents[2]
FOLDER = TREE / "packaging/agent"
Json = dict[str, Any]


def documents(name: str) -> list[Json]:
    return [each for each in yaml.safe_load_all((FOLDER / name).read_text()) if each]


def resources(folder: Path) -> list[Path]:
    """The files that a kustomization names, with those of the folders that it names."""
    content = yaml.safe_load((folder / "kustomization.yaml").read_text())
    found: list[Path] = []
    for each in content["resources"]:
        path = (folder / each).resolve()
        found += resources(path) if path.is_dir() else [path]
    return found


DAEMON = documents("base/daemonset.yaml")[0]
POD = DAEMON["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]


def test_each_manifest_is_used_and_each_object_has_a_name() -> None:
    used = {*resources(FOLDER), *resources(FOLDER / "operator")}
    assert used == {p for p in FOLDER.rglob("*.yaml") if p.name != "kustomization.yaml"}
    for path in used:
        for each in documents(str(path)):
            assert each["metadata"]["name"]
            assert each["metadata"].get("namespace", NAMESPACE) in (NAMESPACE, EVENTS)


def test_the_pod_has_no_privileges() -> None:
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    # Not one, but with the default type it could not use its directories: docs/selinux.md.
    assert POD["securityContext"]["seLinuxOptions"] == {"type": "spc_t", "level": "s0"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for forbidden in ("hostNetwork", "hostPID", "hostIPC"):
        assert forbidden not in POD
    assert len(POD["containers"]) == 1


def test_the_pod_has_two_directories_of_the_host_and_writes_to_one() -> None:
    mounts = {each["mountPath"]: each.get("readOnly", False) for each in CONTAINER["volumeMounts"]}
    assert mounts == {str(Paths().agent): False, str(Paths().run): True}
    volumes = {each["hostPath"]["path"]: each["hostPath"]["type"] for each in POD["volumes"]}
    assert volumes == dict.fromkeys(mounts, "Directory")


def test_the_user_of_the_pod_owns_the_directory() -> None:
    made = (TREE / "packaging/tmpfiles.conf").read_text()
    user = POD["securityContext"]["runAsUser"]
    assert POD["securityContext"]["runAsGroup"] == user
    assert f"\nd {Paths().agent} :0755 :{user} :{user} -\n" in made
    assert f"\nUSER {user}:{user}\n" in (FOLDER / "Containerfile").read_text()
    # Numbers that nobody is given: https://systemd.io/UIDS-GIDS.
    assert 60578 <= user <= 61183


def test_openshift_allows_exactly_this_pod() -> None:
    """As the fields of the API (security/v1 of openshift/api) are compared with those of a pod."""
    allowed, role, binding = documents("operator/scc.yaml")
    pod = POD["securityContext"]
    assert allowed["seLinuxContext"] == {
        "type": "MustRunAs", "seLinuxOptions": pod["seLinuxOptions"],
    }  # fmt: skip
    assert allowed["runAsUser"] == {"type": "MustRunAs", "uid": pod["runAsUser"]}
    assert allowed["seccompProfiles"] == ["runtime/default"]
    assert (
        allowed["requiredDropCapabilities"] == CONTAINER["securityContext"]["capabilities"]["drop"]
    )
    for name in ("allowPrivilegeEscalation", "readOnlyRootFilesystem"):
        assert allowed[name] is CONTAINER["securityContext"][name]
    # Besides the token of the account, which the server adds.
    kinds = {kind for volume in POD["volumes"] for kind in volume if kind != "name"}
    assert set(allowed["volumes"]) == {*kinds, "projected"}
    permitted = {name for name, value in allowed.items() if name.startswith("allow") and value}
    assert permitted == {"allowHostDirVolumePlugin"}
    assert (allowed["users"], allowed["groups"]) == ([], [])
    (rule_,) = role["rules"]
    assert (rule_["resourceNames"], rule_["verbs"]) == ([allowed["metadata"]["name"]], ["use"])
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def test_the_document_about_selinux_has_the_pod_and_nothing_changes_a_policy() -> None:
    text = (TREE / "docs/selinux.md").read_text()
    options = POD["securityContext"]["seLinuxOptions"]
    assert f"{{type: {options['type']}, level: {options['level']}}}" in text
    shipped = [TREE / "rpm.spec", TREE / "Makefile", *(TREE / "packaging").rglob("*"),
               *(TREE / "units").rglob("*")]  # fmt: skip
    assert not [path for path in shipped if path.suffix in (".te", ".cil", ".pp", ".fc")]
    for path in shipped:
        if path.is_file():
            words = re.findall(r"\b(semodule|semanage|chcon|restorecon)\b", path.read_text())
            assert words == [], path


def test_the_options_come_from_the_environment() -> None:
    names = {each["name"] for each in CONTAINER["env"]}
    assert names == {"NODE_NAME", "TUNED_IMAGE"}
    options = command._parser(dict.fromkeys(names, "x")).parse_args(CONTAINER["args"])
    assert (options.node, options.image, options.namespace) == ("x", "x", NAMESPACE)


def test_the_image_has_what_the_agent_imports() -> None:
    text = (FOLDER / "Containerfile").read_text()
    installed = {each.replace("-", "_") for each in re.findall(r"\bpython3-([\w-]+)", text)}
    done = subprocess.run(
        [sys.executable, "-c", "import ocp_tuned_boot.agent.__main__, sys; print(*sys.modules)"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    # Those that the program on the host requires are in the environment of this test, too.
    imported = set(done.stdout.split()) & {"configobj", "podman", "pystemd", "requests", "sdnotify"}
    assert imported == {"configobj"}
    assert installed == {*imported, "kubernetes", "prometheus_client"}


def granted(*names: str) -> set[tuple[str, str]]:
    """Verbs and resources of the roles in these files."""
    return {
        (verb, resource)
        for name in names
        for each in documents(name)
        for rule_ in each.get("rules", [])
        for verb in rule_["verbs"]
        for resource in rule_["resources"]
    }


def needed(request: Request) -> tuple[str, str]:
    verb, resource = request.says.split()
    verbs = {"POST": "create", "PUT": "update"}
    return verbs.get(verb, verb.lower()), resource


@contextmanager
def told(tmp_path: Path) -> Iterator[tuple[Api, Paths]]:
    with serving() as api:
        api.put("nodes", node())
        yield api, host(tmp_path)


def test_what_the_role_allows_is_what_the_agent_asks_for(tmp_path: Path) -> None:
    pytest.importorskip("kubernetes", reason="the agent's client is not in this environment")
    with told(tmp_path / "operator") as (api, paths):
        api.put("profiles", profile())
        conflicts = iter([True])

        def wrong(request: Request) -> None:
            if request.says == "PUT profiles/status" and next(conflicts, False):
                api.edit("profiles", "node-1", lambda it: it["metadata"].update(labels={"a": "b"}))

        api.wrong = wrong
        with running(paths, api, OPTIONS):
            eventually(lambda: wanted(paths) == "site")
            applies(paths)
            eventually(lambda: conditions(api).get("Applied") == ("True", "AsExpected"))
            eventually(lambda: api.said("PATCH nodes") and api.said("POST events"))
        asked = {needed(each) for each in api.requests}
    assert asked == granted("base/rbac.yaml")
    with told(tmp_path / "evaluate") as (api, paths):
        by_pod = rule("web", 20, match=[{"label": "app", "type": "pod"}])
        api.put("tuneds", tuned("default", by_pod, rule("site", 40), profiles={"site": DATA}))
        with running(paths, api, EVALUATE):
            eventually(lambda: wanted(paths) == "site")
            api.put("pods", pod("web", app="web"))
            eventually(lambda: wanted(paths) == "web")
            api.edit("tuneds", "default", lambda it: it["spec"]["recommend"].pop(0))
            eventually(lambda: wanted(paths) == "site")
            eventually(lambda: api.said("PUT profiles"))
            applies(paths)
            eventually(lambda: api.said("PATCH nodes") and api.said("POST events"))
        more = {needed(each) for each in api.requests}
    assert more <= granted("base/rbac.yaml", "evaluate-rbac.yaml")
    assert more - asked == granted("evaluate-rbac.yaml") - asked
    assert replace(OPTIONS, evaluate=True) == EVALUATE


def test_the_account_of_the_pod_is_that_of_the_roles_and_of_the_policies() -> None:
    account = POD["serviceAccountName"]
    for path in {*resources(FOLDER), *resources(FOLDER / "operator")}:
        for each in documents(str(path)):
            for subject in each.get("subjects", []):
                assert (subject["name"], subject["namespace"]) == (account, NAMESPACE)
    policies = documents("policies/policies.yaml")
    user = f"system:serviceaccount:{NAMESPACE}:{account}"
    for each in policies:
        if each["kind"] == "ValidatingAdmissionPolicy":
            assert each["spec"]["failurePolicy"] == "Fail"
            assert user in each["spec"]["matchConditions"][0]["expression"]
    bound = {each["spec"]["policyName"] for each in policies if "policyName" in each["spec"]}
    assert bound == {"ocp-tuned-agent-profile", "ocp-tuned-agent-node"}


def test_the_policy_names_the_annotations_that_the_agent_writes() -> None:
    text = (FOLDER / "policies/policies.yaml").read_text()
    assert set(re.findall(r'"(tuned\.openshift\.io/[\w-]+)"', text)) == {
        objects.BOOTCMDLINE, objects.BOOTCMDLINE_DEPS,
    }  # fmt: skip


def test_the_default_tuned_has_a_rule_for_every_node() -> None:
    (content,) = documents("tuned-default.yaml")
    assert content["metadata"]["name"] == recommend.DEFAULT
    found = recommend.choose([objects.tuned(content)], objects.node(node()))
    assert found.profile in dict(found.profiles)
    assert found.notes == ()


@pytest.mark.parametrize("kind", ["profile", "tuned"])
def test_the_crds_are_of_the_group_and_have_a_status(kind: str) -> None:
    (crd,) = documents(f"crd-{kind}.yaml")
    (version,) = crd["spec"]["versions"]
    assert crd["metadata"]["name"] == f"{kind}s.tuned.openshift.io"
    assert (version["name"], version["subresources"]) == ("v1", {"status": {}})


def fits(value: Any, schema: Json) -> bool:
    """Whether a server with this schema keeps all of a value."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return True
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if not isinstance(value, kinds[schema["type"]]):
        return False
    if isinstance(value, list):
        return all(fits(each, schema["items"]) for each in value)
    if not isinstance(value, dict):
        return value in schema.get("enum", [value])
    known, other = schema.get("properties", {}), schema.get("additionalProperties")
    return set(schema.get("required", [])) <= set(value) and all(
        fits(each, known.get(key, other)) if key in known or other else False
        for key, each in value.items()
    )


def test_what_the_agent_writes_and_what_upstream_accepts_is_kept() -> None:
    schemas = {
        kind: documents(f"crd-{kind}.yaml")[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for kind in ("profile", "tuned")
    }
    made = profile(providerName="aws", tunedConfig={"reapply_sysctl": True})
    condition = {"type": "Applied", "status": "True", "reason": "", "message": "",
                 "lastTransitionTime": "2026-11-27T01:00:00Z"}  # fmt: skip
    status = {"tunedProfile": "", "observedGeneration": 3, "conditions": [condition]}
    assert fits({"spec": made["spec"], "status": status}, schemas["profile"])
    tree = [{"label": "a", "type": "pod", "match": [{"match": [{"anything": 5}]}]}]
    operand = {"debug": False, "verbosity": 1, "tunedConfig": {"reapply_sysctl": False}}
    pools = {"machineConfigLabels": {"a": "b"}}
    content = tuned("x", rule("p", 0, match=tree, operand=operand, **pools), profiles={"p": DATA})
    assert fits({"spec": content["spec"], "status": {"conditions": []}}, schemas["tuned"])
    assert not fits({"spec": {"recommend": [{"profile": "p"}]}}, schemas["tuned"])
