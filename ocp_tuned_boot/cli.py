"""The command line: arguments → a command → an exit status. Nothing else happens here.

The commands are in `commands/table.py`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from ocp_tuned_boot.commands import command, table
from ocp_tuned_boot.commands.command import Command, Options
from ocp_tuned_boot.errors import (
    BootError,
    Busy,
    ConfigurationError,
    CutOff,
    DeadlineExceeded,
    Defect,
    HostError,
    ImageError,
    Interrupted,
    NameTaken,
    NewerVersion,
    NotRemoved,
    NotRequested,
    PodmanError,
    Refused,
    UsageError,
    defects,
)
from ocp_tuned_boot.host import journal, messages
from ocp_tuned_boot.record.model import Record
from ocp_tuned_boot.tuned.judge import Result

if TYPE_CHECKING:
    from ocp_tuned_boot.commands.verify import Checked
    from ocp_tuned_boot.settings.drift import Drift

DONE = 0
FAILED = 1
#: Beyond those of sysexits.h.
DRIFTED = 80


@dataclass(frozen=True)
class Exit:
    """One exit status: what it means, for the manual, and the failures that have it."""

    status: int
    says: str
    errors: tuple[type[BootError], ...] = ()


#: The only table of exit statuses; tests compare ocp-tuned-boot(8) and the README with it. None is
#: from 2 to 7: systemd shows these by the names of the LSB, such as NOTINSTALLED.
EXITS = (
    Exit(DONE, "The profile is applied, with or without findings, or there was nothing to do."),
    Exit(FAILED, "The requested profile is not applied, or a file of the host cannot be used.",
         (HostError, NewerVersion)),
    Exit(os.EX_USAGE, "The command line is not valid.", (UsageError,)),
    Exit(os.EX_DATAERR, "check found errors; with --strict, also warnings."),
    Exit(os.EX_NOINPUT, "The image is not available.", (ImageError,)),
    Exit(os.EX_UNAVAILABLE, "Podman cannot be reached or refuses.",
         (PodmanError, Refused, NameTaken, NotRemoved)),
    Exit(os.EX_SOFTWARE, "ocp-tuned-boot itself failed; the journal has the traceback.", (Defect,)),
    Exit(os.EX_TEMPFAIL, "The profile was not applied in time, or another run is active.",
         (DeadlineExceeded, CutOff, Busy)),
    Exit(os.EX_CONFIG, "boot.conf, image.env, the recommend file or a profile is not valid.",
         (ConfigurationError, NotRequested)),
    Exit(DRIFTED, "drift or verify found settings that are not in effect any more."),
)  # fmt: skip

STATUSES = {error: row.status for row in EXITS for error in row.errors}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    journal.in_utf8()
    try:
        with defects(BrokenPipeError):
            return _run(arguments)
    except BootError as error:
        message = messages.FAILED if error.recorded else messages.ERROR
        if isinstance(error, Defect):
            message = messages.DEFECT
        journal.print_error(str(error), message, finding=error.kind, subject="", advice=error.hint)
        return STATUSES[type(error)]
    except BrokenPipeError:
        # As any program in a pipe: `ocp-tuned-boot status | head -1`.
        return _die_of(signal.SIGPIPE)
    except KeyboardInterrupt:
        # Of a command that only shows something: there is nothing to clean up.
        return _die_of(signal.SIGINT)
    except Interrupted as interrupted:
        # Everything is cleaned up. Die of the signal, so that its sender sees that.
        return _die_of(interrupted.signal_number)


def _run(arguments: Sequence[str] | None) -> int:
    options = _options(sys.argv[1:] if arguments is None else arguments)
    requested: Command = options.command
    is_printed = requested.shows or requested.answers
    journal.set_up_logging(options.verbose, sys.stderr if is_printed else sys.stdout)
    if not requested.shows:
        # What it writes is read by others, whatever the umask of the caller is.
        os.umask(0o022)
        _raise_on_signals()
    status = exit_status(requested.run(options))
    if requested.shows:
        sys.stdout.flush()
    return status


def _options(arguments: Sequence[str]) -> Options:
    plain = command.plain(table.COMMANDS, table.OPTIONS, arguments)
    if plain is not None:
        return plain

    from ocp_tuned_boot.commands import parser  # noqa: PLC0415  # slow to import

    full = parser.build(table.COMMANDS, table.GROUPS, table.OPTIONS, table.EXAMPLES)
    return full.parse_args(arguments, Options())


def exit_status(done: Record | Drift | Checked | int | None) -> int:
    """The exit status for what a command returns (`Command.run`)."""
    if done is None or isinstance(done, int):
        return done or DONE
    if not isinstance(done, Record):
        if done.unexpected:
            return DRIFTED
        return DONE if done.profile else FAILED
    statuses = {error.kind: status for error, status in STATUSES.items()}
    if done.action == "change-failed":
        subjects = [each.subject for each in done.findings if each.kind == "change-failed"]
        return next((statuses[each] for each in subjects if each in statuses), FAILED)
    if done.result in (Result.APPLIED, Result.DEGRADED, Result.DEFERRED):
        return DONE
    return next((statuses[each.kind] for each in done.findings if each.kind in statuses), FAILED)


def _die_of(number: int) -> int:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return FAILED


def _raise_on_signals() -> None:
    """SIGTERM, SIGINT and SIGHUP raise `Interrupted`, once: cleaning up must not be interrupted.

    SIGHUP: the terminal was closed. It is ignored if the caller ignores it (nohup).
    """
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    for each in numbers:
        signal.signal(each, interrupt)
