"""`ocp-tuned-boot check` on a node: mistakes that only TuneD, the kernel or systemd know are found,
each at its line; no profile of TuneD's own is one; and nothing on the node is changed."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot.commands.check import machine, meaning, profiles
from ocp_tuned_boot.commands.check.problem import Problem, Severity
from ocp_tuned_boot.commands.check.profiles import Sources
from ocp_tuned_boot.commands.check.request import Named
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.tuned.asked import Asked, Verified
from ocp_tuned_boot.tuned.profilefile import ProfileFile
from tests.lab import tunedimage, tunedroot, workload
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.rootfs import SUITES
from tests.lab.tunedroot import Conversing, TunedRoot

pytestmark = pytest.mark.lab

DATAERR = 65
NAME = "openshift-node-lab"
_PROFILES = "/var/lib/ocp-tuned/profiles"
_CONF = f"{_PROFILES}/{NAME}/tuned.conf"
_IMAGE_ENV = "/var/lib/ocp-tuned/image.env"
_RECOMMEND = "/var/lib/ocp-tuned/recommend.d/50-openshift.conf"
SOUND = """\
[main]
include=throughput-performance
[variables]
time=37
[sysctl]
net.ipv4.tcp_fin_timeout=${time}
[vm]
transparent_hugepages=madvise
[script]
script=${i:PROFILE_DIR}/script.sh
"""
#: Each line with what is wrong with it.
PLANTED = (
    ("[main]", ""),
    ("include=throughput-performance", ""),
    ("[variables]", ""),
    ("include=/etc/tuned/no-such-variables.conf", "tuned-warning"),
    ("[sysctl]", ""),
    ("net.ipv4.tcp_fin_timeout=soon", "value-not-accepted"),
    ("net.ipv4.tcp_keepalive_time=5500", "set-elsewhere"),
    ("kernel.absent_in_every_kernel=1", "no-such-setting"),
    ("kernel.ostype=Linus", "read-only-setting"),
    ("net.ipv4.tcp_keepalive_probes=${nothing}", "unknown-variable"),
    ("kernel.panic=5", "kubelet-default"),
    ("net.core.somaxconn=-1", "value-out-of-range"),
    ("[sysfs]", ""),
    ("/sys/kernel/mm/absent=1", "no-such-setting"),
    ("/sys/kernel/mm/transparent_hugepage/defrag=sometimes", "value-not-accepted"),
    ("[strange]", "unknown-plugin"),
    ("option=1", ""),
    ("[cpu]", ""),
    ("force_latency=cstate.name:NO_SUCH_STATE", "no-such-cstate"),
    ("no_such_option=1", "unknown-option"),
    ("[cards]", ""),
    ("type=net", ""),
    ("devices=no-such-card", "no-devices"),
    ("wake_on_lan=d", ""),
    ("[bootloader]", ""),
    ("cmdline_lab=+lab.argument=1 isolcpus=managed_irq,domain,7000-7001", "no-such-cpu"),
)
#: What the last line has as well.
ALSO = ("missing-kernel-argument", len(PLANTED))
#: Stock profiles of the default run: with scripts, computed values and settings of many machines.
FEW = ("throughput-performance", "openshift-node", "cpu-partitioning", "sap-hana")

# Everything that a check may not change; what is in /run/ocp-tuned-boot is its own.
_STATE = r"""
folders="/etc /var/lib/ocp-tuned /var/lib/ocp-tuned-boot /var/lib/tuned"
find $folders -xdev ! -type d -printf '%p %s %T@ %m\n' | sort
cat /proc/sys/net/ipv4/tcp_fin_timeout /proc/sys/net/ipv4/tcp_keepalive_time
cat /sys/kernel/mm/transparent_hugepage/enabled
podman ps -a --format '{{.Names}}'
"""

Found = list[dict[str, Any]]


@pytest.fixture(params=SUITES)
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    with KernelKnobs(workload.RESET), Node(request.param, image=request.param) as booted:
        workload.furnish(booted, SOUND)
        booted.write(f"{_PROFILES}/{NAME}/script.sh", "#!/bin/sh\n", 0o755)
        booted.boot()
        workload.has_ended(booted)
        yield booted


def check(node: Node, *more: str) -> tuple[int, Found]:
    done = node.run("ocp-tuned-boot", "check", "--json", *more, check=False)
    found: Found = json.loads(done.stdout)["problems"]
    return done.returncode, found


def kinds(found: Found, *, least: str = "warning") -> list[tuple[str, str, int]]:
    """Kind, file and line of what is at least so severe."""
    severities = ("error", "warning", "note")[: ("error", "warning", "note").index(least) + 1]
    return [(it["kind"], it["file"], it["line"]) for it in found if it["severity"] in severities]


def test_a_sound_node_has_no_problem_and_nothing_changes(node: Node) -> None:
    before = node.run("sh", "-c", _STATE).stdout
    status, found = check(node)
    assert (status, kinds(found)) == (0, [])
    assert [it for it in found if it["kind"] == "not-checked"] == []
    assert node.run("sh", "-c", _STATE).stdout == before
    # Whoever may not ask Podman gets what can be found without it.
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    done = node.run(*user, "ocp-tuned-boot", "check", "--json", check=False)
    found = json.loads(done.stdout)["problems"]
    assert (done.returncode, kinds(found)) == (0, []), done.stderr
    assert any("Podman" in it["message"] for it in found if it["kind"] == "not-checked")

    every_mistake_is_found(node)
    mistakes_beside_the_profile(node)
    a_folder_of_profiles(node)


def every_mistake_is_found(node: Node) -> None:
    # What is planted would be noticed, and recorded, while it is compared what a check changes.
    node.run("systemctl", "stop", "ocp-tuned*.path")
    node.write(_CONF, "".join(f"{line}\n" for line, _ in PLANTED))
    node.write("/etc/sysctl.d/90-lab.conf", "\nnet.ipv4.tcp_keepalive_time = 5501\n")
    node.write("/etc/kubernetes/kubelet.conf", "protectKernelDefaults: true\n")
    before = node.run("sh", "-c", _STATE).stdout
    status, found = check(node)
    expected = {(kind, _CONF, number) for number, (_, kind) in enumerate(PLANTED, 1) if kind}
    expected.add((ALSO[0], _CONF, ALSO[1]))
    assert set(kinds(found)) == expected
    assert status == DATAERR
    assert node.run("sh", "-c", _STATE).stdout == before
    node.run("rm", "/etc/sysctl.d/90-lab.conf", "/etc/kubernetes/kubelet.conf")
    # As a compiler says it, for editors and CI.
    lines = node.run("ocp-tuned-boot", "check", "--format", "gcc", check=False).stdout
    assert re.search(rf"(?m)^{_CONF}:6: warning: .*\[value-not-accepted\]$", lines)
    # What TuneD cannot load.
    node.write(_CONF, "[main]\ninclude=throughput-performance,no-such-profile\n")
    assert kinds(check(node)[1]) == [("missing-include", _CONF, 2)]
    node.write(_CONF, "[main]\ninclude=${f:no_such_function}\n")
    ((kind, file, _),) = kinds(check(node)[1], least="error")
    assert (kind, file) == ("profile-not-loaded", _CONF)
    node.write(_RECOMMEND, "# lab\n[no-such-profile]\n")
    assert ("unknown-profile", _RECOMMEND, 2) in kinds(check(node)[1])
    node.write(_RECOMMEND, f"[{NAME}]\n")
    node.write(_CONF, SOUND)


def mistakes_beside_the_profile(node: Node) -> None:
    """The image and the units."""
    image = "registry.lab:5000/absent:1"
    node.write("/etc/ocp-tuned-boot/boot.conf", "[image]\npull = never\n")
    assert [it[0] for it in kinds(check(node, "--image", image)[1])] == ["image-not-available"]
    node.run("rm", "/etc/ocp-tuned-boot/boot.conf")
    assert kinds(check(node, "--image", image)[1]) == []
    # What is requested: a pull that has failed, and a name that no registry has.
    requested = node.read(_IMAGE_ENV)
    node.write(_IMAGE_ENV, f"NTO_IMAGE={image}\n")
    assert kinds(check(node)[1]) == []
    node.run("systemctl", "start", "ocp-tuned-image.service", check=False)
    status, found = check(node)
    assert (status, kinds(found)) == (0, [("last-pull-failed", _IMAGE_ENV, 1)])
    assert kinds(check(node, "--image", f"{image}.1")[1]) == []
    node.run("systemctl", "stop", "ocp-tuned-image.service")
    node.run("systemctl", "reset-failed", "ocp-tuned-image.service", check=False)
    node.write(_IMAGE_ENV, "NTO_IMAGE=localhost/tuned:nope\n")
    status, found = check(node)
    assert (status, kinds(found)) == (DATAERR, [("image-not-available", _IMAGE_ENV, 1)])
    node.write(_IMAGE_ENV, requested)
    # A kubelet of the site, and upstream's unit.
    node.write("/etc/systemd/system/ocp-tuned-one-shot.service",
               "[Service]\nExecStart=true\n[Install]\nWantedBy=multi-user.target\n")  # fmt: skip
    node.run("systemctl", "daemon-reload")
    node.run("systemctl", "enable", "ocp-tuned-one-shot.service")
    node.run("systemctl", "mask", "ocp-tuned-go.service")
    node.run("systemctl", "disable", "ocp-tuned.service")
    assert sorted(it[0] for it in kinds(check(node)[1])) == [
        "other-tuned-unit", "unit-disabled", "unit-disabled",
    ]  # fmt: skip
    node.run("systemctl", "unmask", "ocp-tuned-go.service")
    node.run("systemctl", "enable", "ocp-tuned.service")
    node.run("systemctl", "disable", "ocp-tuned-one-shot.service")
    # A unit of the site in the place of ours: nothing waits for it.
    unit = node.read("/usr/lib/systemd/system/ocp-tuned.service")
    unit = re.sub(r"(?m)^Before=.*\n", "", unit)
    node.write("/etc/systemd/system/ocp-tuned.service", unit)
    node.run("systemctl", "daemon-reload")
    unordered = {Path(it[1]).name for it in kinds(check(node)[1]) if it[0] == "unit-not-ordered"}
    assert unordered == {"kubelet.service", "crio.service"}
    node.write("/etc/systemd/system/ocp-tuned.service", unit + "# changed\n")
    assert "unit-changed" in [it[0] for it in kinds(check(node)[1])]
    node.run("rm", "/etc/systemd/system/ocp-tuned.service")
    node.run("systemctl", "daemon-reload")
    assert kinds(check(node)[1]) == []
    node.run("systemctl", "stop", "ocp-tuned-podman@shared.socket")
    assert [it[0] for it in kinds(check(node)[1])] == ["podman-unreachable"]
    node.run("systemctl", "start", "ocp-tuned-podman@shared.socket")


def a_folder_of_profiles(node: Node) -> None:
    """As in CI: no node, only the profiles and an image."""
    image = tunedimage.name(node.suite)
    node.write("/var/tmp/ci/good/tuned.conf", "[main]\ninclude=base\n[sysctl]\nkernel.absent=1\n")
    node.write("/var/tmp/ci/base/tuned.conf", "[main]\ninclude=balanced\n")
    status, found = check(node, "--profiles", "/var/tmp/ci", "--image", image)
    assert (status, found) == (0, [])
    node.write("/var/tmp/ci/bad/tuned.conf", "[main]\ninclude=nothing\n[strange]\nx=1\n")
    node.write("/var/tmp/ci/odd/tuned.conf", "[strange]\nx=1\n[vm]\nno_such_option=1\n")
    status, found = check(node, "--profiles", "/var/tmp/ci", "--image", image)
    assert status == DATAERR
    assert kinds(found) == [
        ("missing-include", "/var/tmp/ci/bad/tuned.conf", 2),
        ("unknown-plugin", "/var/tmp/ci/odd/tuned.conf", 1),
        ("unknown-option", "/var/tmp/ci/odd/tuned.conf", 4),
    ]
    status, found = check(node, "--profiles", "/var/tmp/ci", "--image", "registry.lab:5000/no:1")
    assert any("podman pull" in it["advice"] for it in found if it["kind"] == "not-checked")


def alarms(image: str, names: Sequence[str]) -> list[str]:
    """Errors and warnings about profiles of the image, each requested in turn."""
    found = []
    with KernelKnobs(workload.RESET), Node(image=image) as node:
        node.write("/var/lib/ocp-tuned/image.env", f"NTO_IMAGE={tunedimage.name(image)}\n")
        node.boot()
        for name in names:
            status, problems = check(node, "--profile", name)
            found += [f"{name}: {it}" for it in problems
                      if it["severity"] != "note" or it["kind"] == "not-checked"]  # fmt: skip
            found += [f"{name}: status {status}"] if status else []
    return found


def test_a_few_stock_profiles_are_no_mistake() -> None:
    assert alarms("trixie", FEW) == []


@pytest.mark.slow
@pytest.mark.parametrize("image", SUITES)
def test_no_stock_profile_is_a_mistake_on_a_node(image: str) -> None:
    assert alarms(image, sorted(stock(tunedroot.root_of(image)))) == []


# Without a node, which takes seconds for all of them.


def stock(root: Path) -> dict[str, tuple[str, str]]:
    """Name of each stock profile, and path in the image and text of its tuned.conf."""
    paths = sorted((root / "usr/lib/tuned").rglob("tuned.conf"))
    return {it.parent.name: (f"/{it.relative_to(root)}", it.read_text()) for it in paths}


class SourceRoot(TunedRoot):
    """TuneD of a source tree, in the place of that of an image."""

    def __init__(self, folder: Path, source: Path) -> None:
        super().__init__("trixie", folder)
        upper = folder / "upper"
        modules = upper / "usr/lib/python3/dist-packages/tuned"
        shutil.copytree(source / "tuned", modules)
        shutil.copytree(source / "profiles", upper / "usr/lib/tuned/profiles")
        program = upper / "usr/sbin/tuned"
        program.parent.mkdir()
        text = (source / "tuned.py").read_text().partition("\n")[2]
        program.write_text(f"#!/usr/bin/python3 -Es\n{text}")
        program.chmod(0o755)


def checked(root: TunedRoot, name: str, sources: Sources) -> tuple[str, list[Problem]]:
    """The version of TuneD, and what is wrong with a profile on this machine."""
    found = list(profiles.check(sources, Named(name)))
    texts = {it.path.partition("/")[0]: it.text for it in sources.files}
    root.prepare(name, **texts)
    with Conversing(root, "verify") as talk:
        said, held = talk.hear(), talk.hear()
    assert isinstance(said, Asked), said
    assert isinstance(held, Verified), held
    here = machine.read(Paths(), said, reapply=True)
    return said.tuned, [*found, *meaning.check(said, held, sources, here)]


@pytest.mark.parametrize("version", [*SUITES, "source"])
def test_no_stock_profile_is_a_mistake_as_it_is_or_included(version: str, tmp_path: Path) -> None:
    """`source`: the TuneD of a source tree, if there is one."""
    source = os.environ.get("OCP_TUNED_LAB_TUNED_SOURCE", "")
    if version == "source" and not source:
        pytest.skip("OCP_TUNED_LAB_TUNED_SOURCE names no source tree of TuneD")
    named = stock(tunedroot.root_of("trixie" if version == "source" else version))
    if version == "source":
        paths = Path(source, "profiles").glob("*/tuned.conf")
        folder = "/usr/lib/tuned/profiles"
        named = {it.parent.name: (f"{folder}/{it.parent.name}/tuned.conf", it.read_text())
                 for it in sorted(paths)}  # fmt: skip
    texts = dict(named.values())
    versions: set[str] = set()
    assert len(named) > 30
    for name in named:
        mine = ProfileFile("mine/tuned.conf", f"[main]\ninclude={name}\n".encode())
        for custom in ((), (mine,)):
            place = tmp_path / f"{name}-{len(custom)}"
            is_source = version == "source"
            root = SourceRoot(place, Path(source)) if is_source else TunedRoot(version, place)
            sources = Sources(Path("/var/lib/ocp-tuned/profiles"), custom, texts)
            tuned, found = checked(root, "mine" if custom else name, sources)
            versions.add(tuned)
            assert [it for it in found if it.severity is not Severity.NOTE] == [], name
            shutil.rmtree(place)
    print(f"{len(named)} stock profiles of TuneD {', '.join(versions)}")
