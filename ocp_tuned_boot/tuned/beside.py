"""Asks TuneD, in a container beside the one that applies the profile: what the profile means, and
whether its settings are in effect now. Nothing is applied, and nothing of the host can be written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.tuned import asked, container, ours, prepare, running
from ocp_tuned_boot.tuned.conversation import Listener
from ocp_tuned_boot.tuned.layout import Layout
from ocp_tuned_boot.tuned.profilefile import ProfileFile


@dataclass(frozen=True)
class Question:
    """About which profile TuneD is asked: its name, the custom profiles, and the image with its
    layout."""

    profile: str
    custom: Sequence[ProfileFile]
    image_id: str
    seen: Layout


def ask(podman: Podman, paths: Paths, about: Question, deadline: Deadline) -> tuple[bytes, bytes]:
    """What the profile means, and what holds: two messages, see `asked.parse`. The second one is
    empty if TuneD cannot be asked.

    Raises `ProgramExited`, `DeadlineExceeded`, `ValueError` for what is no message, `Busy` if
    another check does not finish in time, `PodmanError`, `HostError`.
    """
    with ours.checking(podman, paths, deadline.left()):
        paths.beside_log.unlink(missing_ok=True)
        folder, variables = paths.etc_tuned_beside, about.seen.variables
        prepare.etc_tuned(paths, about.profile, about.custom, variables, folder=folder)
        spec = container.specify_beside(paths, about.image_id, about.seen)
        with Listener(paths, "verify") as listener:
            created = ours.create(podman, paths, spec.arguments())
            podman.start(created.id)
            with running.first_process(podman, created.id) as (pid, pidfd):
                with listener.accept(pid, pidfd, deadline) as program:
                    meaning = program.hear(deadline)
                    if isinstance(asked.parse(meaning), asked.Unasked):
                        return meaning, b""
                    return meaning, program.hear(deadline)
