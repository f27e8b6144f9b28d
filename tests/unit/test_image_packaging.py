"""The images of packaging/image say what they are, and which layout they have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ocp_tuned_boot.tuned import layout

FOLDER = Path(__file__).resolve().parents[2] / "packaging/image"
FILES = sorted(FOLDER.iterdir())


def labels(file: Path) -> dict[str, str]:
    (line,) = re.findall(r"(?m)^LABEL ((?:.*\\\n)*.*)$", file.read_text())
    return dict(re.findall(r'(\S+)="([^"]*)"', line))


def test_there_is_one_for_each_family() -> None:
    assert [file.suffix for file in FILES] == [".centos", ".debian", ".fedora"]


@pytest.mark.parametrize("file", FILES, ids=lambda it: it.suffix)
def test_an_image_is_labelled_with_the_layout_that_the_program_expects(file: Path) -> None:
    found = labels(file)
    assert found[layout.LAYOUT_LABEL] == str(layout.LAYOUT)
    assert found == labels(FILES[0])


@pytest.mark.parametrize("file", FILES, ids=lambda it: it.suffix)
def test_its_first_lines_say_how_to_build_it(file: Path) -> None:
    folder = "packaging/image"
    assert (
        f"#   podman build -f {folder}/{file.name} -t localhost/tuned {folder}\n"
        in file.read_text()
    )
