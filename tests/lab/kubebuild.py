"""Kubernetes, built from Debian's source package. Of the packages made of it Debian has only that
of kubectl."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.lab import cache, debian, nspawn
from tests.lab.activity import activity

# The last suite with this source package.
_SUITE = "bookworm"
_VERSION = "1.20.2"

_PACKAGES = (
    "golang-1.19-go", "golang-github-modern-go-reflect2-dev", "dpkg-dev", "gcc", "libc6-dev",
)  # fmt: skip

# The source comes from where the packages come from. $1: the root that is being made.
_SOURCE = r"""set -e
cd "$1"
find etc/apt -name '*.sources' -exec sed -i 's/^Types: deb$/Types: deb deb-src/' {} +
find etc/apt -name '*.list' -exec sed -i 's/^deb \(.*\)/&\ndeb-src \1/' {} +
mkdir usr/src/kubernetes
chroot . apt-get update -q
chroot . sh -c 'cd /usr/src/kubernetes && apt-get source -q --download-only kubernetes'
"""

# Static: what is built runs on every suite. $1: the version. What is done about empty strings has
# no effect yet: where a schema says "string", the server still answers 422 to one.
_BUILD = r"""set -e
export PATH=/usr/lib/go-1.19/bin:$PATH HOME=/build GOPATH=/build/go GO111MODULE=off CGO_ENABLED=0
tree=k8s.io/kubernetes
mkdir -p go/src/k8s.io
dpkg-source --no-check -x /usr/src/kubernetes/*.dsc go/src/$tree
cd go/src/$tree
# With Go 1.18 and later, the vendored one crashes at the first custom resource.
rm -r vendor/github.com/modern-go/reflect2
cp -r /usr/share/gocode/src/github.com/modern-go/reflect2 vendor/github.com/modern-go/
# The one generated file that is not in the source (build/root/Makefile.generated_files).
go build -p 2 -o /build/openapi-gen ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
inputs=$(grep -Rl --include='*.go' '+k8s:openapi-gen=' vendor/k8s.io pkg | xargs -n1 dirname |
    sort -u | grep -v -e /code-generator -e /sample-apiserver | sed "s,^,$tree/," | paste -sd,)
/build/openapi-gen -i "$inputs" -p $tree/pkg/generated/openapi -O zz_generated.openapi \
    -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r /build/violations
# At each start, the kubelet would wait 5 s for a Docker. Built with a Go of today, the server would
# take an empty string in a custom resource for null.
factory=vendor/github.com/google/cadvisor/container/docker/factory.go
type=vendor/github.com/go-openapi/validate/type.go
sed 's/^const rootDirRetries = 5$/const rootDirRetries = 0/' $factory > /build/factory.go
sed 's/ || reflect.DeepEqual(reflect.Zero(reflect.TypeOf(data)), reflect.ValueOf(data))//' $type \
    > /build/type.go
cmp -s $factory /build/factory.go && exit 1
cmp -s $type /build/type.go && exit 1
printf '{"Replace": {"%s": "/build/factory.go", "%s": "/build/type.go"}}' \
    "$PWD/$factory" "$PWD/$type" > /build/overlay
flags="-s -w"
for package in component-base/version client-go/pkg/version; do
    at=$tree/vendor/k8s.io/$package
    flags="$flags -X $at.gitVersion=v$1 -X $at.gitMajor=1 -X $at.gitMinor=20"
done
go build -p 2 -trimpath -overlay /build/overlay -o /target/usr/local/bin/ -ldflags "$flags" \
    ./cmd/kube-apiserver ./cmd/kube-controller-manager ./cmd/kube-scheduler ./cmd/kubelet
gcc -static -O2 -o /target/pause build/pause/linux/pause.c
"""


def binaries() -> Path:
    """A layer with kube-apiserver, kube-controller-manager, kube-scheduler and kubelet in
    usr/local/bin, and `pause`, the first process of a pod. Never write to it.

    Building them takes 13 minutes on two processors.
    """
    builder = _builder()
    return cache.entry(
        "kubernetes", [builder.name, _BUILD, _VERSION], lambda target: _build(builder, target)
    )


def _builder() -> Path:
    """A root filesystem with the compiler and the source."""
    recipe = debian.Recipe(_SUITE, "minbase", _PACKAGES, (_SOURCE,))
    return debian.cached("kubernetes-builder", recipe)


def _build(builder: Path, target: Path) -> None:
    (target / "usr/local/bin").mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        with activity(f"Building Kubernetes {_VERSION}"):
            nspawn.run(
                f"build-{target.stem}", builder,
                f"--bind={folder}:/build", f"--bind={target}:/target", "--chdir=/build",
                "nice", "-n", "10", "sh", "-c", _BUILD, "sh", _VERSION,
            )  # fmt: skip
