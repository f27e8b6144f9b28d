"""Profiles that were judged wrongly once, each small, and what is right: real TuneD, real kernel.

Each case has a root of its own in one node, so that all of them share a boot.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.lab import host as hosts
from tests.lab.host import PROFILE, Host, unwrapped
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node

pytestmark = pytest.mark.lab

SUITES = ("trixie", "bookworm")
STOCK = "[main]\ninclude=throughput-performance\n"
UNDOING = "[script]\nscript=${i:PROFILE_DIR}/script.sh\n"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
PATTERN = "/proc/sys/kernel/core_pattern"
RATIO, BYTES = "/proc/sys/vm/dirty_ratio", "/proc/sys/vm/dirty_bytes"
PORTS = "/proc/sys/net/ipv4/ip_local_reserved_ports"
#: An option of the cpu plugin that every machine has.
RESUME = "pm_qos_resume_latency_us"
#: How the kernel is before each case. The order matters: a ratio sets the bytes to zero.
BEFORE = {
    THP: "never",
    "/proc/sys/vm/swappiness": "60",
    "/proc/sys/vm/dirty_background_ratio": "10",
    RATIO: "20",
    "/proc/sys/kernel/printk": "4 4 1 7",
    "/sys/kernel/mm/swap/vma_ra_enabled": "false",
}


@dataclass(frozen=True)
class Case:
    """A profile, and the result that is right for it.

    `findings`: kind and subject of each; `values`: state, expected and found value of some
    settings, by key; `files`: more files of the host; `before`: files of the kernel.
    """

    conf: str
    result: str = "applied"
    findings: tuple[tuple[str, str], ...] = ()
    values: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    script: str = ""
    files: dict[str, str] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    boot_conf: str = ""


SITE = "etc/sysctl.d/99-site.conf"
LOCAL = f"var/lib/ocp-tuned/profiles/{PROFILE}/local.conf"
SWAP_17 = {"vm.swappiness": ("verified", "17", "17")}
CASES = {
    "a boolean that is shown as a word": Case(
        "[sysfs]\n/sys/kernel/mm/swap/vma_ra_enabled=1\n",
        values={"/sys/kernel/mm/swap/vma_ra_enabled": ("verified", "1", "true")},
    ),
    "a size that the kernel rounds up": Case(
        "[sysctl]\nfs.pipe-max-size=500000\n",
        values={"fs.pipe-max-size": ("verified", "500000", "524288")},
        before={"/proc/sys/fs/pipe-max-size": "1048576"},
    ),
    "ports that are shown as a range": Case(
        "[sysctl]\nnet.ipv4.ip_local_reserved_ports=30000,30001,30002\n",
        values={"net.ipv4.ip_local_reserved_ports":
                ("verified", "30000,30001,30002", "30000-30002")},
    ),
    "the first of four numbers": Case(
        "[sysctl]\nkernel.printk=3\n",
        values={"kernel.printk": ("verified", "3", "3\t4\t1\t7")},
    ),
    "bytes that replace the ratio of a stock profile": Case(
        STOCK + "[sysctl]\nvm.dirty_bytes=536870912\nvm.dirty_background_bytes=67108864\n",
        values={"vm.dirty_bytes": ("verified", "536870912", "536870912")},
    ),
    "a ratio that replaces that of a stock profile": Case(
        STOCK + "[sysctl]\nvm.dirty_ratio=77\nvm.dirty_background_ratio=33\n",
        values={"vm.dirty_ratio": ("verified", "77", "77")},
    ),
    "the same, undone": Case(
        STOCK + "[sysctl]\nvm.dirty_ratio=77\n" + UNDOING, "degraded",
        (("value-differs", "vm.dirty_ratio"),), {"vm.dirty_ratio": ("different", "77", "5")},
        script=f"echo 5 > {RATIO}\n",
    ),
    "transparent hugepages of a stock profile, undone": Case(
        STOCK + "[vm]\ntransparent_hugepages=madvise\n" + UNDOING, "degraded",
        (("value-differs", "transparent_hugepages"),),
        {"transparent_hugepages": ("different", "madvise", "always")},
        script=f"echo always > {THP}\n",
    ),
    "a value in quotes of a plugin that does not strip them": Case(
        '[vm]\ntransparent_hugepages="never"\n', "degraded",
        (("bad-value", "transparent_hugepages"),),
        {"transparent_hugepages": ("different", '"never"', "always")}, before={THP: "always"},
    ),
    "overridden by a value that the profile accepts": Case(
        STOCK + "[sysctl]\nvm.swappiness=17\n", values=SWAP_17,
        files={SITE: "net.core.somaxconn = 65535\n"},
    ),
    "overridden by the same value without quotes": Case(
        '[sysctl]\nvm.swappiness="17"\n', values=SWAP_17, files={SITE: "vm.swappiness = 17\n"},
    ),
    "overridden by another value": Case(
        "[sysctl]\nvm.swappiness=17\n", "degraded", (("overridden", "vm.swappiness"),),
        {"vm.swappiness": ("different", "17", "18")}, files={SITE: "vm.swappiness = 18\n"},
    ),
    "an unknown option": Case(
        "[vm]\nswappiness=17\n", "degraded", (("unknown-option", "vm.swappiness"),),
    ),
    "unknown options of another plugin": Case(
        "[systemd]\ndisable=lab-x.service\nmask=lab-y.service\n[sysctl]\nvm.swappiness=17\n",
        "degraded",
        (("unknown-option", "systemd.disable"), ("unknown-option", "systemd.mask")), SWAP_17,
    ),
    "an unknown option that the site accepts": Case(
        "[vm]\nswappiness=17\n", "applied", (("unknown-option", "vm.swappiness"),),
        boot_conf="[tuning]\naccept = unknown-option:vm.swappiness\n",
    ),
    "devices that the machine does not have": Case(
        "[net]\ndevices=lab9\ntxqueuelen=5\n[sysctl]\nvm.swappiness=17\n", "degraded",
        (("no-devices", "net"),), SWAP_17,
    ),
    "devices that the section does not name": Case(
        "[video]\nradeon_powersave=default\n[sysctl]\nvm.swappiness=17\n", values=SWAP_17,
    ),
    "a file that does not exist": Case(
        "[sysfs]\n/sys/kernel/mm/transparent_hugepage/khugepaged/defragg=0\n",
        values={"/sys/kernel/mm/transparent_hugepage/khugepaged/defragg":
                ("not-applicable", "0", "")},
    ),
    "settings that this host has and refuses": Case(
        "[sysctl]\nnet.ipv4.tcp_congestion_control=nowhere\nnet.ipv4.route.flush=1\n", "degraded",
        (("setting-refused", "net.ipv4.tcp_congestion_control"),
         ("setting-refused", "net.ipv4.route.flush")),
    ),
    "a kernel argument with a space": Case(
        '[bootloader]\ncmdline_a=lab.quiet dyndbg="file a.c +p"\n[sysctl]\nvm.swappiness=17\n',
        "degraded",
        (("missing-kernel-argument", "lab.quiet"),
         ("missing-kernel-argument", 'dyndbg="file a.c +p"')), SWAP_17,
    ),
    "a file of variables beside the profile": Case(
        "[variables]\nswap=40\ninclude=${i:PROFILE_DIR}/local.conf\n"
        "[sysctl]\nvm.swappiness=${swap}\n", values=SWAP_17, files={LOCAL: "swap=17\n"},
    ),
    "a variable without a value": Case(
        f"[variables]\nswap=40\ninclude=/etc/tuned/{PROFILE}/local.conf\n"
        "[sysctl]\nvm.swappiness=${swap}\n", values=SWAP_17, files={LOCAL: "swap=17\nflag\n"},
    ),
    "lines that end with CR only": Case(
        "[main]\rsummary=x\r[sysctl]\rvm.swappiness=17\r", values=SWAP_17,
    ),
    "a governor on a machine without cpufreq": Case(
        "[cpu]\ngovernor=performance\nenergy_perf_bias=performance\n[sysctl]\nvm.swappiness=17\n",
        values={**SWAP_17, "cpu.governor": ("not-applicable", "performance", "")},
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=SUITES)
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node with the TuneD of this suite."""
    with KernelKnobs({}), Node(image=request.param) as booted:
        booted.boot()
        # Otherwise each first run is late, and guarded.
        booted.run("systemctl", "stop", "kubelet", "crio")
        yield booted


