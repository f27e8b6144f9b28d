"""A boot does not depend on a registry: wiped stores, dead registries, damage; the kubelet is the
witness."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.lab import registry
from tests.lab.host import unwrapped
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.patience import AMPLE, at_the_latest
from tests.lab.situations import first_kind
from tests.lab.workload import PROFILE, RESET, WANTED, furnish, has_ended, record

pytestmark = pytest.mark.lab

SUITES = ("trixie", "bookworm")
IMAGE_ENV = "/var/lib/ocp-tuned/image.env"
CONF = "/etc/ocp-tuned-boot/boot.conf"
ARCHIVE = "/var/lib/ocp-tuned-boot/images/day-0.tar"
DEAD = "registry.lab:5999/openshift/tuned:new"


@contextmanager
def powered(suite: str, prepare: Callable[[Node], None] = lambda _: None) -> Iterator[Node]:
    """A node that has been up once with its image, and is off. It has ample time to boot."""
    with KernelKnobs(RESET), Node(suite, image=suite) as node:
        furnish(node)
        node.write(CONF, AMPLE)
        node.boot()
        has_ended(node)
        prepare(node)
        node.poweroff()
        yield node


def found_by_kubelet(node: Node) -> dict[str, str | None]:
    seen = node.witness("kubelet")
    assert seen is not None
    return seen["values"]


def asks_for(node: Node, image: str) -> None:
    node.write(IMAGE_ENV, f"NTO_IMAGE={image}\n")


def wiped(node: Node) -> None:
    """As crio-wipe leaves a node after a power cut."""
    node.run("podman", "rmi", "-af")


@pytest.mark.parametrize(
    ("suite", "form"),
    [("trixie", "oci-archive"), ("trixie", "docker-archive"), ("bookworm", "oci-archive")],
)
def test_a_wiped_store_and_a_dead_registry_boot_tuned_from_an_archive(
    suite: str, form: str
) -> None:
    def prepare(node: Node) -> None:
        node.run("mkdir", "-p", ARCHIVE.rpartition("/")[0])
        image = f"localhost/tuned:{suite}"
        if form == "oci-archive":
            said = node.run("ocp-tuned-boot", "image", "export", ARCHIVE).stdout
            assert said.strip() == image
        else:
            node.run("podman", "save", "-q", "--format", form, "-o", ARCHIVE, image)
        wiped(node)

    with powered(suite, prepare) as node:
        node.boot()
        assert found_by_kubelet(node) == WANTED
        has_ended(node)
        done = record(node)
        assert (done["result"], done["image_source"]) == ("applied", "archive")
        assert "load" in [step["name"] for step in done["steps"]]
        text = unwrapped(node.run("ocp-tuned-boot", "status").stdout)
        assert re.search(rf"image localhost/tuned:{suite}, ID \w+, from: archive, ", text), text


@pytest.mark.parametrize("suite", SUITES)
def test_the_last_image_that_worked_is_used_when_the_image_cannot_be_pulled(suite: str) -> None:
    def prepare(node: Node) -> None:
        asks_for(node, DEAD)
        node.write(CONF, "[tuning]\ntimeout = 30\n")

    with powered(suite, prepare) as node:
        node.boot()
        assert found_by_kubelet(node) == WANTED
        has_ended(node)
        done = record(node)
        assert (done["result"], done["image_source"]) == ("degraded", "last-good")
        (finding,) = done["findings"]
        assert (finding["kind"], finding["subject"]) == ("image-stand-in", DEAD)
        assert "network is unreachable" in finding["message"]
        assert f"localhost/tuned:{suite} is used instead" in finding["message"]
        # The registry was tried for a third of the time; the rest was enough for the other image.
        assert done["seconds"] > 9
        assert done["attempts"]
        status = node.run("systemctl", "status", "ocp-tuned").stdout
        assert "is used instead" in status


def test_another_image_in_an_archive_is_the_last_fallback() -> None:
    def prepare(node: Node) -> None:
        node.run("mkdir", "-p", ARCHIVE.rpartition("/")[0])
        node.write(ARCHIVE.replace("day-0", "broken"), "this is no archive\n")
        node.run("podman", "tag", "localhost/tuned:trixie", "localhost/tuned:day-0")
        node.run("podman", "save", "-q", "--format", "oci-archive", "-o", ARCHIVE,
                 "localhost/tuned:day-0")  # fmt: skip
        wiped(node)
        asks_for(node, DEAD)
        # A third of it goes to the registry; loading an archive takes its time on a busy machine.
        node.write(CONF, "[tuning]\ntimeout = 60\n")

    with powered("trixie", prepare) as node:
        node.boot()
        assert found_by_kubelet(node) == WANTED
        has_ended(node)
        done = record(node)
        assert (done["result"], done["image_source"]) == ("degraded", "archive")
        assert "localhost/tuned:day-0 is used instead" in done["findings"][0]["message"]
        assert "broken.tar: found no image archive, ignoring the file" in node.journal("ocp-tuned")


def test_with_fallback_none_there_is_no_fallback() -> None:
    def prepare(node: Node) -> None:
        node.write(CONF, "[tuning]\ntimeout = 10\n[image]\nfallback = none\n")
        asks_for(node, DEAD)

    with powered("trixie", prepare) as node:
        node.boot()
        assert found_by_kubelet(node)["/proc/sys/net/ipv4/tcp_fin_timeout"] == "60"
        assert record(node)["result"] == "failed"
        assert first_kind(record(node)) == "image"
        assert DEAD in record(node)["findings"][0]["message"]


#: Enough for an attempt to end, and no more: what may pass is tried again until it is over.
SHORT = "[tuning]\ntimeout = 12\n"
#: What a registry is like, which of its words are told, and what would mend it.
FAULTS = {
    "refuses": ("connection refused", "Check that the registry is up"),
    "silent": ("did not answer in time|i/o timeout", "Check that the registry is up"),
    "500": ("500", "Check that the registry is up"),
    "busy": ("429|toomanyrequests|Too Many Requests", "Check that the registry is up"),
    "cut": ("unexpected EOF|did not answer in time", "Check that the registry is up"),
    "corrupt": ("corrupt input|[Dd]igest", "does not match its digest"),
    "full": ("no space left", "Free disk space"),
    "404": ("manifest unknown", "fix its name in /var/lib/ocp-tuned/image.env"),
    "401": ("authentication required", "/var/lib/kubelet/config.json"),
    "certificate": ("certificate", "/etc/containers/certs.d/"),
}


def test_whatever_the_registry_does_the_kubelet_starts_and_the_status_line_says_why() -> None:
    with KernelKnobs(RESET), Node("trixie", image="trixie") as node:
        furnish(node)
        (node.root / IMAGE_ENV.lstrip("/")).unlink()
        node.boot()
        asked = registry.AT_BOOT
        node.run("podman", "tag", "localhost/tuned:trixie", asked["silent"])
        node.run("podman", "save", "-q", "--format=oci-archive", "-o", "/etc/lab/day-0.tar",
                 asked["silent"])  # fmt: skip
        registry.fill(node, "localhost/tuned:trixie")
        registry.at_boot(node)
        wiped(node)
        node.write(CONF, SHORT)
        for fault, (words, mends) in FAULTS.items():
            if fault == "401":
                registry.trust(node)
            if fault == "certificate":
                node.run("rm", "-r", "/etc/containers/certs.d/registry.lab:5443")
            if fault == "full":
                node.write(registry.SMALL, "")
                node.write(CONF, f"{SHORT}[image]\nstore = own\n")
            asks_for(node, asked[fault])
            node.reboot()
            assert found_by_kubelet(node)["/proc/sys/vm/stat_interval"] == "1", fault
            shown = node.run("systemctl", "show", "--value", "-p", "StatusText", "ocp-tuned").stdout
            assert f"cannot pull {asked[fault]}" in shown, fault
            assert re.search(words, shown), f"{fault}: {shown}"
            assert mends in shown, f"{fault}: {shown}"
            assert record(node)["seconds"] < at_the_latest(12), fault
            if fault == "full":
                node.run("rm", registry.SMALL)
                node.write(CONF, SHORT)
        # With an archive that has it, it is there: no registry has to answer.
        node.run("mkdir", "-p", ARCHIVE.rpartition("/")[0])
        node.run("cp", "/etc/lab/day-0.tar", ARCHIVE)
        node.write(CONF, "[tuning]\ntimeout = 60\n")
        asks_for(node, asked["silent"])
        node.reboot()
        assert found_by_kubelet(node) == WANTED
        has_ended(node)
        assert record(node)["image_source"] == "archive"


#: What a power cut leaves of the store, and whether Podman sees it when it looks at the image, or
#: only when it is to make a container of it.
STORE = "/var/lib/containers/storage"
DAMAGE = {
    "the files of a layer are gone": f"rm -rf {STORE}/overlay/*/diff",
    "a layer is gone": f"rm -rf {STORE}/overlay/[0-9a-f]*",
    "the list of layers is empty": f": > {STORE}/overlay-layers/layers.json",
    "the manifest is gone": f"rm -f {STORE}/overlay-images/*/manifest",
    "the configuration is cut": f"for f in {STORE}/overlay-images/*/=*; do : > $f; done",
    "the list of images is empty": f": > {STORE}/overlay-images/images.json",
}


@pytest.mark.parametrize("suite", SUITES)
def test_a_damaged_image_is_removed_and_pulled_or_loaded_again(suite: str) -> None:
    with powered(suite) as node:
        node.write(CONF, f"{AMPLE}[image]\npull = never\n")
        node.boot()
        node.run("mkdir", "-p", ARCHIVE.rpartition("/")[0])
        node.run("ocp-tuned-boot", "image", "export", ARCHIVE)
        for name, damage in DAMAGE.items():
            node.run("systemctl", "stop", "ocp-tuned-podman@shared.service", "podman.service")
            node.run("sh", "-c", f"umount {STORE}/overlay; {damage}")
            done = node.run("ocp-tuned-boot", "reload", "--force", check=False)
            assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
            assert record(node)["result"] == "applied", name
            assert record(node)["image_source"] == "archive", name
            if "list of images" not in name:
                assert "is damaged, removing it" in done.stdout, name
            assert node.run("podman", "ps", "-aq").stdout == ""


def test_crio_wipe_does_not_reach_a_store_of_our_own() -> None:
    def prepare(node: Node) -> None:
        node.run("mkdir", "-p", ARCHIVE.rpartition("/")[0])
        node.run("ocp-tuned-boot", "image", "export", ARCHIVE)
        node.write("/etc/ocp-tuned-boot/boot.conf.d/own.conf", "[image]\nstore = own\n")

    with powered("trixie", prepare) as node:
        node.boot()
        assert found_by_kubelet(node) == WANTED
        has_ended(node)
        assert record(node)["image_source"] == "archive"
        wiped(node)
        node.run("rm", ARCHIVE)
        node.reboot()
        assert found_by_kubelet(node) == WANTED
        has_ended(node)
        assert record(node)["image_source"] == "store"


def test_two_upgrades_leave_two_images_and_pins_for_cri_o() -> None:
    with KernelKnobs(RESET), Node("trixie", image="trixie") as node:
        furnish(node)
        pins = "/etc/crio/crio.conf.d/99-ocp-tuned-boot.conf"
        node.write("/etc/crio/crio.conf.d/00-site", '[crio.image]\npinned_images = ["site:1"]\n')
        node.write("/etc/lab/watch", f"{pins}\n")
        node.boot()
        # CRI-O reads it when it starts.
        seen = node.witness("crio")
        assert seen is not None
        assert '["site:1", "localhost/tuned:trixie"' in str(seen["values"][pins])
        registry.fill(node, "localhost/tuned:trixie")
        registry.start(node)
        for number in range(3):
            node.write("/etc/lab/File", f"FROM {registry.IMAGE}\nLABEL lab={number}\n")
            image = f"{registry.IMAGE}-{number}"
            node.run("podman", "build", "-q", "-t", image, "-f", "/etc/lab/File", "/etc/lab")
            node.run("podman", "push", "-q", image)
        node.run("podman", "rmi", "-af")
        node.run("podman", "pull", "-q", registry.IMAGE)
        theirs = node.run("podman", "images", "-q").stdout
        for number in range(3):
            asks_for(node, f"{registry.IMAGE}-{number}")
            node.run("systemctl", "reload", "ocp-tuned")
            assert record(node)["image"] == f"{registry.IMAGE}-{number}"
        names = node.run("podman", "images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
        # One that somebody else has pulled is not ours to remove.
        assert sorted(names) == [registry.IMAGE, f"{registry.IMAGE}-1", f"{registry.IMAGE}-2"]
        assert theirs.strip() in node.run("podman", "images", "-q").stdout
        assert f'["site:1", "{registry.IMAGE}-2"' in node.read(pins)
        listed = unwrapped(node.run("ocp-tuned-boot", "image", "list").stdout)
        assert f"requested {registry.IMAGE}-2" in listed


def test_a_new_image_is_brought_in_quietly_and_applied_by_a_reload() -> None:
    with KernelKnobs(RESET), Node("trixie", image="trixie") as node:
        furnish(node)
        node.boot()
        has_ended(node)
        node.run("podman", "tag", "localhost/tuned:trixie", "localhost/spare")
        registry.fill(node, "localhost/tuned:trixie")
        registry.start(node)
        node.run("podman", "rmi", "-af")
        since = record(node)["in_force"]["since"]
        asks_for(node, registry.IMAGE)
        node.run("sh", "-c",
                 f"until podman image exists {registry.IMAGE}; do sleep 0.1; done")  # fmt: skip
        assert record(node)["in_force"]["since"] == since
        assert "Started " in node.journal("ocp-tuned-podman@quiet.service")
        shown = node.run("systemctl", "show", "-p", "CPUWeight", "-p", "IOWeight", "-p", "Slice",
                         "ocp-tuned-podman@quiet.service").stdout.split()  # fmt: skip
        # The weights count among all services, not only among those of the template.
        assert sorted(shown) == ["CPUWeight=1", "IOWeight=1", "Slice=system.slice"]
        registry.stop(node)
        node.run("systemctl", "reload", "ocp-tuned")
        assert record(node)["image"] == registry.IMAGE
        assert record(node)["image_source"] == "store"


def test_an_image_is_staged_when_the_tuned_in_it_answers() -> None:
    with KernelKnobs(RESET), Node("trixie", image="trixie") as node:
        furnish(node)
        node.boot()
        has_ended(node)
        node.run("podman", "tag", "localhost/tuned:trixie", "localhost/tuned:next")
        said = node.run("ocp-tuned-boot", "image", "stage", "localhost/tuned:next").stdout
        assert "It is used at the next boot or reload." in said
        assert node.read(IMAGE_ENV) == "NTO_IMAGE=localhost/tuned:next\n"
        # One without TuneD is not asked for.
        node.write("/etc/lab/File", "FROM scratch\nLABEL lab=empty\n")
        node.run("podman", "build", "-q", "-t", "localhost/empty:1", "-f", "/etc/lab/File",
                 "/etc/lab")  # fmt: skip
        done = node.run("ocp-tuned-boot", "image", "stage", "localhost/empty:1", check=False)
        assert done.returncode != 0
        assert node.read(IMAGE_ENV) == "NTO_IMAGE=localhost/tuned:next\n"
        assert node.run("podman", "ps", "-aq").stdout == ""
        assert PROFILE in node.read("/var/lib/ocp-tuned/profiles/openshift-node-lab/tuned.conf")
