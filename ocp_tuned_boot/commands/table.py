"""What each command does, and at the end the table of all commands and their options.

The parser and the completions of the shells are made from the table, and tests compare
ocp-tuned-boot(8) with it. A command imports what it needs when it runs: a boot does not wait for
what only people ask for.
"""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from ocp_tuned_boot import boot, textfile
from ocp_tuned_boot.commands.command import VERBOSE, Command, Option, Options
from ocp_tuned_boot.errors import BootError, escaped, escaped_json
from ocp_tuned_boot.host import journal, systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.record import entries
from ocp_tuned_boot.record.model import Record
from ocp_tuned_boot.requested import config, inputs
from ocp_tuned_boot.requested.inputs import (
    parse_image_reference,
    parse_profile_name,
    parse_provider,
)
from ocp_tuned_boot.tuned import findings
from ocp_tuned_boot.tuned.judge import Result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocp_tuned_boot.commands.status import Now
    from ocp_tuned_boot.commands.terminal import Row
    from ocp_tuned_boot.commands.verify import Checked
    from ocp_tuned_boot.settings.drift import Drift

log = logging.getLogger(__name__)


def _paths(options: Options) -> Paths:
    return Paths(options.root or Path("/"))


def _notifier(paths: Paths) -> Notifier:
    return Notifier(in_unit=systemd.is_own_process(paths))


def _show(
    options: Options, rows: Callable[..., Iterable[Row]], as_json: Callable[..., str], *content: Any
) -> None:
    """Prints `content`, for people or for programs (`--json`)."""
    if options.json:
        print(escaped_json(as_json(*content)))
    else:
        from ocp_tuned_boot.commands import terminal  # noqa: PLC0415

        print(terminal.of_output().text(rows(*content)))


def _print(text: str) -> None:
    """Prints text with nothing in it that a terminal would obey."""
    print(escaped(text))


def _apply(options: Options) -> Record:
    paths = _paths(options)
    done = boot.apply(paths, options.config, _notifier(paths))
    entries.result(done)
    return done


def _reload(options: Options) -> Record:
    paths = _paths(options)
    by_hand = paths.root == Paths().root and not systemd.is_own_process(paths)
    try:
        done = boot.reload(paths, options.config, _notifier(paths), force=options.force)
    except BootError as error:
        if by_hand and error.recorded:
            entries.by_hand(findings.of(error))
        raise
    entries.result(done)
    if by_hand and done.action == "change-failed":
        entries.by_hand(done.findings[0])
    return done


def _daemon(options: Options) -> None:
    from ocp_tuned_boot import daemon  # noqa: PLC0415

    paths, notifier = _paths(options), Notifier(in_unit=True)
    with textfile.after(paths, options.config):
        if options.ended:
            daemon.ended(paths, options.config, os.environ, notifier)
        else:
            daemon.start(paths, options.config, notifier)


def _notice(options: Options) -> Record | None:
    done = boot.notice(_paths(options), options.config)
    if done is not None:
        entries.result(done)
    return done


def _plan(options: Options) -> None:
    from ocp_tuned_boot import preview as previewing  # noqa: PLC0415
    from ocp_tuned_boot.commands import plan_text, report  # noqa: PLC0415

    preview = previewing.preview(_paths(options), options.config)
    _show(options, plan_text.rows, report.plan_json, preview)


def _cleanup(options: Options) -> None:
    from ocp_tuned_boot import cleanup, gate  # noqa: PLC0415

    if options.purge or options.seed or options.dry_run:
        from ocp_tuned_boot.commands import removal, terminal  # noqa: PLC0415

        where, seed = (_paths(options), options.config), options.seed and not options.purge
        found = removal.listing(*where, dry=options.dry_run, seed=seed)
        print(terminal.of_output().text(found), flush=True)
        if not options.dry_run:
            removal.purge(*where, seed=seed)
        return
    notifier = _notifier(_paths(options))
    words = gate.last_words(_paths(options), options.config, os.environ)
    if notifier.in_unit and words:
        notifier.status(words)
    if cleanup.cleanup(_paths(options), options.config):
        _print("removed the container of a run that was killed")


def _status_rows(verbose: bool, done: Record | None, now: Now) -> Iterable[Row]:
    """All of it, or one screen."""
    from ocp_tuned_boot.commands import status_text, terminal  # noqa: PLC0415

    found = status_text.rows(done, now, verbose=verbose)
    return found if verbose else terminal.of_output().screen(found, status_text.VERBOSE)


