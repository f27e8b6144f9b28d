"""The program in the container, with real TuneD: what it says is what TuneD's own loader gives, and
its run is that of TuneD itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot.inside.program import RESTORE
from ocp_tuned_boot.tuned import asked
from ocp_tuned_boot.tuned.asked import (
    Asked,
    Comparison,
    Option,
    Original,
    Unasked,
    Unverified,
    Verified,
)
from tests.lab import tunedimage
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.tunedroot import COMMAND, Conversing, TunedRoot, applied

pytestmark = pytest.mark.lab

SUITES = ("trixie", "bookworm")
#: Stock profiles that include others, compute values, match hardware, and have scripts.
STOCK = ("throughput-performance", "openshift-node", "cpu-partitioning", "realtime-virtual-host")
#: The options of each section, as TuneD's own loader gives them.
LOADER = """
import json, logging, tuned.daemon
logging.getLogger("tuned").handlers = []
from tuned.utils.global_config import GlobalConfig
app = tuned.daemon.Application(None, GlobalConfig())
print(json.dumps({
    name: [unit.type, unit.devices, unit.enabled, [
        [key, app.variables.expand(str(each))]
        for key, value in unit.options.items()
        if key != "priority"
        for each in (value if isinstance(value, list) else [value])
    ]]
    for name, unit in app._daemon._profile.units.items()
}))
"""
CUSTOM = {
    "base": "[main]\ninclude=-absent\n[sysctl]\nvm.swappiness=1\nnet.core.somaxconn=>1\n",
    "custom": """
