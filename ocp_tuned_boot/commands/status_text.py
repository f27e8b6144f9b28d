"""The status of the node for people: one screen, what matters most first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ocp_tuned_boot.commands import daemon_status
from ocp_tuned_boot.commands.settings_text import AGAIN, by_importance, compared, drifted, owned
from ocp_tuned_boot.commands.status import UNCHECKED, Now
from ocp_tuned_boot.commands.terminal import Row, Style
from ocp_tuned_boot.gate import RELEASE, without_start
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.space import full_hint, mount_point
from ocp_tuned_boot.record import conditions
from ocp_tuned_boot.record.model import Attempt, InForce, Record, Standing, Value, Waits
from ocp_tuned_boot.tuned.findings import Finding
from ocp_tuned_boot.tuned.judge import Result

#: The latency in effect without any request (microseconds): PM_QOS_CPU_LATENCY_DEFAULT_VALUE in
#: the kernel's linux/pm_qos.h.
_NO_REQUEST = 2_000_000_000
_START = "systemctl start ocp-tuned"
_WHEN = "It is applied at the next boot, or with: systemctl reload ocp-tuned"
#: Without --verbose: the rows of one kind, and the characters of a message, and of one that is
#: TuneD's or Podman's.
_FEW, _LONGEST, _QUOTED = 2, 240, 160
#: Shows everything.
VERBOSE = "ocp-tuned-boot status --verbose"


def rows(done: Record | None, now: Now, *, verbose: bool = False) -> Iterator[Row]:
    """What was done in this boot, and what has changed since then: without `verbose`, what matters
    now."""
    most = 10_000 if verbose else _FEW
    words, style = verdict(done, now)
    yield Row(words, style=style, indented=False)
    found = done.findings if done is not None else ()
    if now.held:
        # The unit is starting all the time: there is nothing to start.
        found = tuple(replace(each, advice=without_start(each.advice)) for each in found)
    yield from _to_do(done, now)
    yield from _space(done, now)
    yield from _limited(findings(found, verbose=verbose), most, "findings")
    yield from _gate(done, now)
    yield from _waiting(done, now, verbose=verbose)
    yield from daemon_status.rows(now.daemon)
    yield from _held(now, found)
    changed = [Row(drifted(each), "drift", Style.WARNING) for each in now.drifted]
    yield from _limited(changed, most, "settings")
    if now.unexpected:
        yield Row(AGAIN)
    if done is not None and done.late and done.in_force is not None:
        yield Row(_LATE, "late")
    yield from _profile(done, now)
    yield from _image(done, now)
    yield from _boot(done, now, verbose=verbose)
    if done is not None:
        yield from _values(done, verbose=verbose)
        yield from _limited(owned(done), most, "settings")
        yield from _run(done, verbose=verbose)
    if now.foreign:
        yield Row(_foreign(now.foreign), "left out")
    if verbose or not now.is_normal:
        yield Row(_units(now), "units")
    if now.hidden:
        yield Row(now.hidden, "hidden", Style.FAINT)


# The first line, and what to do about it.


def verdict(done: Record | None, now: Now) -> tuple[str, Style]:
    """Whether the node is tuned, since when and with what, in one sentence."""
    if now.running and not (done is not None and done.in_force is not None):
        return _under_way(now)
    if done is None:
        since = "since the soft-reboot" if now.before else "in this boot"
        return f"Not tuned: no profile has been applied {since}", Style.BAD
    if done.result is Result.DEFERRED:
        words = f"Not tuned: {done.profile} waits for the next boot or a reload: {done.reason}"
        return words, Style.BAD
    if done.in_force is None:
        return f"Not tuned: {_cause(done, now)}", Style.BAD
    tuned, since = _tuned(done, done.in_force, now), _since_then(done, now)
    if done.result is Result.DEGRADED:
        return f"Degraded: {tuned.removeprefix('tuned: ')}{since}", Style.WARNING
    return f"{tuned[0].upper()}{tuned[1:]}{since}", Style.WARNING if since else Style.GOOD


def _under_way(now: Now) -> tuple[str, Style]:
    if now.held:
        return "Not tuned: the boot is held until the profile is applied", Style.BAD
    left = f", {now.left:.0f} s left" if now.left else ""
    return f"Tuning{left}", Style.WARNING


def _cause(done: Record, now: Now) -> str:
    if done.result is Result.APPLYING:
        return f"a run was interrupted while TuneD was applying {done.profile}"
    active = [name for name in now.workloads if now.units[name].state == "active"]
    if active:
        verb = "runs" if len(active) == 1 else "run"
        return f"{', '.join(active)} {verb} without the profile"
    return "the profile could not be applied"


def _tuned(done: Record, applied: InForce, now: Now) -> str:
    """`tuned before the kubelet: site, 112 ms`."""
    # The line of the unit says so only after a stop: a run by hand leaves an inactive one, too.
    stopped = now.unit.state == "inactive" and now.unit.text.startswith("Stopped")
    if done.late:
        return f"tuned late{' (stopped)' * stopped}: {applied.profile}; {done.late_words}"
    if stopped:
        return f"tuned (stopped): {applied.profile}, since {_clock(applied.since)}"
    if len(now.applied) != 1:
        return f"tuned: {applied.profile}, since {_clock(applied.since)}"
    (first,) = now.applied
    moments = first.moments
    seconds = first.seconds
    if moments is not None and moments.ready is not None:
        seconds = moments.ready - moments.word
    whom = _before(now.workloads)
    return f"tuned{whom}: {applied.profile}, {took(seconds)}"


# Container engines: what does not belong to them is a kubelet.
_ENGINES = ("crio.service", "containerd.service", "docker.service", "cri-docker.service")


def _before(workloads: Sequence[str]) -> str:
    """Before what the profile was applied."""
    if not workloads:
        return ""
    kubelet = any(name not in _ENGINES for name in workloads)
    return " before the kubelet" if kubelet else f" before {', '.join(workloads)}"


def _since_then(done: Record, now: Now) -> str:
    """What is not as it was applied any more."""
    number = len(now.unexpected)
    changed = f"; {number} setting{'s' * (number != 1)} changed since" if number else ""
    failed = "; a change has failed" if done.change_failed else "; a change waits" * _waits(done)
    full = [str(mount_point(each.folder)) for each in now.low if each.is_full]
    return changed + failed + "".join(f"; {where} is full" for where in dict.fromkeys(full))


def _waits(done: Record) -> bool:
    """Whether another profile or image waits. One that the last run could not get is in its
    finding."""
    if done.deferred is None:
        return False
    missed = ("image-stand-in", done.deferred.image)
    if done.deferred.waits == Waits.IMAGE.value:
        return missed not in ((it.kind, it.subject) for it in done.findings)
    return done.deferred.waits == Waits.PROFILE.value


def took(seconds: float) -> str:
    """A time, as short as it says enough."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _clock(time: str) -> str:
    """A time of a record without its fraction of a second."""
    return f"{time[:19].replace('T', ' ')} UTC" if len(time) > 19 else time


