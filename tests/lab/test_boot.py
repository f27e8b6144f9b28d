"""A node boots: the kubelet's own record is the witness that the profile was in force before it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import get_args

import pytest

from ocp_tuned_boot.requested import envfile
from tests.lab.host import unwrapped
from tests.lab.knobs import KernelKnobs
from tests.lab.kubelet import Relation, kubelet_follows
from tests.lab.node import Node
from tests.lab.workload import PROFILE, RESET, WANTED, furnish, has_ended, record

pytestmark = pytest.mark.lab

SUITES = ("trixie", "bookworm")


@contextmanager
def booted(suite: str, prepare: Callable[[Node], None] = furnish) -> Iterator[Node]:
    """A node of this suite that has come up, with the kernel's settings reset before."""
    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        prepare(node)
        node.boot()
        yield node


def found_by(node: Node, unit: str) -> dict[str, str | None]:
    """The values that `crio` or `kubelet` found when it started in this boot."""
    seen = node.witness(unit)
    assert seen is not None, f"{unit} was not started"
    return seen["values"]


def property_of(node: Node, unit: str, name: str) -> str:
    return node.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()


@pytest.mark.parametrize("suite", SUITES)
def test_every_value_is_in_force_before_the_kubelet_starts(suite: str) -> None:
    with booted(suite) as node:
        for unit in ("crio", "kubelet"):
            assert found_by(node, unit) == WANTED
        ready = int(property_of(node, "ocp-tuned.service", "ActiveEnterTimestampMonotonic"))
        kubelet = int(property_of(node, "kubelet.service", "ExecMainStartTimestampMonotonic"))
        assert 0 < ready <= kubelet
        has_ended(node)
        status = record(node)
        assert status["result"] == "applied"
        states = {value["state"] for value in status["values"]}
        assert states <= {"verified", "unchecked", "not-applicable"}
        assert "verified" in states
        assert status["boot_id"] == node.boot_id
        text = node.run("systemctl", "status", "ocp-tuned.service").stdout
        assert "openshift-node-lab in " in text
        assert node.run("podman", "ps", "-aq").stdout == ""


@pytest.mark.parametrize("how", get_args(Relation))
@pytest.mark.parametrize("suite", SUITES)
def test_with_a_failing_profile_the_unit_fails_and_the_kubelet_starts(
    suite: str, how: Relation
) -> None:
    def broken(node: Node) -> None:
        furnish(node, "[main]\ninclude=does-not-exist\n")
        kubelet_follows(node, how)

    with booted(suite, broken) as node:
        assert property_of(node, "ocp-tuned.service", "ActiveState") == "failed"
        assert property_of(node, "ocp-tuned.service", "Result") == "exit-code"
        assert property_of(node, "ocp-tuned.service", "ExecMainStatus") == "1"
        assert "ocp-tuned.service" in node.run("systemctl", "--failed").stdout
        text = node.run("systemctl", "status", "ocp-tuned.service", check=False).stdout
        assert 'Status: "Failed: ' in text
        assert found_by(node, "kubelet")["/proc/sys/vm/stat_interval"] == "1"
        assert property_of(node, "kubelet.service", "ActiveState") == "active"


@pytest.mark.parametrize("suite", SUITES)
def test_systemd_shows_what_failed_by_the_name_of_the_exit_status(suite: str) -> None:
    conf = "/etc/ocp-tuned-boot/boot.conf"

    def without_podman(node: Node) -> None:
        furnish(node)
        node.write(conf, "[tuning]\ntimeout = 5\n[podman]\nsocket = /run/nowhere.sock\n")

    def shown(node: Node) -> str:
        return node.run("systemctl", "status", "ocp-tuned.service", check=False).stdout

    with booted(suite, without_podman) as node:
        assert "status=69/UNAVAILABLE" in shown(node)
        node.write(conf, "[tuning]\ntimeout = soon\n")
        node.run("systemctl", "restart", "ocp-tuned.service", check=False)
        assert "status=78/CONFIG" in shown(node)


@pytest.mark.parametrize("how", get_args(Relation))
def test_a_kubelet_that_follows_the_target_in_any_way_finds_the_values(how: Relation) -> None:
    def prepare(node: Node) -> None:
        furnish(node)
        kubelet_follows(node, how)

    with booted("trixie", prepare) as node:
        assert found_by(node, "kubelet") == WANTED


