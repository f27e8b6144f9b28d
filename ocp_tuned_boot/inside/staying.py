"""`mode = daemon`: TuneD keeps running once it has applied the profile.

The host is told what holds when TuneD has applied the profile and its loop begins. From then on
all that is left of this program is that TuneD restores nothing when it stops: by then others own
what it has found. TuneD 2.20 has no `rollback = not_on_exit`, and later ones do not follow it while
the machine shuts down.

A TuneD that is started again for what is applied already (`resumes`) sets nothing again: the kernel
has kept it, and others may have changed it since. It reacts to load and to devices from then on.
"""

import contextlib
import logging
import os
import signal
import socket
import struct
import sys
import time
from typing import Any

from tuned.daemon.controller import Controller
from tuned.daemon.daemon import Daemon
from tuned.units.manager import Manager

from ocp_tuned_boot.inside.quiet import Replaced

_UNIT, _JOURNAL = "ocp-tuned-daemon.service", "/run/systemd/journal/socket"
#: By the level of a message (syslog(3)).
_PRIORITIES = (
    (logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6),
)  # fmt: skip
#: The longest text of a field (bytes).
_LONGEST = 16 * 1024
#: As in program.py.
NAME = "ocp-tuned-boot.daemon"
#: TuneD 2.20 itself says the contrary.
NOTHING_RESTORED = "TuneD restores nothing: the settings remain until the next boot"
#: What the host is told in place of a comparison.
_APPLIED_BEFORE = "the profile was applied before; nothing was set again"


class Staying(Replaced):
    """In the process of TuneD. `watched`: what compares (`comparing.Watched`); `say`: tells the
    host what holds, and raises `gone`; `line`: the end of the line that is logged before that;
    `resumes`: nothing is set."""

    def __init__(
        self, watched: "Any", say: "Any", gone: "Any", line: "str", resumes: "bool"
    ) -> "None":
        super().__init__()
        self._watched, self._say, self._gone, self._line = watched, say, gone, line
        self._resumes, self._is_applied = resumes, False

    def start(self) -> "None":
        self.replace(Controller, "start", self._controller)
        self.replace(Daemon, "_thread_code", self._thread)
        self.replace(Daemon, "_notify_profile_changed", self._notify)
        self.replace(Manager, "stop_tuning", self._stop_tuning)
        if self._resumes:
            self._watched.give_up(_APPLIED_BEFORE)
            self.replace(Manager, "start_tuning", self._start_tuning)

    def _controller(self, real: "Any") -> "Any":
        def start(controller: "Any", *arguments: "Any", **options: "Any") -> "Any":
            started = real(controller, *arguments, **options)
            if not started and not self._is_applied:
                # Without a profile, a daemon waits for somebody to choose one.
                raise SystemExit(1)
            return started

        return start

    def _thread(self, real: "Any") -> "Any":
        def thread_code(daemon: "Any") -> "None":
            try:
                real(daemon)
            except BaseException as error:  # noqa: BLE001  # a plugin may be a site's
                # Else only this thread ends, and the process waits for ever and tunes nothing.
                words = f"TuneD ends, because of an error: {type(error).__name__}: {error}"
                _tell("tuned.daemon.daemon", logging.CRITICAL, words, sys.exc_info())
                os._exit(1)

        return thread_code

    def _notify(self, real: "Any") -> "Any":
        def notified(daemon: "Any", names: "Any", result: "Any", error: "Any") -> "Any":
            said = real(daemon, names, result, error)
            if result and not self._is_applied:
                self._is_applied = True
                self._applied(daemon._unit_manager)
            return said

        return notified

    def _applied(self, manager: "Any") -> "None":
        """In the thread that applies, before its loop begins."""
        self._watched.note(manager)
        self._watched.__exit__()
        _log(self._line)
        # From here on nobody copies the log to the journal.
        logging.getLogger("tuned").addHandler(Journal())
        try:
            self._say()
        except self._gone:
            # Nobody is left to record the result, or to supervise this process.
            os.kill(os.getpid(), signal.SIGTERM)

    def _stop_tuning(self, real: "Any") -> "Any":
        def stop_tuning(manager: "Any", *arguments: "Any", **options: "Any") -> "None":
            for instance in manager.instances:
                instance.unapply_tuning = lambda *_, **__: None
            _tell(NAME, logging.INFO, NOTHING_RESTORED)
            real(manager, *arguments, **options)

        return stop_tuning

    def _start_tuning(self, real: "Any") -> "Any":
        def start_tuning(manager: "Any", *arguments: "Any", **options: "Any") -> "None":
            paused = [each for each in manager.instances if _is_kept(each)]
            for instance in paused:
                instance._has_static_tuning = False
            try:
                real(manager, *arguments, **options)
            finally:
                for instance in paused:
                    # A device that is added later is new to the kernel.
                    instance._has_static_tuning = True

        return start_tuning


class Journal(logging.Handler):
    """Sends TuneD's messages to the host's journal, as those of the unit (systemd's "Native Journal
    Protocol"). What cannot be sent is in the container's log."""

    def __init__(self) -> "None":
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def emit(self, record: "logging.LogRecord") -> "None":
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        fields = {
            "MESSAGE": f"{record.name}: {record.getMessage()}",
            "PRIORITY": str(priority),
            "SYSLOG_IDENTIFIER": "tuned",
            "TUNED_LOGGER": record.name,
            "OBJECT_SYSTEMD_UNIT": _UNIT,
        }
        with contextlib.suppress(OSError):
            self._socket.sendto(b"".join(map(_field, fields.items())), _JOURNAL)


def _field(field: "tuple[str, str]") -> "bytes":
    """In the form that allows newlines."""
    name, value = field[0].encode(), field[1].encode(errors="backslashreplace")[:_LONGEST]
    return name + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"


def _is_kept(instance: "Any") -> "bool":
    """Whether the kernel keeps what this section sets. The scheduler plugin sets what it watches
    for: the processes that run, as it does with each that is started later."""
    return bool(instance.has_static_tuning) and instance.plugin.name != "scheduler"


def _tell(name: "str", level: "int", words: "str", cause: "Any" = None) -> "None":
    """Logs a message of `name` as TuneD does: also to the journal, once TuneD keeps running."""
    log = logging.getLogger("tuned")
    log.handle(log.makeRecord(name, level, __file__, 0, words, (), cause))


def _log(words: "str") -> "None":
    """Writes a line to the log, in TuneD's format."""
    at = time.strftime("%Y-%m-%d %H:%M:%S")
    sys.stderr.write(f"{at},000 INFO     {words}\n")
    sys.stderr.flush()
