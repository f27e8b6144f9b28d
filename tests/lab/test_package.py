"""The package's life on a node: upgrade, downgrade, removal, coming back; and upstream's unit
beside it. That it installs is shown by every other node: all are installed from it."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.lab import product, tunedimage, upstream
from tests.lab.host import unwrapped
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.test_boot import SUITES, booted, found_by, property_of
from tests.lab.test_gate import held
from tests.lab.test_holds import latency
from tests.lab.workload import PROFILE, RESET, WANTED, furnish, has_ended, record, reloaded

pytestmark = pytest.mark.lab

STAT_INTERVAL = "/proc/sys/vm/stat_interval"
HELD = f"{PROFILE}\n[cpu]\nforce_latency=7\n"


def furnished(node: Node) -> None:
    furnish(node, HELD)
    node.write("/etc/ocp-tuned-boot/boot.conf", "# the admin's\n")
    node.write("/etc/crio/crio.conf.d/10-site.conf", "# the site's\n")


def somebody_sets(node: Node) -> None:
    node.run("sh", "-c", f"echo 9 > {STAT_INTERVAL}")


def rpm(node: Node, *arguments: str) -> str:
    # Debian's packages, which it runs on, are not in rpm's database.
    return node.run("rpm", "--nodeps", *arguments).stdout


def with_version(node: Node, version: str = "") -> str:
    """The package of this tree, or one that says it is of another version, on the node."""
    package = product.product_package(node.suite, version)
    shutil.copyfile(package, node.root / "var/lib" / package.name)
    return f"/var/lib/{package.name}"


def state(node: Node) -> list[str]:
    """Which activation the unit is in, and what it holds."""
    wanted = ("InvocationID", "ActiveState", "NFileDescriptorStore")
    return [property_of(node, "ocp-tuned.service", name) for name in wanted]


def files_of_ours(node: Node, *folders: str) -> list[str]:
    found = node.run("find", *folders, "-name", "*ocp[-_]tuned*", check=False).stdout
    return sorted(found.split())


@pytest.mark.parametrize("suite", SUITES)
def test_upgrade_and_downgrade_touch_nothing_and_what_was_recorded_is_read(suite: str) -> None:
    with booted(suite, furnished) as node:
        has_ended(node)
        somebody_sets(node)
        before, since = state(node), record(node)["in_force"]["since"]
        assert before[1:] == ["active", "1"]
        for change, version in (("--upgrade", "0.2.0"), ("--oldpackage --upgrade", "")):
            rpm(node, *change.split(), with_version(node, version))
            told = node.run("ocp-tuned-boot", "--version").stdout
            assert (version or "0.1.0") in told
            assert state(node) == before
            node.run("systemctl", "reload", "ocp-tuned")
            assert property_of(node, "ocp-tuned.service", "NeedDaemonReload") == "no"
            assert record(node)["in_force"]["since"] == since
            shown = node.run("ocp-tuned-boot", "status", "--verbose").stdout
            assert "decision keep: " in unwrapped(shown)
            assert node.read(STAT_INTERVAL).strip() == "9"
        rpm(node, "--upgrade", with_version(node, "0.2.0"))
        node.reboot()
        assert found_by(node, "kubelet") == WANTED
        assert "0.2.0" in record(node)["program"]


#: How the units of Podman are named by this package and by the earlier one, and where they listen.
TEMPLATE = {
    f"ocp-tuned-podman@{name}.socket": f"/run/ocp-tuned-boot/podman-{name}.sock"
    for name in ("shared", "own", "quiet")
}
EARLIER = {
    f"ocp-tuned-podman{name}.socket": f"/run/ocp-tuned-boot/podman{name}.sock"
    for name in ("", "-own", "-quiet")
}


def listens_at(node: Node, sockets: dict[str, str]) -> None:
    """These units listen for Podman, and no others do; nothing is left of the others."""
    shown = node.run("systemctl", "list-sockets", "--all", "--no-legend", "ocp-tuned*").stdout
    # What only a link leads to is not listed.
    assert {tuple(line.split()[:2]) for line in shown.splitlines()} == {
        (path, unit) for unit, path in sockets.items()
    }
    accepting = node.run("ss", "--listening", "--unix", "--no-header").stdout.split()
    ours = [word for word in accepting if word.startswith("/run/ocp-tuned-boot/")]
    assert sorted(ours) == sorted(sockets.values())
    links = node.run("find", "/etc/systemd/system", "-name", "ocp-tuned-podman*").stdout.split()
    enabled = [] if sockets is TEMPLATE else [f"sockets.target.wants/{unit}" for unit in sockets]
    assert sorted(links) == sorted(f"/etc/systemd/system/{link}" for link in enabled)
    assert "ocp-tuned" not in node.run("systemctl", "--failed").stdout


@pytest.mark.parametrize("suite", SUITES)
def test_the_earlier_packages_sockets_are_replaced_in_the_same_boot_and_back(suite: str) -> None:
    earlier = product.earlier_package(suite)
    with KernelKnobs(RESET), Node(suite, image=suite, package=earlier) as node:
        furnished(node)
        node.boot()
        has_ended(node)
        listens_at(node, EARLIER)
        before = state(node)
        assert before[1:] == ["active", "1"]
        # What a Podman that was killed has left.
        left = "/var/lib/ocp-tuned-boot/tmp/ocp-tuned-podman/auth.json.1"
        node.write(left, "secret\n", 0o600)
        shutil.copyfile(earlier, node.root / "var/lib" / earlier.name)
        for change, package, sockets in (
            ("--upgrade", with_version(node), TEMPLATE),
            ("--oldpackage --upgrade", f"/var/lib/{earlier.name}", EARLIER),
            ("--upgrade", with_version(node), TEMPLATE),
        ):
            somebody_sets(node)
            since = record(node)["in_force"]["since"]
            rpm(node, *change.split(), package)
            assert state(node) == before
            assert latency() == 7
            assert property_of(node, "ocp-tuned.service", "NeedDaemonReload") == "no"
            listens_at(node, sockets)
            assert node.run("test", "-e", left, check=False).returncode == 1
            node.run("systemctl", "reload", "ocp-tuned")
            assert record(node)["in_force"]["since"] == since
            assert node.read(STAT_INTERVAL).strip() == "9"
            # A profile that has changed is applied through the socket of this package.
            reloaded(node, f"{HELD}# after {change} to {package}\n")
            assert node.read(STAT_INTERVAL).strip() == "7"
            assert state(node) == before
            service = next(iter(sockets)).replace(".socket", ".service")
            assert property_of(node, service, "ActiveState") == "active"
            node.run("ocp-tuned-boot", "image", "fetch")
        node.reboot()
        listens_at(node, TEMPLATE)
        assert found_by(node, "kubelet") == WANTED
        assert node.run("systemctl", "is-system-running").stdout == "running\n"


@pytest.mark.parametrize("suite", SUITES)
def test_a_run_that_holds_the_kubelet_reaches_podman_after_the_upgrade(suite: str) -> None:
    """By the path that it knows, and that a boot.conf of that time may name."""
    with held(suite, package=product.earlier_package(suite)) as node:
        before = state(node)
        assert before[1] == "activating"
        rpm(node, "--upgrade", with_version(node))
        listens_at(node, TEMPLATE)
        assert state(node) == before
        furnish(node, HELD)
        node.settled()
        assert state(node) == [before[0], "active", "1"]
        assert found_by(node, "kubelet") == WANTED

        node.write(
            "/etc/ocp-tuned-boot/boot.conf", "[podman]\nsocket = /run/ocp-tuned-boot/podman.sock\n"
        )
        node.run("ocp-tuned-boot", "reload", "--force")
        assert state(node) == [before[0], "active", "1"]


def test_what_a_newer_version_has_written_is_refused_with_words() -> None:
    with booted("trixie", furnished) as node:
        has_ended(node)
        text = node.read("/run/ocp-tuned-boot/status.json")
        node.write(
            "/run/ocp-tuned-boot/status.json", text.replace('"version": 1', '"version": 2', 1)
        )
        done = node.run("ocp-tuned-boot", "status", check=False)
        assert done.returncode == 1
        assert "status.json: found version 2, expected 1" in done.stderr


@pytest.mark.parametrize("suite", SUITES)
def test_removal_takes_what_is_ours_and_leaves_the_tuning_and_what_is_others(suite: str) -> None:
    with booted(suite, furnished) as node:
        has_ended(node)
        agents = node.run("find", "/var/lib/ocp-tuned", "-type", "f").stdout
        node.write("/var/lib/ocp-tuned-boot/images/site.tar", "the admin's\n")
        assert node.run("sh", "-c", "ls /etc/crio/crio.conf.d").stdout.split() != ["10-site.conf"]

        rpm(node, "--erase", "ocp-tuned-boot")

        for path, value in WANTED.items():
            assert node.read(path).strip() == value
        assert latency() == 7
        assert files_of_ours(node, "/usr", "/etc/systemd", "/var/lib/systemd") == []
        assert node.run("ls", "/etc/crio/crio.conf.d").stdout.split() == ["10-site.conf"]
        assert node.run("find", "/var/lib/ocp-tuned-boot", "-type", "f").stdout.split() == [
            "/var/lib/ocp-tuned-boot/images/site.tar"
        ]
        assert node.run("find", "/var/lib/ocp-tuned", "-type", "f").stdout == agents
        assert node.read("/etc/ocp-tuned-boot/boot.conf") == "# the admin's\n"
        assert node.run("podman", "ps", "-aq").stdout == ""
        assert node.run("podman", "images", "-q").stdout != ""
        assert "ocp-tuned" not in node.run("systemctl", "--failed").stdout

        # Put back in the same boot it touches nothing; from the next one on it is as it was.
        somebody_sets(node)
        rpm(node, "--install", with_version(node))
        node.run("systemctl", "start", "ocp-tuned")
        node.run("systemctl", "reload", "ocp-tuned")
        assert node.read(STAT_INTERVAL).strip() == "9"
        assert latency() == 7
        assert state(node)[1:] == ["active", "1"]
        assert property_of(node, "ocp-tuned.path", "ActiveState") == "active"
        shown = node.run("ocp-tuned-boot", "status", "--verbose").stdout
        assert "decision keep: " in unwrapped(shown)
        node.reboot()
        assert found_by(node, "kubelet") == WANTED


def test_removal_takes_the_store_of_our_own_and_images_that_nobody_asks_for() -> None:
    with booted("trixie", furnished) as node:
        has_ended(node)
        archive = "/var/lib/ocp-tuned-boot/images/tuned.tar"
        node.run("podman", "save", "-qo", archive, tunedimage.name("trixie"))
        # Brought here once, and asked for by nobody any more.
        node.run("podman", "create", "--name", "before", tunedimage.name("trixie"), "true")
        node.run("podman", "commit", "-q", "before", "localhost/before")
        node.run("podman", "rm", "before")
        before = node.run("podman", "images", "-q", "--no-trunc", "localhost/before").stdout
        image = {"reference": "localhost/before", "id": before.strip().partition(":")[2]}
        node.write("/var/lib/ocp-tuned-boot/images.json",
                   json.dumps({"version": 1, "images": [image]}))  # fmt: skip
        # The record is to be that of the reload, not of the notice that boot.conf has changed.
        node.run("systemctl", "mask", "--runtime", "--quiet", "ocp-tuned-notice.service")
        node.write("/etc/ocp-tuned-boot/boot.conf", "[image]\nstore = own\n")
        node.run("ocp-tuned-boot", "reload", "--force")
        assert record(node)["image_source"] == "archive"
        node.run("systemctl", "unmask", "--runtime", "--quiet", "ocp-tuned-notice.service")
        rpm(node, "--erase", "ocp-tuned-boot")

        # The folder of the store itself is mounted in this lab.
        kept = node.run("find", "/var/lib/ocp-tuned-boot", "-type", "f").stdout.split()
        assert kept == [archive]
        left = node.run("podman", "images", "--format", "{{.Repository}}").stdout.split()
        assert left == ["localhost/tuned"]


def furnished_twice(node: Node) -> None:
    """With upstream's unit, and with ours."""
    furnish(node)
    upstream.furnish(node, PROFILE)


