"""Beside an operator: what its pod writes, in the order and in the way in which it does, what
counts as a change of it, and a TuneD of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.lab import workload
from tests.lab.host import unwrapped
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.workload import RESET, has_ended, record

pytestmark = pytest.mark.lab

SUITES = ("trixie", "bookworm")
UNIT = "ocp-tuned.service"
AGENT = "/var/lib/ocp-tuned"
NAME = "openshift-node-lab"
CONF = f"{AGENT}/profiles/{NAME}/tuned.conf"
#: A setting of the node's own network namespace: no other node, nor this machine, sees it.
KNOB = "/proc/sys/net/ipv4/tcp_fin_timeout"


def with_knob(value: int) -> str:
    return f"[main]\nsummary=for tests\n[sysctl]\nnet.ipv4.tcp_fin_timeout={value}\n"


PROFILE = with_knob(37)


def furnish(node: Node) -> None:
    workload.furnish(node, PROFILE)


@contextmanager
def booted(suite: str, prepare: Callable[[Node], None] = furnish) -> Iterator[Node]:
    """A node of this suite that has come up."""
    with Node(suite, image=suite) as node:
        prepare(node)
        node.boot()
        yield node


def reason(node: Node) -> str:
    """Of the condition Applied."""
    return str(record(node)["conditions"][0]["reason"])


def pending(node: Node) -> str:
    """What `status` says that waits."""
    shown = node.run("ocp-tuned-boot", "status", "--json", check=False).stdout
    return str(json.loads(shown)["waits"])


def until(node: Node, condition: str) -> None:
    """Waits until a shell command on the node succeeds."""
    node.run("sh", "-c", f"until {condition}; do sleep 0.05; done")


def recorded(node: Node, **fields: str) -> None:
    """Waits until the record has these fields on its top level, and nothing reads the files any
    more."""
    lines = " && ".join(
        f"""grep -q '^  "{name}": "{text}' /run/ocp-tuned-boot/status.json"""
        for name, text in fields.items()
    )
    until(node, f"{{ {lines}; }}")


def seen(node: Node) -> None:
    """Waits until the record is of the present request. If a change of it was lost, for ever."""
    wanted = json.loads(node.run("ocp-tuned-boot", "plan", "--json").stdout)["fingerprint"]
    recorded(node, fingerprint=wanted)
    until(node, "[ $(systemctl show --value -p ActiveState ocp-tuned-notice) = inactive ]")


def in_place(node: Node, path: str, text: str) -> None:
    """A plain write: the file is truncated, and is there all the time."""
    node.run("sh", "-c", f"mkdir -p $(dirname {path}); cat > {path}", input=text)


def watched(node: Node, *names: str) -> None:
    """Waits until the folders of these profiles are watched, and no others."""
    listed = "systemctl list-units --plain --no-legend 'ocp-tuned-folder@profiles-*'"
    expected = " ".join(f"{AGENT}/profiles/{name}" for name in sorted(names))
    until(node, f"""[ "$(echo $({listed} | sed 's/.* //' | sort))" = "{expected}" ]""")


def not_started(node: Node) -> None:
    """Waits until a start of the unit has come to nothing."""
    until(node, f"[ $(systemctl is-active {UNIT}) = failed ]")


@pytest.mark.parametrize("suite", SUITES)
def test_image_env_first_and_the_rest_seconds_later_ends_tuned(suite: str) -> None:
    with booted(suite, lambda node: node.write("/etc/lab/watch", f"{KNOB}\n")) as node:
        assert node.run("systemctl", "is-active", UNIT, check=False).stdout == "inactive\n"
        # In this order, and each only after what follows from the one before has failed.
        in_place(node, f"{AGENT}/image.env", f"NTO_IMAGE=localhost/tuned:{suite}\n")
        not_started(node)
        assert "50-openshift.conf: there is no such file" in node.journal(UNIT)
        in_place(node, f"{AGENT}/provider", "aws")
        in_place(node, f"{AGENT}/recommend.d/50-openshift.conf", f"[{NAME}]\n")
        recorded(node, profile=NAME, result="failed")
        not_started(node)
        node.run("mkdir", "-p", f"{AGENT}/profiles/{NAME}")
        watched(node, NAME)
        not_started(node)
        in_place(node, CONF, PROFILE)
        has_ended(node)
        recorded(node, result="applied")
        assert node.read(KNOB).strip() == "37"
        assert reason(node) == "AsExpected"


@pytest.mark.parametrize("suite", SUITES)
def test_a_profile_that_changes_alone_waits_and_every_way_to_ask_says_so(suite: str) -> None:
    with booted(suite) as node:
        has_ended(node)
        watched(node, NAME)
        in_place(node, CONF, with_knob(38))
        recorded(node, action="defer")
        assert reason(node) == "Deferred"
        assert record(node)["deferred"]["waits"] == "profile"
        assert "the requested profile has changed" in pending(node)
        assert node.read(KNOB).strip() == "37"
        # And back again: nothing waits any more.
        in_place(node, CONF, PROFILE)
        recorded(node, action="keep")
        assert (reason(node), pending(node)) == ("AsExpected", "")
        # Replaced, as an agent does that writes whole files, and as one that swaps folders.
        node.write("/var/lib/new", with_knob(39))
        node.run("mv", "/var/lib/new", CONF)
        recorded(node, action="defer")
        folder = CONF.rpartition("/")[0]
        script = f"cp -a {folder} /var/lib/new && sed -i s/=39/=37/ /var/lib/new/tuned.conf && "
        node.run("sh", "-c", f"{script} mv {folder} /var/lib/old && mv /var/lib/new {folder}")
        recorded(node, action="keep")
        # Another name alone.
        in_place(node, f"{AGENT}/recommend.d/50-openshift.conf", "[balanced]\n")
        recorded(node, action="defer", profile="balanced")
        assert reason(node) == "Deferred"
        # A folder that comes is watched, one that goes is not any more.
        in_place(node, f"{AGENT}/profiles/a_b.c/tuned.conf", PROFILE)
        watched(node, NAME, "a_b.c")
        node.run("rm", "-r", f"{AGENT}/profiles/a_b.c")
        watched(node, NAME)


def test_a_boot_conf_that_changes_is_noticed_while_a_profile_is_applied() -> None:
    conf = "/etc/ocp-tuned-boot/boot.conf"

    def by_boot_conf(node: Node) -> None:
        node.write(conf, f"[tuning]\nimage = localhost/tuned:trixie\nprofile = {NAME}\n")
        node.write(CONF, PROFILE)

    with booted("trixie", by_boot_conf) as node:
        has_ended(node)
        until(node, "systemctl --quiet is-active ocp-tuned-conf.path")
        in_place(node, conf, node.read(conf).replace(NAME, "powersave"))
        recorded(node, action="defer", profile="powersave")
        assert reason(node) == "Deferred"
        assert "has changed" in pending(node)
        # Where nothing is applied, writing boot.conf starts nothing.
        node.run("systemctl", "stop", UNIT)
        assert node.run("systemctl", "is-active", "ocp-tuned-conf.path", check=False).stdout == (
            "inactive\n"
        )


def test_what_is_watched_is_watched_again_after_a_stop_and_a_start() -> None:
    with booted("trixie") as node:
        has_ended(node)
        watched(node, NAME)
        node.run("systemctl", "stop", UNIT, "ocp-tuned.path")
        watched(node)
        node.run("systemctl", "start", UNIT, "ocp-tuned.path")
        assert record(node)["action"] == "keep"
        watched(node, NAME)
        until(node, "systemctl --quiet is-active ocp-tuned-conf.path")


def test_after_a_first_run_that_fails_the_profiles_are_watched() -> None:
    def without_image(node: Node) -> None:
        furnish(node)
        node.write(f"{AGENT}/image.env", "NTO_IMAGE=localhost/none:1\n")
        node.write("/etc/ocp-tuned-boot/boot.conf", "[image]\npull = never\n")

    with booted("trixie", without_image) as node:
        not_started(node)
        watched(node, NAME)


def test_no_change_is_lost_whenever_it_comes() -> None:
    """While the one before is being looked at, the next one must not go unnoticed."""
    with booted("trixie") as node:
        has_ended(node)
        watched(node, NAME)
        for step in range(24):
            # From the moment of the first change to long after it was recorded.
            gap = step * 0.06
            script = f"cat > {CONF}; sleep {gap}; echo '# {step}' >> {CONF}"
            node.run("sh", "-c", script, input=with_knob(100 + step))
            seen(node)


def test_a_profile_of_another_node_is_no_change_here() -> None:
    """With a profile that is on top of one of the image's own."""
    with KernelKnobs(RESET), booted("trixie", workload.furnish) as node:
        has_ended(node)
        since = record(node)["in_force"]
        foreign = f"{AGENT}/profiles/foreign/tuned.conf"
        for text in ("[sysctl]\nvm.x=1\n", "[sysctl]\nvm.x=2\n"):
            in_place(node, foreign, text)
            seen(node)
            assert (record(node)["action"], reason(node), pending(node)) == (
                "keep", "AsExpected", "",
            )  # fmt: skip
            watched(node, NAME, "foreign")
        # TuneD did not run for it on a reload either.
        node.run("systemctl", "reload", UNIT)
        assert record(node)["in_force"] == since
        assert "only profiles have changed that it does not use" in record(node)["reason"]
        # One that the image's own profile includes by name is used.
        name = "throughput-performance"
        in_place(node, f"{AGENT}/profiles/{name}/tuned.conf", "[sysctl]\n")
        recorded(node, action="defer")
        node.run("rm", "-r", f"{AGENT}/profiles/{name}")
        recorded(node, action="keep")
        # TuneD itself says what a computed include is.
        node.write(
            CONF, workload.PROFILE.replace("performance\n", "performance${f:exec:printf:}\n", 1)
        )
        node.run("systemctl", "reload", UNIT)
        seen(node)
        in_place(node, foreign, "[sysctl]\nvm.x=3\n")
        seen(node)
        assert record(node)["action"] == "keep"
        # But a script may compute any path.
        node.write(f"{AGENT}/profiles/{NAME}/any.sh", "#!/bin/sh\ncat /etc/tuned/$1/x\n")
        node.run("systemctl", "reload", UNIT)
        seen(node)
        in_place(node, foreign, "[sysctl]\nvm.x=4\n")
        recorded(node, action="defer")


