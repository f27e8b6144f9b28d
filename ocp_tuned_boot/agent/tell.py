"""Tells the server what is known of this node, and tries again until it knows.

Only what differs is written: the status of the node's Profile (PUT, which the operator's role
allows), two annotations of the Node (PATCH), and an Event for each thing that happens.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, Callable

from ocp_tuned_boot import __version__
from ocp_tuned_boot.agent import objects, told
from ocp_tuned_boot.agent.follow import Pause
from ocp_tuned_boot.agent.kube import ApiError, Json, Kube, Resource
from ocp_tuned_boot.agent.told import Event, Seen
from ocp_tuned_boot.errors import BootError

log = logging.getLogger(__name__)

#: How often a change by somebody else is given way to at once; then after a pause.
CONFLICTS = 5
#: How often the annotations of a Node are compared that nobody seems to have changed (seconds).
COMPARE = 600.0
#: How long an annotation takes to be reported by a watch (seconds).
REPORTED = 10.0
#: The longest pause before something is tried again that nobody waits for (seconds): the account
#: may not be allowed to do it, on a thousand nodes.
UNHURRIED = 60.0
#: An Event about something that happened longer ago is no news: the server itself forgets Events
#: after an hour.
NEWS = timedelta(minutes=50)
#: The most names of Events that are remembered as told.
_REMEMBERED = 1000
#: Where Events about Nodes are.
EVENTS = "default"

Clock = Callable[[], float]


def now() -> datetime:
    """The time in UTC."""
    return datetime.now(timezone.utc)


def stamp(at: datetime) -> str:
    """As the server writes it: RFC 3339, whole seconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


class Attempt:
    """Something that is tried until it succeeds, with pauses."""

    def __init__(self, longest: float | None = None, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._pause = Pause(longest=longest)
        self._not_before = 0.0
        self._complaint = ""

    @property
    def is_due(self) -> bool:
        return self._clock() >= self._not_before

    def make(self, call: Callable[[], object]) -> bool:
        """Whether it succeeded, if it is due. An error is logged, once as long as it is the
        same."""
        if not self.is_due:
            return False
        try:
            call()
        except BootError as error:
            asked = error.retry_after if isinstance(error, ApiError) else 0.0
            self._not_before = self._clock() + self._pause.next(asked)
            same = error.message == self._complaint
            log.log(logging.DEBUG if same else logging.WARNING, "%s", error)
            self._complaint = error.message
            return False
        self._pause.reset()
        self._complaint = ""
        return True


class Teller:
    """What is told of one node."""

    def __init__(self, kube: Kube, node: str, profiles: Resource) -> None:
        self._kube, self._node, self._profiles = kube, node, profiles
        self._status = Attempt()
        self._annotating, self._events = Attempt(UNHURRIED), Attempt(UNHURRIED)
        self._refused: object = None
        self._annotated: tuple[Mapping[str, str], float] | None = None
        self._told: dict[str, None] = {}

    def status(self, seen: Seen, content: Json) -> Json | None:
        """Updates the status of the Profile, which is `content` as far as is known. Returns it as
        it is then; None if nothing was written."""
        # What the server has refused is not sent again before something changes.
        asked = (seen, (content.get("metadata") or {}).get("resourceVersion"))
        if told.status(seen, _status_of(content), stamp(now())) is None or asked == self._refused:
            return None
        answer: list[Json] = []

        def write() -> None:
            try:
                answer.append(self._written(seen, content))
            except ApiError as error:
                if error.status == 422:
                    self._refused = asked
                raise

        self._status.make(write)
        return answer[0] if answer else None

    def _written(self, seen: Seen, content: Json) -> Json:
        for _ in range(CONFLICTS):
            status = told.status(seen, _status_of(content), stamp(now()))
            if status is None:
                return content
            try:
                return self._kube.replace_status(self._profiles, {**content, "status": status})
            except ApiError as error:
                if error.status != 409:
                    raise
                conflict = error
            content = self._kube.get(self._profiles, self._node)
        raise conflict

    def annotations(
        self, wanted: Mapping[str, str] | None, known: Mapping[str, str] | None
    ) -> None:
        """Sets these annotations of the Node. `known`: those that it has, None if that has to be
        asked."""
        if wanted is None or not self._is_time(wanted, COMPARE if known is None else REPORTED):
            return

        def write() -> None:
            present = known
            if present is None:
                present = objects.node(self._kube.get_node(self._node)).annotations
            if any(present.get(key) != value for key, value in wanted.items()):
                self._kube.annotate_node(self._node, wanted)

        if known is not None and all(known.get(key) == wanted[key] for key in wanted):
            return
        if self._annotating.make(write):
            self._annotated = (wanted, time.monotonic())

    def _is_time(self, wanted: Mapping[str, str], pause: float) -> bool:
        if self._annotated is None or self._annotated[0] != wanted:
            return True
        return time.monotonic() - self._annotated[1] > pause

    def events(self, events: Sequence[Event]) -> None:
        """Creates those that do not exist yet."""
        for event in events:
            name = event.name(self._node)
            if name in self._told or not _is_news(event):
                continue
            if not self._events.make(partial(self._create, name, event)):
                return
            self._told[name] = None
            if len(self._told) > _REMEMBERED:
                del self._told[next(iter(self._told))]

    def _create(self, name: str, event: Event) -> None:
        try:
            self._kube.create_event(EVENTS, _event(name, event, self._node))
        except ApiError as error:
            if error.status != 409:  # an agent before this one has told it
                raise


def _status_of(content: Json) -> Mapping[str, Any]:
    found = content.get("status")
    return found if isinstance(found, dict) else {}


def _is_news(event: Event) -> bool:
    if not event.at:
        return True
    try:
        at = datetime.fromisoformat(event.at.replace("Z", "+00:00"))
    except ValueError:
        return True
    return now() - at < NEWS


def _event(name: str, event: Event, node: str) -> Json:
    at = stamp(now())
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": EVENTS},
        # As the kubelet does: the name of the Node is the uid by which Events are found.
        "involvedObject": {"kind": "Node", "name": node, "uid": node},
        "reason": event.reason,
        "message": event.message,
        "type": "Warning" if event.warning else "Normal",
        "source": {"component": "ocp-tuned-agent", "host": node},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
        "reportingComponent": f"ocp-tuned-agent/{__version__}",
        "reportingInstance": node,
    }
