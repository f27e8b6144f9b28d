"""The TuneD container: its description, and running it once, from create to exit."""

from __future__ import annotations

import logging
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from ocp_tuned_boot.errors import HostError, PodmanError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.podman.client import ContainerState, Podman
from ocp_tuned_boot.tuned import log as tunedlog
from ocp_tuned_boot.tuned import ours
from ocp_tuned_boot.tuned.layout import HOST_LINKS, PROGRAMS, Layout
from ocp_tuned_boot.tuned.log import LineReader
from ocp_tuned_boot.tuned.ours import CONTAINER, LABEL

log = logging.getLogger(__name__)
tuned_output = logging.getLogger("tuned")

ENTRYPOINTS = {
    # Without --debug: with it TuneD does not pass on its exit status. The file with the process ID
    # is not that of another TuneD: TuneD replaces it, and removes it when it exits.
    "tuned": (PROGRAMS["tuned"], "--no-dbus", "--pid", str(Paths().own_pid)),
    "operand": (PROGRAMS["operand"], "ocp-tuned", "--in-cluster=false", "--one-shot=true", "-v=1"),
}

#: Where the container has the folder that covers files (settings/handover.py).
GUARD = "/run/ocp-tuned-boot/guard"

_LEVELS = {
    "DEBUG": logging.DEBUG,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
}

#: The time that TuneD has to exit after SIGTERM (seconds).
TERM_GRACE = 2.0
#: The time that must remain when TuneD has to stop, so that it and its container are gone at the
#: deadline (seconds).
STOPPING = TERM_GRACE + 1.0
#: TuneD is not started if it may run for less than this (seconds).
LEAST = 1.0
#: The maximum size of TuneD's log (bytes). It is kept in memory and in /run.
LOG_LIMIT = 4 * 1024 * 1024
#: conmon replaces a log that is larger (bytes). TuneD has been stopped before that.
LOG_SIZE = 2 * LOG_LIMIT
#: Podman's own default.
UMASK = "0022"
# The size of one read (bytes). The deadline is checked between two reads.
_CHUNK = 64 * 1024
# The time between two reads of the log (seconds). The exit of TuneD is noticed at once.
_TICK = 0.05


@dataclass(frozen=True)
class Mount:
    """A bind mount with propagation rslave, as in the upstream proposal.

    `executable`: programs in it can be run even if the source's file system is mounted noexec, as
    `/run` is on some hosts.
    """

    source: str
    target: str
    read_only: bool = False
    executable: bool = False

    def description(self) -> dict[str, Any]:
        """As in `ContainerSpec.description`."""
        options = [
            "rslave",
            *(["ro"] if self.read_only else []),
            *(["exec"] if self.executable else []),
        ]
        return {"type": "bind", "source": self.source, "destination": self.target,
                "options": options}  # fmt: skip


@dataclass(frozen=True)
class ContainerSpec:
    """The requested container."""

    image_id: str
    entrypoint: tuple[str, ...]
    mounts: tuple[Mount, ...]
    labels: dict[str, str]
    log: str
    name: str = CONTAINER

    def description(self) -> dict[str, Any]:
        """What Podman's API creates it of (SpecGenerator in pkg/specgen/specgen.go)."""
        host = {"nsmode": "host"}
        return {
            "name": self.name,
            "image": self.image_id,
            "entrypoint": list(self.entrypoint),
            "privileged": True,
            "netns": host,
            "pidns": host,
            # Not in the proposal's unit. kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.*
            # belong to the IPC namespace, kernel.hostname to the UTS namespace. In namespaces of
            # its own TuneD would report them as set, but the host would not get the values.
            "ipcns": host,
            "utsns": host,
            # From here on, containers.conf of the host may have another default, which would apply:
            # Podman 4.3 ignores packaging/containers.conf.
            "userns": host,
            "umask": UMASK,
            "resource_limits": {"pids": {"limit": 0}},  # --pids-limit=0, no limit
            "selinux_opts": ["disable"],  # --security-opt label=disable
            "labels": self.labels,
            # Anonymous volumes, the default, could remain after a power cut, and nothing would tell
            # whose they are.
            "image_volume_mode": "tmpfs",
            "log_configuration": {"driver": "k8s-file", "path": self.log, "size": LOG_SIZE},
            "mounts": [mount.description() for mount in self.mounts],
        }


# Host path; read-only or not. These are the mounts of the proposal's unit
# (cluster-node-tuning-operator, ocp-tuned-one-shot.service), and those of the operator's DaemonSet
# (assets/tuned/manifests/ds-tuned.yaml) that TuneD itself needs, at the same path in the container.
# Those that do not exist on the host are left out.
_HOST_MOUNTS = (
    ("/var/lib/kubelet", True),
    ("/etc/modprobe.d", False),
    ("/etc/sysconfig", False),
    ("/etc/sysctl.d", True),
    ("/etc/sysctl.conf", True),
    ("/etc/systemd", False),
    ("/run/tuned", False),
    ("/run/systemd", False),
    ("/sys", False),
    # Of the DaemonSet only.
    ("/lib/modules", True),
    ("/run/udev", True),
)