def following(node: Node) -> None:
    furnish(node)
    node.write("/etc/ocp-tuned-boot/boot.conf", "[tuning]\non_change = agent\n")
    node.write(f"{AGENT}/on_change", "update\n")
    node.write(f"{AGENT}/reapply_sysctl", "false\n")
    node.write("/etc/sysctl.d/50-site.conf", "net.ipv4.tcp_fin_timeout = 44\n")
    node.write("/etc/ocp-tuned-boot/boot.conf.d/owners.conf", "[handover]\nsysctl_d = no\n")


@pytest.mark.parametrize("suite", SUITES)
def test_the_agent_says_when_a_change_is_applied(suite: str) -> None:
    with booted(suite, following) as node:
        has_ended(node)
        # reapply_sysctl: what the host's sysctl.d says does not win.
        assert node.read(KNOB).strip() == "37"
        assert (record(node)["result"], record(node)["findings"]) == ("applied", [])
        watched(node, NAME)
        in_place(node, CONF, with_knob(38))
        recorded(node, action="defer")
        assert reason(node) == "Deferred"
        # Another name is no update.
        in_place(node, f"{AGENT}/profiles/second/tuned.conf", with_knob(39))
        seen(node)
        in_place(node, f"{AGENT}/recommend.d/50-openshift.conf", "[second]\n")
        recorded(node, action="apply", result="applied", profile="second")
        assert node.read(KNOB).strip() == "39"
        has_ended(node)
        in_place(node, f"{AGENT}/on_change", "always")
        in_place(node, f"{AGENT}/recommend.d/50-openshift.conf", f"[{NAME}]\n")
        recorded(node, action="defer")
        # What waits is applied as soon as the agent does not want it to wait.
        in_place(node, f"{AGENT}/on_change", "never")
        recorded(node, action="apply", result="applied", profile=NAME)
        assert node.read(KNOB).strip() == "38"
        has_ended(node)
        in_place(node, f"{AGENT}/reapply_sysctl", "true")
        recorded(node, action="apply", result="degraded")
        assert [each["kind"] for each in record(node)["findings"]] == ["overridden"]
        assert node.read(KNOB).strip() == "44"


