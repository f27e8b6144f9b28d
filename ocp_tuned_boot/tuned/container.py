"""The TuneD container: its description, and creating it. running.py runs it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ocp_tuned_boot.errors import PodmanError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.inside import cover
from ocp_tuned_boot.podman.client import ContainerState, Podman
from ocp_tuned_boot.tuned import conversation, ours
from ocp_tuned_boot.tuned.layout import HOST_LINKS, PROGRAMS, Layout
from ocp_tuned_boot.tuned.ours import CHECK, CONTAINER, LABEL
from ocp_tuned_boot.tuned.running import LOG_SIZE

ENTRYPOINTS = {
    # Without --debug: with it TuneD does not pass on its exit status. The file with the process ID
    # is not that of another TuneD: TuneD replaces it, and removes it when it exits.
    "tuned": (PROGRAMS["tuned"], "--no-dbus", "--pid", str(Paths().own_pid)),
    "operand": (PROGRAMS["operand"], "ocp-tuned", "--in-cluster=false", "--one-shot=true", "-v=1"),
}

#: Podman's own default.
UMASK = "0022"


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


@dataclass(frozen=True)
class ContainerSpec:
    """The requested container."""

    image_id: str
    entrypoint: tuple[str, ...]
    mounts: tuple[Mount, ...]
    labels: dict[str, str]
    log: str
    name: str = CONTAINER

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of podman-py's `containers.create`."""
        return {
            "name": self.name,
            "image": self.image_id,
            "entrypoint": list(self.entrypoint),
            "privileged": True,
            "network_mode": "host",
            "pid_mode": "host",
            # Not in the proposal's unit. kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.*
            # belong to the IPC namespace, kernel.hostname to the UTS namespace. In namespaces of
            # its own TuneD would report them as set, but the host would not get the values.
            "ipc_mode": "host",
            "uts_mode": "host",
            # From here on, containers.conf of the host may have another default, which would apply:
            # Podman 4.3 ignores packaging/containers.conf.
            "userns_mode": "host",
            "umask": UMASK,
            # The processes are the host's and the root is not: systemctl takes that for a chroot,
            # in which it does nothing and reports success.
            "environment": {"SYSTEMD_IGNORE_CHROOT": "1"},
            "security_opt": ["disable"],  # --security-opt label=disable
            "labels": self.labels,
            # Anonymous volumes, the default, could remain after a power cut, and nothing would tell
            # whose they are.
            "image_volume_mode": "tmpfs",
            "log_config": {"Type": "k8s-file", "Config": {"path": self.log, "size": LOG_SIZE}},
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
            # podman-py supports the option `exec` only here.
            "volumes": {
                mount.source: {"bind": mount.target, "extended_mode": ["rslave", "exec"]}
                for mount in self.mounts
                if mount.executable
            },
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
    paths: Paths, contract: str, image_id: str, layout: Layout,
    *, guarded: bool = False, asked: bool = False,
) -> ContainerSpec:  # fmt: skip
    """Describes the container for this host, contract and image. Reads which mounts exist.

    `guarded`: the files on the hand-over list are covered before TuneD starts. `asked`: the
    container waits for the word, see conversation.py.
    """

    # What TuneD writes there can then be read without asking Podman. An operator's image without
    # /etc/tuned.orig needs its own /etc/tuned.
    own = contract == "tuned" or layout.refills
    mounts = _mounts(paths, layout, paths.etc_tuned if own else None)
    entrypoint = ENTRYPOINTS[contract]
    if guarded:
        mounts.append(Mount(str(paths.guard), cover.FOLDER))
    if asked:
        mounts += [Mount(*each, read_only=True) for each in conversation.mounts(paths)]
        entrypoint = conversation.entrypoint("apply", entrypoint)
    elif guarded:
        entrypoint = ("/bin/sh", f"{cover.FOLDER}/enter", *entrypoint)
    return ContainerSpec(
        image_id=image_id,
        entrypoint=entrypoint,
        mounts=tuple(mounts),
        labels={LABEL: "1", "PODMAN_SYSTEMD_UNIT": "ocp-tuned.service"},
        log=str(paths.container_log),
    )


def mounted_files(spec: ContainerSpec) -> tuple[tuple[int, int], ...]:
    """Which files are mounted, by device and inode: one that is replaced on the host later is still
    the old one in the container. Folders show what is in them."""
    found = []
    for mount in spec.mounts:
        with files.explained("read", Path(mount.source)):
            found.append(os.stat(mount.source))
    return tuple((it.st_dev, it.st_ino) for it in found if not stat.S_ISDIR(it.st_mode))


def specify_beside(paths: Paths, image_id: str, layout: Layout) -> ContainerSpec:
    """Describes a container in which TuneD only says something (beside.py): it has what TuneD
    applies a profile with, and cannot write to it."""
    mounts = [
        replace(each, read_only=True, executable=False)
        for each in _mounts(paths, layout, paths.etc_tuned_beside)
    ]
    mounts += [Mount(*each, read_only=True) for each in conversation.mounts(paths)]
    return ContainerSpec(
        image_id=image_id,
        entrypoint=conversation.entrypoint("verify", ENTRYPOINTS["tuned"]),
        mounts=tuple(mounts),
        labels={LABEL: "1"},
        log=str(paths.beside_log),
        name=CHECK,
    )


def _mounts(paths: Paths, layout: Layout, etc_tuned: Path | None) -> list[Mount]:
    """The mounts from the host, and `etc_tuned` at `/etc/tuned` if there is one."""

    def mount(path: str, target: str, read_only: bool = False) -> Mount:
        return Mount(str(paths.root / path.lstrip("/")), target, read_only)

    mounts = [mount(path, "/host" + path) for path in HOST_LINKS]
    mounts += [
        mount(path, path, read_only)
        for path, read_only in _HOST_MOUNTS
        if (paths.root / path.lstrip("/")).exists()
    ]
    if etc_tuned is not None:
        mounts.append(Mount(str(etc_tuned), "/etc/tuned", executable=True))
    mounts += [mount(path, path) for path in HOST_LINKS if path not in layout.links]
    return mounts


def differences(spec: ContainerSpec, inspect: dict[str, Any]) -> list[str]:
    """How the created container differs from the requested one. podman-py silently ignores some
    arguments."""
    host = inspect["HostConfig"]
    created = {
        (mount["Source"], mount["Destination"], not mount["RW"], mount["Propagation"])
        for mount in inspect["Mounts"]
        # Of the image; no requested mount is a volume.
        if mount.get("Type") != "volume"
    }
    requested = {(mount.source, mount.target, mount.read_only, "rslave") for mount in spec.mounts}
    entrypoint, asked_for = inspect["Config"]["Entrypoint"], list(spec.entrypoint)
    if isinstance(entrypoint, str):  # Podman 4 joins it with spaces
        entrypoint, asked_for = [entrypoint], [" ".join(asked_for)]
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
        "entrypoint": (asked_for, entrypoint),
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
    created = ours.create(podman, paths, spec.arguments())
    wrong = differences(spec, created.inspect)
    if wrong:
        raise PodmanError(
            f"Podman did not create the requested container: {'; '.join(wrong)}",
            "If containers.conf(5) of this host sets one of these, remove the setting there.",
        )
    return created
