"""What is seen first of twelve nodes by someone who knows nothing else: what is wrong, and what to
type. The two screens are those of `systemctl status` and of `ocp-tuned-boot status`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.host import unwrapped
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.patience import AMPLE
from tests.lab.test_gate import says
from tests.lab.test_once import noticed
from tests.lab.test_userspace import soft_reboot
from tests.lab.workload import PROFILE, RESET, furnish, has_ended, reloaded

pytestmark = pytest.mark.lab

#: A serial console.
LINES, COLUMNS = 24, 80
UNIT = "ocp-tuned.service"
DROP_IN = f"/etc/systemd/system/{UNIT}.d/lab.conf"
CONF = "/etc/ocp-tuned-boot/boot.conf"
RUN = "/run/ocp-tuned-boot"
IMAGE_ENV = "/var/lib/ocp-tuned/image.env"
RECOMMEND = "/var/lib/ocp-tuned/recommend.d/50-openshift.conf"
TUNED_CONF = "/var/lib/ocp-tuned/profiles/openshift-node-lab/tuned.conf"
IMAGE = "localhost/tuned:trixie"
DEAD = "registry.lab:5999/openshift/tuned:new"
STATUS = ("ocp-tuned-boot", "status")
KNOB = "net.ipv4.tcp_fin_timeout"
HELD = PROFILE + "[rtentsk]\n"
LACKING = PROFILE + "[more]\ntype=sysctl\nkernel.no_such=1\n"
#: A second of each run is for a registry that does not answer; to load an image takes its time.
BRIEF = "[tuning]\ntimeout = 30\n"


@dataclass(frozen=True)
class Screen:
    """What a screen must have: how its first line begins, why that is so, and the command to type,
    alone in a line or at its end; empty where nothing is wrong. `line`: what of that
    `systemctl status` has, too. A profile that waits, or a value that others have changed since the
    last run, it cannot have: its line is that of the last run. `never`: what it must not have."""

    verdict: str
    causes: tuple[str, ...]
    command: str = ""
    line: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


START, RELOAD = "systemctl start ocp-tuned", "systemctl reload ocp-tuned"
SCREENS = {
    "good": Screen(
        "Tuned before the kubelet: openshift-node-lab, ", (IMAGE,),
        line=("Applied: openshift-node-lab in ",),
    ),
    "drift": Screen(
        "Tuned before the kubelet: openshift-node-lab, ",
        (f"{KNOB}: applied '37', found '50'",), "ocp-tuned-boot reload --force",
    ),
    "deferred": Screen(
        "Tuned: openshift-node-lab, since ",
        ("the requested profile has changed", "at the next boot"), RELOAD,
        ("Applied: openshift-node-lab in ",),
    ),
    "change failed": Screen(
        "Degraded: ", ("change-failed", 'No profile "site-x"', "; a change has failed"), RELOAD,
        ('Degraded: change-failed unknown-profile: No profile "site-x"', RELOAD),
        ("at the next boot", "a change waits"),
    ),
    "change corrected": Screen(
        "Tuned: openshift-node-lab, since ", (IMAGE,), "",
        ('Degraded: change-failed unknown-profile: No profile "site-x"',), ("site-x",),
    ),
    "full run, tuned": Screen(
        "Tuned: openshift-node-lab, since ",
        ("/run is full", f"{RUN} has 0 MiB left", "the requested change was not applied"),
        "du -xhd2 /run", ("The file system /run is full",), ("image store",),
    ),
    "full state": Screen(
        "Tuned: openshift-node-lab, since ",
        ("/var/lib/ocp-tuned-boot is full", "has 0 MiB left", "a fallback is an earlier one"),
    ),
    "lost hold": Screen(
        "Degraded: ", ("rtentsk (socket:[", "is NOT in effect"),
        "systemctl reload-or-restart ocp-tuned",
    ),
    "degraded": Screen(
        "Degraded: ", ("no-such-setting", "kernel.no_such"), RELOAD,
        ("Degraded: no-such-setting kernel.no_such: This kernel has no such", RELOAD),
    ),
    "soft-rebooted": Screen(
        "Not tuned: no profile has been applied since the soft-reboot",
        ("what was applied before does not count", f"{UNIT} is disabled"),
        "systemctl enable --now ocp-tuned",
    ),
    "soft-rebooted, tuned again": Screen(
        "Tuned before the kubelet: openshift-node-lab, ", (IMAGE,),
        line=("Applied: openshift-node-lab in ",),
    ),
    "fallback image": Screen(
        "Degraded: tuned before the kubelet: openshift-node-lab, ",
        (f"cannot pull {DEAD}", f"{IMAGE} is used instead"), RELOAD,
        (f"Degraded: image-stand-in {DEAD}: ", f"{IMAGE} is used instead", RELOAD),
    ),
    "typo in the profile's name": Screen(
        "Not tuned: ", ('No profile "openshift-node-labb"', RECOMMEND), START,
        ("Failed: unknown-profile openshift-node-labb: ", RECOMMEND, START),
    ),
    "failed, the gate is open": Screen(
        "Not tuned: ", ('No profile "does-not-exist"', TUNED_CONF), START,
        ("Failed: missing-include does-not-exist: ", TUNED_CONF, START),
    ),
    "short image name": Screen(
        "Not tuned: ", ("cannot pull tuned:2.25", "registry.example/tuned:2.25", IMAGE_ENV), START,
        ("cannot pull tuned:2.25", "registry.example/tuned:2.25", IMAGE_ENV, START),
    ),
    "full run": Screen(
        "Not tuned", (f"cannot write {RUN}", "No space left on device"), START,
        (f"cannot write {RUN}", "No space left on device", START),
    ),
    "disk full": Screen(
        "Not tuned: ", ("no space left on device", "Free disk space"), START,
        ("no space left on device", "Free disk space", START),
    ),
    "held": Screen(
        "Not tuned", ('No profile "does-not-exist"', TUNED_CONF, "continues automatically"),
        "systemctl stop ocp-tuned",
        ("Held (gate = closed): missing-include does-not-exist: ", TUNED_CONF,
         "continues automatically", "systemctl stop ocp-tuned"),
    ),
}  # fmt: skip

#: Brings a node into a state, yields its name, and once the screen was seen does what it says.
States = Callable[[Node], Iterator[str]]


def a_node_that_was_tuned(node: Node) -> Iterator[str]:
    furnish(node, HELD)
    node.write(CONF, AMPLE)
    # Nothing inside the node could mount again what is mounted from outside.
    for mount in ("var-lib-containers", "var-lib-ocp\\x2dtuned\\x2dboot-storage"):
        drop_in = f"/etc/systemd/system/{mount}.mount.d/lab.conf"
        node.write(drop_in, "[Unit]\nDefaultDependencies=no\n")
    node.boot()
    has_ended(node)
    yield "good"

    node.run("sysctl", "-qw", f"{KNOB}=50")
    yield "drift"
    mended(node, "drift")
    assert node.run("sysctl", "-n", KNOB).stdout == "37\n"

    node.write(TUNED_CONF, HELD.replace("=37", "=38"))
    noticed(node, f"touch {IMAGE_ENV}; echo NTO_IMAGE={IMAGE} > {IMAGE_ENV}")
    yield "deferred"
    mended(node, "deferred")
    assert node.run("sysctl", "-n", KNOB).stdout == "38\n"

    yield from changes_that_fail(node)

    takes = "[Service]\nExecReload=\nExecReload=systemd-notify FDSTOREREMOVE=1 FDNAME=rtentsk\n"
    node.write(DROP_IN, takes)
    node.run("systemctl", "daemon-reload")
    node.run("systemctl", "reload", UNIT)
    node.run("rm", DROP_IN)
    node.run("systemctl", "daemon-reload")
    yield "lost hold"
    mended(node, "lost hold")
    stored = node.run("systemctl", "show", "--value", "-p", "NFileDescriptorStore", UNIT)
    assert stored.stdout == "1\n"

    reloaded(node, LACKING)
    yield "degraded"
    node.write(TUNED_CONF, PROFILE)
    mended(node, "degraded")

    node.run("systemctl", "--quiet", "disable", UNIT)
    soft_reboot(node)
    yield "soft-rebooted"
    mended(node, "soft-rebooted")
    soft_reboot(node)
    has_ended(node)
    yield "soft-rebooted, tuned again"

    node.write(IMAGE_ENV, f"NTO_IMAGE={DEAD}\n")
    node.write(CONF, BRIEF)
    node.reboot()
    has_ended(node)
    yield "fallback image"
    node.write(IMAGE_ENV, f"NTO_IMAGE={IMAGE}\n")
    mended(node, "fallback image")


def changes_that_fail(node: Node) -> Iterator[str]:
    node.write(RECOMMEND, "[site-x]\n")
    node.run("systemctl", "reload", UNIT, check=False)
    noticed(node, "touch /var/lib/ocp-tuned/provider")
    yield "change failed"
    noticed(node, f"echo [openshift-node-lab] > {RECOMMEND}; rm /var/lib/ocp-tuned/provider")
    yield "change corrected"

    node.write(TUNED_CONF, HELD.replace("=37", "=39"))
    node.run("mount", "-o", "remount,size=60m", "/run")
    node.run("sh", "-c", "cat /dev/zero > /run/full", check=False)
    node.run("systemctl", "reload", UNIT, check=False)
    yield "full run, tuned"
    node.run("rm", "/run/full")
    node.run("systemctl", "reload", UNIT)
    assert node.run("sysctl", "-n", KNOB).stdout == "39\n"

    # A boot that needs a fallback would use an earlier profile.
    state = "/var/lib/ocp-tuned-boot"
    node.write(TUNED_CONF, HELD)
    node.run("mount", "-t", "tmpfs", "-o", "size=1M,mode=755", "lab", state)
    node.run("sh", "-c", f"cat /dev/zero > {state}/full", check=False)
    node.run("systemctl", "reload", UNIT)
    yield "full state"
    node.run("umount", state)


def a_node_that_never_was(node: Node) -> Iterator[str]:
    furnish(node)
    node.write(CONF, BRIEF)
    node.write(RECOMMEND, "[openshift-node-labb]\n")
    node.boot()
    yield "typo in the profile's name"

    # What is written to these two is noticed, and starts the unit.
    node.write(TUNED_CONF, "[main]\ninclude=does-not-exist\n")
    noticed(node, f"echo [openshift-node-lab] > {RECOMMEND}")
    yield "failed, the gate is open"

    node.write(TUNED_CONF, PROFILE)
    noticed(node, f"echo NTO_IMAGE=tuned:2.25 > {IMAGE_ENV}")
    yield "short image name"

    node.run("podman", "save", "-q", "--format=oci-archive", "-o",
             "/var/lib/ocp-tuned-boot/images/day-0.tar", IMAGE)  # fmt: skip
    node.write(CONF, f"{AMPLE}[image]\nstore = own\n")
    node.run("mount", "-t", "tmpfs", "-o", "size=20m", "lab", "/var/lib/ocp-tuned-boot/storage")
    noticed(node, f"echo NTO_IMAGE={IMAGE} > {IMAGE_ENV}")
    yield "disk full"

    node.write(TUNED_CONF, "[main]\ninclude=does-not-exist\n")
    node.write(CONF, "[tuning]\ngate = closed\n")
    node.poweroff()
    node.start()
    says(node, "Held (gate")
    yield "held"
    assert node.witnesses("kubelet") == []
    node.write(TUNED_CONF, PROFILE)
    node.settled()
    assert len(node.witnesses("kubelet")) == 1

    node.write(CONF, BRIEF)
    # As in a boot before the first run. The unit starts Podman's sockets again, which are in it.
    node.run("systemctl", "stop", UNIT, "ocp-tuned-podman@*")
    node.run("mount", "-t", "tmpfs", "-o", "size=1M,mode=755", "lab", RUN)
    node.run("sh", "-c", f"cat /dev/zero > {RUN}/full", check=False)
    node.run("systemctl", "start", UNIT, check=False)
    yield "full run"
    node.run("rm", f"{RUN}/full")
    mended(node, "full run")


def mended(node: Node, name: str) -> None:
    """Types what the screen says."""
    node.run(*SCREENS[name].command.split())
    first = node.run("ocp-tuned-boot", "status").stdout.partition("\n")[0]
    assert first.startswith("Tuned"), f"{name}: {first}"


@pytest.mark.parametrize("states", [a_node_that_was_tuned, a_node_that_never_was])
def test_each_screen_has_the_verdict_the_cause_and_the_command(states: States) -> None:
    missing: list[str] = []
    with KernelKnobs(RESET), Node("trixie", image="trixie") as node:
        for name in states(node):
            screen = SCREENS[name]
            text = shown(node, name, *STATUS)
            missing += [f"{name}: {it}\n{text}" for it in (*lacks(screen, text), *others(node))]
            unit = shown(node, f"{name} (unit)", "systemctl", "status", "-n0", "ocp-tuned")
            line = unwrapped(unit)
            missing += [f"{name}: {it}\n{unit}" for it in screen.line if it not in line]
    assert missing == [], "\n\n".join(missing)


def shown(node: Node, name: str, *command: str) -> str:
    """What a command prints on a serial console; of `systemctl status` the first screen. It is
    kept in the folder $OCP_TUNED_SCREENS, if that is set."""
    printed = node.run(*command, check=False, env={"LANG": "C"}).stdout
    text = printed.rstrip("\n")
    if command != STATUS:
        text = "\n".join(text.splitlines()[:LINES])
    if folder := os.environ.get("OCP_TUNED_SCREENS"):
        file = Path(folder) / f"{name.replace(' ', '-')}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# {' '.join(command)}\n{text}\n")
    return text


def lacks(screen: Screen, text: str) -> Iterator[str]:
    """What a screen does not have."""
    lines = text.splitlines()
    if not lines[0].startswith(screen.verdict):
        yield f"the verdict {screen.verdict!r}"
    yield from (f"the cause {words!r}" for words in screen.causes if words not in unwrapped(text))
    # It is copied with the mouse: whole, and with nothing after it.
    if not any(line.endswith(screen.command) for line in lines):
        yield f"the command {screen.command!r}"
    yield from (f"not {words!r}" for words in screen.never if words in unwrapped(text))
    # A long path is whole.
    long = [line for line in lines if len(line) > COLUMNS and " " in line.strip()]
    yield from (f"{COLUMNS} columns: {line}" for line in long)
    if len(lines) > LINES:
        yield f"at most {LINES} lines: {len(lines)}"
    if "see journalctl" in text:
        yield "why the last pull failed"
    if not text.isascii():
        yield "plain ASCII"


def others(node: Node) -> Iterator[str]:
    """What is different for somebody who is not root, and should not be."""
    root = node.run(*STATUS, check=False)
    nobody = node.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *STATUS,
                      check=False)  # fmt: skip
    first = root.stdout.partition("\n")[0]
    # What has changed since then is in a file that only root reads.
    told = first.partition(";")[0]
    if nobody.returncode != root.returncode or not nobody.stdout.startswith(told):
        yield f"exit status {root.returncode} and {told!r} for a user: {nobody}"
    if nobody.stderr:
        yield f"nothing on standard error for a user: {nobody.stderr}"
    if "Permission denied" in nobody.stdout:
        yield f"no problem of the node in what a user may not read: {nobody.stdout}"
    if (root.returncode == 0) != first.startswith(("Tuned", "Degraded")):
        yield f"an exit status that agrees with {first!r}: {root.returncode}"


def test_all_twelve_are_seen() -> None:
    more = {"full run", "soft-rebooted, tuned again", "change failed", "change corrected",
            "full run, tuned", "full state"}  # fmt: skip
    assert len(SCREENS.keys() - more) == 12
