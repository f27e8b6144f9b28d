"""The status for people: the verdict first, and with each problem what to type."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot.commands import status_text
from ocp_tuned_boot.commands.status import Named, Now
from ocp_tuned_boot.commands.terminal import Style, Terminal
from ocp_tuned_boot.host.clock import Step
from ocp_tuned_boot.host.space import Space
from ocp_tuned_boot.host.systemd import Stored
from ocp_tuned_boot.host.units import Unit
from ocp_tuned_boot.record.history import Run
from ocp_tuned_boot.record.model import (
    Attempt,
    Deferred,
    HandedOver,
    Hold,
    InForce,
    Moments,
    Record,
    Residue,
    Standing,
    State,
    Value,
)
from ocp_tuned_boot.settings.drift import Drifted
from ocp_tuned_boot.tuned.findings import Finding, make
from ocp_tuned_boot.tuned.judge import Result
from tests.unit.commands.shown import lines

AT = "2026-11-27T10:00:00.123Z"
APPLIED = InForce("boot", Result.APPLIED, "site", "localhost/a", "id", "f", AT)
GOOD = Record(Result.APPLIED, AT, "boot", "apply", "because", "site", "localhost/a", "id",
              in_force=APPLIED, seconds=0.5)  # fmt: skip
UNITS = {"ocp-tuned.service": Unit("active"), "kubelet.service": Unit("active")}
RUN = Run(AT, "apply", "", "applied", "site", "localhost/a", "id", "f", 0.5, "",
          moments=Moments(10.0, ready=10.112))  # fmt: skip
NODE = Now(UNITS, applied=(RUN,))
MINE = Drifted("vm.x", "/proc/sys/vm/x", "5", "9", "10:00", "11:00")
THEIRS = replace(MINE, key="vm.y", owned=True)
WAITS = Deferred("profile", "f", "new", "localhost/a", AT)


def first(done: Record | None, now: Now) -> str:
    return lines(status_text.rows(done, now))[0]


def node(state: str, **properties: Any) -> Now:
    return Now({"ocp-tuned.service": Unit(state, **properties)})


# The first line.


@pytest.mark.parametrize(
    ("done", "now", "expected"),
    [
        (GOOD, NODE, "Tuned before the kubelet: site, 112 ms"),
        # Nothing here waits for it.
        (GOOD, replace(NODE, units={"ocp-tuned.service": Unit("active")}), "Tuned: site, 112 ms"),
        # A record of an earlier release.
        (GOOD, replace(NODE, applied=(replace(RUN, moments=None),)),
         "Tuned before the kubelet: site, 500 ms"),
        (GOOD, replace(NODE, applied=()), "Tuned: site, since 2026-11-27 10:00:00 UTC"),
        (GOOD, replace(NODE, applied=(replace(RUN, profile="old"), RUN)),
         "Tuned: site, since 2026-11-27 10:00:00 UTC"),
        # A reload does not make it a node that was tuned in time.
        (GOOD, replace(NODE, applied=(replace(RUN, late=("crio.service",)), RUN)),
         "Tuned: site, since 2026-11-27 10:00:00 UTC"),
        (replace(GOOD, result=Result.DEGRADED), replace(NODE, applied=(RUN, RUN)),
         "Degraded: site, since 2026-11-27 10:00:00 UTC"),
        (GOOD, replace(NODE, drifted=(MINE, THEIRS)),
         "Tuned before the kubelet: site, 112 ms; 1 setting changed since"),
        (GOOD, replace(NODE, drifted=(THEIRS,)), "Tuned before the kubelet: site, 112 ms"),
        (replace(GOOD, deferred=WAITS), NODE,
         "Tuned before the kubelet: site, 112 ms; a change waits"),
        (replace(GOOD, deferred=replace(WAITS, waits="image")), NODE,
         "Tuned before the kubelet: site, 112 ms; a change waits"),
        # The last run could not get it: its finding says so.
        (replace(GOOD, result=Result.DEGRADED, deferred=replace(WAITS, waits="image"),
                 findings=(make("image-stand-in", "localhost/a", "no route"),)), NODE,
         "Degraded: tuned before the kubelet: site, 112 ms"),
        (GOOD, replace(NODE, units={"ocp-tuned.service": Unit("inactive", text="Stopped. x")}),
         "Tuned (stopped): site, since 2026-11-27 10:00:00 UTC"),
        (replace(GOOD, late=("crio.service",)),
         replace(NODE, units={"ocp-tuned.service": Unit("inactive", text="Stopped. x")}),
         "Tuned late (stopped): site; crio.service was already running"),
        # A run by hand.
        (GOOD, replace(NODE, units={"ocp-tuned.service": Unit("inactive")}),
         "Tuned: site, 112 ms"),
        (replace(GOOD, late=("crio.service",)), NODE,
         "Tuned late: site; crio.service was already running"),
        (replace(GOOD, result=Result.DEGRADED), NODE,
         "Degraded: tuned before the kubelet: site, 112 ms"),
        (Record(Result.FAILED, AT), Now(UNITS),
         "Not tuned: kubelet.service runs without the profile"),
        (Record(Result.FAILED, AT), Now({**UNITS, "crio.service": Unit("active")}),
         "Not tuned: kubelet.service, crio.service run without the profile"),
        (Record(Result.FAILED, AT), Now({}), "Not tuned: the profile could not be applied"),
        (Record(Result.APPLYING, AT, profile="site"), Now({}),
         "Not tuned: a run was interrupted while TuneD was applying site"),
        (Record(Result.DEFERRED, AT, profile="site", reason="crio.service runs"), Now({}),
         "Not tuned: site waits for the next boot or a reload: crio.service runs"),
        (None, Now({}), "Not tuned: no profile has been applied in this boot"),
        (None, Now({}, before=True),
         "Not tuned: no profile has been applied since the soft-reboot"),
        (None, replace(node("activating", text="Pulling"), left=17.4), "Tuning, 17 s left"),
        (None, node("activating", text="Held (gate = closed): x"),
         "Not tuned: the boot is held until the profile is applied"),
    ],
)  # fmt: skip
def test_the_first_line_is_the_verdict(done: Record | None, now: Now, expected: str) -> None:
    assert first(done, now) == expected


def test_the_colour_of_the_verdict() -> None:
    assert status_text.verdict(GOOD, NODE)[1] is Style.GOOD
    assert status_text.verdict(replace(GOOD, result=Result.DEGRADED), NODE)[1] is Style.WARNING
    assert status_text.verdict(GOOD, replace(NODE, drifted=(MINE,)))[1] is Style.WARNING
    assert status_text.verdict(None, Now({}))[1] is Style.BAD


# What to type where nothing is applied.


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (node("inactive", file="disabled"), "systemctl enable --now ocp-tuned"),
        (node("inactive", file="masked"), "systemctl unmask ocp-tuned"),
        (node("inactive", file="enabled", skipped=True), "Nothing is requested: there is neither"),
        (node("inactive", file="enabled"), "To apply the profile: systemctl start ocp-tuned"),
        (Now({}), "ocp-tuned.service is not installed, or systemd does not answer"),
        (node("failed", text="ocp-tuned-boot was ended (oom-kill)"), "was ended (oom-kill)"),
        (replace(node("inactive"), unread="boot.conf: line 3: found 'x'"), "boot.conf: line 3"),
    ],
)
def test_without_a_record_it_says_why_and_what_to_type(now: Now, expected: str) -> None:
    assert expected in "\n".join(lines(status_text.rows(None, now)))


def test_the_record_of_the_time_before_a_soft_reboot_does_not_count() -> None:
    shown = lines(status_text.rows(None, replace(node("inactive"), before=True)))
    assert any("soft-reboot" in line and "does not count" in line for line in shown)


START = "systemctl start ocp-tuned"
FULL = Finding("image", "", "no space left", "Free disk space.")
UNKNOWN = make("unknown-profile", "x", "no profile")


@pytest.mark.parametrize(
    ("done", "now"),
    [
        (Record(Result.FAILED, AT, findings=(FULL,)), node("failed")),
        # Some advice ends with it already.
        (Record(Result.FAILED, AT, findings=(UNKNOWN,)), node("failed")),
        # Of a run that could not write a record, the line of the unit has everything.
        (None, node("failed", text=f"Failed: no space left. Once this is fixed: {START}")),
        (None, node("failed")),
    ],
)
def test_a_failed_boot_says_once_what_to_type_and_after_the_cause(
    done: Record | None, now: Now
) -> None:
    shown = lines(status_text.rows(done, now))
    typed = [at for at, line in enumerate(shown) if line.endswith(f": {START}")]
    assert len(typed) == 1
    causes = [at for at, line in enumerate(shown) if "no space" in line or "no profile" in line]
    assert all(at <= typed[0] for at in causes)
    held = lines(status_text.rows(done, replace(now, gated=True)))
    assert any(line.endswith("systemctl stop ocp-tuned") for line in held)


def test_a_run_that_is_under_way_is_shown_with_its_step_and_the_time_left() -> None:
    now = replace(node("activating", text="Pulling x"), left=12.0)
    assert lines(status_text.rows(None, now))[:2] == [
        "Tuning, 12 s left", "  step         Pulling x",
    ]  # fmt: skip
    reload = replace(NODE, units={"ocp-tuned.service": Unit("reloading", text="TuneD")}, left=3.0)
    assert "  running      TuneD; 3 s left" in lines(status_text.rows(GOOD, reload))


def test_a_node_that_is_held_has_the_cause_once_and_the_command_that_is_of_use() -> None:
    now = node("activating", text="Held (gate = closed): no profile. Fix it")
    failed = Record(Result.FAILED, AT, findings=(make("unknown-profile", "x", "no profile"),))
    shown = "\n".join(lines(status_text.rows(failed, replace(now, gated=True))))
    assert shown.count("no profile") == 1
    assert "Boot continues automatically once this is fixed" in shown
    assert "systemctl stop ocp-tuned" in shown
    assert "systemctl start" not in shown
    # What has failed before anything was recorded is in the line of the unit alone.
    assert "no profile. Fix it" in "\n".join(lines(status_text.rows(None, now)))


# What is wrong, and what waits.


def test_each_finding_has_its_advice_and_an_accepted_one_comes_last_without() -> None:
    accepted = replace(make("no-such-setting", "vm.y", "none"), accepted=True)
    found = (accepted, make("setting-refused", "vm.x", "no"))
    shown = lines(status_text.findings(found))
    assert shown[0] == "  finding      setting-refused vm.x: no"
    assert "systemctl reload ocp-tuned" in shown[1]
    assert shown[2:] == ["  finding      (accepted) no-such-setting vm.y: none"]


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("vm.x: expected '1', found '2'", "value-differs: vm.x: expected '1', found '2'"),
        ("found '2'", "value-differs vm.x: found '2'"),
    ],
)
def test_a_finding_shows_its_subject_once(message: str, line: str) -> None:
    finding = Finding("value-differs", "vm.x", message)
    assert lines(status_text.findings([finding])) == [f"  finding      {line}"]


def test_what_others_own_and_what_waits() -> None:
    done = replace(
        GOOD, action="defer", late=("crio.service",),
        deferred=WAITS,
        handover=(HandedOver("net.x", "left-out", "1", "0", "1"),
                  HandedOver("net.y", "changed", "1", "", "2")),
        residue=(Residue("vm.x", "put-back", "1", "5", "1"),
                 Residue("cpu.governor", "theirs", "a", "b", "", "cpu0"),
                 Residue("script.script", "stays", "", "s.sh", "", "s.sh")),
    )  # fmt: skip
    now = replace(NODE, drifted=(MINE,), waits="it has changed")
    shown = lines(status_text.rows(done, now, verbose=True))
    for line in (
        ("  guarded      net.x: not set by TuneD in this run; "
         "before '1', TuneD's '0', now '1'"),
        ("  guarded      net.y: changed by another program during this run, and left as it is; "
         "before '1', now '2'"),
        "  left over    vm.x: restored; first '1', applied '5', now '1'",
        ("  left over    cpu.governor (cpu0): left as it is, because it is owned by others; "
         "first 'a', applied 'b'"),
        "  left over    script.script (s.sh): NOT restored; applied 's.sh'",
        "  pending      it has changed",
        "  drift        vm.x: applied '5', found '9', changed between 10:00 and 11:00",
    ):  # fmt: skip
        assert line in shown


def test_what_has_changed_since_comes_with_what_to_type() -> None:
    again = f"{' ' * 15}To apply the profile again: ocp-tuned-boot reload --force"
    shown = lines(status_text.rows(GOOD, replace(NODE, drifted=(MINE, THEIRS))))
    assert shown[shown.index(again) - 1].startswith("  drift        vm.y: ")
    assert again not in lines(status_text.rows(GOOD, replace(NODE, drifted=(THEIRS,))))


def test_what_waits_is_said_once() -> None:
    done = replace(GOOD, deferred=WAITS)
    recorded = ("  deferred     profile: new, localhost/a, since 2026-11-27 10:00:00 UTC. "
                "It is applied at the next boot, or with: systemctl reload ocp-tuned")  # fmt: skip
    assert recorded in lines(status_text.rows(done, NODE))
    shown = lines(status_text.rows(done, replace(NODE, waits="it has changed")))
    assert "  pending      it has changed" in shown
    assert recorded not in shown


def test_what_a_finding_says_is_not_repeated_in_another_row() -> None:
    lost = State(Hold("rtentsk", "", "socket:[17]"), Standing.LOST, "systemd holds nothing")
    found = (make("lost-after-exit", "rtentsk", lost.words), FULL)
    now = replace(NODE, holds=(lost,), pull=FULL.message)
    shown = lines(status_text.rows(replace(GOOD, findings=found), now))
    assert not any(line.startswith(("  held", "  pull")) for line in shown)
    shown = lines(status_text.rows(GOOD, now))
    assert sum(line.startswith(("  held", "  pull")) for line in shown) == 2


@pytest.mark.parametrize(("late", "when"), [((), "before the kubelet"), (("crio",), "late")])
def test_after_a_reload_it_says_what_the_kubelet_was_started_with(late: Any, when: str) -> None:
    now = replace(NODE, applied=(replace(RUN, profile="old", late=late), RUN))
    since = "  applied      2026-11-27 10:00:00 UTC"
    assert f"{since}; first in this boot: old, {when}" in lines(status_text.rows(GOOD, now))
    assert since in lines(status_text.rows(GOOD, NODE))


def test_each_hold_and_what_is_held_beyond_them() -> None:
    kept = State(Hold("force_latency", "cstate.id:1|10", "2", "12:00"))
    lost = State(Hold("rtentsk", "", "socket:[17]"), Standing.LOST, "systemd holds nothing")
    stored = Stored(3, ("a", "b", "c"))
    shown = lines(status_text.rows(GOOD, replace(NODE, holds=(kept, lost), stored=stored,
                                                 latency=1)))  # fmt: skip
    for line in (
        ("  held         force_latency = 2 µs (cstate.id:1|10) is in effect, "
         "held by systemd since 12:00"),
        "  held         rtentsk (socket:[17]) is NOT in effect: systemd holds nothing",
        "  latency      1 µs is in effect now, the minimum of all requests",
        (f"  held         systemd stores {stored}, 1 more than requested; "
         "see FILE DESCRIPTORS in ocp-tuned.service(8)"),
    ):  # fmt: skip
        assert line in shown


def test_without_a_request_for_the_latency_the_kernels_number_is_not_shown() -> None:
    lost = State(Hold("force_latency", "", "2"), Standing.LOST, "because")
    now = Now({}, holds=(lost,), latency=2_000_000_000)
    assert "  latency      no request is in effect" in lines(status_text.rows(None, now))


def test_a_pull_that_failed_is_shown() -> None:
    now = replace(NODE, pull="cannot pull x: refused")
    assert "  pull         failed: cannot pull x: refused" in lines(status_text.rows(GOOD, now))
    assert not any(line.startswith("  pull") for line in lines(status_text.rows(GOOD, NODE)))


# What was applied.


def test_the_profile_with_what_it_includes_and_the_files_that_decide() -> None:
    named = Named("localhost/a", "image.env", "site", "boot.conf", ("image = b has no effect",))
    done = replace(GOOD, in_force=replace(APPLIED, profiles=("base", "site")), image_source="store")
    shown = lines(status_text.rows(done, replace(NODE, named=named)))
    assert "  profile      site, named in boot.conf; it includes base" in shown
    assert "  image        localhost/a, ID id, from: store, named in image.env" in shown
    assert "  requested    image = b has no effect" in shown
    other = replace(named, image="localhost/b", profile="new")
    shown = lines(status_text.rows(done, replace(NODE, named=other)))
    assert "  profile      site; it includes base" in shown
    assert "  requested    profile new, named in boot.conf" in shown
    assert "  requested    image localhost/b, named in image.env" in shown


def test_what_is_not_verified_is_shown_by_name_and_what_the_machine_lacks_is_counted() -> None:
    values = (Value("vm.x", "verified", "1"), Value("vm.y", "unchecked", "1", why="no such file"),
              Value("cpu.z", "not-applicable", "1", why="no cpufreq"))  # fmt: skip
    done = replace(GOOD, values=values)
    shown = lines(status_text.rows(done, NODE))
    assert "  values       1 not-applicable, 1 unchecked, 1 verified when applied" in shown
    assert "  setting      vm.y: unchecked: no such file" in shown
    assert not any("cpu.z" in line for line in shown)
    assert any("cpu.z" in line for line in lines(status_text.rows(done, NODE, verbose=True)))
    late = replace(GOOD, in_force=replace(APPLIED, compared=False))
    assert any("not compared with the host yet" in it for it in lines(status_text.rows(late, NODE)))


def test_the_conditions_the_gate_and_the_boot() -> None:
    shown = lines(status_text.rows(GOOD, replace(NODE, gate="closed"), verbose=True))
    for line in ("  gate         closed", "  boot ID      boot",
                 "  conditions   Applied=True AsExpected, Degraded=False AsExpected",
                 "  decision     apply: because"):  # fmt: skip
        assert line in shown


STEPS = (Step("inputs", 0.01), *(Step("pull", 2.0),) * 22)
ATTEMPTS = tuple(Attempt(4.0 * at, "image", "refused") for at in range(1, 23))


def test_steps_and_attempts_are_folded_and_whole_with_verbose() -> None:
    done = Record(Result.FAILED, AT, "boot", steps=STEPS, attempts=ATTEMPTS, seconds=90.0)
    shown = lines(status_text.rows(done, NODE))
    assert "  attempts     22 failed in 88 s, the last: image: refused" in shown
    assert len(shown) < 12
    whole = lines(status_text.rows(done, NODE, verbose=True))
    assert "  steps        inputs 10 ms, pull 44.0 s (22 times)" in whole
    assert sum(line.startswith("  step  ") for line in whole) == 23
    assert whole.count("  attempt      failed after 4.0 s, image: refused") == 1
    cut = replace(done, left_out={"attempts": 10})
    assert any("32 failed" in line for line in lines(status_text.rows(cut, NODE)))


def test_long_lists_are_cut_and_say_how_to_see_all() -> None:
    found = tuple(make("no-such-setting", f"vm.x{at}", "none") for at in range(9))
    done = replace(GOOD, result=Result.DEGRADED, findings=found)
    shown = lines(status_text.rows(done, NODE))
    assert sum(line.startswith("  finding") for line in shown) == 2
    assert any("7 more findings: ocp-tuned-boot status --verbose" in line for line in shown)
    whole = lines(status_text.rows(done, NODE, verbose=True))
    assert sum(line.startswith("  finding") for line in whole) == 9


@pytest.mark.parametrize("columns", [80, 40])
def test_it_fits_on_a_serial_console(columns: int) -> None:
    found = tuple(make("overridden", f"vm.x{at}", "word " * 30, "/etc/sysctl.d/9") for at in (1, 2))
    done = replace(GOOD, result=Result.DEGRADED, findings=found, steps=STEPS, attempts=ATTEMPTS)
    text = Terminal(columns, unicode=False).text(status_text.rows(done, NODE))
    assert text.isascii()
    # A command is never broken.
    long = [line for line in text.splitlines() if len(line) > columns]
    assert all("ocp-tuned" in line or "/" in line for line in long)


QUOTED = f'TuneD logged: "{"words " * 40}[Errno 2]"'
WORST = replace(
    GOOD, result=Result.DEGRADED, action="change-failed", seconds=80.0,
    image="registry.example:5000/openshift/cluster-node-tuning/tuned@sha256:" + "a" * 64,
    findings=(
        make("change-failed", "missing-include", 'No profile "openshift-node-performance-site" in '
             "/var/lib/ocp-tuned/profiles or in the image registry.example:5000/openshift/tuned:new"
             "; the requested change was not applied"),
        *(make("no-such-setting", f"net.netfilter.nf_conntrack_{at}", QUOTED) for at in range(3)),
        replace(make("setting-refused", "vm.y", QUOTED), accepted=True),
    ),
    steps=STEPS, attempts=ATTEMPTS,
    values=tuple(Value(f"vm.x{at}", state, "1", "2", "because " * 9)
                 for at in range(9) for state in ("different", "unchecked", "verified")),
    handover=tuple(HandedOver(f"net.ipv4.conf.{at}.forwarding", "left-out", "1", "0", "1")
                   for at in range(9)),
    residue=tuple(Residue(f"vm.x{at}", "put-back", "1", "5", "1") for at in range(9)),
    deferred=WAITS, late=("crio.service",),
)  # fmt: skip
LOST = State(Hold("rtentsk", "", "socket:[17]"), Standing.LOST, "systemd holds nothing")
IN_TROUBLE = replace(
    NODE, drifted=tuple(replace(MINE, key=f"net.ipv4.tcp_{at}") for at in range(9)), holds=(LOST,),
    pull=f"cannot pull registry.example:5000/openshift/tuned:new: {'reason ' * 90}",
    waits="the requested profile has changed since 'site' was applied at 10:00", gate="closed",
    hidden="Only root sees x: sudo ocp-tuned-boot status", foreign=("last-good.json",),
    stored=Stored(3, ("a", "b", "c")), latency=1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("done", "now", "words"),
    [
        (WORST, IN_TROUBLE, ("change-failed missing-include", "no-such-setting net.netfilter",
                             "3 more findings: ocp-tuned-boot status --verbose",
                             "systemctl reload ocp-tuned", "more lines: ocp-tuned-boot status")),
        (replace(WORST, findings=WORST.findings[:1], values=()), IN_TROUBLE,
         ("change-failed", "pending", "is NOT in effect", "drift", "ocp-tuned-boot reload --force",
          "7 more settings: ocp-tuned-boot status --verbose")),
        (replace(WORST, result=Result.FAILED, in_force=None), replace(
            IN_TROUBLE, units={"ocp-tuned.service": Unit("failed", text="Failed " * 400)}),
         ("change-failed", "Once this is fixed: systemctl start ocp-tuned")),
        (None, replace(IN_TROUBLE, units={
            "ocp-tuned.service": Unit("activating", text=f"Held (gate = closed): {'x ' * 9000}")}),
         ("the boot is held", "systemctl stop ocp-tuned")),
        (None, replace(IN_TROUBLE, units={
            "ocp-tuned.service": Unit("failed", text="Failed: " + "x " * 9000)}),
         ("Not tuned", "Once this is fixed: systemctl start ocp-tuned")),
    ],
)  # fmt: skip
def test_the_worst_that_is_likely_is_one_screen(
    done: Record | None, now: Now, words: tuple[str, ...]
) -> None:
    terminal = Terminal(80, unicode=False)
    text = terminal.text(terminal.screen(status_text.rows(done, now), status_text.VERBOSE))
    assert len(text.splitlines()) <= 24, text
    assert [it for it in words if it not in text] == [], text


def test_a_node_with_nothing_wrong_shows_what_is_applied_and_no_more() -> None:
    done = replace(GOOD, values=(Value("vm.x", "verified", "1"),), steps=STEPS)
    labels = [row.label for row in status_text.rows(done, NODE)]
    assert labels == ["", "profile", "image", "applied", "values"]
    failed = replace(NODE, units={**UNITS, "ocp-tuned-image.service": Unit("failed")})
    assert [row.label for row in status_text.rows(done, failed)][-1] == "units"
    off = replace(NODE, units={**UNITS, "tuned.service": Unit("inactive")})
    assert [row.label for row in status_text.rows(done, off)] == labels


def test_tuneds_own_words_come_after_what_they_mean() -> None:
    (row,) = status_text.findings([make("no-such-setting", "vm.y", QUOTED)], verbose=False)
    first, last = row.text.split("\n")
    assert first.startswith("no-such-setting vm.y: This kernel has no such setting. ")
    assert first.endswith("systemctl reload ocp-tuned")
    assert last.startswith('TuneD logged: "words words ')
    assert " ... " in last
    assert last.endswith('words [Errno 2]"')


def test_a_profile_that_was_applied_late_says_what_to_type() -> None:
    shown = lines(status_text.rows(replace(GOOD, late=("crio.service",)), NODE))
    assert shown[1].startswith("  late         What CRI-O, ")
    assert shown[1].endswith("To apply the whole profile, before the kubelet: systemctl reboot")


def test_that_boot_conf_is_broken_is_said_once() -> None:
    broken = "boot.conf: line 3: found the key 'gaet'"
    done = replace(GOOD, findings=(make("change-failed", "configuration", f"{broken}; nothing"),))
    now = replace(NODE, waits=f"cannot check for changes: {broken}")
    assert "\n".join(lines(status_text.rows(done, now))).count(broken) == 1
    assert f"  pending      {now.waits}" in lines(status_text.rows(GOOD, now))


def test_a_user_is_told_what_only_root_sees() -> None:
    assert any(
        "sudo" in line for line in lines(status_text.rows(GOOD, replace(NODE, hidden="sudo x")))
    )


def test_what_came_from_another_machine_is_said_in_one_sentence() -> None:
    names = ("last-good.json", "history/000001-aa.json", "history/000002-bb.json")
    (said,) = [
        row.text for row in status_text.rows(GOOD, replace(NODE, foreign=names))
        if row.label == "left out"
    ]  # fmt: skip
    assert said == (
        "/var/lib/ocp-tuned-boot was written on another machine, such as the seed of an upgrade. "
        "What that has recorded was not used, and was removed: last-good.json, the history of 2 "
        "boots"
    )
    assert not [row for row in status_text.rows(GOOD, NODE) if "another machine" in row.text]


def test_a_file_system_that_is_full_is_named_with_what_the_unit_says() -> None:
    """The run could not record why it has failed."""
    failed = "Degraded: site: the requested change was not applied: no space"
    units = {**UNITS, "ocp-tuned.service": Unit("active", text=failed)}
    full = Space(Path("/run/ocp-tuned-boot"), 0, 16 << 20, "a run", "It is not recorded")
    shown = lines(status_text.rows(GOOD, replace(NODE, units=units, low=(full,))))
    assert shown[0].startswith("Tuned before the kubelet: site, 112 ms; /")
    assert shown[0].endswith(" is full")
    words = "/run/ocp-tuned-boot has 0 MiB left; a run may need 16 MiB. It is not recorded"
    assert f"  space        {words}" in shown
    assert f"  unit         {failed}" in shown
    assert any("it is in memory" in line for line in shown)
    # It says nothing new without a record, and where only /var is full.
    for done, low in ((None, full), (GOOD, replace(full, what="the record"))):
        shown = lines(status_text.rows(done, replace(NODE, units=units, low=(low,))))
        assert f"  unit         {failed}" not in shown
    # Not yet.
    shown = lines(
        status_text.rows(GOOD, replace(NODE, units=units, low=(replace(full, free=2 << 20),)))
    )
    assert shown[0] == "Tuned before the kubelet: site, 112 ms"
    assert [line for line in shown if line.startswith("  space        /run")]
    assert f"  unit         {failed}" not in shown


def test_of_a_change_that_has_failed_it_is_not_said_that_it_waits() -> None:
    failed = make("change-failed", "unknown-profile", "no such")
    done = replace(GOOD, result=Result.DEGRADED, findings=(failed,), deferred=WAITS)
    text = "\n".join(lines(status_text.rows(done, NODE)))
    assert text.startswith("Degraded: tuned before the kubelet: site, 112 ms; a change has failed")
    assert "waits" not in text
    assert "next boot" not in text


def test_the_line_of_a_unit_that_could_not_record_anything_is_shown_once() -> None:
    full = Space(Path("/run/ocp-tuned-boot"), 0, 16 << 20, "a run", "It is not recorded")
    failed = node("failed", text="Failed: cannot write /run/x")
    shown = "\n".join(lines(status_text.rows(None, replace(failed, low=(full,)))))
    assert shown.count("cannot write /run/x") == 1
