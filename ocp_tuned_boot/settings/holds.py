"""Settings that require a file descriptor that stays open. systemd holds it, so no process of ours
must keep running.

TuneD sets `force_latency` with a request in /dev/cpu_dma_latency, which the kernel drops when the
file is closed (pm_qos_interface in the kernel's documentation), and `[rtentsk]` with a socket that
has timestamps enabled. A one-shot TuneD closes both when it exits. They are opened again here and
passed to the file descriptor store of the unit (sd_notify(3), FDSTORE=1), which PID 1 holds.

PID 1 gets the device inside a socket, as a message that nobody reads. With SELinux, who receives a
file must be allowed to use it (selinux_file_receive in the kernel). The policy of Fedora and RHEL
allows PID 1 to use the sockets of services, and not this device (docs/selinux.md).
"""

from __future__ import annotations

import logging
import os
import re
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ocp_tuned_boot.host import messages
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import UNIT, Notifier, Stored, stored
from ocp_tuned_boot.record.model import Hold, InForce, Standing, State, now
from ocp_tuned_boot.tuned.findings import unquoted

if TYPE_CHECKING:
    from ocp_tuned_boot.tuned.log import LogRecord
    from ocp_tuned_boot.tuned.wanted import Setting

log = logging.getLogger(__name__)

LATENCY, TIMESTAMPS = "force_latency", "rtentsk"
#: The name of each in the store. While one is replaced, the new one is stored as `<name>.next`.
NAMES = {LATENCY: "cpu-dma-latency", TIMESTAMPS: "rtentsk"}
_NEXT = ".next"

#: The time that systemd has to process our messages (seconds).
PATIENCE = 5.0

# As in tuned/plugins/plugin_rtentsk.py: SO_TIMESTAMP (include/uapi/asm-generic/socket.h), set to
# SOF_TIMESTAMPING_OPT_TX_SWHW (include/uapi/linux/net_tstamp.h).
_SO_TIMESTAMP = 29
_OPT_TX_SWHW = 1 << 14

#: PM_QOS_DEFAULT_VALUE (include/linux/pm_qos.h): a request without effect.
_NO_CONSTRAINT = -1

#: The format of the device, for a request and for the latency in effect: microseconds.
_REQUEST = struct.Struct("=i")


def wanted(
    paths: Paths,
    requested: Iterable[Setting],
    logged: Iterable[LogRecord] = (),
    *,
    stays: bool = False,
) -> tuple[Hold, ...]:
    """What systemd must hold for the `requested` settings (`wanted.open_files`).

    A value that TuneD has `logged` wins: TuneD evaluates functions and conditions, this program
    does not. But if it keeps running (`stays`), it tunes dynamically, and a latency that the
    profile does not name, or not for sure, is one that it will change.
    """
    known = _logged((each.logger, each.message) for each in logged)
    holds = []
    settings = {setting.key: setting for setting in requested}
    setting = settings.get(LATENCY)
    if stays and (setting is None or setting.unknown):
        known.pop(LATENCY, None)
    value = known.get(LATENCY)
    if LATENCY not in known and setting is not None and not setting.unknown:
        value = latency(setting.value, cstates(paths))
    if value not in (None, _NO_CONSTRAINT):
        holds.append(Hold(LATENCY, setting.value if setting else "", str(value)))
    if TIMESTAMPS in known or (TIMESTAMPS in settings and not settings[TIMESTAMPS].unknown):
        holds.append(Hold(TIMESTAMPS))
    return tuple(holds)


def lost_before(in_force: InForce) -> tuple[Hold, ...]:
    """What an earlier release, which could not store file descriptors, recorded as lost."""
    known = {hold.kind for hold in in_force.holds}
    plugins = {LATENCY: ".plugin_cpu", TIMESTAMPS: ".plugin_rtentsk"}
    logged = _logged(
        (plugins[each.subject], unquoted(each.message))
        for each in in_force.findings
        if each.kind == "lost-after-exit" and each.subject in plugins
    )
    values = {kind: value for kind, value in logged.items() if value is not None}
    return tuple(
        Hold(kind, "", str(value) if kind == LATENCY else "")
        for kind, value in values.items()
        if kind not in known
    )


def _logged(messages: Iterable[tuple[str, str]]) -> dict[str, int | None]:
    """The values in TuneD's log, from loggers and messages (tuned/plugins/plugin_cpu.py,
    plugin_rtentsk.py); None for a value that TuneD could not evaluate."""
    found: dict[str, int | None] = {}
    for logger, message in messages:
        if logger.endswith(".plugin_cpu"):
            if match := re.match(r"setting new cpu latency (-?[0-9]{1,10})\b", message):
                found[LATENCY] = int(match[1])
            elif message.startswith("unable to evaluate latency value"):
                found[LATENCY] = None
        elif logger.endswith(".plugin_rtentsk") and "opened SOF_TIMESTAMPING" in message:
            found[TIMESTAMPS] = 1
    return found


