"""Objects as a server sends them, and a host with the agent's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ocp_tuned_boot.host.paths import Paths

NAMESPACE = "openshift-cluster-node-tuning-operator"
IMAGE = "registry.example/tuned:1"
DATA = "[main]\nsummary=x\n"
NOW = "2026-11-27T01:00:00Z"

Json = dict[str, Any]


def tuned(name: str, *rules: Json, profiles: Json | None = None, **metadata: Any) -> Json:
    """`profiles`: data by name."""
    custom = [{"name": each, "data": data} for each, data in (profiles or {}).items()]
    return {
        "apiVersion": "tuned.openshift.io/v1",
        "kind": "Tuned",
        "metadata": {"name": name, "namespace": NAMESPACE, "generation": 1, **metadata},
        "spec": {"profile": custom, "recommend": list(rules)},
    }


def rule(profile: str, priority: int | None, **more: Any) -> Json:
    found: Json = {"profile": profile, **more}
    return found if priority is None else {**found, "priority": priority}


def node(labels: dict[str, str] | None = None, **spec: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node-1", "uid": "d4bba57f", "labels": labels or {}},
        "spec": spec,
    }


def profile(
    name: str = "site", profiles: Json | None = None, generation: int = 1, **config: Any
) -> Json:
    """As the operator makes it. `profiles`: data by name."""
    known = {"site": DATA} if profiles is None else profiles
    custom = [{"name": each, "data": data} for each, data in known.items()]
    return {
        "apiVersion": "tuned.openshift.io/v1",
        "kind": "Profile",
        "metadata": {
            "name": "node-1",
            "namespace": NAMESPACE,
            "generation": generation,
            "resourceVersion": "227",
            "uid": "3bacb68f",
        },
        "spec": {
            "config": {
                "tunedProfile": name,
                "debug": False,
                "verbosity": 0,
                "tunedConfig": {},
                **config,
            },
            "profile": custom,
        },
    }


def annotated(content: Json, **annotations: str) -> Json:
    """With annotations of the group tuned.openshift.io."""
    named = {f"tuned.openshift.io/{key.replace('_', '-')}": it for key, it in annotations.items()}
    return {**content, "metadata": {**content["metadata"], "annotations": named}}


def host(root: Path) -> Paths:
    """A host whose agent has written nothing yet."""
    paths = Paths(root)
    for folder in (paths.agent, paths.run, paths.boot_id.parent):
        folder.mkdir(parents=True)
    paths.boot_id.write_text("boot-1\n")
    return paths
