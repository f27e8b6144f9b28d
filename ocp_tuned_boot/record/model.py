"""What is recorded of a run: plain, frozen values. Nothing here touches the host."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum

from ocp_tuned_boot.host.clock import Step
from ocp_tuned_boot.tuned.findings import Finding
from ocp_tuned_boot.tuned.judge import Result

_WAITS = "waits for the next boot or a reload"
_NOW = "To apply it now: systemctl reload ocp-tuned"


def now() -> str:
    """The time in UTC, as a record carries it (RFC 3339, milliseconds)."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Action(str, Enum):
    """`APPLY` runs TuneD; `KEEP` touches nothing, because nothing has changed; `DEFER` touches
    nothing, although something has."""

    APPLY = "apply"
    KEEP = "keep"
    DEFER = "defer"


class Why(str, Enum):
    """What started a run: systemd, at boot or later; the path unit, where a profile is applied;
    `systemctl reload`; `reload --force`; `PREVIEW`: none is started."""

    START = "start"
    NOTICE = "notice"
    RELOAD = "reload"
    FORCE = "force"
    PREVIEW = "preview"


class Waits(str, Enum):
    """What waits for the next boot or a reload: a new image of the same profile, a changed
    profile, or, where none has been applied in this boot, the first one."""

    NOTHING = ""
    IMAGE = "image"
    PROFILE = "profile"
    FIRST = "first"


@dataclass(frozen=True)
class Decision:
    """What to do, and why, in words for the journal. `guarded`: settings are owned by others;
    `changed`: another profile is requested than the one that is applied; `advice`: what to do where
    it is known that the requested one cannot be applied."""

    action: Action
    reason: str
    guarded: bool = False
    waits: Waits = Waits.NOTHING
    changed: bool = False
    advice: str = ""


@dataclass(frozen=True)
class Hold:
    """A setting that systemd keeps a file descriptor open for. For `force_latency`, `value` is in
    microseconds and `asked` as the profile has it; for `rtentsk`, `value` is the link in
    /proc/1/fd. `since` (UTC) systemd has it; empty if systemd does not."""

    kind: str
    asked: str = ""
    value: str = ""
    since: str = ""

    @property
    def words(self) -> str:
        """`force_latency = 7 µs`, for people."""
        if self.kind != "force_latency":
            return f"{self.kind} ({self.value})" if self.value else self.kind
        asked = f" ({self.asked})" if self.asked not in ("", self.value) else ""
        return f"{self.kind} = {self.value} µs{asked}"


class Standing(str, Enum):
    """Whether a hold is in effect. `UNKNOWN`: it cannot be found out; `UNASKED`: it is in effect,
    and no profile requests it any more."""

    IN_FORCE = "in force"
    LOST = "lost"
    UNKNOWN = "unknown"
    UNASKED = "unasked"


@dataclass(frozen=True)
class State:
    """A hold as it is now, and why it is so."""

    hold: Hold
    standing: Standing = Standing.IN_FORCE
    why: str = ""

    @property
    def in_force(self) -> bool:
        return self.standing is Standing.IN_FORCE

    @property
    def words(self) -> str:
        """For people."""
        if self.in_force:
            return f"{self.hold.words} is in effect, held by systemd since {self.hold.since}"
        loud = {Standing.LOST: "is NOT in effect", Standing.UNASKED: "is STILL in effect"}
        state = loud.get(self.standing, "may not be in effect")
        return f"{self.hold.words} {state}: {self.why}"


@dataclass(frozen=True)
class InForce:
    """What TuneD has applied. Recorded after it was judged, removed before TuneD runs again.

    `holds`: what systemd keeps open for it. Whether it does, only systemd and the kernel know.
    `compared`: the requested values were compared with those on the host, which is done once the
    unit is ready. `reached`: the fingerprint with the custom profile files that this profile can
    reach; empty in a record of an earlier release. `profiles`: the profile and those that it
    includes, as TuneD has loaded them. `instead_of`: if this profile is used instead of the
    requested one, the fingerprint of that one.
    """

    boot_id: str
    result: Result
    profile: str
    image: str
    image_id: str
    fingerprint: str
    since: str
    findings: tuple[Finding, ...] = ()
    holds: tuple[Hold, ...] = ()
    compared: bool = True
    reached: str = ""
    profiles: tuple[str, ...] = ()
    instead_of: str = ""


