"""The lab's reader of the kernel, and what it calls a lie or a false alarm."""

from __future__ import annotations

from typing import Any, Optional

import pytest

from tests.lab.kernelreader import Wanted, agrees, plainly
from tests.lab.truth import of_corpus, of_stock

KNOB = "/proc/sys/vm/x"
ASKED = Wanted("vm.x", KNOB, "5")


def row(state: str, **more: str) -> dict[str, str]:
    known = {"expected": "5", "found": "", "why": "", "path": KNOB, "plugin": "", "by": ""}
    return {"key": "vm.x", "state": state, **known, **more}


def record(*rows: dict[str, str], found: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    result = "degraded" if found else "applied"
    return {"result": result, "values": list(rows), "findings": list(found)}


def finding(kind: str, subject: str, message: str = "") -> dict[str, Any]:
    return {"kind": kind, "subject": subject, "message": message, "accepted": False}


@pytest.mark.parametrize(
    ("rows", "findings", "kernel"),
    [
        ([row("verified")], (), "4"),
        ([row("verified")], (), None),
        # Not named at all.
        ([], (), "4"),
        ([row("verified", key="vm.y", path="/proc/sys/vm/y")], (), "4"),
        # A finding about something else does not name it.
        ([], (finding("error", "tuned", "vm.xx is strange"),), "4"),
    ],
)
def test_a_lie(
    rows: list[dict[str, str]], findings: tuple[dict[str, Any], ...], kernel: Optional[str]
) -> None:
    verdict = of_corpus(record(*rows, found=findings), [ASKED], {KNOB: kernel})
    assert len(verdict.lies) == 1
    assert verdict.alarms == []


@pytest.mark.parametrize(
    ("rows", "findings"),
    [
        ([row("different")], ()),
        ([row("verified")], (finding("overridden", "vm.x"),)),
        ([row("verified")], (finding("setting-refused", KNOB),)),
        ([row("verified")], (finding("error", "tuned", "cannot set 'vm.x'"),)),
    ],
)
def test_a_false_alarm(rows: list[dict[str, str]], findings: tuple[dict[str, Any], ...]) -> None:
    verdict = of_corpus(record(*rows, found=findings), [ASKED], {KNOB: "5\n"})
    assert len(verdict.alarms) == 1
    assert verdict.lies == []


@pytest.mark.parametrize("state", ["different", "unchecked", "not-applicable", "handed-over"])
def test_the_truth_about_what_the_kernel_does_not_have(state: str) -> None:
    verdict = of_corpus(record(row(state)), [ASKED], {KNOB: "4\n"})
    assert (verdict.lies, verdict.alarms) == ([], [])


def test_a_profile_that_is_not_applied_is_a_lie() -> None:
    failed = {**record(), "result": "failed"}
    assert of_corpus(failed, [ASKED], {KNOB: "5"}).lies != []


def test_findings_about_other_settings() -> None:
    """Of the profiles that are included: only what a file can confirm or refute."""
    found = (
        finding("no-such-setting", "vm.y"),
        finding("no-such-setting", "vm.z"),
        finding("missing-kernel-argument", "quiet"),
        finding("script-failed", "/etc/tuned/s.sh"),
    )
    kernel = {KNOB: "5", "/proc/sys/vm/z": "1", "cmdline": "quiet splash"}
    verdict = of_corpus(record(row("verified"), found=found), [ASKED], kernel)
    assert [alarm.split(":")[0] for alarm in verdict.alarms] == [
        "no-such-setting vm.z", "missing-kernel-argument quiet",
    ]  # fmt: skip
    assert [words.split(":")[0] for words in verdict.believed] == ["script-failed /etc/tuned/s.sh"]


def test_a_stock_profile() -> None:
    rows = row("verified"), row("different", key="vm.y", path="/proc/sys/vm/y")
    kernel = {KNOB: "4", "/proc/sys/vm/y": "5"}
    verdict = of_stock(record(*rows), kernel)
    assert (len(verdict.lies), len(verdict.alarms)) == (1, 1)


@pytest.mark.parametrize(
    ("where", "text", "found", "holds"),
    [
        (KNOB, "1 2", "1\t2\n", True),
        (KNOB, "1", "01", False),
        (KNOB, "[never]", "always [never]", True),
        (KNOB, "[never]", "[always] never", False),
        (KNOB, ">=5", "5", True),
        (KNOB, ">=5", "4", False),
        (KNOB, "<=5", "6", False),
        (KNOB, "mask:1", "00000000,00000001\n", True),
        (KNOB, "mask:1", "3", False),
        (KNOB, "3 *", "3\t4\t1\t7", True),
        (KNOB, "3 *", "33 4", False),
        ("cmdline", "a=1 b", "root=/ b a=1", True),
        ("cmdline", "a=1 b", "root=/ a=1", False),
        ("file:/x", "A=0", "#\nA=0\n", True),
        ("file:/x", "A=0", "A=01", False),
    ],
)
def test_what_agrees(where: str, text: str, found: str, holds: bool) -> None:
    assert agrees(Wanted("x", where, text), found) is holds
    assert not agrees(Wanted("x", where, text), None)


@pytest.mark.parametrize(
    ("path", "expected", "found", "holds"),
    [
        (KNOB, "0x10", "16", True),
        (KNOB, ">2048", "4096", True),
        (KNOB, ">2048", "1024", False),
        (KNOB, "<3", "3", True),
        (KNOB, "core [x]", "core [x]", True),
        (KNOB, "x", "core [x]", False),
        ("/sys/x", "x", "core [x]", True),
        ("/sys/x/cpumask", "00000001", "1", True),
        ("/sys/x/cpumask", "2", "1", False),
        (KNOB, '"a  b"', "a b", True),
        (KNOB, "a", None, False),
    ],
)
def test_what_a_stock_profile_asks_for(
    path: str, expected: str, found: Optional[str], holds: bool
) -> None:
    assert plainly(path, expected, found) is holds


def test_who_has_compared_each_setting() -> None:
    both, nobody = "tuned, ocp-tuned-boot", row("unchecked", key="vm.y", why="nobody can")
    told = [
        row("verified", plugin="vm", by=both),
        row("different", plugin="vm", by="tuned"),
        nobody,
    ]
    verdict = of_stock(record(*told), {KNOB: "5\n"})
    assert verdict.plugins == {("vm", "both"): 1, ("vm", "TuneD"): 1, ("", "unchecked"): 1}
    assert verdict.unchecked == ["vm.y: nobody can"]
    assert "| `vm` | 1 | – | 1 | – | – | – |" in str(verdict)
