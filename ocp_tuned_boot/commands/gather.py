"""What a support case needs, in one archive: records, logs, the request, the configuration, the
states of the units and of Podman, and the values of the settings, without secrets (redaction.py).

Nothing is changed. Whatever is broken, the archive is written: a part that is missing is named in
its README, with the reason. Each part has a limit, and so has the time.
"""

from __future__ import annotations

import gzip
import io
import os
import platform
import re
import tarfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from ocp_tuned_boot import __version__
from ocp_tuned_boot.commands import redaction
from ocp_tuned_boot.errors import BootError, HostError, defects
from ocp_tuned_boot.host import files, kernelargs, program
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths, sysctl_key
from ocp_tuned_boot.host.program import Printed
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import inputs, lastgood
from ocp_tuned_boot.settings import residue, values

#: The most that is kept of one part, and of all of them together (bytes).
LIMIT, TOTAL = 8 * 1024 * 1024, 48 * 1024 * 1024
#: How long one program, or Podman, may take, and all of them together (seconds).
PATIENCE, TOTAL_PATIENCE = 10.0, 90.0
#: The most lines of the journal of one boot.
LINES = 20000
#: The most files of a directory, and the levels of directories in it.
FILES, LEVELS = 500, 8

Run = Callable[..., Printed]

_OURS = "ocp-tuned*"
_BESIDE = ("kubelet-dependencies.target", "kubelet.service", "crio.service", "tuned.service")
_JOURNAL = ("journalctl", "--no-pager", "--quiet", "--output=short-iso-precise",
            f"--lines={LINES}", f"--unit={_OURS}")  # fmt: skip

#: The programs that are run, by the file that has what they print. None of them changes anything.
COMMANDS: dict[str, tuple[str, ...]] = {
    "logs/this-boot.log": (*_JOURNAL, "--boot=0"),
    "logs/previous-boot.log": (*_JOURNAL, "--boot=-1"),
    "units/status.txt": ("systemctl", "status", "--no-pager", "--full", "--lines=0", _OURS,
                         *_BESIDE),
    "units/show.txt": ("systemctl", "show", "--no-pager", "--", _OURS, *_BESIDE),
    "units/files.txt": ("systemctl", "cat", "--no-pager", "--", _OURS),
    "units/jobs.txt": ("systemctl", "list-jobs", "--no-pager", "--full", "--after", "--before"),
    "units/failed.txt": ("systemctl", "list-units", "--no-pager", "--full", "--failed"),
    "units/descriptors.txt": ("systemd-analyze", "--no-pager", "fdstore", "ocp-tuned.service"),
    "units/critical-chain.txt": ("systemd-analyze", "--no-pager", "critical-chain",
                                 "ocp-tuned.service"),
    "units/time.txt": ("systemd-analyze", "--no-pager", "time"),
    "host/systemd.txt": ("systemctl", "--version"),
    "host/podman.txt": ("podman", "--version"),
    "host/kernel.txt": ("uname", "-a"),
    "host/space.txt": ("df", "-hT"),
    "host/inodes.txt": ("df", "-i"),
}  # fmt: skip

#: What is asked of Podman, with requests that change nothing.
PODMAN = {
    "podman/info.json": "/info",
    "podman/images.json": "/images/json?all=true",
    "podman/containers.json": "/containers/json?all=true",
}


@dataclass
class Gathered:
    """The parts as they were read, by name, and why others are `missing`; still with secrets."""

    parts: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    #: Secrets that are known, to be removed wherever they are.
    secrets: set[str] = field(default_factory=set)
    size: int = 0

    def add(self, name: str, text: str, problem: str = "") -> None:
        """Adds a part. `problem`: what is missing of it."""
        if problem:
            self.missing[name] = problem
        if not text:
            self.missing.setdefault(name, "empty")
        elif self.size + len(text) > TOTAL:
            self.missing[name] = f"the archive would be larger than {TOTAL} bytes"
        else:
            self.size += len(text)
            self.parts[name] = text


def gather(paths: Paths, config_file: Path | None, run: Run = program.printed) -> Gathered:
    """Reads all parts. `run` runs a program, see `program.printed`. Raises nothing that it
    expects."""
    found = Gathered()
    end = time.monotonic() + TOTAL_PATIENCE
    if os.geteuid() != 0:
        found.missing["some files and logs"] = "not run as root, and only root may read them"
    parts: dict[str, Callable[[], None]] = {
        "host/versions.txt": lambda: _versions(found),
        "files": lambda: _add_files(found, paths, config_file),
        "request/profiles": lambda: _add_folder(found, paths, "request/profiles", paths.profiles),
        "request/system-profiles": lambda: _add_folder(
            found, paths, "request/system-profiles", paths.system_profiles
        ),
        "request/next": lambda: _add_folder(found, paths, "request/next", paths.agent_next),
        "settings/now.txt": lambda: _settings(found, paths),
        "state/last-profile.txt": lambda: _last_profile(found, paths),
        "podman": lambda: _podman(found, paths, config_file),
    }
    found.secrets |= set(_credentials(paths))
    for name, read in parts.items():
        try:
            with defects():
                read()
        except BootError as error:
            found.missing[name] = error.message
    for name, command in {**COMMANDS, "host/files.txt": _listing(paths)}.items():
        left = min(PATIENCE, end - time.monotonic())
        if left <= 0:
            found.missing[name] = f"the time for all programs ({TOTAL_PATIENCE:.0f} s) has run out"
            continue
        printed = run(command, left, LIMIT, last=name.startswith("logs/"))
        # The exit status of `systemctl status` is that of the units.
        is_of_units = name == "units/status.txt" and printed.problem.startswith("exit status")
        found.add(name, printed.text, "" if is_of_units else printed.problem)
    return found


