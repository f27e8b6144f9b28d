"""The command line: arguments → a call → an exit status. Nothing else happens here."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from ocp_tuned_boot import __version__, boot, record, report, systemd
from ocp_tuned_boot.errors import (
    BootError,
    Busy,
    ConfigurationError,
    DeadlineExceeded,
    HostError,
    ImageError,
    Interrupted,
    PodmanError,
)
from ocp_tuned_boot.outcome import Result
from ocp_tuned_boot.paths import Paths
from ocp_tuned_boot.record import Record
from ocp_tuned_boot.systemd import Notifier

DONE = 0
FAILED = 1

#: The exit statuses; ocp-tuned-boot(8) has the same table.
STATUSES: dict[type[BootError], int] = {
    HostError: FAILED,
    ConfigurationError: 2,
    DeadlineExceeded: 3,
    PodmanError: 4,
    ImageError: 5,
    Busy: 6,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    options = _parser().parse_args(arguments)
    _set_up_logging(options.verbose)
    try:
        return int(options.command(options))
    except BootError as error:
        prefix = f"<{_PRIORITIES[logging.ERROR]}>" if _in_journal() else ""
        for line in str(error).splitlines():
            print(f"{prefix}ocp-tuned-boot: {line}", file=sys.stderr)
        return STATUSES[type(error)]
    except Interrupted as interrupted:
        # Everything is cleared up: now die of the signal, so that whoever sent it sees that.
        signal.signal(interrupted.signal_number, signal.SIG_DFL)
        os.kill(os.getpid(), interrupted.signal_number)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ocp-tuned-boot",
        description="Applies TuneD's profile from a container before the kubelet starts.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIR",
                        help="the folder that all host paths are under (default: /)")  # fmt: skip
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is done, too")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    for name, function, text in (
        ("apply", _apply, "put TuneD's profile in force, once in a boot"),
        ("plan", _plan, "show what apply would do now; touches nothing"),
        ("cleanup", _cleanup, "remove the container that a killed run has left"),
        ("status", _status, "show what was done in this boot"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=function)
        if name != "status":
            command.add_argument("--config", type=Path, metavar="FILE",
                                 help="read this boot.conf and no other")  # fmt: skip
        if name in ("plan", "status"):
            command.add_argument("--json", action="store_true", help="for programs")
    return parser


_PRIORITIES = {
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    logging.INFO: 6,
    logging.DEBUG: 7,
}


class _Priorities(logging.Formatter):
    """Puts the syslog priority before each line, for journald (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES[record.levelno]
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).split("\n"))


def _in_journal() -> bool:
    return "JOURNAL_STREAM" in os.environ


def _set_up_logging(verbose: bool) -> None:
    # Lines keep their own form: the journal adds time and unit by itself.
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Priorities() if _in_journal() else logging.Formatter())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    logging.getLogger("urllib3").setLevel(logging.WARNING)


def _apply(options: argparse.Namespace) -> int:
    _raise_on_signals()
    done = boot.apply(Paths(options.root), options.config, Notifier())
    logging.getLogger(__name__).info("%s", done.summary())
    return exit_status(done)


def exit_status(done: Record) -> int:
    """The exit status for a run that was judged, or for the record of one that was not."""
    if done.result in (Result.APPLIED, Result.DEGRADED):
        return DONE
    statuses = {error.kind: status for error, status in STATUSES.items()}
    return next((statuses[each.kind] for each in done.findings if each.kind in statuses), FAILED)


def _plan(options: argparse.Namespace) -> int:
    preview = boot.preview(Paths(options.root), options.config)
    print(report.plan_json(preview) if options.json else report.plan_text(preview))
    return DONE


def _cleanup(options: argparse.Namespace) -> int:
    _raise_on_signals()
    if boot.cleanup(Paths(options.root), options.config):
        print("removed the container that a run had left behind")
    return DONE


def _status(options: argparse.Namespace) -> int:
    paths = Paths(options.root)
    done = record.read(paths)
    units = systemd.unit_states(("ocp-tuned.service", *systemd.NEIGHBOURS))
    if options.json:
        print(json.dumps({"record": asdict(done) if done else None, "units": units}, indent=2))
    else:
        print(report.status_text(done, units))
    return exit_status(done) if done else FAILED


def _raise_on_signals() -> None:
    """SIGTERM and SIGINT raise `Interrupted`, once: clearing up is not to be interrupted."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, interrupt)
