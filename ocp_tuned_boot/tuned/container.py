"""The TuneD container: what it is made of, and running it once from create to remove."""

from __future__ import annotations

import logging
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ocp_tuned_boot.errors import BootError, Busy, HostError, PodmanError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.podman.client import ContainerState, Podman
from ocp_tuned_boot.tuned import log as tunedlog
from ocp_tuned_boot.tuned import prepare
from ocp_tuned_boot.tuned.layout import CONTAINER, HOST_LINKS, LABEL, PROGRAMS, Layout
from ocp_tuned_boot.tuned.log import LineReader

log = logging.getLogger(__name__)
tuned_output = logging.getLogger("tuned")

ENTRYPOINTS = {
    # No --debug: it makes TuneD lose its exit status.
    "tuned": (PROGRAMS["tuned"], "--no-dbus"),
    "operand": (PROGRAMS["operand"], "ocp-tuned", "--in-cluster=false", "--one-shot=true", "-v=1"),
}

_LEVELS = {
    "DEBUG": logging.DEBUG,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
}

#: How long TuneD may take to end itself after SIGTERM (seconds).
TERM_GRACE = 3.0
#: How long Podman may take to clear up (seconds), once when TuneD was stopped and once at the end.
CLEARING = 7.0
#: The container in which an image is tried, and as long as another one may take (seconds).
CHECK = "ocp-tuned-boot-check"
CHECKING = 90.0
#: As much TuneD may say (bytes); its log is kept in memory, and in /run.
LOG_LIMIT = 4 * 1024 * 1024
# Read at a time (bytes): between two reads somebody looks at the clock.
_CHUNK = 64 * 1024
# How long to wait before looking at the log again (seconds). TuneD's exit does not wait for it.
_TICK = 0.05


@dataclass(frozen=True)
class Mount:
    """A bind mount, with propagation rslave as the proposal has it.

    `executable`: also where the source's filesystem is mounted noexec, as some have `/run`.
    """

    source: str
    target: str
    read_only: bool = False
    executable: bool = False


@dataclass(frozen=True)
class ContainerSpec:
    """The container that is asked for."""

    image_id: str
    entrypoint: tuple[str, ...]
    mounts: tuple[Mount, ...]
    labels: dict[str, str]
    log: str
    name: str = CONTAINER

    def arguments(self) -> dict[str, Any]:
        """As podman-py's `containers.create` wants it."""
        return {
            "name": self.name,
            "image": self.image_id,
            "entrypoint": list(self.entrypoint),
            "privileged": True,
            "network_mode": "host",
            "pid_mode": "host",
            # Not in the proposal's unit: kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.* are
            # the IPC namespace's, kernel.hostname is the UTS namespace's. In namespaces of its own
            # TuneD would say that they are set, and the host would never have them.
            "ipc_mode": "host",
            "uts_mode": "host",
            "security_opt": ["disable"],  # --security-opt label=disable
            "labels": self.labels,
            "log_config": {"Type": "k8s-file", "Config": {"path": self.log}},
            "mounts": [
                {
                    "type": "bind",
                    "source": mount.source,
                    "target": mount.target,
                    "propagation": "rslave",
                    "read_only": mount.read_only,
                }
                for mount in self.mounts
                if not mount.executable
            ],
            # podman-py knows the option `exec` only here.
            "volumes": {
                mount.source: {"bind": mount.target, "extended_mode": ["rslave", "exec"]}
                for mount in self.mounts
                if mount.executable
            },
        }


# Host path, read-only? All of the proposal's unit (cluster-node-tuning-operator,
# ocp-tuned-one-shot.service). Each is mounted where the host has it, and left out where not.
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
)


def specify(paths: Paths, contract: str, image_id: str, layout: Layout) -> ContainerSpec:
    """The container for this host, contract and image. Reads which of the sources exist."""

    def mount(path: str, target: str, read_only: bool = False) -> Mount:
        return Mount(str(paths.root / path.lstrip("/")), target, read_only)

    mounts = [mount(path, "/host" + path) for path in HOST_LINKS]
    mounts += [
        mount(path, path, read_only)
        for path, read_only in _HOST_MOUNTS
        if (paths.root / path.lstrip("/")).exists()
    ]
    if contract == "tuned":
        mounts.append(Mount(str(paths.etc_tuned), "/etc/tuned", executable=True))
        mounts += [mount(path, path) for path in HOST_LINKS if path not in layout.links]
    return ContainerSpec(
        image_id=image_id,
        entrypoint=ENTRYPOINTS[contract],
        mounts=tuple(mounts),
        labels={LABEL: "1", "PODMAN_SYSTEMD_UNIT": "ocp-tuned.service"},
        log=str(paths.container_log),
    )