[main]
include=-provider-${f:exec:cat:/etc/hostname-of-nobody},ba${f:strip: se}
[variables]
swap=${f:exec:echo:17}
include=${i:PROFILE_DIR}/local.conf
[sysctl]
vm.swappiness=${swap}
kernel.absent=1
[vm]
swappiness=17
[first]
type=sysctl
priority=-5
kernel.printk=${level}
[elsewhere]
type=sysctl
uname_regex=^no-such-system
vm.swappiness=99
[off]
type=sysctl
enabled=0
vm.swappiness=98
[sysfs]
/sys/kernel/mm/transparent_hugepage/enabled=no-such-choice
/sys/kernel/mm/absent=1
[cpu]
governor=performance
load_threshold=0.3
[net]
devices=no-such-device
features=tso off
[script]
script=s.sh
[unknown]
x=1
""",
}


@pytest.fixture(scope="module", autouse=True)
def kernel() -> Iterator[None]:
    """No other node sets anything meanwhile: TuneD writes what differs, which fails here."""
    with KernelKnobs({}):
        yield


@pytest.fixture(params=SUITES)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> TunedRoot:
    return TunedRoot(request.param, tmp_path)


def custom(root: TunedRoot) -> None:
    root.prepare("custom", **CUSTOM)
    folder = root.paths.etc_tuned / "custom"
    (folder / "local.conf").write_text("level=3 4 1 7\nflag\n")
    (folder / "s.sh").write_text("#!/bin/sh\necho $1 >> /etc/tuned/ran\n")
    (folder / "s.sh").chmod(0o755)


def comparable(log: str) -> list[str]:
    """A log without times, names of temporary files, and the order in which threads and sets are
    listed."""
    log = re.sub(r"(?m)^\d{4}-\d\d-\d\d [\d:,]+ ", "", log)
    log = re.sub(r"/tmp/tmp\.\w+", "/tmp/X", log)
    log = re.sub(r"(b o o t l o a d e r -|tuned-bootloader-)[\w ]+\.", "X.", log)
    devices = re.compile(r"(assigning devices )(.*)")
    log = devices.sub(lambda found: found[1] + ", ".join(sorted(found[2].split(", "))), log)
    return sorted(log.splitlines())


def same_run(root: TunedRoot) -> Asked:
    """Runs TuneD and the program, and compares. Returns what the profile means."""
    names = ("active_profile", "bootcmdline")
    status, output, log = root.run(*COMMAND)
    written = [root.written(name) for name in names]
    for name in names:
        (root.paths.etc_tuned / name).write_text("")
    (root.paths.etc_tuned / "ran").unlink(missing_ok=True)
    # TuneD 2.28 says whether it has to make its file in there.
    shutil.rmtree(root.folder / "upper/etc/systemd", ignore_errors=True)
    meaning, holds, ended = applied(root)
    assert (ended[0], ended[1]) == (status, output)
    assert comparable(ended[2]) == comparable(log)
    assert [root.written(name) for name in names] == written
    assert isinstance(holds, Verified), holds
    assert isinstance(meaning, Asked), meaning
    return meaning


def as_loaded(root: TunedRoot) -> Any:
    status, output, errors = root.run("/usr/bin/python3", "-c", LOADER)
    assert status == 0, errors
    return json.loads(re.sub(r"/tmp/tmp\.\w+", "/tmp/X", output))


def as_said(meaning: Asked) -> Any:
    return {
        section.name: [
            section.type,
            section.devices,
            section.left_out != "enabled",
            [[it.option, re.sub(r"/tmp/tmp\.\w+", "/tmp/X", it.value)] for it in section.options],
        ]
        for section in meaning.sections
    }


@pytest.mark.parametrize("profile", STOCK)
def test_a_stock_profile_means_and_does_the_same(root: TunedRoot, profile: str) -> None:
    root.prepare(profile)
    assert as_said(same_run(root)) == as_loaded(root)


def test_a_custom_profile_means_and_does_the_same(root: TunedRoot) -> None:
    custom(root)
    meaning = same_run(root)
    assert as_said(meaning) == as_loaded(root)
    # A negative priority is applied first.
    assert meaning.sections[0].name == "first"
    assert meaning.sections[0].options == (Option("kernel.printk", "3 4 1 7", "${level}"),)
    left_out = {section.name: section.left_out for section in meaning.sections if section.left_out}
    assert left_out == {"elsewhere": "uname_regex", "off": "enabled"}
    folder = "/etc/tuned"
    assert meaning.profiles == (
        ("custom", f"{folder}/custom/tuned.conf"),
        ("base", f"{folder}/base/tuned.conf"),
    )
    assert "absent" in meaning.absent_profiles
    assert f"{folder}/custom/local.conf" in meaning.files
    assert f"{folder}/recommend.d/00-ocp-tuned-boot.conf" in meaning.files
    assert "cat /etc/hostname-of-nobody" in meaning.commands


def test_each_option_has_a_state(root: TunedRoot) -> None:
    custom(root)
    _, holds, _ = applied(root)
    assert isinstance(holds, Verified)
    assert (holds.left, holds.refused) == (0, ())
    rows = {(row.section, row.option): row for row in holds.rows}
    swappiness = rows["sysctl", "vm.swappiness"]
    # Nothing can be written here.
    assert (swappiness.state, swappiness.expected) == (asked.FAILED, "17")
    assert swappiness.found == Path("/proc/sys/vm/swappiness").read_text().strip()
    assert rows["sysctl", "net.core.somaxconn"].state == asked.PASSED
    assert rows["sysctl", "net.core.somaxconn"].expected == ">1"
    assert rows["sysctl", "kernel.absent"].state == asked.NOT_APPLICABLE
    assert re.search(r"No such file|does not exist", rows["sysctl", "kernel.absent"].why)
    assert rows["first", "kernel.printk"].state in (asked.FAILED, asked.PASSED)
    absent = rows["sysfs", "/sys/kernel/mm/absent"]
    assert absent.state == asked.NOT_APPLICABLE
    hugepages = rows["sysfs", "/sys/kernel/mm/transparent_hugepage/enabled"]
    assert (hugepages.state, hugepages.expected) == (asked.FAILED, "no-such-choice")
    assert rows["vm", "swappiness"].state == asked.UNCHECKED
    assert rows["vm", "swappiness"].why == "TuneD does not know this option"
    assert rows["cpu", "load_threshold"].state == asked.PARAMETER
    assert rows["net", "features"].state == asked.NOT_APPLICABLE
    assert rows["script", "script"].state == asked.UNCHECKED
    assert rows["unknown", "x"].state == asked.UNCHECKED
    assert "failed to initialize plugin unknown" in rows["unknown", "x"].why
    assert {row.section for row in holds.rows} & {"elsewhere", "off"} == set()
    # The script has run once: not to compare.
    assert root.written("ran") == "start\n"


def test_a_profile_that_cannot_be_loaded(root: TunedRoot) -> None:
    root.prepare("custom", custom="[main]\ninclude=absent\n")
    status, output, log = root.run(*COMMAND)
    meaning, _, ended = applied(root)
    assert isinstance(meaning, Unasked)
    assert meaning.profile
    assert "Cannot load profile(s) 'custom': Cannot find profile 'absent'" in meaning.reason
    assert (ended[0], ended[1]) == (status, output)
    assert comparable(ended[2]) == comparable(log)


def test_an_exception_of_tuned_is_shown_as_python_shows_it(root: TunedRoot) -> None:
    """It is raised only in the run: the profile is loaded before."""
    root.prepare("custom", custom="[sysctl]\nvm.swappiness=60\n")
    over = root.folder / "upper/usr/sbin"
    over.mkdir(parents=True)
    program = (root._lower / "usr/sbin/tuned").read_text().replace(
        "\t\tapp.run(args.daemon)", "\t\traise RuntimeError('raised')"
    )  # fmt: skip
    (over / "tuned").write_text(program)
    (over / "tuned").chmod(0o755)
    status, _, log = root.run(*COMMAND)
    _, holds, ended = applied(root)
    assert "RuntimeError: raised" in log
    assert status == ended[0] == 1
    assert comparable(ended[2]) == comparable(log)
    assert holds == Unverified("TuneD has not applied the profile")


def test_nothing_is_applied_without_the_word(root: TunedRoot) -> None:
    root.prepare("custom", custom="[script]\nscript=s.sh\n")
    script = root.paths.etc_tuned / "custom/s.sh"
    script.write_text("#!/bin/sh\necho ran > /etc/tuned/ran\n")
    script.chmod(0o755)
    with Conversing(root) as talk:
        assert isinstance(talk.hear(), Asked)
        talk.program.__exit__()
        status, output, errors = talk.ended()
    assert (status, output) == (75, "")
    assert errors == "ocp-tuned-boot has gone, nothing is applied: it has exited\n"
    assert root.written("active_profile") == ""
    assert not (root.paths.etc_tuned / "ran").exists()


def test_a_signal_ends_a_tuned_that_waits(root: TunedRoot) -> None:
    """TuneD's own handlers only note that it is to end."""
    root.prepare("throughput-performance")
    with Conversing(root, "apply", "/bin/sh", "-c", '"$@"; exit $?', "sh") as talk:
        assert isinstance(talk.hear(), Asked)
        os.kill(talk.pid, signal.SIGTERM)
        assert talk.ended()[0] == 128 + signal.SIGTERM
        assert talk.program.exited()


