"""The story of the agent: what the server says goes into the files, and what the host has recorded
goes to the server.

    Profile ──────────────────┐
    or, without an operator:  ├─► wanted ─► files of the agent ─► (the host applies them)
    Tuneds, Node, pods ───────┘                                              │
    status, annotations, Events ◄── told ◄── record of the host ◄────────────┘

Each pass does all of it, and touches nothing where nothing differs. So it does not matter which
event was missed, or when the agent was killed. Files are never removed because an object or the API
has gone: what a node has, it keeps.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Callable

from ocp_tuned_boot.agent import objects, state, told, wanted
from ocp_tuned_boot.agent.desk import Desk
from ocp_tuned_boot.agent.evaluate import Evaluator
from ocp_tuned_boot.agent.follow import Follower, Objects
from ocp_tuned_boot.agent.kube import Json, Kube, Resource
from ocp_tuned_boot.agent.metrics import Metrics
from ocp_tuned_boot.agent.recorded import Reader, Recorded
from ocp_tuned_boot.agent.tell import Attempt, Teller
from ocp_tuned_boot.agent.told import Delivered, Seen
from ocp_tuned_boot.agent.wanted import Wanted
from ocp_tuned_boot.errors import BootError, Busy, ConfigurationError, defects
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record.model import Record

log = logging.getLogger(__name__)

GROUP = "tuned.openshift.io"
#: How often it is looked whether the host has recorded something new (seconds).
TICK = 1.0
#: How often the files are compared although nothing has changed (seconds): somebody else may have
#: changed them.
COMPARE = 600.0


@dataclass(frozen=True)
class Options:
    """`image`: the reference of the image that contains TuneD; empty if the agent does not decide
    that. `evaluate`: there is no operator."""

    node: str
    namespace: str
    image: str = ""
    evaluate: bool = False


class Agent:
    """One node's agent. `metrics` are told after each pass; `set_verbose` is called with whether
    the Profile asks for each step in the log."""

    def __init__(
        self,
        paths: Paths,
        options: Options,
        kube: Kube,
        metrics: Metrics | None = None,
        set_verbose: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._set_verbose = set_verbose
        self._paths, self._options, self._kube, self._metrics = paths, options, kube, metrics
        self._profiles = Resource(
            "profiles", GROUP, namespace=options.namespace, fields=f"metadata.name={options.node}"
        )
        self.desk = Desk()
        self._evaluator = (
            Evaluator(kube, self.desk, options.node, self._profiles) if options.evaluate else None
        )
        self._reader = Reader(paths)
        self._teller = Teller(kube, options.node, self._profiles)
        self._files = _Files(paths)
        self._base: Objects | None = None
        self._answered: tuple[Objects, Json] | None = None
        self._had_profile = False
        self._problem = ""
        self._notes: tuple[str, ...] = ()

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. Whatever goes wrong is tried again."""
        followers = self._followers()
        for each in followers:
            each.start()
        while not stop.is_set():
            self.desk.wait(TICK)
            if not stop.is_set():
                self.step()
        for each in followers:
            each.stop()
        if self._evaluator is not None:
            self._evaluator.stop()

    def step(self) -> None:
        """One pass."""
        try:
            with defects():
                self._pass()
        except BootError as error:
            log.error("%s", error)
            time.sleep(TICK)

    def _followers(self) -> list[Follower]:
        resources = [self._profiles]
        if self._evaluator is not None:
            resources += self._evaluator.resources()
        return [
            Follower(self._kube, each, partial(self.desk.put, each.plural)) for each in resources
        ]

    def _pass(self) -> None:
        content = self._known_profile()
        if self._evaluator is not None:
            content = self._evaluated(self._evaluator, content)
        self._note_whether_there_is(content)
        if content is not None:
            self._deliver(content)
        recorded = self._reader.look()
        seen = Seen(
            recorded.record,
            recorded.unknown,
            self._files.delivered(recorded.record),
            self._problem,
            self._notes,
        )
        self._tell(seen, recorded)

    def _note_whether_there_is(self, content: Json | None) -> None:
        if self._had_profile and content is None:
            log.warning("the Profile of this node has gone: what is requested stays as it is")
        self._had_profile = content is not None

    def _known_profile(self) -> Json | None:
        """The Profile of this node as the server has it, as far as is known."""
        found = self._base = self.desk.known().get("profiles")
        if found is None:
            return None
        if self._answered is not None and self._answered[0] is found:
            return self._answered[1]  # our own change, which was not reported yet
        self._answered = None
        return found.get((self._options.namespace, self._options.node))

    def _answer(self, content: Json) -> None:
        """What the server has answered to a change of what was known then. If something else is
        reported meanwhile, that counts."""
        if self._base is not None:
            self._answered = (self._base, content)

    def _evaluated(self, evaluator: Evaluator, content: Json | None) -> Json | None:
        """The Profile as it is to be, by the Tuneds. Where the server does not take it, it counts
        all the same: its generation is not known then."""
        if "profiles" not in self.desk.known():
            return None
        evaluator.choose()
        made = evaluator.profile(content)
        if made is None or made is content:
            return made
        answer = evaluator.write(content, made)
        if answer is not None:
            self._answer(answer)
            return answer
        return {**made, "metadata": {**made["metadata"], "generation": -1}}

    def _deliver(self, content: Json) -> None:
        try:
            profile = objects.profile(content)
            found = wanted.of_profile(profile, self._options.image)
        except ConfigurationError as error:
            self._files.refuse()
            self._problem, self._notes = str(error), ()
            return
        self._set_verbose(profile.operand.verbosity > 0)
        self._notes = found.notes
        self._problem = self._files.write(found)

    def _tell(self, seen: Seen, recorded: Recorded) -> None:
        content = self._known_profile()
        if content is not None:
            answer = self._teller.status(seen, content)
            if answer is not None:
                self._answer(answer)
        self._teller.annotations(told.node_annotations(seen), self._known_annotations())
        drifted = tuple(each for each in recorded.drifted if not each.owned)
        events = told.events(seen, drifted)
        if self._evaluator is not None:
            events += self._evaluator.events()
        self._teller.events(events)
        if self._metrics is not None:
            self._metrics.update(seen, drifted, self._kube.counters)

    def _known_annotations(self) -> Mapping[str, str] | None:
        """Those of the Node, where it is followed."""
        nodes = self.desk.known().get("nodes")
        if not nodes:
            return None
        try:
            return objects.node(next(iter(nodes.values()))).annotations
        except ConfigurationError:
            return None


