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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files, systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Job, Notifier

log = logging.getLogger(__name__)


def is_needed(paths: Paths, notifier: Notifier) -> bool:
    """Whether a start of the unit still has to wait. By hand nobody waits: the caller knows when to
    run TuneD."""
    return notifier.in_unit and not paths.go.is_dir()


@dataclass(frozen=True)
class Outlook:
    """Whether the word can come. `queued`: ocp-tuned-go.service is starting, or waits for its
    start; `others`: the units that are starting now, for which it may wait; `circle`: the units,
    from ocp-tuned-go.service on, each of which waits for the next one, the last one for
    ocp-tuned.service, which waits for the first. systemd does not see such a circle.
    """

    queued: bool
    others: tuple[str, ...] = ()
    circle: tuple[str, ...] = ()


#: Where nothing is known, the word may come.
UNKNOWN = Outlook(True)


def outlook(paths: Paths) -> Outlook:
    """Asks systemd. A systemd that does not answer is no reason not to wait."""
    if paths.root != Paths().root:
        return UNKNOWN  # the units of this host are not about that folder
    try:
        jobs = systemd.jobs()
    except HostError as error:
        log.warning("%s", error)
        return UNKNOWN
    running = (name for name, job in jobs.items() if (job.kind, job.state) == ("start", "running"))
    # Those of this program wait for it.
    ours = systemd.UNIT.partition(".")[0]
    others = tuple(sorted(name for name in running if not name.startswith(ours)))
    return Outlook(systemd.GO in jobs, others, _circle(jobs))


def _circle(jobs: Mapping[str, Job]) -> tuple[str, ...]:
    """The way from the job of ocp-tuned-go.service to that of ocp-tuned.service."""
    ways: list[tuple[str, ...]] = [(systemd.GO,)]
    seen = {systemd.GO}
    while ways:
        way = ways.pop()
        job = jobs.get(way[-1])
        for name in job.waits_for if job is not None else ():
            if name == systemd.UNIT:
                return way
            if name not in seen:
                seen.add(name)
                ways.append((*way, name))
    return ()


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
    if found.circle:
        return HostError(
            f"{systemd.GO} does not start: {_chain(found.circle)}, and TuneD is run only after it",
            f"Let {found.circle[-1]} not be ordered after {systemd.UNIT}, or none of them before "
            f"{systemd.GO}. To see both: systemctl show --property=After,Before "
            f"{found.circle[-1]}",
        )
    state = systemd.unit_states([systemd.GO]).get(systemd.GO) or systemd.file_state(systemd.GO)
    return HostError(
        f"{systemd.GO} ({state or 'not found'}) does not start, and TuneD is run only after it",
        f"To see why: systemctl status {systemd.GO}",
    )


def _chain(circle: Sequence[str]) -> str:
    """The circle in words: it waits for a.target, which waits for b.service, which …"""
    return "it " + ", which ".join(f"waits for {name}" for name in (*circle[1:], systemd.UNIT))


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
