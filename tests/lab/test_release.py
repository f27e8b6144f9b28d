"""What is released is built from what is committed, in a clean root, and is the same each time."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

import ocp_tuned_boot
from tests.lab import product

pytestmark = pytest.mark.lab

VERSION = ocp_tuned_boot.__version__


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree as if it were committed."""
    source = tmp_path_factory.mktemp("release") / "source"
    product.commit(source, tests=True)
    return source


@pytest.fixture(scope="module")
def released(sources: Path) -> Path:
    product.make("release", product.build_root("trixie"), sources, "release")
    return sources / "dist"


def digests(dist: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(dist.iterdir())
    }


def test_a_release_is_everything_there_is_and_its_tests_have_passed(released: Path) -> None:
    """`%check` has run the unit tests on the distribution's own packages, or nothing were there."""
    assert set(digests(released)) == {
        f"ocp-tuned-boot-{VERSION}.tar.gz", f"ocp-tuned-boot-{VERSION}-1.src.rpm",
        f"ocp-tuned-boot-{VERSION}-1.noarch.rpm", f"ocp_tuned_boot-{VERSION}-py3-none-any.whl",
        "ocp-tuned-boot.spec", "SHA256SUMS",
        "boot.conf.5.html", "ocp-tuned-agent.8.html", "ocp-tuned-boot.8.html",
        "ocp-tuned.service.8.html",
    }  # fmt: skip
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=released, check=True)
    assert "SYNOPSIS" in (released / "ocp-tuned-boot.8.html").read_text()


def test_two_builds_give_the_same_bytes(released: Path, sources: Path, tmp_path: Path) -> None:
    again = tmp_path / "elsewhere"
    subprocess.run(["git", "clone", "--quiet", sources, again], check=True)
    builder = product.build_root("trixie")
    product.make("again", builder, again, "rpm", "RPMBUILD_FLAGS=--nocheck")
    first, second = digests(released), digests(again / "dist")
    assert len(second) == 4
    assert second == {name: first[name] for name in second}


def test_make_install_installs_what_the_package_has(sources: Path) -> None:
    """Where there is no package manager for it."""
    builder = product.build_root("trixie")
    product.make("install", builder, sources, "install", "DESTDIR=/source/build/root")
    made, packaged = sources / "build/root", product.product_layer("trixie")

    def files(root: Path) -> set[str]:
        found = (str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
        # Manuals are compressed in a package. How it is compiled, and by whom, differs.
        names = {name.removesuffix(".gz") for name in found if name.startswith("usr/")}
        apart = ("__pycache__", "/share/doc/", "/share/licenses/", ".dist-info/")
        return {name for name in names if not any(each in name for each in apart)}

    assert files(made) == files(packaged)
    assert "usr/bin/ocp-tuned-boot" in files(made)


def test_rpmlint_finds_no_error_and_no_warning_that_is_not_answered(
    released: Path, sources: Path
) -> None:
    # An answer to what it does not say any more is an error, too (unused-rpmlintrc-filter).
    found = [path for each in ("*.rpm", "*.spec") for path in released.glob(each)]
    product.run(
        "rpmlint", product.build_root("trixie"), sources,
        "rpmlint", "--strict", "--rpmlintrc", "packaging/ocp-tuned-boot.rpmlintrc",
        *(str(path.relative_to(sources)) for path in found),
    )  # fmt: skip
