"""Whether the settings that a profile requests are in effect, after TuneD has exited: by TuneD's
own comparison, and by that of this program.

The run that applied the profile does so once it is ready. If it was killed before that, the next
run does it first.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ocp_tuned_boot.errors import HostError, NewerVersion
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record.amend import with_findings, with_values
from ocp_tuned_boot.record.model import InForce, Residue, State, Value, now
from ocp_tuned_boot.record.recorder import Recorder
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.settings import handover, notation, residue, values
from ocp_tuned_boot.settings.residue import Settings
from ocp_tuned_boot.tuned.asked import Unverified
from ocp_tuned_boot.tuned.judge import Outcome, conclude

if TYPE_CHECKING:
    from ocp_tuned_boot.tuned.asked import Asked, Comparison, Original, Restored, Verified
    from ocp_tuned_boot.tuned.said import Said
    from ocp_tuned_boot.tuned.wanted import Setting

log = logging.getLogger(__name__)

_US = "ocp-tuned-boot"
_BOTH = f"tuned, {_US}"
_SCRIPTS = ("script_pre", "script_post")
#: The states of a comparison, and of a value; the first one of several comparisons counts.
_WORST = (
    ("failed", "different"), ("unchecked", "unchecked"), ("handed-over", "handed-over"),
    ("passed", "verified"), ("not-applicable", "not-applicable"),
)  # fmt: skip


@dataclass(frozen=True)
class Requested:
    """What a profile requests. `meaning` is what TuneD said about it; None if it could not, and
    `unknown` is the reason then. `held` is what it found when it compared; None if it did not, and
    `unheld` is the reason, if it is known. `originals` and `restored` as in asked.py."""

    settings: tuple[Setting, ...]
    meaning: Asked | None = None
    held: Verified | None = None
    unknown: str = ""
    unheld: str = ""
    originals: tuple[Original, ...] = ()
    restored: tuple[Restored, ...] = ()


def requested(said: Said | None, unknown: str = "") -> Requested:
    """From what TuneD said; `unknown`: why it said nothing."""
    from ocp_tuned_boot.tuned import wanted  # noqa: PLC0415  # not for `drift`

    if said is not None:
        meaning = said.asked()
        if meaning is not None:
            return at_end(Requested(wanted.settings(meaning), meaning), said.end())
        unknown = said.reason()
    return Requested(wanted.unknown(unknown), unknown=unknown)


def at_end(profile: Requested, end: Verified | Unverified | None) -> Requested:
    """With what TuneD said at the end of its run, or None if it said nothing."""
    if end is None:
        return profile
    profile = replace(profile, originals=end.originals, restored=end.restored)
    if isinstance(end, Unverified):
        return replace(profile, unheld=end.reason)
    return replace(profile, held=end)


def compare(
    paths: Paths, known: Settings, profile: Requested, owned: Collection[str],
    held: Iterable[State] = (),
) -> tuple[tuple[Value, ...], tuple[Residue, ...]]:  # fmt: skip
    """Restores the settings that only the previous profile set, and compares those of this one;
    both are recorded in `settings.json`. `owned`: the files on the hand-over list; `held`: what
    systemd holds. Raises `HostError`."""
    known, left = residue.put_back(paths.root, known, profile.settings, owned)
    known, more = _others(replace(known, begun=""), profile, owned)
    found = values.read_back(paths.root, profile.settings, owned)
    residue.store(paths, residue.after(paths.root, known, found, profile.settings, now()))
    return _judged(profile, found, owned, held), (*left, *more)


def with_unfinished(known: Settings, profile: Requested) -> Settings:
    """With what a run of this profile may have set in other plugins, which was not recorded."""
    if profile.meaning is None:
        return known
    from ocp_tuned_boot.settings import others  # noqa: PLC0415  # hardly any run needs it

    begun = others.of_profile(profile.meaning, _rows(profile), profile.originals)
    return replace(known, others=others.with_unfinished(known.others, begun))


def _rows(profile: Requested) -> tuple[Comparison, ...]:
    """TuneD's comparisons, if there are any."""
    return profile.held.rows if profile.held is not None else ()


