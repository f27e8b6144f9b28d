"""What is around the program changes nothing: variables, locale, umask, limits, a closed pipe."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record import store as record
from ocp_tuned_boot.record.model import Record
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.tuned.findings import make
from ocp_tuned_boot.tuned.judge import Result
from tests.unit.fake_engine import Engine, serving
from tests.unit.hostile import host
from tests.unit.patience import PATIENCE
from tests.unit.test_boot import HOST

TREE = Path(__file__).resolve().parents[2]
LATIN = {"PYTHONIOENCODING": "iso-8859-1", "PYTHONUTF8": "0", "LC_ALL": "en_US.ISO-8859-1"}


@pytest.fixture
def paths() -> Iterator[Paths]:
    with host(HOST) as (found, _):
        yield found


def command(paths: Paths, *words: str) -> list[str]:
    return [sys.executable, "-m", "ocp_tuned_boot", "--root", str(paths.root), *words]


def harsh() -> None:
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_STACK, (512 * 1024, 512 * 1024))


def test_a_profile_is_applied_and_others_can_read_that_whatever_is_around(paths: Paths) -> None:
    proxies = dict.fromkeys(("http_proxy", "HTTPS_PROXY", "all_proxy"), "http://127.0.0.1:9")
    with serving(Engine(paths)) as conf:
        done = subprocess.run(
            command(paths, "apply", "--config", str(conf)), preexec_fn=harsh,
            env={**os.environ, **LATIN, **proxies, "TMPDIR": "/nowhere", "HOME": "/nowhere"},
            check=False, capture_output=True, timeout=PATIENCE,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    for path in (paths.status, paths.tuned_log, paths.run):
        assert path.stat().st_mode & 0o044 == 0o044, path


@pytest.mark.parametrize(
    ("locale", "words"), [(LATIN, r"\u0153...u"), ({"LC_ALL": "C.UTF-8"}, "œ…µ")]
)
def test_what_is_shown_has_only_what_the_locale_has(
    paths: Paths, locale: dict[str, str], words: str
) -> None:
    paths.run.mkdir(parents=True)
    done = Record(Result.FAILED, "11:00", inputs.boot_id(paths), "apply",
                  findings=(make("error", "tuned", "œ…µ"),))  # fmt: skip
    record.write(paths, done)
    shown = subprocess.run(
        command(paths, "status"), env={**os.environ, **locale}, check=False, capture_output=True
    )
    assert shown.stderr == b""
    assert words in shown.stdout.decode()


def test_a_reader_that_stops_reading_is_no_failure(paths: Paths) -> None:
    with serving(Engine(paths)) as conf:
        process = subprocess.Popen(
            command(paths, "--verbose", "apply", "--config", str(conf)),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 0
    shown = subprocess.Popen(command(paths, "status"), stdout=subprocess.PIPE)
    assert shown.stdout is not None
    shown.stdout.close()
    assert shown.wait(PATIENCE) == -signal.SIGPIPE


def test_the_installed_program_takes_no_code_from_the_environment(tmp_path: Path) -> None:
    """Whether it finds its own or none, it does not run what is in PYTHONPATH or here."""
    (tmp_path / "ocp_tuned_boot").mkdir()
    (tmp_path / "ocp_tuned_boot/__init__.py").write_text("print('taken')\n")
    done = subprocess.run(
        [TREE / "packaging/ocp-tuned-boot", "--version"], cwd=tmp_path, check=False,
        env={"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere", "PYTHONSTARTUP": "/nowhere"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert "taken" not in done.stdout
    assert "PYTHONHOME" not in done.stderr
    assert (
        (TREE / "packaging/ocp-tuned-boot").read_text().startswith("#!/usr/bin/python3 -IXutf8\n")
    )


BREAKS = """
from ocp_tuned_boot import cli
from ocp_tuned_boot.host import files
from ocp_tuned_boot.record import store

def breaks(*_: object) -> None:
    raise AttributeError("it has changed")

{place} = breaks
raise SystemExit(cli.main(["--root", {root!r}, "{command}"]))
"""


@pytest.mark.parametrize(
    ("command", "place"),
    [
        ("apply", "files.locked"),
        ("apply", "store.read"),
        ("apply", "cli.journal.set_up_logging"),
        ("cleanup", "files.locked"),
        ("status", "store.read"),
    ],
)
def test_an_exception_that_no_record_can_have_ends_as_one_message(
    paths: Paths, command: str, place: str
) -> None:
    script = BREAKS.format(place=place, root=str(paths.root), command=command)
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, text=True, timeout=PATIENCE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == os.EX_SOFTWARE
    message = "AttributeError: it has changed ("
    lines = [line.strip() for line in done.stdout.splitlines()]
    # The traceback is a block below the message; Python itself has shown none.
    traceback = lines.index("Traceback (most recent call last):")
    assert lines[traceback - 1].startswith(message)
    assert lines[-2].startswith(f"ocp-tuned-boot: {message}")
    assert "This is a defect" in lines[-1]


def test_an_installed_program_that_misses_a_package_says_so(tmp_path: Path) -> None:
    """As after an update of the operating system. Python's own packages, and no others."""
    program = tmp_path / "ocp-tuned-boot"
    text = (TREE / "packaging/ocp-tuned-boot").read_text()
    program.write_text(text.replace("-IXutf8", "-ISXutf8"))
    program.chmod(0o755)
    for environment, err, debug in (({}, "", ""), ({"JOURNAL_STREAM": "8:1"}, "<3>", "<7>")):
        done = subprocess.run(
            [program, "status"], env=environment, check=False, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (os.EX_SOFTWARE, "")
        first, advice, block, *more = done.stderr.splitlines()
        missing = "ModuleNotFoundError: No module named 'ocp_tuned_boot'"
        assert first == f"{err}ocp-tuned-boot: cannot start: {missing}"
        assert advice.startswith(f"{err}  Reinstall")
        assert block == f"{debug}  Traceback (most recent call last):"
        assert all(line.startswith(f"{debug}  ") for line in more)
