"""A container of ours of which only half is left, as after a power cut or a killed Podman: the next
run removes it by itself, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import host as hosts
from tests.lab.host import Host

pytestmark = pytest.mark.lab

NAME, STORE = "openshift-tuned", "/var/lib/containers/storage"
LAYER = '$(python3 -c \'import json; print(json.load(open("containers.json"))[0]["layer"])\')'
#: What is done to the container's half in the storage, in `overlay-containers`.
DAMAGE = {
    "nothing": "true",
    "the name of a link is lost": f": > ../overlay/{LAYER}/link",
    "the list of lower layers is lost": f": > ../overlay/{LAYER}/lower",
    "the layer's folder is lost": f"rm -r ../overlay/{LAYER}",
    "the layer's record is lost": "python3 -c '"
    'import json; layer = json.load(open("containers.json"))[0]["layer"]; '
    'path = "../overlay-layers/layers.json"; layers = json.load(open(path)); '
    'json.dump([it for it in layers if it["id"] != layer], open(path, "w"))'
    "'",
    "the storage's record is lost": "echo '[]' > containers.json",
    "Podman's record is lost": "python3 -c '"
    'import sqlite3; db = sqlite3.connect("../db.sql"); '
    '[db.execute(f"delete from {it}") for it in ("ContainerConfig", "ContainerState", '
    '"IDNamespace")]; db.commit()'
    "'",
    "Podman's files are lost": "rm -r */userdata",
}


def note(host: Host) -> None:
    host.write(f"var/lib/ocp-tuned-boot/containers/{NAME}", "")


def half(host: Host, damage: str, *options: str) -> None:
    """Leaves half of a container."""
    node = host.node
    node.run("podman", "create", "--name", NAME, *options, hosts.IMAGE, "/bin/true")
    # As in a boot, Podman reads all of it anew.
    node.run("systemctl", "stop", "ocp-tuned-podman@shared.service", "podman.service")
    node.run("sh", "-ec", f"umount {STORE}/overlay || :; cd {STORE}/overlay-containers; {damage}")


@pytest.mark.parametrize("command", ["apply", "cleanup"])
@pytest.mark.parametrize("what", DAMAGE)
def test_half_a_container_of_ours_is_removed(host: Host, what: str, command: str) -> None:
    half(host, DAMAGE[what], "--label", "ocp-tuned-boot=1")
    note(host)
    done = host.run(command)
    assert done.returncode == 0, done.stdout + done.stderr
    left = host.node.run("podman", "ps", "--all", "--external", "--quiet").stdout
    assert left == "", done.stdout
    if command == "apply":
        assert host.status()["result"] == "applied"
        assert host.status()["attempts"] == []


@contextmanager
def removed_afterwards(host: Host) -> Iterator[None]:
    try:
        yield
    finally:
        host.node.run("podman", "rm", "--force", NAME)


@pytest.mark.parametrize("what", ["the layer's record is lost", "Podman's record is lost"])
def test_half_a_container_of_somebody_else_stays_and_stops_nothing(host: Host, what: str) -> None:
    half(host, DAMAGE[what])
    with removed_afterwards(host):
        done = host.run("apply")
        assert done.returncode == 0, done.stdout + done.stderr
        assert host.status()["result"] == "applied"
        assert "is used instead" in done.stdout
        left = host.node.run("podman", "ps", "-a", "--external", "--format={{.Names}}").stdout
        assert left.split() == [NAME]


def test_an_image_with_volumes_leaves_none(host: Host) -> None:
    image = "localhost/volumes:1"
    recipe = f"FROM {hosts.IMAGE}\nVOLUME /data /usr/lib/tuned /etc/tuned /var/lib/tuned\n"
    host.node.write("/var/tmp/Volumes", recipe)
    build = ["build", "-q", "--isolation=chroot", "-t", image, "-f", "/var/tmp/Volumes", "/var/tmp"]
    host.node.run("podman", *build)
    host.write("var/lib/ocp-tuned/image.env", f"NTO_IMAGE={image}\n")
    assert host.run("apply").returncode == 0
    assert host.status()["result"] == "applied"
    assert host.run("image", "stage", image).returncode == 0
    assert host.node.run("podman", "volume", "ls", "--quiet").stdout == ""
    host.node.run("podman", "rmi", "-f", image)