def ran(node: Node) -> list[str]:
    """Which of the two has run TuneD in this boot."""
    text = {name: node.journal(f"{name}.service") for name in ("ocp-tuned", "ocp-tuned-one-shot")}
    return [name for name, said in text.items() if "tuned.daemon.daemon: static tuning" in said]


@pytest.mark.parametrize("suite", SUITES)
def test_upstreams_unit_and_ours_never_run_one_after_the_other(suite: str) -> None:
    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        furnished_twice(node)
        # Ours, upstream's, and back: by what is enabled.
        for step, which in (
            ((), "ocp-tuned"),
            (("disable", "ocp-tuned.service"), "ocp-tuned-one-shot"),
            (("enable", "ocp-tuned.service"), "ocp-tuned"),
            (("mask", "ocp-tuned.service"), "ocp-tuned-one-shot"),
            (("unmask", "ocp-tuned.service"), "ocp-tuned"),
        ):
            if step:
                node.run("systemctl", *step)
                node.poweroff()
            node.boot()
            assert ran(node) == [which], step
            assert found_by(node, "kubelet") == WANTED
            assert "ocp-tuned" not in node.run("systemctl", "--failed").stdout
        # Masked until the next boot.
        node.run("systemctl", "mask", "--runtime", "ocp-tuned.service")
        node.run("systemctl", "start", upstream.UNIT)
        assert property_of(node, upstream.UNIT, "ConditionResult") == "yes"
        rpm(node, "--erase", "ocp-tuned-boot")
        node.reboot()
        assert ran(node) == ["ocp-tuned-one-shot"]
        assert found_by(node, "kubelet") == WANTED
