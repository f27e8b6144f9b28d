"""The command line: arguments → a call → an exit status. Nothing else happens here.

What only people ask for is imported when they do: a boot does not wait for it.
"""

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
from typing import TextIO

from ocp_tuned_boot import __version__, boot
from ocp_tuned_boot.errors import (
    BootError,
    Busy,
    ConfigurationError,
    DeadlineExceeded,
    HostError,
    ImageError,
    Interrupted,
    NewerVersion,
    NotRequested,
    PodmanError,
    escaped,
    escaped_json,
)
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.record import store
from ocp_tuned_boot.record.model import Record
from ocp_tuned_boot.requested import config
from ocp_tuned_boot.tuned.judge import Result

DONE = 0
FAILED = 1
DRIFTED = 7

#: The exit statuses; ocp-tuned-boot(8) has the same table.
STATUSES: dict[type[BootError], int] = {
    HostError: FAILED,
    NewerVersion: FAILED,
    ConfigurationError: 2,
    NotRequested: 2,
    DeadlineExceeded: 3,
    PodmanError: 4,
    ImageError: 5,
    Busy: 6,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    options = _parser().parse_args(arguments)
    # What a command prints is for programs, too: what is logged beside it is not in it.
    reports = options.command in (_plan, _status, _drift, _history, _image_list, _render)
    _set_up_logging(options.verbose, sys.stderr if reports else sys.stdout)
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
        ("reload", _reload, "put in force what has changed since, for ExecReload="),
        ("notice", _notice, "put on record what has changed since, for the path unit"),
        ("plan", _plan, "show what apply would do now; touches nothing"),
        ("cleanup", _cleanup, "remove the container that a killed run has left"),
        ("status", _status, "show what was done in this boot"),
        ("drift", _drift, "show which settings are no longer as they were applied"),
        ("history", _history, "show what was done in the last boots"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=function)
        if name != "history":
            command.add_argument("--config", type=Path, metavar="FILE",
                                 help="read this boot.conf and no other")  # fmt: skip
        if name == "reload":
            command.add_argument("--force", action="store_true", help="also if nothing has changed")
        if name == "cleanup":
            command.add_argument("--purge", action="store_true",
                                 help="and all that is ours: the package is removed")  # fmt: skip
        if name in ("plan", "status", "drift", "history"):
            command.add_argument("--json", action="store_true", help="for programs")
    _image_parser(commands.add_parser("image", help=_IMAGES, description=_IMAGES))
    _render_parser(commands.add_parser("render", help=_RENDER, description=_RENDER))
    return parser


_IMAGES = "images on this node, while workloads run; applies nothing"


def _image_parser(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    for name, function, text in (
        ("list", _image_list, "show the images that this program knows of"),
        ("fetch", _image_fetch, "bring in the image that is asked for"),
        ("stage", _image_stage, "bring in an image, try it, and ask for it in image.env"),
        ("prune", _image_prune, "remove the images brought here that are not needed any more"),
        ("export", _image_export, "write the image that is asked for to an archive"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.set_defaults(command=function)
        action.add_argument("--config", type=Path, metavar="FILE",
                            help="read this boot.conf and no other")  # fmt: skip
        if name == "list":
            action.add_argument("--json", action="store_true", help="for programs")
        if name == "stage":
            action.add_argument("reference", metavar="REFERENCE")
        if name == "export":
            action.add_argument("archive", type=Path, metavar="ARCHIVE")


_RENDER = "write what puts image, profile and boot.conf on a node before its first boot"


def _render_parser(parser: argparse.ArgumentParser) -> None:
    forms = parser.add_subparsers(title="forms", required=True, metavar="FORM", dest="form")
    for name, text in (
        ("machineconfig", "a MachineConfig, for OpenShift"),
        ("ignition", "an Ignition config (spec 3.2.0)"),
        ("butane", "a Butane config"),
    ):
        form = forms.add_parser(name, help=text, description=text)
        form.set_defaults(command=_render, variant="", role="", name="")
        form.add_argument("--profiles", type=Path, metavar="DIR",
                          help="a folder with a folder for each custom profile")  # fmt: skip
        form.add_argument("--profile", default="", metavar="NAME", help="the profile to apply")
        form.add_argument("--image", default="", metavar="REFERENCE", help="the image with TuneD")
        form.add_argument("--boot-conf", type=Path, metavar="FILE", help="the node's boot.conf")
        form.add_argument("--output", type=Path, metavar="FILE",
                          help="write there, whole or not at all")  # fmt: skip
        if name == "butane":
            form.add_argument("--variant", choices=("fcos", "openshift"), default="fcos",
                              help="which Butane spec (default: fcos)")  # fmt: skip
        if name != "ignition":
            form.add_argument("--role", default="", help="of the MachineConfig (default: worker)")
            form.add_argument("--name", default="",
                              help="of it as well (default: 99-ROLE-ocp-tuned-boot)")  # fmt: skip


_PRIORITIES = {
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    logging.INFO: 6,
    logging.DEBUG: 7,
}


class _Escaped(logging.Formatter):
    """Whatever is logged may have words of a pod or of an image in it."""

    def format(self, record: logging.LogRecord) -> str:
        return escaped(super().format(record))


class _Priorities(_Escaped):
    """Puts the syslog priority before each line, for journald (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES[record.levelno]
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).split("\n"))


def _in_journal() -> bool:
    return "JOURNAL_STREAM" in os.environ


def _set_up_logging(verbose: bool, stream: TextIO) -> None:
    # Lines keep their own form: the journal adds time and unit by itself.
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Priorities() if _in_journal() else _Escaped())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    logging.getLogger("urllib3").setLevel(logging.WARNING)


def _tell(text: str, for_programs: bool = False) -> None:
    """Prints what a command has to say, with nothing in it that a terminal would obey."""
    print(escaped_json(text) if for_programs else escaped(text))


def _apply(options: argparse.Namespace) -> int:
    _raise_on_signals()
    paths = Paths(options.root)
    done = boot.apply(paths, options.config, _notifier(paths))
    logging.getLogger(__name__).info("%s", done.summary())
    return exit_status(done)


def _notifier(paths: Paths) -> Notifier:
    return Notifier(in_unit=systemd.is_own_process(paths))


def _reload(options: argparse.Namespace) -> int:
    _raise_on_signals()
    paths = Paths(options.root)
    done = boot.reload(paths, options.config, _notifier(paths), force=options.force)
    logging.getLogger(__name__).info("%s", done.summary())
    return exit_status(done)


def _notice(options: argparse.Namespace) -> int:
    _raise_on_signals()
    done = boot.notice(Paths(options.root), options.config)
    if done is not None:
        logging.getLogger(__name__).info("%s", done.summary())
    return exit_status(done) if done is not None else DONE


def exit_status(done: Record) -> int:
    """The exit status for a run that was judged, or for the record of one that was not."""
    statuses = {error.kind: status for error, status in STATUSES.items()}
    if done.action == "change-failed":
        subjects = [each.subject for each in done.findings if each.kind == "change-failed"]
        return next((statuses[each] for each in subjects if each in statuses), FAILED)
    if done.result in (Result.APPLIED, Result.DEGRADED, Result.DEFERRED):
        return DONE
    return next((statuses[each.kind] for each in done.findings if each.kind in statuses), FAILED)


def _plan(options: argparse.Namespace) -> int:
    from ocp_tuned_boot import preview as previewing  # noqa: PLC0415
    from ocp_tuned_boot.commands import report  # noqa: PLC0415

    preview = previewing.preview(Paths(options.root), options.config)
    _tell(report.plan_json(preview) if options.json else report.plan_text(preview), options.json)
    return DONE


def _cleanup(options: argparse.Namespace) -> int:
    _raise_on_signals()
    if options.purge:
        from ocp_tuned_boot.commands import removal  # noqa: PLC0415

        removal.purge(Paths(options.root), options.config)
        return DONE
    from ocp_tuned_boot import cleanup  # noqa: PLC0415

    if cleanup.cleanup(Paths(options.root), options.config):
        print("removed the container that a run had left behind")
    return DONE


def _status(options: argparse.Namespace) -> int:
    from ocp_tuned_boot.commands import report, status  # noqa: PLC0415

    paths = Paths(options.root)
    done = store.read(paths)
    told, now = status.look(paths, options.config, done)
    if options.json:
        content = {"record": asdict(told) if told else None, **now.content()}
        _tell(json.dumps(content, indent=2), True)
    else:
        _tell(report.status_text(told, now))
    return exit_status(done) if done else FAILED


def _drift(options: argparse.Namespace) -> int:
    from ocp_tuned_boot.commands import report  # noqa: PLC0415
    from ocp_tuned_boot.settings import drift  # noqa: PLC0415

    paths = Paths(options.root)
    found = drift.look(paths, config.load(paths, options.config).handover)
    if options.json:
        _tell(json.dumps(asdict(found), indent=2), True)
    else:
        _tell(report.drift_text(found))
    return DRIFTED if found.unexpected else DONE


def _history(options: argparse.Namespace) -> int:
    from ocp_tuned_boot.commands import report  # noqa: PLC0415
    from ocp_tuned_boot.record import history  # noqa: PLC0415

    boots = history.read(Paths(options.root))
    if options.json:
        _tell(json.dumps([asdict(each) for each in boots], indent=2), True)
    else:
        _tell(report.history_text(boots))
    return DONE


def _image_list(options: argparse.Namespace) -> int:
    from ocp_tuned_boot.commands import report, staging  # noqa: PLC0415

    rows = staging.listing(Paths(options.root), options.config)
    if options.json:
        _tell(json.dumps([asdict(each) for each in rows], indent=2), True)
    else:
        _tell(report.images_text(rows))
    return DONE


def _image_fetch(options: argparse.Namespace) -> int:
    from ocp_tuned_boot.commands import staging  # noqa: PLC0415

    _raise_on_signals()
    image = staging.fetch(Paths(options.root), options.config)
    _tell(f"{image.reference} is on the node" if image else "nothing was brought in")
    return DONE


def _image_stage(options: argparse.Namespace) -> int:
    from ocp_tuned_boot.commands import staging  # noqa: PLC0415

    _raise_on_signals()
    image = staging.stage(Paths(options.root), options.config, options.reference)
    print(f"{image.reference} is on the node and asked for; "
          "it is taken at the next boot or on a reload")  # fmt: skip
    return DONE


def _image_prune(options: argparse.Namespace) -> int:
    from ocp_tuned_boot.commands import staging  # noqa: PLC0415

    _raise_on_signals()
    for gone in staging.prune(Paths(options.root), options.config):
        _tell(f"removed {gone}")
    return DONE


def _image_export(options: argparse.Namespace) -> int:
    from ocp_tuned_boot.commands import staging  # noqa: PLC0415

    _raise_on_signals()
    _tell(staging.export(Paths(options.root), options.config, options.archive))
    return DONE


def _render(options: argparse.Namespace) -> int:
    from ocp_tuned_boot.commands import render  # noqa: PLC0415
    from ocp_tuned_boot.host import files  # noqa: PLC0415

    content = render.read(options.profiles, options.image, options.profile, options.boot_conf)
    form = options.variant or options.form
    document = render.document(content, form, options.role, options.name)
    for note in content.notes:
        logging.getLogger(__name__).warning("%s", note)
    if options.output:
        files.write(options.output, render.text_of(document))
    else:
        sys.stdout.buffer.write(render.text_of(document))
    return DONE


def _raise_on_signals() -> None:
    """SIGTERM and SIGINT raise `Interrupted`, once: clearing up is not to be interrupted."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, interrupt)
