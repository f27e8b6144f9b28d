"""What a decision depends on: whether a change concerns this node, and who has applied it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ocp_tuned_boot import boot, situation
from ocp_tuned_boot.commands import status, status_text
from ocp_tuned_boot.host import files, space, systemd
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.images import known
from ocp_tuned_boot.images.known import Known
from ocp_tuned_boot.record import store
from ocp_tuned_boot.record.model import Action, InForce, Record, Waits
from ocp_tuned_boot.requested import settled
from ocp_tuned_boot.requested.config import Config
from ocp_tuned_boot.settings import drift
from ocp_tuned_boot.tuned import layout, reach, said
from ocp_tuned_boot.tuned.findings import make
from ocp_tuned_boot.tuned.judge import Result
from ocp_tuned_boot.tuned.layout import Layout
from ocp_tuned_boot.tuned.said import About, Said
from tests.unit.commands.shown import lines
from tests.unit.fake_engine import Engine, serving
from tests.unit.hostile import AGENT, BOOT_ID, file, host
from tests.unit.patience import no_hang
from tests.unit.tuned.asking import NOTHING, meaning, message, section
from tests.unit.tuned.test_operand import TUNED, pod, process

HOST = {
    AGENT + "image.env": file(b"NTO_IMAGE=registry.example/tuned:x\n"),
    AGENT + "recommend.d/50-openshift.conf": file(b"[site]\n"),
    AGENT + "profiles/site/tuned.conf": file(b"[main]\ninclude=stock\n[sysctl]\nvm.x=1\n"),
    AGENT + "profiles/foreign/tuned.conf": file(b"[sysctl]\nvm.x=2\n"),
    "proc/cmdline": file(b"quiet\n"),
    "proc/sys/vm/x": file(b"1\n"),
}  # fmt: skip
MEANING = replace(
    NOTHING,
    profiles=(*NOTHING.profiles, ("stock", "/usr/lib/tuned/stock/tuned.conf")),
    absent_profiles=("added",),
)
CONF = Config()


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> Iterator[Paths]:
    monkeypatch.setattr(settled, "QUIET", 0.0)
    with host(HOST) as (found, _):
        yield found


def applied(paths: Paths) -> InForce:
    """What is requested is applied."""
    asked = settled.read(paths, CONF)
    files = reach.reached(MEANING, asked.files)
    done = InForce(
        BOOT_ID, Result.APPLIED, "site", asked.image, "id", asked.fingerprint, "12:00",
        reached=asked.fingerprint_with(files),
    )  # fmt: skip
    paths.run.mkdir(parents=True)
    record = Record(Result.APPLIED, "12:00", BOOT_ID, "apply", profile="site", image=asked.image,
                    fingerprint=asked.fingerprint, in_force=done)  # fmt: skip
    store.write(paths, record)
    said.store(paths.said, Said(About(BOOT_ID, "id", asked.fingerprint), message(MEANING)))
    return done


def asked_about(paths: Paths, value: str) -> None:
    """TuneD has been asked what is requested now: it sets vm.x to this value."""
    about = About(BOOT_ID, "id", settled.read(paths, CONF).fingerprint)
    means = meaning(section("sysctl", {"vm.x": value}))
    said.store(paths.said_beside, Said(about, message(means)))


def wants(paths: Paths, name: str, text: str) -> None:
    folder = paths.profiles / name
    folder.mkdir(exist_ok=True)
    (folder / "tuned.conf").write_text(text)


def decided(paths: Paths) -> tuple[Action, Waits]:
    decision, _ = situation.pending(paths, CONF)
    return decision.action, decision.waits


KEEP, DEFER = (Action.KEEP, Waits.NOTHING), (Action.DEFER, Waits.PROFILE)


def test_a_profile_that_this_one_does_not_reach_may_change(paths: Paths) -> None:
    applied(paths)
    wants(paths, "foreign", "[sysctl]\nvm.x=3\n")
    wants(paths, "another", "")
    assert decided(paths) == KEEP
    # One that the image's own profile includes may not, even if it did not exist.
    wants(paths, "added", "")
    assert decided(paths) == DEFER


@pytest.mark.parametrize("name", ["site", "recommend", "provider"])
def test_what_it_reaches_may_not(paths: Paths, name: str) -> None:
    applied(paths)
    if name == "site":
        wants(paths, name, "[sysctl]\nvm.x=3\n")
    elif name == "recommend":
        paths.recommend.write_text("[foreign]\n")
    else:
        paths.provider.write_text("aws")
    assert decided(paths) == DEFER


def test_where_that_cannot_be_told_every_change_counts(paths: Paths) -> None:
    done = applied(paths)
    wants(paths, "foreign", "")
    assert decided(paths) == KEEP
    # Of an earlier release: it has applied what is requested, and nothing is applied again.
    store.write(paths, Record(Result.APPLIED, "", BOOT_ID, in_force=replace(done, reached="")))
    assert decided(paths) == DEFER
    wants(paths, "foreign", "[sysctl]\nvm.x=2\n")
    assert decided(paths) == KEEP
    # What TuneD said about another image does not count.
    store.write(paths, Record(Result.APPLIED, "", BOOT_ID, in_force=replace(done, image_id="y")))
    assert decided(paths) == KEEP
    wants(paths, "foreign", "")
    assert decided(paths) == DEFER


def test_what_is_reached_is_recorded_with_what_is_applied(paths: Paths) -> None:
    engine = Engine(paths)
    with serving(engine) as conf, no_hang():
        done = boot.apply(paths, conf, Notifier())
        assert done.in_force is not None
        assert done.in_force.reached not in ("", done.in_force.fingerprint)
        wants(paths, "foreign", "")
        assert boot.apply(paths, conf, Notifier()).action == "keep"
        wants(paths, "site", "")
        assert boot.apply(paths, conf, Notifier()).action == "defer"


def test_what_cannot_be_loaded_is_said_before_it_is_tried(paths: Paths) -> None:
    applied(paths)
    known.remember(paths, Known("registry.example/tuned:x", "id"))
    paths.layouts.mkdir(parents=True)
    stock = {"/usr/lib/tuned/stock/tuned.conf": "[main]\n"}
    layout.FORMAT.write(paths.layouts / "id.json", asdict(Layout(profiles=stock)))
    wants(paths, "site", "[main]\ninclude=gone\n")
    for reason in (f'No profile "gone" in {paths.profiles}', "TuneD cannot parse "):
        _, now = status.look(paths, None, BOOT_ID)
        assert f"it cannot be applied: {reason}" in now.waits
        assert "is applied" not in now.waits
        # What to type is once on the screen.
        assert now.waits.endswith("then: systemctl reload ocp-tuned")
        wants(paths, "site", "[main]\ninclude=stock\n[sysctl]\nvm.x 1\n")
    wants(paths, "site", "[main]\ninclude=stock\n[sysctl]\nvm.x=2\n")
    assert "it is applied at the next boot" in status.look(paths, None, BOOT_ID)[1].waits


# Another TuneD.


def operand_runs(paths: Paths) -> None:
    process(paths, 17, *TUNED)
    pod(paths, 17)


def test_a_change_that_another_tuned_has_applied_does_not_wait(paths: Paths) -> None:
    applied(paths)
    wants(paths, "site", "[sysctl]\nvm.x=5\n")
    asked_about(paths, "5")
    assert decided(paths) == DEFER
    operand_runs(paths)
    assert decided(paths) == DEFER
    Path(paths.root / "proc/sys/vm/x").write_text("5\n")
    assert decided(paths) == KEEP
    asked = situation.beside_others(paths, CONF, settled.read(paths, CONF))
    assert [each.kind for each in asked.doubts] == ["other-tuned"]
    # Without it, the same values say nothing.
    (paths.root / "proc/17/cmdline").write_text("sleep")
    assert decided(paths) == DEFER


def test_another_tuned_is_given_the_time_to_apply_a_change(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied(paths)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            Path(paths.root / "proc/sys/vm/x").write_text("5\n")

    monkeypatch.setattr(time, "sleep", sleep)
    operand_runs(paths)
    situation.wait_for_others(paths, None)
    assert waited == []
    wants(paths, "site", "[sysctl]\nvm.x=5\n")
    asked_about(paths, "5")
    situation.wait_for_others(paths, None)
    assert len(waited) == 3
    done = boot.notice(paths, None)
    assert done is not None
    assert (done.action, done.deferred) == ("keep", None)
    assert [each.kind for each in done.findings] == ["other-tuned"]
    # And not for ever.
    wants(paths, "site", "[sysctl]\nvm.x=6\n")
    asked_about(paths, "6")
    monkeypatch.setattr(situation, "PATIENCE", 0.0)
    done = boot.notice(paths, None)
    assert done is not None
    assert done.deferred is not None


def test_a_notice_never_runs_tuned_even_if_a_run_is_killed_before_it(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has seen that a profile is applied; then a run began, and was killed."""
    done = applied(paths)
    killed = Record(Result.APPLYING, "12:01", BOOT_ID, "apply", profile=done.profile)
    monkeypatch.setattr(situation, "wait_for_others", lambda *_: store.write(paths, killed))
    assert boot.notice(paths, None) is None
    assert store.read(paths) == killed


