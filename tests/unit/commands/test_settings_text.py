"""What differs, what is in effect, and what to type."""

from __future__ import annotations

from ocp_tuned_boot.commands import settings_text
from ocp_tuned_boot.commands.verify import Checked
from ocp_tuned_boot.record.model import Value
from ocp_tuned_boot.settings.drift import Drift, Drifted
from tests.unit.commands.shown import lines

MINE = Drifted("vm.x", "/proc/sys/vm/x", "5", "9", "10:00", "11:00")
THEIRS = Drifted("vm.y", "/proc/sys/vm/y", "5", "9", "10:00", "11:00", owned=True)
FILE = Drifted("/sys/x", "/sys/x", "5", "9", "10:00", "11:00")
AGAIN = "To apply the profile again: ocp-tuned-boot reload --force"
VERIFY = "To check the settings of all plugins: ocp-tuned-boot verify"


def test_without_anything_to_compare() -> None:
    (line,) = lines(settings_text.drift(Drift(0, ())))
    assert line == "Nothing to compare: no profile has been applied in this boot."
    assert lines(settings_text.drift(Drift(0, (), "site"))) == [
        "Nothing to compare: site has no values of [sysctl], [sysfs] or [vm].", VERIFY,
    ]  # fmt: skip
    assert lines(settings_text.drift(Drift(3, (), "site"))) == [
        "0 of 3 settings differ from the applied values", VERIFY,
    ]  # fmt: skip


def test_a_run_that_was_killed_has_left_settings_and_no_record_of_a_profile() -> None:
    killed = lines(settings_text.drift(Drift(3, ())))
    assert killed[1] == "No profile is recorded as applied. To see why: ocp-tuned-boot status"


def test_drift_says_what_to_type() -> None:
    shown = lines(settings_text.drift(Drift(3, (MINE, THEIRS), "site")))
    assert shown == [
        "2 of 3 settings differ from the applied values; owned by others: 1",
        "  drift        vm.x: applied '5', found '9', changed between 10:00 and 11:00",
        (
            "  owned        vm.y: applied '5', found '9', changed between 10:00 and 11:00 "
            "(owned by others)"
        ),
        AGAIN,
        (
            "To leave a setting to the program that changes it: add vm.x to sysctls= in the "
            "section [handover] of /etc/ocp-tuned-boot/boot.conf, see boot.conf(5)."
        ),
        VERIFY,
    ]
    assert any(
        "add /sys/x to files=" in it for it in lines(settings_text.drift(Drift(1, (FILE,), "s")))
    )


def test_what_only_others_own_needs_nothing() -> None:
    assert AGAIN not in lines(settings_text.drift(Drift(3, (THEIRS,), "site")))


def test_a_setting_that_is_verified_is_only_counted() -> None:
    checked = Checked("site", values=(Value("vm.x", "verified", "1", "1"),))
    assert lines(settings_text.verify(checked)) == ["1 of 1 settings of site are verified"]
    (line,) = lines(settings_text.verify(Checked()))
    assert line.startswith("Nothing to compare: ")


def test_what_is_not_verified_is_shown_by_name_what_matters_most_first() -> None:
    values = (
        Value("cpu.governor", "not-applicable", "x", why="no cpufreq", section="cpu"),
        Value("script.script", "unchecked", "x", why="it would run again", section="script"),
        Value("vm.y", "handed-over", "1", "7", section="sysctl"),
        Value("vm.x", "different", "1", "7", section="sysctl"),
    )
    assert lines(settings_text.verify(Checked("site", values=values))) == [
        (
            "0 of 4 settings of site are verified; 1 different; 1 owned by others; 1 unchecked; "
            "1 not applicable"
        ),
        "  setting      [sysctl] vm.x: requested '1', found '7'",
        "  setting      [sysctl] vm.y: requested '1', found '7' (owned by others)",
        "  setting      [script] script.script: unchecked: it would run again",
        "  setting      [cpu] cpu.governor: not applicable: no cpufreq",
        AGAIN,
    ]