def _others(
    known: Settings, profile: Requested, owned: Collection[str]
) -> tuple[Settings, tuple[Residue, ...]]:
    """The settings of other plugins. Of a profile that is not known, nothing is: what earlier ones
    have set is kept for a later one."""
    if profile.meaning is None or profile.meaning.left:
        return known, ()
    from ocp_tuned_boot.settings import others  # noqa: PLC0415  # once the unit is ready

    now_set = others.of_profile(profile.meaning, _rows(profile), profile.originals)
    there = others.named(profile.meaning)
    kept, left = others.settled(known.others, now_set, there, profile.restored, owned)
    return replace(known, others=kept), left


def judged(
    paths: Paths, profile: Requested, owned: Collection[str], held: Iterable[State]
) -> tuple[Value, ...]:
    """Whether each setting of the profile is in effect now; see `compare`. Changes nothing."""
    return _judged(profile, values.read_back(paths.root, profile.settings, owned), owned, held)


def _judged(
    profile: Requested, found: Sequence[Value], owned: Collection[str], held: Iterable[State]
) -> tuple[Value, ...]:
    plugins = [_owned(value, owned) for value in _of_plugins(profile, tuple(held))]
    return (*_combined(profile, found), *plugins)


def _combined(profile: Requested, found: Sequence[Value]) -> Iterator[Value]:
    """The values that this program reads, with TuneD's comparisons: `different` only if both find
    them so."""
    rows: dict[str, list[Comparison]] = {}
    for row in _rows(profile):
        rows.setdefault(row.section, []).append(row)
    for value in found:
        yield _agreed(value, [it for it in rows.get(value.section, ()) if _is_of(it, value)])


def _is_of(row: Comparison, value: Value) -> bool:
    if row.device and value.path:
        return row.device == value.path or (row.option == value.key and row.device == value.key)
    return row.option == value.key


def _agreed(value: Value, rows: Sequence[Comparison]) -> Value:
    states = {row.state for row in rows}
    if value.state == "verified":
        return replace(value, by=_BOTH if states == {"passed"} else _US)
    if value.state == "handed-over":
        return value
    if states == {"not-applicable"}:
        return replace(value, state="not-applicable", why=rows[0].why or value.why)
    if states == {"passed"} and all(_is_still(row, value) for row in rows):
        return replace(value, state="verified", why="", by="tuned")
    both = value.state == "different" and "failed" in states
    return replace(value, by=_BOTH if both else _US if value.state == "different" else "")


def _is_still(row: Comparison, value: Value) -> bool:
    """Whether the host still has what TuneD found, which TuneD takes for what was requested."""
    if value.state == "unchecked" or not row.found:
        return True
    return notation.equal(row.found, value.found, value.path)


def _of_plugins(profile: Requested, held: tuple[State, ...]) -> Iterator[Value]:
    """The options that only TuneD compares, one value for each, whatever the number of devices."""
    from ocp_tuned_boot.tuned.wanted import PLUGINS, in_effect  # noqa: PLC0415

    if profile.meaning is None:
        return
    unheld = f": {profile.unheld}" if profile.unheld else ""
    rows: dict[tuple[str, str], list[Comparison]] = {}
    for row in _rows(profile):
        rows.setdefault((row.section, row.option), []).append(row)
    for section in in_effect(profile.meaning):
        for option in section.options:
            if section.type in PLUGINS and option.option not in _SCRIPTS:
                continue
            found = rows.get((section.name, option.option)) or rows.get((section.name, ""), [])
            if {row.state for row in found} == {"parameter"}:
                continue
            key = f"{section.type}.{option.option}"
            value = Value(
                key, "unchecked", option.value, why=f"TuneD has not compared it{unheld}",
                section=section.name, plugin=section.type,
            )  # fmt: skip
            yield _held(_folded(value, found), held)