def _versions(found: Gathered) -> None:
    lines = (f"ocp-tuned-boot {__version__}", f"python {platform.python_version()}")
    found.add("host/versions.txt", "\n".join(lines) + "\n")


def _files(paths: Paths, config_file: Path | None) -> Iterator[tuple[str, Path]]:
    """Name in the archive, and path, of each file that may be there."""
    run = (paths.status, paths.settings, paths.drift, paths.said, paths.said_beside,
           paths.tuned_log, paths.container_log, paths.beside_log, paths.restarts,
           paths.daemon)  # fmt: skip
    yield from ((f"record/{path.name}", path) for path in run)
    folders = (paths.history, paths.layouts, paths.containers)
    state = (paths.known_images, paths.last_good,
             *(it for folder in folders for it in sorted(folder.glob("*"))))  # fmt: skip
    yield from ((f"state/{path.relative_to(paths.state)}", path) for path in state)
    agent = (paths.image_env, paths.recommend, paths.provider, paths.agent_on_change,
             paths.agent_reapply_sysctl)  # fmt: skip
    yield from ((f"request/{path.relative_to(paths.agent)}", path) for path in agent)
    etc = paths.root / "etc"
    conf = boot_conf.names(paths, config_file)
    yield from ((f"configuration/{_relative(path, paths.root)}", path) for path in conf)
    others = (etc / "mco/proxy.env", etc / "containers/registries.conf",
              *sorted((etc / "containers/registries.conf.d").glob("*.conf")),
              etc / "containers/containers.conf", etc / "containers/storage.conf")  # fmt: skip
    yield from ((f"configuration/{path.relative_to(paths.root)}", path) for path in others)
    yield "host/os-release", etc / "os-release"
    yield "host/kernel-arguments.txt", paths.kernel_cmdline


def _relative(path: Path, root: Path) -> str:
    """The path below the root; of any other one (`--config`) the name."""
    return str(path.relative_to(root)) if root in path.parents else path.name


def _add_files(found: Gathered, paths: Paths, config_file: Path | None) -> None:
    for name, path in _files(paths, config_file):
        _add_file(found, name, path)


def _add_file(found: Gathered, name: str, path: Path) -> None:
    try:
        # The administrator may have linked a file to where it is managed; a pod may not.
        real = path if name.startswith("request/") else files.resolved(path)
        data = files.read(real, LIMIT, cut=True)
    except FileNotFoundError:
        found.missing[name] = "there is no such file"
        return
    except HostError as error:
        found.missing[name] = error.message
        return
    text = data.decode(errors="replace")
    if path.name == "cmdline":
        # A line each: what follows a secret in the same line is removed with it.
        text = "\n".join(kernelargs.split(text)) + "\n"
    cut = f"longer than {LIMIT} bytes: the rest is left out" if len(data) == LIMIT else ""
    found.add(name, text, cut)


def _add_folder(found: Gathered, paths: Paths, name: str, folder: Path) -> None:
    """The files of a directory that a pod writes: no link is followed."""
    try:
        for entry in files.Tree(folder, paths.root, LEVELS, FILES):
            if entry.is_folder:
                continue
            where = f"{name}/{entry.path.relative_to(folder)}"
            if redaction.is_for_secrets(entry.path.name):
                found.missing[where] = "left out: its name says that it is for secrets"
                continue
            try:
                data = entry.read()
            except (HostError, FileNotFoundError) as error:
                found.missing[where] = str(error)
                continue
            if b"\0" in data:
                found.missing[where] = "left out: it is not text"
            else:
                found.add(where, data.decode(errors="replace"))
    except HostError as error:
        found.missing[name] = error.message


def _settings(found: Gathered, paths: Paths) -> None:
    """Each setting that was applied or saved in this boot, and its value now. Raises
    `HostError`."""
    known = residue.read(paths, inputs.boot_id(paths))
    lines = []
    for path, saved in sorted(known.saved.items()):
        now = values.read(paths.root, path)
        lines.append(f"{sysctl_key(path)} = {now!r}; applied {saved.applied!r}, "
                     f"before {saved.first!r}")  # fmt: skip
    found.add("settings/now.txt", "".join(f"{line}\n" for line in lines))