@dataclass(frozen=True)
class CState:
    """One idle state of the first CPU. `latency` is the time to leave it, in microseconds."""

    id: int
    name: str
    latency: int


def cstates(paths: Paths) -> tuple[CState, ...]:
    """The idle states of this machine; none if the kernel does not manage them."""
    found = []
    for folder in sorted(paths.cpuidle.glob("state[0-9]*")):
        try:
            name = (folder / "name").read_text().strip()
            found.append(CState(int(folder.name[5:]), name, int((folder / "latency").read_text())))
        except (OSError, ValueError) as error:
            log.debug("%s: %s", folder, error)
    return tuple(found)


def latency(text: str, known: Sequence[CState]) -> int | None:
    """The value of a `force_latency` in microseconds, or None: the first alternative that exists on
    this machine (tuned/plugins/plugin_cpu.py, _parse_latency)."""
    for each in text.split("|"):
        if each in ("none", "None"):
            return None
        form, colon, state = each.partition(":")
        if not colon:
            found = _number(each)
        elif form in ("cstate.id", "cstate.id_no_zero"):
            number = _number(state)
            found = next((it.latency for it in known if it.id == number), None)
        elif form in ("cstate.name", "cstate.name_no_zero"):
            found = next((it.latency for it in known if it.name == state), None)
        else:
            found = None
        if found is not None and not (found == 0 and form.endswith("_no_zero")):
            return found
    return None


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def store(
    paths: Paths, notifier: Notifier, requested: Sequence[Hold], known: Sequence[State] = ()
) -> tuple[State, ...]:
    """Makes systemd hold what is `requested`, and nothing else. `known`: what it held before. What
    is in effect and requested again is not touched.

    A setting is in effect at any time: the new file descriptor is stored before the old one is
    removed. The result is what is known without asking systemd.
    """
    kept = {state.hold.kind: state.hold for state in known if state.in_force}
    states: dict[str, State] = {}
    new = []
    for kind in NAMES:
        hold = next((each for each in requested if each.kind == kind), None)
        old = kept.get(kind)
        if hold is not None and old is not None and hold.value in ("", old.value):
            states[kind] = State(replace(old, asked=hold.asked))
        elif hold is not None:
            states[kind] = _replaced(paths, notifier, hold, old)
            new.append(kind)
        elif old is not None and not notifier.in_unit:
            states[kind] = State(old, Standing.UNASKED, "no profile requests it, and " + _BY_HAND)
        else:
            _release(notifier, kind, old)
    confirmed = not new or notifier.barrier(PATIENCE)
    for kind in new:
        states[kind] = _checked(paths, states[kind], confirmed)
    return tuple(states.values())


def _checked(paths: Paths, state: State, confirmed: bool) -> State:
    """The state of a file descriptor that was just sent to systemd."""
    if not state.in_force:
        return state
    if not confirmed:
        why = f"systemd did not confirm within {PATIENCE:g} s that it holds the file descriptor"
        return replace(state, standing=Standing.LOST, why=why)
    return _by_the_kernel(paths, state.hold)


_BY_HAND = "this run was started by hand, not by the unit"


def _release(notifier: Notifier, kind: str, old: Hold | None = None) -> None:
    for name in (NAMES[kind], NAMES[kind] + _NEXT):
        notifier.discard(name)
    if old is not None:
        log.info("systemd releases %s", old.words)


def _replaced(paths: Paths, notifier: Notifier, hold: Hold, old: Hold | None) -> State:
    """Stores the new file descriptor, first as `<name>.next`, then under its name: two of them must
    not have the same name, and a name cannot be changed.

    If this is interrupted, the next call repairs it.
    """
    name = NAMES[hold.kind]
    if not notifier.in_unit:
        return State(hold, Standing.LOST, _BY_HAND)
    try:
        _send(paths, notifier, hold, name + _NEXT)
        notifier.discard(name)
        hold = _send(paths, notifier, hold, name)
        notifier.discard(name + _NEXT)
    except OSError as error:
        _release(notifier, hold.kind, old)
        return State(hold, Standing.LOST, f"cannot open the file descriptor: {error}")
    before = f", which replaces {old.words}" if old is not None else ""
    log.info("systemd holds %s%s", hold.words, before)
    return State(replace(hold, since=now()))


