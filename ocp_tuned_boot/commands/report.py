"""Plans and records as text for people: one item a line, its name in the first column."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ocp_tuned_boot.gate import OPENED
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.record.history import Boot
from ocp_tuned_boot.record.model import Record, Value
from ocp_tuned_boot.settings.drift import Drift, Drifted
from ocp_tuned_boot.tuned.findings import Finding

if TYPE_CHECKING:
    from ocp_tuned_boot.commands.staging import Listed
    from ocp_tuned_boot.commands.status import Now
    from ocp_tuned_boot.commands.verify import Checked
    from ocp_tuned_boot.preview import Preview


#: The latency in effect without any request (microseconds): PM_QOS_CPU_LATENCY_DEFAULT_VALUE in
#: the kernel's linux/pm_qos.h.
_NO_REQUEST = 2_000_000_000


def plan_json(preview: Preview) -> str:
    """What `apply` would do, for programs."""
    requested = preview.requested
    content: dict[str, Any] = {
        "decision": asdict(preview.decision),
        "profile": requested.profile,
        "image": {"reference": requested.image, "state": preview.image},
        "named_in": {"image": requested.image_named_in, "profile": requested.named_in},
        "notes": preview.notes,
        "contract": requested.contract,
        "boot_id": requested.boot_id,
        "provider": requested.provider,
        "fingerprint": requested.fingerprint,
        "files": [file.path for file in requested.files],
        "findings": [asdict(each) for each in (*requested.doubts, *requested.fallback)],
        "container": asdict(preview.container) if preview.container else None,
    }
    return json.dumps(content, indent=2)


def plan_text(preview: Preview) -> str:
    """What `apply` would do, for people."""
    requested = preview.requested
    guarded = ", guarded" if preview.decision.guarded else ""
    lines = [
        f"{preview.decision.action.value}{guarded}: {preview.decision.reason}",
        f"  profile      {requested.profile} (custom profile files: {len(requested.files)})",
        f"  image        {requested.image} ({preview.image})",
        f"  named in     {requested.named_in} (profile)",
        f"               {requested.image_named_in} (image)",
        f"  fingerprint  {requested.fingerprint}",
    ]
    lines += [f"  note         {words}" for words in preview.notes]
    lines += _findings((*requested.doubts, *requested.fallback))
    lines += [f"  held         {it.words}; apply would restore it" for it in preview.lost]
    if preview.container:
        lines += [
            f"  container    {preview.container.name}: {' '.join(preview.container.entrypoint)}",
            "               privileged; host network, PID, IPC and UTS; SELinux label disabled",
        ]
        lines += [
            f"  mount        {mount.source} at {mount.target}{' (read-only)' * mount.read_only}"
            for mount in preview.container.mounts
        ]
    return "\n".join(lines)


def status_text(done: Record | None, now: Now) -> str:
    """What was done in this boot, and what has changed since then, for people."""
    if done is None:
        lines = ["No profile has been applied in this boot. See: systemctl status ocp-tuned"]
    else:
        lines = [done.summary(), *_done(done), *_owned(done), *_findings(done.findings)]
    if now.gated:
        lines += [
            "  gate         closed: the kubelet waits until the profile is applied",
            "               To start the kubelet without it: systemctl stop ocp-tuned",
        ]
    elif _is_released(done, now):
        lines.append(f"  gate         open: {OPENED}")
    if now.waits:
        lines.append(f"  pending      {now.waits}")
    lines += [f"  requested    {words}" for words in now.named]
    if now.pull:
        lines.append(f"  pull         failed: {now.pull}")
    lines += [f"  drift        {_drifted(each)}" for each in now.drifted]
    lines += _held(now)
    lines += [f"  unit         {name}: {state}" for name, state in now.units.items()]
    return "\n".join(lines)


def _is_released(done: Record | None, now: Now) -> bool:
    """Whether the units that wait for the profile were started without it."""
    failed = now.units.get(systemd.UNIT) == "failed" and not now.gated
    return failed and (done is None or done.in_force is None)


def status_json(done: Record | None, now: Now) -> str:
    """The same for programs."""
    return json.dumps({"record": asdict(done) if done else None, **now.content()}, indent=2)


def _held(now: Now) -> Iterator[str]:
    for state in now.holds:
        yield f"  held         {state.words}"
    if any(state.hold.kind == "force_latency" for state in now.holds) and now.latency is not None:
        found = f"{now.latency} µs is in effect now, the minimum of all requests"
        yield f"  latency      {found if now.latency != _NO_REQUEST else 'no request is in effect'}"
    if now.superfluous:
        yield (
            f"  held         systemd stores {now.stored}, {now.superfluous} more than requested; "
            "see FILE DESCRIPTORS in ocp-tuned-boot(8)"
        )


def _done(done: Record) -> Iterator[str]:
    shown = {
        "started": done.started,
        "decision": f"{done.action}: {done.reason}" if done.action else "",
        "late": done.late_words,
        "profile": done.profile,
        "image": f"{done.image} (from: {done.image_source})" * bool(done.image_source)
        or done.image,
        "image ID": done.image_id,
        "fingerprint": done.fingerprint,
        "boot ID": done.boot_id,
    }
    yield from (f"  {name:<12} {text}" for name, text in shown.items() if text)
    if done.in_force is not None and done.in_force.profile != done.profile:
        yield f"  applied      {done.in_force.profile}, since {done.in_force.since}"
    if done.deferred is not None:
        yield (
            f"  deferred     {done.deferred.waits}: {done.deferred.profile}, "
            f"{done.deferred.image}, since {done.deferred.since}"
        )
    yield from (f"  step         {step.name}: {step.seconds:.3f} s" for step in done.steps)
    for each in done.attempts:
        yield f"  attempt      failed after {each.at:.1f} s, {each.kind}: {each.message}"
    if done.values is not None:
        states = Counter(value.state for value in done.values)
        counted = ", ".join(f"{states[state]} {state}" for state in sorted(states)) or "none"
        yield f"  values       {counted}"
        yield from (f"  setting      {_checked(each)}" for each in _unverified(done.values))
    if done.in_force is not None and not done.in_force.compared:
        yield "  values       not compared with the host yet; see: ocp-tuned-boot drift"
    for name, number in done.left_out.items():
        words = f"{number} more {name.replace('_', ' ')}"
        yield f"  left out     {words}: the record would be too large"


_HANDED_OVER = {
    "left-out": "not set by TuneD in this run",
    "changed": "changed by another program during this run, and left as it is",
}
_LEFT_OVER = {
    "put-back": "restored",
    "theirs": "left as it is, because it is owned by others",
    "refused": "NOT restored: the kernel refused the first value",
    "stays": "NOT restored",
}


def _owned(done: Record) -> Iterator[str]:
    """What is owned by others, and what is left over from the previous profile."""
    for handed in done.handover:
        tuned = f"TuneD's {handed.tuned!r}, " if handed.tuned else ""
        yield (
            f"  guarded      {handed.key}: {_HANDED_OVER.get(handed.how, handed.how)}; "
            f"before {handed.before!r}, {tuned}now {handed.after!r}"
        )
    for left in done.residue:
        where = f" ({left.devices})" if left.devices else ""
        # Of what others have changed, or what TuneD has set and did not restore, not all is known.
        known = left.how in ("put-back", "refused")
        first = f"first {left.first!r}, " if left.first or known else ""
        now = f", now {left.after!r}" if left.after or known else ""
        yield (
            f"  left over    {left.key}{where}: {_LEFT_OVER.get(left.how, left.how)}; "
            f"{first}applied {left.applied!r}{now}"
        )


def _findings(findings: Iterable[Finding]) -> Iterator[str]:
    for finding in findings:
        accepted = "(accepted) " if finding.accepted else ""
        about = finding.kind
        if not finding.message.startswith(finding.subject):
            about = f"{finding.kind} {finding.subject}"
        yield f"  finding      {accepted}{about}: {finding.message}"
        if finding.advice and not finding.accepted:
            yield f"               {finding.advice}"


def _drifted(each: Drifted) -> str:
    return (
        f"{each.key}: applied {each.applied!r}, found {each.found!r}, "
        f"changed between {each.known_good} and {each.seen}"
        f"{' (owned by others)' * each.owned}"
    )


def drift_text(found: Drift) -> str:
    """Which settings no longer have the applied value, for people."""
    if not found.compared:
        if not found.profile:
            return "Nothing to compare: no profile has been applied in this boot."
        none = f"Nothing to compare: {found.profile} has no values of [sysctl], [sysfs] or [vm]."
        return f"{none}\n{_VERIFY}"
    owned = len(found.drifted) - len(found.unexpected)
    counted = f"{len(found.drifted)} of {found.compared} settings differ from the applied values"
    lines = [f"{counted}; owned by others: {owned}" if owned else counted]
    lines += [f"  {_drifted(each)}" for each in found.drifted]
    if not found.profile:
        return "\n".join(
            [*lines, "No profile is recorded as applied. To see why: ocp-tuned-boot status"]
        )
    return "\n".join([*lines, _VERIFY])


def drift_json(found: Drift) -> str:
    """The same for programs."""
    return json.dumps(asdict(found), indent=2)


_VERIFY = "To check the settings of all plugins: ocp-tuned-boot verify"
#: The states of a value that is not verified, in the order in which they are shown.
_UNVERIFIED = {
    "different": "different",
    "handed-over": "owned by others",
    "unchecked": "unchecked",
    "not-applicable": "not applicable",
}


def checked_text(found: Checked) -> str:
    """Whether each setting of the profile is in effect, for people: all that are not verified, by
    name."""
    if not found.profile:
        return "Nothing to compare: no profile has been applied in this boot."
    states = Counter(each.state for each in found.values)
    total = f"{states['verified']} of {len(found.values)} settings of {found.profile} are verified"
    counted = [f"{states[state]} {words}" for state, words in _UNVERIFIED.items() if states[state]]
    lines = ["; ".join([total, *counted])]
    lines += [f"  {_checked(each)}" for each in _unverified(found.values)]
    return "\n".join(lines)


def _unverified(values: Iterable[Value]) -> Iterator[Value]:
    """The values that are not verified, those that matter most first."""
    order = list(_UNVERIFIED)
    yield from sorted(
        (each for each in values if each.state in order), key=lambda each: order.index(each.state)
    )


def _checked(each: Value) -> str:
    name = f"[{each.section}] {each.key}" if each.section else each.key
    if each.state == "different" or (each.state == "handed-over" and not each.why):
        owned = " (owned by others)" * (each.state == "handed-over")
        return f"{name}: requested {each.expected!r}, found {each.found!r}{owned}"
    return f"{name}: {_UNVERIFIED[each.state]}: {each.why}"


def checked_json(found: Checked) -> str:
    """The same for programs."""
    return json.dumps(asdict(found), indent=2)


def rows_json(rows: Sequence[Boot | Listed]) -> str:
    """Images or boots, for programs."""
    return json.dumps([asdict(row) for row in rows], indent=2)


def images_text(rows: Sequence[Listed]) -> str:
    """The images that are known to this program, for people."""
    return "\n".join(
        f"{row.role:<10} {row.reference}  "
        f"{row.archive or (f'ID {row.id[:12]}' if row.id else 'not on the node')}"
        for row in rows
    )


def history_text(boots: Sequence[Boot]) -> str:
    """The runs of the last boots, for people."""
    lines = []
    for boot in boots:
        lines.append(f"boot {boot.boot_id}")
        lines += [f"  {run.started}  {run.action or '-':<13} {run.summary}" for run in boot.runs]
    return "\n".join(lines) or "No run has been recorded."
