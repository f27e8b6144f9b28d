"""Power cuts in everything that this program does, at random moments: the next boot is tuned.

`/var` of the node is on a disk of its own, which forgets what was not written (`disk.py`): seconds
for a cut. Settings of this machine's kernel are not touched.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.lab import registry
from tests.lab.disk import Disk
from tests.lab.node import Node

pytestmark = pytest.mark.lab

KNOB, WANTED = "/proc/sys/net/ipv4/tcp_fin_timeout", "37"
PROFILE = "[main]\nsummary=for cuts\n[sysctl]\nnet.ipv4.tcp_fin_timeout=37\n"
BOOT_CONF = "[tuning]\ngate = closed\ntimeout = 30\n"
ARCHIVE = "/usr/share/ocp-tuned-boot/images/day-0.tar"
#: How long a boot may be held before it counts as held for good (seconds).
HELD = 90
COMMANDS = {
    "reload": ("ocp-tuned-boot", "reload", "--force"),
    "stage": ("ocp-tuned-boot", "image", "stage", registry.IMAGE),
    "pull": ("ocp-tuned-boot", "image", "fetch"),
    "prune": ("ocp-tuned-boot", "image", "prune"),
}
#: A cut comes within this time after the start (seconds): about what each takes.
TAKES = {"apply": 1.5, "reload": 1.5, "stage": 1.2, "pull": 3.0, "prune": 1.0}
# Three images that this program is said to have pulled.
OLD = """
for n in 1 2 3; do
  printf 'FROM %s\\nLABEL lab=%s\\n' "$1" $n > /run/Old
  podman build -q -t localhost/old:$n -f /run/Old /run
done | python3 -c '
import json, sys
path = "/var/lib/ocp-tuned-boot/images.json"
ids = [line.strip() for line in sys.stdin]
images = [{"reference": f"localhost/old:{n}", "id": id} for n, id in enumerate(ids, 1)]
json.dump({"version": 1, "images": images}, open(path, "w"))
'; sync
"""


class Cuttable(Node):
    """A node whose `/var`, container storage included, is on a disk that loses power."""

    disk: Disk | None = None

    def _build(self, layers: list[Path], store: Path | None) -> None:
        super()._build(layers, store)
        var, place = self.root / "var", self._place.path
        (place / "aside").mkdir()
        disk = Disk(place / "disk", place / "aside", "1500M")
        disk.mount()
        subprocess.run(["cp", "-a", f"{var}/.", place / "aside"], check=True)
        subprocess.run(["rm", "-rf", place / "aside/lib/containers"], check=True)
        subprocess.run(["mv", self.storage, place / "aside/lib/containers"], check=True)
        disk.sync()
        disk.cut()
        disk.off()
        disk.point = var
        disk.mount()
        self.disk = disk

    @property
    def storage(self) -> Path:
        return self.root / "var/lib/containers" if self.disk else super().storage

    def power_cut(self) -> None:
        """What was not written is lost. The node is off afterwards."""
        assert self.disk is not None
        self.disk.cut()
        self.kill()
        self.disk.off()
        self.disk.mount()
        # The stand-ins of crio and kubelet do not write theirs so that it survives.
        for torn in (self.root / "var/lib/lab").glob("*.json"):
            torn.unlink()


def prepare(node: Node) -> None:
    """What the operator's agent writes, a registry with the image, and an archive of it that no cut
    reaches: on the operating system's own disk."""
    folder = "/var/lib/ocp-tuned"
    node.write(f"{folder}/recommend.d/50-openshift.conf", "[openshift-node-lab]\n")
    node.write(f"{folder}/profiles/openshift-node-lab/tuned.conf", PROFILE)
    node.write("/etc/lab/watch", KNOB + "\n")
    node.boot()
    registry.fill(node, f"localhost/tuned:{node.suite}")
    registry.start(node)
    node.run("podman", "pull", "-q", registry.IMAGE)
    node.run("mkdir", "-p", os.path.dirname(ARCHIVE))
    node.run("podman", "save", "-q", "-o", ARCHIVE, registry.IMAGE)
    node.write(f"{folder}/image.env", f"NTO_IMAGE={registry.IMAGE}\n")
    node.write("/etc/ocp-tuned-boot/boot.conf", BOOT_CONF)
    node.run("sync")
    node.poweroff()
    node.start()
    tuned(node)


def cut(node: Cuttable, what: str, seconds: float) -> None:
    """One power cut of a node that is up: in a command, or in its next boot."""
    if what == "apply":
        node.power_cut()
        node.start()
    if what == "pull":
        registry.start(node)
        node.run("sh", "-ec", f"podman rmi -f {registry.IMAGE}; sync")
    if what == "prune":
        node.run("sh", "-ec", OLD, "sh", registry.IMAGE)
    if what in COMMANDS:
        node.popen(*COMMANDS[what])
    time.sleep(seconds)
    node.power_cut()


def tuned(node: Node) -> None:
    """Returns when the profile is applied, by itself. Raises `CommandFailed` if it is not."""
    node.settled(HELD)
    until = (
        'until [ "$(systemctl show --value -p SubState ocp-tuned)" = exited ]; do sleep .05; done'
    )
    node.run("timeout", str(HELD), "sh", "-c", until, timeout=HELD + 10)


def nothing_is_left(node: Node) -> None:
    """No container, volume, process or temporary file of ours."""
    assert node.run("podman", "ps", "--all", "--external", "--quiet").stdout == ""
    assert node.run("podman", "volume", "ls", "--quiet").stdout == ""
    assert node.run("pgrep", "-x", "conmon|crun|tuned", check=False).stdout == ""
    folders = "/var/lib/ocp-tuned-boot /var/lib/ocp-tuned"
    assert node.run("sh", "-c", f"find {folders} -name '.*.*[0-9]'").stdout == ""
    assert node.run("sh", "-c", "ls /var/lib/ocp-tuned-boot/containers || :").stdout == ""


def survives(cuts: int, kinds: list[str]) -> None:
    seed = int(os.environ.get("LAB_CUTS_SEED") or random.randrange(1_000_000))
    chance = random.Random(seed)
    print(f"to repeat: LAB_CUTS_SEED={seed}", flush=True)
    node = Cuttable()
    with node:
        prepare(node)
        for number in range(cuts):
            what = kinds[number % len(kinds)]
            seconds = chance.uniform(0, TAKES[what])
            cut(node, what, seconds)
            node.start()
            tuned(node)
            record = json.loads(node.read("/run/ocp-tuned-boot/status.json"))
            seen = node.witness("kubelet")
            print(
                f"seed {seed}, cut {number}: {what}, {seconds:.3f} s after its start: "
                f"{record['result']} in {record['seconds']:.1f} s from {record['image_source']}, "
                f"{len(record['attempts'])} failed attempts",
                flush=True,
            )  # fmt: skip
            assert seen is not None
            assert seen["values"] == {KNOB: WANTED}
            nothing_is_left(node)


def test_power_cuts_at_random_moments() -> None:
    survives(20, ["apply", "apply", "reload", "apply", "stage", "apply", "prune"])


@pytest.mark.slow
def test_many_power_cuts_at_random_moments() -> None:
    survives(200, ["apply", "reload", "stage", "pull", "prune"])
