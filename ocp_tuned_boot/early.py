"""Before the word: does everything that changes no setting, so that TuneD only has to be told.

The request is read, the image is looked for, and TuneD is started in its container, where it has
loaded the profile and waits. What is requested is looked at again all the time: when it changes, or
the container exits, everything is done anew. What fails here is no failure of the boot: at the word
a run starts in any case, which does what is not done yet.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ocp_tuned_boot import lock, plan, situation, word
from ocp_tuned_boot.errors import BootError, HostError, PodmanError, defects
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.clock import Deadline, Progress, Step, pauses
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.lock import locked
from ocp_tuned_boot.record.model import Action, Why
from ocp_tuned_boot.record.recorder import Recorder
from ocp_tuned_boot.requested import settled
from ocp_tuned_boot.word import Waiter

if TYPE_CHECKING:
    from ocp_tuned_boot.applying import Ahead

log = logging.getLogger(__name__)

#: The most time that a run gets because pulls were cut off before (seconds): that of a pull which
#: nothing waits for.
MOST = 3600.0
#: How often what is requested is looked at again (seconds).
LOOK = 1.0
#: How often it is looked whether the word can still come (seconds). Then Podman is also asked for
#: something: it exits when it is idle.
CHECK = 10.0
#: systemd kills a program that waits if nothing is heard of it for so long (seconds).
SILENCE = 60.0
_SHOWN = 3


def allowed(seconds: float, times: int) -> float:
    """How long a run may take: so many times what boot.conf allows, but no more than `MOST`.

    A pull that is cut off begins again, and keeps only the first layers that are complete. When all
    nodes of a cluster pull at once, none may be complete in time, however often all of them begin
    again. So behind a closed gate, each run that follows such a pull gets twice the time. It ends
    when something else is requested (`situation.end_if_changed`)."""
    return max(seconds, min(seconds * times, MOST))


@dataclass(frozen=True)
class Start:
    """The start of a run. `at`: when its time starts (monotonic seconds); `workloads`: as
    `systemd.workloads`, if that has been asked already; `ahead`: what is done already, the lock
    included; `failure`: what took this time already; `refused`: why TuneD must not be run; `began`:
    when it began to wait for the word, None if it did not (as `at`); `steps`: done until then;
    `times`: so many times the time of boot.conf is allowed with a closed gate, see `allowed`."""

    at: float
    workloads: Sequence[str] = ()
    ahead: Ahead | None = None
    failure: BootError | None = None
    refused: HostError | None = None
    began: float | None = None
    steps: Sequence[Step] = ()
    times: int = 1

    def deadline(self, paths: Paths, seconds: float, recorder: Recorder) -> Deadline:
        """That of the run, which people can see (`lock.left`). Raises `HostError` if TuneD must not
        be run."""
        if self.began is not None:
            recorder.waited(self.began, self.steps)
        if self.refused is not None:
            raise self.refused
        deadline = Deadline(seconds) if self.ahead is None else self.ahead.deadline
        deadline.restart(seconds, self.at)
        lock.ends(paths, deadline.end)
        if self.failure is not None and deadline.passed():
            recorder.attempt_failed(self.failure.kind, self.failure.message)
        return deadline

    def locked(self, paths: Paths) -> AbstractContextManager[None]:
        """Takes the lock, see `lock.locked`."""
        return locked(paths) if self.ahead is None else nullcontext()


@contextmanager
def waited(paths: Paths, config_file: Path | None, notifier: Notifier) -> Iterator[Start]:
    """Returns at the word, or if it is not coming. What is done by then is given up at the end of
    the block. Raises `HostError`."""
    if not word.is_needed(paths, notifier):
        yield Start(time.monotonic())
        return
    began = time.monotonic()
    with word.waiter(paths) as waiter, ExitStack() as stack:
        early = _Early(paths, config_file, notifier, waiter)
        early.tell()
        ahead = None
        for pause in pauses(CHECK):
            ahead = early.turn(pause, stack)
            if waiter.given() or early.in_vain:
                break
        # It may have been given while something was done for it.
        at = max(waiter.without_it, time.monotonic() - word.age(paths))
        log.info("waited %.1f s for %s", at - began, systemd.GO)
        refused = None if waiter.given() else word.refusal(early.outlook)
        done = (began, tuple(early.steps))
        yield Start(at, early.workloads, ahead, early.failure, refused, *done)
        try:
            stack.close()
        except BootError as error:
            log.warning("%s", error)


class _Early:
    """`failure`: what was going on when the word was given, and failed; `in_vain`: the word is not
    coming."""

    def __init__(
        self, paths: Paths, config_file: Path | None, notifier: Notifier, waiter: Waiter
    ) -> None:
        self._paths, self._config_file, self._notifier = paths, config_file, notifier
        self._waiter = waiter
        self._next_check, self._has_started_it = time.monotonic() + LOOK, False
        self.outlook = word.UNKNOWN
        self.workloads: Sequence[str] = ()
        self.failure: BootError | None = None
        self.in_vain = False
        #: Of the last turn: what was done before that is not used any more.
        self.steps: list[Step] = []

    def turn(self, pause: float, stack: ExitStack) -> Ahead | None:
        """Prepares what can be prepared, and waits: for the word, until it has to be done anew, or,
        if TuneD does not wait, for so many seconds. What ends it is left to `stack`."""
        end = time.monotonic() + pause
        try:
            with defects(), ExitStack() as this:
                ahead = self._prepare(this)
                self._wait(ahead, end)
                if self._waiter.given():
                    stack.push(this.pop_all())
                    return ahead
        except BootError as error:
            log.info("nothing is prepared before %s is active: %s", systemd.GO, error)
            if self._waiter.given():
                self.failure = error
            self._wait(None, end)
        return None

    def _prepare(self, stack: ExitStack) -> Ahead | None:
        """None if nothing is to be applied, or workloads run already. Raises `BootError`."""
        paths = self._paths
        self.steps = []
        recorder = Recorder(paths, time.monotonic())
        if recorder.in_force is not None:
            return None
        config = settled.config(paths, self._config_file)
        self.tell("Preparing", config.timeout + SILENCE)
        systemd.wake(config.socket)
        requested = settled.requested(paths, config, situation.fallback(config, None))
        requested = situation.beside_others(paths, config, requested)
        self.workloads = systemd.workloads()
        now = situation.look(paths, config, requested, None, Why.START, self.workloads)
        decision = plan.decide(requested, None, now)
        if decision.action is not Action.APPLY or decision.guarded:
            return None

        from ocp_tuned_boot.applying import Ahead, Attempting, started_ahead  # noqa: PLC0415
        from ocp_tuned_boot.images.ensure import Available, find  # noqa: PLC0415
        from ocp_tuned_boot.podman.client import Podman  # noqa: PLC0415
        from ocp_tuned_boot.tuned import ours, staying  # noqa: PLC0415

        stack.enter_context(locked(paths))
        progress = Progress(Deadline(config.timeout), self._notifier, self.steps)
        with progress.step("podman", "Connecting to Podman…"):
            podman = stack.enter_context(Podman(config.socket, progress.deadline))
            podman.check_running()
        image = find(paths, podman, requested.image)
        waiting, containers = None, stack.enter_context(ExitStack())
        if image is not None and requested.contract == "tuned":
            run = Attempting(paths, config, requested, decision, recorder, progress)
            # Nothing is applied: a TuneD that keeps running is that of before a soft-reboot.
            staying.release(paths)
            containers.enter_context(ours.sole(podman, paths))
            here = Available(image, "store")
            waiting = containers.enter_context(started_ahead(run, podman, here))
        return Ahead(config, requested, progress.deadline, podman, waiting, containers)

    def _wait(self, ahead: Ahead | None, end: float) -> None:
        running = ahead.waiting.running if ahead is not None and ahead.waiting else None
        while not (self._waiter.given() or self._is_in_vain(ahead)):
            left = LOOK if running is not None else end - time.monotonic()
            if left <= 0 or (ahead is not None and self._has_changed(ahead)):
                return
            if ahead is not None:
                ahead.deadline.restart(ahead.config.timeout)
            self.tell("TuneD has loaded the profile" if running is not None else "")
            self._waiter.wait(min(left, LOOK), -1 if running is None else running.fileno())

    def tell(self, words: str = "", silence: float = SILENCE) -> None:
        """Says what is done meanwhile, and how long systemd is not to expect more (seconds)."""
        others = self.outlook.others
        shown = f"{', '.join(others[:_SHOWN])}{' …' * (len(others) > _SHOWN)}"
        texts = (f"Waiting for {systemd.GO}", words, shown and f"Still starting: {shown}")
        self._notifier.status(". ".join(filter(None, texts)), extend=silence)

    def _is_in_vain(self, ahead: Ahead | None) -> bool:
        """If nobody starts ocp-tuned-go.service, it is started once."""
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + CHECK
            if ahead is not None:
                systemd.wake(ahead.config.socket)
            self.outlook = word.outlook(self._paths)
            # It may have become active just now.
            if self._waiter.given():
                return False
            if self.outlook.circle:
                self.in_vain = True
            elif not self.outlook.queued:
                self._next_check = now + LOOK
                self.in_vain = self._has_started_it or not word.start()
                self._has_started_it = True
        return self.in_vain

    def _has_changed(self, ahead: Ahead) -> bool:
        """Whether TuneD has exited, or something else is requested now. Raises `BootError`."""
        if ahead.waiting is not None and ahead.waiting.running.has_exited():
            raise PodmanError("the TuneD container has exited")
        paths = self._paths
        fallback = situation.fallback(ahead.config, None)
        about = (ahead.config, ahead.requested, fallback)
        return situation.has_changed(paths, self._config_file, *about)
