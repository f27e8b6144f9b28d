"""What is known of the objects of the server: filled by the threads that follow them, read by the
one that acts."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from ocp_tuned_boot.agent.follow import Objects


class Desk:
    """The latest state of each resource, by its plural."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._has_news = False
        self._known: dict[str, Objects] = {}

    def put(self, plural: str, objects: Objects) -> None:
        """Replaces what is known of a resource."""
        with self._news:
            self._known[plural] = objects
            self._has_news = True
            self._news.notify_all()

    def forget(self, plural: str) -> None:
        """From now on, nothing is known of a resource."""
        with self._news:
            self._known.pop(plural, None)

    def known(self) -> Mapping[str, Objects]:
        """What has been listed at least once."""
        with self._news:
            return dict(self._known)

    def wait(self, seconds: float) -> None:
        """Until there is something new, at most so long."""
        with self._news:
            self._news.wait_for(lambda: self._has_news, seconds)
            self._has_news = False

    def wake(self) -> None:
        """Ends a wait."""
        with self._news:
            self._has_news = True
            self._news.notify_all()