def set_up(node: Node, name: str, before: dict[str, str]) -> Host:
    """A root for this case, in which the kernel's files are those of the node."""
    for path, value in {**BEFORE, **before}.items():
        node.run("sh", "-c", 'printf "%s" "$2" > "$1"', "sh", path, value)
    root = f"/var/tmp/{name.replace(' ', '-').replace(',', '')}"
    host = hosts.furnish(node, root, f"localhost/tuned:{node.image}")
    script = "rm -r proc/sys; cat /proc/cmdline > proc/cmdline; ln -s /proc/sys proc; ln -s /sys ."
    node.run("sh", "-ec", f"cd {root}; {script}")
    return host


def findings(status: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["kind"], each["subject"]) for each in status["findings"]]


@pytest.mark.parametrize("name", CASES)
def test_case(node: Node, name: str) -> None:
    case = CASES[name]
    host = set_up(node, name, case.before)
    host.profile(case.conf, case.script)
    for path, text in case.files.items():
        host.write(path, text)
    if case.boot_conf:
        host.write("etc/ocp-tuned-boot/boot.conf", case.boot_conf)
    done = host.run("apply")
    status = host.status()
    assert sorted(findings(status)) == sorted(case.findings), host.messages()
    assert (status["result"], done.returncode) == (case.result, 0)
    values = {each["key"]: each for each in status["values"]}
    for key, (state, expected, found) in case.values.items():
        each = values[key]
        assert (each["state"], each["expected"], each["found"]) == (state, expected, found)
    # Whatever is not verified is shown by its name, with the reason.
    shown = unwrapped(host.run("status", "--verbose").stdout)
    for each in status["values"]:
        if each["state"] in ("unchecked", "not-applicable"):
            assert each["why"]
            assert f"{each['key']}: " in shown


