"""Judging what TuneD left behind: logs of the real TuneD, and variations of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot.host import kernelargs
from ocp_tuned_boot.record.amend import with_holds
from ocp_tuned_boot.record.model import Hold, Standing, State
from ocp_tuned_boot.tuned import findings
from ocp_tuned_boot.tuned import judge as outcome
from ocp_tuned_boot.tuned import log as tunedlog
from ocp_tuned_boot.tuned.findings import KINDS, Finding
from ocp_tuned_boot.tuned.judge import (
    Outcome,
    Result,
    TunedRun,
    judge,
    with_existing,
    with_requested_values,
)
from ocp_tuned_boot.tuned.log import LogRecord

LOGS = Path(__file__).with_name("tuned-logs")
PROFILE = "openshift-node-performance-test"
SCRIPT = f"/var/lib/ocp-tuned/profiles/{PROFILE}/hang.sh"
PARTITIONING = "/usr/lib/tuned/profiles/cpu-partitioning/script.sh"

#: log → the result, and each finding's kind and subject.
REAL = {
    "applied": (Result.APPLIED, []),
    "broken-profile": (
        Result.FAILED,
        [("broken-profile", f"/var/lib/ocp-tuned/profiles/{PROFILE}/tuned.conf")],
    ),
    "force-latency": (Result.DEGRADED, [("lost-after-exit", "force_latency")]),
    "hang-killed": (Result.FAILED, [("killed", "killed")]),
    "missing-include": (Result.FAILED, [("missing-include", "does-not-exist")]),
    "performance-profile": (
        Result.DEGRADED,
        [
            ("plugin-failed", "service"),
            ("lost-after-exit", "rtentsk"),
            ("lost-after-exit", "force_latency"),
            ("script-failed", PARTITIONING),
        ],
    ),
    "rtentsk": (Result.DEGRADED, [("lost-after-exit", "rtentsk")]),
    "script-path-refused": (Result.DEGRADED, [("script-refused", SCRIPT)]),
    "sysctl-override": (Result.DEGRADED, [("overridden", "vm.stat_interval")]),
    "unknown-plugin": (Result.DEGRADED, [("unknown-plugin", "sysctlx")]),
    "unknown-profile": (Result.FAILED, [("unknown-profile", "no-such-profile")]),
    "unknown-sysctl": (
        Result.DEGRADED,
        [("no-such-setting", "kernel.this_does_not_exist")],
    ),
    "wrong-profile": (Result.FAILED, [("wrong-profile", "virtual-guest")]),
}


def real(name: str) -> tuple[LogRecord, ...]:
    return tuple(tunedlog.parse((LOGS / f"{name}.log").read_text().splitlines()))


def run(log: tuple[LogRecord, ...], status: int | None = 0, active: str = PROFILE) -> TunedRun:
    return TunedRun(status, log, active, 60.0)


def said(judged: Outcome) -> list[tuple[str, str]]:
    return [(finding.kind, finding.subject) for finding in judged.findings]


APPLIED = real("applied")


def test_every_log_has_its_row() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == set(REAL)


@pytest.mark.parametrize("name", REAL)
def test_the_log_of_the_real_tuned(name: str) -> None:
    expected = "no-such-profile" if name == "unknown-profile" else PROFILE
    # The wrapper's status is 0 whatever happened.
    judged = judge(expected, run(real(name), active=expected))
    assert (judged.result, said(judged)) == REAL[name]
    assert all(finding.message and finding.advice for finding in judged.findings)


@pytest.mark.parametrize(
    ("change", "result", "kinds"),
    [
        (replace(run(APPLIED), exit_status=1), Result.FAILED, ["exit-status"]),
        (replace(run(APPLIED), exit_status=128), Result.FAILED, ["exit-status"]),
        (replace(run(APPLIED), exit_status=137), Result.FAILED, ["killed"]),
        (replace(run(APPLIED), exit_status=254), Result.FAILED, ["killed"]),
        (replace(run(APPLIED), exit_status=None), Result.FAILED, ["timeout"]),
        (run((), 0), Result.FAILED, ["incomplete-log", "not-applied"]),
        (run((), 1), Result.FAILED, ["exit-status", "not-applied"]),
        (run((), None), Result.FAILED, ["timeout"]),
        (run(APPLIED, active=""), Result.FAILED, ["wrong-profile"]),
        (run(APPLIED, active="other"), Result.FAILED, ["wrong-profile"]),
        (run(APPLIED[:-1]), Result.DEGRADED, ["incomplete-log"]),
        (run(APPLIED[:-2]), Result.FAILED, ["incomplete-log", "not-applied"]),
    ],
)
def test_no_single_sign_is_trusted(change: TunedRun, result: Result, kinds: list[str]) -> None:
    judged = judge(PROFILE, change)
    assert judged.result is result
    assert sorted(kind for kind, _ in said(judged)) == kinds


@pytest.mark.parametrize(
    ("status", "kind", "subject"),
    [
        (1, "exit-status", "1"),
        (129, "killed", "SIGHUP"),
        (137, "killed", "SIGKILL"),
        (254, "killed", "signal 126"),
    ],
)
def test_how_tuned_exited_is_reported(status: int, kind: str, subject: str) -> None:
    assert said(judge(PROFILE, run(APPLIED, status))) == [(kind, subject)]


def test_a_hang_is_reported_with_its_time_and_tuneds_last_step() -> None:
    (finding,) = judge(PROFILE, run(real("script-path-refused")[:-3], None)).findings[:1]
    assert finding.kind == "timeout"
    assert finding.subject == "plugin_sysctl"
    assert "did not finish within 60 s" in finding.message
    assert finding.message.endswith('its last message is "reapplying system sysctl"')
    assert "increase [tuning] tuned_timeout in" in finding.advice
    whole = replace(run((), None), limit="timeout")
    assert "increase [tuning] timeout in" in judge(PROFILE, whole).findings[0].advice
    (silent,) = judge(PROFILE, run((), None)).findings
    assert silent.message.endswith("it logged nothing")


def record(level: str, logger: str, message: str, *more: str) -> LogRecord:
    return LogRecord(level, logger, message, more)


TRACEBACK = ("Traceback (most recent call last):", '  File "x.py", line 1', "ValueError: no")


@pytest.mark.parametrize(
    ("added", "kind", "subject"),
    [
        (record("ERROR", "tuned.new.thing", "never seen"), "error", "tuned.new.thing"),
        (record("CRITICAL", "tuned.new", "never seen"), "error", "tuned.new"),
        (record("ERROR", "tuned.units.manager", "never seen"), "error", "tuned.units.manager"),
        # The words of a rule, but not from the part of TuneD that the rule is about.
        (record("ERROR", "tuned.new", "script '/p/s.sh' returned error code: 3"),
         "error", "tuned.new"),
        (record("INFO", "tuned.x", "fine", *TRACEBACK), "traceback", "tuned.x"),
        (record("NONE", "", "Traceback (most recent call last):"), "traceback", ""),
        (record("ERROR", "tuned.utils.commands",
                "Writing to file '/proc/sys/vm/x.y' error: '[Errno 22] Invalid argument'"),
         "setting-refused", "vm.x/y"),
        (record("ERROR", "tuned.utils.commands",
                "Writing to file '/sys/x' error: '[Errno 2] No such file or directory: '/sys/x''"),
         "no-such-setting", "/sys/x"),
        (record("ERROR", "tuned.utils.commands",
                "Executing 'modinfo cpuidle-haltpoll' error: [Errno 2] No such file or directory"),
         "command-failed", "modinfo cpuidle-haltpoll"),
        (record("ERROR", "tuned.utils.commands", "Executing modprobe error: [Errno 2] …"),
         "command-failed", "modprobe error: [Errno 2] …"),
        (record("ERROR", "tuned.utils.commands",
                "Executing 'f i n d   .   |   c p i o' error: /bin/sh: 1: cpio: not found"),
         "command-failed", "find . | cpio"),
        (record("ERROR", "tuned.profiles.functions.base",
                "invalid number of arguments for builtin function 'assertion_non_equal'"),
         "bad-value", "assertion_non_equal"),
        (record("ERROR", "tuned.profiles.functions.function_assertion",
                "assertion 'isolated_cores are set' failed: '1' != '2'"),
         "bad-value", "isolated_cores are set"),
        (record("ERROR", "tuned.profiles.functions.parser", "function 'x' not implemented"),
         "bad-value", "x"),
        (record("ERROR", "tuned.profiles.variables", "unable to find variables_file: '/x/y.conf'"),
         "bad-value", "/x/y.conf"),
        (record("ERROR", "tuned.plugins.plugin_scheduler", "Error reading 'min_granularity_ns'"),
         "no-such-setting", "min_granularity_ns"),
        (record("ERROR", "tuned.plugins.plugin_scheduler",
                "Error writing value '10' to 'min_granularity_ns'"),
         "setting-refused", "min_granularity_ns"),
        (record("ERROR", "tuned.plugins.plugin_scheduler",
                "Failed to set SMP affinity of IRQ 36 to '00000001': [Errno 1] …"),
         "setting-refused", "IRQ 36"),
        (record("ERROR", "tuned.plugins.plugin_scheduler",
                "Failed to set default SMP IRQ affinity to '00000001': [Errno 30] …"),
         "setting-refused", "IRQ affinity"),
        (record("ERROR", "tuned.plugins.plugin_sysctl",
                "Failed to set sysctl parameter 'vm.x' to 'y': [Errno 22] Invalid argument"),
         "setting-refused", "vm.x"),
        (record("ERROR", "tuned.plugins.plugin_sysctl",
                "Failed to read sysctl parameter 'vm.x', the parameter does not exist"),
         "no-such-setting", "vm.x"),
        (record("ERROR", "tuned.plugins.plugin_sysfs",
                "rejecting write to '/etc/passwd' (not inside /sys)"),
         "setting-refused", "/etc/passwd"),
        (record("ERROR", "tuned.plugins.plugin_script", "script '/p/s.sh' returned error code: 3"),
         "script-failed", "/p/s.sh"),
        (record("ERROR", "tuned.plugins.base", "script '/p/s.sh' error: 1, 'x'"),
         "script-failed", "/p/s.sh"),
        (record("ERROR", "tuned.units.manager", "BUG: Unhandled exception in start_tuning: x"),
         "plugin-failed", "start_tuning"),
    ],
)  # fmt: skip
def test_an_error_is_named_and_never_ends_as_applied(
    added: LogRecord, kind: str, subject: str
) -> None:
    judged = judge(PROFILE, run((*APPLIED[:-1], added, APPLIED[-1])))
    assert judged.result is Result.DEGRADED
    assert said(judged) == [(kind, subject)]
    assert judged.findings[0].message.startswith(f'TuneD logged: "{added.message}')


PLUGINS = "tuned.plugins.plugin_"


@pytest.mark.parametrize(
    ("logger", "message", "kind", "subject"),
    [
        ("tuned.plugins.base", "Unknown option 'swappiness' for plugin 'VMPlugin'.",
         "unknown-option", "vm.swappiness"),
        ("tuned.plugins.base", "Unknown option 'x' for plugin 'CPULatencyPlugin'.",
         "unknown-option", "cpu.x"),
        (PLUGINS + "bootloader", "Unknown option 'x' for plugin 'BootloaderPlugin'.",
         "unknown-option", "bootloader.x"),
        ("tuned.plugins.base", "instance sd: no matching devices available", "no-devices", "sd"),
        ("tuned.plugins.base", "Instance 'vm': no device to call script '/p/s.sh' for.",
         "no-devices", "vm"),
        (PLUGINS + "vm", "Option 'transparent_hugepages' is not supported on current hardware.",
         "no-such-setting", "transparent_hugepages"),
        (PLUGINS + "vm", "Incorrect 'transparent_hugepages' value '\"never\"'.",
         "bad-value", "transparent_hugepages"),
        (PLUGINS + "net", "Incorrect 'wake_on_lan' value.", "bad-value", "wake_on_lan"),
        (PLUGINS + "net", "txqueuelen value 'x' is not integer", "bad-value", "txqueuelen"),
        (PLUGINS + "net", "Cannot set mtu for device 'eth0'", "setting-refused", "mtu"),
        (PLUGINS + "net", "ip command not found, ignoring for other devices",
         "command-failed", "ip"),
        (PLUGINS + "net", "ignoring unknown features parameter(s): {'x'}",
         "bad-value", "features"),
        (PLUGINS + "net", "coalesce parameter rx-usecs is not supported by device eth0",
         "no-such-setting", "coalesce parameter rx-usecs"),
        (PLUGINS + "modules", "'modprobe' command not found, cannot reload kernel modules, …",
         "command-failed", "modprobe"),
        (PLUGINS + "modules", "cannot insert/reinsert module 'kvm', reboot is required: x",
         "setting-refused", "kvm"),
        (PLUGINS + "cpu", "None of the scaling governors is supported: a, b",
         "setting-refused", "governor"),
        (PLUGINS + "cpu", "Invalid pm_qos_resume_latency_us specified: 'x', cpu: 'cpu0'.",
         "bad-value", "pm_qos_resume_latency_us"),
        (PLUGINS + "cpu", "Failed to set no_turbo for intel_pstate: x",
         "setting-refused", "no_turbo"),
        (PLUGINS + "video", "Invalid option for radeon_powersave.",
         "bad-value", "radeon_powersave"),
        (PLUGINS + "video", "Invalid value 9 for panel_power_savings",
         "bad-value", "panel_power_savings"),
        (PLUGINS + "irqbalance", "irqbalance sysconfig file is missing. Is irqbalance installed?",
         "no-such-setting", "irqbalance"),
        (PLUGINS + "bootloader", "requested changes to initrd will not be applied!",
         "setting-refused", "initrd"),
        (PLUGINS + "disk", "hdparm command not found, ignoring for other devices",
         "command-failed", "hdparm"),
        (PLUGINS + "bootloader", "Detected bootc which doesn't support initrd overlays.",
         "setting-refused", "initrd"),
    ],
)  # fmt: skip
def test_what_tuned_leaves_out_with_a_warning_degrades(
    logger: str, message: str, kind: str, subject: str
) -> None:
    added = record("WARNING", logger, message)
    left = replace(run((added, *APPLIED)), named_devices=frozenset({"sd"}),
                   needed_commands=frozenset({"hdparm"}))  # fmt: skip
    judged = judge(PROFILE, left)
    assert (judged.result, said(judged)) == (Result.DEGRADED, [(kind, subject)])
    assert judge(PROFILE, left, [(kind, subject)]).result is Result.APPLIED
    lower = replace(left, log=(replace(added, level="INFO"), *APPLIED))
    assert judge(PROFILE, lower) == Outcome(Result.APPLIED)


@pytest.mark.parametrize(
    ("logger", "message"),
    [
        ("tuned.plugins.base", "instance disk: no matching devices available"),
        (PLUGINS + "cpu", "Unable to set boost on cpu 'cpu0'. Neither per-policy boost nor …"),
        (PLUGINS + "cpu", "your CPU doesn't support MSR_IA32_ENERGY_PERF_BIAS, ignoring CPU …"),
        (PLUGINS + "disk", "hdparm command not found, ignoring for other devices"),
        (PLUGINS + "scheduler", "python-perf unavailable, disabling perf support and …"),
        (PLUGINS + "vm", "The 'dirty_ratio' option is deprecated and does not support …"),
        (PLUGINS + "modules", "'modinfo' command not found, not checking kernel modules"),
        (PLUGINS + "bootloader", "requested changes to cmdline will not be applied!"),
    ],
)
def test_a_warning_by_which_nothing_is_lost_is_no_finding(logger: str, message: str) -> None:
    log = (record("WARNING", logger, message), *APPLIED)
    assert judge(PROFILE, run(log)) == Outcome(Result.APPLIED)


@pytest.mark.parametrize(
    ("logger", "message", "subject"),
    [
        (PLUGINS + "scheduler", "This may not work with Secure Boot or kernel_lockdown (…)",
         "scheduler"),
        (PLUGINS + "vm", "Conflicting options 'dirty_bytes' and 'dirty_ratio', this may cause …",
         "dirty_bytes"),
        (PLUGINS + "sysctl", "Syntax error in file /etc/sysctl.d/50-x.conf, line 3",
         "/etc/sysctl.d/50-x.conf"),
    ],
)  # fmt: skip
def test_a_hint_that_is_logged_as_an_error_can_be_accepted(
    logger: str, message: str, subject: str
) -> None:
    log = run((record("ERROR", logger, message), *APPLIED))
    assert said(judge(PROFILE, log)) == [("hint", subject)]
    assert judge(PROFILE, log, [("hint", subject)]).result is Result.APPLIED


def test_one_command_that_failed_is_one_finding_and_two_are_two() -> None:
    def failed(command: str) -> LogRecord:
        return record("ERROR", "tuned.utils.commands", f"Executing '{command}' error: not loaded")

    log = (
        failed("systemctl stop fwupd"), failed("systemctl stop stalld"),
        failed("systemctl stop fwupd"), failed("modinfo kvm"),
        record("ERROR", PLUGINS + "modules", "kernel module 'kvm' not found, skipping it"),
    )  # fmt: skip
    judged = judge(PROFILE, run((*log, *APPLIED)), [("command-failed", "systemctl stop fwupd")])
    assert [(each.subject, each.accepted) for each in judged.findings] == [
        ("systemctl stop fwupd", True), ("systemctl stop stalld", False), ("modinfo kvm", False),
    ]  # fmt: skip
    assert "skipping it" in judged.findings[2].message
    # TuneD before 2.24 names only the program.
    old = [
        record("ERROR", "tuned.utils.commands", f"Executing systemctl error: {unit} not loaded")
        for unit in ("fwupd", "stalld")
    ]
    judged = judge(PROFILE, run((*old, *APPLIED)), [("command-failed", "systemctl * fwupd *")])
    assert [each.accepted for each in judged.findings] == [True, False]


def test_an_explanation_is_a_part_of_the_error_before_it() -> None:
    # The kernel has another name for it.
    path = "/sys/kernel/debug/sched/base_slice_ns"
    log = (
        record("ERROR", "tuned.utils.commands", f"Error when reading file '{path}': '[Errno 1] …'"),
        record("ERROR", PLUGINS + "scheduler", "Error reading 'min_granularity_ns'"),
        record("ERROR", PLUGINS + "scheduler", "This may not work with Secure Boot or …"),
    )
    assert said(judge(PROFILE, run((*log, *APPLIED)))) == [
        ("setting-refused", path), ("hint", "scheduler"),
    ]  # fmt: skip


def test_what_belongs_together_may_be_apart() -> None:
    """TuneD has several threads."""
    other = record("INFO", "tuned.hardware.inventory", "x")
    log = (
        record("ERROR", "tuned.units.manager", "failed to initialize plugin scheduler"), other,
        record("ERROR", "tuned.units.manager", "No module named 'perf'", *TRACEBACK),
        record("ERROR", "tuned.units.manager", "BUG: Unhandled exception in start_tuning: x"),
        other,
        record("ERROR", "tuned.units.manager", "\n".join(TRACEBACK)),
        record("ERROR", "tuned.utils.commands", "Executing 'modinfo kvm' error: not found"), other,
        record("ERROR", PLUGINS + "modules", "kernel module 'kvm' not found, skipping it"),
        record("ERROR", PLUGINS + "modules", "kernel module 'vfio' not found, skipping it"),
    )  # fmt: skip
    assert said(judge(PROFILE, run((*log, *APPLIED)))) == [
        ("plugin-failed", "scheduler"), ("plugin-failed", "start_tuning"),
        ("command-failed", "modinfo kvm"),
        ("no-such-setting", "vfio"),
    ]  # fmt: skip


def test_what_the_host_has_was_refused() -> None:
    def failed(key: str) -> LogRecord:
        words = f"Writing to file '{key}' error: '[Errno 2] No such file or directory'"
        return record("ERROR", "tuned.utils.commands", words)

    there = "/proc/sys/net/ipv4/tcp_congestion_control"
    log = (failed(there), failed("/proc/sys/vm/nowhere"), failed("/sys/nowhere"))
    accepted = [("no-such-setting", "*")]
    judged = judge(PROFILE, run((*log, *APPLIED)), accepted)
    assert judged.result is Result.APPLIED
    on_host = with_existing(judged, lambda path: path == there, accepted)
    assert said(on_host) == [
        ("setting-refused", "net.ipv4.tcp_congestion_control"),
        ("no-such-setting", "vm.nowhere"), ("no-such-setting", "/sys/nowhere"),
    ]  # fmt: skip
    # To accept that it does not exist is not to accept that it is refused.
    assert [each.accepted for each in on_host.findings] == [False, True, True]
    assert on_host.result is Result.DEGRADED


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING"])
def test_what_is_no_error_is_no_finding_whatever_its_words(level: str) -> None:
    added = record(level, "tuned.plugins.plugin_script", "script '/p/s.sh' returned error code: 3")
    assert judge(PROFILE, run((added, *APPLIED))) == Outcome(Result.APPLIED)


@given(
    at=st.integers(0, len(APPLIED)),
    level=st.sampled_from(["ERROR", "CRITICAL"]),
    logger=st.text(max_size=20),
    message=st.text(max_size=60),
)
def test_no_error_anywhere_ends_as_applied(at: int, level: str, logger: str, message: str) -> None:
    log = (*APPLIED[:at], LogRecord(level, logger, message), *APPLIED[at:])
    assert judge(PROFILE, run(log)).result is not Result.APPLIED


@given(at=st.integers(0, len(APPLIED) - 1))
def test_a_log_that_is_cut_off_anywhere_never_ends_as_applied(at: int) -> None:
    assert judge(PROFILE, run(APPLIED[:at])).result is not Result.APPLIED


def test_settings_that_tuned_took_back_are_not_in_force() -> None:
    last = record("INFO", "tuned.daemon.daemon", "terminating TuneD, rolling back all changes")
    judged = judge(PROFILE, run((*APPLIED[:-1], last)))
    assert (judged.result, said(judged)) == (Result.FAILED, [("rolled-back", "daemon")])


def test_a_crash_is_reported_by_the_last_line_of_its_traceback() -> None:
    last = LogRecord("NONE", "", TRACEBACK[0], TRACEBACK[1:])
    judged = judge(PROFILE, run((*APPLIED[:5], last), 1))
    assert judged.result is Result.FAILED
    assert said(judged)[0] == ("crashed", "ValueError: no")
    # It exits with 0 after all: then it is a part of TuneD that failed.
    judged = judge(PROFILE, run((*APPLIED, record("INFO", "tuned.x", "", *TRACEBACK))))
    assert (judged.result, said(judged)) == (Result.DEGRADED, [("traceback", "tuned.x")])


def test_findings_of_two_things_are_two() -> None:
    log = (
        record("ERROR", "tuned.units.manager", "failed to initialize plugin new"),
        record("ERROR", "tuned.new", "never seen"),
        record("INFO", "tuned.plugins.plugin_sysctl", "Overriding sysctl parameter 'vm.x' from …"),
        record("ERROR", "tuned.plugins.plugin_sysctl", "Failed to set sysctl parameter 'vm.x' …"),
    )
    assert said(judge(PROFILE, run((*log, *APPLIED)))) == [
        ("plugin-failed", "new"), ("error", "tuned.new"),
        ("overridden", "vm.x"), ("setting-refused", "vm.x"),
    ]  # fmt: skip


def test_a_subject_that_is_named_like_the_profile_is_not_taken_for_it() -> None:
    judged = judge("sysctlx", run(real("unknown-plugin"), active="sysctlx"))
    assert ("unknown-plugin", "sysctlx") in said(judged)


def test_an_unknown_profile_in_the_words_of_an_older_tuned() -> None:
    words = (
        "Cannot set initial profile. No tunings will be enabled: Cannot load profile(s) 'x': "
        "Cannot find profile 'x' in '['/etc/tuned', '/usr/lib/tuned']'."
    )
    judged = judge("x", run((record("ERROR", "tuned.daemon.daemon", words),), 1))
    assert said(judged) == [("unknown-profile", "x")]


def test_a_profile_that_cannot_be_loaded_for_a_reason_never_seen() -> None:
    words = "Cannot set initial profile. No tunings will be enabled: never seen"
    judged = judge(PROFILE, run((record("ERROR", "tuned.daemon.daemon", words),), 1))
    assert (judged.result, said(judged)) == (Result.FAILED, [("broken-profile", "daemon")])


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", ()),
        ('TUNED_BOOT_CMDLINE=""\n', ()),
        ('TUNED_BOOT_INITRD_ADD="x"\nTUNED_BOOT_CMDLINE="a=1 b  c=2,3"\n', ("a=1", "b", "c=2,3")),
        ("TUNED_BOOT_CMDLINE=a\n", ("a",)),
        ('TUNED_BOOT_CMDLINE="quiet dyndbg="file a.c +p""\n', ("quiet", 'dyndbg="file a.c +p"')),
        ('TUNED_BOOT_CMDLINE=a="b c"\n', ('a="b c"',)),
        ('TUNED_BOOT_CMDLINE="a="b c\n', ('"a="b', "c")),
    ],
)
def test_bootcmdline(text: str, arguments: tuple[str, ...]) -> None:
    assert outcome.parse_bootcmdline(text) == arguments


def test_a_kernel_argument_that_this_boot_lacks_degrades() -> None:
    asked = replace(run(APPLIED), requested_arguments=("a=1", "b"), kernel_arguments=("quiet", "b"))
    judged = judge(PROFILE, asked)
    assert (judged.result, said(judged)) == (
        Result.DEGRADED,
        [("missing-kernel-argument", "a=1")],
    )
    there = replace(asked, kernel_arguments=("a=1", "b"))
    assert judge(PROFILE, there).result is Result.APPLIED


@pytest.mark.parametrize("shown", ['dyndbg="file a.c +p"', '"dyndbg=file a.c +p"'])
def test_a_kernel_argument_with_spaces_is_one_argument(shown: str) -> None:
    wanted = outcome.parse_bootcmdline('TUNED_BOOT_CMDLINE="quiet dyndbg="file a.c +p""')
    asked = replace(run(APPLIED), requested_arguments=wanted, kernel_arguments=("quiet",))
    assert said(judge(PROFILE, asked)) == [("missing-kernel-argument", 'dyndbg="file a.c +p"')]
    there = replace(asked, kernel_arguments=kernelargs.split(f"quiet {shown} ro"))
    assert judge(PROFILE, there).result is Result.APPLIED


def test_only_a_tuned_that_hung_or_was_killed_is_tried_again() -> None:
    assert judge(PROFILE, run(APPLIED, None)).temporary
    assert judge(PROFILE, run(APPLIED, 137)).temporary
    assert judge(PROFILE, run(real("hang-killed"))).temporary
    for name in ("unknown-profile", "broken-profile", "missing-include", "wrong-profile"):
        assert not judge(PROFILE, run(real(name))).temporary


def test_what_a_site_accepts_is_shown_and_does_not_degrade() -> None:
    log = run(real("unknown-sysctl"))
    for pattern in ("kernel.this_does_not_exist", "kernel.*", "kernel.this_?*"):
        judged = judge(PROFILE, log, [("no-such-setting", pattern)])
        assert judged.result is Result.APPLIED
        assert [finding.accepted for finding in judged.findings] == [True]
    for pair in (("no-such-setting", "vm.*"), ("setting-refused", "kernel.*")):
        assert judge(PROFILE, log, [pair]).result is Result.DEGRADED


def test_accepting_one_finding_leaves_the_others() -> None:
    accepted = [("lost-after-exit", "force_*"), ("lost-after-exit", "rtentsk")]
    judged = judge(PROFILE, run(real("performance-profile")), accepted)
    assert judged.result is Result.DEGRADED
    assert [finding.accepted for finding in judged.findings] == [False, True, True, False]


@pytest.mark.parametrize("kind", [kind for kind, it in KINDS.items() if not it.acceptable])
def test_what_is_fatal_or_was_never_seen_cannot_be_accepted(kind: str) -> None:
    finding = findings.make(kind, "x", "…")
    accepted = findings.accept([finding], [(kind, "*")])
    assert outcome.conclude(accepted).result is not Result.APPLIED


def test_nothing_fatal_is_acceptable_and_neither_is_what_is_not_understood() -> None:
    assert not [kind for kind, it in KINDS.items() if it.fatal and it.acceptable]
    vague = {kind for kind, it in KINDS.items() if not it.fatal and not it.acceptable}
    assert vague == {
        "incomplete-log", "error", "traceback", "torn-image-env", "change-failed",
        "profile-fallback", "defect", "agent-word",
    }  # fmt: skip


def test_a_kind_that_is_not_in_the_table_is_fatal() -> None:
    accepted = findings.accept([Finding("new", "x", "…")], [("new", "x")])
    assert outcome.conclude(accepted).result is Result.FAILED


LOST = Standing.LOST
LATENCY = Hold("force_latency", "7", "7", "12:00")
SOCKET = Hold("rtentsk", "", "socket:[17]", "12:00")


def test_what_is_held_is_not_lost_and_only_that() -> None:
    judged = judge(PROFILE, run(real("performance-profile")))
    lost = [each.subject for each in judged.findings if each.kind == "lost-after-exit"]
    assert lost == ["rtentsk", "force_latency"]
    others = [each for each in judged.findings if each.kind != "lost-after-exit"]
    held = with_holds(judged, [State(LATENCY), State(SOCKET)])
    assert list(held.findings) == others
    one = with_holds(judged, [State(LATENCY), State(SOCKET, LOST, "systemd holds nothing")])
    assert [(each.subject, each.message) for each in one.findings[len(others) :]] == [
        ("rtentsk", "rtentsk (socket:[17]) is NOT in effect: systemd holds nothing")
    ]
    # The one whose state is not given stays lost.
    assert [each.subject for each in with_holds(judged, [State(LATENCY)]).findings].count(
        "rtentsk"
    ) == 1
    assert with_holds(judged, []) == judged


@pytest.mark.parametrize("name", ["force-latency", "rtentsk"])
def test_a_profile_of_which_all_is_held_is_applied(name: str) -> None:
    judged = judge(PROFILE, run(real(name)))
    assert judged.result is Result.DEGRADED
    hold = LATENCY if name == "force-latency" else SOCKET
    assert with_holds(judged, [State(hold)]) == outcome.Outcome(Result.APPLIED)
    lost = with_holds(outcome.Outcome(Result.APPLIED), [State(hold, LOST, "no")])
    assert (lost.result, [each.kind for each in lost.findings]) == (
        Result.DEGRADED, ["lost-after-exit"],
    )  # fmt: skip
    accepted = with_holds(judged, [State(hold, LOST, "no")], [("lost-after-exit", hold.kind)])
    assert accepted.result is Result.APPLIED


def test_a_latency_that_tuned_cannot_evaluate_is_reported_with_its_value() -> None:
    words = "unable to evaluate latency value (probably wrong settings in the 'cpu' section of x)"
    line = f"2026-11-23 22:28:17,872 ERROR    tuned.plugins.plugin_cpu: {words}"
    (found,) = findings.read(tunedlog.parse([line]))
    assert (found.kind, found.subject) == ("bad-value", "force_latency")
    told = with_requested_values(outcome.conclude([found]), {"force_latency": "abc"})
    words = told.findings[0].message
    assert words.startswith("force_latency = 'abc': TuneD logged: \"unable to evaluate")


def test_an_unknown_state_of_a_hold_changes_nothing() -> None:
    judged = judge(PROFILE, run(real("force-latency")))
    unknown = State(LATENCY, Standing.UNKNOWN, "who knows")
    assert with_holds(judged, [unknown]) == judged
    held = with_holds(judged, [State(LATENCY)])
    assert with_holds(held, [unknown]) == held


def test_a_hold_that_no_profile_requests_degrades() -> None:
    still = State(LATENCY, Standing.UNASKED, "by hand")
    found = with_holds(outcome.Outcome(Result.APPLIED), [still])
    assert [(each.kind, each.subject) for each in found.findings] == [
        ("still-held", "force_latency")
    ]
    assert found.result is Result.DEGRADED


def test_of_effects_without_a_cause_the_fatal_one_is_the_first() -> None:
    judged = judge(PROFILE, TunedRun(0, ()))
    assert [each.kind for each in judged.findings] == ["not-applied", "incomplete-log"]


def test_a_tuned_that_keeps_running_has_closed_nothing() -> None:
    log = tuple(tunedlog.parse((LOGS / "force-latency.log").read_text().splitlines()))
    assert [it.kind for it in judge(PROFILE, TunedRun(0, log, PROFILE)).findings] == [
        "lost-after-exit"
    ]
    assert judge(PROFILE, TunedRun(0, log, PROFILE, stays="c1")) == Outcome(Result.APPLIED, ())
