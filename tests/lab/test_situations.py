"""Every situation that the real TuneD can be brought into, in two versions and both contracts.

docs/situations.md has a row for each; tests/unit/test_promises.py compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.lab import host as hosts
from tests.lab import operatorimage
from tests.lab.host import KNOB, KNOB_FILE, PROFILE, SCRIPT_CONF, TUNED_CONF
from tests.lab.node import Node

pytestmark = pytest.mark.lab


@dataclass(frozen=True)
class Situation:
    """A profile, and what is to come of it."""

    result: str
    #: Kind and subject of each finding.
    findings: tuple[tuple[str, str], ...] = ()
    conf: str = TUNED_CONF
    script: str = ""
    #: More files of the host.
    files: dict[str, str] = field(default_factory=dict)
    boot_conf: str = "[tuning]\ntimeout = 30\n"
    #: TuneD before 2.24 does not look where a script lies.
    since_2_24: bool = False
    #: What TuneD in the operator's image makes of it: there profiles lie behind a link, and TuneD
    #: runs no script from them.
    operand: tuple[tuple[str, str], ...] = ()


#: TuneD's suite and the contract. The operator's way of laying out profiles needs TuneD 2.24.
PARTS = [("trixie", "tuned"), ("trixie", "operand"), ("bookworm", "tuned")]
FOLDER = {"tuned": "/etc/tuned", "operand": "/var/lib/ocp-tuned/profiles"}
SCRIPT = f"{{folder}}/{PROFILE}/script.sh"
HANGING = "[tuning]\ntimeout = 6\ntuned_timeout = 1\n"

SITUATIONS = {
    "applied": Situation("applied"),
    "unknown profile": Situation(
        "failed", (("unknown-profile", "nowhere"),),
        files={"var/lib/ocp-tuned/recommend.d/50-openshift.conf": "[nowhere]\n"},
    ),
    "broken profile": Situation(
        "failed", (("broken-profile", f"{{folder}}/{PROFILE}/tuned.conf"),), "[main\n"
    ),
    "missing include": Situation(
        "failed", (("missing-include", "nowhere"),), "[main]\ninclude=nowhere\n"
    ),
    "unknown plugin": Situation(
        "degraded", (("unknown-plugin", "sysctlx"),), TUNED_CONF + "[sysctlx]\na=1\n"
    ),
    "setting that does not exist": Situation(
        "degraded", (("no-such-setting", "kernel.no_such"),), TUNED_CONF + "kernel.no_such=1\n"
    ),
    "setting refused": Situation(
        "degraded", (("setting-refused", "net.ipv4.tcp_keepalive_time"),),
        TUNED_CONF + "net.ipv4.tcp_keepalive_time=never\n",
    ),
    "script refused": Situation(
        "degraded", (("script-refused", "/bin/true"),),
        TUNED_CONF + "[script]\nscript=/bin/true\n", since_2_24=True,
    ),
    "script failed": Situation(
        "degraded", (("script-failed", SCRIPT),), SCRIPT_CONF, "echo no >&2; exit 3\n",
        operand=(("script-refused", SCRIPT),),
    ),
    "overridden by the host's sysctl.d": Situation(
        "degraded", (("overridden", KNOB),), files={"etc/sysctl.d/50-site.conf": f"{KNOB} = 44\n"}
    ),
    "lost after exit: force_latency": Situation(
        "degraded", (("lost-after-exit", "force_latency"),),
        TUNED_CONF + "[cpu]\nforce_latency=7\n",
    ),
    "lost after exit: rtentsk": Situation(
        "degraded", (("lost-after-exit", "rtentsk"),), TUNED_CONF + "[rtentsk]\n"
    ),
    "value differs afterwards": Situation(
        "degraded", (("value-differs", KNOB),), SCRIPT_CONF, f"echo 44 > {KNOB_FILE}\n",
        operand=(("script-refused", SCRIPT),),
    ),
    "finding accepted by the site": Situation(
        "applied", (("no-such-setting", "kernel.no_such"),), TUNED_CONF + "kernel.no_such=1\n",
        boot_conf="[tuning]\naccept = no-such-setting:kernel.no_*\n",
    ),
    "hang": Situation(
        "failed", (("timeout", "loader"),), TUNED_CONF + "[variables]\na=${f:exec:sleep:1000}\n",
        boot_conf=HANGING,
    ),
    "killed": Situation(
        "failed", (("killed", "SIGKILL"),),
        TUNED_CONF + "[variables]\na=${f:exec:pkill:-KILL:-f:sbin/tuned}\n",
        boot_conf=HANGING, operand=(("killed", "killed"),),
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=PARTS, ids="-".join)
def parts(request: pytest.FixtureRequest) -> Iterator[tuple[Node, str, str]]:
    """A node with the TuneD of this suite, the contract, and the image for that."""
    suite, contract = request.param
    with Node(image=suite) as booted:
        booted.boot()
        image = f"localhost/tuned:{suite}"
        if contract == "operand":
            image = operatorimage.make(booted, image)
        yield booted, contract, image


@pytest.mark.parametrize("name", SITUATIONS)
def test_situation(parts: tuple[Node, str, str], name: str) -> None:
    node, contract, image = parts
    situation = SITUATIONS[name]
    node.run("sh", "-c", f"echo 60 > {KNOB_FILE}")
    host = hosts.furnish(node, "/var/tmp/" + re.sub(r"\W+", "-", f"{name} {contract}"), image)
    host.profile(situation.conf, situation.script)
    for path, text in situation.files.items():
        host.write(path, text)
    host.write(
        "etc/ocp-tuned-boot/boot.conf",
        situation.boot_conf.replace("[tuning]\n", f"[tuning]\ncontract = {contract}\n"),
    )

    done = host.run("apply")

    status = host.status()
    old = situation.since_2_24 and node.image == "bookworm"
    findings = situation.operand if contract == "operand" and situation.operand else (
        () if old else situation.findings
    )  # fmt: skip
    expected = [(kind, subject.format(folder=FOLDER[contract])) for kind, subject in findings]
    found = [(finding["kind"], finding["subject"]) for finding in status["findings"]]
    assert found == expected, host.messages()
    assert status["result"] == ("applied" if old else situation.result)
    assert done.returncode == {"applied": 0, "degraded": 0, "failed": 1}[status["result"]] or (
        name == "hang" and done.returncode == 3
    )
    # Whatever happened: no container, no TuneD, no PID file.
    assert "openshift-tuned" not in node.run("podman", "ps", "-a").stdout
    assert node.run("pgrep", "-f", "sbin/tuned", check=False).stdout == ""
    assert node.run("ls", f"{host.root}/run/tuned").stdout == ""
