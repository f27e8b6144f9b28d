"""An image archive in the folder of k3s, for k3s and for TuneD: the real Podman takes one image of
several, and no registry is needed."""

from __future__ import annotations

import pytest

from tests.lab.node import Node
from tests.lab.patience import AMPLE
from tests.lab.rootfs import SUITES
from tests.lab.test_topologies import CONF, TUNED, all_find, is_disabled, of_system
from tests.lab.topologies import SYSTEMS
from tests.lab.workload import has_ended, record

pytestmark = pytest.mark.lab

FOLDER = "/var/lib/rancher/k3s/agent/images"
UNIT = "ocp-tuned.service"
OTHER = "docker.io/rancher/mirrored-pause:3.6"
# Another image, and an archive of both as `docker save` makes it; then each in one of its own.
_MAKE = f"""
set -e
mkdir -p {FOLDER} /var/tmp/other
cd /var/tmp
printf 'FROM scratch\\nCOPY file /\\n' > other/Containerfile
echo pause > other/file
podman build -q -t {OTHER} other
podman save -q -m -o {FOLDER}/airgap.tar {OTHER} "$1"
echo {OTHER} > {FOLDER}/list.txt
printf '\\050\\265\\057\\375compressed' > {FOLDER}/k3s-airgap-images-amd64.tar.zst
podman save -q --format oci-archive -o other.tar {OTHER}
podman save -q --format oci-archive -o tuned.tar "$1"
podman rmi -af
"""
# One OCI layout of the two, with names as containerd writes them.
_MERGE = """
import io, json, sys, tarfile
target, *sources = sys.argv[1:]
seen, manifests = set(), []
with tarfile.open(target, "w") as out:
    for source in sources:
        with tarfile.open(source) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if name == "index.json":
                    (entry,) = json.load(archive.extractfile(member))["manifests"]
                    name = entry["annotations"]["org.opencontainers.image.ref.name"]
                    entry["annotations"] = {
                        "io.containerd.image.name": name,
                        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
                    }
                    manifests.append(entry)
                elif name not in seen:
                    seen.add(name)
                    out.addfile(member, archive.extractfile(member) if member.isreg() else None)
    data = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    member = tarfile.TarInfo("index.json")
    member.size = len(data)
    out.addfile(member, io.BytesIO(data))
"""


def stored(node: Node) -> list[str]:
    """The names of all images in Podman's store."""
    shown = node.run("podman", "images", "--all", "--format", "{{.Repository}}:{{.Tag}}")
    return shown.stdout.split()


@pytest.mark.parametrize("suite", ["trixie", pytest.param("bookworm", marks=pytest.mark.slow)])
def test_an_archive_for_k3s_has_the_image_of_tuned_as_well(suite: str) -> None:
    assert suite in SUITES
    system, image = SYSTEMS["k3s"], f"localhost/tuned:{suite}"
    with of_system(system, suite) as node:
        is_disabled(node)
        node.boot()
        node.run("sh", "-c", _MAKE, "sh", image)
        node.poweroff()

        node.enable(UNIT)
        node.write(CONF, f"{AMPLE}[image]\narchives = {FOLDER}\n")
        node.boot()
        all_find(node, system, TUNED)
        has_ended(node)
        done = record(node)
        assert (done["result"], done["image_source"]) == ("applied", "archive")
        # Podman itself would have loaded both.
        assert stored(node) == [image]
        assert f"{FOLDER}/airgap.tar" in node.run("ocp-tuned-boot", "image", "list").stdout
        assert "warning" not in node.journal("ocp-tuned", "--priority=warning")

        # An OCI layout of both, as for k0s: Podman itself does not know which one is meant.
        node.run("sh", "-c", f"podman rmi -af; rm {FOLDER}/*")
        merged = f"{FOLDER}/bundle.tar"
        node.run("python3", "-", merged, "/var/tmp/other.tar", "/var/tmp/tuned.tar", input=_MERGE)
        refused = node.run("podman", "load", "-i", merged, check=False)
        assert refused.returncode != 0, refused.stdout
        node.run("ocp-tuned-boot", "image", "fetch")
        assert stored(node) == [image]