def test_status_shows_it_while_it_runs(paths: Paths) -> None:
    applied(paths)
    operand_runs(paths)
    told, now = status.look(paths, None, BOOT_ID)
    assert told is not None
    assert (told.result, [each.kind for each in told.findings]) == (
        Result.DEGRADED, ["other-tuned"],
    )  # fmt: skip
    assert any("other-tuned pod: TuneD in a pod" in it for it in lines(status_text.rows(told, now)))
    (paths.root / "proc/17/cmdline").write_text("sleep")
    done = store.read(paths)
    assert done is not None
    store.write(paths, replace(done, findings=told.findings))
    told, _ = status.look(paths, None, BOOT_ID)
    assert told is not None
    assert (told.result, told.findings) == (Result.APPLIED, ())


def test_a_fallback_image_is_no_change_that_waits(paths: Paths) -> None:
    applied(paths)
    paths.image_env.write_text("NTO_IMAGE=localhost/tuned:new\n")
    assert "only the image has changed" in status.look(paths, None, BOOT_ID)[1].waits
    done = store.read(paths)
    assert done is not None
    found = (make("image-stand-in", "localhost/tuned:new", "cannot pull it"),)
    store.write(paths, replace(done, result=Result.DEGRADED, findings=found))
    assert status.look(paths, None, BOOT_ID)[1].waits == ""
    paths.image_env.write_text("NTO_IMAGE=localhost/tuned:newer\n")
    assert "only the image has changed" in status.look(paths, None, BOOT_ID)[1].waits


