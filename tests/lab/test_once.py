"""Exactly once: reload, changes that wait, what comes late, and what a killed run leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.workload import PROFILE, RESET, WANTED, furnish, has_ended, record

pytestmark = pytest.mark.lab

SUITES = ("trixie", "bookworm")
UNIT = "ocp-tuned.service"
IMAGE_ENV = "/var/lib/ocp-tuned/image.env"
FOLDER = "/var/lib/ocp-tuned/profiles/openshift-node-lab"
KNOB = "/proc/sys/net/ipv4/tcp_fin_timeout"
CHANGED = PROFILE.replace("tcp_fin_timeout=37", "tcp_fin_timeout=38")
FORWARD = "/proc/sys/net/ipv4/ip_forward"
GUARD = "/run/ocp-tuned-boot/guard"
# A script of a profile that says when TuneD runs it, and waits for the word.
HOLDS = "#!/bin/sh\necho held > /run/tuned/held\nread line < /run/tuned/go\n"


@contextmanager
def booted(suite: str, prepare: Callable[[Node], None] = furnish) -> Iterator[Node]:
    """A node of this suite that has come up, and whose unit has ended."""
    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        prepare(node)
        node.boot()
        yield node


def shown(node: Node, name: str, unit: str = UNIT) -> str:
    return node.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()


def knob(node: Node, path: str = KNOB) -> str:
    return node.read(path).strip()


def noticed(node: Node, command: str) -> None:
    """Runs a command that writes image.env, and waits for what the path unit makes of it."""
    node.run("sh", "-c", until_noticed(command))
    until(node, "active", "failed")


def until_noticed(command: str) -> str:
    """The text of a script: runs a command and waits until a start of ocp-tuned-notice.service that
    came after it has ended."""
    ended = "journalctl -b -o cat -u ocp-tuned-notice | grep -cE '^(Finished|Failed to start) '"
    return f"""
        before=$({ended})
        {command}
        until [ "$({ended})" -gt "$before" ] && ! systemctl is-active -q ocp-tuned-notice
        do sleep 0.1; done
    """


def until(node: Node, *states: str) -> None:
    """Waits until the unit is in one of the states."""
    wanted = " -o ".join(f'"$s" = {state}' for state in states)
    script = f"until s=$(systemctl is-active {UNIT}); [ {wanted} ]; do sleep 0.05; done"
    node.run("sh", "-c", script)


@pytest.mark.parametrize("suite", SUITES)
def test_a_reload_applies_what_has_changed_and_says_so_when_nothing_has(suite: str) -> None:
    with booted(suite) as node:
        has_ended(node)
        since = record(node)["in_force"]
        node.run("systemctl", "reload", UNIT)
        assert (record(node)["action"], record(node)["in_force"]) == ("keep", since)
        assert "nothing has changed" in node.journal(UNIT)
        node.write(f"{FOLDER}/tuned.conf", CHANGED)
        node.run("systemctl", "reload", UNIT)
        assert knob(node) == "38"
        assert shown(node, "ActiveState") == "active"
        assert shown(node, "StatusText").startswith("Applied: openshift-node-lab")
        node.run("sysctl", "-qw", "net.ipv4.tcp_fin_timeout=50")
        node.run("ocp-tuned-boot", "reload", "--force")
        assert knob(node) == "38"
        # Whoever relies on the unit was not disturbed.
        assert len(node.witnesses("kubelet")) == 1


@pytest.mark.parametrize("suite", SUITES)
def test_while_it_reloads_systemd_knows_and_its_time_is_extended(suite: str) -> None:
    with booted(suite) as node:
        has_ended(node)
        # Less than the script takes.
        node.write(f"/etc/systemd/system/{UNIT}.d/short.conf", "[Service]\nTimeoutStartSec=8\n")
        node.run("systemctl", "daemon-reload")
        node.write(f"{FOLDER}/tuned.conf", PROFILE + "[script]\nscript=${i:PROFILE_DIR}/s.sh\n")
        node.write(f"{FOLDER}/s.sh", HOLDS, 0o755)
        node.run("mkfifo", "/run/tuned/held", "/run/tuned/go")
        node.run("systemctl", "reload", "--no-block", UNIT)
        assert node.run("cat", "/run/tuned/held").stdout == "held\n"
        assert shown(node, "ActiveState") == "reloading"
        node.run("sh", "-c", "sleep 10; echo go > /run/tuned/go")
        until(node, "active")
        assert record(node)["result"] == "applied"


@pytest.mark.parametrize("suite", SUITES)
def test_a_change_that_is_noticed_during_its_reload_is_not_reloaded_twice(suite: str) -> None:
    with booted(suite) as node:
        has_ended(node)
        node.write(f"{FOLDER}/s.sh", HOLDS, 0o755)
        node.run("mkfifo", "/run/tuned/held", "/run/tuned/go")
        script = "[script]\nscript=${i:PROFILE_DIR}/s.sh\n"
        node.write(f"{FOLDER}/tuned.conf", CHANGED + script)
        node.run("systemctl", "reload", "--no-block", UNIT)
        assert node.run("cat", "/run/tuned/held").stdout == "held\n"
        # The unit that the path units start, until it waits for the reload.
        node.run("systemctl", "restart", "--no-block", "ocp-tuned-notice.service")
        node.run("sh", "-c", "until pgrep -f '[o]cp-tuned-boot notice'; do sleep 0.1; done")
        node.run("sh", "-c", "echo go > /run/tuned/go")
        node.run("sh", "-c", "while systemctl list-jobs | grep ocp-tuned; do sleep 0.1; done")
        reloaded = [line for line in node.journal(UNIT).splitlines() if ": Reloading " in line]
        assert len(reloaded) == 1
        assert knob(node) == "38"
        assert shown(node, "StatusText").startswith("Applied: openshift-node-lab")
        assert "nothing was applied" not in shown(node, "StatusText")
        assert record(node)["deferred"] is None


@pytest.mark.parametrize("suite", SUITES)
def test_a_reload_that_fails_leaves_the_unit_active_and_what_is_in_force(suite: str) -> None:
    with booted(suite) as node:
        has_ended(node)
        before = record(node)["in_force"]
        node.write("/var/lib/ocp-tuned/recommend.d/50-openshift.conf", "[nowhere]\n")
        assert node.run("systemctl", "reload", UNIT, check=False).returncode != 0
        assert shown(node, "ActiveState") == "active"
        assert knob(node) == "37"
        assert record(node)["in_force"] == before
        assert record(node)["findings"][0]["kind"] == "change-failed"
        status = node.run("systemctl", "status", UNIT, check=False).stdout
        assert "; the requested change was not applied" in status
        assert "nowhere" in status


def test_a_changed_profile_waits_for_the_next_boot_and_is_applied_before_the_kubelet() -> None:
    with booted("trixie") as node:
        has_ended(node)
        node.write(f"{FOLDER}/tuned.conf", CHANGED)
        noticed(node, f"touch {IMAGE_ENV}; echo NTO_IMAGE=localhost/tuned:trixie > {IMAGE_ENV}")
        assert knob(node) == "37"
        deferred = record(node)["deferred"]
        assert deferred["waits"] == "profile"
        assert record(node)["conditions"][0]["reason"] == "Deferred"
        node.run("systemctl", "restart", UNIT)
        assert record(node)["deferred"] == deferred
        assert "waits for the next boot or a reload" in shown(node, "StatusText")
        node.reboot()
        seen = node.witness("kubelet")
        assert seen is not None
        assert seen["values"] == {**WANTED, KNOB: "38"}
        has_ended(node)
        assert record(node)["deferred"] is None
        boots = json.loads(node.run("ocp-tuned-boot", "history", "--json").stdout)
        assert [[run["action"] for run in boot["runs"]] for boot in boots] == [
            ["apply", "defer"], ["apply"],
        ]  # fmt: skip


def test_with_on_change_apply_a_changed_profile_is_applied_guarded() -> None:
    def eager(node: Node) -> None:
        furnish(node, PROFILE + "[more]\ntype=sysctl\nnet.ipv4.ip_forward=0\n")
        node.write("/etc/ocp-tuned-boot/boot.conf", "[tuning]\non_change = apply\n")

    with booted("trixie", eager) as node:
        has_ended(node)
        node.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        node.write(f"{FOLDER}/tuned.conf", CHANGED + "[more]\ntype=sysctl\nnet.ipv4.ip_forward=0\n")
        noticed(node, f"echo NTO_IMAGE=localhost/tuned:trixie > {IMAGE_ENV}")
        assert (knob(node), knob(node, FORWARD)) == ("38", "1")
        assert [each["how"] for each in record(node)["handover"]] == ["left-out"]


@pytest.mark.parametrize("suite", SUITES)
def test_an_image_env_that_comes_late_starts_the_unit(suite: str) -> None:
    def without(node: Node) -> None:
        furnish(node)
        (node.root / IMAGE_ENV.lstrip("/")).unlink()

    with booted(suite, without) as node:
        assert shown(node, "ActiveState") == "inactive"
        assert knob(node) == "60"
        noticed(node, f"echo NTO_IMAGE=localhost/tuned:{suite} > {IMAGE_ENV}")
        has_ended(node)
        assert knob(node) == "37"
        assert record(node)["late"] == ["kubelet.service", "crio.service"]
        assert "late: kubelet.service, crio.service were already running" in shown(
            node, "StatusText"
        )


@pytest.mark.parametrize("suite", SUITES)
def test_a_file_that_stays_starts_nothing_again_and_again(suite: str) -> None:
    def broken(node: Node) -> None:
        furnish(node, "[main]\ninclude=does-not-exist\n")
        (node.root / IMAGE_ENV.lstrip("/")).unlink()

    with booted(suite, broken) as node:
        noticed(node, f"echo NTO_IMAGE=localhost/tuned:{suite} > {IMAGE_ENV}")
        assert shown(node, "ActiveState") == "failed"
        assert shown(node, "SubState", "ocp-tuned.path") == "waiting"
        started = [line for line in node.journal(UNIT).splitlines() if ": Starting " in line]
        assert len(started) == 1
        # And what mends it is seen.
        node.write(f"{FOLDER}/tuned.conf", PROFILE)
        noticed(node, f"echo NTO_IMAGE=localhost/tuned:{suite} > {IMAGE_ENV}")
        assert knob(node) == "37"


def test_late_can_be_deferred_until_a_reload() -> None:
    def without(node: Node) -> None:
        furnish(node)
        node.write("/etc/ocp-tuned-boot/boot.conf.d/late.conf", "[tuning]\nlate = defer\n")
        (node.root / IMAGE_ENV.lstrip("/")).unlink()
        # Else the drop-in itself is somebody's word to start.
        node.write(f"/etc/systemd/system/{UNIT}.d/late.conf",
                   f"[Unit]\nConditionPathExists={IMAGE_ENV}\n")  # fmt: skip

    with booted("trixie", without) as node:
        noticed(node, f"echo NTO_IMAGE=localhost/tuned:trixie > {IMAGE_ENV}")
        assert shown(node, "ActiveState") == "active"
        assert knob(node) == "60"
        assert record(node)["result"] == "deferred"
        assert record(node)["conditions"][0]["reason"] == "Deferred"
        node.run("systemctl", "reload", UNIT)
        assert knob(node) == "37"


def test_the_last_image_that_worked_is_used_instead_of_an_incomplete_image_env() -> None:
    with booted("trixie") as node:
        has_ended(node)
        node.poweroff()
        node.write(IMAGE_ENV, "NTO_IMAGE=local")
        node.boot()
        seen = node.witness("kubelet")
        assert seen is not None
        assert seen["values"] == WANTED
        has_ended(node)
        assert record(node)["result"] == "degraded"
        assert [each["kind"] for each in record(node)["findings"]] == ["torn-image-env"]
        words = "the file is incomplete; the last image that worked is used instead"
        assert words in node.journal(UNIT, "--priority=warning")


# What a script may take from others, and does not tell anybody.
TAKES = """#!/bin/sh
echo 0 > /proc/sys/net/ipv4/ip_forward
echo taken > /etc/sysconfig/irqbalance
cat /proc/sys/net/ipv4/ip_forward /etc/sysconfig/irqbalance > /run/tuned/taken
read line < /run/tuned/go
"""


@contextmanager
def taking(node: Node) -> Iterator[None]:
    """A reload whose TuneD has just taken something from the CNI and from irqbalance, as it sees
    it."""
    node.write("/etc/sysconfig/irqbalance", "mine\n")
    node.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    node.write(f"{FOLDER}/tuned.conf", CHANGED + "[more]\ntype=sysctl\nnet.ipv4.ip_forward=0\n"
               "[script]\nscript=${i:PROFILE_DIR}/s.sh\n")  # fmt: skip
    node.write(f"{FOLDER}/s.sh", TAKES, 0o755)
    node.run("mkfifo", "/run/tuned/taken", "/run/tuned/go")
    node.run("systemctl", "reload", "--no-block", UNIT)
    assert node.run("cat", "/run/tuned/taken").stdout == "0\ntaken\n"
    nothing_is_taken(node)
    yield
    until(node, "active")
    nothing_is_taken(node)


def nothing_is_taken(node: Node) -> None:
    assert knob(node, FORWARD) == "1"
    assert node.read("/etc/sysconfig/irqbalance") == "mine\n"


def with_irqbalance(node: Node) -> None:
    furnish(node)
    node.write("/etc/sysconfig/irqbalance", "mine\n")


@pytest.mark.parametrize("how", ["go", "TERM"])
@pytest.mark.parametrize("suite", SUITES)
def test_what_tuned_takes_it_takes_from_copies(suite: str, how: str) -> None:
    with booted(suite, with_irqbalance) as node:
        has_ended(node)
        with taking(node):
            if how == "go":
                node.run("sh", "-c", "echo go > /run/tuned/go")
            else:
                node.run("systemctl", "kill", "--kill-whom=control", "--signal=TERM", UNIT)
        handed = {each["key"]: each for each in record(node)["handover"]}
        assert handed["net.ipv4.ip_forward"]["how"] == "left-out"
        assert handed["/etc/sysconfig/irqbalance"]["how"] == "left-out"
        assert handed["/etc/sysconfig/irqbalance"]["tuned"] == "taken"
        assert node.run("podman", "ps", "-aq").stdout == ""
        assert node.run("test", "-e", GUARD, check=False).returncode == 1


def test_a_killed_reload_has_taken_nothing_and_leaves_nothing() -> None:
    with booted("trixie", with_irqbalance) as node:
        has_ended(node)
        with taking(node):
            node.run("systemctl", "kill", "--kill-whom=control", "--signal=KILL", UNIT)
        # Nothing is called in force, and nothing is claimed. The change was noticed as well.
        assert record(node)["result"] in ("applying", "failed")
        assert record(node)["in_force"] is None
        node.run("ocp-tuned-boot", "cleanup")
        nothing_is_taken(node)
        assert node.run("podman", "ps", "-aq").stdout == ""
        assert node.run("test", "-e", GUARD, check=False).returncode == 1
        node.write(f"{FOLDER}/tuned.conf", CHANGED)
        node.run("systemctl", "restart", UNIT)
        assert knob(node) == "38"


PROTECTED = "kind: KubeletConfiguration\nprotectKernelDefaults: true\n"
MAXKEYS = "/proc/sys/kernel/keys/root_maxkeys"


def test_a_profile_with_which_the_kubelet_would_not_start_is_a_finding() -> None:
    def asking(node: Node) -> None:
        # The name of the include is one that only TuneD can compute.
        furnish(node, PROFILE.replace("include=", "include=lab-${f:exec:printf:keys},"))
        folder = "/var/lib/ocp-tuned/profiles/lab-keys"
        node.write(f"{folder}/tuned.conf", "[sysctl]\nkernel.keys.root_maxkeys=1000001\n")
        node.write("/etc/kubernetes/kubelet.conf", PROTECTED)

    def said(node: Node) -> list[tuple[str, str]]:
        return [(each["kind"], each["subject"]) for each in record(node)["findings"]]

    finding = ("kubelet-default", "kernel.keys.root_maxkeys")
    with booted("trixie", asking) as node:
        has_ended(node)
        assert knob(node, MAXKEYS) == "1000001"
        assert said(node) == [finding]
        assert "protectKernelDefaults in /etc/kubernetes/kubelet.conf" in shown(node, "StatusText")
        # The administrator sets it right. A reload does not take that back, and still says so.
        node.run("sysctl", "-qw", "kernel.keys.root_maxkeys=1000000")
        node.run("ocp-tuned-boot", "reload", "--force")
        assert knob(node, MAXKEYS) == "1000000"
        assert said(node) == [finding]
        node.write("/etc/kubernetes/kubelet.conf", PROTECTED.replace("true", "false"))
        node.run("ocp-tuned-boot", "reload", "--force")
        assert said(node) == []


SPENT = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
"""


def test_a_kept_apply_costs_next_to_nothing() -> None:
    with booted("trixie") as node:
        has_ended(node)

        def seconds(*command: str) -> float:
            """Of the processor: on a busy machine the clock says little."""
            return float(node.run("python3", "-c", SPENT, "ocp-tuned-boot", *command).stdout)

        pairs = [(seconds("apply"), seconds("reload", "--force")) for _ in range(5)]
        ratio = min(kept for kept, _ in pairs) / min(full for _, full in pairs)
        print(f"kept {min(pairs)[0]:.3f} s, ratio to a full apply {ratio:.2f}")
        assert ratio < 0.4