def differences(spec: ContainerSpec, inspect: dict[str, Any]) -> list[str]:
    """What Podman created otherwise than asked: podman-py drops some arguments silently."""
    host = inspect["HostConfig"]
    created = {
        (mount["Source"], mount["Destination"], not mount["RW"], mount["Propagation"])
        for mount in inspect["Mounts"]
    }
    asked = {(mount.source, mount.target, mount.read_only, "rslave") for mount in spec.mounts}
    entrypoint = inspect["Config"]["Entrypoint"]
    if isinstance(entrypoint, str):  # podman 4 joins it with spaces
        entrypoint = entrypoint.split(" ")
    found = {
        "privileged": (True, host["Privileged"]),
        "network": ("host", host["NetworkMode"]),
        "pid": ("host", host["PidMode"]),
        # Podman 4.3 says "shareable" of the host's, too.
        "ipc": (True, host["IpcMode"] in ("host", "shareable")),
        "uts": ("host", host["UTSMode"]),
        # Where SELinux is on, only a container with label=disable has none.
        "SELinux label": ("", inspect["ProcessLabel"]),
        "entrypoint": (list(spec.entrypoint), entrypoint),
        "log": (("k8s-file", spec.log), (host["LogConfig"]["Type"], host["LogConfig"]["Path"])),
        "mounts": ([], sorted(asked ^ created)),
    }
    return [f"{name}: asked for {asked!r}, found {got!r}"
            for name, (asked, got) in found.items() if asked != got]  # fmt: skip


@contextmanager
def sole(podman: Podman, paths: Paths) -> Iterator[None]:
    """No container of ours before the block, none after it, whatever ends the block.

    One that an earlier run left behind is removed; by its name, as at the end, because a
    request to create it may have been cut off half-way. Raises `PodmanError`.
    """
    remove_ours(podman, paths)
    try:
        yield
    except BaseException:
        # What ended the block is what counts, even if Podman fails again.
        try:
            remove_ours(_patient(podman), paths)
        except BootError as error:
            log.warning("the container %s may be left behind: %s", CONTAINER, error)
        raise
    remove_ours(_patient(podman), paths)


def _patient(podman: Podman) -> Podman:
    """For clearing up, which has time of its own: what ended a run may have been the deadline."""
    return podman.until(Deadline(CLEARING))


def create(podman: Podman, spec: ContainerSpec) -> ContainerState:
    """Creates the container and makes sure that it is the one asked for."""
    created = podman.create(spec.arguments())
    wrong = differences(spec, created.inspect)
    if wrong:
        raise PodmanError(f"Podman created another container than asked for: {'; '.join(wrong)}")
    return created


def remove_ours(podman: Podman, paths: Paths) -> bool:
    """Removes the container of our name, with what its TuneD leaves on the host when it is
    killed, and says whether there was one.

    Raises `PodmanError` when it is somebody else's: that is theirs to remove.
    """
    removed = _remove(podman, CONTAINER)
    prepare.forget_tuned(paths)
    return removed


@contextmanager
def checking(podman: Podman, paths: Paths, patience: float = CHECKING) -> Iterator[None]:
    """Around trying an image, one at a time: no container named `CHECK` before it and none after.
    Raises `PodmanError`, and `Busy` when another one does not end in so many seconds."""
    files.directory(paths.run, paths.root)
    with files.locked(paths.check_lock, patience, "image stage"):
        _remove(podman, CHECK)
        try:
            yield
        finally:
            _remove(_patient(podman), CHECK)


def remove_check(podman: Podman, paths: Paths) -> bool:
    """Removes the container that a killed `image stage` has left, and says whether there was one;
    while one is at work it is left alone. Raises `PodmanError`."""
    files.directory(paths.run, paths.root)
    try:
        with files.locked(paths.check_lock, 0, "image stage"):
            return _remove(podman, CHECK)
    except Busy:
        return False