class _Files:
    """What is in the files, and what is still to be written."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._writing = Attempt()
        self._recovered = False
        self._written: Wanted | None = None
        self._at = 0.0
        self._error = ""
        self._known: tuple[object, Delivered] | None = None

    def _is_written(self, found: Wanted) -> bool:
        return self._written == found

    def write(self, found: Wanted) -> str:
        """Writes what is wanted, if it is not known to be written. Returns why it is not
        written."""
        if self._is_written(found) and time.monotonic() - self._at < COMPARE:
            return ""
        self._writing.make(lambda: self._write(found))
        return "" if self._is_written(found) else self._error

    def refuse(self) -> None:
        """What the files say is not what is wanted."""
        self._written = None

    def delivered(self, record: Record | None) -> Delivered | None:
        """What the host can have read of a Profile by now. The files are read again when there is
        a new record."""
        written = self._written
        if written is None or written.generation < 0:
            return None
        if self._known is None or self._known[0] is not record:
            of_host = (record.contract, record.mode) if record is not None else ("",)
            fingerprint = state.fingerprint(self._paths, *of_host)
            self._known = (record, Delivered(written.generation, fingerprint, written.deps))
        return self._known[1]

    def _write(self, found: Wanted) -> None:
        try:
            if not self._recovered:
                state.recover(self._paths)
                self._recovered = True
            known = self._written is not None and self._written.files == found.files
            if state.write(self._paths, found):
                if known:
                    log.warning("another program had changed the files of the agent")
                log.info("profile %s is requested now", found.profile)
        except Busy:
            raise  # another agent writes, for a moment
        except BootError as error:
            self._error = str(error)
            self._written = None
            raise
        self._written, self._at, self._known = found, time.monotonic(), None
