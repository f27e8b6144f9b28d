"""An operating system that is an image, with our layer and an archive on it: day 0 needs nobody."""

from __future__ import annotations

import json

import pytest

from tests.lab import oslayer, product, tunedimage
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.test_boot import found_by
from tests.lab.workload import RESET, WANTED, furnish, has_ended, record

pytestmark = pytest.mark.lab


def test_the_layer_has_what_the_package_has_and_the_archive() -> None:
    system = oslayer.root("trixie")
    installed = product.product_layer("trixie")
    for path in installed.rglob("*"):
        name = path.relative_to(installed)
        # Of rpm's database, and of Python, only that it is there.
        if path.is_symlink() or (path.is_file() and name.parts[0] in ("usr", "etc")):
            there = system / name
            assert there.is_symlink() == path.is_symlink(), name
            assert path.is_symlink() or there.read_bytes() == path.read_bytes(), name
    (archive,) = (system / "usr/share/ocp-tuned-boot/images").iterdir()
    assert archive.stat().st_size > 1_000_000


def test_the_layer_is_compiled_and_the_time_of_a_file_does_not_matter() -> None:
    """ostree sets the time of all files to 0."""
    for root in (product.product_layer("trixie"), oslayer.root("trixie")):
        compiled = product.byte_code(root)
        assert "podman/client.py" in compiled
        assert set(compiled.values()) == {1}, compiled


def test_a_node_of_that_image_boots_tuned_without_a_registry_and_without_an_image() -> None:
    with KernelKnobs(RESET), Node(image=None, system=oslayer.root("trixie")) as node:
        furnish(node)
        node.boot()
        assert found_by(node, "kubelet") == WANTED
        has_ended(node)
        assert record(node)["result"] == "applied"
        assert record(node)["image_source"] == "archive"
        listed = json.loads(node.run("ocp-tuned-boot", "image", "list", "--json").stdout)
        assert tunedimage.name("trixie") in [each["reference"] for each in listed]