def _remove(podman: Podman, name: str) -> bool:
    found = podman.container(name)
    if found is not None and LABEL not in found.labels:
        raise PodmanError(
            f"a container named {name} exists that this program did not create ({found.id})",
            f"If nobody needs it, remove it: podman rm -f {name}",
        )
    if found is not None:
        podman.remove(found.id)
    return found is not None


@dataclass(frozen=True)
class Exit:
    """How the container ended; `status` is None when it had to be stopped."""

    status: int | None
    log: tuple[str, ...]


def run(podman: Podman, container: ContainerState, paths: Paths, deadline: Deadline) -> Exit:
    """Starts the container, follows its log and waits for its end, at most until `deadline`.

    Past it the container is stopped: SIGTERM, then SIGKILL. Raises `PodmanError`, and `HostError`
    when TuneD does not stop talking.
    """
    podman.start(container.id)
    with _Follower(paths) as follower:
        in_time = _follow(podman, container.id, follower, deadline)
        # The process is gone; now let Podman finish with it, so that its log is whole.
        patient = _patient(podman)
        if not in_time:
            patient.kill(container.id, "KILL")
        patient.wait(container.id)
        ended = patient.container(container.id)
        lines = follower.finish()
    if ended is None or not ended.started:
        raise PodmanError(f"the container {CONTAINER} never ran", temporary=True)
    return Exit(ended.exit_code if in_time else None, lines)


def _follow(podman: Podman, container: str, follower: _Follower, deadline: Deadline) -> bool:
    """True when the container's process ended by itself before the deadline."""
    with _process(podman, container) as process:
        while not process.ended(0 if follower.read() else _TICK):
            if deadline.passed():
                process.terminate()
                process.ended(TERM_GRACE)
                return False
    return True


class _Process:
    """The container's first process, through a pidfd: no polling, no mistaken identity."""

    def __init__(self, pidfd: int | None) -> None:
        self._pidfd = pidfd
        self._poll = select.poll()
        if pidfd is not None:
            self._poll.register(pidfd, select.POLLIN)

    def ended(self, seconds: float) -> bool:
        """Waits at most `seconds`, and not a moment longer than the process lives."""
        return self._pidfd is None or bool(self._poll.poll(seconds * 1000))

    def terminate(self) -> None:
        """SIGTERM, not by way of Podman, which may be what hangs."""
        if self._pidfd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)


@contextmanager
def _process(podman: Podman, container: str) -> Iterator[_Process]:
    state = podman.container(container)
    try:
        pidfd = os.pidfd_open(state.pid) if state is not None and state.pid else None
    except ProcessLookupError:
        pidfd = None
    try:
        # Between the two calls the process may have ended and its ID been given to another.
        again = podman.container(container)
        same = again is not None and state is not None and again.pid == state.pid
        yield _Process(pidfd if same else None)
    finally:
        if pidfd is not None:
            os.close(pidfd)


class _Follower:
    """Reads what conmon writes as it grows: into our output, so into the journal, and, as
    plain lines, into `tuned.log`."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._size = 0
        self._reader = LineReader()
        self._lines: list[str] = []
        with files.explained("read", paths.container_log):
            opened = files.opener(str(paths.container_log), os.O_RDONLY)
        self._source = os.fdopen(opened, "rb")
        with files.explained("write", paths.tuned_log):
            self._copy = paths.tuned_log.open("w")

    def __enter__(self) -> _Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()
        # What could not be written was told of.
        with suppress(OSError):
            self._copy.close()

    def read(self) -> bool:
        """Takes in a part of what there is, and says whether there was any. Raises `HostError`."""
        with files.explained("read", self._paths.container_log):
            data = self._source.read(_CHUNK) or b""
        self._size += len(data)
        if self._size > LOG_LIMIT:
            raise HostError(
                f"TuneD has said more than {LOG_LIMIT} bytes and goes on",
                f"See {self._paths.tuned_log}: a script of the profile, perhaps.",
            )
        self._take(self._reader.feed(data))
        return bool(data)

    def finish(self) -> tuple[str, ...]:
        """Everything that was said, when nothing more will come. Raises `HostError`."""
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