#: System calls that open a file to write it, or change a folder.
_CALLS = "open,openat,openat2,creat,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,mount"


def test_verify_writes_nothing(root: TunedRoot) -> None:
    custom(root)
    log = root.folder / "strace"
    strace = ("strace", "-f", "-qq", "-o", str(log), "-e", f"trace=execve,{_CALLS}")
    with Conversing(root, "verify", under=strace) as talk:
        meaning, holds = talk.hear(), talk.hear()
        assert talk.ended() == (0, "", "")
    # What is compared is the same as after a run.
    _, after, _ = applied(root)
    assert isinstance(meaning, Asked)
    assert isinstance(holds, Verified)
    calls = log.read_text().partition("program.py")[2].splitlines()
    assert len(calls) > 100
    written = [it for it in calls if re.search(r"O_(WRONLY|RDWR|CREAT)|rename|unlink|mkdir", it)]
    # The name of its own process, a request to the kernel that asks for nothing, and byte code that
    # Python would like to leave beside our program.
    fine = re.compile(r'"(/dev/null|/proc/self/comm|/dev/cpu_dma_latency)"|ENOENT|EROFS')
    assert [it for it in written if not fine.search(it)] == []
    assert isinstance(after, Verified)
    assert sorted(map(_known, holds.rows)) == sorted(map(_known, after.rows))