POD = "operand-pod"


def started(node: Node, *options: str) -> str:
    """A TuneD of its own that goes on, as the operator's pod has it; its process ID."""
    node.run(
        "podman", "run", "--detach", f"--name={POD}", "--privileged", "--pid=host",
        "--network=host",
        # TuneD 2.20 looks for it in the first folder, 2.25 in the second one.
        f"--volume={AGENT}/profiles/{NAME}:/etc/tuned/{NAME}",
        f"--volume={AGENT}/profiles/{NAME}:/etc/tuned/profiles/{NAME}",
        *options, f"--entrypoint={json.dumps(['/usr/sbin/tuned'])}",
        f"localhost/tuned:{node.suite}", "--no-dbus", "--profile", NAME,
    )  # fmt: skip
    # Before that, it ignores a request to load the profile again.
    until(node, f"podman logs {POD} 2>&1 | grep -q 'static tuning from profile .* applied'")
    return node.run("pgrep", "--full", "sbin/tuned --no-dbus --profile").stdout.strip()


@pytest.mark.parametrize("suite", SUITES)
def test_beside_a_tuned_that_runs_in_a_pod(suite: str) -> None:
    with booted(suite) as node:
        has_ended(node)
        watched(node, NAME)
        pid = started(node, "--volume=/run/tuned:/run/tuned")
        until(node, f'[ "$(cat /run/tuned/tuned.pid)" = {pid} ]')
        shown = json.loads(node.run("ocp-tuned-boot", "status", "--json").stdout)["record"]
        assert (shown["result"], [it["kind"] for it in shown["findings"]]) == (
            "degraded", ["other-tuned"],
        )  # fmt: skip
        assert f"process {pid}" in shown["findings"][0]["message"]
        # A change that it applies by itself does not wait.
        in_place(node, CONF, with_knob(38))
        node.run("kill", "-HUP", pid)
        until(node, f"[ $(cat {KNOB}) = 38 ]")
        seen(node)
        done = record(node)
        assert (done["action"], reason(node), pending(node)) == ("keep", "AsExpected", "")
        assert "it is applied already, by TuneD in " in done["reason"]
        assert [each["kind"] for each in done["findings"]] == ["other-tuned"]
        # One that it does not apply does.
        in_place(node, CONF, with_knob(39))
        recorded(node, action="defer")
        assert reason(node) == "Deferred"
        # A run of ours leaves its PID file alone, whatever contract it has.
        node.run("systemctl", "reload", UNIT)
        assert (node.read(KNOB).strip(), record(node)["action"]) == ("39", "apply")
        assert node.read("/run/tuned/tuned.pid") == pid
        assert "ocp-tuned-boot.pid" not in node.run("ls", "/run/tuned").stdout
        node.run("podman", "rm", "--force", "--time=0", POD)
        node.run("ocp-tuned-boot", "reload", "--force")
        assert (record(node)["result"], record(node)["findings"]) == ("applied", [])


