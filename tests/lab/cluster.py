"""A cluster: the control plane and nodes, each a machine of its own, with cables between them.

On a node, containerd and the kubelet start as on any node. A node has no cgroup controllers: there
are no limits, and no CPU manager. What a kubelet sets of the one kernel are files of the node here:
only a profile makes it necessary to hold `KernelKnobs`.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Optional

from tests.lab import kubebuild, podimages, product, rootfs
from tests.lab.controlplane import ADDRESS, ControlPlane, kubeconfig
from tests.lab.machine import Hardware
from tests.lab.node import Node
from tests.lab.patience import PATIENCE

#: The namespace of the agent and of its objects.
NAMESPACE = "openshift-cluster-node-tuning-operator"
#: Its service account.
ACCOUNT = "ocp-tuned-agent"

#: What the package of the node is told.
BOOT_CONF = "[tuning]\non_change = agent\n"

_PACKAGES = ("containerd", "runc", "containernetworking-plugins", "iptables")

_CONTAINERD = f"""\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{podimages.PAUSE}"
disable_cgroup = true
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/etc/cni/net.d"
"""

_KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
    "authentication": {
        "anonymous": {"enabled": False}, "webhook": {"enabled": True},
        "x509": {"clientCAFile": "/etc/kubernetes/ca.crt"},
    },
    "authorization": {"mode": "Webhook"},
    # There are no cgroup controllers, and the disk is the machine's.
    "cgroupDriver": "cgroupfs", "cgroupsPerQOS": False, "enforceNodeAllocatable": [],
    "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
    "imageGCHighThresholdPercent": 100,
    "clusterDNS": ["10.96.0.10"], "failSwapOn": False, "resolvConf": "/etc/resolv.conf",
    # What changes is seen soon.
    "syncFrequency": "1s", "nodeStatusUpdateFrequency": "2s",
}  # fmt: skip

_KUBELET_UNIT = """\
[Unit]
Wants=containerd.service
After=containerd.service
[Service]
Environment=AWS_EC2_METADATA_DISABLED=true
ExecStart=/usr/local/bin/kubelet --config=/etc/kubernetes/kubelet.json \\
  --kubeconfig=/etc/kubernetes/kubelet.conf --hostname-override={name} --node-ip={address} \\
  --container-runtime=remote --container-runtime-endpoint=unix:///run/containerd/containerd.sock \\
  --runtime-cgroups=/ --kubelet-cgroups=/
