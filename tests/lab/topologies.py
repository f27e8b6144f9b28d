"""The systems that a node may belong to, with their units, for tests/lab/test_topologies.py.

Of each unit only the lines that say when it starts: order, dependencies, type, restarts and limits.
They are facts of the files that are named as their source. What is run is a stand-in. Left out:
watchdogs, resources, conditions on files of the system itself.

docs/topologies.md describes each system; tests/unit/test_topologies.py compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Where the request comes from: the files of an agent, or boot.conf.
Request = Literal["agent", "boot.conf"]


@dataclass(frozen=True)
class Unit:
    """A unit of a system: the lines of its sections."""

    #: Repository and path of the file that these lines are facts of.
    source: str
    unit: str = ""
    service: str = ""
    install: str = ""
    #: Drop-ins: name and text.
    drop_ins: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class System:
    """`title`: the section of docs/topologies.md; `held`: the units that wait, of which each leaves
    a witness; `units`: all of them, by name."""

    title: str
    held: tuple[str, ...]
    units: dict[str, Unit]
    request: Request = "boot.conf"


def text(name: str, unit: Unit, held: tuple[str, ...]) -> str:
    """The file of the stand-in."""
    parts = [f"[Unit]\nDescription=Stand-in for {name}\n{unit.unit}"]
    if name.endswith(".service"):
        witness = f"/usr/local/bin/lab-witness {name.partition('.')[0]}"
        command = witness if name in held else "/usr/bin/true"
        parts.append(f"[Service]\nExecStart={command}\n{unit.service}")
    if name.endswith(".socket"):
        parts.append(f"[Socket]\n{unit.service}")
    if unit.install:
        parts.append(f"[Install]\n{unit.install}")
    return "\n".join(parts)


_AT_BOOT = "WantedBy=multi-user.target\n"
_ONLINE = "Wants=network-online.target\nAfter=network-online.target\n"
_ONCE = "Type=oneshot\nRemainAfterExit=yes\n"

_MCO = "openshift/machine-config-operator: templates/"
_CRIO = Unit(
    "cri-o/cri-o: contrib/systemd/crio.service",
    _ONLINE + "Before=kubelet.service\n",
    "Type=notify\nTimeoutStartSec=0\nRestart=on-failure\nRestartSec=10\n",
    _AT_BOOT,
)
# The nodes of HyperShift and of single-node OpenShift have the units of any node of OpenShift.
_OPENSHIFT = {
    "kubelet-dependencies.target": Unit(
        _MCO + "common/_base/units/kubelet-dependencies.target.yaml",
        "Requires=basic.target network-online.target\n"
        "Wants=NetworkManager-wait-online.service crio-wipe.service\n"
        "Wants=rpc-statd.service chrony-wait.service\n",
    ),
    "firstboot-osupdate.target": Unit(
        _MCO + "common/_base/units/firstboot-osupdate.target",
        "Requires=basic.target\n",
        install="WantedBy=default.target\n",
    ),
    "machine-config-daemon-firstboot.service": Unit(
        _MCO + "common/_base/units/machine-config-daemon-firstboot.service.yaml",
        "ConditionPathExists=/etc/ignition-machine-config-encapsulated.json\n"
        "After=machine-config-daemon-pull.service\nBefore=kubelet-dependencies.target\n",
        _ONCE,
        "RequiredBy=firstboot-osupdate.target\n",
    ),
    "kubelet-auto-node-size.service": Unit(
        _MCO + "common/_base/units/kubelet-auto-node-size.service.yaml",
        _ONLINE + "After=firstboot-osupdate.target\nBefore=kubelet-dependencies.target\n",
        _ONCE,
        "RequiredBy=kubelet-dependencies.target\n",
    ),
    "kubelet-cleanup.service": Unit(
        _MCO + "worker/01-worker-kubelet/_base/units/kubelet-cleanup.service.yaml",
        "Before=kubelet.service\n",
        "Type=oneshot\n",
        _AT_BOOT,
    ),
    "crio.service": Unit(
        _CRIO.source,
        _CRIO.unit,
        _CRIO.service,
        _CRIO.install,
        (
            (
                # templates/common/_base/units/crio.service.yaml
                "05-mco-ordering.conf",
                "[Unit]\nAfter=kubelet-dependencies.target\nRequires=kubelet-dependencies.target\n",
            ),
        ),
    ),
    "kubelet.service": Unit(
        _MCO + "worker/01-worker-kubelet/_base/units/kubelet.service.yaml",
        "Requires=crio.service kubelet-dependencies.target\n"
        "After=kubelet-dependencies.target ostree-finalize-staged.service\n",
        "Type=notify\nRestart=always\nRestartSec=10\n",
        _AT_BOOT,
    ),
}

_MICROSHIFT = "openshift/microshift: packaging/"
_K3S = _ONLINE, "TimeoutStartSec=0\nRestart=always\nRestartSec=5s\n", _AT_BOOT
_RKE2 = "rancher/rke2: bundle/lib/systemd/system/"
_K0S = Unit(
    "k0sproject/k0s: pkg/install/systemd_linux.go",
    _ONLINE,
    "StartLimitInterval=5\nStartLimitBurst=10\nRestartSec=10\nTimeoutStartSec=0\nRestart=always\n",
    _AT_BOOT,
)
_CONTAINERD = Unit(
    "containerd/containerd: containerd.service",
    "After=network.target dbus.service\n",
    "Type=notify\nRestart=always\nRestartSec=5\n",
    _AT_BOOT,
)
_DOCKER = {
    "docker.socket": Unit(
        "moby/moby: contrib/init/systemd/docker.socket",
        service="ListenStream=/run/docker.sock\n",
        install="WantedBy=sockets.target\n",
    ),
    "docker.service": Unit(
        "moby/moby: contrib/init/systemd/docker.service",
        "After=network-online.target docker.socket firewalld.service containerd.service\n"
        "Wants=network-online.target containerd.service\nRequires=docker.socket\n"
        "StartLimitBurst=3\nStartLimitIntervalSec=60\n",
        "Type=notify\nTimeoutStartSec=0\nRestartSec=2\nRestart=always\n",
        _AT_BOOT,
    ),
}

#: The drop-in by which an administrator has a service of the site wait.
SITE = "[Unit]\nAfter=ocp-tuned.service ocp-tuned-retry.service ocp-tuned-go.service\n"

#: All systems. The server and the agent of one are on one node here, which they are nowhere else:
#: none of their lines is about the other one.
SYSTEMS = {
    "hypershift": System("HyperShift", ("crio.service", "kubelet.service"), _OPENSHIFT, "agent"),
    "sno": System("Single-node OpenShift", ("crio.service", "kubelet.service"), _OPENSHIFT),
    "microshift": System(
        "MicroShift",
        ("crio.service", "microshift.service"),
        {
            "crio.service": _CRIO,
            # Open vSwitch and NetworkManager, as far as MicroShift depends on them.
            "NetworkManager.service": Unit(
                "NetworkManager/NetworkManager: data/NetworkManager.service.in",
                "Wants=network.target\nBefore=network.target\n",
                _ONCE,
                _AT_BOOT,
            ),
            "openvswitch.service": Unit(
                "openvswitch/ovs: rhel/usr_lib_systemd_system_openvswitch.service",
                "Before=network.target\n",
                _ONCE,
            ),
            "microshift-ovs-init.service": Unit(
                _MICROSHIFT + "systemd/microshift-ovs-init.service",
                "After=openvswitch.service NetworkManager.service\nBefore=microshift.service\n"
                "Requires=openvswitch.service NetworkManager.service\n",
                "Type=oneshot\nTimeoutSec=2m\n",
            ),
            "microshift-cleanup-kubelet.service": Unit(
                _MICROSHIFT + "tuned/microshift-cleanup-kubelet.service",
                "Before=microshift.service\n",
                "Type=oneshot\n",
                _AT_BOOT,
            ),
            "microshift.service": Unit(
                _MICROSHIFT + "systemd/microshift.service",
                "Wants=network-online.target crio.service openvswitch.service "
                "microshift-ovs-init.service\n"
                "After=network-online.target crio.service openvswitch.service "
                "microshift-ovs-init.service\nBefore=kubepods.slice\n",
                "Type=notify\nRestart=always\nTimeoutStartSec=4m\n",
                _AT_BOOT + "Also=microshift-cleanup-kubelet.service\n",
            ),
        },
    ),
    "k3s": System(
        "k3s",
        ("k3s.service", "k3s-agent.service"),
        {
            "k3s.service": Unit(
                "k3s-io/k3s: install.sh", _K3S[0], "Type=notify\n" + _K3S[1], _K3S[2]
            ),
            "k3s-agent.service": Unit(
                "k3s-io/k3s: install.sh", _K3S[0], "Type=exec\n" + _K3S[1], _K3S[2]
            ),
        },
        "agent",
    ),
    "rke2": System(
        "RKE2",
        ("rke2-server.service", "rke2-agent.service"),
        {
            f"rke2-{role}.service": Unit(
                f"{_RKE2}rke2-{role}.service", _K3S[0], "Type=notify\n" + _K3S[1], _K3S[2]
            )
            for role in ("server", "agent")
        },
        "agent",
    ),
    "kubeadm": System(
        "kubeadm",
        ("containerd.service", "docker.service", "cri-docker.service", "kubelet.service"),
        {
            "containerd.service": _CONTAINERD,
            **_DOCKER,
            "cri-docker.socket": Unit(
                "Mirantis/cri-dockerd: packaging/systemd/cri-docker.socket",
                "PartOf=cri-docker.service\n",
                "ListenStream=/run/cri-dockerd.sock\n",
                "WantedBy=sockets.target\n",
            ),
            "cri-docker.service": Unit(
                "Mirantis/cri-dockerd: packaging/systemd/cri-docker.service",
                "After=network-online.target firewalld.service docker.service\n"
                "Wants=network-online.target\nRequires=cri-docker.socket\n",
                "Type=notify\nTimeoutSec=0\nRestartSec=2\nRestart=always\n"
                "StartLimitBurst=3\nStartLimitInterval=60s\n",
                _AT_BOOT,
            ),
            "kubelet.service": Unit(
                "kubernetes/release: cmd/krel/templates/latest/kubelet/kubelet.service",
                _ONLINE,
                "Restart=always\nStartLimitInterval=0\nRestartSec=10\n",
                _AT_BOOT,
            ),
        },
        "agent",
    ),
    "k0s": System(
        "k0s",
        ("k0scontroller.service", "k0sworker.service"),
        {"k0scontroller.service": _K0S, "k0sworker.service": _K0S},
        "agent",
    ),
    "plain": System(
        "A plain server",
        ("containerd.service", "docker.service", "site-database.service"),
        {
            "containerd.service": _CONTAINERD,
            **_DOCKER,
            "site-database.service": Unit(
                "the administrator",
                "After=network.target\n",
                "Restart=always\n",
                _AT_BOOT,
                (("ocp-tuned.conf", SITE),),
            ),
        },
    ),
}
