"""What an API server answers when something is wrong: made after the traffic of a kube-apiserver
1.36."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.unit.agent.made import NAMESPACE, Json


@dataclass(frozen=True)
class Answer:
    """An answer that is not the right one. `hangs`: there is none; `cut`: the connection is lost
    after that; `slow`: seconds between two bytes."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    cut: bool = False


def failure(code: int, reason: str, message: str, **headers: str) -> Answer:
    """A Status object, as the server sends it."""
    content: Json = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Answer(code, json.dumps(content).encode(), named)


def stream(*events: Any) -> Answer:
    """A watch that ends after these events."""
    return Answer(200, b"".join(json.dumps(each).encode() + b"\n" for each in events))


#: For a valid account, while the server that has just been started does not know its roles.
FORBIDDEN = failure(
    403, "Forbidden",
    'profiles.tuned.openshift.io "node-1" is forbidden: User '
    f'"system:serviceaccount:{NAMESPACE}:tuned" cannot list resource "profiles" in API group '
    f'"tuned.openshift.io" in the namespace "{NAMESPACE}"',
)  # fmt: skip
#: Just after that, and just after a CRD was created.
INITIALIZING = failure(429, "TooManyRequests", "storage is (re)initializing", Retry_After="1")
UNAUTHORIZED = failure(401, "Unauthorized", "Unauthorized")
CONFLICT = failure(
    409, "Conflict",
    'Operation cannot be fulfilled on profiles.tuned.openshift.io "node-1": the object has been '
    "modified; please apply your changes to the latest version and try again",
)  # fmt: skip
#: etcd is away.
DEADLINE = failure(
    504, "Timeout",
    "Timeout: request did not complete within requested timeout - context deadline exceeded",
)  # fmt: skip
ETCD = failure(500, "", "etcdserver: request timed out")
INVALID = failure(
    422, "Invalid",
    'Profile.tuned.openshift.io "node-1" is invalid: status.conditions[0].lastTransitionTime: '
    "Required value",
)  # fmt: skip
#: By a ValidatingAdmissionPolicy.
DENIED = failure(
    422, "Invalid",
    "profiles.tuned.openshift.io \"node-1\" is forbidden: ValidatingAdmissionPolicy "
    "'ocp-tuned-agent-profile' with binding 'ocp-tuned-agent-profile' denied request: an agent "
    "writes the status of its own node's Profile only",
)  # fmt: skip
#: Metadata of a list, for one object.
NOT_ACCEPTABLE = failure(
    406, "NotAcceptable",
    "you requested PartialObjectMetadataList, but the requested object is not a list (*core.Node)",
)  # fmt: skip
#: The CRD is not installed.
NO_CRD = Answer(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"})
#: In a stream with status 200: a watch that is taken up again after a restart of the server.
EXPIRED = stream(
    {
        "type": "ERROR",
        "object": {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": "too old resource version: 352 (360)",
            "reason": "Expired",
            "code": 410,
        },
    }
)
GONE = failure(410, "Expired", "The resourceVersion for the provided list is too old.")
HANGS = Answer(hangs=True)
