"""The file of the metrics: written after each run, whatever its result, and never in the way."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from ocp_tuned_boot import textfile
from ocp_tuned_boot.commands import removal
from ocp_tuned_boot.errors import HostError, Interrupted
from ocp_tuned_boot.host import files, systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record import metrics, store
from ocp_tuned_boot.record.model import InForce, Record
from ocp_tuned_boot.settings.drift import Drift, Drifted
from ocp_tuned_boot.tuned import staying
from ocp_tuned_boot.tuned.judge import Result
from ocp_tuned_boot.tuned.staying import Staying
from tests.unit.fake_engine import Engine, serving
from tests.unit.hostile import AGENT, BOOT_ID, GOOD, file, host
from tests.unit.patience import PATIENCE

NAME = "/var/lib/node_exporter/textfile_collector/ocp-tuned-boot.prom"
CONF = f"[metrics]\ntextfile = {NAME}\n"
IN_FORCE = InForce(BOOT_ID, Result.APPLIED, "site", "image", "id", "f", "2023-11-14T22:13:30Z")
DONE = Record(Result.APPLIED, "2023-11-14T22:13:20Z", BOOT_ID, "apply", in_force=IN_FORCE)
HOST = {
    **GOOD, AGENT + "profiles/site/tuned.conf": file(b"[main]\nsummary=x\n"),
    "proc/cmdline": file(b"quiet\n"),
}  # fmt: skip


@pytest.fixture
def paths() -> Iterator[Paths]:
    with host(HOST) as (found, _):
        found.run.mkdir(parents=True)
        found.admin_conf.parent.mkdir(parents=True)
        found.admin_conf.write_text(CONF)
        where(found).parent.mkdir(parents=True)
        store.write(found, DONE)
        yield found


def where(paths: Paths) -> Path:
    return paths.root / NAME[1:]


def said(paths: Paths, sample: str) -> str:
    """The value of a sample, as it is written."""
    (line,) = [it for it in where(paths).read_text().splitlines() if it.startswith(f"{sample} ")]
    return line.rpartition(" ")[2]


def test_the_metrics_of_the_record_are_written_for_all_to_read(paths: Paths) -> None:
    textfile.write(paths, None)
    assert said(paths, "ocp_tuned_boot_applied") == "1.0"
    assert said(paths, 'ocp_tuned_boot_result{result="applied"}') == "1.0"
    assert where(paths).stat().st_mode & 0o777 == 0o644
    assert [it.name for it in where(paths).parent.iterdir()] == [where(paths).name]
    booted = float(said(paths, "ocp_tuned_boot_node_boot_time_seconds"))
    (btime,) = [it for it in Path("/proc/stat").read_text().splitlines() if it.startswith("btime")]
    assert abs(booted - int(btime.split()[1])) < 2


def test_whether_a_tuned_that_keeps_running_runs(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {"ActiveState": "failed", "NRestarts": "5"}
    monkeypatch.setattr(systemd, "properties", lambda names, _: {names[0]: shown})
    textfile.write(paths, None)
    assert "ocp_tuned_boot_daemon" not in where(paths).read_text()
    staying.note(paths, Staying("c1", BOOT_ID, "f"))
    textfile.write(paths, None)
    assert said(paths, "ocp_tuned_boot_daemon_running") == "0.0"
    assert float(said(paths, "ocp_tuned_boot_daemon_restarts")) == 5


def test_without_a_key_nothing_is_written(paths: Paths) -> None:
    paths.admin_conf.write_text("[tuning]\n")
    textfile.write(paths, None)
    assert list(where(paths).parent.iterdir()) == []


def test_a_record_of_another_boot_is_none(paths: Paths) -> None:
    paths.boot_id.write_text(BOOT_ID[::-1] + "\n")
    textfile.write(paths, None)
    assert not where(paths).exists()


def test_a_broken_boot_conf_still_says_where(paths: Paths) -> None:
    """The run fails because of it, and that has to be seen."""
    store.write(paths, Record(Result.FAILED, "2023-11-14T22:13:20Z", BOOT_ID))
    paths.admin_conf.write_text(f"[tuning]\ntimeout = soon\n{CONF}")
    textfile.write(paths, None)
    assert said(paths, 'ocp_tuned_boot_result{result="failed"}') == "1.0"


@pytest.mark.parametrize("how", ["returns", "fails", "is interrupted"])
def test_it_is_written_however_the_block_ends(paths: Paths, how: str) -> None:
    errors = {"fails": HostError("x"), "is interrupted": Interrupted(signal.SIGTERM)}
    expected = pytest.raises(type(errors[how])) if how in errors else nullcontext()
    with expected, textfile.after(paths, None):
        assert not where(paths).exists()
        if how in errors:
            raise errors[how]
    assert where(paths).exists()


def test_the_folder_of_node_exporter_is_not_made(
    paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    where(paths).parent.rmdir()
    textfile.write(paths, None)
    assert not where(paths).parent.exists()
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert "the metrics are not written: cannot write" in line.getMessage()
    assert "Create the folder" in line.getMessage()


def test_a_link_is_replaced_and_not_followed(paths: Paths, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    where(paths).symlink_to(victim)
    textfile.write(paths, None)
    assert victim.read_text() == "theirs"
    assert not where(paths).is_symlink()


def test_a_folder_that_is_a_link_is_refused(
    paths: Paths, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    where(paths).parent.rmdir()
    where(paths).parent.symlink_to(tmp_path)
    textfile.write(paths, None)
    assert not (tmp_path / where(paths).name).exists()
    assert "the metrics are not written" in caplog.text


@pytest.mark.parametrize(
    ("number", "words"), [(30, "ReadWritePaths="), (13, "must belong to root"), (28, "full")]
)
def test_what_to_do_about_a_folder_that_cannot_be_written(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    number: int, words: str,
) -> None:  # fmt: skip
    def refuse(*_: object, **__: object) -> None:
        with files.explained("write", where(paths)):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "write", refuse)
    textfile.write(paths, None)
    assert words in caplog.text


def test_a_defect_of_the_metrics_is_no_defect_of_the_run(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(metrics, "gauges", broken)
    textfile.write(paths, None)
    assert "the metrics are not written: ZeroDivisionError" in caplog.text


def test_drift_that_was_found_just_now_is_written(paths: Paths) -> None:
    changed = Drifted("vm.x", "/proc/sys/vm/x", "1", "7", "since", "now")
    owned = Drifted("vm.y", "/proc/sys/vm/y", "1", "7", "since", "now", owned=True)
    textfile.write(paths, None, Drift(2, (changed, owned, owned), "site"))
    assert said(paths, 'ocp_tuned_boot_drifted_settings{owned="false"}') == "1.0"
    assert said(paths, 'ocp_tuned_boot_drifted_settings{owned="true"}') == "2.0"


def test_a_run_looks_for_drift_by_itself(paths: Paths) -> None:
    textfile.write(paths, None)
    assert said(paths, 'ocp_tuned_boot_drifted_settings{owned="false"}') == "0.0"
    assert paths.drift.exists()


def test_the_removal_of_the_package_removes_the_file(paths: Paths) -> None:
    textfile.write(paths, None)
    removal.purge(paths, None)
    assert not where(paths).exists()


def run(paths: Paths, conf: Path, *words: str) -> int:
    command = [sys.executable, "-m", "ocp_tuned_boot", "--root", str(paths.root), *words]
    done = subprocess.run(
        [*command, "--config", str(conf)], check=False, capture_output=True, timeout=PATIENCE
    )
    return done.returncode


def test_every_run_of_the_program_writes_it(paths: Paths) -> None:
    """One that applies, one that keeps, a change that cannot be made, a notice, and drift."""
    paths.status.unlink()
    engine = Engine(paths)
    started = "ocp_tuned_boot_run_timestamp_seconds"
    with serving(engine, f"[tuning]\ntimeout = 600\n{CONF}") as conf:
        assert run(paths, conf, "apply") == 0
        assert said(paths, 'ocp_tuned_boot_result{result="applied"}') == "1.0"
        first = said(paths, started)
        assert run(paths, conf, "apply") == 0
        assert said(paths, started) > first
        paths.image_env.write_text("NTO_IMAGE=\n")
        where(paths).unlink()
        run(paths, conf, "reload")
        assert said(paths, 'ocp_tuned_boot_result{result="degraded"}') == "1.0"
        where(paths).unlink()
        assert run(paths, conf, "notice") == 0
        assert said(paths, 'ocp_tuned_boot_result{result="degraded"}') == "1.0"
        where(paths).unlink()
        assert run(paths, conf, "drift") == 0
        assert said(paths, 'ocp_tuned_boot_result{result="degraded"}') == "1.0"


def test_a_failed_run_writes_it(paths: Paths) -> None:
    paths.status.unlink()
    engine = Engine(paths, log=b"")
    with serving(engine, f"[tuning]\ntimeout = 600\n{CONF}") as conf:
        assert run(paths, conf, "apply") != 0
    assert said(paths, 'ocp_tuned_boot_result{result="failed"}') == "1.0"
    assert said(paths, "ocp_tuned_boot_applied") == "0.0"