def _to_do(done: Record | None, now: Now) -> Iterator[Row]:
    """What is going on; where no run is recorded, why not and what to type."""
    if done is not None and done.in_force is not None:
        if now.running:
            yield Row(f"{_line(now) or 'a run is active'}{_left(now)}", "running", Style.WARNING)
        return
    # The line of a unit that is held says what the finding says.
    if now.running and not (now.held and done is not None and done.findings):
        yield Row(_line(now) or "A run is active.", "step", Style.WARNING)
    if now.before:
        yield Row(
            "User space was started again (soft-reboot): what was applied before does not count.",
            "soft-reboot", Style.WARNING,
        )  # fmt: skip
    if done is None and not now.running:
        yield from _why_nothing(now)


_LATE = (
    "What CRI-O, irqbalance, the CNI or the administrator own was left as it is. "
    "To apply the whole profile, before the kubelet: systemctl reboot"
)


def _gate(done: Record | None, now: Now) -> Iterator[Row]:
    """What follows where no profile is applied, and what to type then: once, after the cause."""
    if done is not None and done.in_force is not None:
        return
    said = [each.advice for each in done.findings] if done is not None else [now.unit.text]
    if now.held:
        if not any(RELEASE in each for each in said):
            yield Row(f"closed: {RELEASE}", "gate", Style.BAD)
    elif now.gated:
        yield Row(
            "closed: the kubelet waits until the profile is applied. "
            "To start the kubelet without it: systemctl stop ocp-tuned", "gate", Style.WARNING,
        )  # fmt: skip
    elif now.unit.state == "failed" and not any(_START in each for each in said):
        yield Row(f"Once this is fixed: {_START}")


