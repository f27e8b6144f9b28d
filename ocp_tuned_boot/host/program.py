"""Runs a program of the host for what it prints, within a time and a size: whatever it does, this
returns."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, cast

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "SYSTEMD_COLORS": "0",
}
_CHUNK = 64 * 1024
# How long one that was killed may take to be gone (seconds): one that waits for a disk never is.
_GONE = 1.0


@dataclass(frozen=True)
class Printed:
    """What a program has printed, standard error included, and what was wrong: it is not
    installed, took too long, printed too much, or failed. Empty if nothing was."""

    text: str
    problem: str = ""


def printed(command: Sequence[str], seconds: float, limit: int, *, last: bool = False) -> Printed:
    """Runs a command for at most so many seconds. Of what is longer than `limit` (bytes), the
    beginning is kept, or the end (`last`), in whole lines."""
    try:
        process = subprocess.Popen(  # noqa: S603  # none of the words comes from a file
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, env=_ENVIRONMENT,
        )  # fmt: skip
    except OSError as error:
        return Printed("", f"cannot run {command[0]}: {error.strerror}")
    with cast("IO[bytes]", process.stdout) as stream:
        try:
            data, cut, in_time = _read(stream, time.monotonic() + seconds, limit, last=last)
        finally:
            _end(process)
    if not in_time:
        problem = f"no answer within {seconds:.0f} s"
    elif cut:
        problem = f"longer than {limit} bytes: the {'beginning' if last else 'rest'} is left out"
    else:
        problem = f"exit status {process.returncode}" if process.returncode else ""
    return Printed(data.decode(errors="replace"), problem)


def _read(stream: IO[bytes], end: float, limit: int, *, last: bool) -> tuple[bytes, bool, bool]:
    """What is printed until the end of the output; whether it was cut, and was complete in time."""
    data, cut = b"", False
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while (left := end - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            chunk = os.read(stream.fileno(), _CHUNK)
            if not chunk:
                return data, cut, True
            data += chunk
            if len(data) > limit:
                cut = True
                if not last:
                    return data[:limit].rpartition(b"\n")[0], cut, True
                data = data[-limit:].partition(b"\n")[2]
    return data, cut, False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the program, and all that it has started."""
    if process.poll() is None:
        # It may close its output before it exits.
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GONE)
