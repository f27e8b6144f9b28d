"""A profile that TuneD cannot load gives way to the last one that was applied, and to that only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ocp_tuned_boot.commands import status
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record import store
from ocp_tuned_boot.record.model import Record
from ocp_tuned_boot.requested import inputs, lastgood
from ocp_tuned_boot.requested.lastgood import LastProfile
from ocp_tuned_boot.tuned.judge import Result
from ocp_tuned_boot.tuned.profilefile import ProfileFile
from tests.unit.fake_engine import APPLIED, HEAD, Engine, serving
from tests.unit.hostile import AGENT, GOOD, file, host
from tests.unit.patience import PATIENCE

GOOD_PROFILE = LastProfile("good", files=(ProfileFile("good/tuned.conf", b"[main]\n"),))
HOST = {
    **GOOD, AGENT + "profiles/site/tuned.conf": file(b"[main]\nsummary=x\n"),
    "proc/cmdline": file(b"quiet\n"),
}  # fmt: skip
UNKNOWN = (
    HEAD + b"2026-11-23 22:30:36,610 ERROR    tuned.daemon.daemon: Cannot set initial profile. "
    b"No tunings will be enabled: Requested profile 'NAME' doesn't exist.\n"
    + HEAD + b"2026-11-23 22:30:36,710 INFO     tuned.daemon.daemon: terminating TuneD\n"
)  # fmt: skip


class Choosy(Engine):
    """A TuneD that does not know these profiles. `started`: those that it was to apply."""

    unknown: tuple[str, ...] = ("site",)

    def __init__(self, paths: Paths) -> None:
        super().__init__(paths)
        self.started: list[str] = []

    def _start(self) -> None:
        recommend = self.paths.etc_tuned / "recommend.d/00-ocp-tuned-boot.conf"
        names = recommend.read_text().strip("[]\n")
        name = names.partition(" ")[0]
        self.started.append(name)
        self.leaves["active_profile"] = f"{names}\n"
        applied = APPLIED.replace(b"'site'", f"'{names}'".encode())
        refused = UNKNOWN.replace(b"NAME", name.encode())
        self.log = refused if name in self.unknown else applied
        super()._start()


@pytest.fixture
def paths() -> Iterator[Paths]:
    with host(HOST) as (found, _):
        yield found


@pytest.fixture
def engine(paths: Paths) -> Choosy:
    return Choosy(paths)


def run(paths: Paths, engine: Engine, *arguments: str, conf: str = "") -> Record:
    command = [sys.executable, "-m", "ocp_tuned_boot", "--root", str(paths.root), *arguments]
    with serving(engine, f"[tuning]\ntimeout = 600\n{conf}") as boot_conf:
        subprocess.run(
            [*command, "--config", str(boot_conf)], env=dict(os.environ),
            check=False, capture_output=True, timeout=PATIENCE,
        )  # fmt: skip
    done = store.read(paths)
    assert done is not None
    return done


def kinds(done: Record) -> list[str]:
    return [each.kind for each in done.findings]


def test_the_last_profile_is_applied_and_why_is_reported(paths: Paths, engine: Choosy) -> None:
    lastgood.remember_profile(paths, GOOD_PROFILE)
    done = run(paths, engine, "apply")
    assert engine.started == ["site", "good"]
    assert (done.result, kinds(done)) == (Result.DEGRADED, ["profile-fallback"])
    assert done.in_force is not None
    assert (done.in_force.profile, kinds(done)) == ("good", ["profile-fallback"])
    finding = done.findings[0]
    assert "'site'" in finding.message
    assert "is used instead: good" in finding.message
    # What to do about the requested one, as for a unit that is active.
    assert f"It is named in {paths.recommend}; fix it there" in finding.advice
    assert finding.advice.endswith("systemctl reload ocp-tuned")
    assert [each.kind for each in done.attempts] == ["unknown-profile"]
    # What was not applied is not remembered.
    assert lastgood.profile(paths) == GOOD_PROFILE


@pytest.mark.parametrize("conf", ["", "fallback_profile = none\n"])
def test_without_a_fallback_the_run_fails(paths: Paths, engine: Choosy, conf: str) -> None:
    if conf:
        lastgood.remember_profile(paths, GOOD_PROFILE)
    done = run(paths, engine, "apply", conf=conf)
    assert engine.started == ["site"]
    assert (done.result, kinds(done)) == (Result.FAILED, ["unknown-profile"])


def test_a_fallback_that_cannot_be_loaded_either_is_not_called_used(
    paths: Paths, engine: Choosy
) -> None:
    lastgood.remember_profile(paths, GOOD_PROFILE)
    engine.unknown = ("site", "good")
    done = run(paths, engine, "apply")
    assert engine.started == ["site", "good"]
    assert (done.result, kinds(done)) == (Result.FAILED, ["unknown-profile"])
    assert "used instead" not in done.summary()


def test_another_failure_has_no_fallback(paths: Paths, engine: Choosy) -> None:
    lastgood.remember_profile(paths, GOOD_PROFILE)
    engine.unknown = ()
    engine.leaves["bootcmdline"] = ""
    engine._start = lambda: Engine._start(engine)  # type: ignore[method-assign]
    engine.log = b""
    done = run(paths, engine, "apply")
    assert done.result is Result.FAILED
    assert "profile-fallback" not in kinds(done)
    assert done.profile == "site"


@pytest.mark.parametrize("how", ["apply", "reload"])
def test_where_a_profile_is_applied_it_stays(paths: Paths, engine: Choosy, how: str) -> None:
    engine.unknown = ()
    applied = run(paths, engine, "apply")
    assert applied.result is Result.APPLIED
    last = lastgood.profile(paths)
    assert last is not None
    assert last.profile == "site"
    # As if the run had been killed before it remembered its profile.
    lastgood.remember_profile(paths, GOOD_PROFILE)
    (paths.profiles / "site/tuned.conf").write_text("[main]\nsummary=new\n")
    engine.unknown, engine.started = ("site",), []
    for _ in range(2):
        done = run(paths, engine, how, conf="on_change = apply\n")
        assert done.in_force is not None
        assert (done.in_force.profile, done.in_force.fingerprint) == ("site", applied.fingerprint)
        assert kinds(done) == ["change-failed"]
    assert set(engine.started) == {"site"}
    # Nor is it replaced because the request is not valid any more.
    paths.recommend.write_text("[si")
    engine.started = []
    done = run(paths, engine, how)
    assert engine.started == []
    assert done.in_force is not None
    assert done.in_force.profile == "site"


def test_a_record_of_a_failure_has_the_failure_first(paths: Paths, engine: Choosy) -> None:
    lastgood.remember(paths, "registry.example/worked", "id")
    paths.image_env.write_text("NTO_IM")
    done = run(paths, engine, "apply")
    assert (done.result, kinds(done)) == (Result.FAILED, ["unknown-profile", "torn-image-env"])
    assert done.summary().startswith("Failed: unknown-profile site (and 1 more): No profile")


def pending(paths: Paths) -> str:
    now = status.look(paths, None, inputs.boot_id(paths))[1]
    return now.waits


def test_a_failed_reload_is_known_until_something_else_is_requested(
    paths: Paths, engine: Choosy
) -> None:
    engine.unknown = ()
    run(paths, engine, "apply")
    # It exists, so only TuneD knows that it cannot be loaded.
    engine.unknown = ("odd",)
    (paths.profiles / "odd").mkdir()
    (paths.profiles / "odd/tuned.conf").write_text("[main]\n")
    paths.recommend.write_text("[odd]\n")
    assert "it is applied at the next boot" in pending(paths)
    failed = run(paths, engine, "reload")
    assert (failed.action, kinds(failed)) == ("change-failed", ["change-failed"])
    for how in ("notice", "apply", "notice"):
        done = run(paths, engine, how)
        assert (done.action, done.findings) == ("defer", failed.findings)
        assert "applying it has failed" in pending(paths)
        assert "is applied" not in pending(paths)
    paths.recommend.write_text("[site]\n")
    shutil.rmtree(paths.profiles / "odd")
    done = run(paths, engine, "notice")
    assert (done.action, done.result, kinds(done)) == ("keep", Result.APPLIED, [])
    assert pending(paths) == ""


def test_after_a_boot_with_the_fallback_nobody_promises_the_requested_one(
    paths: Paths, engine: Choosy
) -> None:
    lastgood.remember_profile(paths, GOOD_PROFILE)
    run(paths, engine, "apply")
    assert "applying it has failed" in pending(paths)
    assert "is applied" not in pending(paths)
    (paths.profiles / "site/tuned.conf").write_text("[main]\nsummary=fixed\n")
    assert "it is applied at the next boot" in pending(paths)
