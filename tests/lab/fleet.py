"""Many nodes that pull from one registry, on one node of the lab.

Each of them is a Podman with a store of its own, and a root in which `ocp-tuned-boot` runs. The
registry is behind a cable of limited bandwidth, in a network namespace of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.lab import registry
from tests.lab.host import Host, furnish
from tests.lab.node import Node
from tests.lab.patience import PATIENCE

CONF = "etc/ocp-tuned-boot/boot.conf"
SERVICE, SECOND_SERVICE = "lab-registry@open.service", "lab-registry@second.service"
SECOND = "registry.lab:5002"
_STORES = "/var/lib/containers/fleet"
_CLIENT = f"""\
[Service]
Environment=TMPDIR={_STORES}/%i/tmp
ExecStartPre=mkdir -p {_STORES}/%i/tmp /run/fleet/%i
ExecStart=podman --root={_STORES}/%i/root --runroot=/run/fleet/%i system service --time=0 \
unix:///run/fleet/%i.sock
KillMode=process
"""
# The registry's end of the cable has the address that was the node's own while it was filled.
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
_DONE = re.compile(r": done, ([\d.]+) MB in ([\d.]+) s")
_COUNTED = """
cat /sys/class/net/cable1/statistics/tx_bytes
nstat -asz TcpPassiveOpens | tail -n 1
"""


@dataclass(frozen=True)
class Run:
    """What a run of `ocp-tuned-boot` on one of the nodes has printed."""

    status: int
    text: str

    @property
    def seconds(self) -> float:
        """How long its pull took; Podman 4.3 does not count bytes, and has none."""
        found = _DONE.search(self.text)
        assert found is not None, self.text
        return float(found[2])


@dataclass(frozen=True)
class Traffic:
    """What the registry has sent (bytes on the cable), and was asked for: connections, and the
    paths of requests."""

    sent: int
    connections: int
    paths: tuple[str, ...]

    def since(self, before: Traffic) -> Traffic:
        return Traffic(self.sent - before.sent, self.connections - before.connections,
                       self.paths[len(before.paths) :])  # fmt: skip

    @property
    def blobs(self) -> list[str]:
        """The digests of the layers and configurations that were asked for."""
        return [path.rpartition("/")[2] for path in self.paths if "/blobs/" in path]


class Fleet:
    """The nodes. `image` is in the registry, and nowhere else."""

    def __init__(self, node: Node, image: str) -> None:
        self.node, self.image = node, image
        self.hosts: list[Host] = []

    def add(self, count: int) -> None:
        """So many more nodes, with empty stores and all the time they need."""
        self.node.write("/etc/systemd/system/lab-client@.service", _CLIENT)
        self.node.run("systemctl", "daemon-reload")
        first = len(self.hosts)
        for number in range(first, first + count):
            host = furnish(self.node, f"/var/tmp/fleet-{number}", self.image)
            host.write(CONF, f"[tuning]\ntimeout=3600\n[podman]\nsocket=/run/fleet/{number}.sock\n")
            self.hosts.append(host)
            self.node.run("systemctl", "start", f"lab-client@{number}")

    def empty(self) -> None:
        """Their stores have nothing in them any more, also no layer of a pull that was cut off."""
        self.node.run("systemctl", "stop", "lab-client@*")
        # What a Podman that was ended has left mounted.
        self.node.run("sh", "-c", f"umount --lazy {_STORES}/*/root/overlay", check=False)
        self.node.run("sh", "-ec", f"rm -rf {_STORES} /run/fleet/*/")
        for number in range(len(self.hosts)):
            self.node.run("systemctl", "start", f"lab-client@{number}")

    def layers(self, number: int) -> int:
        """How many layers are in the store of that node."""
        file = f"{_STORES}/{number}/root/overlay-layers/layers.json"
        return self.node.run("cat", file, check=False).stdout.count('"compressed-diff-digest"')

    def run(self, *arguments: str, hosts: Sequence[Host] = ()) -> list[Run]:
        """Runs `ocp-tuned-boot` on all of them at once, or on these, to its end."""
        done = []
        for visit in [host.start(*arguments) for host in hosts or self.hosts]:
            output, errors = visit.communicate(timeout=4 * PATIENCE)
            done.append(Run(visit.returncode, output + errors))
        return done

    # The registry.

    def limit(self, rate: str) -> None:
        """From now on the registry sends no more than that, in the words of tc(8): `40mbit`."""
        self.node.run(
            "tc", "-n", "registry", "qdisc", "replace", "dev", "cable1", "root",
            "tbf", "rate", rate, "burst", "64kb", "latency", "300ms",
        )  # fmt: skip

    def traffic(self) -> Traffic:
        """So far."""
        enter = ("ip", "netns", "exec", "registry", "sh", "-ec", _COUNTED)
        sent, _, connections, *_ = self.node.run(*enter).stdout.split()
        return Traffic(int(sent), int(connections), self.requests(SERVICE))

    def requests(self, service: str) -> tuple[str, ...]:
        """The paths that one of the registries was asked for."""
        log = self.node.journal(service, "--output=cat")
        return tuple(re.findall(r'"(?:GET|HEAD) (/v2/\S*) HTTP', log))

    def second(self) -> None:
        """Starts another registry with the same images, behind the same cable, at `SECOND`."""
        text = self.node.read("/etc/lab/registry/open.yml").replace(":5000", ":5002")
        self.node.write("/etc/lab/registry/second.yml", text)
        self.node.run("systemctl", "start", SECOND_SERVICE)
        registry.answers(self.node, 5002)


@contextmanager
def fleet(node: Node, image: str, count: int) -> Iterator[Fleet]:
    """The image is moved from the node's store into the registry, which is put behind the cable.
    The cable and the nodes last as long as `node`."""
    registry.fill(node, image)
    node.run("sh", "-ec", _CABLE)
    drop_in = "[Service]\nNetworkNamespacePath=/run/netns/registry\n"
    node.write("/etc/systemd/system/lab-registry@.service.d/cable.conf", drop_in)
    found = Fleet(node, registry.IMAGE)
    found.add(count)
    node.run("systemctl", "start", SERVICE)
    registry.answers(node, 5000)
    yield found


def layered(node: Node, *sizes: int) -> str:
    """An image that cannot be compressed, with layers of so many bytes, in the node's store."""
    name, folder, lines = "localhost/layers:lab", "/etc/lab/layers", ["FROM scratch"]
    node.run("mkdir", "-p", folder)
    for number, size in enumerate(sizes):
        node.run("sh", "-ec", f"head -c {size} /dev/urandom > {folder}/{number}")
        lines.append(f"COPY {number} /{number}")
    node.write(f"{folder}/Containerfile", "\n".join(lines) + "\n")
    node.run("podman", "build", "-q", "--layers", "-t", name, folder)
    return name
