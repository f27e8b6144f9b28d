"""An operating system that is replaced as an image: upgraded, rolled back, upgraded again (ostree,
bootc); and a seed, whose /var another machine gets (image-based upgrade of OpenShift)."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import product, tunedimage
from tests.lab.deployments import ImageNode
from tests.lab.host import unwrapped
from tests.lab.test_boot import found_by, property_of
from tests.lab.workload import furnish, has_ended, record

pytestmark = pytest.mark.lab

#: A setting of the node's own, which every boot begins with: no other node sees it.
KNOB = "/proc/sys/net/ipv4/tcp_fin_timeout"
PROFILE_FILE = "/var/lib/ocp-tuned/profiles/openshift-node-lab/tuned.conf"
STATE = "/var/lib/ocp-tuned-boot"
PINS = "/etc/crio/crio.conf.d/99-ocp-tuned-boot.conf"
NOT_READ = ("is ignored", "later release", "found no ", "cannot read")


def profile(seconds: int, more: str = "[rtentsk]\n") -> str:
    """One value that differs from profile to profile, and a plugin that needs an open file."""
    return f"[main]\nsummary=for images\n[sysctl]\nnet.ipv4.tcp_fin_timeout={seconds}\n{more}"


@contextmanager
def installed(suite: str, package: Path) -> Iterator[ImageNode]:
    """A node, not booted yet, that the agent and the administrator have configured. Its image is
    in an archive: each Podman makes its store itself."""
    node = ImageNode(suite, image=None, package=package)
    with node:
        furnish(node, profile(37))
        node.write("/var/lib/ocp-tuned/image.env", f"NTO_IMAGE={tunedimage.name('trixie')}\n")
        node.write("/etc/lab/watch", f"{KNOB}\n")
        archives = node.root / "var/lib/ocp-tuned-boot/images"
        archives.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tunedimage.tuned_image("trixie"), archives / "tuned.tar")
        node.write("/etc/ocp-tuned-boot/boot.conf", "[tuning]\ntimeout = 80\n")
        node.write("/etc/systemd/system/ocp-tuned.service.d/50-site.conf", "[Service]\nNice=-1\n")
        node.write("/etc/crio/crio.conf.d/10-site.conf",
                   '[crio.image]\npinned_images = ["site"]\n')  # fmt: skip
        yield node


def tuned(node: ImageNode, program: str, seconds: int, boots: int, *, store: bool = True) -> None:
    """After a boot: all is right, by this release, with this value, in the so-manyeth boot."""
    assert found_by(node, "kubelet") == {KNOB: str(seconds)}
    has_ended(node)
    done = record(node)
    assert (done["result"], done["findings"]) == ("applied", [])
    assert done["program"] == program
    assert done["image_source"] == ("store" if store else "archive")
    # What was kept: the history, the last image and the last profile, the list of images.
    shown = json.loads(node.run("ocp-tuned-boot", "history", "--json").stdout)
    assert len(shown) == boots
    assert [run["result"] for boot in shown for run in boot["runs"]
            if run["action"] == "apply"] == ["applied"] * boots  # fmt: skip
    listed = json.loads(node.run("ocp-tuned-boot", "image", "list", "--json").stdout)
    known = {each["role"]: each["id"] for each in listed}
    assert known["requested"] == known["last good"] == known["pulled"] == done["image_id"]
    kept = json.loads(node.read(f"{STATE}/last-profile.json"))
    assert kept["profile"] == "openshift-node-lab"
    # Nothing in /var was refused, and nothing is left over.
    said = node.journal("ocp-tuned.service")
    assert not [words for words in NOT_READ if words in said], said
    assert node.run("podman", "ps", "-aq").stdout == ""
    # The pins, the open file, the units.
    assert 'pinned_images = ["site", "localhost/tuned:trixie"' in node.read(PINS)
    assert property_of(node, "ocp-tuned.service", "NFileDescriptorStore") == "1"
    assert property_of(node, "ocp-tuned.path", "ActiveState") == "active"
    assert property_of(node, "ocp-tuned.service", "Nice") == "-1"
    assert property_of(node, "ocp-tuned.service", "NeedDaemonReload") == "no"
    assert node.run("systemctl", "is-system-running", check=False).stdout == "running\n", (
        node.run("systemctl", "--failed").stdout
    )


def gate(node: ImageNode) -> str:
    shown = json.loads(node.run("ocp-tuned-boot", "status", "--json").stdout)
    found: str = shown["gate"]
    return found


def deferred(node: ImageNode, seconds: int) -> None:
    """The agent changes the profile, which waits for the next boot."""
    node.write(PROFILE_FILE, profile(seconds))
    node.run("ocp-tuned-boot", "notice")
    assert record(node)["deferred"]["waits"] == "profile"
    assert node.read(KNOB).strip() != str(seconds)


def test_upgrade_roll_back_and_upgrade_again_by_image() -> None:
    this, later = product.product_package("trixie"), product.next_package("trixie")
    with installed("trixie", this) as node:
        node.boot()
        tuned(node, "0.1.0", 37, 1, store=False)
        assert gate(node) == "open"
        machine_id = node.read("/etc/machine-id")

        deferred(node, 38)
        node.poweroff()
        node.upgrade("second", "trixie", later)
        node.boot()
        tuned(node, "0.2.0", 38, 2)
        # The image's own default, and the administrator's value beside it.
        assert gate(node) == "closed"
        assert "timeout = 80" in node.read("/etc/ocp-tuned-boot/boot.conf")
        assert node.read("/etc/machine-id") == machine_id

        # It does not come up well for others: it is cut off, and the older deployment is booted.
        # Its /var has what the later release has written.
        deferred(node, 39)
        node.kill()
        node.roll_back("root")
        node.boot()
        tuned(node, "0.1.0", 39, 3)
        assert gate(node) == "open"

        node.poweroff()
        node.upgrade("third", "trixie", later)
        node.boot()
        tuned(node, "0.2.0", 39, 4)


# A seed. The lab has no firmware to ask: each machine shows a UUID of its own where the kernel does.

_FIRMWARE = """\
[Unit]
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=mount -t overlay -o lowerdir=/etc/lab/class:/sys/class lab /sys/class
[Install]
WantedBy=sysinit.target
"""
_UUID = "/etc/lab/class/dmi/id/product_uuid"
UUIDS = {"seed": "4c4c4544-0031-4a10-8059-b4c04f4e3732",
         "target": "4c4c4544-0031-4a10-8059-b4c04f4e3733"}  # fmt: skip
#: What lifecycle-agent leaves out of a seed's /var, as far as the lab has it.
_LEFT_OUT = ("--exclude=./tmp/*", "--exclude=./log/*", "--exclude=./lib/containers/*")


def firmware(node: ImageNode, uuid: str) -> None:
    node.write(_UUID, f"{uuid}\n", 0o400)
    node.write("/etc/systemd/system/lab-firmware.service", _FIRMWARE)
    node.enable("lab-firmware.service")


def take_seed(seed: ImageNode, target: ImageNode) -> None:
    """/var of a node that is off, as the target gets it, and what is not the machine's own in /etc:
    with the machine ID of the seed."""
    (target.root / "var/lib/ocp-tuned-boot/storage").mkdir(parents=True, exist_ok=True)
    for script in (
        f'tar -C "$1/var" -c {" ".join(_LEFT_OUT)} --exclude=./lib/lab . | tar -C "$2/var" -x',
        'cp -a "$1/etc/machine-id" "$1/etc/crio" "$1/etc/ocp-tuned-boot" "$2/etc"',
    ):
        subprocess.run(["bash", "-ec", f"set -o pipefail; {script}", "-", seed.root, target.root],
                       check=True)  # fmt: skip


def names_of(node: ImageNode) -> list[str]:
    """What names this machine, or one of its boots, or is derived from its name."""
    found = json.loads(node.run("ocp-tuned-boot", "history", "--json").stdout)
    kept = json.loads(node.read(f"{STATE}/last-good.json"))
    machine_id = node.read("/etc/machine-id").strip()
    boots = [boot["boot_id"] for boot in found]
    return [machine_id, UUIDS["seed"], node.name, kept["machine"], kept["hardware"], *boots]


def naming(node: ImageNode, names: list[str]) -> list[str]:
    """The files of ours in /var and /etc of a node that is off that have one of these in their name
    or in their content. Not the image archives, which the administrator has put there."""
    found = []
    for folder in ("var/lib/ocp-tuned-boot", "etc/crio", "etc/ocp-tuned-boot"):
        for path in (node.root / folder).rglob("*"):
            content = path.read_bytes() if path.is_file() and path.suffix != ".tar" else b""
            if any(name in path.name or name.encode() in content for name in names):
                found.append(str(path.relative_to(node.root)))
    return found


def requested(node: ImageNode, seconds: int) -> None:
    """The target's own request, in the place of that of the seed."""
    node.write(PROFILE_FILE, profile(seconds, ""))


