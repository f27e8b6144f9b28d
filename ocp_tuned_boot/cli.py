"""The command line: arguments → a command → an exit status.

The tables in this module are the only place for commands, options and exit statuses: the parser and
the completion for bash are made from them, and tests compare the manual with them. A command
imports what it needs when it runs: a boot does not wait for what only people ask for.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Callable

from ocp_tuned_boot import boot
from ocp_tuned_boot.commands.parser import Command, Option, build
from ocp_tuned_boot.errors import (
    BootError,
    Busy,
    ConfigurationError,
    DeadlineExceeded,
    HostError,
    ImageError,
    Interrupted,
    NewerVersion,
    PodmanError,
    Unasked,
    escaped,
    escaped_json,
)
from ocp_tuned_boot.host import journal, systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.record import store as record
from ocp_tuned_boot.record.store import Record
from ocp_tuned_boot.requested import config
from ocp_tuned_boot.requested.inputs import parse_image_reference, parse_profile_name
from ocp_tuned_boot.tuned.judge import Result

log = logging.getLogger(__name__)

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


# Not 2 to 7: systemd shows these by names of the LSB, such as NOTINSTALLED.
EXITS = (
    Exit(DONE, "The profile is applied, with or without findings, or there was nothing to do."),
    Exit(FAILED, "TuneD ran and the profile is not applied, or a file of the host cannot be used.",
         (HostError, NewerVersion)),
    Exit(os.EX_USAGE, "The command line is not valid."),
    Exit(os.EX_NOINPUT, "The image is not available.", (ImageError,)),
    Exit(os.EX_UNAVAILABLE, "Podman cannot be reached or refuses.", (PodmanError,)),
    Exit(os.EX_TEMPFAIL, "The profile was not applied in time, or another run is active.",
         (DeadlineExceeded, Busy)),
    Exit(os.EX_CONFIG, "boot.conf, image.env, the recommend file or a profile is not valid.",
         (ConfigurationError, Unasked)),
    Exit(DRIFTED, "drift found settings that no longer have the applied value."),
)  # fmt: skip

STATUSES = {error: row.status for row in EXITS for error in row.errors}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    options = build(commands(), GROUPS, OPTIONS).parse_args(arguments)
    command: Command = options.command
    journal.set_up_logging(options.verbose, sys.stderr if command.prints else sys.stdout)
    try:
        return command.run(options)
    except BootError as error:
        journal.print_error(str(error))
        return STATUSES[type(error)]
    except Interrupted as interrupted:
        # Everything is cleared up: now die of the signal, so that whoever sent it sees that.
        signal.signal(interrupted.signal_number, signal.SIG_DFL)
        os.kill(os.getpid(), interrupted.signal_number)
        return FAILED


def exit_status(done: Record) -> int:
    """The exit status for a run that was judged, or for the record of one that was not."""
    statuses = {error.kind: status for error, status in STATUSES.items()}
    if done.action == "change-failed":
        subjects = [each.subject for each in done.findings if each.kind == "change-failed"]
        return next((statuses[each] for each in subjects if each in statuses), FAILED)
    if done.result in (Result.APPLIED, Result.DEGRADED, Result.DEFERRED):
        return DONE
    return next((statuses[each.kind] for each in done.findings if each.kind in statuses), FAILED)


#: The options before the command.
OPTIONS = (
    Option("--root", "Use this directory in place of /", "DIR"),
    Option("--verbose", "Show each step", short="-v"),
    Option("--version", "Show the version"),
)

GROUPS = {
    "image": "Manage the images of this node; applies nothing",
    "render": "Write a document that configures a node before its first boot",
}

CONFIG = Option("--config", "Read this boot.conf only", "FILE")
JSON = Option("--json", "Print JSON")
_RENDERED = (
    Option("--profiles", "The directory that contains a directory for each custom profile", "DIR"),
    Option("--profile", "The profile to apply", "NAME", check=parse_profile_name),
    Option("--image", "The image that contains TuneD", "REFERENCE", check=parse_image_reference),
    Option("--boot-conf", "The boot.conf of the node", "FILE"),
    Option("--output", "Write to this file instead of standard output", "FILE"),
)
_MACHINE_CONFIG = (
    Option("--role", "The pool of the MachineConfig; defaults to worker", "ROLE"),
    Option("--name", "The name of the MachineConfig; defaults to 99-ROLE-ocp-tuned-boot", "NAME"),
)
_VARIANT = Option("--variant", "The Butane variant, fcos or openshift; defaults to fcos", "VARIANT",
                  choices=("fcos", "openshift"))  # fmt: skip


def commands() -> tuple[Command, ...]:
    """The table of commands, in the order of `--help`."""
    return (
        Command("apply", _apply, "Apply the TuneD profile, once per boot", (CONFIG,)),
        Command("reload", _reload, "Apply what has changed; used by systemctl reload ocp-tuned",
                (CONFIG, Option("--force", "Apply it even if nothing has changed"))),
        Command("notice", _notice, "Record what has changed; used by ocp-tuned.path", (CONFIG,)),
        Command("plan", _plan, "Show what apply would do; changes nothing",
                (CONFIG, JSON), prints=True),
        Command("cleanup", _cleanup, "Remove the container of a run that was killed",
                (CONFIG, Option("--purge", "Also remove the images and files of ocp-tuned-boot"))),
        Command("status", _status, "Show the result of the last run in this boot",
                (CONFIG, JSON), prints=True),
        Command("drift", _drift, "Show settings that no longer have the applied value",
                (CONFIG, JSON), prints=True),
        Command("history", _history, "Show the runs of the last ten boots", (JSON,), prints=True),
        Command("image list", _image_list, "List the images that are known to ocp-tuned-boot",
                (CONFIG, JSON), prints=True),
        Command("image fetch", _image_fetch, "Pull the requested image if it is not on the node",
                (CONFIG,)),
        Command("image stage", _image_stage, "Pull an image, test it, and request it in image.env",
                (CONFIG, Option("REFERENCE", "The image", check=parse_image_reference))),
        Command("image prune", _image_prune, "Remove pulled images that are no longer needed",
                (CONFIG,)),
        Command("image export", _image_export, "Write the requested image to an archive",
                (CONFIG, Option("ARCHIVE", "The archive to write", "FILE"))),
        Command("render machineconfig", _render, "Write a MachineConfig, for OpenShift",
                (*_RENDERED, *_MACHINE_CONFIG), prints=True),
        Command("render ignition", _render, "Write an Ignition config (spec 3.2.0)",
                _RENDERED, prints=True),
        Command("render butane", _render, "Write a Butane config",
                (*_RENDERED, *_MACHINE_CONFIG, _VARIANT), prints=True),
    )  # fmt: skip


def _apply(options: Namespace) -> int:
    _raise_on_signals()
    paths = _paths(options)
    done = boot.apply(paths, options.config, _notifier(paths))
    log.info("%s", done.summary())
    return exit_status(done)


def _reload(options: Namespace) -> int:
    _raise_on_signals()
    paths = _paths(options)
    done = boot.reload(paths, options.config, _notifier(paths), force=options.force)
    log.info("%s", done.summary())
    return exit_status(done)


def _notice(options: Namespace) -> int:
    _raise_on_signals()
    done = boot.notice(_paths(options), options.config)
    if done is None:
        return DONE
    log.info("%s", done.summary())
    return exit_status(done)


def _plan(options: Namespace) -> int:
    from ocp_tuned_boot.commands import report  # noqa: PLC0415

    preview = boot.preview(_paths(options), options.config)
    return _show(options, report.plan_text, report.plan_json, preview)


def _cleanup(options: Namespace) -> int:
    _raise_on_signals()
    if options.purge:
        from ocp_tuned_boot.commands import removal  # noqa: PLC0415

        removal.purge(_paths(options), options.config)
    elif boot.cleanup(_paths(options), options.config):
        _print("removed the container of a run that was killed")
    return DONE


def _status(options: Namespace) -> int:
    from ocp_tuned_boot.commands import report, status  # noqa: PLC0415

    paths = _paths(options)
    done = record.read(paths)
    told, now = status.look(paths, options.config, done)
    _show(options, report.status_text, report.status_json, told, now)
    return exit_status(done) if done else FAILED


def _drift(options: Namespace) -> int:
    from ocp_tuned_boot.commands import report  # noqa: PLC0415
    from ocp_tuned_boot.settings import drift  # noqa: PLC0415

    paths = _paths(options)
    found = drift.look(paths, config.load(paths, options.config).handover)
    _show(options, report.drift_text, report.drift_json, found)
    return DRIFTED if found.unexpected else DONE


def _history(options: Namespace) -> int:
    from ocp_tuned_boot.commands import report  # noqa: PLC0415
    from ocp_tuned_boot.record import history  # noqa: PLC0415

    boots = history.read(_paths(options))
    return _show(options, report.history_text, report.rows_json, boots)


def _image_list(options: Namespace) -> int:
    from ocp_tuned_boot.commands import report, staging  # noqa: PLC0415

    rows = staging.listing(_paths(options), options.config)
    return _show(options, report.images_text, report.rows_json, rows)


def _image_fetch(options: Namespace) -> int:
    from ocp_tuned_boot.commands import staging  # noqa: PLC0415

    _raise_on_signals()
    image = staging.fetch(_paths(options), options.config)
    _print(f"{image.reference} is on the node" if image else "no image was pulled")
    return DONE


def _image_stage(options: Namespace) -> int:
    from ocp_tuned_boot.commands import staging  # noqa: PLC0415

    _raise_on_signals()
    image = staging.stage(_paths(options), options.config, options.reference)
    _print(f"{image.reference} is on the node and requested in image.env; "
           "it is used from the next boot or reload on")  # fmt: skip
    return DONE


def _image_prune(options: Namespace) -> int:
    from ocp_tuned_boot.commands import staging  # noqa: PLC0415

    _raise_on_signals()
    for gone in staging.prune(_paths(options), options.config):
        _print(f"removed {gone}")
    return DONE


def _image_export(options: Namespace) -> int:
    from ocp_tuned_boot.commands import staging  # noqa: PLC0415

    _raise_on_signals()
    _print(staging.export(_paths(options), options.config, options.archive))
    return DONE


def _render(options: Namespace) -> int:
    from ocp_tuned_boot.commands import render  # noqa: PLC0415
    from ocp_tuned_boot.host import files  # noqa: PLC0415

    given = {name: value for name, value in vars(options).items() if value is not None}
    image, profile = given.get("image", ""), given.get("profile", "")
    content = render.read(options.profiles, image, profile, options.boot_conf)
    form = given.get("variant") or options.command.name.split()[1]
    document = render.document(content, form, given.get("role", ""), given.get("name", ""))
    for note in content.notes:
        log.warning("%s", note)
    if options.output:
        files.write(options.output, render.text_of(document))
    else:
        sys.stdout.buffer.write(render.text_of(document))
    return DONE


def _paths(options: Namespace) -> Paths:
    return Paths(options.root or Path("/"))


def _notifier(paths: Paths) -> Notifier:
    return Notifier(in_unit=systemd.is_own_process(paths))


def _show(
    options: Namespace, text: Callable[..., str], as_json: Callable[..., str], *content: Any
) -> int:
    if options.json:
        print(escaped_json(as_json(*content)))
    else:
        _print(text(*content))
    return DONE


def _print(text: str) -> None:
    """Prints text with nothing in it that a terminal would obey."""
    print(escaped(text))


def _raise_on_signals() -> None:
    """SIGTERM and SIGINT raise `Interrupted`, once: clearing up is not to be interrupted."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, interrupt)
