"""An operating system that is replaced as an image: upgraded, rolled back, upgraded again (ostree,
bootc); and a seed, whose /var another machine gets (image-based upgrade of OpenShift)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import product, tunedimage
from tests.lab.deployments import ImageNode
from tests.lab.host import unwrapped
from tests.lab.test_boot import found_by, property_of
from tests.lab.test_package import EARLIER, TEMPLATE, listens_at
from tests.lab.workload import furnish, has_ended, record

pytestmark = pytest.mark.lab

#: A setting of the node's own, which every boot begins with: no other node sees it.
KNOB = "/proc/sys/net/ipv4/tcp_fin_timeout"
PROFILE_FILE = "/var/lib/ocp-tuned/profiles/openshift-node-lab/tuned.conf"
STATE = "/var/lib/ocp-tuned-boot"
HISTORY = f"{STATE[1:]}/history"
PINS = "/etc/crio/crio.conf.d/99-ocp-tuned-boot.conf"
NOT_READ = ("is ignored", "later release", "found no ", "cannot read")

#: What this release would apply if the request could not be used.
_LAST_PROFILE = """
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import lastgood
print(*(each.data.decode() for each in lastgood.profile(Paths()).files))
"""


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
        for words in (("disable", "podman.socket"), ("mask", "docker-registry.service")):
            subprocess.run(["systemctl", f"--root={node.root}", "--quiet", *words], check=True)
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
    assert f"tcp_fin_timeout={seconds}" in node.run("python3", "-c", _LAST_PROFILE).stdout
    # Nothing in /var was refused, and nothing is left over.
    said = node.journal("ocp-tuned.service")
    assert not [words for words in NOT_READ if words in said], said
    assert node.run("podman", "ps", "-aq").stdout == ""
    # The pins, the open file, the units.
    boot_conf = node.read("/etc/ocp-tuned-boot/boot.conf")
    pins = node.run("cat", PINS, check=False).stdout
    assert ('pinned_images = ["site", "localhost/tuned:trixie"' in pins) == ("own" not in boot_conf)
    assert property_of(node, "ocp-tuned.service", "NFileDescriptorStore") == "1"
    assert property_of(node, "ocp-tuned.path", "ActiveState") == "active"
    assert property_of(node, "ocp-tuned.service", "Nice") == "-1"
    assert property_of(node, "podman.socket", "UnitFileState") == "disabled"
    assert property_of(node, "docker-registry.service", "UnitFileState") == "masked"
    assert property_of(node, "ocp-tuned.service", "NeedDaemonReload") == "no"
    is_well(node)


def is_well(node: ImageNode) -> None:
    state = node.run("systemctl", "is-system-running", check=False).stdout
    assert state == "running\n", node.run("systemctl", "--failed").stdout


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


@pytest.mark.slow
@pytest.mark.parametrize("store", ["shared", "own"])
@pytest.mark.parametrize(("suite", "other"), [("bookworm", "trixie"), ("trixie", "bookworm")])
def test_another_systemd_and_another_podman_and_back(suite: str, other: str, store: str) -> None:
    with installed(suite, product.product_package(suite)) as node:
        node.write("/etc/ocp-tuned-boot/boot.conf", f"[image]\nstore = {store}\n")
        node.boot()
        tuned(node, "0.1.0", 37, 1, store=False)
        for number, step in enumerate(("second", "root", "third"), 2):
            deferred(node, 36 + number)
            node.poweroff()
            if step == "root":
                node.roll_back(step)
            else:
                node.upgrade(step, other)
            node.boot()
            tuned(node, "0.1.0", 36 + number, number)
        if store == "own":
            without_own_store(node)


def without_own_store(node: ImageNode) -> None:
    """As the document says."""
    text = (product.TREE / "docs/os-images.md").read_text()
    commands = re.findall(r"(?m)^    ((?:systemctl|umount|rm) .*)$", text)
    assert [words.split()[0] for words in commands] == ["systemctl", "umount", "rm"]
    folder = f"{STATE}/storage"
    assert node.run("ls", folder).stdout != ""
    for words in commands:
        # In the lab the folder itself is mounted, and stays.
        node.run("sh", "-c", words, check=False)
    assert node.run("ls", folder).stdout == ""
    node.run("ocp-tuned-boot", "reload", "--force")
    assert record(node)["image_source"] == "archive"


@pytest.mark.slow
def test_from_the_release_with_other_units_and_back() -> None:
    """No scriptlet runs on the node: what enables the old units goes with the old image."""
    with installed("trixie", product.earlier_package("trixie")) as node:
        for number, step in enumerate(("root", "second", "root", "third"), 1):
            if step == "root" and number > 1:
                node.roll_back(step)
            elif number > 1:
                node.upgrade(step, "trixie")
            node.boot()
            if step == "root":
                # Its unit does not let it write the pins of the present program.
                assert found_by(node, "kubelet") == {KNOB: "37"}
                has_ended(node)
                assert record(node)["program"] == "0.0.9"
            else:
                tuned(node, "0.1.0", 37, number)
            listens_at(node, EARLIER if step == "root" else TEMPLATE)
            node.poweroff()


@pytest.mark.slow
def test_into_an_image_that_has_the_package_and_back_into_one_without() -> None:
    with ImageNode("trixie", image="trixie", product=False) as node:
        furnish(node, profile(37))
        node.write("/etc/lab/watch", f"{KNOB}\n")
        node.boot()
        assert found_by(node, "kubelet") == {KNOB: "60"}
        node.poweroff()
        node.upgrade("second", "trixie")
        node.boot()
        assert found_by(node, "kubelet") == {KNOB: "37"}
        is_well(node)
        node.run("ocp-tuned-boot", "cleanup", "--purge")
        node.poweroff()
        assert [path for path in (node.root / STATE[1:]).rglob("*") if path.is_file()] == []
        node.roll_back("root")
        node.boot()
        assert found_by(node, "kubelet") == {KNOB: "60"}
        is_well(node)


@pytest.mark.slow
def test_what_a_later_format_has_is_neither_read_nor_replaced() -> None:
    with installed("trixie", product.product_package("trixie")) as node:
        node.boot()
        tuned(node, "0.1.0", 37, 1, store=False)
        node.poweroff()
        files = [*(node.root / STATE[1:]).glob("*.json"), *(node.root / HISTORY).glob("*.json")]
        assert len(files) == 4
        for path in files:
            path.write_text(path.read_text().replace('"version": 1', '"version": 2', 1))
        before = {path: path.read_bytes() for path in files}
        node.boot()
        assert found_by(node, "kubelet") == {KNOB: "37"}
        has_ended(node)
        assert (record(node)["result"], record(node)["findings"]) == ("applied", [])
        assert "later release" in node.journal("ocp-tuned.service")
        assert {path: path.read_bytes() for path in files} == before
        assert len(list((node.root / HISTORY).iterdir())) == 2


# A seed. The lab has no firmware: each machine shows a UUID of its own where the kernel does.

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
UUIDS = {"seed": "4c4c4544-0031-4a10-8059-b4c04f4e3732",
         "target": "4c4c4544-0031-4a10-8059-b4c04f4e3733"}  # fmt: skip
#: What lifecycle-agent leaves out of a seed's /var, as far as the lab has it.
_LEFT_OUT = ("./tmp/*", "./log/*", "./lib/containers/*", "./lib/ocp-tuned-boot/storage/*")
#: From the seed's /etc comes what was changed since the installation: with the machine ID.
_ETC = ("machine-id", "crio", "ocp-tuned-boot")


def firmware(node: ImageNode, uuid: str) -> None:
    node.write("/etc/lab/class/dmi/id/product_uuid", f"{uuid}\n", 0o400)
    node.write("/etc/systemd/system/lab-firmware.service", _FIRMWARE)
    node.enable("lab-firmware.service")


@dataclass(frozen=True)
class Seed:
    """What is taken of a machine that is up: its /var and /etc, as it was and after `cleanup
    --seed`. `names`: what names it, or one of its boots, or is derived from its IDs; first the
    machine ID, which the target gets, and what is derived from it."""

    names: tuple[str, ...]
    as_it_was: Path
    cleaned: Path


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seed]:
    folder = tmp_path_factory.mktemp("seed")
    with installed("trixie", product.product_package("trixie")) as node:
        firmware(node, UUIDS["seed"])
        node.boot()
        tuned(node, "0.1.0", 37, 1, store=False)
        names = names_of(node)
        # What the seed was to do at its next boot.
        deferred(node, 38)
        take(node, folder / "as-it-was")
        node.run("ocp-tuned-boot", "cleanup", "--seed")
        # The seed itself is as it was.
        assert property_of(node, "ocp-tuned.service", "NFileDescriptorStore") == "1"
        assert record(node)["deferred"]["waits"] == "profile"
        take(node, folder / "cleaned")
        node.run("systemctl", "reload", "ocp-tuned")
        assert node.read(KNOB).strip() == "38"
    yield Seed(names, folder / "as-it-was", folder / "cleaned")
    shutil.rmtree(folder)


def names_of(node: ImageNode) -> tuple[str, ...]:
    found = json.loads(node.run("ocp-tuned-boot", "history", "--json").stdout)
    kept = json.loads(node.read(f"{STATE}/last-good.json"))
    machine_id = node.read("/etc/machine-id").strip()
    boots = [boot["boot_id"] for boot in found]
    return (machine_id, kept["machine"], UUIDS["seed"], node.name, kept["hardware"], *boots)


def take(node: ImageNode, target: Path) -> None:
    for tree, what in (("var", ("--anchored", *(f"--exclude={it}" for it in _LEFT_OUT), ".")),
                       ("etc", _ETC)):  # fmt: skip
        (target / tree).mkdir(parents=True)
        script = 'tar -C "$1" -c "${@:3}" | tar -C "$2" -x'
        subprocess.run(["bash", "-o", "pipefail", "-ec", script, "-", node.root / tree,
                        target / tree, *what], check=True)  # fmt: skip


@contextmanager
def upgraded(seed: Path) -> Iterator[ImageNode]:
    """A target that has got the seed, with an image store and a request of its own. Not booted."""
    with ImageNode("trixie", package=product.product_package("trixie")) as node:
        for tree in ("var", "etc"):
            subprocess.run(["cp", "-a", f"{seed / tree}/.", node.root / tree], check=True)
        firmware(node, UUIDS["target"])
        node.write("/etc/lab/watch", f"{KNOB}\n")
        (node.root / "var/lib/lab/kubelet.json").unlink()
        node.write(PROFILE_FILE, profile(41, ""))
        yield node


def naming(node: ImageNode, names: Sequence[str]) -> list[str]:
    """The files of ours in /var and /etc of a node that is off that have one of these in their name
    or in their content. Not the image archives, which the administrator has put there."""
    found = []
    for folder in ("var/lib/ocp-tuned-boot", "etc/crio", "etc/ocp-tuned-boot"):
        for path in (node.root / folder).rglob("*"):
            content = path.read_bytes() if path.is_file() and path.suffix != ".tar" else b""
            if any(name in path.name or name.encode() in content for name in names):
                found.append(str(path.relative_to(node.root)))
    return sorted(found)


def test_a_target_is_tuned_as_it_requests_and_believes_nothing_of_the_seed(seed: Seed) -> None:
    with upgraded(seed.as_it_was) as target:
        written = [f"{STATE[1:]}/{name}.json" for name in ("images", "last-good", "last-profile")]
        assert set(naming(target, seed.names)) >= set(written)
        target.boot()
        assert target.read("/etc/machine-id").strip() == seed.names[0]
        assert found_by(target, "kubelet") == {KNOB: "41"}
        has_ended(target)
        done = record(target)
        assert (done["result"], done["findings"], done["deferred"]) == ("applied", [], None)
        assert (done["residue"], done["handover"], done["image_source"]) == ([], [], "store")
        assert property_of(target, "ocp-tuned.service", "NFileDescriptorStore") == "0"
        (boot,) = json.loads(target.run("ocp-tuned-boot", "history", "--json").stdout)
        assert boot["boot_id"] == target.boot_id
        listed = json.loads(target.run("ocp-tuned-boot", "image", "list", "--json").stdout)
        assert [each["role"] for each in listed] == ["requested", "last good", "archive"]
        target.run("ocp-tuned-boot", "drift")
        said = unwrapped(target.run("ocp-tuned-boot", "status").stdout)
        assert "/var/lib/ocp-tuned-boot was written on another machine" in said
        assert "images.json, the history of 1 boot" in said
        assert target.journal("ocp-tuned.service").count("written on another machine") == 1
        assert target.run("systemctl", "is-system-running").stdout == "running\n"
        target.poweroff()
        assert naming(target, seed.names[2:]) == []


def test_a_seed_that_was_cleaned_names_nobody(seed: Seed) -> None:
    with upgraded(seed.cleaned) as target:
        assert naming(target, seed.names) == []
        left = sorted(path.name for path in (target.root / STATE[1:]).iterdir())
        assert left == ["images", "storage"]
        target.boot()
        assert found_by(target, "kubelet") == {KNOB: "41"}
        has_ended(target)
        assert record(target)["result"] == "applied"
        assert "another machine" not in target.run("ocp-tuned-boot", "status").stdout
