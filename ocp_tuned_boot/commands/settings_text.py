"""Settings for people: what differs from what was applied (`drift`), and what is in effect
(`verify`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ocp_tuned_boot.commands.terminal import Row, Style
from ocp_tuned_boot.record.model import Record, Value
from ocp_tuned_boot.settings.drift import Drift, Drifted

if TYPE_CHECKING:
    from ocp_tuned_boot.commands.verify import Checked

_NOTHING = "Nothing to compare: no profile has been applied in this boot."
#: What to type where a setting is to have the applied value again.
AGAIN = "To apply the profile again: ocp-tuned-boot reload --force"
_VERIFY = "To check the settings of all plugins: ocp-tuned-boot verify"
#: The states of a value that is not verified, in the order in which they are shown.
_UNVERIFIED = {
    "different": "different",
    "handed-over": "owned by others",
    "unchecked": "unchecked",
    "not-applicable": "not applicable",
}


def drifted(each: Drifted) -> str:
    """What a setting was, what it is, and when it changed."""
    return (
        f"{each.key}: applied {each.applied!r}, found {each.found!r}, "
        f"changed between {each.known_good} and {each.seen}"
        f"{' (owned by others)' * each.owned}"
    )


def drift(found: Drift) -> Iterator[Row]:
    """Which settings no longer have the applied value, and what to do about it."""
    if not found.compared:
        if not found.profile:
            yield Row(_NOTHING, indented=False)
            return
        yield Row(f"Nothing to compare: {found.profile} has no values of [sysctl], [sysfs] or "
                  "[vm].", indented=False)  # fmt: skip
        yield Row(_VERIFY, indented=False)
        return
    owned = len(found.drifted) - len(found.unexpected)
    counted = f"{len(found.drifted)} of {found.compared} settings differ from the applied values"
    style = Style.BAD if found.unexpected else Style.GOOD
    yield Row(
        f"{counted}; owned by others: {owned}" if owned else counted, "", style, indented=False
    )
    for each in found.drifted:
        yield Row(drifted(each), "owned" if each.owned else "drift",
                  Style.FAINT if each.owned else Style.WARNING)  # fmt: skip
    if not found.profile:
        yield Row("No profile is recorded as applied. To see why: ocp-tuned-boot status",
                  indented=False)  # fmt: skip
        return
    if found.unexpected:
        yield from _remedies(found.unexpected[0])
    yield Row(_VERIFY, indented=False)


def _remedies(first: Drifted) -> Iterator[Row]:
    yield Row(AGAIN, indented=False)
    is_sysctl = first.path.startswith("/proc/sys/")
    name, key = (first.key, "sysctls") if is_sysctl else (first.path, "files")
    yield Row(
        f"To leave a setting to the program that changes it: add {name} to {key}= in the section "
        "[handover] of /etc/ocp-tuned-boot/boot.conf, see boot.conf(5).", indented=False,
    )  # fmt: skip


def verify(found: Checked) -> Iterator[Row]:
    """Whether each setting of the profile is in effect: all that are not verified, by name."""
    if not found.profile:
        yield Row(_NOTHING, indented=False)
        return
    states = Counter(each.state for each in found.values)
    total = f"{states['verified']} of {len(found.values)} settings of {found.profile} are verified"
    counted = [f"{states[state]} {words}" for state, words in _UNVERIFIED.items() if states[state]]
    style = Style.BAD if states["different"] else Style.GOOD
    yield Row("; ".join([total, *counted]), "", style, indented=False)
    for each in by_importance(found.values):
        different = each.state == "different"
        yield Row(compared(each), "setting", Style.WARNING if different else Style.PLAIN)
    if states["different"]:
        yield Row(AGAIN, indented=False)


def by_importance(values: Iterable[Value]) -> list[Value]:
    """The values that are not verified, those that matter most first."""
    order = list(_UNVERIFIED)
    unverified = (each for each in values if each.state in order)
    return sorted(unverified, key=lambda each: order.index(each.state))


def compared(each: Value) -> str:
    """A value that is not verified."""
    name = f"[{each.section}] {each.key}" if each.section else each.key
    if each.state == "different" or (each.state == "handed-over" and not each.why):
        owned = " (owned by others)" * (each.state == "handed-over")
        return f"{name}: requested {each.expected!r}, found {each.found!r}{owned}"
    return f"{name}: {_UNVERIFIED[each.state]}: {each.why}"


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


def owned(done: Record) -> list[Row]:
    """What is owned by others, and what is left over from the previous profile."""
    shown = []
    for handed in done.handover:
        tuned = f"TuneD's {handed.tuned!r}, " if handed.tuned else ""
        shown.append(Row(
            f"{handed.key}: {_HANDED_OVER.get(handed.how, handed.how)}; "
            f"before {handed.before!r}, {tuned}now {handed.after!r}", "guarded",
        ))  # fmt: skip
    for left in done.residue:
        where = f" ({left.devices})" if left.devices else ""
        # Of what others have changed, or what TuneD has set and did not restore, not all is known.
        known = left.how in ("put-back", "refused")
        first = f"first {left.first!r}, " if left.first or known else ""
        after = f", now {left.after!r}" if left.after or known else ""
        shown.append(Row(
            f"{left.key}{where}: {_LEFT_OVER.get(left.how, left.how)}; "
            f"{first}applied {left.applied!r}{after}", "left over",
        ))  # fmt: skip
    return shown
