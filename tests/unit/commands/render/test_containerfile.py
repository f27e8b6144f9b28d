"""Lines of a Containerfile. That Podman builds them is tested in tests/lab/test_bootc.py."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest

from ocp_tuned_boot.commands.render import containerfile
from ocp_tuned_boot.commands.render.content import Content, read
from ocp_tuned_boot.errors import ConfigurationError
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.tuned.profilefile import ProfileFile
from tests.unit.commands.render.made import AGENT, IMAGE, content

PROFILES = "/usr/share/ocp-tuned-boot/profiles"
DROP_IN = "/etc/ocp-tuned-boot/boot.conf.d/50-day0.conf"
# One argument of a program (MAX_ARG_STRLEN of Linux).
LONGEST = 128 * 1024


def commands(text: bytes) -> list[str]:
    """What a builder gives to a shell: comments are left out, lines that go on are joined."""
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", "", "\n".join(lines)).splitlines()
    assert all(line.startswith("RUN ") for line in joined)
    return [line[len("RUN ") :] for line in joined]


def built(text: bytes, root: Path) -> dict[str, tuple[bytes, int]]:
    """Content and mode of the files that the commands make, below a root, without systemctl."""
    root.mkdir()
    for command in commands(text):
        assert len(command) < LONGEST
        moved = re.sub(r"/(usr|etc)/", r"\1/", command)
        subprocess.run(["sh", "-c", moved.replace("systemctl ", "echo systemctl ")], check=True,
                       cwd=root, stdout=subprocess.DEVNULL)  # fmt: skip
    return {
        f"/{path.relative_to(root)}": (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in root.rglob("*")
        if path.is_file()
    }


def test_nothing_is_put_where_an_update_does_not_reach(profiles: Path, tmp_path: Path) -> None:
    (profiles.parent / "boot.conf").write_text("[tuning]\ngate = closed\n")
    found = content(profiles, profiles.parent / "boot.conf", "aws")
    made = built(containerfile.text(found), tmp_path / "root")
    provider = b"f /var/lib/ocp-tuned/provider 0644 root root - aws\n"
    assert made == {
        "/etc/ocp-tuned-boot/boot.conf": (b"[tuning]\ngate = closed\n", 0o644),
        DROP_IN: (f"[tuning]\nimage = {IMAGE}\nprofile = site\n".encode(), 0o644),
        "/usr/lib/tmpfiles.d/ocp-tuned-boot-day0.conf": (provider, 0o644),
        f"{PROFILES}/site/deep/blob": (bytes(range(256)), 0o644),
        f"{PROFILES}/site/empty": (b"", 0o644),
        f"{PROFILES}/site/script.sh": (b"#!/bin/sh\n\texit 0\n", 0o755),
        f"{PROFILES}/site/tuned.conf": ("[main]\nsummary=größer\n".encode(), 0o644),
    }
    assert AGENT not in {path[: len(AGENT)] for path in made}


def test_a_boot_conf_that_says_it_all_has_no_drop_in(tmp_path: Path) -> None:
    conf = tmp_path / "boot.conf"
    conf.write_text(f"[tuning]\nimage = {IMAGE}\nprofile = balanced\n")
    made = built(containerfile.text(read(None, "", "", conf)), tmp_path / "root")
    assert list(made) == ["/etc/ocp-tuned-boot/boot.conf"]


def test_large_files_take_few_layers_and_no_command_is_too_long(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(1024 * 1024)
    files = [ProfileFile(f"site/{number}", b"x" * 100) for number in range(500)]
    many = Content(IMAGE, "site", files=(ProfileFile("site/large", data), *files))
    text = containerfile.text(many)
    # An image has at most some 120 layers.
    assert len(commands(text)) < 40
    assert "set -eu; umask 022" not in [each.strip() for each in commands(text)]
    made = built(text, tmp_path / "root")
    assert made[f"{PROFILES}/site/large"] == (data, 0o644)
    assert len(made) == 502


def test_many_profiles_with_long_names_make_no_command_that_is_too_long(tmp_path: Path) -> None:
    """As many as an agent may write (`inputs.NAMES_LIMIT`)."""
    names = [f"{number:03}-{'x' * 200}" for number in range(600)]
    files = [ProfileFile(f"{name}/tuned.conf", b"[main]\n") for name in names]
    assert 2 * sum(map(len, names)) < inputs.NAMES_LIMIT < 2.2 * sum(map(len, names))
    made = built(containerfile.text(Content(IMAGE, "site", files=tuple(files))), tmp_path / "root")
    assert len(made) == 601


def test_profiles_that_the_program_of_the_image_would_not_read_are_refused(
    profiles: Path, tmp_path: Path
) -> None:
    conf = tmp_path / "boot.conf"
    conf.write_text("[tuning]\ncontract = operand\n")
    with pytest.raises(ConfigurationError, match="does not read profiles in /usr"):
        containerfile.text(content(profiles, conf))
    assert containerfile.text(read(None, IMAGE, "balanced", conf))