@pytest.mark.parametrize("switch", ["yes", "no"])
def test_boot_conf_switches_off_that_tuned_compares(node: Node, switch: str) -> None:
    host = set_up(node, f"verify-{switch}", {})
    host.profile(f"[sysctl]\nvm.swappiness=17\n[cpu]\n{RESUME}=100\n")
    host.write("etc/ocp-tuned-boot/boot.conf", f"[tuning]\nverify = {switch}\n")
    host.run("apply")
    assert host.status()["result"] == "applied", host.messages()
    values = {each["key"]: each for each in host.status()["values"]}
    value = values["vm.swappiness"]
    judges = "tuned, ocp-tuned-boot" if switch == "yes" else "ocp-tuned-boot"
    assert (value["state"], value["by"]) == ("verified", judges)
    latency = values[f"cpu.{RESUME}"]
    if switch == "yes":
        assert (latency["state"], latency["by"]) == ("verified", "tuned")
    else:
        assert (latency["state"], latency["by"]) == ("unchecked", "")
        assert latency["why"] == "TuneD has not compared it: boot.conf sets verify = no"
    # The command compares all the same, and what the run has recorded stays.
    shown = json.loads(host.run("verify", "--json").stdout)["values"]
    assert {it["key"]: it["state"] for it in shown}[f"cpu.{RESUME}"] == "verified"


def test_a_hint_that_tuned_logs_as_an_error_is_accepted(node: Node) -> None:
    host = set_up(node, "hint", {})
    host.profile("[scheduler]\nsched_min_granularity_ns=10000000\n")
    host.run("apply")
    found = findings(host.status())
    assert not [kind for kind, _ in found if kind in ("error", "traceback")], host.messages()
    accept = ", ".join(f"{kind}:{subject}" for kind, subject in found)
    host.write("etc/ocp-tuned-boot/boot.conf", f"[tuning]\naccept = {accept}\n" if accept else "")
    host.run("reload", "--force")
    assert host.status()["result"] == "applied", host.messages()


def test_a_text_with_brackets_is_put_back_as_it_was(node: Node) -> None:
    text = "/var/crash/[%e].%p"
    host = set_up(node, "brackets", {PATTERN: text})
    host.profile("[sysctl]\nkernel.core_pattern=core.%p\n")
    host.run("apply")
    assert (host.status()["result"], node.read(PATTERN)) == ("applied", "core.%p\n")
    host.profile("[sysctl]\nnet.ipv4.tcp_fin_timeout=37\n")
    host.run("reload")
    assert node.read(PATTERN) == f"{text}\n"
    assert [each["how"] for each in host.status()["residue"]] == ["put-back"]


@pytest.mark.parametrize("ratio_too", [False, True])
def test_a_pair_gets_the_first_values_of_the_boot_back(node: Node, ratio_too: bool) -> None:
    host = set_up(node, f"pair-{ratio_too}", {})
    ratio = "vm.dirty_ratio=40\n" if ratio_too else ""
    host.profile(f"[sysctl]\n{ratio}vm.dirty_bytes=536870912\nvm.overcommit_kbytes=4096\n")
    before = [node.read(f"/proc/sys/vm/overcommit_{name}") for name in ("ratio", "kbytes")]
    host.run("apply")
    assert host.status()["result"] == "applied", host.messages()
    assert (node.read(RATIO), node.read(BYTES)) == ("0\n", "536870912\n")
    host.profile("[sysctl]\nvm.dirty_ratio=30\n")
    host.run("reload")
    assert (node.read(RATIO), node.read(BYTES)) == ("30\n", "0\n")
    host.profile("[sysctl]\nnet.ipv4.tcp_fin_timeout=37\n")
    host.run("reload")
    assert (node.read(RATIO), node.read(BYTES)) == ("20\n", "0\n")
    assert [node.read(f"/proc/sys/vm/overcommit_{it}") for it in ("ratio", "kbytes")] == before
    assert host.status()["result"] == "applied", host.messages()


