"""mode = daemon: TuneD keeps running, systemd supervises it, and its end changes no setting."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ocp_tuned_boot.tuned.ours import LATER
from tests.lab.host import unwrapped
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.test_starting_line import LOADED, NETWORK, containers, until_status, up
from tests.lab.workload import PROFILE, RESET, WANTED, furnish, has_ended, record

pytestmark = pytest.mark.lab

UNIT, DAEMON = "ocp-tuned.service", "ocp-tuned-daemon.service"
FOLDER = "/var/lib/ocp-tuned/profiles/openshift-node-lab"
TEXTFILE = "/var/lib/node_exporter/textfile_collector/ocp-tuned-boot.prom"
METRICS = f"[metrics]\ntextfile = {TEXTFILE}\n"
CONF = "/etc/ocp-tuned-boot/boot.conf"
KNOB = "/proc/sys/net/ipv4/tcp_fin_timeout"
#: Of the profile, but not on the hand-over list.
OTHERS = {KNOB: "50", "/proc/sys/kernel/shmmni": "5000"}


@pytest.fixture(scope="module", params=["trixie", "bookworm"])
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """Of each suite: systemd 257 and 252, Podman 5.4 and 4.3, TuneD 2.25 and 2.20."""
    with KernelKnobs(RESET), Node(request.param, image=request.param) as node:
        # The section cpu tunes dynamically: it sets the CPU latency by the load.
        node.write(TEXTFILE, "")
        furnish(node, PROFILE + "\n[load]\ntype=cpu\n")
        node.write(CONF, f"[tuning]\nmode = daemon\n{METRICS}")
        node.write("/etc/systemd/system/lab-network.service", NETWORK)
        node.enable("lab-network.service")
        node.write("/etc/systemd/journald.conf.d/lab.conf", "[Journal]\nStorage=persistent\n")
        node.start()
        # TuneD waits for the word in its container here as well, and has set nothing.
        until_status(node, LOADED)
        assert node.read(KNOB).strip() != "37"
        up(node)
        has_ended(node)
        assert "ask" in [each["name"] for each in record(node)["early"]]
        yield node


#: For what needs a suite only once in the default run.
OLDER_FIRST = pytest.mark.parametrize(
    "node", ["bookworm", pytest.param("trixie", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture
def running(node: Node) -> Node:
    """With TuneD running, and all that was applied."""
    node.run("systemctl", "reload-or-restart", UNIT)
    until_it_runs(node)
    return node


def until_it_runs(node: Node) -> str:
    """Waits until the unit is active. Its main process."""
    node.run("sh", "-c", f"until systemctl is-active -q {DAEMON}; do sleep 0.1; done")
    return shown(node, "MainPID")


def shown(node: Node, name: str, unit: str = DAEMON) -> str:
    return node.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()


def tuned(node: Node) -> list[str]:
    """The processes of TuneD."""
    return node.run("pgrep", "-f", "/usr/sbin/tuned --no-dbus", check=False).stdout.split()


def killed(node: Node, pid: str, signal: str = "KILL") -> str:
    """Kills a process of the unit, and waits until the unit has another one. Which."""
    before = shown(node, "InvocationID")
    node.run("kill", f"-{signal}", pid)
    node.run(
        "sh", "-c",
        f'until [ "$(systemctl show --value -p InvocationID {DAEMON})" != {before} ] && '
        f"systemctl is-active -q {DAEMON}; do sleep 0.1; done",
    )  # fmt: skip
    return shown(node, "MainPID")


def at(node: Node) -> str:
    """The time on the node, for `journalctl --since`."""
    return node.run("date", "+@%s.%N").stdout.strip()[:-3]


def others_set(node: Node) -> None:
    for path, value in OTHERS.items():
        node.run("sh", "-c", f"echo {value} > {path}")


def theirs_remain(node: Node) -> None:
    assert {path: node.read(path).strip() for path in OTHERS} == OTHERS


def now(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(node.run("ocp-tuned-boot", "status", "--json").stdout)
    return found


def kinds(node: Node) -> set[str]:
    return {each["kind"] for each in record(node)["findings"]}


def test_the_kubelet_starts_tuned_and_tuned_keeps_running(running: Node) -> None:
    node = running
    witness = node.witness("kubelet")
    assert witness is not None
    assert witness["values"] == WANTED
    done = record(node)
    assert (done["result"], done["mode"], kinds(node)) == ("applied", "daemon", set())
    # TuneD itself has compared, and so has the host.
    assert node.run("ocp-tuned-boot", "verify", check=False).returncode == 0
    states = {each["key"]: (each["state"], each["by"]) for each in done["values"]}
    assert states["net.ipv4.tcp_fin_timeout"] == ("verified", "tuned, ocp-tuned-boot")


def test_systemd_supervises_tuned_and_nothing_of_this_program_runs(running: Node) -> None:
    node = running
    main, (pid,) = shown(node, "MainPID"), tuned(node)
    assert node.read(f"/proc/{main}/comm").strip() == "conmon"
    parents = node.run("ps", "-o", "ppid=", "-p", f"{main},{pid}").stdout.split()
    assert parents == sorted(["1", main], key=int)
    assert node.run("pgrep", "-f", "bin/ocp-tuned-boot", check=False).stdout == ""
    assert node.run("podman", "ps", "-q").stdout.count("\n") == 1


@OLDER_FIRST
def test_tuned_reacts_to_the_load(running: Node) -> None:
    node = running
    (pid,) = tuned(node)
    node.write("/run/tuned/loadavg", "0.00 0.00 0.00 1/1 1\n")
    # In TuneD's own mount namespace: it reads its load there, every ten seconds.
    node.run("nsenter", f"--target={pid}", "--mount", "mount", "--bind",
             "/run/tuned/loadavg", "/proc/loadavg")  # fmt: skip
    # systemd does not hold what TuneD changes.
    until_latency(node, "1000")
    node.run("sh", "-c", "echo 9.00 9.00 9.00 1/1 1 > /run/tuned/loadavg")
    until_latency(node, "100")
    # What TuneD logs from now on is in the journal of its own unit.
    said = node.journal(DAEMON, "--output=cat")
    assert "setting new cpu latency 100" in said
    assert shown(node, "NFileDescriptorStore", UNIT) == "0"
    assert record(node)["in_force"]["holds"] == []


def until_latency(node: Node, wanted: str) -> None:
    """Waits until this CPU latency is in effect (microseconds)."""
    found = "od -An -td4 -N4 /dev/cpu_dma_latency"
    node.run("sh", "-c", f"until {found} | grep -qx ' *{wanted}'; do sleep 0.2; done")


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
def test_a_tuned_that_ends_is_started_again_and_sets_nothing(running: Node, signal: str) -> None:
    node = running
    (pid,) = tuned(node)
    others_set(node)
    since = at(node)
    killed(node, pid, signal)
    theirs_remain(node)
    assert tuned(node) not in ([], [pid])
    how = "it was killed by SIGKILL" if signal == "KILL" else "it exited with status 0"
    (finding,) = [it for it in record(node)["findings"] if it["kind"] == "tuned-exited"]
    assert how in finding["message"]
    said = unwrapped(node.journal(DAEMON, "--output=cat", f"--since={since}"))
    assert finding["message"] in said
    # What TuneD holds open is not lost.
    assert "file descriptor" not in said
    if signal == "TERM":
        assert "TuneD restores nothing" in said
        assert "TuneD restores nothing" not in finding["message"]
    status = unwrapped(node.run("ocp-tuned-boot", "status").stdout)
    assert "TuneD runs since" in status
    assert how in status
    restarts = now(node)["daemon"]["restarts"]
    assert restarts >= 1
    until = f"until grep -qx 'ocp_tuned_boot_daemon_running 1.0' {TEXTFILE}; do sleep 0.1; done"
    node.run("sh", "-c", until)
    assert f"\nocp_tuned_boot_daemon_restarts {float(restarts)}\n" in node.read(TEXTFILE)
    # What was applied is still what is recorded, with its values.
    assert record(node)["in_force"]["profile"] == "openshift-node-lab"
    assert record(node)["values"]
    # As the finding says.
    node.run("systemctl", "reload-or-restart", UNIT)
    assert (record(node)["result"], kinds(node)) == ("applied", set())


@OLDER_FIRST
def test_a_supervisor_that_is_killed_takes_tuned_with_it(running: Node) -> None:
    node = running
    (pid,), main = tuned(node), shown(node, "MainPID")
    others_set(node)
    assert killed(node, main) != main
    theirs_remain(node)
    (other,) = tuned(node)
    assert other != pid
    assert node.run("podman", "ps", "-aq").stdout.count("\n") == 1


@OLDER_FIRST
def test_a_reload_without_a_change_leaves_tuned_alone(running: Node) -> None:
    node = running
    before, container = tuned(node), node.read("/run/ocp-tuned-boot/daemon.json")
    node.run("systemctl", "reload", UNIT)
    node.run("systemctl", "start", UNIT)
    assert tuned(node) == before
    assert node.read("/run/ocp-tuned-boot/daemon.json") == container


@OLDER_FIRST
def test_a_change_is_applied_guarded_by_another_tuned(running: Node) -> None:
    node = running
    (pid,) = tuned(node)
    forward, key = "/proc/sys/net/ipv4/ip_forward", "net.ipv4.ip_forward"
    node.run("sh", "-c", f"echo 1 > {forward}")
    before = node.read(f"{FOLDER}/tuned.conf")
    changed = before.replace("fin_timeout=37", f"fin_timeout=38\n{key}=0")
    node.write(f"{FOLDER}/tuned.conf", changed)
    node.run("systemctl", "reload", UNIT)
    until_it_runs(node)
    assert (node.read(KNOB).strip(), node.read(forward).strip()) == ("38", "1")
    (other,) = tuned(node)
    assert other != pid
    assert "tuned-exited" not in kinds(node)
    # One that cannot be loaded: the one that is applied keeps its TuneD.
    node.write(f"{FOLDER}/tuned.conf", "[main]\ninclude=nowhere\n")
    assert node.run("systemctl", "reload", UNIT, check=False).returncode != 0
    until_it_runs(node)
    assert len(tuned(node)) == 1
    assert "change-failed" in kinds(node)
    node.write(f"{FOLDER}/tuned.conf", before)
    node.run("systemctl", "reload", UNIT)
    until_it_runs(node)
    assert (node.read(KNOB).strip(), kinds(node)) == ("37", set())


@OLDER_FIRST
def test_an_error_in_the_thread_of_tuned_is_a_crash_and_no_hang(running: Node) -> None:
    node = running
    before = node.read(f"{FOLDER}/tuned.conf")
    # TuneD compiles it when it has devices.
    node.write(f"{FOLDER}/tuned.conf", "[load]\ntype=cpu\ndevices_udev_regex=(\n")
    assert node.run("systemctl", "reload", UNIT, check=False).returncode != 0
    (finding,) = [it for it in record(node)["findings"] if it["kind"] == "change-failed"]
    assert "TuneD ends, because of an error: " in finding["message"]
    # That of the profile that is applied.
    until_it_runs(node)
    assert len(tuned(node)) == 1
    # It is not known how far the other one got.
    node.write(f"{FOLDER}/tuned.conf", before)
    node.run("ocp-tuned-boot", "reload", "--force")
    until_it_runs(node)
    assert kinds(node) == set()


@OLDER_FIRST
def test_a_stop_before_tuned_has_its_unit_ends_tuned(running: Node) -> None:
    """Between READY=1 and the end of the run that has applied the profile."""
    node = running
    node.run("systemctl", "stop", UNIT)
    node.run("rm", "/run/ocp-tuned-boot/status.json")
    node.run(
        "sh", "-c",
        f"systemctl start --no-block {UNIT}; "
        f"until systemctl is-active -q {UNIT}; do :; done; systemctl stop {UNIT}",
    )  # fmt: skip
    # Its first process is known, or it was already removed.
    assert json.loads(node.read("/run/ocp-tuned-boot/daemon.json"))["container"] == ""
    assert tuned(node) == []
    assert node.run("podman", "ps", "-aq").stdout == ""


@OLDER_FIRST
def test_the_mode_is_changed_by_a_reload(running: Node) -> None:
    node = running
    node.write(CONF, f"[tuning]\nmode = oneshot\n{METRICS}")
    assert "the requested profile has changed" in unwrapped(
        node.run("ocp-tuned-boot", "plan").stdout
    )
    node.run("systemctl", "reload", UNIT)
    assert tuned(node) == []
    assert node.run("podman", "ps", "-aq").stdout == ""
    assert shown(node, "ActiveState") == "inactive"
    assert (record(node)["mode"], now(node)["daemon"]) == ("oneshot", None)
    node.write(CONF, f"[tuning]\nmode = daemon\n{METRICS}")
    node.run("systemctl", "reload", UNIT)
    until_it_runs(node)
    assert len(tuned(node)) == 1


@OLDER_FIRST
def test_a_stop_ends_tuned_and_the_settings_stay(running: Node) -> None:
    node = running
    others_set(node)
    since = at(node)
    node.run("systemctl", "stop", UNIT)
    assert tuned(node) == []
    assert node.run("podman", "ps", "-aq").stdout == ""
    theirs_remain(node)
    said = unwrapped(node.journal(DAEMON, "--output=cat", f"--since={since}"))
    assert "TuneD restores nothing" in said
    assert "The settings remain until the next boot; dynamic tuning has ended." in said
    status = unwrapped(node.run("ocp-tuned-boot", "status").stdout)
    assert f"TuneD does NOT run: {DAEMON} is inactive. The settings remain." in status
    assert "\nocp_tuned_boot_daemon_running 0.0\n" in node.read(TEXTFILE)
    # A stop is no death.
    assert "tuned-exited" not in [
        json.loads(line).get("OCP_TUNED_FINDING")
        for line in node.journal(DAEMON, "--output=json", f"--since={since}").splitlines()
    ]
    assert "tuned-exited" not in kinds(node)
    node.run("systemctl", "reload-or-restart", UNIT)
    until_it_runs(node)
    theirs_remain(node)


@pytest.mark.slow
def test_a_tuned_that_dies_again_and_again_is_left_alone_and_status_says_so(running: Node) -> None:
    node = running
    others_set(node)
    node.run(
        "sh", "-c",
        f"until systemctl is-failed -q {DAEMON}; do "
        "pkill -KILL -f '/usr/sbin/tuned --no-dbu[s]'; sleep 0.2; done",
    )  # fmt: skip
    theirs_remain(node)
    status = unwrapped(node.run("ocp-tuned-boot", "status").stdout)
    assert "TuneD does NOT run: it has exited and was restarted" in status
    assert "To start it: systemctl reload-or-restart ocp-tuned" in status
    node.run("systemctl", "reload-or-restart", UNIT)
    until_it_runs(node)
    theirs_remain(node)


def test_a_shutdown_is_no_failure(running: Node) -> None:
    """Podman may be gone before TuneD, or hang: nobody asks it."""
    node = running
    (before,), since = containers(node).split(), at(node)
    node.poweroff()
    node.start()
    up(node)
    has_ended(node)
    log = ("journalctl", "-q", "-b", "-1", f"--since={since}", "-o", "cat")
    ended = unwrapped(node.run(*log, "-u", DAEMON).stdout)
    assert "The settings remain until the next boot; dynamic tuning has ended." in ended
    assert "Failed with result" not in ended
    assert node.run(*log, "-p", "err", "-u", UNIT, "-u", DAEMON, check=False).stdout == ""
    assert LATER in ended
    assert LATER in unwrapped(node.run(*log, "-u", UNIT).stdout)
    until_it_runs(node)
    # Its process may have the same ID.
    assert len(tuned(node)) == 1
    (container,) = containers(node).split()
    assert container != before


def test_after_a_power_cut_everything_is_applied_and_another_tuned_runs(running: Node) -> None:
    node = running
    others_set(node)
    (before,) = containers(node).split()
    node.kill()
    node.start()
    up(node)
    has_ended(node)
    witness = node.witness("kubelet")
    assert witness is not None
    assert witness["values"] == WANTED
    assert (record(node)["result"], kinds(node)) == ("applied", set())
    until_it_runs(node)
    # Its process may have the same ID.
    assert len(tuned(node)) == 1
    (container,) = containers(node).split()
    assert container != before
