"""The command line, as whoever uses it sees it: what is printed, what is recorded, the status."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from ocp_tuned_boot import boot, cli
from ocp_tuned_boot.commands import table
from ocp_tuned_boot.commands.command import Options
from ocp_tuned_boot.errors import BootError, HostError, UsageError
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.clock import Step
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.lock import PATIENCE
from ocp_tuned_boot.record import entries, history
from ocp_tuned_boot.record import store as record
from ocp_tuned_boot.record.model import InForce, Moments, Record
from ocp_tuned_boot.requested import inputs, lastgood
from ocp_tuned_boot.settings import residue as settings
from ocp_tuned_boot.settings.residue import Saved, Settings
from ocp_tuned_boot.tuned.findings import Finding
from ocp_tuned_boot.tuned.judge import Result
from tests.unit import fake_manager
from tests.unit.fake_podman import socket_path

BOOT_ID = "11111111-2222-4333-8444-555555555555"


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Our program under this root, with nothing of this machine's systemd in its environment."""
    command = [sys.executable, "-m", "ocp_tuned_boot", "--root", str(root), *arguments]
    foreign = ("NOTIFY_SOCKET", "JOURNAL_STREAM", "INVOCATION_ID")
    env = {name: value for name, value in os.environ.items() if name not in foreign}
    return subprocess.run(command, env=env, check=False, capture_output=True, text=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host on which everything is asked for as it should be, and where Podman is not."""
    for name, text in {
        "proc/sys/kernel/random/boot_id": f"{BOOT_ID}\n",
        "var/lib/ocp-tuned/image.env": "NTO_IMAGE=localhost/tuned:x\n",
        "var/lib/ocp-tuned/recommend.d/50-openshift.conf": "[site]\n",
        "var/lib/ocp-tuned/profiles/site/tuned.conf": "[main]\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


IMAGE = "var/lib/ocp-tuned/image.env"
RECOMMEND = "var/lib/ocp-tuned/recommend.d/50-openshift.conf"
CONF = "etc/ocp-tuned-boot/boot.conf"
PROFILE = "var/lib/ocp-tuned/profiles/site/tuned.conf"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGE, None, "there is no such file, and boot.conf has no [tuning] image"),
        (IMAGE, b"", "the file is empty, expected NTO_IMAGE="),
        (IMAGE, b"OTHER=x\n", "found OTHER, expected NTO_IMAGE="),
        (IMAGE, b"NTO_IM", "line 1: found no newline at the end"),
        (IMAGE, b"NTO_IMAGE=localhost/tun", "line 1: found no newline at the end"),
        (IMAGE, b"A=1\nNTO_IMAGE=loc\0\0\0\n", "line 2: found a NUL byte, expected text"),
        (IMAGE, b"NTO_IMAGE='local\n", "line 1: found no closing ', expected one"),
        (IMAGE, b"NTO_IMAGE=not an image\n", "found 'not an image', expected an image reference"),
        (IMAGE, b"NTO_IMAGE=\xff\n", "line 1: found a byte that is not UTF-8, expected text"),
        (RECOMMEND, None, "there is no such file, and boot.conf has no [tuning] profile"),
        (RECOMMEND, b"", "the file is empty, expected a line '[<profile>]'"),
        (RECOMMEND, b"# none\n", "the file is empty, expected a line '[<profile>]'"),
        (RECOMMEND, b"[../../etc]\n", "line 1: found '../../etc', expected a profile name"),
        (RECOMMEND, b"[a]\nvirt=x\n", "line 2: found 'virt=x', expected nothing after '[a]'"),
        (PROFILE, b"[main]\nsummary=\xff\n", "line 2: found the byte 0xff, expected UTF-8"),
        (CONF, b"[tuning\n", "line 1: found '[tuning', expected '[section]'"),
        (CONF, b"[tuning]\ntimeout = 4\n", "[tuning] timeout: found '4', expected a number of"),
        (
            CONF,
            b"[tuning]\ntimeuot = 5\n",
            "line 2: [tuning]: found the key 'timeuot'",
        ),
    ],
)
def test_bad_input_is_told_with_the_files_name_and_recorded(
    root: Path, name: str, content: bytes | None, message: str
) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    for command in ("plan", "apply"):
        done = run(root, command)
        assert done.returncode == os.EX_CONFIG
        first = done.stderr.splitlines()[0]
        assert first.startswith(f"ocp-tuned-boot: {path}: ")
        assert message in first
        assert "Traceback" not in done.stderr
    recorded = record.read(Paths(root))
    assert recorded is not None
    assert recorded.result is Result.FAILED
    assert [finding.kind for finding in recorded.findings] == ["configuration"]
    assert message in recorded.findings[0].message
    # status says it again, with the same exit status.
    shown = run(root, "status")
    assert shown.returncode == os.EX_CONFIG
    assert message in shown.stdout


def test_something_else_in_the_place_of_a_file(root: Path) -> None:
    (root / IMAGE).unlink()
    (root / IMAGE).mkdir()
    done = run(root, "apply")
    assert done.returncode == 1
    assert f"cannot read {root / IMAGE}" in done.stderr
    assert run(root, "status").returncode == 1


@pytest.mark.parametrize("listening", [False, True])
def test_podman_that_is_not_there_or_refuses(root: Path, listening: bool) -> None:
    with socket_path() as path, socket.socket(socket.AF_UNIX) as bound:
        if listening:
            bound.bind(str(path))
        (root / CONF).parent.mkdir(parents=True)
        (root / CONF).write_text(f"[tuning]\ntimeout = 8\n[podman]\nsocket = {path}\n")
        done = run(root, "apply")
    assert done.returncode == os.EX_UNAVAILABLE
    words = "Connection refused" if listening else "No such file or directory"
    assert f"ocp-tuned-boot: cannot reach Podman at {path}: {words}" in done.stderr
    assert "systemctl status 'ocp-tuned-podman@*.socket'" in done.stderr
    assert run(root, "status").returncode == os.EX_UNAVAILABLE
    # It might have come: it was tried again, each time with a longer pause, while that made sense.
    recorded = record.read(Paths(root))
    assert recorded is not None
    assert len(recorded.attempts) >= 2
    assert {attempt.kind for attempt in recorded.attempts} == {"podman"}
    assert recorded.seconds < 8


def in_force(root: Path) -> InForce:
    """As an earlier run in this boot has left it."""
    asked = inputs.read(Paths(root), "tuned")
    done = InForce(BOOT_ID, Result.APPLIED, "site", asked.image, "ab12", asked.fingerprint,
                   "2026-01-01T00:00:00.000Z")  # fmt: skip
    (root / "run/ocp-tuned-boot").mkdir(parents=True)
    record.write(Paths(root), Record(Result.APPLIED, "2026-01-01T00:00:00.000Z", in_force=done))
    return done


LOADED = """
import sys
from ocp_tuned_boot import cli
status = cli.main(["--root", *sys.argv[1:]])
print(status, *sorted(sys.modules))
"""


def loaded(root: Path, command: str) -> set[str]:
    """The modules that a command has loaded when it is done."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, str(root), command],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    status, *modules = done.stdout.splitlines()[-1].split()
    assert status == "0", done.stderr
    return set(modules)


HTTP = {"podman", "requests", "urllib3"}


def test_status_loads_nothing_to_talk_to_podman(root: Path) -> None:
    in_force(root)
    assert loaded(root, "status") & {*HTTP, "ocp_tuned_boot.podman.client"} == set()


def test_what_is_in_force_is_kept_without_podman_even_being_loaded(root: Path) -> None:
    before = in_force(root)
    modules = loaded(root, "apply")
    assert modules & HTTP == set()
    # Nor what only a run of TuneD needs: importing is most of the time of a run that keeps.
    assert modules & {"configparser", "base64", "ocp_tuned_boot.tuned.profiles"} == set()
    # Nor what only people ask for.
    of_commands = {name for name in modules if name.startswith("ocp_tuned_boot.commands.")}
    assert of_commands == {"ocp_tuned_boot.commands.command", "ocp_tuned_boot.commands.table"}
    recorded = record.read(Paths(root))
    assert recorded is not None
    assert (recorded.action, recorded.in_force) == ("keep", before)
    assert not (root / "run/tuned").exists()


def test_plan_of_what_is_kept_starts_no_container_and_touches_nothing(root: Path) -> None:
    in_force(root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    done = run(root, "plan")
    assert done.returncode == 0
    assert done.stdout.startswith("keep: 'site' was applied at 2026-01-01T00:00:00.000Z")
    shown = json.loads(run(root, "plan", "--json").stdout)
    assert shown["decision"]["action"] == "keep"
    assert shown["container"] is None
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_reload_with_nothing_changed_says_so_and_touches_nothing(root: Path) -> None:
    before = in_force(root)
    done = run(root, "reload")
    assert done.returncode == 0
    assert "nothing has changed" in done.stdout
    recorded = record.read(Paths(root))
    assert recorded is not None
    assert (recorded.action, recorded.in_force) == ("keep", before)
    assert not (root / "run/tuned").exists()


def test_a_reload_that_fails_has_its_status_and_leaves_what_is_in_force(root: Path) -> None:
    before = in_force(root)
    (root / RECOMMEND).write_text("")
    for command, status in ((["reload"], 78), (["status"], 78), (["notice"], 78)):
        done = run(root, *command)
        assert done.returncode == status
        assert "the file is empty, expected a line '[<profile>]'" in done.stdout + done.stderr
        recorded = record.read(Paths(root))
        assert recorded is not None
        assert (recorded.action, recorded.in_force) == ("change-failed", before)


def test_a_changed_profile_waits_and_is_on_record(root: Path) -> None:
    before = in_force(root)
    (root / PROFILE).write_text("[main]\nsummary=new\n")
    for command in ("notice", "apply"):
        done = run(root, command)
        assert done.returncode == 0
        assert "Nothing was applied: the requested profile has changed" in done.stdout
        recorded = record.read(Paths(root))
        assert recorded is not None
        assert recorded.in_force == before
        assert recorded.deferred is not None
        assert recorded.deferred.fingerprint == inputs.read(Paths(root), "tuned").fingerprint
    conditions = json.loads((root / "run/ocp-tuned-boot/status.json").read_text())["conditions"]
    assert conditions[0]["reason"] == "Deferred"
    assert "  pending      the requested profile has changed" in run(root, "status").stdout
    # It is in the history once; what was kept is not.
    (boot,) = json.loads(run(root, "history", "--json").stdout)
    assert (boot["boot_id"], [each["action"] for each in boot["runs"]]) == (
        BOOT_ID, ["defer"],
    )  # fmt: skip
    assert f"boot {BOOT_ID}\n" in run(root, "history").stdout


def test_after_a_soft_reboot_what_was_applied_before_it_counts_no_more(root: Path) -> None:
    paths = Paths(root)
    in_force(root)
    assert run(root, "apply").stdout.startswith("Nothing was applied: ")
    # As systemd-tmpfiles does.
    with paths.restarts.open("a") as file:
        file.write(".")
    shown = run(root, "status").stdout
    assert shown.startswith("Not tuned: no profile has been applied since the soft-reboot\n")
    (root / CONF).parent.mkdir(parents=True)
    (root / CONF).write_text("[tuning]\ntimeout = 5\n")
    assert run(root, "apply").returncode == os.EX_UNAVAILABLE
    recorded = record.read(paths)
    assert recorded is not None
    assert (recorded.boot_id, recorded.in_force) == (f"{BOOT_ID}+1", None)
    boots = json.loads(run(root, "history", "--json").stdout)
    assert [boot["boot_id"] for boot in boots] == [f"{BOOT_ID}+1"]


def test_where_nothing_is_in_force_there_is_nothing_to_take_notice_of(root: Path) -> None:
    assert run(root, "notice").returncode == 0
    assert not (root / "run/ocp-tuned-boot/status.json").exists()


def test_notice_waits_for_a_run_that_is_under_way(root: Path) -> None:
    in_force(root)
    (root / PROFILE).write_text("[main]\nsummary=new\n")
    command = [sys.executable, "-m", "ocp_tuned_boot", "--root", str(root), "notice"]
    with (root / "run/ocp-tuned-boot/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as notice:
            with pytest.raises(subprocess.TimeoutExpired):
                notice.wait(PATIENCE + 1)
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert notice.wait(30) == 0
    recorded = record.read(Paths(root))
    assert recorded is not None
    assert recorded.action == "defer"


def test_late_is_deferred_if_the_admin_wants_it_so(root: Path) -> None:
    group = root / "sys/fs/cgroup/system.slice/crio.service"
    group.mkdir(parents=True)
    (group / "cgroup.events").write_text("populated 1\n")
    (root / CONF).parent.mkdir(parents=True)
    (root / CONF).write_text("[tuning]\nlate = defer\n")
    done = run(root, "apply")
    assert done.returncode == 0
    assert "crio.service is already running (late = defer)" in done.stdout
    recorded = record.read(Paths(root))
    assert recorded is not None
    assert (recorded.result, recorded.late, recorded.in_force) == (
        Result.DEFERRED, ("crio.service",), None,
    )  # fmt: skip
    assert run(root, "status").returncode == 0


def test_drift_is_told_by_its_status(root: Path) -> None:
    done = run(root, "drift")
    assert (done.returncode, done.stdout[:20]) == (1, "Nothing to compare: ")
    in_force(root)
    paths, key = Paths(root), "/proc/sys/vm/x"
    settings.store(paths, Settings(BOOT_ID, {key: Saved("1", "5")}, "2026-01-01T00:00:00.000Z"))
    (root / "proc/sys/vm").mkdir()
    (root / "proc/sys/vm/x").write_text("5\n")
    assert run(root, "drift").returncode == 0
    assert "  drift  " not in run(root, "status").stdout
    (root / "proc/sys/vm/x").write_text("6\n")
    done = run(root, "drift")
    assert done.returncode == cli.DRIFTED
    assert "  drift        vm.x: applied '5', found '6', changed between" in done.stdout
    (drifted,) = json.loads(run(root, "drift", "--json").stdout)["drifted"]
    assert (drifted["key"], drifted["applied"], drifted["found"]) == ("vm.x", "5", "6")
    assert "  drift        vm.x: applied '5', found '6'" in run(root, "status").stdout
    assert json.loads(run(root, "status", "--json").stdout)["drift"] == [drifted]
    # What the admin has put on the list may change.
    (root / CONF).parent.mkdir(parents=True)
    (root / CONF).write_text("[handover]\nsysctls = vm.x\n")
    assert run(root, "drift").returncode == 0


def test_a_torn_image_env_is_told_loudly_and_what_is_in_force_is_kept(root: Path) -> None:
    before = in_force(root)
    lastgood.remember(Paths(root), before.image, before.image_id)
    (root / IMAGE).write_text("NTO_IM")
    done = run(root, "apply")
    assert done.returncode == 0
    assert f"{root / IMAGE}: line 1: found no newline at the end" in done.stdout
    recorded = record.read(Paths(root))
    assert recorded is not None
    assert (recorded.action, recorded.result, recorded.in_force) == (
        "keep", Result.DEGRADED, before,
    )  # fmt: skip


def test_a_second_run_at_the_same_time(root: Path) -> None:
    folder = root / "run/ocp-tuned-boot"
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in ("apply", "cleanup"):
            done = run(root, command)
            assert done.returncode == os.EX_TEMPFAIL
            assert f"another run holds {folder}/lock" in done.stderr
    # The other run's record is not ours to write.
    assert not (folder / "status.json").exists()


def test_status_before_anything_was_done(root: Path) -> None:
    done = run(root, "status")
    assert done.returncode == 1
    assert done.stdout.startswith("Not tuned: no profile has been applied in this boot\n")
    assert json.loads(run(root, "status", "--json").stdout)["record"] is None


def test_status_of_a_record_that_cannot_be_read(root: Path) -> None:
    (root / "run/ocp-tuned-boot").mkdir(parents=True)
    (root / "run/ocp-tuned-boot/status.json").write_text('{"version": 1, "resu')
    done = run(root, "status")
    assert done.returncode == 1
    assert f"{root}/run/ocp-tuned-boot/status.json: found no record of a run" in done.stderr


def test_what_boot_conf_would_refuse_at_the_next_boot_is_told_now(root: Path) -> None:
    in_force = InForce(BOOT_ID, Result.APPLIED, "site", "localhost/tuned:x", "id", "f", "11:00")
    paths = Paths(root)
    paths.run.mkdir(parents=True)
    record.write(paths, Record(Result.APPLIED, "11:00", BOOT_ID, in_force=in_force))
    (root / CONF).parent.mkdir(parents=True)
    (root / CONF).write_text("[image]\nrequire_digest = yes\n")
    planned = run(root, "plan")
    assert planned.returncode == os.EX_CONFIG
    assert "is requested by its tag" in planned.stderr
    kept = run(root, "apply")
    assert kept.returncode == 0
    assert "the next boot will fail: the image 'localhost/tuned:x'" in kept.stdout


@pytest.mark.parametrize("command", ["apply", "reload", "plan", "status"])
def test_what_a_later_release_has_in_force_is_not_taken_for_nothing(
    root: Path, command: str
) -> None:
    status = root / "run/ocp-tuned-boot/status.json"
    status.parent.mkdir(parents=True)
    status.write_text('{"version": 2, "in_force": "otherwise"}')
    done = run(root, command)
    assert done.returncode == 1
    assert (
        f"{status}: found version 2, expected 1: a later release of ocp-tuned-boot" in done.stderr
    )
    assert "otherwise" in status.read_text()


# What is wrong with a command line is never recorded.
@pytest.mark.parametrize("error", sorted({*cli.STATUSES} - {UsageError}, key=str))
def test_the_status_of_a_recorded_failure_is_that_of_the_run(error: type[BootError]) -> None:
    done = Record(Result.FAILED, "now", findings=(Finding(error.kind, "", "…"),))
    assert cli.exit_status(done) == cli.STATUSES[error]


@pytest.mark.parametrize(
    ("result", "status"),
    [(Result.APPLIED, 0), (Result.DEGRADED, 0), (Result.FAILED, 1), (Result.APPLYING, 1)],
)
def test_the_status_of_a_judged_run(result: Result, status: int) -> None:
    findings = () if result is Result.APPLIED else (Finding("error", "", "…"),)
    assert cli.exit_status(Record(result, "now", findings=findings)) == status


def test_every_expected_failure_has_a_status() -> None:
    kinds = {BootError}
    while more := {each for kind in kinds for each in kind.__subclasses__()} - kinds:
        kinds |= more
    # The node agent, which is another command, has some of its own.
    kinds = {each for each in kinds if each.__module__ == BootError.__module__}
    assert set(cli.STATUSES) == kinds - {BootError}


def test_lines_for_a_pipe_carry_no_priority(root: Path) -> None:
    """Although the journal is behind the caller, and the variable is inherited."""
    (root / IMAGE).unlink()
    done = subprocess.run(
        [sys.executable, "-m", "ocp_tuned_boot", "--root", str(root), "apply"],
        env={**os.environ, "JOURNAL_STREAM": "1:1"}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    first, second = done.stderr.splitlines()
    assert first.startswith("ocp-tuned-boot: ")
    assert second.startswith("  ")


@pytest.mark.parametrize("arguments", [["--version"], ["-v", "status"], ["--help"]])
def test_options_that_stand_before_the_command(root: Path, arguments: list[str]) -> None:
    done = run(root, *arguments)
    assert "Traceback" not in done.stderr
    if arguments == ["--version"]:
        assert re.fullmatch(r"ocp-tuned-boot \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize("command", [[], ["apply"], ["image"], ["image", "stage"]])
def test_help_is_an_option_of_every_command(root: Path, command: list[str]) -> None:
    done = run(root, *command, "--help")
    assert done.returncode == 0
    assert re.search(r"(?m)^  -h, --help +Show this help$", done.stdout)


@pytest.mark.parametrize(
    "arguments",
    [[], ["start"], ["apply", "--jsno"], ["status", "--config"], ["image", "stage", "a b"]],
)
def test_wrong_usage_is_status_64(root: Path, arguments: list[str]) -> None:
    done = run(root, *arguments)
    assert done.returncode == os.EX_USAGE
    assert "usage: ocp-tuned-boot" in done.stderr


FULL = """
import errno, os, sys
from ocp_tuned_boot import cli
rename = os.rename
def full(source, target, **more):
    if target == "status.json":
        raise OSError(errno.ENOSPC, "No space left on device")
    rename(source, target, **more)
os.rename = full
sys.exit(cli.main(["--root", sys.argv[1], "apply"]))
"""


def test_a_record_that_cannot_be_written_is_a_failure_with_words(root: Path) -> None:
    in_force(root)
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(root)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "status.json: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


CLOSED = "[tuning]\ngate = closed\ntimeout = 5\n[podman]\nsocket = /run/none\n"


def held(root: Path) -> str:
    """What the console says of the unit's run under a closed gate, which is ended then."""
    (root / "dev").mkdir()
    (root / "dev/console").touch()
    (root / "proc/self").mkdir()
    (root / "proc/self/cgroup").write_text("0::/system.slice/ocp-tuned.service\n")
    (root / "run/ocp-tuned-go").mkdir(parents=True)
    command = [sys.executable, "-m", "ocp_tuned_boot", "--root", str(root), "apply"]
    with fake_manager.listening() as (address, manager):
        env = {**os.environ, "NOTIFY_SOCKET": address}
        with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as waiting:
            manager.wait_for("STATUS=Held (gate")
            waiting.terminate()
    return (root / "dev/console").read_text()


def test_by_hand_nobody_is_held(root: Path) -> None:
    (root / CONF).parent.mkdir(parents=True)
    (root / CONF).write_text(CLOSED)
    (root / RECOMMEND).write_text("")
    assert run(root, "apply").returncode == os.EX_CONFIG


def test_a_closed_gate_holds_while_another_run_is_under_way(root: Path) -> None:
    (root / CONF).parent.mkdir(parents=True)
    (root / CONF).write_text(CLOSED)
    (root / "run/ocp-tuned-boot").mkdir(parents=True)
    with (root / "run/ocp-tuned-boot/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "(gate = closed): another run holds" in held(root)


def test_a_closed_gate_holds_whatever_a_pod_names_its_files(root: Path) -> None:
    (root / CONF).parent.mkdir(parents=True)
    (root / CONF).write_text(CLOSED)
    (root / os.fsdecode(b"var/lib/ocp-tuned/profiles/site/caf\xe9\x1b[31m")).touch()
    said = held(root)
    assert "site/caf\\udce9\\x1b[31m: found a file name that is not UTF-8" in said


@pytest.mark.parametrize("name", [IMAGE, RECOMMEND])
def test_a_closed_gate_does_not_wait_for_somebody_to_say_what_is_wanted(
    root: Path, name: str
) -> None:
    # On OpenShift that is a pod, which would wait for the kubelet, which would wait for it.
    (root / CONF).parent.mkdir(parents=True)
    (root / CONF).write_text(CLOSED)
    (root / name).unlink()
    done = run(root, "apply")
    assert done.returncode == os.EX_CONFIG
    assert "there is no such file, and boot.conf has no" in done.stderr


def test_a_boot_conf_that_is_a_circle_of_links_is_told(root: Path) -> None:
    (root / CONF).parent.mkdir(parents=True)
    (root / CONF).symlink_to("boot.conf")
    done = run(root, "apply")
    assert done.returncode == 1
    assert re.search(r"cannot read .*boot.conf: it is a symbolic link", done.stderr)
    assert "Traceback" not in done.stderr


def test_what_a_killed_run_has_left_is_removed_without_boot_conf_and_podman(root: Path) -> None:
    (root / CONF).parent.mkdir(parents=True)
    (root / CONF).write_text("[tuning\n")
    copy = root / "run/ocp-tuned-boot/guard/files/proc/sys/net/ipv4/ip_forward"
    copy.parent.mkdir(parents=True)
    copy.write_text("0\n")
    run(root, "cleanup")
    assert not (root / "run/ocp-tuned-boot/guard").exists()


@pytest.mark.parametrize(
    ("result", "status"), [(Result.APPLIED, 0), (Result.APPLYING, os.EX_UNAVAILABLE)]
)
def test_a_podman_that_is_gone_matters_only_to_a_run_that_is_unfinished(
    root: Path, result: Result, status: int
) -> None:
    (root / CONF).parent.mkdir(parents=True)
    (root / CONF).write_text("[podman]\nsocket = /run/none\n")
    (root / "run/ocp-tuned-boot").mkdir(parents=True)
    record.write(Paths(root), Record(result, "now", BOOT_ID))
    assert run(root, "cleanup").returncode == status


def test_settings_that_cannot_be_read_are_no_reason_to_say_that_nothing_has_changed(
    root: Path,
) -> None:
    in_force(root)
    (root / "run/ocp-tuned-boot/settings.json").write_text("torn {")
    done = run(root, "drift")
    assert done.returncode == 1
    assert "found no settings of a boot, expected them" in done.stderr
    for command in ("status", "history"):
        json.loads(run(root, command, "--json").stdout)


def test_the_timeline_of_a_boot_is_text_json_or_a_picture(root: Path, tmp_path: Path) -> None:
    paths = Paths(root)
    timed = Record(Result.APPLIED, "12:00", BOOT_ID, "apply", profile="site", seconds=0.2,
                   steps=(Step("tuned", 0.1, 5.1),), moments=Moments(5.0, None, 5.2))  # fmt: skip
    history.add(paths, timed)
    shown = run(root, "timeline")
    assert shown.returncode == 0
    assert f"Start of boot {BOOT_ID}" in shown.stdout
    assert json.loads(run(root, "timeline", "--json").stdout)["ready"] == 5.2
    picture = tmp_path / "boot.svg"
    drawn = run(root, "timeline", f"--boot={BOOT_ID}", "--svg", str(picture))
    assert (drawn.returncode, drawn.stdout) == (0, "")
    assert picture.read_text().endswith("</svg>\n")

    unknown = run(root, "timeline", "--boot=-1")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert f"nothing is recorded of boot '-1'; known boots: 0 ({BOOT_ID})" in unknown.stderr
    nowhere = run(root, "timeline", "--svg", str(tmp_path / "no/boot.svg"))
    assert nowhere.returncode == 1
    assert "no/boot.svg" in nowhere.stderr


@pytest.mark.parametrize("raises", [False, True])
def test_a_reload_by_hand_that_fails_is_in_the_journal_of_the_unit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, raises: bool
) -> None:
    """`systemctl status` cannot show it, and the terminal may be closed by now."""
    failed = Finding("change-failed", "podman", "no socket")

    def reload(*_: object, force: bool) -> Record:
        if raises:
            error = HostError("no socket")
            error.recorded = force
            raise error
        return Record(Result.DEGRADED, "", action="change-failed", findings=(failed,))

    noted: list[str] = []
    monkeypatch.setattr(boot, "reload", reload)
    monkeypatch.setattr(entries, "by_hand", lambda found: noted.append(found.message))
    (row,) = (each for each in table.COMMANDS if each.name == "reload")
    # In the unit it is in its journal already, and another root is no node.
    for root, in_unit, expected in ((None, False, 1), (None, True, 0), (tmp_path, False, 0)):
        monkeypatch.setattr(systemd, "is_own_process", lambda _, is_it=in_unit: is_it)
        noted.clear()
        with suppress(HostError):
            row.run(Options(root=root, config=None, force=True))
        assert noted == ["no socket"] * expected
