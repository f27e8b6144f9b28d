"""Looks at a node, or at a folder of profiles: asks each module of this package."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from ocp_tuned_boot.commands.check import (
    ask,
    configuration,
    host,
    image,
    machine,
    meaning,
    profiles,
    request,
    units,
)
from ocp_tuned_boot.commands.check.configuration import Configuration
from ocp_tuned_boot.commands.check.problem import Checkup, Problem, Severity, not_checked, ordered
from ocp_tuned_boot.commands.check.profiles import Sources
from ocp_tuned_boot.commands.check.request import Named, Request
from ocp_tuned_boot.errors import BootError, ConfigurationError, HostError
from ocp_tuned_boot.host.clock import Deadline
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.images import archives, ensure
from ocp_tuned_boot.podman.client import Image, Podman
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.tuned import layout
from ocp_tuned_boot.tuned.asked import Asked, Verified
from ocp_tuned_boot.tuned.beside import Question

#: How long Podman may take to answer, without the time that TuneD takes (seconds).
PATIENCE = 30.0
#: How long all profiles of a folder may take (seconds).
ALL = 600.0
#: Problems because of which TuneD cannot load a profile: it is not asked.
_UNLOADABLE = {"unknown-profile", "missing-include", "profile-syntax", "profiles-unreadable"}


# A node.


def node(paths: Paths, config_file: Path | None, reference: str, profile: str) -> Checkup:
    """All that the next boot of this node would meet. `reference`, `profile`: as if this image, or
    this profile, were requested, unless they are empty."""
    known, found = configuration.read(paths, config_file)
    if config_file is None:
        found += configuration.ignored(paths)
    wanted, more = request.read(paths, known, reference, profile)
    found += more
    is_requested = bool(wanted.image.value and wanted.profile.value)
    found += configuration.together(known, requested=is_requested)
    # With --root, systemd and the space are those of another root.
    if paths.root == Paths().root:
        found += _host(paths, is_requested=is_requested)
    found += _Node(paths, known, wanted).look()
    return Checkup(ordered(found))


def _host(paths: Paths, *, is_requested: bool) -> Iterator[Problem]:
    for each in units.look():
        # Where nothing is requested, what does not start does no harm.
        is_harmless = each.kind == "unit-disabled" and not is_requested
        yield replace(each, severity=Severity.WARNING) if is_harmless else each
    for space in host.spaces(paths, None):
        yield from host.low(space)


@dataclass(frozen=True)
class _Node:
    """The profiles and the image of a node."""

    paths: Paths
    known: Configuration
    wanted: Request

    def look(self) -> list[Problem]:
        agent = inputs.with_profiles(self.paths)
        files, found = profiles.read(agent.profiles, self.paths.root)
        sources = Sources(agent.profiles, files)
        if not self.wanted.image.value:
            return [*found, *profiles.check(sources, self.wanted.profile)]
        found += image.named(self.known, self.wanted.image)
        try:
            with Podman(self.known.config.socket, Deadline(PATIENCE + ask.PATIENCE)) as podman:
                found += host.podman_version(podman)
                there = self._image(podman, found)
                if there is None:
                    return [*found, *profiles.check(sources, self.wanted.profile)]
                return [*found, *self._with(podman, there, sources)]
        except BootError as error:
            found.append(host.unreachable(error))
            return [*found, *profiles.check(sources, self.wanted.profile)]

    def _image(self, podman: Podman, found: list[Problem]) -> Image | None:
        """The image, if it is on the node; what is to be said of one that is not is added to
        `found`. Raises `BootError`."""
        reference = self.wanted.image.value
        there = ensure.find(self.paths, podman, reference)
        if there is None:
            images = self.known.config.images
            known = tuple(archives.all_of(self.paths, images.archives))
            # Only of the requested image, and only of this root.
            is_asked = self.paths.root == Paths().root and self.wanted.image.file
            failed = units.failed_pull() if is_asked else ""
            found += image.available(images, self.wanted.image, known, failed)
            for space in host.spaces(self.paths, host.store_folder(podman)):
                found += host.low(space)
        return there

    def _with(self, podman: Podman, there: Image, sources: Sources) -> Iterator[Problem]:
        """What is known with the image at hand. Raises `BootError`."""
        seen = ask.image_layout(self.paths, podman, there.id)
        contract, profile = self.known.config.contract, self.wanted.profile
        yield from image.contract(seen, contract, self.wanted.image)
        sources = replace(sources, stock=layout.texts(seen))
        found = tuple(profiles.check(sources, profile))
        yield from found
        if not profile.value or any(it.kind in _UNLOADABLE and _is_error(it) for it in found):
            return
        about = Question(profile.value, sources.files, there.id, seen)
        said = ask.profile(podman, self.paths, about, sources)
        if said.problem is not None:
            # One of the image's own is in no file of this host.
            yield (
                said.problem
                if said.problem.file
                else replace(said.problem, file=profile.file, line=profile.line)
            )
        if said.meaning is not None:
            yield from self._meaning(said.meaning, said.held, sources)

    def _meaning(self, said: Asked, held: Verified | None, sources: Sources) -> Iterator[Problem]:
        here = None
        try:
            here = machine.read(self.paths, said, reapply=self.wanted.reapply)
        except HostError as error:
            yield not_checked("The settings of this machine", error.message, error.hint)
        yield from meaning.check(said, held, sources, here)


def _is_error(found: Problem) -> bool:
    return found.severity is Severity.ERROR


# A folder of profiles.


def folder(path: Path, reference: str, profile: str, config_file: Path | None) -> Checkup:
    """The profiles of a folder, for other machines than this one. `reference`: the image, whose
    TuneD is asked if Podman has it; `profile`: the only one that counts, or empty. Raises
    `ConfigurationError` if there is no such folder."""
    if not path.is_dir():
        raise ConfigurationError(f"{path}: there is no such directory")
    found: list[Problem] = []
    if config_file is not None:
        found += configuration.read(Paths(), config_file)[1]
    files, more = profiles.read(path, path)
    sources, named = Sources(path, files), Named(profile, "")
    found += more if sources.custom else profiles.none_in(path, more)
    if reference:
        found += _asked(sources, reference, named)
    else:
        found += profiles.check(sources, named)
        found.append(not_checked("TuneD", "it is not asked without an image", "Add --image."))
    return Checkup(ordered(found))


def _asked(sources: Sources, reference: str, profile: Named) -> list[Problem]:
    where = ask.socket(os.environ)
    try:
        with ExitStack() as stack:
            podman = stack.enter_context(Podman(where, Deadline(ALL)))
            paths = stack.enter_context(ask.scratch())
            there = podman.image(reference)
            if there is None:
                words = f"Podman at {where} does not have the image {reference}"
                raise HostError(words, f"To pull it: podman pull {reference}")
            seen = ask.image_layout(paths, podman, there.id)
            sources = replace(sources, stock=layout.texts(seen))
            found = [*profiles.check(sources, profile)]
            broken = {it.file for it in found if it.kind in _UNLOADABLE}
            for name in [profile.value] if profile.value else top(sources):
                if sources.file(name) not in broken:
                    found += _of(
                        podman, paths, sources, Question(name, sources.files, there.id, seen)
                    )
            return found
    except BootError as error:
        return [
            *profiles.check(sources, profile),
            not_checked("TuneD", f"it cannot be asked: {error.message}", error.hint),
        ]


def _of(podman: Podman, paths: Paths, sources: Sources, about: Question) -> Iterator[Problem]:
    said = ask.profile(podman, paths, about, sources)
    if said.problem is not None:
        yield said.problem
    if said.meaning is not None:
        yield from meaning.check(said.meaning, said.held, sources, None)


def top(sources: Sources) -> Sequence[str]:
    """Custom profiles with which all are asked about: each is one of them, or is included. Pure."""
    return profiles.Walk(sources).top()