def _status(options: Options) -> Record:
    from ocp_tuned_boot.commands import report, status  # noqa: PLC0415

    paths = _paths(options)
    done, now = status.look(paths, options.config, inputs.boot_id(paths))
    _show(options, partial(_status_rows, options.verbose), report.status_json, done, now)
    # If nothing was applied in this boot, the status is that of a failure.
    return done or Record(Result.FAILED, "")


def _drift(options: Options) -> Drift:
    from ocp_tuned_boot.commands import report, settings_text  # noqa: PLC0415
    from ocp_tuned_boot.settings import drift  # noqa: PLC0415

    paths = _paths(options)
    found = drift.look(paths, config.load(paths, options.config).handover)
    if os.geteuid() == 0:
        textfile.write_drift(paths, options.config, found)
    _show(options, settings_text.drift, report.settings_json, found)
    if found.unexpected and journal.is_journal(sys.stdout):
        entries.drifted(found.profile, [each.key for each in found.unexpected])
    return found


def _verify(options: Options) -> Checked:
    from ocp_tuned_boot.commands import report, settings_text, verify  # noqa: PLC0415

    found = verify.look(_paths(options), options.config)
    _show(options, settings_text.verify, report.settings_json, found)
    return found


def _check(options: Options) -> int | None:
    from ocp_tuned_boot.commands import terminal  # noqa: PLC0415
    from ocp_tuned_boot.commands.check import look, show  # noqa: PLC0415
    from ocp_tuned_boot.commands.check.problem import Severity  # noqa: PLC0415

    image, profile = options.image or "", options.profile or ""
    if options.profiles:
        found = look.folder(options.profiles, image, profile, options.config)
    else:
        found = look.node(_paths(options), options.config, image, profile)
    text = show.printed(found, "json" if options.json else options.format, terminal.of_output())
    if text:
        print(text)
    failing = found.errors or (options.strict and found.of(Severity.WARNING))
    return os.EX_DATAERR if failing else None


def _gather(options: Options) -> None:
    import time  # noqa: PLC0415

    from ocp_tuned_boot.commands import gather  # noqa: PLC0415
    from ocp_tuned_boot.host import files  # noqa: PLC0415

    name, data = gather.archive(gather.gather(_paths(options), options.config), time.time())
    if str(options.archive) == "-":
        sys.stdout.buffer.write(data)
        return
    path = Path.cwd() / (options.archive or f"{name}.tar.gz")
    files.write(path, data, 0o600)
    _print(f"{path}\nIts README says what is missing. Look through it before you send it: nothing "
           "can recognise every secret.")  # fmt: skip


def _history(options: Options) -> None:
    from ocp_tuned_boot.commands import report  # noqa: PLC0415
    from ocp_tuned_boot.record import history  # noqa: PLC0415

    boots = history.read(_paths(options))
    _show(options, report.history, report.rows_json, boots)


def _timeline(options: Options) -> None:
    from ocp_tuned_boot.commands import terminal, timeline, timeline_text  # noqa: PLC0415

    found = timeline.look(_paths(options), options.boot or "0")
    if options.svg:
        from ocp_tuned_boot.commands import timeline_svg  # noqa: PLC0415
        from ocp_tuned_boot.host import files  # noqa: PLC0415

        files.write(options.svg, timeline_svg.picture(found).encode())
    elif options.json:
        print(escaped_json(timeline_text.as_json(found)))
    else:
        print(timeline_text.text(found, terminal.of_output()))


def _profile_list(options: Options) -> None:
    from ocp_tuned_boot.commands import profiles, terminal  # noqa: PLC0415

    found = profiles.look(_paths(options), options.config)
    if options.json:
        print(escaped_json(profiles.as_json(found)))
    else:
        print(terminal.of_output().text(profiles.rows(found)))


def _image_list(options: Options) -> None:
    from ocp_tuned_boot.commands import report, staging  # noqa: PLC0415

    rows = staging.listing(_paths(options), options.config)
    _show(options, report.images, report.rows_json, rows)


def _image_fetch(options: Options) -> None:
    from ocp_tuned_boot.commands import staging  # noqa: PLC0415

    image = staging.fetch(_paths(options), options.config)
    _print(f"{image.reference} is on the node" if image else "no image was pulled")


