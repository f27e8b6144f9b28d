"""Day 0 by a kickstart file: pykickstart, with which Anaconda reads one, finds the section. It is
run in a root as Anaconda does it, and that root is booted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab import cache
from tests.lab.dayzero import agent_files, disable, is_tuned, lies, rendered, watched
from tests.lab.node import Node

pytestmark = pytest.mark.lab

_PYKICKSTART = "pykickstart==3.78"
# Of a section, what Anaconda needs (pyanaconda/core/kickstart/scripts.py).
_READ = """
import json, sys
from pykickstart.parser import KickstartParser, preprocessFromStringToString
from pykickstart.version import makeVersion
parser = KickstartParser(makeVersion())
parser.readKickstartFromString(preprocessFromStringToString(sys.stdin.read()).decode())
print(json.dumps([
    {"text": it.script, "interp": it.interp, "chroot": it.inChroot, "fatal": it.errorOnFail}
    for it in parser.handler.scripts
]))
"""
# Another section, a command, and packages.
_KICKSTART = """\
text
%packages
ocp-tuned-boot
%end
%post --nochroot
true
%end
"""


def pykickstart() -> Path:
    """The installed package: pure Python."""

    def build(target: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target)]
        subprocess.run([*command, _PYKICKSTART], check=True)

    return cache.entry("pykickstart", [_PYKICKSTART, sys.version], build)


def sections(kickstart: str) -> list[dict[str, Any]]:
    """The sections %post, as Anaconda has them."""
    done = subprocess.run(
        [sys.executable, "-c", _READ], input=kickstart, check=True, stdout=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": str(pykickstart())},
    )  # fmt: skip
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def validated(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, pykickstart() / "bin/ksvalidator", file], check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": str(pykickstart())},
    )  # fmt: skip


def run(section: dict[str, Any], root: Path) -> subprocess.CompletedProcess[str]:
    """As Anaconda does."""
    script = root / "tmp/ks-script-lab"
    script.write_text(section["text"])
    script.chmod(0o700)
    done = subprocess.run(
        ["chroot", root, section["interp"], "/tmp/ks-script-lab"], check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, umask=0o077,
    )  # fmt: skip
    script.unlink()
    return done


def test_a_node_that_is_installed_so_boots_tuned(tmp_path: Path) -> None:
    text = rendered(tmp_path, "kickstart")
    kickstart = tmp_path / "ks.cfg"
    kickstart.write_text(_KICKSTART + text)
    checked = validated(kickstart)
    assert checked.returncode == 0, checked.stdout
    other, section = sections(kickstart.read_text())
    assert other["text"] == "true\n"
    assert (section["interp"], section["chroot"], section["fatal"]) == ("/bin/sh", True, True)
    with Node() as node:
        disable(node)
        done = run(section, node.root)
        assert done.returncode == 0, done.stdout
        lies(node.root, agent_files())
        watched(node)
        node.boot()
        is_tuned(node)


def test_a_step_that_fails_stops_the_installation(tmp_path: Path) -> None:
    (section,) = sections(rendered(tmp_path, "kickstart"))
    with Node(image=None, product=False) as node:
        # Without the package there is no unit to enable.
        assert run(section, node.root).returncode != 0