def cpus(node: Node) -> list[str]:
    """The file of `RESUME` of each CPU."""
    found = node.run("sh", "-c", f"ls /sys/devices/system/cpu/cpu*/power/{RESUME}").stdout
    return found.split()


@pytest.mark.parametrize("compares", ["yes", "no"])
def test_what_other_plugins_have_set_is_restored_or_named(node: Node, compares: str) -> None:
    first = dict.fromkeys(cpus(node), "7")
    host = set_up(node, f"others-{compares}", first)
    host.write("etc/ocp-tuned-boot/boot.conf", f"[tuning]\nverify = {compares}\n")
    host.profile(f"[cpu]\n{RESUME}=100\n[script]\nscript=${{i:PROFILE_DIR}}/script.sh\n", "true")
    host.run("apply")
    assert host.status()["result"] == "applied", host.messages()
    assert {node.read(path) for path in first} == {"100\n"}
    # Another program has changed one of them since.
    theirs = list(first)[-1]
    node.run("sh", "-c", f"echo 50 > {theirs}")
    host.profile("[sysctl]\nnet.ipv4.tcp_fin_timeout=37\n")
    host.run("reload")
    status = host.status()
    assert {node.read(path) for path in first if path != theirs} == {"7\n"}
    assert node.read(theirs) == "50\n"
    found = {(each["key"], each["how"]) for each in status["residue"]}
    key = f"cpu.{RESUME}"
    assert found == {(key, "put-back"), (key, "theirs"), ("script.script", "stays")}
    assert (status["result"], findings(status)) == ("degraded", [("still-set", "script.script")])
    assert f"{key} (cpu0" in unwrapped(host.run("status", "--verbose").stdout)
    # It stays, whatever is applied next; what was restored is done.
    host.profile("[sysctl]\nnet.ipv4.tcp_fin_timeout=38\n")
    host.write("etc/ocp-tuned-boot/boot.conf", "[tuning]\naccept = still-set:script.*\n")
    host.run("reload")
    status = host.status()
    assert [(it["key"], it["how"]) for it in status["residue"]] == [("script.script", "stays")]
    assert (status["result"], findings(status)) == ("applied", [("still-set", "script.script")])


def test_an_empty_value_is_put_back(node: Node) -> None:
    node.run("sh", "-c", f"echo > {PORTS}")
    host = set_up(node, "empty", {})
    host.profile("[sysctl]\nnet.ipv4.ip_local_reserved_ports=5-7\n")
    host.run("apply")
    assert node.read(PORTS) == "5-7\n"
    host.profile("[sysctl]\nnet.ipv4.tcp_fin_timeout=37\n")
    host.run("reload")
    assert node.read(PORTS) == "\n"


def test_a_refused_put_back_is_a_finding_and_is_tried_again(node: Node) -> None:
    start, ports = (f"/proc/sys/net/ipv4/ip_{name}" for name in (
        "unprivileged_port_start", "local_port_range"))  # fmt: skip
    host = set_up(node, "refused-put-back", {ports: "32768 60999", start: "1024"})
    host.profile("[sysctl]\nnet.ipv4.ip_unprivileged_port_start=80\n")
    host.run("apply")
    # The kernel does not accept a privileged port in this range.
    node.run("sh", "-c", f"echo 1000 60999 > {ports}")
    host.profile("[sysctl]\nnet.ipv4.tcp_fin_timeout=37\n")
    host.run("reload")
    status = host.status()
    subject = "net.ipv4.ip_unprivileged_port_start"
    assert (status["result"], findings(status)) == ("degraded", [("not-restored", subject)])
    assert node.read(start) == "80\n"
    host.run("reload")
    assert (host.status()["action"], findings(host.status())) == ("keep", findings(status))
    assert f"{subject}: NOT restored" in unwrapped(host.run("status", "--verbose").stdout)
    node.run("sh", "-c", f"echo 32768 60999 > {ports}")
    host.run("reload")
    status = host.status()
    assert (status["action"], status["result"], findings(status)) == ("keep", "applied", [])
    assert node.read(start) == "1024\n"
