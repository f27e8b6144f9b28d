"""The control plane of a cluster: etcd, kube-apiserver, kube-controller-manager and kube-scheduler,
in a machine of its own. Nothing of it is on the network of this machine.

Its interface `cluster` is the network of the nodes. The API server has the address of the service
`kubernetes` itself, so there is no kube-proxy.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.lab import cache, debian, kubebuild, rootfs
from tests.lab.node import Node
from tests.lab.patience import PATIENCE

#: The API server, as the pods know it, and on the network of the nodes.
SERVICE, ADDRESS = "10.96.0.1", "10.20.0.1"
URL = f"https://{SERVICE}:443"

_RECIPE = debian.Recipe(
    "trixie", "minbase",
    ("systemd", "systemd-sysv", "dbus", "iproute2", "procps", "openssl", "etcd-server",
     "kubernetes-client"),
    ('systemctl --root="$1" --quiet set-default multi-user.target',
     'mkdir -p "$1"/var/lib/containers'),
)  # fmt: skip

#: Certificates and keys, in /etc/kubernetes of the machine.
_PKI = "/etc/kubernetes"

# A CA, what it issues, and the key of the service accounts' tokens.
# $1: the folder; then pairs of a name and a subject.
_ISSUE = r"""set -e
mkdir -p "$1" && cd "$1" && shift
new() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 "$@" 2>&1; }
[ -e ca.crt ] || new -keyout ca.key -out ca.crt -subj /CN=lab
while [ $# -gt 0 ]; do
    new -keyout $1.key -out $1.crt -CA ca.crt -CAkey ca.key -subj "$2" \
        -addext "basicConstraints=critical,CA:FALSE" \
        -addext "subjectAltName=DNS:kubernetes,IP:10.96.0.1,IP:10.20.0.1,IP:127.0.0.1"
    shift 2
done
[ -e sa.key ] || openssl ecparam -genkey -name prime256v1 -noout -out sa.key
openssl ec -in sa.key -pubout -out sa.pub
"""

_SUBJECTS = {
    "server": "/CN=kube-apiserver",
    "admin": "/O=system:masters/CN=admin",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
}

_NETWORK = f"""\
[Unit]
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link add cluster type bridge
ExecStart=ip address add {ADDRESS}/24 dev cluster
ExecStart=ip address add {SERVICE}/32 dev cluster
ExecStart=ip link set cluster up
[Install]
WantedBy=multi-user.target
"""

_PROGRAMS = {
    "kube-apiserver": f"""
        --etcd-servers=http://127.0.0.1:2379 --secure-port=443 --advertise-address={ADDRESS}
        --service-cluster-ip-range=10.96.0.0/24 --authorization-mode=Node,RBAC
        --enable-admission-plugins=NodeRestriction --allow-privileged
        --tls-cert-file={_PKI}/server.crt --tls-private-key-file={_PKI}/server.key
        --client-ca-file={_PKI}/ca.crt --service-account-issuer=https://kubernetes
        --service-account-key-file={_PKI}/sa.pub --service-account-signing-key-file={_PKI}/sa.key
        --feature-gates=BoundServiceAccountTokenVolume=true
        --kubelet-client-certificate={_PKI}/admin.crt --kubelet-client-key={_PKI}/admin.key
        --kubelet-preferred-address-types=InternalIP""",
    "kube-controller-manager": f"""
        --kubeconfig={_PKI}/controller-manager.conf --leader-elect=false
        --use-service-account-credentials --root-ca-file={_PKI}/ca.crt
        --service-account-private-key-file={_PKI}/sa.key""",
    "kube-scheduler": f"--kubeconfig={_PKI}/scheduler.conf --leader-elect=false",
}
_KINDS = {"kube-apiserver": "Type=notify", "kube-controller-manager": "Restart=always"}

_UNIT = """\
[Unit]
After=etcd.service lab-network.service kube-apiserver.service
Wants=etcd.service
[Service]
{kind}
ExecStart=/usr/local/bin/{name} {arguments}
# The server waits a minute for open watches.
TimeoutStopSec=5
[Install]
WantedBy=multi-user.target
"""

_ETCD = """\
ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:2379
ETCD_ADVERTISE_CLIENT_URLS=http://127.0.0.1:2379
ETCD_UNSAFE_NO_FSYNC=true
"""


def kubeconfig(user: str, server: str = URL, folder: str = _PKI) -> str:
    """A kubeconfig (JSON is YAML) with the certificate of a user."""
    names = {"cluster": "lab", "user": user}
    content = {
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {
            "server": server, "certificate-authority": f"{folder}/ca.crt"}}],
        "users": [{"name": user, "user": {
            "client-certificate": f"{folder}/{user}.crt", "client-key": f"{folder}/{user}.key"}}],
        "contexts": [{"name": "lab", "context": names}],
    }  # fmt: skip
    return json.dumps(content)


class ControlPlane(Node):
    """`with ControlPlane() as plane: plane.boot()`; then the API server is ready."""

    #: For kubectl as the cluster's administrator.
    environment: Mapping[str, str] = {"KUBECONFIG": f"{_PKI}/admin.conf"}

    def __init__(self) -> None:
        super().__init__(_RECIPE.suite, image=None, product=False)

    def _roots(self) -> list[Path]:
        return [kubebuild.binaries(), _root()]

    def _build(self, layers: list[Path], store: Path | None) -> None:
        super()._build(layers, store)
        self.images.mkdir()
        rootfs.configure(self.root, {}, ("kubelet.service", "crio.service"))
        self.issue(_SUBJECTS)
        for user in ("admin", "controller-manager", "scheduler"):
            self.write(f"{_PKI}/{user}.conf", kubeconfig(user))
        self.write("/etc/default/etcd", _ETCD)
        self.write("/etc/systemd/system/lab-network.service", _NETWORK)
        for name, arguments in _PROGRAMS.items():
            text = _UNIT.format(
                name=name, arguments=" ".join(arguments.split()),
                kind=_KINDS.get(name, "Restart=always"),
            )  # fmt: skip
            self.write(f"/etc/systemd/system/{name}.service", text)
        self.enable(
            "lab-network.service", "etcd.service", *(f"{name}.service" for name in _PROGRAMS)
        )

    @property
    def images(self) -> Path:
        """A folder for what the nodes import. It goes with the machine."""
        return self._place.path / "images"

    def issue(self, subjects: dict[str, str]) -> None:
        """Certificates for these subjects, by name, in /etc/kubernetes."""
        arguments = [word for pair in subjects.items() for word in pair]
        subprocess.run(
            [*debian.inside(self.root), "sh", "-c", _ISSUE, "sh", _PKI, *arguments],
            check=True, capture_output=True,
        )  # fmt: skip

    def settled(self, timeout: float = PATIENCE) -> str:
        """Also waits until the API server is ready, and has what its controllers make of it."""
        state = super().settled(timeout)
        self.ready()
        return state

    def ready(self) -> None:
        """Waits until the API server is."""
        self.run("sh", "-c", _READY, env=self.environment)

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002
        """What kubectl prints as the cluster's administrator. Raises `CommandFailed`."""
        return self.run(
            "kubectl", *arguments, input=input, check=check, env=self.environment
        ).stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        """An object, or a list of them."""
        content: dict[str, Any] = json.loads(self.kubectl("get", "--output=json", *arguments))
        return content


_READY = (
    "until kubectl get --raw=/readyz && kubectl get serviceaccount default; do sleep 0.2; done "
    ">/dev/null 2>&1"
)


def _root() -> Path:
    ingredients = [asdict(_RECIPE), rootfs.FILES]

    def build(target: Path) -> None:
        debian.bootstrap(_RECIPE, target, "directory")
        rootfs.as_node(target)

    return cache.entry("controlplane", ingredients, build)
