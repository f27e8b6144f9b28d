"""docs/topologies.md describes the systems that the lab boots, and the units that wait there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ocp_tuned_boot.host.systemd import WORKLOADS
from ocp_tuned_boot.requested import config
from tests.lab.topologies import SITE, SYSTEMS, text
from tests.unit.test_promises import UNIT_FILES

TREE = Path(__file__).resolve().parents[2]
PAGE = (TREE / "docs/topologies.md").read_text()
PARTS = re.split(r"(?m)^## (.+)\n", PAGE)
SECTIONS = dict(zip(PARTS[1::2], PARTS[2::2]))
#: What has to be said of each system, in this order; some say more.
POINTS = ["Install", "Held", "Request", "Check"]
#: Units that the page names and that are neither ours nor a system's here.
OTHERS = {"tuned.service", "microshift-tuned.service"}


def named(part: str) -> set[str]:
    """The units that a part of the page names, such as `k3s.service`."""
    return set(re.findall(r"\b[a-z0-9][\w-]*\.(?:service|socket|target)\b", part))


def test_the_page_has_each_system_of_the_lab_and_no_other() -> None:
    assert [*SECTIONS][:-1] == [system.title for system in SYSTEMS.values()]


@pytest.mark.parametrize("key", SYSTEMS)
def test_a_section_names_what_waits_and_no_unit_that_does_not_exist(key: str) -> None:
    system = SYSTEMS[key]
    section = SECTIONS[system.title]
    points = re.findall(r"(?m)^- \*\*([\w ]+)\*\*: ", section)
    assert [point for point in points if point in POINTS] == POINTS
    held = section.split("- **Held**: ")[1].split("\n- **")[0]
    assert set(system.held) <= named(held)
    ours = {path.name for path in UNIT_FILES}
    assert named(section) <= {*system.units, *WORKLOADS, *ours, *OTHERS}
    # What does not wait, says so.
    waiting = held.partition("do not wait")[0] if "do not wait" in held else held
    assert {each for each in named(waiting) if each.endswith(".service")} >= set(system.held)


@pytest.mark.parametrize("key", SYSTEMS)
def test_what_waits_is_ordered_by_our_units_or_by_the_drop_in_of_the_page(key: str) -> None:
    system = SYSTEMS[key]
    for name in system.held:
        drop_ins = dict(system.units[name].drop_ins)
        assert name in WORKLOADS or SITE in drop_ins.values()
    # No stand-in orders itself after ours: that would test nothing.
    for name, unit in system.units.items():
        assert "ocp-tuned" not in text(name, unit, system.held)


def test_the_drop_in_is_that_of_the_page_and_of_the_manual() -> None:
    manual = (TREE / "man/ocp-tuned.service.8.rst").read_text()
    for page in (SECTIONS["A plain server"], manual):
        assert SITE in "\n".join(line.strip() for line in page.splitlines()) + "\n"


def test_every_system_is_in_the_table_with_a_test_that_exists() -> None:
    rows = re.findall(r"(?m)^\| (.+?) \| .+ \| .+ \| `(test_\w+)` \|$", SECTIONS["What was run"])
    assert len(rows) == len(re.findall(r"(?m)^\| ", SECTIONS["What was run"])) - 1
    assert {system.title for system in SYSTEMS.values()} <= {row for row, _ in rows}
    files = (TREE / f"tests/lab/test_{name}.py" for name in ("topologies", "airgap"))
    tests = "".join(path.read_text() for path in files)
    assert [name for _, name in rows if f"def {name}(" not in tests] == []


def test_the_folders_of_archives_are_those_of_the_manual() -> None:
    manual = (TREE / "man/boot.conf.5.rst").read_text().split("``archives=``")[1].split("\n``")[0]
    for key, section in SECTIONS.items():
        for folder in re.findall(r"/var/lib/[\w/]+/images", section):
            assert f"*{folder}*" in manual, key
    conf = re.search(r"\[image\]\n +archives = (\S+)\n", SECTIONS["k3s"])
    assert conf is not None
    assert config.parse([("page", f"[image]\narchives = {conf[1]}\n")]).images.archives == (
        conf[1],
    )


def test_the_readme_links_the_page() -> None:
    assert "(docs/topologies.md)" in (TREE / "README.md").read_text()