def _image_stage(options: Options) -> None:
    from ocp_tuned_boot.commands import staging  # noqa: PLC0415

    paths = _paths(options)
    image = staging.stage(paths, options.config, options.reference)
    _print(f"{image.reference} is on the node and requested in image.env. "
           "It is used at the next boot or reload.\n"
           f"From now on {paths.image_env} decides: image = in boot.conf has no effect. "
           "To use boot.conf again, remove this file.")  # fmt: skip


def _image_prune(options: Options) -> None:
    from ocp_tuned_boot.commands import staging  # noqa: PLC0415

    for gone in staging.prune(_paths(options), options.config):
        _print(f"removed {gone}")


def _image_export(options: Options) -> None:
    from ocp_tuned_boot.commands import staging  # noqa: PLC0415

    _print(staging.export(_paths(options), options.config, options.archive))


def _render(options: Options) -> None:
    from ocp_tuned_boot.commands.render import content, forms  # noqa: PLC0415
    from ocp_tuned_boot.host import files  # noqa: PLC0415

    given = {name: value for name, value in vars(options).items() if value is not None}
    words = [given.get(name, "") for name in ("image", "profile", "provider", "role", "name")]
    found = content.read(options.profiles, words[0], words[1], options.boot_conf, words[2])
    form = given.get("variant") or options.command.name.split()[1]
    text = forms.text(found, form, *words[3:])
    for note in found.notes:
        log.warning("%s", note)
    if options.output:
        files.write(options.output, text)
    else:
        sys.stdout.buffer.write(text)


#: The options before the command.
OPTIONS = (
    Option("--root", "Use this directory in place of /", "DIR"),
    VERBOSE,
    Option("--version", "Show the version"),
)

GROUPS = {
    "profile": "Show the profiles that this node can apply",
    "image": "Manage the images of this node; applies nothing",
    "render": "Write a document that configures a node before its first boot",
}

CONFIG = Option("--config", "Read this boot.conf only", "FILE")
JSON = Option("--json", "Print JSON")
_PROFILES = Option("--profiles", "The directory that contains a directory for each custom profile",
                   "DIR")  # fmt: skip
_RENDERED = (
    _PROFILES,
    Option("--profile", "The profile to apply", "NAME", check=parse_profile_name),
    Option("--image", "The image that contains TuneD", "REFERENCE", check=parse_image_reference),
    Option("--provider", "The name of the cloud provider", "NAME", check=parse_provider),
    Option("--boot-conf", "The boot.conf of the node", "FILE"),
    Option("--output", "Write to this file instead of standard output", "FILE"),
)
_MACHINE_CONFIG = (
    Option("--role", "The pool of the MachineConfig; defaults to worker", "ROLE"),
    Option("--name", "The name of the MachineConfig; defaults to 99-ROLE-ocp-tuned-boot", "NAME"),
)
_VARIANT = Option("--variant", "The Butane variant, fcos or openshift; defaults to fcos", "VARIANT",
                  choices=("fcos", "openshift"))  # fmt: skip