#: A plugin that writes when it is created, as systemd does since TuneD 2.26, and fails.
SITE = """
from tuned.plugins import base
from tuned.plugins.decorators import command_custom
from tuned.utils.commands import commands

class SitePlugin(base.Plugin):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        commands().write_to_file("/etc/tuned/made", "x")

    @classmethod
    def _get_config_options(cls):
        return {"good": None, "bad": None, "silent": None}

    def _instance_init(self, instance):
        instance._has_static_tuning, instance._has_dynamic_tuning = True, False

    def _instance_cleanup(self, instance):
        pass

    @command_custom("good")
    def good(self, enabling, value, verify, *rest):
        return True if verify else None

    @command_custom("bad", priority=-1)
    def bad(self, enabling, value, verify, *rest):
        if verify:
            raise RuntimeError("of this site")

    @command_custom("silent")
    def silent(self, enabling, value, verify, *rest):
        return None
"""


def test_a_plugin_that_writes_and_fails(root: TunedRoot) -> None:
    text = "[site]\ngood=1\nbad=1\nsilent=1\n[sysctl]\nvm.swappiness=>0\n"
    root.prepare("custom", custom=text)
    plugins = root.folder / "upper/usr/lib/python3/dist-packages/tuned/plugins"
    plugins.mkdir(parents=True)
    (plugins / "plugin_site.py").write_text(SITE)
    with Conversing(root, "verify") as talk:
        talk.hear()
        before = talk.hear()
    assert not (root.paths.etc_tuned / "made").exists()
    _, after, ended = applied(root)
    assert (root.paths.etc_tuned / "made").exists()
    assert "RuntimeError" not in ended[2]
    for holds, refused in ((before, ("/etc/tuned/made",)), (after, ())):
        assert isinstance(holds, Verified)
        assert holds.refused == refused
        rows = {row.option: (row.state, row.why) for row in holds.rows}
        assert rows == {
            "good": (asked.PASSED, ""),
            "bad": (asked.UNCHECKED, "it fails: RuntimeError('of this site')"),
            "silent": (asked.UNCHECKED, "TuneD does not compare it"),
            "vm.swappiness": (asked.PASSED, ""),
        }


RESUME = "pm_qos_resume_latency_us"
SETS_NOTHING = "[sysctl]\nvm.swappiness=17\n"


def restoring(root: TunedRoot, wanted: list[dict[str, Any]]) -> Verified:
    """A run of a profile that sets none of what is to be restored."""
    root.prepare("other", other=SETS_NOTHING)
    with Conversing(root) as talk:
        talk.hear()
        (root.paths.conversation / f"apply{RESTORE}").write_text(json.dumps(wanted))
        talk.program.go()
        holds = talk.hear()
    assert isinstance(holds, Verified)
    assert holds.originals == ()
    return holds