@contextmanager
def seeded(*prepare: str) -> Iterator[tuple[ImageNode, list[str]]]:
    """The target of an upgrade, not booted yet, and what names the seed. `prepare`: the command
    that is run on the seed before it is taken, if any."""
    package = product.product_package("trixie")
    with installed("trixie", package) as seed:
        firmware(seed, UUIDS["seed"])
        seed.boot()
        tuned(seed, "0.1.0", 37, 1, store=False)
        names = names_of(seed)
        # What the seed was to do at its next boot.
        deferred(seed, 38)
        if prepare:
            print(seed.run(*prepare).stdout)
            # The seed itself is as it was.
            seed.run("systemctl", "reload", "ocp-tuned")
            assert property_of(seed, "ocp-tuned.service", "NFileDescriptorStore") == "1"
            seed.run(*prepare)
        seed.poweroff()
        target = ImageNode("trixie", image="trixie", package=package)
        with target:
            take_seed(seed, target)
            furnish_target(target)
            yield target, names


def furnish_target(target: ImageNode) -> None:
    firmware(target, UUIDS["target"])
    target.write("/etc/lab/watch", f"{KNOB}\n")
    requested(target, 41)


def test_a_target_is_tuned_as_it_requests_and_believes_nothing_of_the_seed() -> None:
    with seeded() as (target, names):
        # It has all that the seed had, the machine ID included.
        assert len(naming(target, names)) >= 4
        target.boot()
        assert found_by(target, "kubelet") == {KNOB: "41"}
        has_ended(target)
        done = record(target)
        assert (done["result"], done["findings"], done["deferred"]) == ("applied", [], None)
        assert done["residue"] == done["handover"] == []
        assert done["image_source"] == "store"
        assert property_of(target, "ocp-tuned.service", "NFileDescriptorStore") == "0"
        (boot,) = json.loads(target.run("ocp-tuned-boot", "history", "--json").stdout)
        assert boot["boot_id"] == target.boot_id
        listed = json.loads(target.run("ocp-tuned-boot", "image", "list", "--json").stdout)
        assert "pulled" not in [each["role"] for each in listed]
        assert json.loads(target.run("ocp-tuned-boot", "drift", "--json").stdout)["settings"] == []
        said = unwrapped(target.run("ocp-tuned-boot", "status").stdout)
        assert "was written on another machine, such as the seed of an upgrade" in said
        assert "the history of 1 boot" in said
        assert target.journal("ocp-tuned.service").count("written on another machine") == 1
        target.poweroff()
        # The machine ID is the target's own by now; nothing else of the seed is left.
        assert naming(target, names[1:]) == []


def test_a_seed_that_was_cleaned_names_nobody() -> None:
    with seeded("ocp-tuned-boot", "cleanup", "--seed") as (target, names):
        assert naming(target, names) == []
        left = sorted(path.name for path in (target.root / "var/lib/ocp-tuned-boot").iterdir())
        assert left == ["images", "storage", "tmp"]
        target.boot()
        assert found_by(target, "kubelet") == {KNOB: "41"}
        has_ended(target)
        assert record(target)["result"] == "applied"
        assert "another machine" not in target.run("ocp-tuned-boot", "status").stdout
