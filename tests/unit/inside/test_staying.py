"""A TuneD that keeps running, with stand-ins for its classes. With TuneD:
tests/lab/test_daemon.py."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.inside import program


class Instance:
    def __init__(self, plugin: str) -> None:
        self.plugin = SimpleNamespace(name=plugin)
        self._has_static_tuning = True
        self.unapplied = False

    @property
    def has_static_tuning(self) -> bool:
        return self._has_static_tuning

    def unapply_tuning(self) -> None:
        self.unapplied = True


class Manager:
    def __init__(self) -> None:
        self.instances = [Instance("sysctl"), Instance("scheduler")]
        self.set: list[str] = []
        self.stopped = False

    def start_tuning(self) -> None:
        self.set = [it.plugin.name for it in self.instances if it.has_static_tuning]

    def stop_tuning(self, _: int = 1) -> None:
        for each in self.instances:
            each.unapply_tuning()
        self.stopped = True


class Daemon:
    def __init__(self, manager: Manager) -> None:
        self._unit_manager = manager

    def _notify_profile_changed(self, *said: Any) -> Any:
        return said[-1]

    def _thread_code(self) -> None:
        raise KeyError("a plugin's")


class Controller:
    def __init__(self, *, loaded: bool) -> None:
        self._loaded = loaded

    def start(self) -> bool:
        return self._loaded


class Watched:
    def __init__(self) -> None:
        self.noted = 0
        self.reason = ""

    def note(self, _: Any) -> None:
        self.noted += 1

    def give_up(self, reason: str) -> None:
        self.reason = reason

    def __exit__(self, *_: object) -> None:
        pass


class Gone(Exception):
    pass


@pytest.fixture
def staying(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module, with these classes in place of TuneD's."""
    for name, kind in (
        ("tuned.daemon.controller", Controller), ("tuned.daemon.daemon", Daemon),
        ("tuned.units.manager", Manager),
    ):  # fmt: skip
        module = ModuleType(name)
        setattr(module, kind.__name__, kind)
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("tuned", "tuned.daemon", "tuned.units"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.delitem(sys.modules, "ocp_tuned_boot.inside.staying", raising=False)
    from ocp_tuned_boot.inside import staying

    yield staying
    for handler in logging.getLogger("tuned").handlers[:]:
        if isinstance(handler, staying.Journal):
            logging.getLogger("tuned").removeHandler(handler)
    monkeypatch.delitem(sys.modules, "ocp_tuned_boot.inside.staying", raising=False)


def test_it_says_once_what_holds_when_the_profile_is_applied(
    staying: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[int] = []
    watched = Watched()
    with staying.Staying(watched, lambda: said.append(watched.noted), Gone, "stays", False):
        daemon = Daemon(Manager())
        assert daemon._notify_profile_changed("site", False, "broken") == "broken"
        assert said == []
        daemon._notify_profile_changed("site", True, "OK")
        daemon._notify_profile_changed("site", True, "OK")
    # Compared before it was said.
    assert said == [1]
    assert capsys.readouterr().err.endswith(",000 INFO     stays\n")


def test_nothing_is_restored_when_it_stops(staying: Any, caplog: pytest.LogCaptureFixture) -> None:
    manager = Manager()
    caplog.set_level(logging.INFO)
    with staying.Staying(Watched(), lambda: None, Gone, "stays", False):
        manager.stop_tuning(2)
    # As TuneD's own messages, so it is in the journal of the unit, too.
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == (program.NAME, staying.NOTHING_RESTORED)
    assert manager.stopped
    assert [each.unapplied for each in manager.instances] == [False, False]


@pytest.mark.parametrize("resumes", [False, True])
def test_what_is_applied_already_is_not_set_again(staying: Any, *, resumes: bool) -> None:
    manager, watched = Manager(), Watched()
    with staying.Staying(watched, lambda: None, Gone, "stays", resumes):
        manager.start_tuning()
    assert manager.set == (["scheduler"] if resumes else ["sysctl", "scheduler"])
    assert bool(watched.reason) == resumes
    # What is added later is set.
    assert all(each.has_static_tuning for each in manager.instances)


def test_without_a_profile_it_exits(staying: Any) -> None:
    with staying.Staying(Watched(), lambda: None, Gone, "stays", False):
        assert Controller(loaded=True).start()
        with pytest.raises(SystemExit):
            Controller(loaded=False).start()


def test_a_thread_that_fails_ends_the_process(
    staying: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exits: list[int] = []
    monkeypatch.setattr(staying.os, "_exit", exits.append)
    with staying.Staying(Watched(), lambda: None, Gone, "stays", False):
        Daemon(Manager())._thread_code()
    assert exits == [1]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("tuned.daemon.daemon", logging.CRITICAL)
    assert record.getMessage() == 'TuneD ends, because of an error: KeyError: "a plugin\'s"'
    assert "Traceback (most recent call last)" in caplog.text


def test_if_the_host_has_gone_it_ends(staying: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    monkeypatch.setattr(staying.os, "kill", lambda _, number: sent.append(number))

    def say() -> None:
        raise Gone

    with staying.Staying(Watched(), say, Gone, "stays", False):
        Daemon(Manager())._notify_profile_changed("site", True, "OK")
    assert sent == [staying.signal.SIGTERM]


def test_what_tuned_logs_from_then_on_is_in_the_journal_of_the_unit(
    staying: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = tmp_path / "journal"
    monkeypatch.setattr(staying, "_JOURNAL", str(where))
    handler = staying.Journal()
    record = logging.LogRecord("tuned.x", logging.WARNING, "", 0, "two\nlines %d", (7,), None)
    handler.emit(record)  # nobody listens
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(where))
        handler.emit(record)
        sent = journald.recv(4096)
    handler._socket.close()
    fields = {}
    while sent:
        name, _, rest = sent.partition(b"\n")
        size = int.from_bytes(rest[:8], "little")
        fields[name.decode()], sent = rest[8 : 8 + size].decode(), rest[8 + size + 1 :]
    assert fields == {
        "MESSAGE": "tuned.x: two\nlines 7",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "tuned",
        "TUNED_LOGGER": "tuned.x",
        "OBJECT_SYSTEMD_UNIT": systemd.DAEMON,
    }
