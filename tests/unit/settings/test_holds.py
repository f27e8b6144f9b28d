"""File descriptors that stay open: what a profile requests, and how systemd gets them."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier, Stored
from ocp_tuned_boot.record.model import Hold, InForce, Standing, State
from ocp_tuned_boot.settings import holds
from ocp_tuned_boot.settings.holds import CState
from ocp_tuned_boot.tuned import log as tunedlog
from ocp_tuned_boot.tuned.findings import make
from ocp_tuned_boot.tuned.judge import Result
from ocp_tuned_boot.tuned.wanted import Setting
from tests.unit import fake_manager
from tests.unit.fake_manager import Manager

KNOWN = (CState(0, "POLL", 0), CState(1, "C1", 2), CState(2, "C1E", 10), CState(3, "C6", 133))
SOCKET = Setting("rtentsk", "rtentsk", "")
LATENCY_LINE = (
    "2026-11-23 22:28:17,872 INFO     tuned.plugins.plugin_cpu: setting new cpu latency 7"
)
UNABLE = "unable to evaluate latency value (probably wrong settings in the 'cpu' section)"
SOCKET_LINE = (
    "2026-11-23 22:28:20,408 INFO     tuned.plugins.plugin_rtentsk: "
    "opened SOF_TIMESTAMPING_OPT_TX_SWHW socket"
)


def asks(value: str, unknown: str = "") -> Setting:
    return Setting("cpu", "force_latency", value, unknown)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A host whose effective latency is what its device has, a plain file here."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/cpu_dma_latency").write_bytes(struct.pack("=i", 2_000_000_000))
    for state in KNOWN:
        folder = tmp_path / f"sys/devices/system/cpu/cpu0/cpuidle/state{state.id}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(state.name + "\n")
        (folder / "latency").write_text(f"{state.latency}\n")
    return Paths(tmp_path)


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    with fake_manager.listening() as (address, listening):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield listening


# The lab has the same table for the real TuneD: tests/lab/test_holds.py.
FORMS = {
    "7": 7,
    " 7 ": 7,
    "0": 0,
    "cstate.id:1": 2,
    "cstate.id: 1": 2,
    "cstate.id:3": 133,
    "cstate.id:9": None,
    "cstate.id:x": None,
    "cstate.id:0": 0,
    "cstate.id_no_zero:0": None,
    "cstate.id_no_zero:1": 2,
    "cstate.name:C1E": 10,
    "cstate.name:c1e": None,
    "cstate.name:POLL": 0,
    "cstate.name_no_zero:POLL": None,
    "cstate.name_no_zero:C6": 133,
    "cstate.id_no_zero:0|cstate.id:1|9": 2,
    "cstate.name:XYZ|cstate.id:9|10": 10,
    "cstate.name:XYZ|None|10": None,
    "none": None,
    "None": None,
    "NONE": None,
    "cstate.name:XYZ| 10": 10,
    " cstate.id:1|11": 11,
    "1.5": None,
    "": None,
}


@pytest.mark.parametrize("text", FORMS)
def test_every_form_of_force_latency(paths: Paths, text: str) -> None:
    assert holds.cstates(paths) == KNOWN
    assert holds.latency(text, KNOWN) == FORMS[text]


@given(st.text(alphabet="cstate.idnm_zrou:|0129 CNXoe-", max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    found = holds.latency(text, KNOWN)
    assert found is None or isinstance(found, int)


def test_a_machine_without_idle_states_has_none(tmp_path: Path) -> None:
    assert holds.cstates(Paths(tmp_path)) == ()
    broken = tmp_path / "sys/devices/system/cpu/cpu0/cpuidle/state0"
    broken.mkdir(parents=True)
    (broken / "name").write_text("POLL")
    (broken / "latency").write_text("soon")
    assert holds.cstates(Paths(tmp_path)) == ()


@pytest.mark.parametrize(
    ("asked", "said", "expected"),
    [
        ([], "", []),
        ([asks("cstate.id:1")], "", [Hold("force_latency", "cstate.id:1", "2")]),
        # TuneD's own number wins; and what it did not set is not lost.
        ([asks("cstate.id:1")], LATENCY_LINE, [Hold("force_latency", "cstate.id:1", "7")]),
        ([asks("${f:x}", "TuneD computes it")], LATENCY_LINE,
         [Hold("force_latency", "${f:x}", "7")]),
        ([asks("7", "[cpu] has uname_regex")], "", []),
        ([asks("None")], "", []),
        # What TuneD could not make out it has not set; -1 is a request for nothing.
        ([asks("9")], LATENCY_LINE.replace("setting new cpu latency 7", UNABLE), []),
        ([asks("-1")], "", []),
        ([asks("-1")], LATENCY_LINE.replace("latency 7", "latency -1"), []),
        ([], LATENCY_LINE, [Hold("force_latency", "", "7")]),
        ([SOCKET], "", [Hold("rtentsk")]),
        ([Setting("rtentsk", "rtentsk", "", "[rtentsk] has uname_regex")], "", []),
        ([], SOCKET_LINE, [Hold("rtentsk")]),
        ([SOCKET, asks("7")], f"{LATENCY_LINE}\n{SOCKET_LINE}",
         [Hold("force_latency", "7", "7"), Hold("rtentsk")]),
    ],
)  # fmt: skip
def test_what_is_to_be_held(
    paths: Paths, asked: list[Setting], said: str, expected: list[Hold]
) -> None:
    log = tunedlog.parse(said.splitlines())
    assert list(holds.wanted(paths, asked, log)) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        # Dynamic tuning has set it, and will set another one.
        ([], []),
        ([asks("7", "[cpu] has devices")], []),
        ([asks("cstate.id:1")], [Hold("force_latency", "cstate.id:1", "7")]),
    ],
)
def test_a_latency_that_a_running_tuned_changes_is_left_to_it(
    paths: Paths, asked: list[Setting], expected: list[Hold]
) -> None:
    log = tunedlog.parse([LATENCY_LINE])
    assert list(holds.wanted(paths, asked, log, stays=True)) == expected
    sockets = tunedlog.parse([SOCKET_LINE])
    assert list(holds.wanted(paths, [], sockets, stays=True)) == [Hold("rtentsk")]


def taken(paths: Paths, asked: list[Hold], known: tuple[State, ...] = ()) -> tuple[State, ...]:
    return holds.store(paths, Notifier(in_unit=True), asked, known)


def test_what_is_taken_is_stored_under_its_name_and_has_the_request(
    paths: Paths, manager: Manager
) -> None:
    latency, sockets = taken(paths, [Hold("force_latency", "7", "7"), Hold("rtentsk")])
    assert (latency.in_force, sockets.in_force) == (True, True)
    assert manager.names == ["cpu-dma-latency", "rtentsk"]
    assert holds.effective_latency(paths) == 7
    assert latency.hold.since
    assert sockets.hold.value.startswith("socket:[")
    # systemd has the device as a message of a socket: SELinux does not let it have the device.
    (opened,) = [each for name, each in manager.stored if name == "cpu-dma-latency"]
    with socket.socket(fileno=os.dup(opened)) as keeper:
        _, (device,), _, _ = socket.recv_fds(keeper, 64, 1)
    assert os.path.samestat(os.fstat(device), paths.cpu_dma_latency.stat())
    os.close(device)
    # All of them: what systemd polls it may drop.
    stores = [lines for lines in manager.messages if lines[0] == "FDSTORE=1"]
    assert all("FDPOLL=0" in lines for lines in stores)


def test_there_is_no_moment_without_a_request_while_it_is_replaced(
    paths: Paths, manager: Manager
) -> None:
    first = taken(paths, [Hold("force_latency", "7", "7"), Hold("rtentsk")])
    at = len(manager.history)
    latency, sockets = taken(paths, [Hold("force_latency", "20", "20"), Hold("rtentsk")], first)
    assert (latency.hold.value, latency.in_force) == ("20", True)
    assert manager.names == ["cpu-dma-latency", "rtentsk"]
    steps = manager.history[at:]
    assert all({"cpu-dma-latency", "cpu-dma-latency.next"} & set(names) for names in steps)
    # What stays the same stays untouched.
    assert sockets == first[1]
    assert all("rtentsk" in names and "rtentsk.next" not in names for names in steps)


def test_what_is_asked_again_is_not_touched(paths: Paths, manager: Manager) -> None:
    asked = [Hold("force_latency", "7", "7"), Hold("rtentsk")]
    first = taken(paths, asked)
    at = len(manager.messages)
    assert taken(paths, asked, first) == first
    assert manager.messages[at:] == []


def test_what_no_profile_requests_is_released(paths: Paths, manager: Manager) -> None:
    first = taken(paths, [Hold("force_latency", "7", "7"), Hold("rtentsk")])
    assert taken(paths, [Hold("rtentsk")], first) == first[1:]
    assert Notifier(in_unit=True).barrier(5)
    assert manager.names == ["rtentsk"]
    assert taken(paths, []) == ()
    assert Notifier(in_unit=True).barrier(5)
    assert manager.names == []


@pytest.mark.parametrize("left", ["cpu-dma-latency.next", "cpu-dma-latency"])
def test_what_a_killed_run_has_left_is_set_right_without_being_known(
    paths: Paths, manager: Manager, left: str
) -> None:
    with (paths.root / "file").open("w") as file:
        Notifier(in_unit=True).store(left, file.fileno())
    (state,) = taken(paths, [Hold("force_latency", "7", "7")])
    assert state.in_force
    assert manager.names == ["cpu-dma-latency"]


def test_a_store_that_takes_nothing_is_found_out(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_manager.listening(maximum=0) as (address, _):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        taken(paths, [Hold("rtentsk")])
    (state,) = holds.look(paths, [Hold("rtentsk", "", "socket:[1]", "12:00")], Stored(0, ()))
    assert state.why == "systemd stores 0 file descriptors, expected rtentsk"


def test_a_run_without_systemd_is_reported(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    states = taken(paths, [Hold("force_latency", "7", "7"), Hold("rtentsk")])
    why = "this run was started by hand, not by the unit"
    assert [(state.why, state.hold.since) for state in states] == [(why, "")] * 2
    # Nothing was opened: no process would hold it.
    assert holds.effective_latency(paths) == 2_000_000_000


def test_a_systemd_that_does_not_answer_is_reported(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_manager.listening() as (address, _):
        pass
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    (state,) = taken(paths, [Hold("rtentsk")])
    assert "systemd did not confirm" in state.why


def test_what_cannot_be_opened_is_reported_and_the_old_one_is_released(
    paths: Paths, manager: Manager
) -> None:
    first = taken(paths, [Hold("force_latency", "7", "7")])
    paths.cpu_dma_latency.unlink()
    (state,) = taken(paths, [Hold("force_latency", "20", "20")], first)
    assert state.why.startswith("cannot open the file descriptor: ")
    assert "cpu_dma_latency" in state.why
    assert Notifier(in_unit=True).barrier(5)
    assert manager.names == []


def test_a_latency_that_the_kernel_does_not_accept_is_reported(
    paths: Paths, manager: Manager
) -> None:
    (state,) = taken(paths, [Hold("force_latency", "9" * 12, "9" * 12)])
    assert "the kernel does not accept a latency of 999999999999 µs" in state.why
    assert manager.names == []


LATENCY = Hold("force_latency", "7", "7", "12:00")
TIMESTAMPS = Hold("rtentsk", "", "socket:[17]", "12:00")


@pytest.mark.parametrize(
    ("effective", "stored", "expected"),
    [
        (7, Stored(2, ("cpu-dma-latency", "rtentsk")), ("", "")),
        # Another program's request is smaller: ours is in effect, too.
        (3, Stored(2, ("cpu-dma-latency", "rtentsk")), ("", "")),
        (7, Stored(2), ("", "")),
        # Something superfluous makes nothing else lost.
        (7, Stored(3), ("", "")),
        (8, Stored(2), ("the latency in effect is 8 µs, expected at most 7", "")),
        (3, Stored(1),
         ("systemd stores 1 file descriptor, expected cpu-dma-latency, rtentsk",) * 2),
        (3, Stored(1, ("rtentsk",)),
         ("systemd stores 1 file descriptor (rtentsk), expected cpu-dma-latency, rtentsk", "")),
        (7, Stored(3, ("cpu-dma-latency", "rtentsk", "rtentsk.next")),
         ("", ("systemd stores 3 file descriptors (cpu-dma-latency, rtentsk, rtentsk.next), "
               "expected cpu-dma-latency, rtentsk"))),
        (7, None, ("?cannot ask systemd what it holds",) * 2),
    ],
)  # fmt: skip
def test_a_hold_is_in_force_if_the_kernel_and_systemd_say_so(
    paths: Paths, effective: int, stored: Stored | None, expected: tuple[str, str]
) -> None:
    paths.cpu_dma_latency.write_bytes(struct.pack("=i", effective))
    found = holds.look(paths, [LATENCY, TIMESTAMPS], stored)
    unknown = ["?" * (state.standing is Standing.UNKNOWN) for state in found]
    assert tuple(sign + state.why for sign, state in zip(unknown, found)) == expected
    assert [state.in_force for state in found] == [not why for why in expected]


@pytest.mark.parametrize("content", [None, b"", b"7"])
def test_a_device_that_cannot_be_read_says_nothing_good(
    paths: Paths, content: bytes | None
) -> None:
    paths.cpu_dma_latency.unlink()
    if content is not None:
        paths.cpu_dma_latency.write_bytes(content)
    (found,) = holds.look(paths, [LATENCY], Stored(1))
    assert f"cannot read {paths.cpu_dma_latency}: " in found.why
    # A user who may not read the device does not see it as lost.
    assert found.standing is Standing.UNKNOWN


def test_holds_as_text() -> None:
    assert LATENCY.words == "force_latency = 7 µs"
    assert Hold("force_latency", "cstate.id:1", "2").words == ("force_latency = 2 µs (cstate.id:1)")
    assert TIMESTAMPS.words == "rtentsk (socket:[17])"
    assert Hold("rtentsk").words == "rtentsk"


def test_what_systemd_was_never_given_is_not_in_force_whatever_it_holds(paths: Paths) -> None:
    paths.cpu_dma_latency.write_bytes(struct.pack("=i", 7))
    (state,) = holds.look(paths, [replace(LATENCY, since="")], Stored(1, ("cpu-dma-latency",)))
    assert state.why == "systemd was not given its file descriptor"


def test_a_run_by_hand_releases_nothing_and_reports_what_no_profile_requests(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    known = (State(LATENCY), State(TIMESTAMPS))
    assert taken(paths, [LATENCY, Hold("rtentsk")], known) == known
    (still, kept) = taken(paths, [Hold("rtentsk")], known)
    assert (still.hold, still.standing, kept) == (LATENCY, Standing.UNASKED, known[1])
    assert still.words.startswith("force_latency = 7 µs is STILL in effect: no profile requests it")


@pytest.mark.parametrize(
    "latency", ["setting new cpu latency 7", 'TuneD logged: "setting new cpu latency 7"']
)
def test_what_an_earlier_release_could_not_hold_is_known_from_its_findings(latency: str) -> None:
    found = (
        make("lost-after-exit", "force_latency", latency),
        make("lost-after-exit", "rtentsk", "opened SOF_TIMESTAMPING_OPT_TX_SWHW socket"),
        make("setting-refused", "vm.x", "no"),
    )
    in_force = InForce("boot", Result.DEGRADED, "site", "i", "id", "f", "12:00", found)
    assert holds.lost_before(in_force) == (Hold("force_latency", "", "7"), Hold("rtentsk"))
    assert holds.lost_before(replace(in_force, holds=(LATENCY, TIMESTAMPS))) == ()


def test_a_socket_that_cannot_be_opened_leaves_no_request(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("too many open files")

    opened = os.open(paths.cpu_dma_latency, os.O_RDWR)
    monkeypatch.setattr(socket, "socketpair", refuse)
    with pytest.raises(OSError, match="too many"):
        holds._inside_a_socket(opened)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened)
