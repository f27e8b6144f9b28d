"""Without an operator: evaluates the Tuneds for this node, and keeps its Profile as an operator
would."""

from __future__ import annotations

import logging

from ocp_tuned_boot.agent import objects, recommend, told, wanted
from ocp_tuned_boot.agent.desk import Desk
from ocp_tuned_boot.agent.follow import Follower, Objects
from ocp_tuned_boot.agent.kube import Json, Kube, Resource
from ocp_tuned_boot.agent.objects import Node
from ocp_tuned_boot.agent.recommend import Choice, Labels
from ocp_tuned_boot.agent.tell import Attempt
from ocp_tuned_boot.agent.told import Event
from ocp_tuned_boot.errors import ConfigurationError

log = logging.getLogger(__name__)


class Evaluator:
    """`problem` is why the last evaluation has chosen nothing: then what was chosen before
    stays."""

    def __init__(self, kube: Kube, desk: Desk, node: str, profiles: Resource) -> None:
        self._kube, self._desk, self._name, self._profiles = kube, desk, node, profiles
        self._pods: Follower | None = None
        self._writing = Attempt()
        self._evaluated: tuple[object, ...] = ()
        self._chosen: tuple[Choice, Node] | None = None
        self.problem: ConfigurationError | None = None

    def resources(self) -> tuple[Resource, ...]:
        """What has to be followed from the beginning, besides the own Profile."""
        return (
            Resource("tuneds", self._profiles.group, namespace=self._profiles.namespace),
            Resource("nodes", fields=f"metadata.name={self._name}"),
        )

    def stop(self) -> None:
        """Follows nothing any more."""
        if self._pods is not None:
            self._pods.stop()

    def events(self) -> list[Event]:
        """What there is to say about the evaluation."""
        found = []
        if self.problem is not None:
            found.append(told.problem("TunedNotEvaluated", str(self.problem)))
        elif self._chosen is not None:
            found += [told.problem("TunedRule", note) for note in self._chosen[0].notes]
        return found

    def choose(self) -> None:
        """Evaluates again, if something has changed since the last time, and everything is known
        that it depends on."""
        known = self._desk.known()
        tuneds, nodes = known.get("tuneds"), known.get("nodes")
        if tuneds is None or not nodes:
            return
        pods = known.get("pods")
        if (tuneds, nodes, pods) == self._evaluated:
            return
        try:
            found = [objects.tuned(each) for each in tuneds.values()]
            if not self._pods_are_known(recommend.uses_pods(found), pods):
                return
            node = objects.node(next(iter(nodes.values())))
            labels = _labels(pods or {}) if self._pods else ()
            self._chosen = (recommend.choose(found, node, labels), node)
            self.problem = None
            for note in self._chosen[0].notes:
                log.warning("%s", note)
        except ConfigurationError as error:
            log.warning("the profile of this node stays as it is: %s", error)
            self.problem = error
        self._evaluated = (tuneds, nodes, pods)

    def profile(self, content: Json | None) -> Json | None:
        """The Profile as it should be: `content`, the one that the server has, if nothing is to be
        changed; None if nothing was ever chosen."""
        if self._chosen is None:
            return content
        choice, node = self._chosen
        if content is None:
            return wanted.new_profile(choice, node, self._profiles.namespace)
        return wanted.changed_profile(choice, node, content) or content

    def write(self, content: Json | None, made: Json) -> Json | None:
        """Has the server keep the Profile that `profile` has made of `content`. Returns what it
        keeps; None if it could not be written."""
        answer: list[Json] = []

        def call() -> None:
            write = self._kube.create if content is None else self._kube.replace
            answer.append(write(self._profiles, made))

        self._writing.make(call)
        return answer[0] if answer else None

    def _pods_are_known(self, needed: bool, pods: Objects | None) -> bool:
        """Follows pods while a rule asks for them."""
        if needed and self._pods is None:
            resource = Resource("pods", fields=f"spec.nodeName={self._name}", metadata_only=True)
            self._pods = Follower(self._kube, resource, lambda seen: self._desk.put("pods", seen))
            self._pods.start()
        elif not needed and self._pods is not None:
            self._pods.stop()
            self._pods = None
            self._desk.forget("pods")
        return not needed or pods is not None


def _labels(pods: Objects) -> tuple[Labels, ...]:
    return tuple(objects.labels(each) for each in pods.values())