def test_a_tuned_in_a_pod_is_found_without_its_pid_file() -> None:
    with booted("trixie") as node:
        has_ended(node)
        # What is in a control group of pods, as the kubelet makes them.
        pid = started(node, "--cgroup-parent=kubepods.slice")
        assert "kubepods.slice" in node.read(f"/proc/{pid}/cgroup")
        node.run("ocp-tuned-boot", "reload")
        (finding,) = record(node)["findings"]
        assert (finding["kind"], finding["subject"]) == ("other-tuned", "pod")
        node.write("/etc/ocp-tuned-boot/boot.conf", "[tuning]\naccept = other-tuned:pod\n")
        node.run("ocp-tuned-boot", "reload")
        assert record(node)["result"] == "applied"


def test_stage_plan_and_status_say_which_file_decides() -> None:
    def by_boot_conf(node: Node) -> None:
        node.write("/etc/ocp-tuned-boot/boot.conf",
                   f"[tuning]\nimage = localhost/tuned:trixie\nprofile = {NAME}\n")  # fmt: skip
        node.write(CONF, PROFILE)

    with booted("trixie", by_boot_conf) as node:
        has_ended(node)
        shown = unwrapped(node.run("ocp-tuned-boot", "status").stdout)
        named = r"from: store, named in \[tuning\] of /etc/ocp-tuned-boot/boot.conf "
        assert re.search(rf"image localhost/tuned:trixie, ID \w+, {named}", shown), shown
        node.run("podman", "tag", "localhost/tuned:trixie", "localhost/tuned:next")
        staged = node.run("ocp-tuned-boot", "image", "stage", "localhost/tuned:next").stdout
        assert f"From now on {AGENT}/image.env decides: image = in boot.conf has no" in staged
        words = (
            "image = localhost/tuned:trixie in /etc/ocp-tuned-boot/boot.conf has no effect: "
            f"{AGENT}/image.env"
        )
        for command in ("status", "plan"):
            assert words in unwrapped(node.run("ocp-tuned-boot", command).stdout)
        node.run("systemctl", "disable", UNIT)
        node.run("ocp-tuned-boot", "reload", "--force")
        node.run("sh", "-c", "rm -r /run/ocp-tuned-boot/status.json")
        in_place(node, f"{AGENT}/recommend.d/50-openshift.conf", "[nowhere]\n")
        shown = unwrapped(node.run("ocp-tuned-boot", "plan").stdout)
        assert f"{UNIT} is disabled: systemd does not start it at boot." in shown
        assert 'No profile "nowhere" in ' in shown
