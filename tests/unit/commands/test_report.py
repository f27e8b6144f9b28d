"""Plans and records as text for people."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ocp_tuned_boot.commands import report
from ocp_tuned_boot.commands.status import Now
from ocp_tuned_boot.host.clock import Step
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Stored
from ocp_tuned_boot.preview import Preview
from ocp_tuned_boot.record.history import Boot, Run
from ocp_tuned_boot.record.model import (
    Action,
    Attempt,
    Decision,
    Deferred,
    HandedOver,
    Hold,
    InForce,
    Record,
    Residue,
    Standing,
    State,
    Value,
)
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.settings.drift import Drift, Drifted
from ocp_tuned_boot.tuned import container
from ocp_tuned_boot.tuned.findings import Finding, make
from ocp_tuned_boot.tuned.judge import Result
from ocp_tuned_boot.tuned.layout import Layout
from ocp_tuned_boot.tuned.profilefile import ProfileFile

ASKED = Inputs("localhost/a", "site", "tuned", "boot", files=(ProfileFile("site/f", b""),))


def preview(root: Path) -> Preview:
    (root / "etc/sysctl.d").mkdir(parents=True)
    spec = container.specify(Paths(root), "tuned", "id", Layout())
    return Preview(Decision(Action.APPLY, "because"), ASKED, "in Podman's store", spec)


def test_a_plan_shows_the_decision_and_the_whole_container(tmp_path: Path) -> None:
    shown = preview(tmp_path)
    text = report.plan_text(shown)
    assert text.startswith("apply: because\n")
    for words in (
        "site (custom profile files: 1)", "localhost/a (in Podman's store)", ASKED.fingerprint,
        "openshift-tuned: /usr/sbin/tuned --no-dbus", "privileged",
        f"{tmp_path}/etc/sysctl.d at /etc/sysctl.d (read-only)\n",
        f"{tmp_path}/var/lib/tuned at /var/lib/tuned",
    ):  # fmt: skip
        assert words in text
    content = json.loads(report.plan_json(shown))
    assert content["decision"] == {
        "action": "apply", "reason": "because", "guarded": False, "waits": "", "changed": False,
    }  # fmt: skip
    assert content["files"] == ["site/f"]
    assert len(content["container"]["mounts"]) == text.count("\n  mount ")


def test_a_plan_shows_what_is_used_instead_of_the_requested_image_and_profile() -> None:
    doubt = make("torn-image-env", "image.env", "image.env: it is empty")
    instead = make("profile-fallback", "site", "site is used instead")
    requested = replace(ASKED, doubts=(doubt,), fallback=(instead,))
    shown = Preview(Decision(Action.APPLY, "because"), requested, "in Podman's store", None)
    text = report.plan_text(shown)
    assert "\n  finding      torn-image-env: image.env: it is empty\n" in text
    assert f"\n  finding      profile-fallback: site is used instead\n{' ' * 15}The last" in text
    found = json.loads(report.plan_json(shown))["findings"]
    assert [each["kind"] for each in found] == ["torn-image-env", "profile-fallback"]


def test_a_plan_to_keep_has_no_container() -> None:
    shown = Preview(Decision(Action.KEEP, "because"), ASKED, "not checked", None)
    assert "container" not in report.plan_text(shown)
    assert json.loads(report.plan_json(shown))["container"] is None


def test_a_status_shows_what_was_recorded_and_the_units() -> None:
    done = Record(
        Result.DEGRADED, "12:00", "boot", "apply", "because", "site", "localhost/a", "id",
        findings=(Finding("setting-refused", "vm.x", "no", "do this"),
                  Finding("no-such-setting", "vm.y", "none", "do that", accepted=True)),
        steps=(Step("tuned", 0.25),),
        attempts=(Attempt(0.5, "podman", "no socket"),),
        values=(Value("vm.x", "verified", "1"), Value("vm.y", "unchecked", "1", why="no such file"),
                Value("vm.z", "verified", "1")),
    )  # fmt: skip
    text = report.status_text(done, Now({"kubelet.service": "active"}))
    assert text.splitlines()[0] == done.summary()
    for words in (
        "12:00", "apply: because", "localhost/a", "tuned: 0.250 s", "kubelet.service: active",
        "failed after 0.5 s, podman: no socket", "values       1 unchecked, 2 verified",
        "  setting      vm.y: unchecked: no such file\n",
        "  finding      setting-refused vm.x: no\n", "do this",
        "  finding      (accepted) no-such-setting vm.y: none",
    ):  # fmt: skip
        assert words in text
    # Accepted is accepted: no advice.
    assert "do that" not in text


def test_a_status_leaves_out_what_a_run_did_not_reach() -> None:
    text = report.status_text(Record(Result.FAILED, "12:00"), Now())
    assert text.splitlines() == ["Failed", "  started      12:00"]
    shown = report.status_text(Record(Result.APPLIED, "12:00", values=()), Now())
    assert shown.splitlines()[2:] == ["  values       none"]


def test_a_status_without_a_record() -> None:
    text = report.status_text(None, Now({"ocp-tuned.service": "inactive"}))
    assert text.startswith("No profile has been applied in this boot.")
    assert "ocp-tuned.service: inactive" in text


MINE = Drifted("vm.x", "/proc/sys/vm/x", "5", "9", "10:00", "11:00")
THEIRS = Drifted("vm.y", "/proc/sys/vm/y", "5", "9", "10:00", "11:00", owned=True)


def test_a_status_shows_what_others_own_and_what_waits() -> None:
    in_force = InForce("boot", Result.APPLIED, "old", "localhost/a", "id", "f", "11:00")
    done = Record(
        Result.APPLIED, "12:00", "boot", "defer", "because", "site", in_force=in_force,
        late=("crio.service",), deferred=Deferred("profile", "f", "site", "localhost/a", "12:00"),
        handover=(HandedOver("net.x", "left-out", "1", "0", "1"),
                  HandedOver("net.y", "changed", "1", "", "2")),
        residue=(Residue("vm.x", "put-back", "1", "5", "1"),
                 Residue("cpu.governor", "theirs", "a", "b", "", "cpu0"),
                 Residue("script.script", "stays", "", "s.sh", "", "s.sh")),
    )  # fmt: skip
    lines = report.status_text(done, Now({}, (MINE, THEIRS), "it has changed")).splitlines()
    for line in (
        "  late         crio.service was already running",
        "  applied      old, since 11:00",
        "  deferred     profile: site, localhost/a, since 12:00",
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
        assert line in lines
    assert any("vm.y" in line and "(owned by others)" in line for line in lines)


def test_a_status_shows_each_hold_and_what_is_held_beyond_them() -> None:
    kept = State(Hold("force_latency", "cstate.id:1|10", "2", "12:00"))
    lost = State(Hold("rtentsk", "", "socket:[17]"), Standing.LOST, "systemd holds nothing")
    stored = Stored(3, ("a", "b", "c"))
    now = Now(holds=(kept, lost), stored=stored, latency=1, gated=True)
    lines = report.status_text(Record(Result.APPLIED, "12:00"), now).splitlines()
    assert lines[-6:] == [
        "  gate         closed: the kubelet waits until the profile is applied",
        "               To start the kubelet without it: systemctl stop ocp-tuned",
        ("  held         force_latency = 2 µs (cstate.id:1|10) is in effect, "
         "held by systemd since 12:00"),
        "  held         rtentsk (socket:[17]) is NOT in effect: systemd holds nothing",
        "  latency      1 µs is in effect now, the minimum of all requests",
        (f"  held         systemd stores {stored}, 1 more than requested; "
         "see FILE DESCRIPTORS in ocp-tuned-boot(8)"),
    ]  # fmt: skip


def test_a_status_without_a_request_for_the_latency_does_not_show_the_kernels_number() -> None:
    lost = State(Hold("force_latency", "", "2"), Standing.LOST, "because")
    text = report.status_text(None, Now(holds=(lost,), latency=2_000_000_000))
    assert "  latency      no request is in effect" in text.splitlines()


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("vm.x: expected '1', found '2'", "value-differs: vm.x: expected '1', found '2'"),
        ("found '2'", "value-differs vm.x: found '2'"),
    ],
)
def test_a_finding_shows_its_subject_once(message: str, line: str) -> None:
    finding = Finding("value-differs", "vm.x", message)
    text = report.status_text(Record(Result.DEGRADED, "12:00", findings=(finding,)), Now())
    assert f"  finding      {line}" in text.splitlines()


def test_drift_as_text() -> None:
    assert report.drift_text(Drift(0, ())).startswith("Nothing to compare: no profile has been ")
    lines = report.drift_text(Drift(0, (), "site")).splitlines()
    assert lines[0] == "Nothing to compare: site has no values of [sysctl], [sysfs] or [vm]."
    assert "ocp-tuned-boot verify" in lines[1]
    assert report.drift_text(Drift(3, (), "site")).splitlines() == [
        "0 of 3 settings differ from the applied values",
        "To check the settings of all plugins: ocp-tuned-boot verify",
    ]
    # A run that was killed or has failed has left settings, and no record of a profile.
    killed = report.drift_text(Drift(3, ())).splitlines()
    assert killed[1] == "No profile is recorded as applied. To see why: ocp-tuned-boot status"
    lines = report.drift_text(Drift(3, (MINE, THEIRS))).splitlines()
    assert lines[0] == "2 of 3 settings differ from the applied values; owned by others: 1"
    assert len(lines) == 4


def test_history_as_text() -> None:
    assert report.history_text(()) == "No run has been recorded."
    run = Run("12:00", "apply", "because", "applied", "site", "i", "id", "f", 0.5, "Applied: site")
    undecided = replace(run, action="", summary="Failed")
    text = report.history_text((Boot("b0", (run, undecided)), Boot("b1", ())))
    assert text.splitlines() == [
        "boot b0",
        "  12:00  apply         Applied: site",
        "  12:00  -             Failed",
        "boot b1",
    ]


def test_a_failed_boot_says_that_the_kubelet_runs_without_the_profile_and_the_remedy() -> None:
    failed = Record(Result.FAILED, "11:00")
    words = (
        "open: The kubelet runs without the profile. Once this is fixed: systemctl start ocp-tuned"
    )
    states = {"ocp-tuned.service": "failed"}
    assert words in report.status_text(failed, Now(states))
    assert words in report.status_text(None, Now(states))
    assert words not in report.status_text(failed, Now(states, gated=True))
    assert words not in report.status_text(failed, Now({"ocp-tuned.service": "active"}))


def test_a_pull_that_failed_is_shown() -> None:
    assert "pull" not in report.status_text(None, Now())
    now = Now({"ocp-tuned-image.service": "activating"}, pull="cannot pull x: refused")
    assert "\n  pull         failed: cannot pull x: refused\n" in report.status_text(None, now)
    assert json.loads(report.status_json(None, now))["pull"] == "cannot pull x: refused"
