"""Judges a run of TuneD by all that it left behind: log, exit status, files. Pure.

No single sign is trusted. The operator's wrapper exits with 0 after every failure. TuneD logs
`applied` when settings were refused. Without a requested profile TuneD chooses one by itself.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Callable

from ocp_tuned_boot.host import kernelargs
from ocp_tuned_boot.host.paths import sysctl_file
from ocp_tuned_boot.tuned import findings
from ocp_tuned_boot.tuned.findings import Finding, make

if TYPE_CHECKING:
    from ocp_tuned_boot.tuned.log import LogRecord

_APPLIED = re.compile(r"static tuning from profile '([^']*)' applied\Z")
# The last message of every TuneD before it exits (tuned/daemon/daemon.py).
_LAST_MESSAGE = "terminating TuneD"
#: The most lines of a traceback in a message.
_TRACEBACK = 40
#: The most kernel arguments that are compared. No kernel accepts more (4096 characters).
_ARGUMENTS = 512
#: Failures that TuneD reports before it sets anything (tuned/daemon/daemon.py, set_all_profiles).
NOT_LOADED = ("unknown-profile", "missing-include", "broken-profile")
# Kinds that report a failure, but not its cause.
_EFFECTS = {"exit-status", "not-applied", "incomplete-log"}


class Result(str, Enum):
    """The result of a run. `APPLYING`: it has not finished, or was killed. `DEFERRED`: no profile
    has been applied in this boot, and the first one waits for the next boot or a reload."""

    APPLYING = "applying"
    APPLIED = "applied"
    DEGRADED = "degraded"
    FAILED = "failed"
    DEFERRED = "deferred"


@dataclass(frozen=True)
class Outcome:
    """A result, and the findings that explain it."""

    result: Result
    findings: tuple[Finding, ...] = ()

    @property
    def temporary(self) -> bool:
        """Whether another attempt may succeed: TuneD hung, or was killed."""
        return any(finding.kind in ("timeout", "killed") for finding in self.findings)


@dataclass(frozen=True)
class TunedRun:
    """What a run of TuneD left behind.

    `exit_status` is None if the container did not exit in time and was stopped; `seconds` is how
    long it was allowed to run, by the key `limit` of boot.conf.
    """

    exit_status: int | None
    log: tuple[LogRecord, ...]
    active_profile: str = ""
    seconds: float = 0.0
    #: The generated profile that was merged over the requested one; empty if there was none.
    laid_over: str = ""
    #: The kernel arguments that the profile requests, and those of this boot.
    requested_arguments: tuple[str, ...] = ()
    kernel_arguments: tuple[str, ...] = ()
    limit: str = "tuned_timeout"
    #: The sections that name their devices. For all others it is normal that there are none.
    named_devices: frozenset[str] = frozenset()
    #: The commands that the profile needs, of those for which TuneD looks in any case.
    needed_commands: frozenset[str] = frozenset()
    #: The ID of the container in which TuneD keeps running; empty if it has exited.
    stays: str = ""


def judge(expected: str, run: TunedRun, accepted: Sequence[tuple[str, str]] = ()) -> Outcome:
    """Applied, degraded or failed, and the findings that explain it.

    `expected` is the requested profile; `accepted` are the `accept` pairs of boot.conf: kind, and
    subject with wildcards.
    """
    read = [each for each in findings.read(run.log) if _counts(each, run)]
    found = [_named(each, expected) for each in read]
    found = [*_ending(run), *_profile(expected, run), *found, *_missing_arguments(run)]
    # The cause comes first. With a cause, its effects are left out.
    causes = [each for each in found if each.fatal and each.kind not in _EFFECTS]
    effects = [each for each in found if each.kind in _EFFECTS and not causes]
    others = [each for each in found if not each.fatal and each.kind not in _EFFECTS]
    effects.sort(key=lambda each: not each.fatal)
    return conclude(findings.accept([*causes, *effects, *others], accepted))


def conclude(found: Sequence[Finding]) -> Outcome:
    """The result that follows from these findings."""
    if any(each.fatal for each in found):
        result = Result.FAILED
    elif any(each.degrades for each in found):
        result = Result.DEGRADED
    else:
        result = Result.APPLIED
    return Outcome(result, tuple(found))


def with_requested_values(outcome: Outcome, requested: Mapping[str, str]) -> Outcome:
    """Adds the value in the profile to each finding that TuneD could not evaluate it: TuneD does
    not log the value."""
    found = [
        replace(each, message=f"{each.subject} = {requested[each.subject]!r}: {each.message}")
        if each.kind == "bad-value" and each.subject in requested
        else each
        for each in outcome.findings
    ]
    return replace(outcome, findings=tuple(found))


def with_existing(
    outcome: Outcome, exists: Callable[[str], bool], accepted: Sequence[tuple[str, str]] = ()
) -> Outcome:
    """A setting that this host has was refused: TuneD's log says "No such file or directory" for
    both. `exists` returns whether the host has a file."""
    found = []
    for each in outcome.findings:
        path = each.subject if each.subject.startswith("/") else sysctl_file(each.subject)
        if each.kind == "no-such-setting" and exists(path):
            refused = make("setting-refused", each.subject, each.message)
            found += findings.accept([refused], accepted)
        else:
            found.append(each)
    return conclude(found)


def _counts(finding: Finding, run: TunedRun) -> bool:
    """Whether it says something about this run: what TuneD has opened stays open if TuneD keeps
    running, and not every machine has what TuneD did not find."""
    if finding.kind == "lost-after-exit":
        return not run.stays
    if (finding.kind, finding.subject) == ("command-failed", "hdparm"):
        return "hdparm" in run.needed_commands
    named = finding.subject in run.named_devices
    return finding.kind != "no-devices" or named or "no matching devices" not in finding.message


def _named(finding: Finding, expected: str) -> Finding:
    """TuneD before 2.22 logs the same message for an unknown profile and for a missing include."""
    if finding.kind == "missing-include" and finding.subject == expected:
        return make("unknown-profile", expected, finding.message)
    return finding


def _ending(run: TunedRun) -> list[Finding]:
    """The findings about how TuneD exited."""
    status, last = run.exit_status, run.log[-1] if run.log else None
    if status is None:
        return [findings.timeout(_last_step(run.log), _timeout_message(run), run.limit)]
    if status > 128:
        name = signal_name(status - 128)
        return [make("killed", name, f"TuneD was killed by {name}")]
    if last is not None and last.has_traceback and status != 0:
        words = "\n".join([last.message, *last.more[-_TRACEBACK:]])
        return [make("crashed", words.strip().rpartition("\n")[2], words)]
    if status != 0:
        return [make("exit-status", str(status), f"TuneD exited with status {status}")]
    if not run.stays and not any(it.message.startswith(_LAST_MESSAGE) for it in run.log):
        words = f"TuneD did not log that it exits; {_last_message(run.log)}"
        return [make("incomplete-log", "tuned", words)]
    return []


def _profile(expected: str, run: TunedRun) -> list[Finding]:
    """The findings about which profile was applied."""
    applied = [match[1] for record in run.log if (match := _APPLIED.match(record.message))]
    if not applied:
        return [make("not-applied", expected, "TuneD did not report that a profile is applied")]
    requested = f"{expected} {run.laid_over}".strip()
    for name, where in ((applied[-1], "its log"), (run.active_profile, "active_profile")):
        if name != requested:
            words = f"TuneD applied profile {name!r} instead of {expected!r} (according to {where})"
            return [make("wrong-profile", name, words)]
    return []


def _missing_arguments(run: TunedRun) -> list[Finding]:
    present = {kernelargs.plain(argument) for argument in run.kernel_arguments}
    return [
        make("missing-kernel-argument", argument, f"the kernel argument {argument!r} is not set")
        for argument in run.requested_arguments[:_ARGUMENTS]
        if kernelargs.plain(argument) not in present
    ]


def parse_bootcmdline(text: str) -> tuple[str, ...]:
    """The kernel arguments in TuneD's `bootcmdline` (tuned/plugins/plugin_bootloader.py)."""
    # Quotes in the value are not escaped.
    found = re.search(r'(?m)^TUNED_BOOT_CMDLINE=(?:"(.*)"|(.*))$', text)
    return kernelargs.split(found[1] or found[2] or "")[:_ARGUMENTS] if found else ()


def signal_name(number: int) -> str:
    """`SIGKILL` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_message(log: Sequence[LogRecord]) -> str:
    return f'its last message is "{log[-1].message}"' if log else "it logged nothing"


def _last_step(log: Sequence[LogRecord]) -> str:
    """The part of TuneD that logged the last message. Before the first one, it loads the
    profile."""
    return log[-1].logger.rpartition(".")[2] if log else "loader"


def _timeout_message(run: TunedRun) -> str:
    words = f"TuneD did not finish within {run.seconds:.0f} s and was stopped"
    return f"{words}; {_last_message(run.log)}"