def can_write(path: str) -> bool:
    """Whether TuneD in the container can write to this file of the host. The container has its own
    /proc, with the host's settings."""
    writable = ("/proc", *(target for target, read_only in _HOST_MOUNTS if not read_only))
    return any(path.startswith(f"{target}/") for target in writable)


def specify(
    paths: Paths, contract: str, image_id: str, layout: Layout, *, guarded: bool = False
) -> ContainerSpec:
    """Describes the container for this host, contract and image. Reads which mounts exist.

    `guarded`: the files on the hand-over list are covered before TuneD starts.
    """

    def mount(path: str, target: str, read_only: bool = False) -> Mount:
        return Mount(str(paths.root / path.lstrip("/")), target, read_only)

    mounts = [mount(path, "/host" + path) for path in HOST_LINKS]
    mounts += [
        mount(path, path, read_only)
        for path, read_only in _HOST_MOUNTS
        if (paths.root / path.lstrip("/")).exists()
    ]
    # What TuneD writes there can then be read without asking Podman. An operator's image without
    # /etc/tuned.orig needs its own /etc/tuned.
    if contract == "tuned" or layout.refills:
        mounts.append(Mount(str(paths.etc_tuned), "/etc/tuned", executable=True))
    mounts += [mount(path, path) for path in HOST_LINKS if path not in layout.links]
    entrypoint = ENTRYPOINTS[contract]
    if guarded:
        mounts.append(Mount(str(paths.guard), GUARD))
        entrypoint = ("/bin/sh", f"{GUARD}/enter", *entrypoint)
    return ContainerSpec(
        image_id=image_id,
        entrypoint=entrypoint,
        mounts=tuple(mounts),
        labels={LABEL: "1", "PODMAN_SYSTEMD_UNIT": "ocp-tuned.service"},
        log=str(paths.container_log),
    )


def differences(spec: ContainerSpec, inspect: dict[str, Any]) -> list[str]:
    """How the created container differs from the requested one. Podman silently ignores some
    of a description."""
    host = inspect["HostConfig"]
    created = {
        (mount["Source"], mount["Destination"], not mount["RW"], mount["Propagation"])
        for mount in inspect["Mounts"]
        # Of the image; no requested mount is a volume.
        if mount.get("Type") != "volume"
    }
    requested = {(mount.source, mount.target, mount.read_only, "rslave") for mount in spec.mounts}
    entrypoint = inspect["Config"]["Entrypoint"]
    if isinstance(entrypoint, str):  # Podman 4 joins it with spaces
        entrypoint = entrypoint.split(" ")
    found = {
        "privileged": (True, host["Privileged"]),
        "network": ("host", host["NetworkMode"]),
        "pid": ("host", host["PidMode"]),
        # Podman 4.3 also reports the host's namespace as "shareable".
        "ipc": (True, host["IpcMode"] in ("host", "shareable")),
        "uts": ("host", host["UTSMode"]),
        "user namespace": ("", host["UsernsMode"]),
        "umask": (UMASK, inspect["Config"]["Umask"]),
        # With SELinux enabled, only a container with label=disable has no label.
        "SELinux label": ("", inspect["ProcessLabel"]),
        "entrypoint": (list(spec.entrypoint), entrypoint),
        "log": (
            ("k8s-file", spec.log, ""),
            tuple(host["LogConfig"][it] for it in ("Type", "Path", "Tag")),
        ),
        "mounts": ([], sorted(requested ^ created)),
    }
    return [f"{name}: requested {wanted!r}, found {got!r}"
            for name, (wanted, got) in found.items() if wanted != got]  # fmt: skip


def create(podman: Podman, paths: Paths, spec: ContainerSpec) -> ContainerState:
    """Creates the container. Raises `PodmanError`, also if it differs from the requested one."""
    created = ours.create(podman, paths, spec.description())
    wrong = differences(spec, created.inspect)
    if wrong:
        raise PodmanError(
            f"Podman did not create the requested container: {'; '.join(wrong)}",
            "If containers.conf(5) of this host sets one of these, remove the setting there.",
        )
    return created


@dataclass(frozen=True)
class Exit:
    """How the container exited. `status` is None if it did not exit in time and was stopped."""

    status: int | None
    log: tuple[str, ...]


