"""Whether the applied profile is in effect now: every setting of every plugin.

TuneD itself compares, with the image that applied the profile, in a container that changes nothing
(tuned/beside.py). What the run has recorded is not changed either.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ocp_tuned_boot.errors import DeadlineExceeded, HostError, ImageError
from ocp_tuned_boot.host import files, systemd
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.record import store
from ocp_tuned_boot.record.model import InForce, Standing, State, Value, now
from ocp_tuned_boot.requested import config as boot_conf
from ocp_tuned_boot.requested import inputs, lastgood
from ocp_tuned_boot.settings import compare, handover, holds
from ocp_tuned_boot.settings.compare import Requested
from ocp_tuned_boot.tuned import beside, layout
from ocp_tuned_boot.tuned.beside import Question
from ocp_tuned_boot.tuned.conversation import ProgramExited
from ocp_tuned_boot.tuned.said import About, Said

_AGAIN = "To apply the profile again: ocp-tuned-boot reload --force"


@dataclass(frozen=True)
class Checked:
    """The applied profile and its settings, `at` this time (UTC). `profile` is empty if none was
    applied in this boot."""

    profile: str = ""
    image: str = ""
    since: str = ""
    at: str = ""
    values: tuple[Value, ...] = ()

    @property
    def unexpected(self) -> tuple[Value, ...]:
        """The settings that are not in effect, and not owned by others."""
        return tuple(each for each in self.values if each.state == "different")


def look(paths: Paths, config_file: Path | None) -> Checked:
    """Compares all settings of the applied profile. Does not wait for a run, and no run waits for
    it. Raises `BootError`."""
    config = boot_conf.load(paths, config_file)
    boot_id = inputs.boot_id(paths)
    applied = store.in_force(paths, boot_id)
    if applied is None:
        return Checked()
    about = _question(paths, applied)
    with Podman(config.socket, Deadline(config.timeout)) as podman:
        if podman.image(applied.image_id) is None:
            raise ImageError(
                f"the image {applied.image} ({applied.image_id[:12]}), which applied the profile, "
                "is not on the node any more",
                _AGAIN,
            )
        profile = _asked(podman, paths, applied, about)
    owned = handover.owned(paths, config.handover)
    held = holds.look(paths, applied.holds, systemd.stored(systemd.UNIT)) if applied.holds else ()
    values = compare.judged(paths, profile, owned, held)
    lost = [_lost(state) for state in held if state.standing is Standing.LOST]
    known = {each.key for each in lost}
    found = [*(each for each in values if each.key not in known), *lost]
    return Checked(applied.profile, applied.image, applied.since, now(), tuple(found))


def _lost(state: State) -> Value:
    """A setting whose file descriptor systemd does not hold any more."""
    plugin = "cpu" if state.hold.kind == "force_latency" else state.hold.kind
    key = f"{plugin}.{state.hold.kind}"
    asked = state.hold.asked or state.hold.value
    return Value(key, "different", asked, "no effect", state.words, plugin=plugin)


def _question(paths: Paths, applied: InForce) -> Question:
    """The applied profile, and the files of the agent that it was made of. Raises `HostError`."""
    last, seen = lastgood.profile(paths), layout.cached(paths, applied.image_id)
    if last is None or last.profile != applied.profile or seen is None:
        what = "the profiles of its image" if seen is None else "its files"
        raise HostError(
            f"the profile {applied.profile!r} cannot be compared: {what} are not known any more",
            files.AS_ROOT if os.geteuid() else _AGAIN,
        )
    return Question(applied.profile, last.files, applied.image_id, seen)


def _asked(podman: Podman, paths: Paths, applied: InForce, about: Question) -> Requested:
    """What the profile requests, and what TuneD finds now. Raises `HostError` if TuneD does not
    say it."""
    try:
        meaning, held = beside.ask(podman, paths, about, podman.deadline)
    except (ProgramExited, ValueError) as error:
        why = f"{error}; see {paths.beside_log}"
    except DeadlineExceeded:
        why = "it did not answer in time"
    else:
        said = Said(About(applied.boot_id, applied.image_id, applied.fingerprint), meaning, held)
        profile = compare.requested(said)
        if profile.held is not None:
            return profile
        why = profile.unknown or "it has compared nothing"
    raise HostError(f"TuneD in the image {applied.image} does not say what holds: {why}", _AGAIN)
