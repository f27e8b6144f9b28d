"""Follows objects of the server: list, watch until the server ends that, list again.

No error is final: a server that is starting answers 403, 404 and 429 as well. What is known of the
objects stays known until a list says otherwise.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Mapping
from typing import Any, Callable

from ocp_tuned_boot.agent.kube import ApiError, Gone, Json, Kube, Resource
from ocp_tuned_boot.errors import BootError, defects

log = logging.getLogger(__name__)

#: The first and the longest pause after an error (seconds), before jitter.
FIRST, LONGEST = 0.5, 5.0
#: The most that a server may ask to wait (seconds).
PATIENT = 60.0
#: A watch that ends sooner than this (seconds) counts as an error: else a server that ends each one
#: at once would be asked without end.
BRIEF = 1.0

#: Objects by namespace and name.
Objects = Mapping[tuple[str, str], Json]


class Pause:
    """How long to wait before the next attempt: longer each time, with jitter, so that a thousand
    nodes do not come at once."""

    def __init__(
        self,
        between: Callable[[float, float], float] = random.uniform,
        longest: float | None = None,
    ) -> None:
        self._between = between
        self._longest = LONGEST if longest is None else longest
        self._next = FIRST

    def reset(self) -> None:
        self._next = FIRST

    def next(self, at_least: float = 0.0) -> float:
        """Seconds. `at_least`: what the server asks for."""
        pause, self._next = self._next, min(2 * self._next, self._longest)
        jittered = self._between(pause / 2, pause)
        asked = min(at_least, PATIENT)
        return max(jittered, asked + self._between(0.0, asked / 2)) if asked else jittered


class Follower(threading.Thread):
    """Follows one resource, and passes on all objects whenever one has changed."""

    def __init__(
        self,
        kube: Kube,
        resource: Resource,
        seen: Callable[[Objects], None],
        pause: Pause | None = None,
    ) -> None:
        super().__init__(name=f"follow {resource.plural}", daemon=True)
        self._kube, self._resource, self._seen = kube, resource, seen
        self._pause = pause or Pause()
        self._stop_requested = threading.Event()
        self._complaint = ""

    def stop(self) -> None:
        """Ends it, at the latest when the present watch ends. Nothing is passed on any more."""
        self._stop_requested.set()

    def run(self) -> None:
        while not self._stop_requested.is_set():
            asked = 0.0
            began = time.monotonic()
            try:
                with defects():
                    self._follow()
            except Gone as error:
                log.debug("%s", error)
            except BootError as error:
                asked = error.retry_after if isinstance(error, ApiError) else 0.0
                self._complain(error.message)
            else:
                if time.monotonic() - began >= BRIEF:
                    self._pause.reset()
                    continue
            self._stop_requested.wait(self._pause.next(asked))

    def _follow(self) -> None:
        listing = self._kube.list(self._resource)
        known = {_key(each): each for each in listing.items}
        self._pass_on(known)
        self._well()
        for kind, changed in self._kube.watch(self._resource, listing.version):
            if self._stop_requested.is_set():
                return
            if kind == "BOOKMARK":
                continue
            if kind == "DELETED":
                known.pop(_key(changed), None)
            else:
                known[_key(changed)] = changed
            self._pass_on(known)

    def _pass_on(self, known: dict[tuple[str, str], Json]) -> None:
        if not self._stop_requested.is_set():
            self._seen(dict(known))

    def _complain(self, words: str) -> None:
        """Logs what goes wrong, once as long as it is the same."""
        log.log(logging.DEBUG if words == self._complaint else logging.WARNING, "%s", words)
        self._complaint = words

    def _well(self) -> None:
        if self._complaint:
            log.info("%s: the API server answers again", self._resource)
        self._complaint = ""


def _key(content: Mapping[str, Any]) -> tuple[str, str]:
    metadata = content.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    return str(known.get("namespace", "")), str(known.get("name", ""))
