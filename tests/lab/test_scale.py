"""Many nodes, one registry with too little bandwidth. docs/scale.md has the numbers of
`tests.lab.pullload`, and `tests.scale` simulates 5,000 nodes with them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from tests import scale
from tests.lab import registry, tunedimage
from tests.lab.fleet import CONF, SECOND, SECOND_SERVICE, SERVICE, Fleet, fleet, layered
from tests.lab.host import PROFILE, TUNED_CONF
from tests.lab.node import Node
from tests.lab.patience import eventually
from tests.lab.product import TREE

pytestmark = pytest.mark.lab

IMAGE_ENV = "var/lib/ocp-tuned/image.env"
#: Bytes of the layers: one that arrives at once, one that takes long, one that is complete before
#: it.
LAYERS = 20_000, 5_000_000, 20_000
#: With it, the second layer takes two minutes.
SLOW, QUICK = "300kbit", "1gbit"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Fleet]:
    """Three, whose image is not one of TuneD."""
    with Node(image="trixie") as node:
        node.boot()
        with fleet(node, layered(node, *LAYERS), 3) as found:
            yield found


def test_three_nodes_share_the_bandwidth_and_each_asks_for_each_part_once(nodes: Fleet) -> None:
    nodes.limit("32mbit")
    before = nodes.traffic()
    done = nodes.run("image", "fetch")
    assert [run.status for run in done] == [0, 0, 0], done
    used = nodes.traffic().since(before)
    # Two requests to find the image, then its configuration and its layers.
    assert len(used.paths) == 3 * (2 + 1 + len(LAYERS)), used.paths
    assert set(Counter(used.blobs).values()) == {3}
    assert 3 * sum(LAYERS) < used.sent < 1.2 * 3 * sum(LAYERS)
    # They do not wait for each other, and nobody got more than the cable can carry.
    assert max(run.seconds for run in done) > 3 * sum(LAYERS) * 8 / 32e6 * 0.8
    nodes.empty()


def test_of_a_pull_that_is_cut_off_only_the_first_layers_are_kept(nodes: Fleet) -> None:
    (host, *_) = nodes.hosts
    nodes.limit(SLOW)
    before = nodes.traffic()
    with host.start("image", "fetch") as pull:
        eventually(lambda: nodes.layers(0) == 1)
        # Also the last one is complete by now: the registry logs what it has sent.
        eventually(lambda: len(nodes.traffic().since(before).blobs) == 3)
        pull.kill()
    # Podman gives it up, and the registry logs what it could not send.
    nodes.limit(QUICK)
    eventually(lambda: len(nodes.traffic().since(before).blobs) == 4)
    (again,) = nodes.run("image", "fetch", hosts=[host])
    assert again.status == 0, again
    blobs = nodes.traffic().since(before).blobs
    # The configuration, the layer that was cut off, and the one after it, though it was complete.
    assert sorted(Counter(blobs).values()) == [1, 2, 2, 2], blobs
    nodes.empty()


def test_after_a_run_that_was_too_slow_systemd_pulls_the_image(nodes: Fleet) -> None:
    """And the next start finds it."""
    node, image, unit = nodes.node, "ocp-tuned-image.service", "ocp-tuned.service"
    nodes.limit(SLOW)
    _requested(node)
    # On a busy machine, less time would not be enough to begin.
    for timeout in (8, 16, 32, 64):
        node.write(f"/{CONF}", f"[tuning]\ntimeout = {timeout}\n")
        assert node.run("systemctl", "start", unit, check=False).returncode != 0
        (finding,) = json.loads(node.read("/run/ocp-tuned-boot/status.json"))["findings"]
        if "was not complete in time" in finding["message"]:
            break
        assert _state(node, image) == "inactive", finding
    eventually(lambda: _state(node, image) == "activating")
    nodes.limit(QUICK)
    eventually(lambda: _state(node, image) != "activating")
    assert node.run("podman", "image", "exists", registry.IMAGE, check=False).returncode == 0


MIRRORS = f"""
[[registry]]
location = "quay.example/openshift"
[[registry.mirror]]
location = "{registry.HOST}/openshift"
insecure = true
[[registry.mirror]]
location = "{SECOND}/openshift"
insecure = true
"""


@pytest.mark.slow
def test_all_nodes_pull_from_the_first_mirror_as_long_as_it_answers(nodes: Fleet) -> None:
    nodes.limit(QUICK)
    nodes.second()
    nodes.node.write("/etc/containers/registries.conf.d/mirrors.conf", MIRRORS)
    # Podman reads its configuration when it starts.
    nodes.empty()
    before, other = nodes.traffic(), nodes.requests(SECOND_SERVICE)
    for host in nodes.hosts:
        host.write(IMAGE_ENV, "NTO_IMAGE=quay.example/openshift/tuned:lab\n")
    done = nodes.run("image", "fetch")
    assert [run.status for run in done] == [0, 0, 0], done
    assert len(nodes.traffic().since(before).blobs) == 3 * (1 + len(LAYERS))
    assert nodes.requests(SECOND_SERVICE) == other
    # The next one is asked when the first one does not answer.
    nodes.empty()
    nodes.node.run("systemctl", "stop", SERVICE)
    (run,) = nodes.run("image", "fetch", hosts=nodes.hosts[:1])
    assert run.status == 0, run
    assert nodes.requests(SECOND_SERVICE) != other


@pytest.mark.slow
def test_a_closed_gate_opens_although_no_pull_is_complete_in_time() -> None:
    """A registry from which this pull takes half a minute, and a deadline of five seconds."""
    with Node(image="trixie") as node:
        node.boot()
        with fleet(node, tunedimage.name("trixie"), 0) as found:
            found.limit("16mbit")
            node.write(f"/{CONF}", "[tuning]\ngate = closed\ntimeout = 5\n")
            _requested(node)
            node.run("systemctl", "start", "--no-block", "ocp-tuned.service")
            eventually(lambda: _state(node, "ocp-tuned.service") == "active")
            assert json.loads(node.read("/run/ocp-tuned-boot/status.json"))["result"] == "applied"
            assert "the pull was not complete in time" in node.journal("ocp-tuned.service")


@pytest.mark.slow
def test_the_page_has_what_the_simulation_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m tests.scale` prints it; with fewer nodes, the unit tests run it."""
    monkeypatch.setattr("sys.argv", ["tests.scale"])
    assert scale.main() == 0
    lines = set((TREE / "docs/scale.md").read_text().splitlines())
    said = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| ") for line in said) > 10, said
    assert [line for line in said if line and line not in lines] == []


def _requested(node: Node) -> None:
    # What the path unit does when image.env is written is not what is tested.
    node.run("systemctl", "stop", "ocp-tuned.path", "ocp-tuned-image.path")
    node.write(f"/{IMAGE_ENV}", f"NTO_IMAGE={registry.IMAGE}\n")
    node.write("/var/lib/ocp-tuned/recommend.d/50-openshift.conf", f"[{PROFILE}]\n")
    node.write(f"/var/lib/ocp-tuned/profiles/{PROFILE}/tuned.conf", TUNED_CONF)


def _state(node: Node, unit: str) -> str:
    return node.run("systemctl", "show", "--value", "-p", "ActiveState", unit).stdout.strip()