def run(podman: Podman, container: ContainerState, paths: Paths, deadline: Deadline) -> Exit:
    """Starts the container, follows its log, and waits until it exits or `deadline` passes.

    After the deadline the container is stopped: SIGTERM, then SIGKILL; `STOPPING` must remain of
    the deadline of `podman` then. Raises `PodmanError`, and `HostError` if the log is larger than
    `LOG_LIMIT`.
    """
    podman.start(container.id)
    with _Follower(paths) as follower:
        in_time = _follow(podman, container.id, follower, deadline)
        # The process has exited. The log is complete only after Podman has finished with it.
        if not in_time:
            podman = ours.patient(podman)
            podman.kill(container.id, "KILL")
        podman.wait(container.id)
        ended = podman.container(container.id)
        lines = follower.finish()
    if ended is None or not ended.started:
        raise PodmanError(f"the container {CONTAINER} was never started", temporary=True)
    return Exit(ended.exit_code if in_time else None, lines)


def _follow(podman: Podman, container: str, follower: _Follower, deadline: Deadline) -> bool:
    """Whether the container's process exited before the deadline."""
    with _process(podman, container) as process:
        while not process.ended(0 if follower.read() else _TICK):
            if deadline.passed():
                process.send(signal.SIGTERM)
                process.ended(podman.deadline.within(TERM_GRACE).seconds)
                return False
    return True


class _Process:
    """The container's first process. With a pidfd its exit is noticed without polling, and a
    reused process ID cannot be mistaken for it."""

    def __init__(self, pidfd: int | None) -> None:
        self._pidfd = pidfd
        self._poll = select.poll()
        if pidfd is not None:
            self._poll.register(pidfd, select.POLLIN)

    def ended(self, seconds: float) -> bool:
        """Whether the process has exited. Waits for that, at most `seconds`."""
        return self._pidfd is None or bool(self._poll.poll(seconds * 1000))

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; not through Podman, which may be what hangs."""
        if self._pidfd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)


@contextmanager
def _process(podman: Podman, container: str) -> Iterator[_Process]:
    state = podman.container(container)
    try:
        pidfd = os.pidfd_open(state.pid) if state is not None and state.pid else None
    except ProcessLookupError:
        pidfd = None
    try:
        # Between the two calls the process may have exited and its ID may have been reused.
        again = podman.container(container)
        same = again is not None and state is not None and again.pid == state.pid
        process = _Process(pidfd if same else None)
        try:
            yield process
        finally:
            # It has exited, unless the run ends here: at the deadline, by a signal or an error.
            process.send(signal.SIGKILL)
    finally:
        if pidfd is not None:
            os.close(pidfd)


class _Follower:
    """Reads the container's log while conmon writes it, and copies each line to the journal and to
    `tuned.log`."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._size = 0
        self._reader = LineReader()
        self._lines: list[str] = []
        self._source = self._opened()
        with files.explained("write", paths.tuned_log):
            self._copy = paths.tuned_log.open("w", encoding="utf-8", errors="backslashreplace")

    def __enter__(self) -> _Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()
        # A failed write has been reported already.
        with suppress(OSError):
            self._copy.close()

    def read(self) -> bool:
        """Reads the next part of the log, and returns whether there was one. Raises `HostError`."""
        with files.explained("read", self._paths.container_log):
            data = self._source.read(_CHUNK) or self._after_rotation()
        self._size += len(data)
        if self._size > LOG_LIMIT:
            raise HostError(
                f"TuneD logged more than {LOG_LIMIT} bytes and was stopped",
                f"Check the scripts of the profile. The log is {self._paths.tuned_log}",
            )
        self._take(self._reader.feed(data))
        return bool(data)

    def _opened(self) -> BinaryIO:
        with files.explained("read", self._paths.container_log):
            return os.fdopen(files.opener(str(self._paths.container_log), os.O_RDONLY), "rb")

    def _after_rotation(self) -> bytes:
        """At the end of the file: what comes next if conmon has replaced the file, or if another
        program has truncated it."""
        try:
            found = self._paths.container_log.stat()
        except FileNotFoundError:
            return b""
        if os.path.samestat(found, os.fstat(self._source.fileno())):
            if found.st_size >= self._source.tell():
                return b""
            self._source.seek(0)
        elif rest := self._source.read(_CHUNK):
            return rest
        else:
            self._source.close()
            self._source = self._opened()
        return self._source.read(_CHUNK)

    def finish(self) -> tuple[str, ...]:
        """All lines of the log, once the container has exited. Raises `HostError`."""
        while self.read():
            pass
        self._take(self._reader.finish())
        return tuple(self._lines)

    def _take(self, lines: list[str]) -> None:
        for line in lines:
            tuned_output.log(_LEVELS.get(tunedlog.level(line), logging.INFO), "%s", line)
        with files.explained("write", self._paths.tuned_log):
            self._copy.writelines(line + "\n" for line in lines)
            self._copy.flush()
        self._lines += lines