def _last_profile(found: Gathered, paths: Paths) -> None:
    """What the last profile consists of. Its files are in base64, and left out."""
    name = "state/last-profile.txt"
    last = lastgood.profile(paths)
    if last is None:
        found.missing[name] = "no profile has been applied, or its file cannot be read"
        return
    lines = [f"profile {last.profile}", f"provider {last.provider}"]
    lines += [f"{each.mode:o} {len(each.data)} {each.path}" for each in last.files]
    found.add(name, "".join(f"{line}\n" for line in lines))


def _podman(found: Gathered, paths: Paths, config_file: Path | None) -> None:
    try:
        socket = boot_conf.load(paths, config_file).socket
    except BootError:
        socket = boot_conf.SOCKETS["shared"]
    try:
        with Podman(socket, Deadline(PATIENCE)) as podman:
            for name, request in PODMAN.items():
                found.add(name, podman.shown(request))
    except BootError as error:
        for name in PODMAN:
            if name not in found.parts:
                found.missing[name] = error.message


def _listing(paths: Paths) -> tuple[str, ...]:
    """Lists the program's files and those of the request, without the images in its store."""
    where = [str(it) for it in (paths.run, paths.state, paths.agent, paths.admin_conf.parent)]
    return (
        "find", *where, "-xdev", "-path", f"{paths.own_store}/*", "-prune", "-o",
        "-printf", r"%M %u:%g %s %TY-%Tm-%Td %TT %p %l\n",
    )  # fmt: skip


def _credentials(paths: Paths) -> Iterator[str]:
    """The passwords in the node's files of registry credentials. They are in no archive; a
    registry or a script may have logged one."""
    root = paths.root
    for path in (  # containers-auth.json(5)
        paths.kubelet_config, root / "run/containers/0/auth.json",
        root / "root/.docker/config.json", root / "root/.config/containers/auth.json",
        root / "etc/containers/auth.json", root / "etc/ostree/auth.json",
    ):  # fmt: skip
        try:
            yield from redaction.secrets_in(files.read(files.resolved(path)).decode())
        except (FileNotFoundError, HostError, UnicodeDecodeError):
            continue


# The archive.

_HEAD = """\
What ocp-tuned-boot {version} has gathered on {host} at {time} (UTC), for a support case.

record/         of this boot: status.json, the applied settings, TuneD's log
state/          that survives reboots: history, known images, what worked last
request/        of the agent: image.env, recommend file, custom profiles
configuration/  boot.conf, its drop-ins, and what Podman reads
logs/           of the units of this program, in this boot and in the one before
units/          their states, files and jobs, and the critical chain of the boot
settings/       the value of each setting now
podman/         information, images and containers
host/           versions, kernel arguments, space, and the list of files

What looks like a secret is replaced by {removed}. Nothing can recognise every secret: look through
the archive before you send it. Files with registry credentials are never in it.

"""


def archive(found: Gathered, at: float) -> tuple[str, bytes]:
    """The name of the archive, without its ending, and its content; `at`: the time (seconds since
    the epoch)."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    host = re.sub(r"[^\w.-]", "-", os.uname().nodename) or "host"
    name = f"ocp-tuned-boot-{host}-{stamp}"
    # Those of the administrator are looked for everywhere. What is found in a part that a pod may
    # have written is removed where it is, and only there: a pod could have any word removed, such
    # as the result from the record.
    admins = [it for part, it in found.parts.items() if part.startswith("configuration/")]
    secrets = found.secrets.union(*map(redaction.secrets_in, admins))
    head = _HEAD.format(version=__version__, host=host, time=stamp, removed=redaction.REMOVED)
    missing = redaction.redacted(_missing(found), secrets)
    members = [("README", head + missing)]
    for part, text in sorted(found.parts.items()):
        redact = redaction.redacted_json if part.endswith(".json") else redaction.redacted
        members.append((_name(part, secrets), redact(text, secrets)))
    return name, _packed(name, members, at)


def _missing(found: Gathered) -> str:
    lines = [f"{name}: {' '.join(why.split())}" for name, why in sorted(found.missing.items())]
    return "\n".join(["What is missing, and why:", "", *(lines or ["nothing"])]) + "\n"


def _name(part: str, secrets: Iterable[str]) -> str:
    """A name in the archive: a pod may have chosen a part of it."""
    return redaction.redacted(part, secrets).replace("\n", " ")


def _packed(folder: str, members: Sequence[tuple[str, str]], at: float) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", filename="", mtime=int(at)) as zipped:
        with tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, text in members:
                data = text.encode(errors="backslashreplace")
                member = tarfile.TarInfo(f"{folder}/{name}")
                member.size, member.mtime, member.mode = len(data), int(at), 0o600
                tar.addfile(member, io.BytesIO(data))
    return out.getvalue()