@pytest.mark.parametrize("suite", SUITES)
def test_a_finding_however_long_does_not_keep_systemd_from_hearing_that_it_is_ready(
    suite: str,
) -> None:
    def with_a_talkative_script(node: Node) -> None:
        furnish(node, PROFILE + "[script]\nscript=${i:PROFILE_DIR}/script.sh\n")
        script = "#!/bin/sh\nhead -c 100000 /dev/zero | tr '\\0' x >&2\nexit 1\n"
        path = "/var/lib/ocp-tuned/profiles/openshift-node-lab/script.sh"
        node.write(path, script, 0o755)

    with booted(suite, with_a_talkative_script) as node:
        has_ended(node)
        assert record(node)["result"] == "degraded"
        assert len(record(node)["findings"][0]["message"]) == 1000
        assert found_by(node, "kubelet") == WANTED


def test_a_node_that_nobody_told_what_to_apply_is_left_alone() -> None:
    with booted("trixie", lambda node: node.write("/etc/lab/watch", "")) as node:
        assert property_of(node, "ocp-tuned.service", "ConditionResult") == "no"
        assert property_of(node, "ocp-tuned.service", "ActiveState") == "inactive"
        assert node.witness("kubelet") is not None


@pytest.mark.parametrize("suite", SUITES)
def test_an_orderly_shutdown_is_no_failure(suite: str) -> None:
    # Podman is gone by the time that cleanup asks it whether a container is left.
    def with_a_lasting_journal(node: Node) -> None:
        furnish(node)
        node.write("/etc/systemd/journald.conf.d/lab.conf", "[Journal]\nStorage=persistent\n")

    with booted(suite, with_a_lasting_journal) as node:
        has_ended(node)
        node.reboot()
        before = node.run("journalctl", "-b", "-1", "-u", "ocp-tuned.service").stdout
        assert "ocp-tuned.service: Deactivated successfully" in before
        assert "Failed with result" not in before
        assert "ordering cycle" not in node.run("journalctl", "-b", "-1").stdout


def has_host_tuned(node: Node) -> None:
    """A daemon which takes back at its end what it has set, as TuneD does."""
    node.write(
        "/etc/systemd/system/tuned.service",
        "[Service]\nType=exec\nExecStart=/usr/bin/sleep infinity\n"
        # A program that does not wait for the stop has applied everything before it ends.
        "ExecStopPost=/usr/bin/sleep 3\n"
        "ExecStopPost=/usr/sbin/sysctl -q vm.stat_interval=1\n"
        "[Install]\nWantedBy=multi-user.target\n",
    )
    node.enable("tuned.service")


def test_on_a_node_that_nobody_told_anything_tuned_of_the_host_stays() -> None:
    with booted("trixie", has_host_tuned) as node:
        assert property_of(node, "ocp-tuned.service", "ConditionResult") == "no"
        assert property_of(node, "tuned.service", "ActiveState") == "active"


def test_a_boot_conf_of_the_admin_stands_in_for_an_agent() -> None:
    def admin(node: Node) -> None:
        node.write(
            "/etc/ocp-tuned-boot/boot.conf.d/10-site.conf",
            "[tuning]\nimage = localhost/tuned:trixie\nprofile = throughput-performance\n",
        )
        node.write("/etc/lab/watch", "/proc/sys/vm/dirty_ratio\n")

    with booted("trixie", admin) as node:
        assert record(node)["profile"] == "throughput-performance"
        assert found_by(node, "kubelet") == {"/proc/sys/vm/dirty_ratio": "40"}


@pytest.mark.parametrize("suite", SUITES)
def test_tuned_of_the_host_gives_way(suite: str) -> None:
    def with_host_tuned(node: Node) -> None:
        furnish(node)
        has_host_tuned(node)

    with booted(suite, with_host_tuned) as node:
        has_ended(node)
        assert "stopping tuned.service: it would set other values" in node.journal("ocp-tuned")
        assert property_of(node, "tuned.service", "ActiveState") == "inactive"
        assert property_of(node, "ocp-tuned.service", "ActiveState") == "active"
        assert found_by(node, "kubelet") == WANTED


SERVICE = """
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/sleep 0.5
[Install]
WantedBy=multi-user.target
"""
TARGET = "kubelet-dependencies.target"


def moment(node: Node, unit: str, name: str) -> int:
    return int(property_of(node, unit, f"{name}TimestampMonotonic"))


