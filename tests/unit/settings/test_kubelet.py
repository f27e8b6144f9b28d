"""The sysctls of the kubelet, and a profile with which it would not start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ocp_tuned_boot.host.paths import Paths, sysctl_file
from ocp_tuned_boot.requested.config import Owners
from ocp_tuned_boot.settings import kubelet
from ocp_tuned_boot.settings.kubelet import REQUIRED

OPENSHIFT = "etc/kubernetes/kubelet.conf"
PROTECTED = "kind: KubeletConfiguration\nprotectKernelDefaults: true\n"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A node that is prepared for such a kubelet."""
    paths = Paths(tmp_path)
    for key, value in REQUIRED.items():
        put(paths, sysctl_file(key), value + "\n")
    return paths


def put(paths: Paths, path: str, text: str) -> None:
    file = paths.root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_all_of_them_are_on_the_hand_over_list() -> None:
    assert set(REQUIRED) <= set(Owners().sysctls)


@pytest.mark.parametrize(
    ("files", "by"),
    [
        ({}, None),
        ({OPENSHIFT: PROTECTED}, OPENSHIFT),
        ({OPENSHIFT: "apiVersion: v1\nkind: Config\n"}, None),
        ({OPENSHIFT: '{"kind": "X", "protectKernelDefaults": true, "a": 1}'}, OPENSHIFT),
        ({OPENSHIFT: "protectKernelDefaults: false\n"}, None),
        ({OPENSHIFT: "# protectKernelDefaults: true\na: 1 # protectKernelDefaults: true\n"}, None),
        ({OPENSHIFT: "protectKernelDefaultsX: true\n"}, None),
        ({"var/lib/kubelet/config.yaml": 'protectKernelDefaults: "true"'},
         "var/lib/kubelet/config.yaml"),
        ({"etc/microshift/config.yaml": "kubelet:\n  protectKernelDefaults: true\n"},
         "etc/microshift/config.yaml"),
        ({"etc/rancher/k3s/config.yaml": "protect-kernel-defaults: true\n"},
         "etc/rancher/k3s/config.yaml"),
        ({"etc/rancher/rke2/config.yaml.d/9.yaml":
          "kubelet-arg:\n  - protect-kernel-defaults=true\n"},
         "etc/rancher/rke2/config.yaml.d/9.yaml"),
        ({"var/lib/kubelet/kubeadm-flags.env": 'ARGS="--a=b --protect-kernel-defaults --c"'},
         "var/lib/kubelet/kubeadm-flags.env"),
        ({"var/snap/microk8s/current/args/kubelet": "--protect-kernel-defaults=false\n"}, None),
        # An argument overrides the configuration.
        ({OPENSHIFT: PROTECTED, "etc/sysconfig/kubelet": "X=--protect-kernel-defaults=false"},
         None),
    ],
)  # fmt: skip
def test_where_a_kubelet_is_told_to_protect_them(
    paths: Paths, files: Mapping[str, str], by: str | None
) -> None:
    for path, text in files.items():
        put(paths, path, text)
    assert kubelet.look(paths).protected_by == (paths.root / by if by else None)


def subjects(paths: Paths, named: tuple[str, ...] = (), panic: str = "30", **how: str) -> list[str]:
    """The findings after a run in which kernel.panic got this value on the host."""
    before = kubelet.look(paths)
    put(paths, sysctl_file("kernel.panic"), panic)
    owned = [sysctl_file("kernel.panic")] if how else []
    left_out = {"kernel.panic": how["left_out"]} if how.get("left_out") else {}
    files = [sysctl_file(key) for key in named]
    return [each.subject for each in kubelet.refused(paths, before, files, owned, left_out)]


def test_a_profile_with_which_the_kubelet_does_not_start(paths: Paths) -> None:
    put(paths, OPENSHIFT, PROTECTED)
    before = kubelet.look(paths)
    put(paths, sysctl_file("kernel.panic"), "30")
    (found,) = kubelet.refused(paths, before, [], [], {})
    file = paths.root / OPENSHIFT
    assert (found.kind, found.subject) == ("kubelet-default", "kernel.panic")
    assert found.message == (
        "kernel.panic: the profile requests '30'; with protectKernelDefaults in "
        f"{file}, the kubelet starts only with '10'"
    )
    assert f"protectKernelDefaults from {file}, and reboot" in found.advice


def test_only_what_the_profile_sets_is_a_finding(paths: Paths) -> None:
    # The kubelet sets the value by itself.
    assert subjects(paths, ("kernel.panic",)) == []
    put(paths, OPENSHIFT, PROTECTED)
    put(paths, sysctl_file("vm.panic_on_oom"), "1")
    # Not named (a computed include), but changed; named, and the host had it already.
    assert subjects(paths, panic="31") == ["kernel.panic"]
    assert subjects(paths, ("kernel.panic",), panic="31") == ["kernel.panic"]
    assert subjects(paths, panic="31") == []
    assert subjects(paths, ("kernel.panic",), panic="0xa") == []


def test_in_a_guarded_run_what_tuned_would_have_set_counts(paths: Paths) -> None:
    put(paths, OPENSHIFT, PROTECTED)
    assert subjects(paths, panic="10", left_out="30") == ["kernel.panic"]
    assert subjects(paths, panic="10", left_out="10") == []
    # Its owner has changed it meanwhile, or long ago.
    assert subjects(paths, ("kernel.panic",), panic="30", left_out="") == []