Restart=always
[Install]
WantedBy=multi-user.target
"""

# As the kubelet wants them (setupKernelTunables, pkg/kubelet/cm): it finds them like that.
_KERNEL = {
    "vm/overcommit_memory": 1, "vm/panic_on_oom": 0, "kernel/panic": 10, "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000, "kernel/keys/root_maxbytes": 25000000,
}  # fmt: skip
_KERNEL_UNIT = """\
[Unit]
Before=kubelet.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=sh -c 'cd /etc/lab/kernel && find . -type f -exec mount --bind {} /proc/sys/{} \\;'
[Install]
WantedBy=multi-user.target
"""

# Kept by containerd, and so imported once.
_IMAGES_UNIT = """\
[Unit]
After=containerd.service
Before=kubelet.service
ConditionPathExists=!/var/lib/containerd/lab
[Service]
Type=oneshot
ExecStart=ctr --namespace=k8s.io images import /lab-images/pause.tar
ExecStart=ctr --namespace=k8s.io images import /lab-images/agent.tar
ExecStart=touch /var/lib/containerd/lab
[Install]
WantedBy=multi-user.target
"""

# The cable is plugged in while the node boots.
_NETWORK = """\
[Unit]
Before=network.target network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=sh -c 'until ip link set eth0 up 2>/dev/null; do sleep 0.02; done'
ExecStart=ip address add {address}/24 dev eth0
ExecStart=ip route add default via {plane}
[Install]
WantedBy=multi-user.target
"""


class ClusterNode(Node):
    """A node whose kubelet is a real one. Its name in the cluster is `node-NUMBER`."""

    def __init__(self, number: int, plane: ControlPlane, suite: str) -> None:
        super().__init__(suite, image="trixie")
        self.number = number
        self.known_as = f"node-{number}"
        self._plane, self._boots = plane, 0

    def _roots(self) -> list[Path]:
        return [kubebuild.binaries(), rootfs.base_root(self.suite, more=_PACKAGES)]

    def _build(self, layers: list[Path], store: Optional[Path]) -> None:
        super()._build(layers, store)
        for name in ("containerd", "kubelet"):
            (self._place.path / name).mkdir()
        self._plane.issue({self.known_as: f"/O=system:nodes/CN=system:node:{self.known_as}"})
        for name in ("ca.crt", f"{self.known_as}.crt", f"{self.known_as}.key"):
            self.write(f"/etc/kubernetes/{name}", self._plane.read(f"/etc/kubernetes/{name}"))
        address = f"10.20.0.{10 + self.number}"
        ranges = [[{"subnet": f"10.30.{self.number}.0/24"}]]
        network = {"cniVersion": "0.4.0", "name": "lab", "plugins": [{
            "type": "bridge", "bridge": "cni0", "isGateway": True,
            "ipam": {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]},
        }]}  # fmt: skip
        files = {
            "etc/kubernetes/kubelet.conf": kubeconfig(self.known_as),
            "etc/kubernetes/kubelet.json": json.dumps(_KUBELET),
            "etc/containerd/config.toml": _CONTAINERD,
            "etc/cni/net.d/10-lab.conflist": json.dumps(network),
            "etc/resolv.conf": "",
            "etc/ocp-tuned-boot/boot.conf": BOOT_CONF,
            "etc/systemd/system/kubelet.service": _KUBELET_UNIT.format(
                name=self.known_as, address=address
            ),
            "etc/systemd/system/lab-kernel.service": _KERNEL_UNIT,
            "etc/systemd/system/lab-images.service": _IMAGES_UNIT,
            "etc/systemd/system/lab-network.service": _NETWORK.format(
                address=address, plane=ADDRESS
            ),
        }
        files |= {f"etc/lab/kernel/{name}": f"{value}\n" for name, value in _KERNEL.items()}
        rootfs.configure(self.root, files, ("crio.service",))
        ours = ("lab-network.service", "lab-kernel.service", "lab-images.service")
        self.enable(*ours, "containerd.service", "kubelet.service")

    def _hardware(self) -> Hardware:
        found = super()._hardware()
        # Overlays of containerd do not work on top of another, either.
        binds = {f"/var/lib/{name}": self._place.path / name for name in ("containerd", "kubelet")}
        return dataclasses.replace(
            found, binds={**found.binds, **binds, "/dev/kmsg": Path("/dev/kmsg")},
            # runc limits devices.
            options=("--system-call-filter=bpf", f"--bind-ro={self._plane.images}:/lab-images"),
        )  # fmt: skip

    def start(self, timeout: float = PATIENCE) -> None:
        """Also plugs in the cable."""
        super().start(timeout)
        self._boots += 1
        port = f"{self.known_as}-{self._boots}"
        subprocess.run(
            ["ip", "link", "add", "eth0", "netns", str(self.leader), "type", "veth",
             "peer", "name", port, "netns", str(self._plane.leader)],
            check=True,
        )  # fmt: skip
        self._plane.run("ip", "link", "set", port, "master", "cluster", "up")
        self._plane.run(
            "ip",
            "route",
            "replace",
            f"10.30.{self.number}.0/24",
            "via",
            f"10.20.0.{10 + self.number}",
        )


def install_agent(plane: ControlPlane, tuned_image: str = "localhost/tuned:trixie") -> None:
    """What an administrator does: names the images in packaging/agent, and applies it. The server
    is one from before 1.32, so the policies are left out, as kustomization.yaml says."""
    with tempfile.TemporaryDirectory() as folder:
        product.copy_tree(Path(folder), "packaging/agent")
        source = Path(folder, "packaging/agent")
        file = source / "kustomization.yaml"
        name, tag = podimages.AGENT.rsplit(":", 1)
        text = file.read_text()
        for pattern, instead in (
            (r"newName: .*", f"newName: {name}"), (r"newTag: .*", f"newTag: '{tag}'"),
            (r"tuned-image=", f"tuned-image={tuned_image}"), (r"- policies\n", ""),
        ):  # fmt: skip
            text, count = re.subn(pattern, instead, text)
            assert count == 1, pattern
        file.write_text(text)
        for each in source.rglob("*"):
            if each.is_file():
                plane.write(f"/root/{each.relative_to(folder)}", each.read_text())
    # Until the server knows a kind of object, it takes none of it.
    plane.run("sh", "-c", "until kubectl apply -k /root/packaging/agent; do sleep 0.2; done",
              env=plane.environment)  # fmt: skip


@contextmanager
def cluster(*suites: str) -> Iterator[tuple[ControlPlane, list[ClusterNode]]]:
    """A control plane that is ready, and nodes of these suites that are off."""
    with ExitStack() as stack:
        plane = stack.enter_context(ControlPlane())
        podimages.pause(plane.images / "pause.tar")
        podimages.agent(plane.images / "agent.tar")
        plane.boot()
        nodes = [
            stack.enter_context(ClusterNode(number, plane, suite))
            for number, suite in enumerate(suites, 1)
        ]
        yield plane, nodes


def witnesses(settings: Sequence[str]) -> str:
    """A DaemonSet (JSON) whose pods print these settings, paths below /proc/sys, when they start:
    `kubectl logs` shows those of the last start."""
    files = " ".join(f"/proc/sys/{each}" for each in settings)
    # The first process of a container has to end itself, or a node takes long to power off.
    script = f"trap 'exit 0' TERM; cat {files}; sleep infinity & wait"
    labels = {"app": "witness"}
    pod = {
        "hostNetwork": True, "terminationGracePeriodSeconds": 1,
        "tolerations": [{"operator": "Exists"}],
        "containers": [
            {"name": "witness", "image": podimages.AGENT, "command": ["sh", "-c", script]}
        ],
    }  # fmt: skip
    return json.dumps({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "witness", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    })  # fmt: skip
