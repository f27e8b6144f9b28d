"""The situations that the lab creates on a node, and the expected result of each.

docs/situations.md has a row for each; tests/unit/test_promises.py compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.lab.host import KNOB, KNOB_FILE, PROFILE, SCRIPT_CONF, TUNED_CONF
from tests.lab.patience import AMPLE


@dataclass(frozen=True)
class Situation:
    """A profile and the files of a host, and the expected result."""

    result: str
    #: Kind and subject of each finding.
    findings: tuple[tuple[str, str], ...] = ()
    conf: str = TUNED_CONF
    script: str = ""
    #: More files of the host.
    files: dict[str, str] = field(default_factory=dict)
    boot_conf: str = AMPLE
    #: TuneD before 2.24 does not check the path of a script.
    since_2_24: bool = False
    #: The findings with the operator's image. There the profiles are behind a symbolic link, and
    #: TuneD does not run scripts from them.
    operand: tuple[tuple[str, str], ...] = ()


FOLDER = {"tuned": "/etc/tuned", "operand": "/var/lib/ocp-tuned/profiles"}
SCRIPT = f"{{folder}}/{PROFILE}/script.sh"
#: Of the time that a run has, TuneD has so much that no other attempt is worth it.
HANGING = "[tuning]\ntimeout = 16\ntuned_timeout = 12\n"
#: What passes by itself, perhaps, is tried again until this is over; the last attempt is cut off.
RETRIED = "[tuning]\ntimeout = 16\n"

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
    "force_latency, without systemd": Situation(
        "degraded", (("lost-after-exit", "force_latency"),),
        TUNED_CONF + "[cpu]\nforce_latency=7\n",
    ),
    "rtentsk, without systemd": Situation(
        "degraded", (("lost-after-exit", "rtentsk"),), TUNED_CONF + "[rtentsk]\n"
    ),
    "force_latency with a C-state that does not exist": Situation(
        "degraded", (("bad-value", "force_latency"),),
        TUNED_CONF + "[cpu]\nforce_latency=cstate.id:99\n",
    ),
    "value differs afterwards": Situation(
        "degraded", (("value-differs", KNOB),), SCRIPT_CONF, f"echo 44 > {KNOB_FILE}\n",
        operand=(("script-refused", SCRIPT),),
    ),
    "kernel argument missing": Situation(
        "degraded", (("missing-kernel-argument", "lab.arg=1"),),
        TUNED_CONF + "[bootloader]\ncmdline_lab=+lab.arg=1\n",
    ),
    "finding accepted by the site": Situation(
        "applied", (("no-such-setting", "kernel.no_such"),), TUNED_CONF + "kernel.no_such=1\n",
        boot_conf="[tuning]\naccept = no-such-setting:kernel.no_*\n",
    ),
    "hang": Situation(
        "failed", (("timeout", "loader"),),
        TUNED_CONF + "[variables]\na=${f:exec:sleep:infinity}\n", boot_conf=HANGING,
    ),
    "killed": Situation(
        "failed", (("killed", "SIGKILL"),),
        TUNED_CONF + "[variables]\na=${f:exec:pkill:-KILL:-f:sbin/tuned}\n",
        boot_conf=RETRIED, operand=(("killed", "killed"),),
    ),
}  # fmt: skip

#: Situations that need a unit: tests/lab/test_holds.py boots them.
HELD = {
    "force_latency": Situation("applied", conf=TUNED_CONF + "[cpu]\nforce_latency=7\n"),
    "rtentsk": Situation("applied", conf=TUNED_CONF + "[rtentsk]\n"),
}

IMAGE_ENV = "var/lib/ocp-tuned/image.env"

#: Failures before TuneD runs. They are the same with every version and contract.
BEFORE_TUNED = {
    "image.env incomplete": Situation(
        "failed", (("configuration", ""),), files={IMAGE_ENV: "NTO_IM"}
    ),
    "recommend file empty": Situation(
        "failed", (("configuration", ""),),
        files={"var/lib/ocp-tuned/recommend.d/50-openshift.conf": ""},
    ),
    "boot.conf broken": Situation(
        "failed", (("configuration", ""),),
        files={"etc/ocp-tuned-boot/boot.conf.d/50-site.conf": "[tuning]\ntimeuot = 20\n"},
    ),
    "Podman's socket missing": Situation(
        "failed", (("podman", ""),),
        boot_conf="[podman]\nsocket = /run/none\n[tuning]\ntimeout = 10\n",
    ),
    "image missing, cannot be pulled": Situation(
        "failed", (("image", ""),), files={IMAGE_ENV: "NTO_IMAGE=localhost:1/no/such:image\n"},
        boot_conf="[tuning]\ntimeout = 10\n",
    ),
}  # fmt: skip


def first_kind(status: dict[str, Any]) -> str:
    """What a run that has failed found at first. At its deadline that may be cut off in the middle
    of another attempt, and then its last finding is the time that ran out."""
    attempts = status["attempts"] or status["findings"]
    return str(attempts[0]["kind"])