@dataclass(frozen=True)
class Attempt:
    """An attempt that failed, `at` so many seconds after the start, and was followed by another."""

    at: float
    kind: str
    message: str


@dataclass(frozen=True)
class Deferred:
    """What is requested and not applied: it waits for the next boot or a reload. `waits` is a
    `Waits`; `since` (UTC) when it was first seen."""

    waits: str
    fingerprint: str
    profile: str
    image: str
    since: str


@dataclass(frozen=True)
class HandedOver:
    """A file of the hand-over list that this run was concerned with.

    `how`: `left-out` of the run; or `changed` by another program during it. `before` the run, what
    `tuned` would have set, and `after` the run.
    """

    key: str
    how: str
    before: str
    tuned: str
    after: str


@dataclass(frozen=True)
class Residue:
    """A setting that the previous profile named and this one does not.

    `how`: `put-back` to its first value; `theirs`: it was changed since by others, or is on the
    hand-over list; `refused`: the kernel does not accept the first value; `stays`: only TuneD could
    restore it, and did not, `why` where it said so. `devices` it is of, for people.
    """

    key: str
    how: str
    first: str
    applied: str
    after: str
    devices: str = ""
    why: str = ""


@dataclass(frozen=True)
class Value:
    """A requested value, and what was found on the host.

    `state` is `verified`, `different`, `unchecked`, `not-applicable` (this machine, or TuneD in a
    container, has no such thing) or `handed-over` (owned by others); `found` is what the host has,
    empty where nothing can be read; `why` it was not compared; `path` the file, empty where it is
    unknown; `section` and `plugin` request it; `by` compared it, `tuned` or `ocp-tuned-boot` or
    both, empty where nobody did.
    """

    key: str
    state: str
    expected: str
    found: str = ""
    why: str = ""
    path: str = ""
    section: str = ""
    plugin: str = ""
    by: str = ""


@dataclass(frozen=True)
class Moments:
    """When a run was where: seconds on the monotonic clock, as systemd's timestamps are. `word`:
    when its time starts, at the word or, without one, at its own start. `began`: when it began to
    wait for the word; None if it did not wait. `ready`: when READY=1 was sent; None if it was not.
    """

    word: float
    began: float | None = None
    ready: float | None = None