def _space(done: Record | None, now: Now) -> Iterator[Row]:
    """Where there is hardly space. What the last run could not record is in the unit's line."""
    recorded = not any(each.is_full and each.is_run for each in now.low)
    for each in now.low:
        style = Style.BAD if each.is_full else Style.WARNING
        hint = f"\n{full_hint(each.folder)}" if each.is_full else ""
        yield Row(f"{each.words}. {each.lost}{hint}", "space", style)
    # Without a record that line is shown in any case.
    if done is not None and not recorded and now.unit.text and not now.running:
        yield Row(_line(now), "unit", Style.WARNING)


def _left(now: Now) -> str:
    return f"; {now.left:.0f} s left" if now.left else ""


def _why_nothing(now: Now) -> Iterator[Row]:
    """Why no run of this boot is recorded."""
    unit, name = now.unit, systemd.UNIT
    if unit.file in ("masked", "masked-runtime", "disabled"):
        verb = "enable --now" if unit.file == "disabled" else "unmask"
        yield Row(f"{name} is {unit.file}. To change that: systemctl {verb} ocp-tuned", "unit",
                  Style.BAD)  # fmt: skip
    elif not unit.state:
        yield Row(f"{name} is not installed, or systemd does not answer.", "unit", Style.BAD)
    elif unit.text and unit.state == "failed":
        yield Row(_line(now), "unit", Style.BAD)
    elif unit.skipped:
        yield Row(
            "Nothing is requested: there is neither /var/lib/ocp-tuned/image.env nor a boot.conf. "
            "Set image and profile in /etc/ocp-tuned-boot/boot.conf, then: "
            "systemctl start ocp-tuned", "unit", Style.WARNING,
        )  # fmt: skip
    else:
        yield Row("To see why: systemctl status ocp-tuned", "unit", Style.WARNING)
    if now.unread:
        yield Row(now.unread, "request", Style.BAD)
    elif unit.state == "inactive" and not unit.skipped and unit.file == "enabled":
        yield Row("To apply the profile: systemctl start ocp-tuned", "", Style.PLAIN)


# What is wrong, and what waits.


def findings(found: Iterable[Finding], *, verbose: bool = True) -> list[Row]:
    """Each finding with what to do; those that are accepted last, without. Without `verbose`, the
    middle of a long message is left out."""
    shown = []
    for finding in sorted(found, key=lambda each: each.accepted):
        told = finding
        if not verbose:
            told = replace(finding, message=_short(finding.message, _longest(finding)))
        accepted = "(accepted) " if finding.accepted else ""
        first, second = (told.message, "") if finding.accepted else told.words
        words = f"{accepted}{finding.about}: {first}" + (f"\n{second}" if second else "")
        style = Style.FAINT if finding.accepted else Style.WARNING
        shown.append(Row(words, "finding", Style.BAD if finding.fatal else style))
    return shown


def _longest(finding: Finding) -> int:
    return _QUOTED if finding.words[0] is not finding.message else _LONGEST


