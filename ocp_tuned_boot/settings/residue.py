"""The settings of this boot: the value of each before TuneD first ran, and the applied one.

A one-shot TuneD never restores a value. With these values a change of the profile leaves no residue
of the previous one, and drift can be detected. The kernel loses all settings on a reboot, so the
file is in `/run` and contains the boot ID.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocp_tuned_boot.errors import HostError, NewerVersion
from ocp_tuned_boot.host.paths import Paths, sysctl_key
from ocp_tuned_boot.host.typedjson import Format, built, texts
from ocp_tuned_boot.host.userspace import kernel_of
from ocp_tuned_boot.record.model import Residue, Value
from ocp_tuned_boot.settings import values
from ocp_tuned_boot.tuned.findings import Finding, make

if TYPE_CHECKING:
    from ocp_tuned_boot.tuned.wanted import Setting

log = logging.getLogger(__name__)

#: The version is incremented when the meaning of a field changes. A file of an earlier one is not
#: used. 20000 settings with long values have room.
FORMAT = Format(1, 8 * 1024 * 1024, durable=False)
#: A device that stands for all that the machine has.
ALL = "*"


@dataclass(frozen=True)
class Saved:
    """`first`: the value before TuneD first ran in this boot; `applied`: the value after our last
    run, or None if that run did not set it; `refused`: the kernel did not accept the first value
    when it was to be restored."""

    first: str
    applied: str | None = None
    refused: bool = False


@dataclass(frozen=True)
class Other:
    """An option that TuneD has set to `applied` for these devices, and the value `first` that it
    had before TuneD first ran in this boot; None if that is not known.

    The name of no device is empty. `ALL`: for all that the machine has. Of a script, the device is
    its file. A parameter in a list of net's is a part of the name: `coalesce rx-usecs`.
    """

    plugin: str
    option: str
    devices: tuple[str, ...]
    applied: str
    first: str | None = None


@dataclass(frozen=True)
class Settings:
    """The settings of one boot, by path. `applied_at`: when a profile was last applied (UTC); empty
    if none was applied in this boot. `others`: those of other plugins (others.py); `begun`: the
    fingerprint of a run that has not recorded yet what it has set."""

    boot_id: str
    saved: Mapping[str, Saved] = field(default_factory=dict)
    applied_at: str = ""
    others: tuple[Other, ...] = ()
    begun: str = ""


def load(paths: Paths, boot_id: str) -> Settings:
    """The settings of this boot; none if the file is of another boot, or broken (which is
    logged). Raises `NewerVersion`."""
    try:
        return read(paths, boot_id)
    except NewerVersion:
        raise
    except HostError as error:
        log.warning("%s", error)
        return Settings(boot_id)


def read(paths: Paths, boot_id: str) -> Settings:
    """As `load`, but raises `HostError` for a file that is broken or cannot be read."""
    try:
        content = FORMAT.read(paths.settings)
        if kernel_of(content["boot_id"]) != kernel_of(boot_id):
            return Settings(boot_id)
        saved = {str(path): _saved(each) for path, each in content["saved"].items()}
        # The kernel keeps all settings in a soft-reboot, but no profile was applied since.
        same = content["boot_id"] == boot_id
        applied_at = str(content["applied_at"]) if same else ""
        # An earlier release did not know them.
        known = Settings(boot_id, saved, applied_at, _others(content.get("others", [])))
        return replace(known, begun=str(content.get("begun", "")))
    except FileNotFoundError:
        return Settings(boot_id)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HostError(
            f"{paths.settings}: found no settings of a boot, expected them: {error!r}"
        ) from error


def _saved(content: Mapping[str, str | bool | None]) -> Saved:
    first, applied = content["first"], content["applied"]
    if not isinstance(first, str) or not isinstance(applied, (str, type(None))):
        raise TypeError(f"found {content!r}, expected texts")
    return Saved(first, applied, content.get("refused") is True)


def _others(content: list[dict[str, Any]]) -> tuple[Other, ...]:
    return tuple(built(Other, {**it, "devices": texts(it["devices"])}) for it in content)


def store(paths: Paths, settings: Settings) -> None:
    """Replaces the file. Raises `HostError`."""
    FORMAT.write(paths.settings, asdict(settings), 0o600, cut="saved")


def named(root: Path, requested: Iterable[Setting]) -> set[str]:
    """The files of all settings that a profile names, as far as they are known."""
    found = {path for setting in requested for path in values.targets(root, setting)[0]}
    return found | {values.COUNTERPARTS[path] for path in found if path in values.COUNTERPARTS}


def before(root: Path, known: Settings, requested: Iterable[Setting]) -> Settings:
    """Adds the first value of each setting that is named for the first time in this boot."""
    found = {path: values.found(root, path) for path in named(root, requested)}
    new = {path: Saved(value) for path, value in found.items() if value is not None}
    return replace(known, saved={**new, **known.saved})


def after(
    root: Path, known: Settings, found: Iterable[Value], requested: Iterable[Setting], now: str
) -> Settings:
    """Adds the values that TuneD has set; not those that were refused, overridden or handed
    over."""
    states = {value.path: value.state for value in found}
    ours = {}
    for path in named(root, requested):
        saved, current = known.saved.get(path), values.read(root, path)
        if saved is None:
            continue
        # If a value cannot be compared, TuneD has set it if it differs from the first one.
        state = states.get(path, "unchecked")
        changed = state == "unchecked" and current != saved.first
        applied = current if state == "verified" or changed else None
        ours[path] = Saved(saved.first, applied)
    return replace(known, saved={**known.saved, **ours}, applied_at=now)


def put_back(
    root: Path, known: Settings, requested: Iterable[Setting], owned: Collection[str]
) -> tuple[Settings, tuple[Residue, ...]]:
    """Restores the first value of each setting that the previous profile has set and this one does
    not name.

    `owned`: the files on the hand-over list. They keep their values: the owner of one may rely on
    the value that we have set. If a part of the profile is not known, it may set any of them: then
    nothing is restored, and what still has the applied value is kept for a later profile.
    """
    wanted = tuple(requested)
    now_named = named(root, wanted)
    left = {
        path: saved
        for path, saved in known.saved.items()
        if saved.applied is not None and path not in now_named
    }
    if any(each.plugin == "include" for each in wanted):
        others = {
            path: replace(saved, applied=None)
            for path, saved in left.items()
            if values.read(root, path) != saved.applied
        }
        return replace(known, saved={**known.saved, **others}), ()
    return _put_back(root, known, left, owned)


def put_back_again(
    root: Path, known: Settings, owned: Collection[str]
) -> tuple[Settings, tuple[Residue, ...]]:
    """As `put_back`, for what the kernel has refused before."""
    left = {path: saved for path, saved in known.saved.items() if saved.refused}
    return _put_back(root, known, left, owned)


def findings(residue: Iterable[Residue]) -> Iterator[Finding]:
    """A finding for each setting that was to be restored, and was not."""
    for each in residue:
        if each.how == "refused":
            words = f"{each.key}: {each.first!r} was refused, {each.after!r} stays"
            yield make("not-restored", each.key, words)
        elif each.how == "stays":
            yield make("still-set", each.key, _staying(each))


def _staying(each: Residue) -> str:
    where = f" ({each.devices})" if each.devices else ""
    why = f": {each.why}" if each.why else " until the next boot"
    return f"{each.key}{where}: {each.applied!r} of an earlier profile stays{why}"


def _put_back(
    root: Path, known: Settings, left: Mapping[str, Saved], owned: Collection[str]
) -> tuple[Settings, tuple[Residue, ...]]:
    # What is ours is decided before anything is written: one setting may change another.
    found = {path: values.read(root, path) for path in left}
    changed = {path: saved for path, saved in left.items() if found[path] != saved.first}
    ours = {
        path: saved.first
        for path, saved in changed.items()
        if path not in owned and found[path] == saved.applied
    }
    failed = _restore(root, ours)
    done = []
    for path, saved in sorted(changed.items()):
        how = "refused" if path in failed else "put-back" if path in ours else "theirs"
        now = values.read(root, path)
        done.append(Residue(sysctl_key(path), how, saved.first, saved.applied or "", now))
    kept = {path: saved for path, saved in known.saved.items() if path not in left}
    again = {path: replace(left[path], refused=True) for path in failed}
    return replace(known, saved={**kept, **again}), tuple(done)


def _restore(root: Path, first: Mapping[str, str]) -> set[str]:
    """Writes each value to its file. Returns the files that do not have it then.

    The kernel may refuse a value until another one is restored (a minimum above the maximum), or
    change one with another: they are written again as long as that helps.
    """
    missing = set(first)
    while missing:
        for path in sorted(missing):
            other = first.get(values.COUNTERPARTS.get(path, ""), "0")
            # Written, zero would set the counterpart to zero; that one sets this to zero.
            if first[path] != "0" or other == "0":
                values.write(root, path, first[path])
        wrong = {path for path in first if values.read(root, path) != first[path]}
        if len(wrong) >= len(missing):
            return wrong
        missing = wrong
    return missing