@pytest.mark.parametrize(
    "unit",
    ["polkit.service", "crio-wipe.service", "clear-irqbalance-banned-cpus.service",
     "firstboot-osupdate.target", "network.target"],
)  # fmt: skip
def test_tuned_comes_after_what_it_follows(unit: str) -> None:
    def with_a_slow_one(node: Node) -> None:
        furnish(node)
        text, name = SERVICE, unit
        if unit.endswith(".target"):
            # A target is late because of what it waits for.
            text, name = f"[Unit]\nWants={unit}\nBefore={unit}\n{SERVICE}", "slow.service"
            node.write(f"/etc/systemd/system/{unit}", "[Unit]\n")
        node.write(f"/etc/systemd/system/{name}", text)
        node.enable(name)

    with booted("trixie", with_a_slow_one) as node:
        # The images that crio-wipe removes are looked for early.
        who = "ocp-tuned.service" if unit == "crio-wipe.service" else "ocp-tuned-go.service"
        assert 0 < moment(node, unit, "ActiveEnter") <= moment(node, who, "ExecMainStart")
        assert moment(node, "ocp-tuned-go.service", "ExecMainStart") < moment(
            node, "ocp-tuned.service", "ActiveEnter"
        )


@pytest.mark.parametrize("suite", SUITES)
def test_it_comes_before_whom_it_serves(suite: str) -> None:
    # Hosts without the target have these by themselves; `other` has nothing but the target.
    others = {
        "containerd.service": SERVICE,
        "microshift.service": SERVICE,
        "other.service": f"[Unit]\nRequires={TARGET}\nAfter={TARGET}\n{SERVICE}",
    }

    def with_others(node: Node) -> None:
        furnish(node)
        for unit, text in others.items():
            node.write(f"/etc/systemd/system/{unit}", text)
            node.enable(unit)

    with booted(suite, with_others) as node:
        ready = moment(node, "ocp-tuned.service", "ActiveEnter")
        for unit in ("crio.service", "kubelet.service", *others):
            assert moment(node, unit, "ExecMainStart") >= ready > 0, unit


def test_a_restart_in_the_same_boot_touches_nothing() -> None:
    with booted("trixie") as node:
        node.run("sysctl", "-w", "net.ipv4.tcp_fin_timeout=44")
        before = record(node)["in_force"]
        node.run("systemctl", "restart", "ocp-tuned.service")
        assert node.read("/proc/sys/net/ipv4/tcp_fin_timeout").strip() == "44"
        assert record(node)["in_force"] == before
        assert "Unchanged since" in property_of(node, "ocp-tuned.service", "StatusText")


def test_the_next_boot_applies_again() -> None:
    with booted("trixie") as node:
        first = record(node)["boot_id"]
        node.poweroff()
        node.boot()
        assert node.boot_id != first
        assert found_by(node, "kubelet") == WANTED
        assert record(node)["action"] == "apply"


def test_status_shows_the_neighbours() -> None:
    with booted("trixie") as node:
        has_ended(node)
        text = unwrapped(node.run("ocp-tuned-boot", "status", "--verbose").stdout)
        assert "kubelet.service: active" in text
        units = json.loads(node.run("ocp-tuned-boot", "status", "--json").stdout)["units"]
        assert units["ocp-tuned.service"] == "active"
        assert "tuned.service" not in units


# A script that tells that it runs and then waits to be let go.
HELD = PROFILE + "[script]\nscript=${i:PROFILE_DIR}/script.sh\n"
HELD_SCRIPT = "#!/bin/sh\necho held > /run/tuned/held\nread line < /run/tuned/go\n"


@contextmanager
def held(node: Node) -> Iterator[None]:
    """The unit is starting, and TuneD has got as far as the profile's script."""
    node.write("/var/lib/ocp-tuned/profiles/openshift-node-lab/tuned.conf", HELD)
    node.write("/var/lib/ocp-tuned/profiles/openshift-node-lab/script.sh", HELD_SCRIPT, 0o755)
    # Else a changed profile would wait.
    node.write("/etc/ocp-tuned-boot/boot.conf", "[tuning]\non_change = apply\n")
    node.run("mkfifo", "/run/tuned/held", "/run/tuned/go")
    node.run("systemctl", "restart", "--no-block", "ocp-tuned.service")
    assert node.run("cat", "/run/tuned/held").stdout == "held\n"
    yield


FAILED = "until systemctl is-failed --quiet ocp-tuned.service; do sleep 0.05; done"


def wait_for_job(node: Node) -> None:
    """`start` on a unit that is starting joins that job, and so waits for its end."""
    node.run("systemctl", "start", "ocp-tuned.service", check=False)