def _short(message: str, longest: int = _LONGEST) -> str:
    """A message without its middle, if it is long: its begin says what failed, its end why."""
    if len(message) <= longest:
        return message
    # Whole words, if there are any.
    begin, end = message[: longest // 2], message[-(longest // 2) :]
    return f"{begin.rpartition(' ')[0] or begin} ... {end.partition(' ')[2] or end}"


def _line(now: Now) -> str:
    """The line of the unit, which has everything about a failure."""
    return _short(now.unit.text, 4 * _LONGEST)


def _waiting(done: Record | None, now: Now, *, verbose: bool) -> Iterator[Row]:
    # What has changed by now is more than what was recorded.
    if done is not None and done.deferred is not None and not now.waits:
        waits = done.deferred
        when = "" if done.change_failed else f". {_WHEN}"
        yield Row(
            f"{waits.waits}: {waits.profile}, {waits.image}, since {_clock(waits.since)}{when}",
            "deferred", Style.WARNING,
        )  # fmt: skip
    found = done.findings if done is not None else ()
    # That boot.conf is broken is said once.
    known = now.waits.partition(UNCHECKED)[2]
    if now.waits and not (known and any(known in each.message for each in found)):
        pending = now.waits if verbose else _short(now.waits)
        yield Row(pending, "pending", Style.WARNING)
    if now.pull and not any(now.pull in each.message for each in found):
        why = now.pull if verbose else _short(now.pull, _QUOTED)
        yield Row(f"failed: {why}", "pull", Style.WARNING)


def _held(now: Now, told: Sequence[Finding]) -> Iterator[Row]:
    for state in now.holds:
        lost = state.standing is not Standing.IN_FORCE
        if not any(state.words in each.message for each in told):
            yield Row(state.words, "held", Style.BAD if lost else Style.PLAIN)
    if any(state.hold.kind == "force_latency" for state in now.holds) and now.latency is not None:
        found = f"{now.latency} µs is in effect now, the minimum of all requests"
        yield Row(found if now.latency != _NO_REQUEST else "no request is in effect", "latency")
    if now.superfluous:
        yield Row(
            f"systemd stores {now.stored}, {now.superfluous} more than requested; "
            "see FILE DESCRIPTORS in ocp-tuned.service(8)", "held", Style.WARNING,
        )  # fmt: skip


def _limited(shown: Sequence[Row], most: int, what: str) -> Iterator[Row]:
    """No more rows than that, and how many are left out."""
    yield from shown[:most]
    if len(shown) > most:
        number = len(shown) - most
        yield Row(f"{number} more {what[:-1] if number == 1 else what}: {VERBOSE}")


# What was applied.


def _values(done: Record, *, verbose: bool) -> Iterator[Row]:
    if done.in_force is not None and not done.in_force.compared:
        yield Row("not compared with the host yet; see: ocp-tuned-boot drift", "values")
    if done.values is None:
        return
    # "verified" is the last one, and true of the time of the run.
    states = Counter(value.state for value in done.values)
    counted = ", ".join(f"{states[state]} {state}" for state in sorted(states)) or "none"
    yield Row(f"{counted} when applied" if "verified" in states else counted, "values")
    # What this machine does not have is a long list on a virtual machine, and nothing is wrong.
    shown = by_importance(done.values)
    named = [each for each in shown if verbose or each.state != "not-applicable"]
    yield from _limited([_value(each) for each in named], 10_000 if verbose else _FEW, "settings")


def _value(each: Value) -> Row:
    return Row(
        compared(each), "setting", Style.WARNING if each.state == "different" else Style.PLAIN
    )


def _profile(done: Record | None, now: Now) -> Iterator[Row]:
    applied = done.in_force if done else None
    name = applied.profile if applied else done.profile if done else ""
    named = now.named.profile if now.named else ""
    if name:
        where = f", named in {now.named.profile_in}" if now.named and name == named else ""
        included = [each for each in applied.profiles if each != name] if applied else []
        chain = f"; it includes {', '.join(included)}" if included else ""
        yield Row(f"{name}{where}{chain}", "profile")
    if now.named and name != named:
        yield Row(f"profile {named}, named in {now.named.profile_in}", "requested")


def _image(done: Record | None, now: Now) -> Iterator[Row]:
    image = done.image if done else ""
    named = now.named.image if now.named else ""
    if done is not None and image:
        where = f"named in {now.named.image_in}" if now.named and image == named else ""
        source = f"from: {done.image_source}" if done.image_source else ""
        known = f"ID {done.image_id[:12]}" if done.image_id else ""
        yield Row(", ".join(filter(None, (image, known, source, where))), "image")
    if now.named:
        if image != named:
            yield Row(f"image {named}, named in {now.named.image_in}", "requested")
        yield from (Row(words, "requested", Style.WARNING) for words in now.named.overruled)


def _boot(done: Record | None, now: Now, *, verbose: bool) -> Iterator[Row]:
    if done is None:
        return
    if done.in_force is not None:
        yield Row(_applied(done.in_force, now), "applied")
    if not verbose:
        return
    if not now.gated:
        yield Row(now.gate, "gate")
    yield Row(done.boot_id, "boot ID") if done.boot_id else Row("unknown", "boot ID")
    shown = (
        f"{each['type']}={each['status']} {each['reason']}" for each in conditions.of_record(done)
    )
    yield Row(", ".join(words.strip() for words in shown), "conditions")


def _applied(applied: InForce, now: Now) -> str:
    """When the profile was applied and, if it is not the first one of this boot, what came first:
    the kubelet was started with that one."""
    since = _clock(applied.since)
    if len(now.applied) <= 1:
        return since
    first = now.applied[0]
    when = "late" if first.late else _before(now.workloads).strip() or "at boot"
    return f"{since}; first in this boot: {first.profile}, {when}"


def _run(done: Record, *, verbose: bool) -> Iterator[Row]:
    """The last run."""
    if verbose:
        if done.action:
            yield Row(f"{done.action}: {done.reason}", "decision")
        yield Row(f"{_clock(done.started)}, {took(done.seconds)}", "last run")
        if done.steps:
            yield Row(_steps(done), "steps")
        yield from (Row(f"{it.name}: {it.seconds:.3f} s", "step") for it in done.steps)
        yield from (Row(_attempt(it), "attempt") for it in done.attempts)
        yield Row(done.fingerprint, "fingerprint")
    elif done.attempts:
        last = done.attempts[-1]
        number = len(done.attempts) + done.left_out.get("attempts", 0)
        # A finding says why.
        why = "" if done.findings else f", the last: {last.kind}: {_short(last.message)}"
        yield Row(f"{number} failed in {last.at:.0f} s{why}", "attempts")
    for name, number in done.left_out.items():
        words = f"{number} more {name.replace('_', ' ')}: the record would be too large"
        yield Row(words, "left out")


def _steps(done: Record) -> str:
    """Each step once, with all of its time: an attempt may have repeated it."""
    times = Counter(step.name for step in done.steps)
    total = dict.fromkeys(times, 0.0)
    for step in done.steps:
        total[step.name] += step.seconds
    return ", ".join(
        f"{name} {took(total[name])}{f' ({times[name]} times)' if times[name] > 1 else ''}"
        for name in times
    )


def _attempt(it: Attempt) -> str:
    return f"failed after {it.at:.1f} s, {it.kind}: {it.message}"


def _foreign(names: Sequence[str]) -> str:
    """What was in /var when this machine was booted for the first time."""
    boots = sum(name.startswith("history/") for name in names)
    found = [name for name in names if not name.startswith("history/")]
    found += [f"the history of {boots} boot{'s' * (boots != 1)}"] if boots else []
    return (
        "/var/lib/ocp-tuned-boot was written on another machine, such as the seed of an upgrade. "
        f"What that has recorded was not used, and was removed: {', '.join(found)}"
    )


def _is_normal(now: Now) -> bool:
    """Whether the unit and the workloads run, and no pull and no other TuneD."""
    needed = (systemd.UNIT, *now.workloads)
    return all(
        unit.state == ("active" if name in needed else "inactive")
        for name, unit in now.units.items()
    )


def _units(now: Now) -> str:
    shown = [f"{name}: {unit.state}" for name, unit in now.units.items()]
    return ", ".join(shown) or "systemd does not answer"
