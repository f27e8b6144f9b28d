"""How a run grows with what it is given: in proportion, and not faster.

What it does is counted as the functions that Python calls, which needs no clock. What TuneD itself
does with the same is not counted here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.unit import test_memory
from tests.unit.fake_engine import APPLIED, HEAD, Engine, serving
from tests.unit.hostile import AGENT, GOOD, Node, file, host
from tests.unit.patience import PATIENCE

#: One more of many may cost so much more than one more of few: what grows faster costs several
#: times as much. On a busy machine, waiting takes some calls as well.
LINEAR = 2.0

_CALLS = """
import sys
calls, out = 0, sys.argv.pop(1)

def count(_frame, event, _argument):
    global calls
    calls += event in ("call", "c_call")

from ocp_tuned_boot.cli import main
sys.setprofile(count)
status = main()
sys.setprofile(None)
with open(out, "w") as file:
    file.write(str(calls))
sys.exit(status)
"""


def calls(tmp_path: Path, tree: Mapping[str, Node], log: bytes = APPLIED) -> int:
    """The number of calls of a run that applies the profile."""
    out = tmp_path / "calls"
    with host({**GOOD, "proc/cmdline": file(b"quiet\n"), **tree}) as (paths, _):
        with serving(Engine(paths, log)) as conf:
            arguments = ("--root", str(paths.root), "apply", "--config", str(conf))
            done = subprocess.run(
                [sys.executable, "-c", _CALLS, str(out), *arguments], check=False,
                env={**os.environ, "NOTIFY_SOCKET": ""}, capture_output=True, timeout=PATIENCE,
            )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(out.read_text())


def grows(few: tuple[int, int], more: tuple[int, int], many: tuple[int, int]) -> None:
    """Raises `AssertionError` if one more costs more when there are many. Each: how many there are,
    and what that cost."""
    steps = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in ((few, more), (more, many))]
    print(f"calls for one more: {steps[0]:.0f} of few, {steps[1]:.0f} of many")
    assert 0 < steps[1] <= LINEAR * steps[0]


def profiles(number: int) -> dict[str, Node]:
    """The requested profile, and others that it does not include."""
    one = file(b"[main]\nsummary=x\n[sysctl]\nvm.x=1\n")
    return {f"{AGENT}profiles/p{each}/tuned.conf": one for each in range(number - 1)}


def test_custom_profiles(tmp_path: Path) -> None:
    few, more, many = ((number, calls(tmp_path, profiles(number))) for number in (1, 100, 1000))
    grows(few, more, many)


def chain(number: int) -> dict[str, Node]:
    """A profile that includes one that includes one …"""
    names = ["site", *(f"c{each}" for each in range(number))]
    return {
        f"{AGENT}profiles/{name}/tuned.conf": file(
            b"[main]\n" + (b"include=%s\n" % after.encode() if after else b"summary=x\n")
            + b"[sysctl]\nvm.x=%d\n" % len(name)
        )
        for name, after in zip(names, [*names[1:], ""])
    }  # fmt: skip


def test_a_chain_of_includes(tmp_path: Path) -> None:
    few, more, many = ((number, calls(tmp_path, chain(number))) for number in (0, 30, 90))
    grows(few, more, many)


def machine(processors: int) -> dict[str, Node]:
    """Of each processor a setting and an interrupt; the profile names them all."""
    tree = {AGENT + "profiles/site/tuned.conf": file(
        b"[sysfs]\n/sys/devices/system/cpu/cpu*/power/x=1\n[sysctl]\nvm.x=1\n"
    )}  # fmt: skip
    for each in range(processors):
        tree[f"sys/devices/system/cpu/cpu{each}/power/x"] = file(b"1\n")
        tree[f"proc/irq/{each}/smp_affinity"] = file(b"ff\n")
    return tree


def test_processors(tmp_path: Path) -> None:
    few, more, many = ((number, calls(tmp_path, machine(number))) for number in (2, 32, 512))
    grows(few, more, many)


#: As most of TuneD's lines are.
LINE = HEAD + b"2026-11-23 22:30:36,610 INFO     tuned.plugins.plugin_disk: nothing for loop10\n"


def test_lines_of_the_log(tmp_path: Path) -> None:
    few, more, many = (
        (number, calls(tmp_path, {}, LINE * number + APPLIED)) for number in (30, 300, 3000)
    )
    grows(few, more, many)


#: What one more line of the log may take in memory (bytes): it is kept until it is judged, as text
#: and as a record.
OF_A_LINE = 800


@pytest.mark.skipif(sys.version_info < (3, 11), reason="measured once")
def test_memory_grows_with_the_lines_of_the_log_alone() -> None:
    most = {}
    for number in (30, 30_000):
        with host(GOOD) as (paths, _), test_memory.engine(paths, LINE * number + APPLIED) as conf:
            most[number] = test_memory.run(paths, "apply", "--config", conf).most
    print({number: f"{each / 2**20:.1f} MiB" for number, each in most.items()})
    assert most[30_000] - most[30] <= 30_000 * OF_A_LINE
