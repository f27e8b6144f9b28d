"""Killed when the unit is ready and the values are not compared yet: the next run compares them
first, whatever else it is to do. The same with the real parts: tests/lab/test_limits.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record import store
from ocp_tuned_boot.record.model import Record
from ocp_tuned_boot.tuned import said
from ocp_tuned_boot.tuned.judge import Result
from tests.unit import fake_manager
from tests.unit.fake_engine import Engine, serving
from tests.unit.hostile import GOOD, file, host
from tests.unit.patience import PATIENCE

KNOB = "proc/sys/vm/x"
#: The program, which is killed as soon as it reads the first value.
KILLED = """
import os, signal
from ocp_tuned_boot import cli
from ocp_tuned_boot.settings import values
values.read_back = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
cli.main()
"""


class Boot:
    """A boot in which TuneD has applied vm.x=1, and the run was killed then."""

    def __init__(self, paths: Paths, engine: Engine, conf: str) -> None:
        self.paths = paths
        self.engine = engine
        self._conf = conf

    def run(
        self, *arguments: str, program: tuple[str, ...] = ("-m", "ocp_tuned_boot")
    ) -> tuple[int, str]:
        """The exit status, and what was printed."""
        with fake_manager.listening() as (address, manager):
            done = subprocess.run(
                [sys.executable, *program, "--root", str(self.paths.root), *arguments,
                 "--config", self._conf],
                env={**os.environ, "NOTIFY_SOCKET": address}, check=False, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE,
            )  # fmt: skip
        self.sent = [line for lines in manager.messages for line in lines]
        return done.returncode, done.stdout

    def record(self) -> Record:
        found = store.read(self.paths)
        assert found is not None
        return found

    def profile(self, text: str) -> None:
        (self.paths.profiles / "site/tuned.conf").write_text(text)

    @property
    def knob(self) -> str:
        return (self.paths.root / KNOB).read_text().strip()

    @knob.setter
    def knob(self, value: str) -> None:
        (self.paths.root / KNOB).write_text(f"{value}\n")


@contextmanager
def killed() -> Iterator[Boot]:
    tree = {**GOOD, KNOB: file(b"0\n"), "proc/cmdline": file(b"quiet\n")}
    with host(tree) as (paths, _):
        engine = Engine(paths)

        def tuned(request: str) -> None:
            # After the word, and before the values are compared.
            if "/wait" in request and "vm.x" in (paths.etc_tuned / "site/tuned.conf").read_text():
                boot.knob = "1"

        engine.instead = tuned
        with serving(engine) as conf:
            boot = Boot(paths, engine, str(conf))
            status, _ = boot.run("apply", program=("-c", KILLED))
            assert status == -signal.SIGKILL
            assert "READY=1" in boot.sent
            yield boot


def test_it_is_on_record_that_nothing_was_compared() -> None:
    with killed() as boot:
        done = boot.record()
        assert (done.result, done.values) == (Result.APPLIED, None)
        assert done.in_force is not None
        assert not done.in_force.compared
        status, said = boot.run("drift")
        assert status == 1
        assert "the values of the profile 'site' have not been compared with the host yet" in said
        assert "To compare them: systemctl restart ocp-tuned" in said
        assert "not compared with the host yet" in boot.run("status")[1]


@pytest.mark.parametrize("command", [("apply",), ("reload",)])
def test_the_next_run_finds_a_knob_that_differs(command: tuple[str, ...]) -> None:
    with killed() as boot:
        boot.knob = "7"
        started = len(boot.engine.requests)
        assert boot.run(*command)[0] == 0
        done = boot.record()
        assert done.action == "keep"
        assert (done.result, [each.kind for each in done.findings]) == (
            Result.DEGRADED, ["value-differs"],
        )  # fmt: skip
        assert done.values is not None
        assert [(each.key, each.found) for each in done.values] == [("vm.x", "7")]
        assert done.in_force is not None
        assert done.in_force.compared
        assert done.in_force.findings == done.findings
        assert not any("/start" in each for each in boot.engine.requests[started:])
        # It is not set: whoever has set it may own it.
        assert boot.knob == "7"
        # Once.
        assert "was killed" not in boot.run("apply")[1]
        assert boot.record().findings == done.findings


def test_the_next_run_finds_that_all_is_well_and_drift_is_known_from_then_on() -> None:
    with killed() as boot:
        assert boot.run("apply")[0] == 0
        done = boot.record()
        assert (done.result, done.findings) == (Result.APPLIED, ())
        status, said = boot.run("drift")
        assert (status, said.splitlines()[0]) == (
            0, "0 of 1 settings differ from the applied values",
        )  # fmt: skip
        boot.knob = "7"
        assert boot.run("drift")[0] == 80


def test_what_was_applied_is_compared_and_not_what_is_requested_by_now() -> None:
    with killed() as boot:
        boot.knob = "7"
        boot.profile("[sysctl]\nvm.x=7\n")
        assert boot.run("apply")[0] == 0
        done = boot.record()
        assert done.action == "defer"
        assert "vm.x: expected '1', found '7'" in [each.message for each in done.findings]


def test_before_a_change_is_applied_the_profile_before_it_is_compared() -> None:
    """Else what only that profile has set would stay for the rest of the boot."""
    with killed() as boot:
        boot.profile("[main]\nsummary=sets nothing\n")
        assert boot.knob == "1"
        assert boot.run("reload")[0] == 0
        assert [(each.key, each.how) for each in boot.record().residue] == [("vm.x", "put-back")]
        assert boot.knob == "0"


@pytest.mark.parametrize("broken", ["gone", "too large", "link", "of another image", "no meaning"])
def test_what_is_not_known_any_more_restores_nothing(broken: str) -> None:
    with killed() as boot:
        what = boot.paths.said
        content = json.loads(what.read_text())
        what.unlink()
        if broken == "link":
            what.symlink_to("/etc/passwd")
        elif broken == "too large":
            what.write_bytes(b" " * said.FORMAT.limit + b"{}")
        elif broken == "of another image":
            what.write_text(json.dumps({**content, "image_id": "another"}))
        elif broken == "no meaning":
            what.write_text(json.dumps({**content, "meaning": "{}"}))
        status, words = boot.run("apply")
        assert status == 0
        assert "the values of 'site' are not compared" in words
        assert boot.run("drift")[0] == 1
        assert boot.knob == "1"
        in_force = boot.record().in_force
        assert in_force is not None
        assert not in_force.compared
