"""What runs in the container before TuneD. Nothing is mounted on the machine of these tests: that
the host's files are covered is tested by the lab."""

from __future__ import annotations

import ast
import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ocp_tuned_boot.inside import cover
from ocp_tuned_boot.tuned import findings
from ocp_tuned_boot.tuned import log as tunedlog

FILE = Path(cover.__file__)
BIND, REC, READ_ONLY = 4096, 16384, 32 | 4096 | 1


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """What would be mounted; paths on the host that contain `gone` do not exist, `denied` fails."""
    done: list[tuple[str, str, int]] = []

    def mount(source: str, target: str, flags: int) -> None:
        if "gone" in target:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", target)
        if "denied" in target:
            raise PermissionError(errno.EPERM, "Operation not permitted", target)
        done.append((source.replace(str(tmp_path), ""), target, flags))

    monkeypatch.setattr(cover, "mount", mount)
    return done


def copies(tmp_path: Path, *names: str) -> None:
    for name in names:
        file = tmp_path / "files" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_it_becomes_the_program_with_its_arguments(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "cover.py").write_bytes(FILE.read_bytes())
    program = ("/bin/sh", "-c", 'echo "$1"; exit 3', "sh", "a b")
    command = [sys.executable, "-Es", str(tmp_path / "cover.py"), *program]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, "a b\n", "")


def test_a_file_of_the_kernel_is_covered_and_one_that_is_gone_is_not(
    tmp_path: Path, mounted: list[tuple[str, str, int]]
) -> None:
    copies(tmp_path, "proc/irq/7/smp_affinity", "proc/sys/gone/x", "sys/a/gone")
    cover.cover(str(tmp_path / "files"))
    path = "/proc/irq/7/smp_affinity"
    assert mounted == [(f"/files{path}", path, BIND)]


def test_the_folder_of_an_ordinary_file_is_read_only_first(
    tmp_path: Path, mounted: list[tuple[str, str, int]]
) -> None:
    copies(tmp_path, "etc/sysconfig/irqbalance", "etc/gone/x")
    cover.cover(str(tmp_path / "files"))
    folder = "/etc/sysconfig"
    assert mounted == [
        (folder, folder, BIND | REC),
        (folder, folder, READ_ONLY),
        (f"/files{folder}/irqbalance", f"{folder}/irqbalance", BIND),
    ]


@pytest.mark.usefixtures("mounted")
def test_what_cannot_be_covered_ends_it_with_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies(tmp_path, "proc/sys/vm/denied")
    monkeypatch.setattr("os.execv", lambda *_: pytest.fail("TuneD was started"))
    with pytest.raises(SystemExit) as ended:
        cover.main(str(tmp_path), ["/usr/sbin/tuned"])
    (found,) = findings.read(tunedlog.parse([str(ended.value)]))
    assert (found.kind, found.subject) == ("not-guarded", "vm.denied")
    assert found.fatal


def test_the_python_of_an_old_image_can_run_it() -> None:
    text = FILE.read_text()
    ast.parse(text, feature_version=(3, 6))
    assert set(re.findall(r"(?m)^ *(?:import|from) (\w+)", text)) == {"ctypes", "os", "sys", "time"}
