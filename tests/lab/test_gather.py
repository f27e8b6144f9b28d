"""`ocp-tuned-boot gather` on a node, after a failed boot and after a good one. That nothing that
looks like a secret is in it: tests/unit/commands/test_gather.py."""

from __future__ import annotations

import base64
import io
import json
import tarfile

import pytest

from ocp_tuned_boot.commands.gather import COMMANDS, PODMAN
from tests.lab import workload
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.rootfs import SUITES

pytestmark = pytest.mark.lab

KNOWN, NAMED = "Kn0wn-hunter2", "N4med-hunter3"
AUTH = base64.b64encode(f"admin:{KNOWN}".encode()).decode()
PROFILE = "[sysctl]\nnet.ipv4.tcp_fin_timeout=37\n[script]\nscript=${i:PROFILE_DIR}/script.sh\n"
#: What it says is in TuneD's log, in the journal and in a finding.
SCRIPT = f'#!/bin/sh\nTOKEN={NAMED}\necho "denied: {KNOWN}, token $TOKEN" >&2\nexit 1\n'
#: Not every node has them: the log of a boot that is forgotten, what this systemd does not know.
MAY_BE_MISSING = {"logs/previous-boot.log", "units/descriptors.txt"}


def plant(node: Node) -> None:
    workload.furnish(node, PROFILE)
    node.write("/var/lib/ocp-tuned/profiles/openshift-node-lab/script.sh", SCRIPT, 0o755)
    auths = {"auths": {"registry.example": {"auth": AUTH}}}
    node.write("/var/lib/kubelet/config.json", json.dumps(auths))
    node.write("/etc/mco/proxy.env", f"HTTPS_PROXY=http://u:{NAMED}@proxy.example:3128\n")
    conf = f"[tuning]\n# the password of the mirror is {NAMED}\ntimeout = 60\n"
    node.write("/etc/ocp-tuned-boot/boot.conf", conf)


def gathered(node: Node) -> dict[str, str]:
    """The files of the archive. No secret is in it, neither in a name."""
    said = node.run("ocp-tuned-boot", "gather", "/root/x.tar.gz").stdout
    assert "/root/x.tar.gz" in said
    assert node.run("stat", "-c", "%a", "/root/x.tar.gz").stdout == "600\n"
    text = node.run("sh", "-c", "base64 /root/x.tar.gz && rm /root/x.tar.gz").stdout
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(text)), mode="r:gz") as tar:
        found = {
            it.name.partition("/")[2]: tar.extractfile(it).read().decode()  # type: ignore[union-attr]
            for it in tar
        }
    whole = "".join([*found, *found.values()])
    assert [it for it in (KNOWN, NAMED, AUTH) if it in whole] == []
    return found


@pytest.mark.parametrize("suite", SUITES)
def test_what_failed_and_what_was_applied_is_in_it_and_no_secret(suite: str) -> None:
    with KernelKnobs(workload.RESET), Node(suite, image=suite) as node:
        plant(node)
        node.write("/var/lib/ocp-tuned/recommend.d/50-openshift.conf", "[no-such-profile]\n")
        node.boot()
        found = gathered(node)
        assert set(COMMANDS) | set(PODMAN) <= set(found) | MAY_BE_MISSING
        assert json.loads(found["record/status.json"])["result"] == "failed"
        assert "Failed: " in found["units/status.txt"]
        assert "ocp-tuned.service" in found["units/failed.txt"]
        assert "no-such-profile" in found["logs/this-boot.log"]
        assert "ExecStart=/usr/bin/ocp-tuned-boot apply" in found["units/files.txt"]
        assert "ocp-tuned.service" in found["units/critical-chain.txt"]

        node.write("/var/lib/ocp-tuned/recommend.d/50-openshift.conf", "[openshift-node-lab]\n")
        node.reboot()
        before = node.read("/run/ocp-tuned-boot/status.json")
        assert KNOWN in before
        assert NAMED in node.journal("ocp-tuned")
        found = gathered(node)
        assert json.loads(found["record/status.json"])["result"] == "degraded"
        assert "denied: [REMOVED]" in found["record/tuned.log"]
        assert "net.ipv4.tcp_fin_timeout = '37'" in found["settings/now.txt"]
        assert "localhost/tuned" in found["podman/images.json"]
        assert "/status.json" in found["host/files.txt"]
        assert len([it for it in found if it.startswith("state/history/")]) == 2
        assert node.read("/run/ocp-tuned-boot/status.json") == before

        # Without Podman, and as a user who may read little, there still is an archive.
        node.run("systemctl", "stop", "ocp-tuned-podman@*")
        assert "\npodman/info.json: cannot reach Podman" in gathered(node)["README"]
        as_nobody = "setpriv --reuid 65534 ocp-tuned-boot gather - | tar xzO --wildcards '*/README'"
        assert "not run as root" in node.run("sh", "-c", as_nobody).stdout