#: In the order of `--help`.
COMMANDS = (
    Command("apply", _apply, "Apply the TuneD profile, once per boot", (CONFIG,)),
    Command("reload", _reload, "Apply what has changed; used by systemctl reload ocp-tuned",
            (CONFIG, Option("--force", "Apply the profile even if nothing has changed"))),
    Command("notice", _notice, "Record what has changed; used by ocp-tuned.path", (CONFIG,)),
    Command("daemon", _daemon, "Have systemd supervise TuneD; used by ocp-tuned-daemon.service",
            (CONFIG, Option("--ended", "TuneD has exited: record why, and remove its container"))),
    Command("plan", _plan, "Show what apply would do; changes nothing",
            (CONFIG, JSON), shows=True),
    Command("cleanup", _cleanup, "Remove the container of a run that was killed",
            (CONFIG, Option("--purge", "Also remove the images and files of ocp-tuned-boot"),
             Option("--seed", "The same, and keep the unit, before others get a copy of this disk"),
             Option("--dry-run", "Only show what would be removed"))),
    Command("status", _status, "Show the result of the last run in this boot",
            (CONFIG, JSON), shows=True),
    Command("drift", _drift, "Show settings that no longer have the applied value",
            (CONFIG, JSON), shows=True),
    Command("verify", _verify, "Show whether each setting of the profile is in effect now",
            (CONFIG, JSON), shows=True),
    Command("check", _check, "Show what the next boot would fail at, and likely mistakes",
            (CONFIG, _PROFILES,
             Option("--image", "The image to check with, instead of the requested one",
                    "REFERENCE", check=parse_image_reference),
             Option("--profile", "The profile to check, instead of the requested one", "NAME",
                    check=parse_profile_name),
             Option("--format", "How it is printed: text, gcc, sarif or json; defaults to text",
                    "FORMAT", choices=("text", "gcc", "sarif", "json")), JSON,
             Option("--strict", "Exit with 65 on warnings as well")), shows=True),
    Command("gather", _gather, "Write what a support case needs to one archive, without secrets",
            (CONFIG, Option("ARCHIVE", "The archive to write; - for standard output", "FILE",
                            optional=True)), shows=True),
    Command("history", _history, "Show the runs of the last ten boots", (JSON,), shows=True),
    Command("timeline", _timeline, "Show what the kubelet waited for in a boot",
            (Option("--boot", "0 is this boot, the default; -1 the one before; or a boot ID",
                    "BOOT"),
             Option("--svg", "Write a picture to this file instead", "FILE"), JSON), shows=True),
    Command("profile list", _profile_list, "List the profiles on the node and in the image",
            (CONFIG, JSON), shows=True),
    Command("image list", _image_list, "List the images that are known to ocp-tuned-boot",
            (CONFIG, JSON), shows=True),
    Command("image fetch", _image_fetch, "Pull the requested image if it is not on the node",
            (CONFIG,)),
    Command("image stage", _image_stage, "Pull an image, test it, and request it in image.env",
            (CONFIG, Option("REFERENCE", "The image", check=parse_image_reference))),
    Command("image prune", _image_prune, "Remove pulled images that are no longer needed",
            (CONFIG,)),
    Command("image export", _image_export, "Write the requested image to an archive",
            (CONFIG, Option("ARCHIVE", "The archive to write", "FILE")), answers=True),
    Command("render machineconfig", _render, "Write a MachineConfig, for OpenShift",
            (*_RENDERED, *_MACHINE_CONFIG), shows=True),
    Command("render ignition", _render, "Write an Ignition config (spec 3.2.0)",
            _RENDERED, shows=True),
    Command("render butane", _render, "Write a Butane config",
            (*_RENDERED, *_MACHINE_CONFIG, _VARIANT), shows=True),
    Command("render cloud-init", _render, "Write user-data of cloud-init (a cloud-config)",
            _RENDERED, shows=True),
    Command("render kickstart", _render, "Write a section %post for a kickstart file",
            _RENDERED, shows=True),
    Command("render containerfile", _render, "Write lines for the Containerfile of a bootc image",
            _RENDERED, shows=True),
)  # fmt: skip

#: One example of each command, for its `--help`: what stands after the name of the program.
EXAMPLES = {
    "apply": "apply --config /etc/ocp-tuned-boot/boot.conf",
    "reload": "reload --force",
    "notice": "notice",
    "daemon": "daemon",
    "plan": "plan --json",
    "cleanup": "cleanup --purge",
    "status": "status --verbose",
    "drift": "drift --json",
    "verify": "verify",
    "check": "check --profiles profiles --profile site --format gcc",
    "gather": "gather /tmp/support.tar.gz",
    "history": "history",
    "timeline": "timeline --boot=-1 --svg boot.svg",
    "profile list": "profile list",
    "image list": "image list",
    "image fetch": "image fetch",
    "image stage": "image stage registry.example/tuned:2.25",
    "image prune": "image prune",
    "image export": "image export tuned.tar",
    "render machineconfig": "render machineconfig --profiles profiles --profile site "
    "--image registry.example/tuned:2.25",
    "render ignition": "render ignition --boot-conf boot.conf --output config.ign",
    "render butane": "render butane --variant fcos --boot-conf boot.conf",
    "render cloud-init": "render cloud-init --boot-conf boot.conf --output day0.cfg",
    "render kickstart": "render kickstart --boot-conf boot.conf --output day0.ks",
    "render containerfile": "render containerfile --boot-conf boot.conf --output Containerfile",
}