def test_what_only_an_earlier_profile_has_set_is_restored(root: TunedRoot, tmp_path: Path) -> None:
    for name in ("cpu0", "cpu1"):
        file = root.instead[f"/sys/devices/system/cpu/{name}/power/{RESUME}"] = tmp_path / name
        file.write_text("7\n")
    first, last = root.instead.values()
    root.prepare("site", site=f"[cpu]\ndevices=cpu0,cpu1\n{RESUME}=100\n")
    holds = applied(root)[1]
    assert isinstance(holds, Verified)
    assert holds.originals == (Original("cpu", RESUME, ("cpu0", "cpu1"), "7", "100"),)
    assert first.read_text() == "100"
    # Another program has changed one of them since.
    last.write_text("50\n")
    row = asdict(holds.originals[0])
    wanted = [row, {**row, "option": "absent"}, {**row, "devices": ["cpu9999"]}]
    restored = restoring(root, wanted).restored
    assert [(it.option, it.device, it.how) for it in restored] == [
        (RESUME, "cpu0", "restored"), (RESUME, "cpu1", "theirs"),
        ("absent", "cpu0", "stays"), ("absent", "cpu1", "stays"),
        (RESUME, "cpu9999", "has-first"),
    ]  # fmt: skip
    assert (first.read_text(), last.read_text()) == ("7", "50\n")
    # It is done already.
    (done,) = restoring(root, [{**row, "devices": ["cpu0"]}]).restored
    assert done.how == "has-first"
    # What the kernel refuses stays.
    del root.instead[f"/sys/devices/system/cpu/cpu0/power/{RESUME}"]
    current = Path(f"/sys/devices/system/cpu/cpu0/power/{RESUME}").read_text().strip()
    (refused,) = restoring(root, [{**row, "devices": ["cpu0"], "applied": current}]).restored
    assert refused.how == "stays"
    assert "Read-only file system" in refused.why


def test_zero_is_not_nothing(root: TunedRoot) -> None:
    """TuneD's own comparison takes it for that."""
    root.prepare("custom", custom="[systemd]\ncpu_affinity=0\n")
    # Of TuneD before 2.28, and since then.
    for name in ("system.conf", "system.conf.d/00-tuned.conf"):
        file = root.folder / "upper/etc/systemd" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("[Manager]\n")
    with Conversing(root, "verify") as talk:
        talk.hear()
        holds = talk.hear()
    assert isinstance(holds, Verified)
    (row,) = holds.rows
    assert (row.option, row.state, row.found) == ("cpu_affinity", asked.FAILED, "")
    _, after, _ = applied(root)
    assert isinstance(after, Verified)
    assert [row.state for row in after.rows] == [asked.PASSED]


def test_only_the_run_knows_which_interrupts_can_be_moved(tmp_path: Path) -> None:
    """Here none can: /proc/irq cannot be written. (In the image of bookworm, the plugin fails.)"""
    root = TunedRoot("trixie", tmp_path)
    root.prepare("custom", custom="[scheduler]\nisolated_cores=0\nps_blacklist=x\n")
    with Conversing(root, "verify") as talk:
        talk.hear()
        before = talk.hear()
    _, after, _ = applied(root)
    assert isinstance(before, Verified)
    assert isinstance(after, Verified)
    # Of the processes, the program itself says it.
    states = {row.option: row.state for row in after.rows if not row.by}
    assert states == {"isolated_cores": asked.FAILED, "ps_blacklist": asked.PARAMETER}
    states = {row.option: row.state for row in before.rows if not row.by}
    assert states == {"isolated_cores": asked.UNCHECKED, "ps_blacklist": asked.PARAMETER}


def test_an_argument_that_is_taken_away_requests_nothing(root: TunedRoot) -> None:
    root.prepare("custom", custom="[bootloader]\ncmdline_a=-lab.a\n")
    _, holds, _ = applied(root)
    assert isinstance(holds, Verified)
    assert [(row.option, row.state) for row in holds.rows] == [("cmdline_a", asked.PARAMETER)]
    root.prepare("custom", custom="[bootloader]\ncmdline_a=-lab.a\ncmdline_b=+lab.b\n")
    _, holds, _ = applied(root)
    assert isinstance(holds, Verified)
    rows = {row.option: row.state for row in holds.rows}
    assert (rows["cmdline_a"], rows["cmdline_b"]) == (asked.FAILED, asked.FAILED)


#: Says of each disk that it has this power management and is idle.
_HDPARM = '#!/bin/sh\necho "$@" >> /etc/tuned/hdparm\necho " APM_level = 128"\n'


