"""Many nodes that pull from one registry, on one node of the lab.

Each of them is a Podman with a store of its own, and a root in which `ocp-tuned-boot` runs. The
registry is behind a cable whose bandwidth is limited, in a network namespace of its own.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.lab import registry
from tests.lab.host import Host, furnish
from tests.lab.node import Node
from tests.lab.patience import PATIENCE

CONF = "etc/ocp-tuned-boot/boot.conf"
_SERVICE = "lab-registry@open.service"
#: A second registry with the same content, as a mirror.
SECOND = f"registry.lab:5002/{registry.REPOSITORY}:lab"
_STORES = "/var/lib/containers/fleet"
_CLIENT = f"""\
[Service]
Environment=TMPDIR={_STORES}/%i/tmp
ExecStartPre=mkdir -p {_STORES}/%i/tmp /run/fleet/%i
ExecStart=podman --root={_STORES}/%i/root --runroot=/run/fleet/%i system service --time=0 \
    unix:///run/fleet/%i.sock
KillMode=process
"""
# The registry's end of the cable has its address, which was the node's own while it was filled.
_CABLE = f"""
ip address del {registry.ADDRESS}/32 dev lo
ip netns add registry
ip link add cable0 type veth peer name cable1 netns registry
ip address add 192.0.2.1/24 dev cable0
ip -n registry address add {registry.ADDRESS}/24 dev cable1
ip link set cable0 up
ip -n registry link set cable1 up
ip -n registry link set lo up
"""
_ALL_DONE = re.compile(r": done, ([\d.]+) MB in ([\d.]+) s")


@dataclass(frozen=True)
class Pull:
    """What one node says of its pull. `seconds`: how long it took; None: it was not complete."""

    status: int
    text: str

    @property
    def seconds(self) -> float | None:
        found = _ALL_DONE.search(self.text)
        return float(found[2]) if found else None


@dataclass(frozen=True)
class Traffic:
    """What the registry has sent and answered: bytes on the cable, connections, requests, and of
    these the ones for layers and the image's configuration (`/blobs/`)."""

    sent: int
    connections: int
    requests: int
    blobs: int

    def __sub__(self, before: Traffic) -> Traffic:
        return Traffic(self.sent - before.sent, self.connections - before.connections,
                       self.requests - before.requests, self.blobs - before.blobs)  # fmt: skip


class Fleet:
    """So many nodes; the registry is empty for them until `limit` is called."""

    def __init__(self, node: Node, image: str) -> None:
        self.node, self.image = node, image
        self.hosts: list[Host] = []

    def add(self, count: int) -> None:
        """So many more nodes, with empty stores."""
        self.node.write("/etc/systemd/system/lab-client@.service", _CLIENT)
        self.node.run("systemctl", "daemon-reload")
        for number in range(len(self.hosts), len(self.hosts) + count):
            self.hosts.append(furnish(self.node, f"/var/tmp/fleet-{number}", self.image))
            self.node.run("systemctl", "start", f"lab-client@{number}")

    def configure(self, text: str) -> None:
        """Writes boot.conf of all."""
        for number, host in enumerate(self.hosts):
            host.write(CONF, f"{text}\n[podman]\nsocket = /run/fleet/{number}.sock\n")

    def empty(self) -> None:
        """The stores have nothing in them, also no layers of a pull that was not complete."""
        for number in range(len(self.hosts)):
            self.node.run("systemctl", "stop", f"lab-client@{number}")
        self.node.run("sh", "-ec", f"rm -rf {_STORES} /run/fleet/*/")
        for number in range(len(self.hosts)):
            self.node.run("systemctl", "start", f"lab-client@{number}")

    def run(self, *arguments: str, hosts: Sequence[Host] = ()) -> list[Pull]:
        """Runs `ocp-tuned-boot` on all of them at once, or on these, to its end."""
        visits = [host.start(*arguments) for host in hosts or self.hosts]
        done = []
        for visit in visits:
            output, errors = visit.communicate(timeout=2 * PATIENCE)
            done.append(Pull(visit.returncode, output + errors))
        return done

    # The registry.

    def limit(self, rate: str) -> None:
        """From now on the registry sends no more than that, in the words of tc(8): `40mbit`."""
        self._tc("replace", rate)

    def _tc(self, verb: str, rate: str) -> None:
        self.node.run("tc", "-n", "registry", "qdisc", verb, "dev", "cable1", "root",
                      "tbf", "rate", rate, "burst", "64kb", "latency", "300ms")  # fmt: skip

    def traffic(self) -> Traffic:
        """So far."""
        shown = self.node.run(
            "ip", "netns", "exec", "registry", "sh", "-ec",
            "cat /sys/class/net/cable1/statistics/tx_bytes; nstat -asz TcpPassiveOpens | tail -n 1",
        ).stdout.split()  # fmt: skip
        log = self.node.journal(None, "--unit=lab-registry@*", "--output=cat")
        requests = re.findall(r'"(?:GET|HEAD) (/v2/\S*) HTTP', log)
        blobs = sum("/blobs/" in each for each in requests)
        return Traffic(int(shown[0]), int(shown[2]), len(requests), blobs)

    def has_gone_quiet(self, seconds: float = 2.0) -> int:
        """How many bytes the registry sends in this time."""
        before = self.traffic().sent
        time.sleep(seconds)
        return self.traffic().sent - before


@contextmanager
def fleet(node: Node, image: str, count: int) -> Iterator[Fleet]:
    """The image is moved from the node's store into the registry, which answers behind the
    cable."""
    registry.fill(node, image)
    node.run("sh", "-ec", _CABLE)
    drop_in = "[Service]\nNetworkNamespacePath=/run/netns/registry\n"
    node.write(f"/etc/systemd/system/{_SERVICE}.d/cable.conf", drop_in)
    found = Fleet(node, registry.IMAGE)
    found.add(count)
    node.run("systemctl", "start", _SERVICE)
    registry.answers(node, 5000)
    yield found


def layers(node: Node, *sizes: int) -> str:
    """An image that cannot be compressed, with layers of so many bytes each, in the node's
    store."""
    name, folder = "localhost/layers:lab", "/etc/lab/layers"
    lines = ["FROM scratch"]
    for number, size in enumerate(sizes):
        node.run("sh", "-ec", f"mkdir -p {folder}; head -c {size} /dev/urandom > {folder}/{number}")
        lines.append(f"COPY {number} /{number}")
    node.write(f"{folder}/Containerfile", "\n".join(lines) + "\n")
    node.run("podman", "build", "-q", "--layers", "-t", name, folder)
    return name


def finished(process: subprocess.CompletedProcess[str]) -> Pull:
    """A run of one node."""
    return Pull(process.returncode, process.stdout + process.stderr)
