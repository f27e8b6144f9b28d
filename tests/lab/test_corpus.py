"""Small profiles in the styles of the field, and TuneD's own: the record tells the truth of each.

A lie: a setting is said to be in effect, or is not named at all, and the kernel has something else.
A false alarm: it is said to be different, and the kernel has what was asked for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

import pytest

from tests.lab import kernelreader, tunedimage, tunedroot, workload
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.truth import Verdict, of_corpus, of_stock, paths

pytestmark = pytest.mark.lab

CORPUS = Path(__file__).with_name("corpus")
NAMES = sorted(path.name for path in CORPUS.iterdir())
#: Those of the default run: each has something that the others do not.
FEW = ("hana-appliance", "cluster-performance", "realtime-edge", "overridden-host", "nfs-server")
SUITES = ("bookworm", "trixie")
_READER = Path(kernelreader.__file__).read_text()
_PROFILES = "/var/lib/ocp-tuned/profiles"
_SITE = "/etc/sysctl.d/50-site.conf"
# TuneD writes to files in these folders.
_SAVE = "cp -a --parents /etc/systemd /etc/modprobe.d /var/tmp"
_LOAD = "rm -rf /etc/modprobe.d && cp -a /var/tmp/etc/. /etc/"
_ENDED = """
until systemctl show --value -p SubState ocp-tuned | grep -Eqx 'exited|failed'; do sleep 0.05; done
"""
# A profile is applied as in a boot: nothing is on record, and no setting is owned by others.
_FORGET = (
    "systemctl stop ocp-tuned && systemctl clean --what=fdstore ocp-tuned; "
    "cd /run/ocp-tuned-boot && rm -f status.json settings.json"
)


class Bench:
    """A node on which one profile is applied after the other."""

    def __init__(self, node: Node, image: str) -> None:
        self._node = node
        node.write("/var/lib/ocp-tuned/image.env", f"NTO_IMAGE={tunedimage.name(image)}\n")
        node.write("/var/lib/ocp-tuned/provider", "lab")
        for file in CORPUS.glob("*/*"):
            mode = 0o755 if os.access(file, os.X_OK) else 0o644
            node.write(f"{_PROFILES}/{file.relative_to(CORPUS)}", file.read_text(), mode)
        node.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth2")
        node.run("sh", "-c", _SAVE)
        self._before = self._ask([])

    def apply(self, profile: str) -> dict[str, Any]:
        """Applies a profile; what the run has recorded."""
        recommend = "/var/lib/ocp-tuned/recommend.d/50-openshift.conf"
        self._node.write(recommend, f"[{profile}]\n")
        site = CORPUS / profile / "sysctl.conf"
        if site.exists():
            self._node.write(_SITE, site.read_text())
            self._node.run("sysctl", "--quiet", "--load", _SITE, check=False)
        self._node.run("systemctl", "start", "ocp-tuned", check=False)
        self._node.run("sh", "-c", _ENDED)
        record: dict[str, Any] = workload.record(self._node)
        assert record["profile"] == profile
        return record

    def kernel(self, where: Sequence[str]) -> dict[str, Optional[str]]:
        """What is there now."""
        found: dict[str, Optional[str]] = self._ask(sorted(set(where)))
        return found

    def reset(self) -> None:
        """Everything as before, as a boot has it."""
        self._node.run("sh", "-c", _FORGET)
        self._node.run("rm", "-f", _SITE)
        self._node.run("sh", "-c", _LOAD)
        left = self._ask(self._before)
        assert left == []

    def _ask(self, what: object) -> Any:
        return json.loads(self._node.run("python3", "-c", _READER, input=json.dumps(what)).stdout)


@contextmanager
def bench(image: str) -> Iterator[Bench]:
    """With Debian's TuneD of this suite: 2.20 or 2.25."""
    with KernelKnobs(workload.RESET), Node(image=image) as node:
        node.boot()
        # They would own settings.
        node.run("systemctl", "stop", "kubelet", "crio")
        made = Bench(node, image)
        try:
            yield made
        finally:
            made.reset()


def told(image: str, names: Sequence[str], stock: Sequence[str] = ()) -> Verdict:
    """Applies these profiles of the corpus, then these of TuneD."""
    whole = Verdict()
    with bench(image) as tuned:
        for name in (*names, *stock):
            record = tuned.apply(name)
            asked = kernelreader.wanted(CORPUS / name / "wanted") if name in names else []
            kernel = tuned.kernel([*(each.where for each in asked), *paths(record)])
            verdict = of_corpus(record, asked, kernel) if asked else of_stock(record, kernel)
            whole.add(f"{image} {name}", verdict)
            tuned.reset()
    print(f"{len(names)} profiles, {len(stock)} stock profiles, image {image}: {whole}")
    return whole


def stock_of(image: str) -> list[str]:
    """The names of TuneD's own profiles."""
    root = tunedroot.root_of(image) / "usr/lib/tuned"
    return sorted({path.parent.name for path in root.rglob("tuned.conf")})


def truthful(verdict: Verdict) -> None:
    assert verdict.lies == []
    assert verdict.alarms == []


def test_a_few_profiles_of_the_field() -> None:
    verdict = told("trixie", FEW)
    truthful(verdict)
    # Of a profile as a cluster renders it, nobody compares what its script does, and nothing else.
    unchecked = [each for each in verdict.unchecked if "cluster-performance" in each]
    assert unchecked == [
        "trixie cluster-performance: script.script: the script would run again"
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("image", SUITES)
def test_all_profiles_of_the_field_and_of_tuned(image: str) -> None:
    truthful(told(image, NAMES, stock_of(image)))
