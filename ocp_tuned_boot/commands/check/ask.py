"""Asks TuneD about profiles, in a container that changes nothing (tuned/beside.py)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ocp_tuned_boot.commands.check.problem import Problem, not_checked, problem
from ocp_tuned_boot.commands.check.profiles import Sources
from ocp_tuned_boot.errors import BootError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.requested.config import SOCKETS
from ocp_tuned_boot.tuned import asked, beside, layout, ours
from ocp_tuned_boot.tuned.asked import Asked, Unasked, Verified
from ocp_tuned_boot.tuned.beside import Question
from ocp_tuned_boot.tuned.conversation import ProgramExited
from ocp_tuned_boot.tuned.layout import HOST_LINKS, Layout

#: How long one profile may take (seconds).
PATIENCE = 60.0


@dataclass(frozen=True)
class Answer:
    """What TuneD said: what the profile means, and what it compared, if it did. Or why it did not:
    `problem`."""

    meaning: Asked | None = None
    held: Verified | None = None
    problem: Problem | None = None


def socket(environment: Mapping[str, str]) -> Path:
    """Where Podman listens for the user who calls: where `podman --remote` finds it, else the
    user's own socket, else that of this package, or of Podman's."""
    named = environment.get("CONTAINER_HOST", "")
    if named.startswith("unix://"):
        return Path(named[len("unix://") :])
    if os.geteuid() != 0:
        runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
        return Path(runtime, "podman/podman.sock")
    ours_ = SOCKETS["shared"]
    return ours_ if ours_.exists() else Path("/run/podman/podman.sock")


@contextmanager
def scratch() -> Iterator[Paths]:
    """A root of its own for what is read of an image, and for asking where no node is."""
    with tempfile.TemporaryDirectory(prefix="ocp-tuned-boot-check-") as folder:
        for path in HOST_LINKS:
            Path(folder + path).mkdir(parents=True)
        yield Paths(Path(folder))


def image_layout(paths: Paths, podman: Podman, image_id: str) -> Layout:
    """What the image contains. What is not known yet is read, and not remembered. Raises
    `BootError`."""
    seen = layout.cached(paths, image_id)
    if seen is not None:
        return seen
    with ours.checking(podman, paths), scratch() as other:
        return layout.of(other, podman, image_id, ours.CHECK)


def profile(podman: Podman, paths: Paths, about: Question, sources: Sources) -> Answer:
    """Asks about one profile."""
    what = f"The profile {about.profile!r}"
    try:
        deadline = podman.deadline.within(PATIENCE)
        meaning, held = beside.ask(podman.until(deadline), paths, about, deadline)
        said = asked.parse(meaning)
        compared = asked.parse(held) if held else None
    except (BootError, ProgramExited, ValueError) as error:
        why = error.message if isinstance(error, BootError) else str(error)
        return Answer(problem=not_checked(what, f"TuneD cannot be asked: {why}"))
    if isinstance(said, Asked):
        return Answer(said, compared if isinstance(compared, Verified) else None)
    if isinstance(said, Unasked) and said.profile:
        file = sources.file(about.profile) if about.profile in sources.custom else ""
        return Answer(problem=problem(
            "profile-not-loaded", file, 1 if file else 0,
            f"TuneD cannot load the profile {about.profile!r}: {said.reason}",
        ))  # fmt: skip
    why = said.reason if isinstance(said, Unasked) else "its answer is another one than expected"
    return Answer(problem=not_checked(what, f"TuneD cannot be asked: {why}"))