def _folded(value: Value, rows: Sequence[Comparison]) -> Value:
    """One value of the comparisons of an option with each device. The worst one counts."""
    differs = any(row.state == "failed" for row in rows)
    if value.plugin == "modules" and differs and not any(row.found for row in rows):
        # TuneD writes the options to modprobe.d, and compares those of modules that are loaded.
        why = "the module is not loaded, or has no such parameter"
        return replace(value, why=why)
    for state, ours in _WORST:
        these = [row for row in rows if row.state == state]
        if not these:
            continue
        first = these[0]
        found = f"{first.device}: {first.found}" if first.device else first.found
        more = f" and {len(these) - 1} more" if len(these) > 1 and state == "failed" else ""
        by = _judges(these) if ours in ("verified", "different") else ""
        shown = found + more if ours == "different" else first.found
        expected = first.expected or value.expected
        return replace(value, state=ours, expected=expected, found=shown, why=first.why, by=by)
    return value


def _owned(value: Value, owned: Collection[str]) -> Value:
    """A guarded run leaves out the section of irqbalance, and TuneD compares nothing."""
    if value.plugin == handover.IRQBALANCE and handover.IRQBALANCE_FILE in owned:
        why = f"on the hand-over list: {handover.IRQBALANCE_FILE}"
        return replace(value, state="handed-over", why=why, by="")
    return value


def _judges(rows: Sequence[Comparison]) -> str:
    return ", ".join(sorted({row.by or "tuned" for row in rows}, reverse=True))


def _held(value: Value, held: Sequence[State]) -> Value:
    """A setting whose file descriptor systemd holds is in effect as long as it does."""
    for state in held:
        if value.key == f"cpu.{state.hold.kind}":
            if state.in_force:
                found, by = f"{state.hold.value} µs", _US
                return replace(value, state="verified", found=found, why="", by=by)
            # TuneD had the descriptor itself when it compared; the finding says that it is lost.
            return replace(value, state="unchecked", found="", why=state.words, by="")
    return value


def catch_up(paths: Paths, config: Config, recorder: Recorder, applied: InForce) -> None:
    """Compares what a killed run has `applied` and not compared. Settings on the hand-over list are
    owned by others by now. If it is not known any more what was applied, that is logged. Raises
    `NewerVersion`."""
    from ocp_tuned_boot.tuned import said  # noqa: PLC0415  # hardly ever

    log.warning("comparing the values of %r: the run that applied it was killed", applied.profile)
    about = said.About(applied.boot_id, applied.image_id, applied.fingerprint)
    try:
        known = residue.load(paths, applied.boot_id)
        owned = handover.owned(paths, config.handover)
        what = said.load(paths.said, about)
        if what is None or what.asked() is None:
            # A setting of this profile could be taken for one that only the previous one set.
            raise HostError(f"what TuneD said about {applied.profile!r} is not known any more")
        found, left = compare(paths, known, requested(what), owned)
    except NewerVersion:
        raise
    except HostError as error:
        log.warning("the values of %r are not compared: %s", applied.profile, error)
        return
    outcome = Outcome(applied.result, applied.findings)
    outcome = with_values(outcome, found, config.accept)
    outcome = with_findings(outcome, tuple(residue.findings(left)), config.accept)
    recorder.caught_up(found, left, outcome)


def put_back_again(paths: Paths, config: Config, recorder: Recorder, applied: InForce) -> None:
    """Tries again to restore what the kernel refused to restore when the profile was `applied`.
    Raises `HostError`."""
    known = residue.load(paths, applied.boot_id)
    owned = handover.owned(paths, config.handover)
    known, left = residue.put_back_again(paths.root, known, owned)
    residue.store(paths, known)
    outcome = conclude([each for each in applied.findings if each.kind != "not-restored"])
    recorder.put_back_again(
        left, with_findings(outcome, tuple(residue.findings(left)), config.accept)
    )