def test_status_shows_which_file_decides(paths: Paths) -> None:
    paths.admin_conf.parent.mkdir(parents=True)
    paths.admin_conf.write_text("[tuning]\nimage = other\n")
    done, now = status.look(paths, None, BOOT_ID)
    shown = lines(status_text.rows(done, now))
    assert f"  requested    image registry.example/tuned:x, named in {paths.image_env}" in shown
    assert f"  requested    profile site, named in {paths.recommend}" in shown
    words = f"image = other in {paths.admin_conf} has no effect: {paths.image_env} decides"
    assert f"  requested    {words}" in shown


# Changes that come while the unit is starting.


def test_a_run_that_has_read_an_earlier_request_is_followed_by_another(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(systemd, "reload", started.append)
    assert boot.notice(paths, None) is None
    assert started == []  # none has run yet: it will read the present one
    asked = settled.read(paths, CONF)
    failed = Record(Result.FAILED, "", BOOT_ID, image=asked.image, fingerprint=asked.fingerprint)
    store.write(paths, failed)
    assert boot.notice(paths, None) is None
    assert started == []
    for earlier in (replace(failed, fingerprint=""), replace(failed, image="x")):
        store.write(paths, earlier)
        assert boot.notice(paths, None) is None
        assert started.pop() == systemd.UNIT
    # What waits late is started once that is no longer wanted.
    store.write(paths, replace(failed, result=Result.DEFERRED))
    group = paths.cgroups / "system.slice/crio.service"
    group.mkdir(parents=True)
    (group / "cgroup.events").write_text("populated 1\n")
    paths.admin_conf.parent.mkdir(parents=True)
    paths.admin_conf.write_text("[tuning]\non_change = agent\n")
    paths.agent_on_change.write_text("always")
    assert boot.notice(paths, None) is None
    assert started == []
    paths.agent_on_change.write_text("never")
    assert boot.notice(paths, None) is None
    assert started.pop() == systemd.UNIT
    # What cannot be read would fail again.
    store.write(paths, failed)
    paths.recommend.write_text("")
    assert boot.notice(paths, None) is None
    assert started == []


@pytest.mark.parametrize("word", ["never", "update", "always"])
def test_a_notice_asks_for_a_reload_if_the_agent_wants_it(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    reloaded: list[str] = []
    monkeypatch.setattr(systemd, "reload", reloaded.append)
    applied(paths)
    paths.admin_conf.parent.mkdir(parents=True)
    paths.admin_conf.write_text("[tuning]\non_change = agent\n")
    paths.agent_on_change.write_text(word)
    wants(paths, "site", "")
    boot.notice(paths, None)
    assert bool(reloaded) is (word == "never")
    reloaded.clear()
    paths.recommend.write_text("[foreign]\n")
    done = boot.notice(paths, None)
    assert done is not None
    assert done.deferred is not None
    assert bool(reloaded) is (word in ("never", "update"))


# What is seen by whom.


def test_what_only_root_may_read_is_no_problem_of_the_node(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied(paths)

    def refused(*_: object) -> drift.Drift:
        with files.explained("read", paths.settings):
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(drift, "look", refused)
    assert "Permission denied" in status.look(paths, None, BOOT_ID)[1].waits
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    _, now = status.look(paths, None, BOOT_ID)
    assert now.waits == ""
    assert "which settings have changed" in now.hidden


def test_where_there_is_hardly_space_is_seen(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    applied(paths)
    assert status.look(paths, None, BOOT_ID)[1].low == ()
    monkeypatch.setattr(space, "STATE", 1 << 60)
    assert [it.folder for it in status.look(paths, None, BOOT_ID)[1].low] == [paths.state]
