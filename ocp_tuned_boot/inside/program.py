"""The first process of the TuneD container under `contract = tuned`: asks TuneD what the profile
means, runs TuneD when the host says so, and has TuneD compare what it applied.

    python3 -Es program.py apply|verify SOCKET COMMAND...

COMMAND is the command line of TuneD: `/usr/sbin/tuned --no-dbus`. The image's own Python runs this
folder, which the host mounts read-only, so it uses the standard library and `tuned` only, in the
syntax of Python 3.6. The host's half is tuned/conversation.py; tuned/asked.py has the messages.

`apply`: import TuneD, load the profile, say what it means (`asked`), wait for the word, restore
what only earlier profiles have set, run COMMAND in this process, compare unless the word says
otherwise, say what holds (`verified` or `unverified`). Log and exit status are those of COMMAND. If
TuneD cannot be asked, this is said (`unasked`), and after the word COMMAND is run as if this
program did not exist.

`verify`: make all mounts read-only, load, `asked`, compare, `verified`. Nothing is applied and
nothing can be written.

Host and program hold the two ends of a socket of type SOCK_SEQPACKET: each notices at once if the
other exits, and a word that is given early waits in it. Without the word nothing is applied.
"""

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from typing import Any

#: Of the messages.
VERSION = 1
#: A message is a JSON text in packets. The first byte of a packet says whether another one follows.
MORE, LAST, PACKET = b"+", b".", 32 * 1024
#: The word of the host, and what may follow it: the files on the hand-over list are covered first;
#: TuneD does not compare; it keeps running (staying.py); it sets nothing, which was done before.
GO, GUARDED, UNVERIFIED, STAYS, RESUMES = b"go", b"guarded", b"unverified", b"stays", b"resumes"
#: Whose messages are those of this program in the log of a TuneD that keeps running.
NAME = "ocp-tuned-boot.daemon"
#: The end of the line after everything that it has logged until then.
KEEPS_RUNNING = NAME + ": TuneD keeps running"
#: Why TuneD does not compare then.
SWITCHED_OFF = "boot.conf sets verify = no"
#: The name of the file that says what to restore is that of the socket with this suffix.
RESTORE = ".restore"
#: The exit status if the host has gone, and nothing was applied (sysexits.h, EX_TEMPFAIL).
GONE = 75
_HERE = os.path.dirname(os.path.abspath(__file__))
# TuneD's handlers only note that it is to end, which this program would not notice.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class HostGone(Exception):
    """Nobody listens any more."""


class Host:
    """The connection to the host. Raises `HostGone`."""

    def __init__(self, path: "str") -> "None":
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.connect(path)
        except OSError as error:
            raise HostGone(f"{path}: {error.strerror}") from error

    def say(self, kind: "str", **content: "Any") -> "None":
        """Sends a message."""
        data = json.dumps(dict(content, version=VERSION, kind=kind)).encode()
        starts = range(0, len(data), PACKET)
        try:
            for start in starts:
                sign = LAST if start == starts[-1] else MORE
                self._socket.send(sign + data[start : start + PACKET])
        except OSError as error:
            raise HostGone(str(error.strerror)) from error

    def hang_up(self) -> "None":
        """Nothing more is said."""
        self._socket.close()

    def word(self) -> "list[bytes]":
        """Waits for the word. Returns what follows it."""
        try:
            word = self._socket.recv(64)
        except OSError as error:
            raise HostGone(str(error.strerror)) from error
        if not word:
            raise HostGone("it has exited")
        first, *more = word.split()
        if first != GO or set(more) - {GUARDED, UNVERIFIED, STAYS, RESUMES}:
            raise HostGone("it gave an unknown word")
        return more


def ask(mode: "str", command: "list[str]", host: "Host") -> "Any":
    """Says what the profile means. Returns TuneD's application and what compares at the end of its
    run (`comparing.Watched`); None if TuneD cannot be asked, which is said as well."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        _as_started(command)
        if mode == "verify":
            from ocp_tuned_boot.inside import readonly  # noqa: PLC0415  # only here

            # Functions of a profile run commands while TuneD loads it.
            readonly.everything()
        from ocp_tuned_boot.inside import comparing, meaning  # noqa: PLC0415  # import TuneD

        application, said = meaning.load(command)
        asked = application, comparing.Watched().__enter__()
    except (Exception, SystemExit) as error:  # noqa: BLE001  # TuneD runs without this program
        profile = getattr(error, "profile", False)
        host.say("unasked", reason=str(error) if profile else _reason(error), profile=profile)
        return None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    host.say("asked", **said)
    return asked


def _as_started(command: "list[str]") -> "None":
    """TuneD's folder is the first on the module path, and the process has its name, as if it had
    been started itself. The last folder is that of this program."""
    sys.path[0] = os.path.dirname(command[0])
    sys.path.append(os.path.dirname(os.path.dirname(_HERE)))
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as comm:
        comm.write(os.path.basename(command[0]))


def _reason(error: "BaseException") -> "str":
    """One line: what was raised, and where."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    words = f"{type(error).__name__}: {error}"
    return f"{words[:1000]} ({os.path.basename(frame[0])}:{frame[1]})"


