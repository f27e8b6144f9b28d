"""The truth about reboots and power cuts, on a kernel of its own: emulated, minutes each."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest

from tests.lab.vm import VirtualNode
from tests.lab.workload import PROFILE, WANTED

pytestmark = [pytest.mark.lab, pytest.mark.slow]

FOLDER = "/var/lib/ocp-tuned"
STALE = "/var/lib/lab/status.json"
# Says what the kernel has set by itself, and puts a record of an earlier boot where ours lies.
BEFORE = f"""\
[Unit]
DefaultDependencies=no
After=local-fs.target
Before=ocp-tuned.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'cat /proc/sys/vm/stat_interval > /var/lib/lab/before'
ExecStart=/bin/sh -c '! [ -e {STALE} ] || install -D -m 644 {STALE} /run/ocp-tuned-boot/status.json'
[Install]
WantedBy=multi-user.target
"""
# An agent that changes the profile all the time, with plain writes as upstream's has them.
RESTLESS = f"""\
[Service]
ExecStart=/bin/sh -c 'while :; do n=$((n + 1)); \\
  printf "%%s\\\\n" "# $n" >> {FOLDER}/profiles/openshift-node-lab/tuned.conf; \\
  echo NTO_IMAGE=localhost/tuned:trixie > {FOLDER}/image.env; \\
  systemctl restart ocp-tuned; done'
"""


def furnish(node: VirtualNode) -> None:
    """What the operator's agent writes, and who watches."""
    node.write(f"{FOLDER}/image.env", "NTO_IMAGE=localhost/tuned:trixie\n")
    node.write(f"{FOLDER}/recommend.d/50-openshift.conf", "[openshift-node-lab]\n")
    node.write(f"{FOLDER}/profiles/openshift-node-lab/tuned.conf", PROFILE)
    node.write("/etc/lab/watch", "".join(f"{path}\n" for path in WANTED))
    node.write("/etc/systemd/system/before.service", BEFORE)
    node.write("/etc/systemd/system/restless.service", RESTLESS)
    node.run("systemctl", "--quiet", "enable", "before.service")


def status(node: VirtualNode) -> dict[str, Any]:
    done = node.run("ocp-tuned-boot", "status", "--json", check=False)
    content: dict[str, Any] = json.loads(done.stdout)["record"]
    return content


def tuned_or_says_why(node: VirtualNode) -> str:
    """What a node has to be after whatever: the kubelet found the values, or the record says why
    not; every record can be read, and none speaks of another boot. Says which."""
    node.settled()
    seen, done = node.witness("kubelet"), status(node)
    assert seen is not None
    assert done["boot_id"] == node.boot_id
    told = node.run("ocp-tuned-boot", "history", "--json")
    # It says so of each file that it cannot read.
    assert told.stderr == "", told.stderr
    assert json.loads(told.stdout)[-1]["boot_id"] == node.boot_id
    if done["result"] in ("applied", "degraded"):
        assert seen["values"] == WANTED
        assert done["in_force"]["boot_id"] == node.boot_id
    else:
        assert done["result"] == "failed"
        assert done["findings"]
    return " ".join([str(done["result"]), *(each["kind"] for each in done["findings"])])


def test_a_reboot_resets_every_setting_and_it_is_applied_again() -> None:
    with VirtualNode() as node:
        node.boot()
        furnish(node)
        node.reboot()
        assert tuned_or_says_why(node) == "applied"
        first = node.boot_id
        # A record in /run is believed by its boot, not by being there.
        node.run("cp", "/run/ocp-tuned-boot/status.json", STALE)
        node.reboot()
        assert node.boot_id != first
        assert node.read("/var/lib/lab/before").strip() == "1"
        assert tuned_or_says_why(node) == "applied"
        assert status(node)["action"] == "apply"
        boots = json.loads(node.run("ocp-tuned-boot", "history", "--json").stdout)
        assert [boot["boot_id"] for boot in boots][-2:] == [first, node.boot_id]


def test_power_cuts_at_any_moment() -> None:
    chance = random.Random()
    with VirtualNode() as node:
        node.boot()
        furnish(node)
        node.run("sync")
        node.power_cut()
        results = []
        for _ in range(2):
            # In the middle of a boot: before, while or after TuneD is run.
            node.start_only()
            moment = chance.uniform(8, 30)
            time.sleep(moment)
            node.power_cut()
            node.start()
            results.append((f"boot cut at {moment:.1f} s", tuned_or_says_why(node)))
            # While a profile is changed, deferred and taken down, over and over.
            node.run("systemctl", "start", "restless.service")
            moment = chance.uniform(1, 12)
            time.sleep(moment)
            node.power_cut()
            node.start()
            results.append((f"defer cut at {moment:.1f} s", tuned_or_says_why(node)))
            node.power_cut()
        print(results)
        node.start()
        # What a cut has left of the agent's own files is the agent's to write again.
        furnish(node)
        node.reboot()
        print("written again:", tuned_or_says_why(node))
