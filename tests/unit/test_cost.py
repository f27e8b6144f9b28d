"""What a run costs, counted: requests to Podman, writes that wait for the disk, processes, modules.

No clock: the numbers are the same on every machine. Each bound has its reason; a number that is
smaller than its bound is a reason to lower the bound. `make bench` measures the time.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocp_tuned_boot.host.paths import Paths
from tests.unit import counted, fake_manager
from tests.unit.counted import Cost
from tests.unit.fake_engine import Engine, serving
from tests.unit.hostile import AGENT, BOOT_ID, GOOD, file, host

HOST = {
    **GOOD, AGENT + "profiles/site/tuned.conf": file(b"[main]\nsummary=x\n"),
    "proc/cmdline": file(b"quiet\n"),
}  # fmt: skip


class Counting:
    """A host, and what a run of the program costs there."""

    def __init__(self, paths: Paths, conf: Path, out: Path, address: str) -> None:
        self.paths = paths
        self._conf, self._out, self._address = conf, out, address

    def run(self, command: str) -> Cost:
        arguments = ("--root", str(self.paths.root), command, "--config", str(self._conf))
        return counted.run(self._out, *arguments, NOTIFY_SOCKET=self._address)

    def reboot(self) -> None:
        """As a boot is: another boot ID, and nothing is in /run."""
        shutil.rmtree(self.paths.run)
        self.paths.boot_id.write_text(BOOT_ID[::-1] + "\n")

    def places(self, synced: list[str]) -> Counter[str]:
        """How often the disk was waited for, by folder."""
        places = (each.removeprefix(str(self.paths.root)) for each in synced)
        return Counter(re.sub(r"/#\d+( \(deleted\))?$", "", each) for each in places)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Counting]:
    """A host that has booted with this profile before, so that what is kept for good is there."""
    with host(HOST) as (paths, _), serving(Engine(paths)) as conf:
        with fake_manager.listening() as (address, _manager):
            counting = Counting(paths, conf, tmp_path / "counted", address)
            counting.run("apply")
            counting.reboot()
            yield counting


def shape(request: str) -> str:
    """A request without what differs from host to host."""
    method, _, path = request.partition(" ")
    path = re.sub(r"^/v[\d.]+/libpod", "", path.partition("?")[0])
    path = re.sub(r"^/(images|containers)/(?!create$)[^/]+", r"/\1/X", path)
    return f"{method} {path}"


#: The requests on the way to READY=1: the most of each, and what each is for.
REQUESTS = {
    "GET /_ping": (1, "a Podman that exits each time it is started is found out at once"),
    "GET /images/X/json": (1, "whether the image is on the node, and its ID"),
    "GET /containers/X/json": (
        5, "what a killed run left; the new one; its process, twice; the exit status",
    ),
    "POST /containers/create": (1, "the container"),
    "POST /containers/X/start": (1, "TuneD"),
    "POST /containers/X/wait": (1, "the log is complete"),
}  # fmt: skip


def test_each_request_before_ready_has_its_reason(node: Counting) -> None:
    seen = Counter(shape(each) for each in node.run("apply").until_ready("request"))
    assert {name: number for name, number in seen.items()
            if number > REQUESTS.get(name, (0, ""))[0]} == {}  # fmt: skip


#: Where the disk is waited for on the way to READY=1: how often at most, and what for. Nothing in
#: /run: a power cut empties it.
SYNCS = {
    "/var/lib/ocp-tuned-boot/containers": (
        1, "after a power cut nothing else tells that a container is ours (ours._note)",
    ),
}  # fmt: skip


def test_the_disk_is_waited_for_only_where_a_power_cut_matters(node: Counting) -> None:
    seen = node.places(node.run("apply").until_ready("fsync"))
    assert {place: number for place, number in seen.items()
            if number > SYNCS.get(place, (0, ""))[0]} == {}  # fmt: skip


#: The processes that are started on the way to READY=1, each once, and what for.
PROCESSES = {
    "systemctl show Before": "services that only this site orders after the unit may run already",
}


def test_each_process_before_ready_has_its_reason(node: Counting) -> None:
    seen = Counter(command(each) for each in node.run("apply").until_ready("process"))
    assert {name: number for name, number in seen.items()
            if name not in PROCESSES or number > 1} == {}  # fmt: skip


def command(words: str) -> str:
    """A command without its path and its options: what is asked, and of which property."""
    program, *arguments = words.split()
    asked = [each.rpartition("=")[2] for each in arguments if each.startswith("--property=")]
    verbs = [each for each in arguments if not each.startswith("-")][:1]
    return " ".join([Path(program).name, *verbs, *asked])


#: How many modules of this program are loaded, and how many packages of others. Which modules a
#: package has differs between the releases; Python's own start is not in it. Of the
#: metrics, there is only the module that finds out whether they are to be written; `host.machine`
#: is one of them, so that what another machine has written is not believed.
MODULES = {
    # With tuned/staying.py: which container is not to be removed.
    "before the first request": (91, 80),
    "until ready": (91, 80),
    "kept": (48, 36),
    # With commands/daemon_status.py and tuned/staying.py: whether TuneD runs; and host/space.py:
    # whether there is space for a record.
    "status": (66, 40),
}
#: More packages of the standard library: Python 3.14 starts with fewer of them, and its dataclasses
#: and pathlib load `annotationlib`, `grp` and `pwd`.
MORE = 8 if sys.version_info >= (3, 14) else 0


def within(modules: list[str], what: str) -> None:
    ours = [name for name in modules if name.startswith("ocp_tuned_boot.")]
    most_ours, most = MODULES[what]
    assert len(ours) <= most_ours, sorted(ours)
    packages = {name.partition(".")[0] for name in modules} - {"ocp_tuned_boot"}
    others = {name for name in packages if not name.startswith("_")}
    assert len(others) <= most + MORE, " ".join(sorted(others))


def test_a_run_that_applies_loads_no_more_than_it_needs(node: Counting) -> None:
    seen = node.run("apply")
    within(seen.modules_before("request"), "before the first request")
    within(seen.modules_before(counted.READY), "until ready")


def test_a_run_loads_nothing_that_is_for_people_at_a_terminal(node: Counting) -> None:
    for command in ("apply", "apply", "status"):
        modules = {name.removeprefix("ocp_tuned_boot.") for name in node.run(command).modules}
        assert modules & {"tqdm", "commands.bar", "commands.profiles", "requested.missing"} == set()


def test_podman_starts_while_the_rest_is_read_and_imported(node: Counting) -> None:
    seen = node.run("apply")
    assert "ocp_tuned_boot.tuning" not in seen.modules_before("connect")
    assert seen.of("connect") != []


def test_what_is_kept_costs_no_request_no_process_and_no_wait_for_the_disk(node: Counting) -> None:
    node.run("apply")
    seen = node.run("apply")
    assert [seen.of(each) for each in ("connect", "request", "process", "fsync")] == [[]] * 4
    within(list(seen.modules), "kept")


def test_status_asks_nobody_but_systemd_and_waits_for_no_disk(node: Counting) -> None:
    node.run("apply")
    seen = node.run("status")
    assert (seen.of("request"), seen.of("fsync")) == ([], [])
    # systemctl needs no D-Bus, and is asked once for all units.
    assert len(seen.of("process")) == 1
    within(list(seen.modules), "status")
