"""Settings that last only as long as a file is open: systemd keeps it open, so nothing has to run.

TuneD sets `force_latency` by a request in /dev/cpu_dma_latency, which the kernel drops when the
file is closed (pm_qos_interface in the kernel's documentation), and `[rtentsk]` by a socket with
timestamps. A one-shot TuneD closes both when it ends. They are opened again here and given to the
descriptor store of the unit (sd_notify(3), FDSTORE=1): the descriptors are those of PID 1 then.
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

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import UNIT, Notifier, Stored, stored
from ocp_tuned_boot.record.model import Hold, InForce, Standing, State, now

if TYPE_CHECKING:
    from ocp_tuned_boot.tuned.log import LogRecord
    from ocp_tuned_boot.tuned.profiles import Setting

log = logging.getLogger(__name__)

LATENCY, TIMESTAMPS = "force_latency", "rtentsk"
#: The name of each in the store. While it is replaced, its successor is there as `<name>.next`.
NAMES = {LATENCY: "cpu-dma-latency", TIMESTAMPS: "rtentsk"}
_NEXT = ".next"

#: How long systemd may take to take notice (seconds).
PATIENCE = 5.0

# tuned/plugins/plugin_rtentsk.py: SO_TIMESTAMP (include/uapi/asm-generic/socket.h), switched on
# with the number of SOF_TIMESTAMPING_OPT_TX_SWHW (include/uapi/linux/net_tstamp.h).
_SO_TIMESTAMP = 29
_OPT_TX_SWHW = 1 << 14

#: PM_QOS_DEFAULT_VALUE (include/linux/pm_qos.h): a request for nothing.
_NO_CONSTRAINT = -1

#: A request, and what is in force, as the device has them: microseconds.
_REQUEST = struct.Struct("=i")


def wanted(
    paths: Paths, asked: Iterable[Setting], said: Iterable[LogRecord] = ()
) -> tuple[Hold, ...]:
    """What has to be held for these settings (`profiles.open_files`).

    What TuneD itself `said` that it had set wins: it has computed what this program does not
    evaluate, and it knows the machine.
    """
    told = _told((each.logger, each.message) for each in said)
    holds = []
    settings = {setting.key: setting for setting in asked}
    setting = settings.get(LATENCY)
    value = told.get(LATENCY)
    if LATENCY not in told and setting is not None and not setting.unknown:
        value = latency(setting.value, cstates(paths))
    if value not in (None, _NO_CONSTRAINT):
        holds.append(Hold(LATENCY, setting.value if setting else "", str(value)))
    if TIMESTAMPS in told or (TIMESTAMPS in settings and not settings[TIMESTAMPS].unknown):
        holds.append(Hold(TIMESTAMPS))
    return tuple(holds)


def lost_before(in_force: InForce) -> tuple[Hold, ...]:
    """What an earlier release has put on record as lost, and had nothing to hold it with."""
    known = {hold.kind for hold in in_force.holds}
    plugins = {LATENCY: ".plugin_cpu", TIMESTAMPS: ".plugin_rtentsk"}
    told = _told(
        (plugins[each.subject], each.message)
        for each in in_force.findings
        if each.kind == "lost-after-exit" and each.subject in plugins
    )
    values = {kind: value for kind, value in told.items() if value is not None}
    return tuple(
        Hold(kind, "", str(value) if kind == LATENCY else "")
        for kind, value in values.items()
        if kind not in known
    )


def _told(said: Iterable[tuple[str, str]]) -> dict[str, int | None]:
    """What TuneD's log has of it, loggers and messages (tuned/plugins/plugin_cpu.py,
    plugin_rtentsk.py); None for what TuneD could not make out."""
    told: dict[str, int | None] = {}
    for logger, message in said:
        if logger.endswith(".plugin_cpu"):
            if match := re.match(r"setting new cpu latency (-?[0-9]{1,10})\b", message):
                told[LATENCY] = int(match[1])
            elif message.startswith("unable to evaluate latency value"):
                told[LATENCY] = None
        elif logger.endswith(".plugin_rtentsk") and "opened SOF_TIMESTAMPING" in message:
            told[TIMESTAMPS] = 1
    return told


@dataclass(frozen=True)
class CState:
    """One idle state of the first CPU; `latency` is the time to leave it, in microseconds."""

    id: int
    name: str
    latency: int


def cstates(paths: Paths) -> tuple[CState, ...]:
    """Those that this machine has; none where the kernel does not manage them."""
    found = []
    for folder in sorted(paths.cpuidle.glob("state[0-9]*")):
        try:
            name = (folder / "name").read_text().strip()
            found.append(CState(int(folder.name[5:]), name, int((folder / "latency").read_text())))
        except (OSError, ValueError) as error:
            log.debug("%s: %s", folder, error)
    return tuple(found)


def latency(text: str, known: Sequence[CState]) -> int | None:
    """The microseconds that a `force_latency` means, or None for none: the first alternative that
    names something this machine has (tuned/plugins/plugin_cpu.py, _parse_latency)."""
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


def take(
    paths: Paths, notifier: Notifier, asked: Sequence[Hold], known: Sequence[State] = ()
) -> tuple[State, ...]:
    """Has systemd hold what is `asked`, and nothing else. `known`: what it held until now, as it
    was found; what is in force among it and asked again stays untouched.

    There is no moment without a request: a successor is given to systemd before the one it
    follows is taken from it. Each state says what can be told without asking systemd.
    """
    kept = {state.hold.kind: state.hold for state in known if state.in_force}
    states: dict[str, State] = {}
    new = []
    for kind in NAMES:
        hold = next((each for each in asked if each.kind == kind), None)
        old = kept.get(kind)
        if hold is not None and old is not None and hold.value in ("", old.value):
            states[kind] = State(replace(old, asked=hold.asked))
        elif hold is not None:
            states[kind] = _replaced(paths, notifier, hold, old)
            new.append(kind)
        elif old is not None and not notifier.in_unit:
            states[kind] = State(old, Standing.UNASKED, "no profile asks for it, and " + _BY_HAND)
        else:
            _release(notifier, kind, old)
    taken = not new or notifier.barrier(PATIENCE)
    for kind in new:
        states[kind] = _seen(paths, states[kind], taken)
    return tuple(states.values())


def _seen(paths: Paths, state: State, taken: bool) -> State:
    """What can be told of one that was just given to systemd."""
    if not state.in_force:
        return state
    if not taken:
        why = f"systemd has not said in {PATIENCE:g} s that it has taken it"
        return replace(state, standing=Standing.LOST, why=why)
    return _by_the_kernel(paths, state.hold)


_BY_HAND = "this run was started by hand, not by the unit"


def _release(notifier: Notifier, kind: str, old: Hold | None = None) -> None:
    for name in (NAMES[kind], NAMES[kind] + _NEXT):
        notifier.discard(name)
    if old is not None:
        log.info("systemd releases %s", old.words)


def _replaced(paths: Paths, notifier: Notifier, hold: Hold, old: Hold | None) -> State:
    """Opened twice: systemd keeps one open file under one name only, and names cannot be changed.

    Whatever ends this in between, the next time sets it right without having to know.
    """
    name = NAMES[hold.kind]
    if not notifier.in_unit:
        return State(hold, Standing.LOST, _BY_HAND)
    try:
        _give(paths, notifier, hold, name + _NEXT)
        notifier.discard(name)
        hold = _give(paths, notifier, hold, name)
        notifier.discard(name + _NEXT)
    except OSError as error:
        _release(notifier, hold.kind, old)
        return State(hold, Standing.LOST, f"it cannot be opened: {error}")
    before = f", in the place of {old.words}" if old is not None else ""
    log.info("systemd holds %s%s", hold.words, before)
    return State(replace(hold, since=now()))


def _give(paths: Paths, notifier: Notifier, hold: Hold, name: str) -> Hold:
    """Raises `OSError`."""
    opened = _request(paths, hold) if hold.kind == LATENCY else _timestamps()
    try:
        notifier.store(name, opened)
        # What is to be found in /proc/1/fd.
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
        raise OSError(f"{hold.value} is not a number of microseconds the kernel takes") from error
    except OSError:
        os.close(opened)
        raise
    return opened


def _timestamps() -> int:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    with opened:
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMP, _OPT_TX_SWHW)
        return opened.detach()


def look(paths: Paths, holds: Sequence[Hold], stored: Stored | None) -> tuple[State, ...]:
    """Each hold as it is now, by what the kernel has in force and what systemd says it holds.

    Not by these alone: a request that is smaller than what is asked may be an earlier one of ours.
    """
    names = [NAMES[hold.kind] for hold in holds]
    states = []
    for hold in holds:
        if not hold.since:
            state = State(hold, Standing.LOST, "systemd has not been given it")
        elif stored is None:
            state = State(hold, Standing.UNKNOWN, "systemd cannot be asked what it holds")
        elif not _is_stored(stored, NAMES[hold.kind], len(names)):
            why = f"systemd holds {stored}, expected {', '.join(names)}"
            state = State(hold, Standing.LOST, why)
        else:
            state = _by_the_kernel(paths, hold)
        states.append(state)
    return tuple(states)


def _is_stored(stored: Stored, name: str, expected: int) -> bool:
    """Whether it is there, and no successor that a killed run has left. Before version 254 systemd
    tells only how many there are."""
    if stored.names is None:
        return stored.count >= expected
    return stored.names.count(name) == 1 and name + _NEXT not in stored.names


def _by_the_kernel(paths: Paths, hold: Hold) -> State:
    """Whether the kernel does as the hold asks, where that can be seen."""
    if hold.kind != LATENCY:
        return State(hold)
    try:
        found = effective_latency(paths)
    except (OSError, struct.error) as error:
        why = f"{paths.cpu_dma_latency} cannot be read: {error}"
        return State(hold, Standing.UNKNOWN, why)
    # Of all requests the least is in force: somebody else may well have a smaller one.
    if found > int(hold.value):
        why = f"the latency in force is {found} µs, expected at most {hold.value}"
        return State(hold, Standing.LOST, why)
    return State(hold)


def effective_latency(paths: Paths) -> int:
    """The CPU latency in force, in microseconds. Raises `OSError`, `struct.error`."""
    with paths.cpu_dma_latency.open("rb", buffering=0) as device:
        return int(_REQUEST.unpack(device.read(_REQUEST.size))[0])


def restore(paths: Paths, notifier: Notifier, in_force: InForce) -> tuple[State, ...]:
    """Has what is lost held again; what is not asked any more is let go. By hand it is only looked
    at: systemd takes open files from nobody but the unit's own processes."""
    holds = (*in_force.holds, *lost_before(in_force))
    known = look(paths, holds, stored(UNIT)) if holds else ()
    if not notifier.in_unit:
        return known
    for state in known:
        if state.standing is Standing.LOST:
            log.warning("%s; it is opened again", state.words)
    # What cannot be told is left alone.
    sure = [replace(it, standing=Standing.IN_FORCE) if it.standing is Standing.UNKNOWN else it
            for it in known]  # fmt: skip
    states = take(paths, notifier, holds, sure)
    if states == tuple(sure):
        return known
    return look(paths, [state.hold for state in states], stored(UNIT))
