"""What else affects the result, besides what TuneD itself left behind: values read back, file
descriptors that systemd holds, the image that was used. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ocp_tuned_boot.host.paths import sysctl_key
from ocp_tuned_boot.record.model import Standing, State, Value
from ocp_tuned_boot.tuned import findings
from ocp_tuned_boot.tuned.findings import Finding, make
from ocp_tuned_boot.tuned.judge import Outcome, Result, conclude

#: `accept` in boot.conf: kind, and subject with wildcards.
Accepted = Sequence[tuple[str, str]]

#: What TuneD's log says of a setting, and the value on the host may refute.
_OF_VALUES = {"overridden", "setting-refused"}
# The finding for the state of a hold.
_OF_HOLDS = {Standing.LOST: "lost-after-exit", Standing.UNASKED: "still-held"}


def with_values(outcome: Outcome, values: Sequence[Value], accepted: Accepted = ()) -> Outcome:
    """The outcome after the values were read back; a different value degrades it.

    A setting that has a finding already, refused or overridden, does not get a second one. If it
    has the requested value after all, it was neither.
    """
    verified = {name for each in values if each.state == "verified" for name in _names(each)}
    others = [
        each
        for each in outcome.findings
        if each.kind not in _OF_VALUES or each.subject not in verified
    ]
    known = {finding.subject for finding in others}
    found = [
        make(
            "value-differs",
            each.key,
            f"{each.key}: expected {each.expected!r}, found {each.found!r}",
        )
        for each in values
        # Each missing kernel argument is a finding of its own.
        if each.state == "different" and each.plugin != "bootloader"
        if known.isdisjoint(_names(each))
    ]
    return conclude([*others, *findings.accept(found, accepted)])


def _names(value: Value) -> set[str]:
    """The subjects that a finding about this value has: the option, or the sysctl or file."""
    return {value.key, sysctl_key(value.path)} - {""}


def with_findings(outcome: Outcome, found: Sequence[Finding], accepted: Accepted = ()) -> Outcome:
    """The outcome with more findings."""
    return conclude([*outcome.findings, *findings.accept(found, accepted)])


def with_holds(outcome: Outcome, states: Sequence[State], accepted: Accepted = ()) -> Outcome:
    """The outcome with the state of each hold. The log of TuneD alone makes each of them a finding:
    TuneD closes it on exit. It remains one only if systemd does not hold it."""
    # Where the state of a hold is unknown, the earlier finding stays.
    known = {state.hold.kind for state in states if state.standing is not Standing.UNKNOWN}
    others = [
        each
        for each in outcome.findings
        if each.kind not in _OF_HOLDS.values() or each.subject not in known
    ]
    found = [
        make(_OF_HOLDS[state.standing], state.hold.kind, state.words)
        for state in states
        if state.standing in _OF_HOLDS
    ]
    return conclude([*others, *findings.accept(found, accepted)])


def with_fallback_image(
    outcome: Outcome, requested: str, why: str, hint: str, accepted: Accepted = ()
) -> Outcome:
    """The outcome of a run with another image than the requested one; `why` is empty if it was
    the requested one. `hint`: what to do about it, a sentence; may be empty."""
    if not why:
        return outcome
    found = [make("image-stand-in", requested, why, hint.rstrip("."))]
    return conclude([*outcome.findings, *findings.accept(found, accepted)])


def with_fallback_profile(outcome: Outcome, fallback: Sequence[Finding]) -> Outcome:
    """The outcome of a run with the last profile that was applied; `fallback` is empty if it was
    the requested one. A fallback that failed is not in effect, and is not reported."""
    if outcome.result is Result.FAILED:
        return outcome
    return conclude([*outcome.findings, *fallback])


def without_fallback_profile(outcome: Outcome) -> Outcome:
    """The outcome once the profile that was used is the requested one."""
    return conclude([each for each in outcome.findings if each.kind != "profile-fallback"])


def without_exit(outcome: Outcome) -> Outcome:
    """The outcome at the end of a run that starts TuneD, if it is to keep running and does not."""
    if all(each.kind != "tuned-exited" for each in outcome.findings):
        return outcome
    return conclude([each for each in outcome.findings if each.kind != "tuned-exited"])


def with_exit(outcome: Outcome, found: Finding, accepted: Accepted = ()) -> Outcome:
    """The outcome once TuneD does not keep running any more, in place of an earlier time."""
    return with_findings(without_exit(outcome), [found], accepted)


def without_fallback_image(outcome: Outcome, image: str, requested: str) -> Outcome:
    """The outcome once the image that was used is the requested one: it is no fallback any more."""
    if image != requested:
        return outcome
    return conclude([each for each in outcome.findings if each.kind != "image-stand-in"])
