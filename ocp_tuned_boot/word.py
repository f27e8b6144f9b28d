"""The word: whether everything that TuneD has to follow is there.

ocp-tuned.service starts early and waits. ocp-tuned-go.service is ordered after everything that
TuneD has to follow. That it is active is the word, and a folder in /run says so: it lasts, and ends
with this run of user space. Who waits for it is woken through a FIFO.
"""

from __future__ import annotations

import logging
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files, systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier

log = logging.getLogger(__name__)


def is_needed(paths: Paths, notifier: Notifier) -> bool:
    """Whether a start of the unit still has to wait. By hand nobody waits: the caller knows when to
    run TuneD."""
    return notifier.in_unit and not paths.go.is_dir()


@dataclass(frozen=True)
class Outlook:
    """Whether the word can come. `queued`: ocp-tuned-go.service is starting, or waits for its
    start; `others`: the units that are starting now, for which it may wait.

    If it waits and no other unit is starting, all of them wait for ocp-tuned.service, which waits
    for it. systemd does not see such a circle.
    """

    queued: bool
    others: tuple[str, ...] = ()

    @property
    def is_stuck(self) -> bool:
        """Whether nothing goes on any more."""
        return self.queued and not self.others


#: Where nothing is known, the word may come.
UNKNOWN = Outlook(True, ("",))


def outlook(paths: Paths) -> Outlook:
    """Asks systemd. A systemd that does not answer is no reason not to wait."""
    if paths.root != Paths().root:
        return UNKNOWN  # the units of this host are not about that folder
    try:
        jobs = systemd.jobs()
    except HostError as error:
        log.warning("%s", error)
        return UNKNOWN
    running = (name for name, state in jobs.items() if state == "running")
    others = tuple(sorted(name for name in running if name != systemd.UNIT))
    return Outlook(systemd.GO in jobs, others)


def start() -> bool:
    """Queues the start of ocp-tuned-go.service. Returns whether that is possible."""
    try:
        systemd.queue("start", [systemd.GO])
    except HostError as error:
        log.error("%s", error)
        return False
    return True


def refusal(found: Outlook) -> HostError:
    """Why TuneD must not be run if the word is not coming."""
    if found.queued:
        return HostError(
            f"{systemd.GO} does not start: it waits for a unit that waits for {systemd.UNIT}, and "
            "TuneD is run only after it",
            f"To see which: systemctl list-dependencies --after {systemd.GO}. That unit must not "
            f"be ordered after {systemd.UNIT}, or not before {systemd.GO}",
        )
    state = systemd.unit_states([systemd.GO]).get(systemd.GO) or systemd.file_state(systemd.GO)
    return HostError(
        f"{systemd.GO} ({state or 'not found'}) does not start, and TuneD is run only after it",
        f"To see why: systemctl status {systemd.GO}",
    )


def age(paths: Paths) -> float:
    """How long ago the word was given (seconds); 0 if it is not given."""
    with suppress(FileNotFoundError):
        # The clock may have been set back since.
        return max(0.0, time.time() - paths.go.stat().st_ctime)
    return 0.0


class Waiter:
    """Waits for the word. `without_it`: when it was not given yet (monotonic seconds)."""

    def __init__(self, paths: Paths, wake_up: int) -> None:
        self._paths, self._wake_up = paths, wake_up
        self._given = False
        self.without_it = time.monotonic()

    def given(self) -> bool:
        """Whether it is given. It cannot be taken back from who has seen it."""
        now = time.monotonic()
        self._given = self._given or self._paths.go.is_dir()
        if not self._given:
            self.without_it = now
        return self._given

    def wait(self, seconds: float, other: int = -1) -> None:
        """Returns once the word is given, who has the other end of the connection `other` has gone,
        or so many seconds have passed."""
        poll = select.poll()
        poll.register(self._wake_up, select.POLLIN)
        if other >= 0:
            poll.register(other, select.POLLRDHUP)
        # The word may have been given before anybody could be woken.
        if not self.given():
            poll.poll(seconds * 1000)
            with suppress(BlockingIOError):
                os.read(self._wake_up, 4096)


@contextmanager
def waiter(paths: Paths) -> Iterator[Waiter]:
    """Who is woken by ocp-tuned-go.service. Raises `HostError`."""
    files.directory(paths.run, paths.root)
    with files.explained("create", paths.wake_up):
        paths.wake_up.unlink(missing_ok=True)
        os.mkfifo(paths.wake_up, 0o600)
        wake_up = os.open(paths.wake_up, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield Waiter(paths, wake_up)
    finally:
        os.close(wake_up)
        with suppress(OSError):
            paths.wake_up.unlink()
