"""What a decision depends on, as it is on this node now."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ocp_tuned_boot import plan
from ocp_tuned_boot.errors import BootError, HostError
from ocp_tuned_boot.host import systemd
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.plan import Situation
from ocp_tuned_boot.record import change, store
from ocp_tuned_boot.record.model import Action, Decision, InForce, Record, Waits, Why
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import inputs, settled
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.tuned import findings, operand
from ocp_tuned_boot.tuned.judge import Result

if TYPE_CHECKING:
    from ocp_tuned_boot.requested.missing import Search
    from ocp_tuned_boot.tuned.findings import Finding
    from ocp_tuned_boot.tuned.layout import Layout
    from ocp_tuned_boot.tuned.said import About, Said

log = logging.getLogger(__name__)

#: How long another TuneD may take to apply what has changed (seconds), and how often that is
#: checked.
PATIENCE = 10.0
_TICK = 0.5


def look(
    paths: Paths, config: Config, requested: Inputs, in_force: InForce | None, why: Why,
    workloads: Sequence[str] = (),
) -> Situation:  # fmt: skip
    """Which workloads run is found out only for the first profile of a boot: after that some
    always do. `workloads`: as `systemd.workloads`, if that has been asked already.

    If another TuneD may have applied a change, TuneD is asked what that means, unless `why` is
    `PREVIEW`.
    """
    first = in_force is None or in_force.boot_id != requested.boot_id
    running = systemd.running(paths, workloads or systemd.workloads()) if first else ()
    tuned = not first or _was_tuned(paths, requested)
    now = Situation(why, config.on_change, config.late, running, tuned)
    asked = (requested.fingerprint, requested.image)
    if in_force is None or first or asked == (in_force.fingerprint, in_force.image):
        return now
    now = replace(now, failed=_has_failed(paths, requested, in_force))
    if in_force.fingerprint == requested.fingerprint:
        return now
    now = replace(now, unaffected=_is_unaffected(paths, requested, in_force))
    if now.unaffected:
        return now
    now = replace(now, refused=_refused(paths, config, requested))
    other = operand.running(paths)
    if other is None or not _holds(paths, config, requested, in_force, ask=why is not Why.PREVIEW):
        return now
    return replace(now, applied_by=other.words)


def _has_failed(paths: Paths, requested: Inputs, in_force: InForce) -> bool:
    """Whether to apply this very request has failed in this boot."""
    if in_force.instead_of == requested.fingerprint:
        return True
    last = store.of_this_boot(paths, requested.boot_id)
    return change.failure(last, requested.fingerprint, requested.image) is not None


def _refused(paths: Paths, config: Config, requested: Inputs) -> Finding | None:
    """Why TuneD cannot load the requested profile, as far as that is known without TuneD."""
    from ocp_tuned_boot.images import known  # noqa: PLC0415  # only for a change

    found = search(paths, config, requested, known.layout_of(paths, requested.image)).wrong()
    return found[0] if found else None


def search(paths: Paths, config: Config, requested: Inputs, seen: Layout | None) -> Search:
    """Where the requested profile is looked for. `seen`: what the image contains; None if that is
    not known."""
    from ocp_tuned_boot.requested.missing import Search  # noqa: PLC0415  # only for a change
    from ocp_tuned_boot.tuned import layout, profiles  # noqa: PLC0415

    texts = profiles.texts(requested.files, layout.texts(seen) if seen else {})
    last = store.of_this_boot(paths, requested.boot_id)
    active = last is not None and last.leaves_active
    return Search(paths, config, requested, texts, seen is not None, is_active=active)


def _is_unaffected(paths: Paths, requested: Inputs, in_force: InForce) -> bool:
    """Whether all that has changed are profiles that this node's profile cannot reach. A record of
    an earlier release does not tell: its `reached` is empty."""
    from ocp_tuned_boot.tuned import reach, said  # noqa: PLC0415  # not for a run without a change

    about = said.About(in_force.boot_id, in_force.image_id, in_force.fingerprint)
    what = said.load(paths.said, about)
    files = reach.reached(what.asked() if what is not None else None, requested.files)
    return requested.fingerprint_with(files) == in_force.reached


def _holds(
    paths: Paths, config: Config, requested: Inputs, in_force: InForce, *, ask: bool
) -> bool:
    """Whether the host has the values that the requested profile sets, as far as they are known."""
    from ocp_tuned_boot.settings import compare, handover, values  # noqa: PLC0415
    from ocp_tuned_boot.tuned import said  # noqa: PLC0415

    about = said.About(requested.boot_id, in_force.image_id, requested.fingerprint)
    what = said.load(paths.said_beside, about)
    if what is None and ask:
        what = _asked(paths, config, requested, about)
    if what is None:
        return False
    owned = handover.owned(paths, config.handover)
    found = values.read_back(paths.root, compare.requested(what).settings, owned)
    # Of a profile without such values nothing is known.
    states = {each.state for each in found}
    return "verified" in states and states <= {"verified", "handed-over"}


def _asked(paths: Paths, config: Config, requested: Inputs, about: About) -> Said | None:
    """What TuneD says about the requested profile, in a container beside the other TuneD; it is
    kept. None if it cannot be asked."""
    from ocp_tuned_boot.podman.client import Podman  # noqa: PLC0415
    from ocp_tuned_boot.tuned import beside, layout, said  # noqa: PLC0415
    from ocp_tuned_boot.tuned.conversation import ProgramExited  # noqa: PLC0415

    try:
        with Podman(config.socket, Deadline(PATIENCE)) as podman:
            seen = layout.of(paths, podman, about.image_id)
            question = beside.Question(requested.profile, requested.files, about.image_id, seen)
            meaning, _ = beside.ask(podman, paths, question, podman.deadline)
        what = said.Said(about, meaning)
        said.store(paths.said_beside, what)
    except (BootError, ProgramExited, ValueError) as error:
        log.warning("TuneD cannot be asked what the profile means: %s", error)
        return None
    return what


def beside_others(paths: Paths, config: Config, requested: Inputs) -> Inputs:
    """With a finding if another TuneD tunes this node as well."""
    other = operand.running(paths)
    if other is None:
        return requested
    found = findings.accept([other.finding()], config.accept)
    return replace(requested, doubts=(*requested.doubts, *found))


def wait_for_others(paths: Paths, config_file: Path | None) -> None:
    """Waits until another TuneD, if one runs, has applied what has changed, for at most `PATIENCE`
    seconds. It needs some time for it, and is not to be reported as late before that."""
    end = time.monotonic() + PATIENCE
    # What cannot be read is for the run to report.
    with suppress(BootError):
        config = settled.config(paths, config_file)
        while operand.running(paths) is not None and time.monotonic() < end:
            requested = settled.requested(paths, config)
            in_force = store.in_force(paths, requested.boot_id)
            now = look(paths, config, requested, in_force, Why.NOTICE)
            if plan.decide(requested, in_force, now).waits is not Waits.PROFILE:
                return
            time.sleep(_TICK)


def fallback(config: Config, in_force: InForce | None) -> str:
    """What is used instead of a profile that cannot be loaded: nothing if one is applied in this
    boot already, which stays."""
    return config.fallback_profile if in_force is None else "none"


def has_changed(
    paths: Paths, config_file: Path | None, config: Config, requested: Inputs, fallback: str
) -> bool:
    """Whether boot.conf is not `config` any more, or something else is requested than `requested`,
    which was read with this `fallback`. Raises `BootError`."""
    if boot_conf.load(paths, config_file) != config:
        return True
    found = settled.read(paths, config, fallback)
    return beside_others(paths, config, found) != requested


def end_if_changed(
    paths: Paths, config_file: Path | None, config: Config, requested: Inputs, fallback: str
) -> None:
    """For a run behind a closed gate that may take long: the fix need not wait for its deadline.
    Raises `HostError` if something has changed as in `has_changed`, and `BootError` as there."""
    if has_changed(paths, config_file, config, requested, fallback):
        raise HostError("what is requested has changed during this run; the next one reads it")


def _was_tuned(paths: Paths, requested: Inputs) -> bool:
    """Whether a profile was applied in this boot, and is not recorded any more."""
    from ocp_tuned_boot.settings import residue  # noqa: PLC0415  # not for a run that keeps

    return bool(residue.load(paths, requested.boot_id).applied_at)


def has_missed(paths: Paths, config_file: Path | None) -> bool:
    """Whether the last run of this boot, which has applied nothing, has read an earlier request
    than the present one, and would do something else now. A start that comes while the unit is
    starting, or active, has no effect."""
    try:
        config = settled.config(paths, config_file)
        requested = settled.requested(paths, config)
        last = store.of_this_boot(paths, requested.boot_id)
        if last is not None and last.result is Result.DEFERRED:
            return pending(paths, config)[0].action is Action.APPLY
    except BootError:
        return False  # a run would fail again
    seen = None if last is None else (last.fingerprint, last.image)
    return seen not in (None, (requested.fingerprint, requested.image))


def is_eager(paths: Paths, config_file: Path | None, done: Record) -> bool:
    """Whether what this run has deferred is to be applied at once, by a reload. Raises
    `BootError`."""
    waits = done.deferred
    if waits is None or waits.waits != Waits.PROFILE.value:
        return False
    config = settled.config(paths, config_file)
    word = settled.requested(paths, config).on_change
    renamed = done.in_force is None or waits.profile != done.in_force.profile
    return plan.is_eager(config.on_change, word, renamed=renamed)


def pending(paths: Paths, config: Config) -> tuple[Decision, Inputs]:
    """What `apply` would decide now, without asking Podman. Raises `BootError`."""
    in_force = store.in_force(paths, inputs.boot_id(paths))
    requested = settled.read(paths, config, fallback(config, in_force))
    now = look(paths, config, requested, in_force, Why.PREVIEW)
    return plan.decide(requested, in_force, now), requested
