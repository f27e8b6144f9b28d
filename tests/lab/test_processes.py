"""What [scheduler] sets of processes: TuneD does not compare it, the program in the container does.
The processes are real; what is wrong with them is set by a script that TuneD runs at the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocp_tuned_boot.tuned import asked
from ocp_tuned_boot.tuned.asked import Comparison, Verified
from tests.lab import workload
from tests.lab.host import unwrapped
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.rootfs import SUITES
from tests.lab.tunedroot import Conversing, TunedRoot, applied

pytestmark = pytest.mark.lab

CPUS = sorted(os.sched_getaffinity(0))
FIRST, LAST = CPUS[0], CPUS[-1]
#: What TuneD 2.20 needs of a module that Debian does not package for it.
_PERF = f"def cpu_map():\n    return {CPUS}\n"
#: A process that runs beside TuneD.
_BESIDE = ("/bin/sh", "-c", 'sleep 1000 & eval "$0"; exec "$@"')
TUNED = "group.lab=0:f:11:*:program[.]py"


@pytest.fixture(params=SUITES)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> TunedRoot:
    return prepared(TunedRoot(request.param, tmp_path))


def prepared(root: TunedRoot) -> TunedRoot:
    modules = root.folder / "upper/usr/lib/python3/dist-packages"
    modules.mkdir(parents=True)
    (modules / "perf.py").write_text(_PERF)
    return root


def profile(root: TunedRoot, options: str, script: str = "") -> None:
    """A profile whose script runs last."""
    text = f"[scheduler]\nirq_process=false\n{options}\n"
    root.prepare("custom", custom=f"{text}[script]\npriority=99\nscript=s.sh\n")
    file = root.paths.etc_tuned / "custom/s.sh"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def rows(holds: object) -> dict[str, Comparison]:
    assert isinstance(holds, Verified), holds
    return {row.option: row for row in holds.rows if row.section == "scheduler"}


def run(root: TunedRoot, options: str, script: str = "") -> dict[str, Comparison]:
    """Applies a profile; what is said of each option then."""
    profile(root, options, script)
    return rows(applied(root)[1])


def now(root: TunedRoot, options: str, before: str = "") -> dict[str, Comparison]:
    """What is said of each option without applying it. `before`: what is done to the process $!."""
    profile(root, options)
    with Conversing(root, "verify", *([*_BESIDE, before] if before else [])) as talk:
        talk.hear()
        return rows(talk.hear())


@pytest.mark.parametrize(
    ("option", "script", "found"),
    [
        (TUNED, "", ""),
        (TUNED, "chrt -a -o -p 0 $PPID", f":0:{','.join(map(str, CPUS))}"),
        (TUNED, "chrt -a -r -p 11 $PPID", "r:11:"),
        (TUNED, "chrt -a -f -p 12 $PPID", "f:12:"),
        (f"group.lab=0:*:0:{1 << LAST:x}:program[.]py", "", ""),
        (f"group.lab=0:*:0:{1 << LAST:x}:program[.]py", f"taskset -ac -p {FIRST} $PPID", "o:0:"),
        (f"isolated_cores={FIRST}", "", ""),
        (f"isolated_cores={FIRST}", f"taskset -ac -p {FIRST} $PPID", f": CPUs {FIRST}"),
    ],
)  # fmt: skip
def test_what_is_set_is_verified_and_what_is_undone_is_different(
    root: TunedRoot, option: str, script: str, found: str
) -> None:
    said = run(root, option, script)
    row = said[option.partition("=")[0]]
    assert (row.state, row.by) == (asked.FAILED if script else asked.PASSED, "ocp-tuned-boot")
    assert row.found.startswith("PID " if script else "processes and threads: ")
    assert found in row.found
    assert said["irq_process"].state == asked.PARAMETER


def test_what_tuned_ignores_is_not_compared(root: TunedRoot) -> None:
    said = run(root, "\n".join([
        "group.short=0:f:11:program", "group.policy=0:x:1:*:program[.]py",
        "group.pattern=0:o:0:*:(", "group.none=0:f:1:*:no-such-process",
        # The later one of two wins.
        "group.second=2:f:12:*:program[.]py", "group.first=1:f:11:*:program[.]py",
        "isolated_cores=4000",
    ]))  # fmt: skip
    states = {option: row.state for option, row in said.items()}
    assert states == {
        "group.short": asked.UNCHECKED, "group.policy": asked.UNCHECKED,
        "group.pattern": asked.UNCHECKED, "group.none": asked.NOT_APPLICABLE,
        "group.second": asked.PASSED, "group.first": asked.NOT_APPLICABLE,
        "isolated_cores": asked.UNCHECKED, "irq_process": asked.PARAMETER,
    }  # fmt: skip
    assert said["group.short"].why == "TuneD ignores it: it has less than five parts"
    assert said["group.policy"].why.startswith("Invalid scheduler: x")
    assert said["group.pattern"].why.startswith("TuneD ignores it: ")
    assert said["group.none"].why == said["group.first"].why == "no process matches"
    assert said["isolated_cores"].why.startswith("Invalid isolated_cores specified")


def test_a_process_that_the_profile_excludes_may_run_anywhere(root: TunedRoot) -> None:
    before, isolated = f"taskset -cp {FIRST} $! > /dev/null", f"isolated_cores={FIRST}\n"
    only = f"{isolated}ps_whitelist=^(sleep|nothing)$\n"
    assert now(root, only, before)["isolated_cores"].state == asked.UNCHECKED
    assert now(root, only + "ps_blacklist=^sleep$", before)["isolated_cores"].why == (
        "no process matches"
    )
    cgroup = "cgroup_ps_blacklist=:/"
    assert now(root, only + cgroup, before)["isolated_cores"].state != asked.UNCHECKED
    for affinity, state in ((f"{1 << FIRST:x}", asked.PASSED), ("cgroup.lab", asked.UNCHECKED)):
        said = now(root, f"{only}group.lab=0:*:0:{affinity}:^sleep\n", before)
        assert (said["isolated_cores"].state, said["group.lab"].state) == (asked.PASSED, state)
    assert said["group.lab"].why == "TuneD does not compare the cgroups of processes"


def test_later_a_group_is_compared_and_an_isolated_cpu_may_have_been_given_away(
    root: TunedRoot,
) -> None:
    options = f"group.lab=0:b:0:*:^sleep\nisolated_cores={FIRST}\nps_whitelist=^sleep$"
    move = f"taskset -cp {LAST} $! > /dev/null"
    said = now(root, options, f"chrt -b -p 0 $!; {move}")
    assert (said["group.lab"].state, said["isolated_cores"].state) == (asked.PASSED, asked.PASSED)
    said = now(root, options, "true")
    assert said["group.lab"].state == asked.FAILED
    assert "(sleep): o:0:" in said["group.lab"].found
    assert said["isolated_cores"].state == asked.UNCHECKED
    assert said["isolated_cores"].why.startswith("started since, or placed by others: PID ")


def test_threads_of_the_kernel(tmp_path: Path) -> None:
    """They are seen in the machine's own namespace, where nothing is applied. If these tests run in
    another one, no process sees them."""
    root = prepared(TunedRoot("trixie", tmp_path, own_processes=False))
    options = "isolated_cores=0\nps_whitelist=^ksoftirqd/\n"
    said = now(root, options + "group.a=0:f:11:*:ksoftirqd\ngroup.b=0:o:0:*:[[]migration")
    comm = Path("/proc/2/comm")
    if not comm.exists() or comm.read_text() != "kthreadd\n":
        for each in ("group.a", "group.b", "isolated_cores"):
            assert (said[each].state, said[each].why) == ("not-applicable", "no process matches")
        return
    assert said["group.a"].state == asked.FAILED
    assert "(ksoftirqd/0): o:0:0" in said["group.a"].found
    # It is real-time.
    assert "(migration/0): f:99:0" in said["group.b"].found
    # Nobody can move it.
    assert said["isolated_cores"].state == asked.PASSED
    # Of the threads of the kernel none counts then.
    said = now(root, options + "kthread_process=0")
    assert said["isolated_cores"].why == "no process matches"


REQUESTED = f"[scheduler]\nisolated_cores={FIRST}\n"


def test_after_a_guarded_reload_interrupts_are_said_to_be_owned_by_others() -> None:
    """TuneD compares the copies that it has set."""
    default = "/proc/irq/default_smp_affinity"
    with KernelKnobs(workload.RESET), Node() as node:
        workload.furnish(node)
        node.boot()
        workload.has_ended(node)
        before = node.read(default)
        workload.reloaded(node, workload.PROFILE + REQUESTED)
        workload.has_ended(node)
        record = workload.record(node)
        assert node.read(default) == before
        assert default.replace("/proc/irq/", "") in str(record["handover"])
        (value,) = (it for it in record["values"] if it["key"] == "scheduler.isolated_cores")
        assert (value["state"], value["by"]) == ("handed-over", "")
        assert value["why"].startswith("on the hand-over list: /proc/irq/")
        status = unwrapped(node.run("ocp-tuned-boot", "status", "--verbose").stdout)
        assert "isolated_cores: owned by others: " in status
        workload.reloaded(node, f"{workload.PROFILE}{REQUESTED}irq_process=false\n")
        workload.has_ended(node)
        (value,) = (it for it in workload.record(node)["values"]
                    if it["key"] == "scheduler.isolated_cores")  # fmt: skip
        assert (value["state"], value["by"]) == ("verified", "ocp-tuned-boot")
