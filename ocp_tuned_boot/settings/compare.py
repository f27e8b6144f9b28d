"""Compares the values that a profile requests with those on the host, after TuneD has exited.

The run that applied the profile does so once it is ready. If it was killed before that, the next
run does it first.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ocp_tuned_boot.errors import HostError, NewerVersion
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record.amend import with_findings, with_values
from ocp_tuned_boot.record.model import InForce, Residue, Value, now
from ocp_tuned_boot.record.recorder import Recorder
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.settings import handover, residue, values
from ocp_tuned_boot.settings.residue import Settings
from ocp_tuned_boot.tuned.judge import Outcome, conclude

if TYPE_CHECKING:
    from ocp_tuned_boot.tuned.profiles import Setting

log = logging.getLogger(__name__)


def compare(
    paths: Paths, known: Settings, requested: Sequence[Setting], owned: Collection[str]
) -> tuple[tuple[Value, ...], tuple[Residue, ...]]:
    """Restores the settings that only the previous profile set, and compares those of this one;
    both are recorded in `settings.json`. `owned`: the files on the hand-over list. Raises
    `HostError`."""
    known, left = residue.put_back(paths.root, known, requested, owned)
    found = values.read_back(paths.root, requested, owned)
    residue.store(paths, residue.after(paths.root, known, found, requested, now()))
    return found, left


def catch_up(paths: Paths, config: Config, recorder: Recorder, applied: InForce) -> None:
    """Compares what a killed run has `applied` and not compared. Settings on the hand-over list are
    owned by others by now. If it is not known any more what was applied, that is logged. Raises
    `NewerVersion`."""
    log.warning("comparing the values of %r: the run that applied it was killed", applied.profile)
    try:
        requested = _requested(paths, applied)
        known = residue.load(paths, applied.boot_id)
        owned = handover.owned(paths, config.handover)
        found, left = compare(paths, known, requested, owned)
    except NewerVersion:
        raise
    except (HostError, FileNotFoundError) as error:
        log.warning("the values of %r are not compared: %s", applied.profile, error)
        return
    outcome = Outcome(applied.result, applied.findings)
    outcome = with_values(outcome, found, config.accept)
    outcome = with_findings(outcome, residue.refused(left), config.accept)
    recorder.caught_up(found, left, outcome)


def put_back_again(paths: Paths, config: Config, recorder: Recorder, applied: InForce) -> None:
    """Tries again to restore what the kernel refused to restore when the profile was `applied`.
    Raises `HostError`."""
    known = residue.load(paths, applied.boot_id)
    owned = handover.owned(paths, config.handover)
    known, left = residue.put_back_again(paths.root, known, owned)
    residue.store(paths, known)
    outcome = conclude([each for each in applied.findings if each.kind != "not-restored"])
    recorder.put_back_again(left, with_findings(outcome, residue.refused(left), config.accept))


def _requested(paths: Paths, applied: InForce) -> tuple[Setting, ...]:
    """The settings of the profile as TuneD has read it: the agent may have changed it since. Raises
    `HostError`, also if that is not known any more: then a setting of this profile could be taken
    for one that only the previous one set. Raises `FileNotFoundError`."""
    from ocp_tuned_boot.tuned import layout, prepare, profiles  # noqa: PLC0415  # hardly ever

    seen = layout.cached(paths, applied.image_id)
    if seen is None:
        raise HostError(f"the profiles of the image {applied.image} are not known any more")
    texts = {**seen.profiles, **prepare.texts(paths)}
    for name in profiles.absent(applied.profile, texts):
        raise HostError(f"the profile {name!r} is not in {paths.etc_tuned} any more")
    return profiles.resolve(applied.profile, texts)