@pytest.mark.parametrize("suite", SUITES)
def test_while_tuned_runs_systemctl_says_so_and_its_time_is_extended(suite: str) -> None:
    with booted(suite) as node:
        # Less than the script takes: the unit lives because the program asks for more.
        node.write(
            "/etc/systemd/system/ocp-tuned.service.d/short.conf", "[Service]\nTimeoutStartSec=8\n"
        )
        node.run("systemctl", "daemon-reload")
        with held(node):
            text = property_of(node, "ocp-tuned.service", "StatusText")
            assert text == "TuneD is applying openshift-node-lab…"
            assert property_of(node, "ocp-tuned.service", "ActiveState") == "activating"
            node.run("sh", "-c", "sleep 10; echo go > /run/tuned/go")
            wait_for_job(node)
        assert property_of(node, "ocp-tuned.service", "ActiveState") == "active"


@pytest.mark.parametrize("suite", SUITES)
def test_stopping_in_mid_run_leaves_no_container(suite: str) -> None:
    with booted(suite) as node, held(node):
        node.run("systemctl", "stop", "ocp-tuned.service")
        assert node.run("podman", "ps", "-aq").stdout == ""
        assert node.run("pgrep", "-f", "sbin/tuned", check=False).stdout == ""
        assert property_of(node, "ocp-tuned.service", "Result") == "success"
        assert record(node)["result"] == "failed"
        assert record(node)["in_force"] is None


SLOW_STOP = "[Service]\nExecStopPost=/bin/cat /run/stopping\n"


@pytest.mark.parametrize("suite", SUITES)
def test_a_change_that_is_noticed_meanwhile_does_not_cancel_the_stop(suite: str) -> None:
    with booted(suite) as node, held(node):
        node.run("mkfifo", "/run/stopping")
        node.write("/run/systemd/system/ocp-tuned.service.d/slow.conf", SLOW_STOP)
        node.run("systemctl", "daemon-reload")
        node.run("systemctl", "stop", "--no-block", "ocp-tuned.service")
        node.run("systemctl", "start", "ocp-tuned-notice.service")
        assert "ocp-tuned.service stop running" in " ".join(
            node.run("systemctl", "list-jobs", "--plain", "--no-legend").stdout.split()
        )
        node.run("sh", "-c", "echo go > /run/stopping")
        node.run("systemctl", "stop", "ocp-tuned.service")
        assert property_of(node, "ocp-tuned.service", "ActiveState") == "inactive"


@pytest.mark.parametrize("suite", SUITES)
def test_killed_in_mid_run_the_unit_fails_and_leaves_no_container(suite: str) -> None:
    with booted(suite) as node, held(node):
        node.run("kill", "-KILL", property_of(node, "ocp-tuned.service", "MainPID"))
        # Not by joining its job: that may have ended, and then this would be another start.
        node.run("sh", "-c", FAILED)
        assert node.run("podman", "ps", "-aq").stdout == ""
        assert node.run("pgrep", "-f", "sbin/tuned", check=False).stdout == ""
        assert record(node)["result"] == "applying"
        assert record(node)["in_force"] is None


def test_systemd_finds_nothing_wrong_with_the_unit() -> None:
    with booted("trixie") as node:
        verified = node.run(
            "systemd-analyze", "verify", "--man=no", "ocp-tuned.service", check=False
        )
        assert "ocp-tuned.service" not in verified.stderr, verified.stderr
        assert verified.returncode == 0


ENV_FILES = (
    "NTO_IMAGE=plain\n",
    "# comment\n; another\n\nOTHER=x\nNTO_IMAGE=last\n",
    'NTO_IMAGE="double \\"quoted\\" \\$x"\n',
    "NTO_IMAGE='single \\n quoted'\n",
    "NTO_IMAGE=joined \\\n  line  \n",
    "NTO_IMAGE='a'\"b\"  c\n",
    'NTO_IMAGE=in"the"middle\n',
    "  NTO_IMAGE = spaced out \t\n",
    "NTO_IMAGE=first\nNTO_IMAGE=second\n",
    "NTO_IMAGE=escaped\\ blank\\\\\n",
    "NTO_IMAGE=\nOTHER=y\n",
)


@pytest.mark.parametrize("suite", SUITES)
def test_env_files_mean_what_they_mean_to_systemd(suite: str) -> None:
    with booted(suite) as node:
        for number, text in enumerate(ENV_FILES):
            path = f"/var/tmp/{number}.env"
            node.write(path, text)
            shown = node.run(
                "systemd-run", "--wait", "--pipe", "-q", "-p", f"EnvironmentFile={path}",
                "python3", "-c", "import os; print(ascii(os.environ.get('NTO_IMAGE')))",
            ).stdout.strip()  # fmt: skip
            assert ascii(envfile.parse(text, path).get("NTO_IMAGE")) == shown, text