@dataclass(frozen=True)
class Record:
    """The last run. Times are UTC (RFC 3339) or seconds; fields not reached are empty."""

    result: Result
    started: str
    boot_id: str = ""
    action: str = ""
    reason: str = ""
    profile: str = ""
    image: str = ""
    image_id: str = ""
    contract: str = ""
    fingerprint: str = ""
    findings: tuple[Finding, ...] = ()
    steps: tuple[Step, ...] = ()
    seconds: float = 0.0
    #: None in a record of an earlier release.
    moments: Moments | None = None
    #: What was done before the word.
    early: tuple[Step, ...] = ()
    units: dict[str, str] = field(default_factory=dict)
    #: The kernel arguments that the profile requests (TuneD's bootcmdline).
    kernel_arguments: tuple[str, ...] = ()
    #: Attempts that failed before the one that the result is of.
    attempts: tuple[Attempt, ...] = ()
    #: What was read back from the host; None where that was not done.
    values: tuple[Value, ...] | None = None
    in_force: InForce | None = None
    #: The workloads that were already running when a profile was first to be applied in this boot.
    late: tuple[str, ...] = ()
    deferred: Deferred | None = None
    #: What others own, and what a guarded run did about it.
    handover: tuple[HandedOver, ...] = ()
    #: What the previous profile set and this one does not name.
    residue: tuple[Residue, ...] = ()
    #: Where the image came from: store, registry, archive or last-good.
    image_source: str = ""
    #: The number of entries that are not in the list of this name: there were too many.
    left_out: dict[str, int] = field(default_factory=dict)
    #: boot.conf's: whether TuneD exits once the profile is applied.
    mode: str = "oneshot"

    def summary(self) -> str:
        """The line `Status:` of `systemctl status`. Its pager cuts it at the width of the terminal:
        what matters most comes first, times and TuneD's own words last."""
        return " ".join(self._sentence().split())

    @property
    def leaves_active(self) -> bool:
        """Whether the unit is active after this run: then only a reload applies what is fixed."""
        return self.result not in (Result.FAILED, Result.APPLYING)

    @property
    def change_failed(self) -> bool:
        """Whether what is requested could not be applied: nothing says that it will be."""
        return any(each.kind == "change-failed" for each in self.findings)

    @property
    def late_words(self) -> str:
        """Which workloads were already running, for people. Empty if none was."""
        verb = "was" if len(self.late) == 1 else "were"
        return f"{', '.join(self.late)} {verb} already running" if self.late else ""

    def _sentence(self) -> str:
        worst = _worst(self.findings)
        if self.result is Result.APPLYING:
            # The findings, if there are any, are those of the run before.
            before = f"The previous run failed: {worst}" if worst else ""
            unfinished = f"Unfinished: TuneD is applying {self.profile}, or was interrupted"
            return _sentences(unfinished, before)
        if self.result is Result.FAILED:
            return f"Failed: {worst}" if worst else "Failed"
        if self.result is Result.DEFERRED:
            return f"Deferred: {self.profile} {_WAITS}: {self.reason}. {_NOW}"
        word = "Applied" if self.result is Result.APPLIED else "Degraded"
        if self.in_force is not None and self.action != "apply":
            name = self.in_force.profile
            since = f"Unchanged since {self.in_force.since}"
            waiting = self._waiting()
            if worst:
                more = f"{waiting[0].upper()}{waiting[1:]}" if waiting else self._nothing()
                return _sentences(f"{word}: {worst}", more, f"Profile {name}. {since}")
            return _sentences(f"{word}: {name}; {waiting}" if waiting else f"{word}: {name}",
                              "" if waiting else self._nothing(), since)  # fmt: skip
        done = f"{self.profile} in {self.seconds:.2f} s"
        done += f"; late: {self.late_words}" if self.late else ""
        return _sentences(f"{word}: {worst}", f"Profile {done}") if worst else f"{word}: {done}"

    def _nothing(self) -> str:
        """What a reload that had nothing to do says: systemctl itself says nothing."""
        if self.action != "keep" or self.in_force is None:
            return ""
        restored = [it.words for it in self.in_force.holds if it.since > self.started]
        if restored:
            return f"Nothing has changed. Restored: {', '.join(restored)}"
        return "Nothing has changed: nothing was applied"

    def _waiting(self) -> str:
        if self.deferred is None or self.change_failed:
            return ""
        what = "image" if self.deferred.waits == "image" else "profile"
        requested = getattr(self.deferred, what)
        if self.in_force is not None and getattr(self.in_force, what) == requested:
            return f"the content of {what} {requested} has changed and {_WAITS}. {_NOW}"
        return f"another {what} {_WAITS}: {requested}. {_NOW}"


def _worst(findings: tuple[Finding, ...]) -> str:
    """The first finding that is not accepted: its kind and its subject, how many more there are,
    what is wrong and what to do. Empty if there is none."""
    degrading = [finding for finding in findings if finding.degrades]
    if not degrading:
        return ""
    first = degrading[0]
    more = f"(and {len(degrading) - 1} more)" if len(degrading) > 1 else ""
    # The message of a failure before TuneD has run says what it is about.
    about = " ".join(filter(None, (first.about if first.subject else "", more)))
    return _sentences(f"{about}: {first.words[0]}" if about else first.words[0], first.words[1])


def _sentences(*texts: str) -> str:
    return ". ".join(text.rstrip(".") for text in texts if text).replace("?. ", "? ")