def restore(application: "Any", watched: "Any", path: "str") -> "list[Any]":
    """Restores what earlier profiles have set (undo.py). Returns what has become of it; nothing if
    that fails: TuneD runs all the same."""
    from ocp_tuned_boot.inside import undo  # noqa: PLC0415  # imports TuneD

    # It is not what is applied that is watched now.
    watched.__exit__()
    try:
        return undo.put_back(application, path + RESTORE)
    except Exception as error:  # noqa: BLE001  # a plugin may be a site's
        sys.stderr.write(f"ocp-tuned-boot restores nothing: {_reason(error)}\n")
        return []
    finally:
        watched.__enter__()


def run(command: "list[str]", host: "Host", watched: "Any", restored: "list[Any]") -> "None":
    """Runs TuneD in this process, says what holds, and exits with its exit status."""
    stop = _run(command)
    # If the host has gone: TuneD has done its work.
    with contextlib.suppress(HostGone):
        _say(host, watched, restored)
    _leave(stop)


def stay(
    command: "list[str]", host: "Host", watched: "Any", restored: "list[Any]", resumes: "bool"
) -> "None":
    """The same for a TuneD that keeps running: says what holds once the profile is applied."""
    from ocp_tuned_boot.inside.staying import Staying  # noqa: PLC0415  # imports TuneD

    def say() -> "None":
        _say(host, watched, restored)
        host.hang_up()

    with Staying(watched, say, HostGone, KEEPS_RUNNING, resumes):
        stop = _run(command)
        # If it was not applied.
        with contextlib.suppress(HostGone):
            _say(host, watched, restored)
        # Python itself would wait for threads of plugins, which nobody ends any more.
        _leave(stop, threads=False)


def _say(host: "Host", watched: "Any", restored: "list[Any]") -> "None":
    kind = "unverified" if "reason" in watched.said else "verified"
    host.say(kind, restored=restored, **watched.said)


def _run(command: "list[str]") -> "SystemExit":
    import runpy  # noqa: PLC0415  # verify does not need it

    sys.argv = command[:]
    stop = SystemExit(0)
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as error:
        stop = error
    except Exception as error:  # noqa: BLE001  # as Python itself ends then
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != command[0]:
            trace = trace.tb_next
        traceback.print_exception(type(error), error, trace)
        stop = SystemExit(1)
    return stop


def _leave(stop: "SystemExit", threads: "bool" = True) -> "None":
    """Exits as Python does, but does not take its modules apart first: that takes as long as to
    apply a small profile. If TuneD has left a thread (`threads`), Python itself waits for it."""
    others = [it for it in threading.enumerate() if it is not threading.current_thread()]
    if threads and any(not it.daemon for it in others):
        raise stop
    code = stop.code or 0
    if not isinstance(code, int):
        sys.stderr.write(f"{code}\n")
        code = 1
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code & 0xFF)


def verify(host: "Host", application: "Any") -> "None":
    """Says what holds now."""
    from ocp_tuned_boot.inside import comparing  # noqa: PLC0415  # imports TuneD

    try:
        said = comparing.verify(application)
    except Exception as error:  # noqa: BLE001  # a plugin may be a site's
        host.say("unverified", reason=_reason(error))
    else:
        host.say("verified", **said)


def main(mode: "str", path: "str", command: "list[str]") -> "None":
    try:
        host = Host(path)
        asked = ask(mode, command, host)
        if mode == "verify":
            if asked is not None:
                verify(host, asked[0])
            return
        more = host.word()
    except HostGone as error:
        sys.stderr.write(f"ocp-tuned-boot has gone, nothing is applied: {error}\n")
        sys.exit(GONE)
    copies = frozenset()  # type: frozenset[str]
    if GUARDED in more:
        from ocp_tuned_boot.inside import cover  # noqa: PLC0415  # after TuneD's own modules

        cover.cover_or_exit(f"{cover.FOLDER}/files")
        copies = cover.covered(f"{cover.FOLDER}/files")
    if asked is None:
        os.execv(command[0], command)  # noqa: S606  # the host says which
    application, watched = asked
    watched.copies = copies
    if UNVERIFIED in more:
        watched.give_up(SWITCHED_OFF)
    restored = restore(application, watched, path)
    # TuneD makes another application.
    del asked, application
    if STAYS in more:
        stay(command, host, watched, restored, RESUMES in more)
    else:
        run(command, host, watched, restored)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