def test_what_a_disk_does_not_say(root: TunedRoot) -> None:
    """TuneD's own comparison reads the same spindown of every disk."""
    root.prepare("custom", custom="[disk]\napm=128\nspindown=6\n")
    program = root.folder / "upper/usr/sbin/hdparm"
    program.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(program, stat.S_IFCHR, os.makedev(0, 0))  # an overlay has no such file then
    meaning, without, _ = applied(root)
    assert isinstance(meaning, Asked)
    assert isinstance(without, Verified)
    assert {(row.option, row.state, row.why) for row in without.rows} == {
        ("apm", asked.UNCHECKED, "the image has no hdparm"),
        ("spindown", asked.UNCHECKED, "the image has no hdparm"),
    }
    program.unlink()
    program.write_text(_HDPARM)
    program.chmod(0o755)
    _, holds, _ = applied(root)
    assert isinstance(holds, Verified)
    assert "-S 6 /dev/" in root.written("hdparm")
    assert {(row.option, row.state, row.why) for row in holds.rows} == {
        ("apm", asked.PASSED, ""),
        ("spindown", asked.UNCHECKED, "the disk does not say it"),
    }


def _known(row: Comparison) -> tuple[str, ...]:
    return (row.section, row.option, row.device, row.state, row.expected, row.found)


#: Runs on a node; prints what is said, the setting before and after the word, and the exit status.
ON_A_NODE = """
import json, os, subprocess, sys
from dataclasses import asdict
from pathlib import Path
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.tuned import asked, conversation, prepare
from ocp_tuned_boot.tuned.profilefile import ProfileFile

def podman(*words):
    done = subprocess.run(["podman", *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()

paths, patience = Paths(), Deadline(200)
knob = Path("/proc/sys/net/ipv4/tcp_fin_timeout")
prepare.directories(paths)
text = b"[sysctl]\\nnet.ipv4.tcp_fin_timeout=37\\n"
prepare.etc_tuned(paths, "custom", [ProfileFile("custom/tuned.conf", text)], {})
mounts = [*conversation.mounts(paths)]
volumes = [f"--volume={source}:{target}:ro" for source, target in mounts]
command = conversation.entrypoint("apply", ("/usr/sbin/tuned", "--no-dbus"))
with conversation.Listener(paths) as listener:
    podman("run", "--detach", "--name=inside", "--privileged", "--net=host", "--pid=host",
           *volumes, f"--volume={paths.etc_tuned}:/etc/tuned", "--volume=/sys:/sys",
           "--entrypoint", json.dumps(command), sys.argv[1])
    pid = int(podman("inspect", "--format={{.State.Pid}}", "inside"))
    with listener.accept(pid, os.pidfd_open(pid), patience) as program:
        meaning = asked.parse(program.hear(patience))
        before = knob.read_text().strip()
        program.go()
        holds = [asdict(row) for row in asked.parse(program.hear(patience)).rows]
status = int(podman("wait", "inside"))
log = subprocess.run(["podman", "logs", "inside"], capture_output=True, text=True).stderr
podman("rm", "inside")
print(json.dumps([asdict(meaning), before, knob.read_text().strip(), holds, status, log]))
"""


def test_in_a_container(node: Node) -> None:
    node.run("sh", "-c", "echo 60 > /proc/sys/net/ipv4/tcp_fin_timeout")
    done = node.run("python3", "-c", ON_A_NODE, tunedimage.name("trixie"))
    meaning, before, after, rows, status, log = json.loads(done.stdout)
    assert meaning["profile"] == "custom"
    # Nothing is applied before the word.
    assert (before, after, status) == ("60", "37", 0)
    (row,) = rows
    assert (row["option"], row["state"], row["found"]) == (
        "net.ipv4.tcp_fin_timeout", asked.PASSED, "37",
    )  # fmt: skip
    assert "static tuning from profile 'custom' applied" in log
    assert "verify" not in log
