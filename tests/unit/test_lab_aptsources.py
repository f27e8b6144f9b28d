"""How the lab finds the Debian archive: in the format and at the mirror of this machine's apt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import aptsources

ONE_LINE = """\
# deb http://mirror.example/debian bookworm main
deb [signed-by=/k.gpg] http://mirror.example/debian bookworm main
deb http://mirror.example/debian bookworm-updates main
deb http://security.example/debian-security bookworm-security main
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/debian bookworm-backports main
deb http://other.example/tools stable main
"""
DEB822 = """\
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main

# off
Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm

Types: deb
URIs: http://other.example/tools
Suites: stable
Components: main
"""


def machine(etc: Path, name: str, text: str) -> Path:
    (etc / "apt/sources.list.d").mkdir(parents=True)
    (etc / "os-release").write_text('ID=debian\nVERSION_CODENAME="bookworm"\n')
    (etc / "apt" / name).write_text(text)
    return etc


def test_a_one_line_list(tmp_path: Path) -> None:
    found = aptsources.for_suite("trixie", machine(tmp_path, "sources.list", ONE_LINE))
    assert found == (
        "deb [signed-by=/k.gpg] http://mirror.example/debian trixie main\n"
        "deb http://mirror.example/debian trixie-updates main\n"
        "deb http://security.example/debian-security trixie-security main\n"
    )


def test_a_deb822_file(tmp_path: Path) -> None:
    etc = machine(tmp_path, "sources.list.d/debian.sources", DEB822)
    assert aptsources.for_suite("trixie", etc) == (
        "Types: deb\nURIs: http://mirror.example/debian\n"
        "Suites: trixie trixie-updates\nComponents: main\n"
    )


def test_a_suite_beside_another_has_no_updates(tmp_path: Path) -> None:
    etc = machine(tmp_path / "a", "sources.list", ONE_LINE)
    found = aptsources.for_suite("forky+experimental", etc).splitlines()
    assert [line.split()[-2] for line in found if line] == [
        "forky", "forky-updates", "forky-security", "experimental",
    ]  # fmt: skip
    etc = machine(tmp_path / "b", "sources.list.d/debian.sources", DEB822)
    assert aptsources.for_suite("forky+experimental", etc).endswith(
        "Suites: forky forky-updates\nComponents: main\n\n"
        "Types: deb\nURIs: http://mirror.example/debian\n"
        "Suites: experimental\nComponents: main\n"
    )


@pytest.mark.parametrize("text", ["", "deb http://other.example/tools stable main\n"])
def test_a_machine_without_debians_archive_says_so(tmp_path: Path, text: str) -> None:
    etc = machine(tmp_path, "sources.list", text)
    with pytest.raises(aptsources.NoDebianSources, match="no source for Debian bookworm"):
        aptsources.for_suite("trixie", etc)