def _send(paths: Paths, notifier: Notifier, hold: Hold, name: str) -> Hold:
    """Opens a file descriptor and sends it to systemd. Raises `OSError`."""
    opened = _inside_a_socket(_request(paths, hold)) if hold.kind == LATENCY else _timestamps()
    try:
        notifier.store(name, opened)
        # The link that /proc/1/fd has for it.
        target = os.readlink(f"/proc/self/fd/{opened}")
    finally:
        os.close(opened)
    return hold if hold.kind == LATENCY else replace(hold, value=target)


def _request(paths: Paths, hold: Hold) -> int:
    opened = os.open(paths.cpu_dma_latency, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(opened, _REQUEST.pack(int(hold.value)))
    except struct.error as error:
        os.close(opened)
        raise OSError(f"the kernel does not accept a latency of {hold.value} µs") from error
    except OSError:
        os.close(opened)
        raise
    return opened


def _inside_a_socket(opened: int) -> int:
    """A socket with a message that contains the file, which stays open as long as the socket does.
    Closes the file descriptor."""
    # Datagrams: a stream is at its end, which poll() reports, when the other socket is closed.
    try:
        sender, keeper = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with sender, keeper:
            socket.send_fds(sender, [b"cpu_dma_latency"], [opened])
            return keeper.detach()
    finally:
        os.close(opened)


def _timestamps() -> int:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    with opened:
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMP, _OPT_TX_SWHW)
        return opened.detach()


def look(paths: Paths, holds: Sequence[Hold], stored: Stored | None) -> tuple[State, ...]:
    """The state of each hold, from the latency in the kernel and from what systemd reports.
    `stored` is None if systemd cannot be asked.

    The latency alone proves nothing: a smaller one may be an earlier request of ours.
    """
    names = [NAMES[hold.kind] for hold in holds]
    states = []
    for hold in holds:
        if not hold.since:
            state = State(hold, Standing.LOST, "systemd was not given its file descriptor")
        elif stored is None:
            state = State(hold, Standing.UNKNOWN, "cannot ask systemd what it holds")
        elif not _is_stored(stored, NAMES[hold.kind], len(names)):
            why = f"systemd stores {stored}, expected {', '.join(names)}"
            state = State(hold, Standing.LOST, why)
        else:
            state = _by_the_kernel(paths, hold)
        states.append(state)
    return tuple(states)


def _is_stored(stored: Stored, name: str, expected: int) -> bool:
    """Whether it is stored once, without a `<name>.next` of a killed run. systemd before version
    254 reports only the number of file descriptors."""
    if stored.names is None:
        return stored.count >= expected
    return stored.names.count(name) == 1 and name + _NEXT not in stored.names


def _by_the_kernel(paths: Paths, hold: Hold) -> State:
    """The state of a hold that systemd has, from the latency in the kernel."""
    if hold.kind != LATENCY:
        return State(hold)
    try:
        found = effective_latency(paths)
    except (OSError, struct.error) as error:
        why = f"cannot read {paths.cpu_dma_latency}: {error}"
        return State(hold, Standing.UNKNOWN, why)
    # The smallest of all requests is in effect, and another program may have a smaller one.
    if found > int(hold.value):
        why = f"the latency in effect is {found} µs, expected at most {hold.value}"
        return State(hold, Standing.LOST, why)
    return State(hold)


def effective_latency(paths: Paths) -> int:
    """The CPU latency in effect, in microseconds. Raises `OSError`, `struct.error`."""
    with paths.cpu_dma_latency.open("rb", buffering=0) as device:
        return int(_REQUEST.unpack(device.read(_REQUEST.size))[0])


def restore(paths: Paths, notifier: Notifier, in_force: InForce) -> tuple[State, ...]:
    """Makes systemd hold again what is lost, and release what is no longer requested. A run by hand
    only checks: systemd accepts file descriptors only from the unit's own processes."""
    holds = (*in_force.holds, *lost_before(in_force))
    known = look(paths, holds, stored(UNIT)) if holds else ()
    if not notifier.in_unit:
        return known
    for state in known:
        if state.standing is Standing.LOST:
            log.warning("%s; opening it again", state.words,
                        extra=messages.HOLD_LOST.extra(subject=state.hold.kind))  # fmt: skip
    # A hold whose state is unknown is not touched.
    sure = [replace(it, standing=Standing.IN_FORCE) if it.standing is Standing.UNKNOWN else it
            for it in known]  # fmt: skip
    states = store(paths, notifier, holds, sure)
    if states == tuple(sure):
        return known
    return look(paths, [state.hold for state in states], stored(UNIT))
