"""The image and the host: what the next boot would lack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ocp_tuned_boot.commands.check import host, image
from ocp_tuned_boot.commands.check.configuration import Configuration
from ocp_tuned_boot.commands.check.problem import Severity
from ocp_tuned_boot.commands.check.request import Named
from ocp_tuned_boot.host.space import Space
from ocp_tuned_boot.images.archives import Archive
from ocp_tuned_boot.requested.config import Config, Images
from ocp_tuned_boot.tuned.layout import Layout

DIGEST = "@sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("reference", "kinds"),
    [
        (f"registry.example/tuned{DIGEST}", []),
        (f"localhost/tuned{DIGEST}", []),
        (f"registry:5000/tuned{DIGEST}", []),
        ("registry.example/tuned:1", ["image-by-tag"]),
        (f"tuned{DIGEST}", ["image-short-name"]),
        (f"openshift/tuned{DIGEST}", ["image-short-name"]),
    ],
)
def test_the_reference(reference: str, kinds: list[str]) -> None:
    problems = list(image.named(Configuration(), Named(reference, "image.env", 3)))
    assert [it.kind for it in problems] == kinds
    assert {(it.file, it.line) for it in problems} <= {("image.env", 3)}


def test_a_tag_that_is_pulled_again_and_again() -> None:
    newer = Configuration(Config(images=Images(pull="newer")))
    (problem,) = image.named(newer, Named("registry.example/tuned:1"))
    assert "each boot may get another one" in problem.message


@pytest.mark.parametrize(
    ("pull", "names", "kinds"),
    [
        ("never", (), ["image-not-available"]),
        ("never", ("registry.example/tuned:1",), []),
        ("missing", (), ["image-to-be-pulled"]),
        ("missing", ("registry.example/tuned:1",), []),
    ],
)
def test_an_image_that_is_not_on_the_node(
    pull: str, names: tuple[str, ...], kinds: list[str]
) -> None:
    archives = [Archive(Path("x.tar"), names)] if names else []
    named = Named("registry.example/tuned:1", "image.env", 1)
    assert [it.kind for it in image.available(Images(pull=pull), named, archives)] == kinds


def test_an_image_that_no_registry_has() -> None:
    """Nobody pulls it, whatever boot.conf says: it must be put there."""
    reference = "localhost/tuned:nope"
    named = Named(reference, "image.env", 1)
    (problem,) = image.available(Images(), named, [])
    assert (problem.kind, problem.severity) == ("image-not-available", Severity.ERROR)
    assert "no registry has images below localhost/" in problem.message
    assert "podman build --tag" in problem.advice
    assert "podman load --input" in problem.advice
    assert "stage" not in problem.advice
    assert "podman pull" not in problem.advice
    (never,) = image.available(Images(pull="never"), named, [])
    assert "podman pull" not in never.advice
    assert list(image.available(Images(), named, [Archive(Path("x.tar"), (reference,))])) == []


def test_an_image_whose_last_pull_has_failed() -> None:
    named = Named("registry.example/tuned:1", "image.env", 1)
    (problem,) = image.available(Images(), named, [], "no such host")
    assert (problem.kind, problem.severity) == ("last-pull-failed", Severity.WARNING)
    assert "no such host" in problem.message
    assert "ocp-tuned-boot image stage registry.example/tuned:1" in problem.advice
    there = [Archive(Path("x.tar"), (named.value,))]
    assert list(image.available(Images(), named, there, "no such host")) == []
    (never,) = image.available(Images(pull="never"), named, [], "no such host")
    assert never.kind == "image-not-available"


def test_an_image_that_is_no_tuned() -> None:
    named, seen = Named("registry.example/x:1"), Layout(programs=("/usr/sbin/tuned",))
    assert list(image.contract(seen, "tuned", named)) == []
    assert [it.kind for it in image.contract(seen, "operand", named)] == ["image-contract"]
    made = replace(seen, made_for="99")
    assert [it.kind for it in image.contract(made, "tuned", named)] == ["image-contract"]


@pytest.mark.parametrize(
    ("version", "kinds"),
    [("4.3.1", []), ("5.4.2-dev", []), ("4.2.0", ["podman-too-old"]), ("3.9", ["podman-too-old"]),
     ("", ["not-checked"])],
)  # fmt: skip
def test_the_version_of_podman(version: str, kinds: list[str]) -> None:
    assert [it.kind for it in host.old(version)] == kinds


def test_space() -> None:
    space = Space(Path("/run"), 100, 100, "a run")
    assert list(host.low(space)) == []
    assert [it.kind for it in host.low(replace(space, free=99))] == ["low-space"]
