"""The unit that answers on Podman's socket, and whether it runs at all."""

from __future__ import annotations

import logging
from pathlib import Path

from ocp_tuned_boot.errors import BootError, HostError, PodmanError
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.podman.failures import STALE

log = logging.getLogger(__name__)


def unit_of(socket: Path) -> str:
    """The unit that answers on this socket: ours (units/ocp-tuned-podman@.socket) or Podman's own
    (podman.socket). Empty for any other socket."""
    if socket.parent == Path("/run/ocp-tuned-boot"):
        # podman.sock, without an instance, is a second path of the first.
        instance = socket.stem.partition("-")[2] or "shared"
        return f"ocp-tuned-podman@{instance}.service"
    return "podman.service" if socket == Path("/run/podman/podman.sock") else ""


def journal_hint(socket: Path) -> str:
    """Where Podman reports why it does not answer, and how to end one that hangs; empty if its unit
    is unknown."""
    unit = unit_of(socket)
    if not unit:
        return ""
    return f"To see why: journalctl -b -u {unit}. To restart it: systemctl restart {unit}"


def not_running(socket: Path) -> PodmanError | None:
    """The error of a Podman that exits each time it is started: with a broken containers.conf or
    storage.conf, or a store that is read-only. None if it runs, or if that is unknown."""
    unit = unit_of(socket)
    if not unit or not systemd.starts_again(unit):
        return None
    logged = systemd.last_logged(unit)
    words = f"; it logged: {logged}" if logged else ""
    return PodmanError(
        f"Podman does not run: {unit} exits each time it is started{words}",
        "Check /etc/containers/containers.conf and storage.conf, and whether the store can be "
        f"written. To see why: journalctl -b -u {unit}",
    )


def end_stale(socket: Path, failure: BootError, seconds: float) -> None:
    """Stops our Podman if it was started while its store was read-only. It would refuse every
    container, and each attempt would keep it from exiting when it is idle; the next request starts
    another one. Podman's own service is left to who uses it. Waits at most `seconds`."""
    unit = unit_of(socket)
    if not unit.startswith("ocp-tuned-podman@") or not STALE.search(failure.message):
        return
    log.warning("stopping %s: it has opened its database while the store was read-only", unit)
    try:
        systemd.stop(unit, seconds)
    except HostError as error:
        log.warning("%s", error)
