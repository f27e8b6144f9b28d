"""The bars of a boot: what is critical, what is around it, and which boot is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ocp_tuned_boot.commands import surroundings, timeline
from ocp_tuned_boot.commands.surroundings import MOST, Surroundings
from ocp_tuned_boot.commands.timeline import STEPS, Bar, Part, Timeline
from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import starts
from ocp_tuned_boot.host.clock import Step
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.starts import Started, Startup
from ocp_tuned_boot.host.systemd import GO, UNIT
from ocp_tuned_boot.record import history
from ocp_tuned_boot.record.history import Boot
from ocp_tuned_boot.record.model import Moments, Record
from ocp_tuned_boot.tuned.judge import Result
from tests.unit.commands.made import KUBELET, LATE, RECORD, STARTUP, UNITS, at, boot_of, reading


def drawn(
    record: Record = RECORD,
    units: Mapping[str, Started] = UNITS,
    startup: Startup | None = STARTUP,
) -> Timeline:
    runs = boot_of(record).runs
    return timeline.drawn(boot_of(record), runs, surroundings.found(runs, reading(units), startup))


def bars(shown: Timeline, part: Part) -> dict[str, Bar]:
    return {bar.name: bar for bar in shown.bars if bar.part is part}


def critical(shown: Timeline) -> list[str]:
    return [bar.name for bar in shown.bars if bar.critical]


def test_the_critical_chain_is_what_each_unit_waited_for_and_then_the_run() -> None:
    shown = drawn()
    assert critical(shown) == [
        "sysinit.target", "basic.target", LATE, "network.target", GO,
        "inputs", "image", "tuned", "READY=1",
    ]  # fmt: skip
    assert (shown.last, shown.longest) == ("network.target", LATE)
    assert shown.since == "userspace"
    assert shown.ready == pytest.approx(2.11)
    assert bars(shown, Part.FOLLOWED)[LATE] == Bar(LATE, Part.FOLLOWED, 0.48, 1.505, True)


def test_others_that_were_waited_for_are_shown_and_those_that_were_up_before_are_not() -> None:
    shown = drawn()
    followed = bars(shown, Part.FOLLOWED)
    assert not followed["polkit.service"].critical
    assert "systemd-sysctl.service" not in followed


def test_what_was_done_early_and_the_wait_are_not_critical() -> None:
    early = bars(drawn(), Part.EARLY)
    assert list(early) == [UNIT, "prepare", "ask", f"wait for {GO}"]
    assert not any(bar.critical for bar in early.values())
    # From the start of the unit to READY=1: what is in no step is seen there.
    assert (early[UNIT].at, early[UNIT].seconds) == (0.5, 1.61)
    assert (early[f"wait for {GO}"].at, early[f"wait for {GO}"].seconds) == (1.11, 0.895)


def test_what_was_not_done_by_the_word_is_critical_and_the_units_are_those_of_the_own_start() -> (
    None
):
    late = replace(RECORD, early=(Step("prepare", 0.1, at(0.7)), Step("ask", 1.25, at(0.8))))
    shown = drawn(late)
    assert critical(shown)[:5] == ["sysinit.target", "basic.target", UNIT, "prepare", "ask"]
    assert f"wait for {GO}" not in bars(shown, Part.EARLY)
    assert (shown.last, shown.longest) == ("basic.target", "")
    followed = bars(shown, Part.FOLLOWED)
    assert [name for name in followed if not followed[name].critical] == [
        "polkit.service", "network.target", GO,
    ]  # fmt: skip


def test_a_run_that_did_not_wait_had_to_follow_what_its_own_unit_is_ordered_after() -> None:
    shown = drawn(replace(RECORD, moments=Moments(at(2.0), None, at(2.11)), early=()))
    assert critical(shown)[:4] == ["sysinit.target", "basic.target", UNIT, "inputs"]


def test_what_is_done_after_ready_is_not_critical() -> None:
    shown = drawn(replace(RECORD, steps=(*RECORD.steps, Step("check", 0.5, at(2.2)))))
    assert bars(shown, Part.AFTERWARDS) == {"check": Bar("check", Part.AFTERWARDS, 2.2, 0.5)}
    # After READY=1.
    assert [bar.name for bar in shown.bars if bar.part in (Part.RUN, Part.AFTERWARDS)] == [
        "inputs", "image", "tuned", "READY=1", "check",
    ]  # fmt: skip


def test_the_kubelet_is_among_what_waited_in_the_order_of_the_starts() -> None:
    shown = drawn()
    assert list(bars(shown, Part.WAITED)) == [
        "kubelet-dependencies.target", "crio.service", KUBELET,
    ]  # fmt: skip
    assert [bar.name for bar in shown.kubelets] == ["crio.service", KUBELET]


def test_what_was_running_before_ready_did_not_wait() -> None:
    early = {**UNITS, KUBELET: replace(UNITS[KUBELET], began=at(1.0), up=at(1.1))}
    assert KUBELET not in bars(drawn(units=early), Part.WAITED)


def test_a_run_that_failed_ends_with_that_and_is_critical() -> None:
    failed = replace(RECORD, result=Result.FAILED, moments=Moments(at(2.005), at(0.52)),
                     seconds=0.09)  # fmt: skip
    shown = drawn(failed)
    assert shown.ready is None
    assert bars(shown, Part.RUN)["failed"].at == pytest.approx(2.095)
    # Its unit has ended when all is cleaned up.
    assert bars(shown, Part.EARLY)[UNIT].end == pytest.approx(2.11)
    # Without the profile.
    assert KUBELET in bars(shown, Part.WAITED)


def test_with_a_closed_gate_the_runs_that_failed_are_part_of_it() -> None:
    failed = replace(RECORD, result=Result.FAILED, moments=Moments(at(1.0)), steps=(), seconds=0.2)
    runs = boot_of(failed, RECORD, replace(RECORD, profile="later")).runs
    chosen = timeline.boot_run(runs)
    assert chosen == runs[:2]
    shown = timeline.drawn(boot_of(failed), chosen, Surroundings(STARTUP))
    ends = [(bar.name, bar.at) for bar in shown.bars if not bar.seconds]
    assert ends == [("failed", 1.2), ("READY=1", 2.11)]
    assert timeline.boot_run(runs[:1]) == runs[:1]
    # Started by hand, beside a kubelet that did not wait.
    by_hand = boot_of(failed, replace(RECORD, late=(KUBELET,))).runs
    assert timeline.boot_run(by_hand) == by_hand[:1]
    assert surroundings.within(chosen, Startup(at(0), at(1.9))) == chosen[:1]
    for startup in (None, Startup(at(0)), STARTUP):
        assert surroundings.within(chosen, startup) == chosen
    assert surroundings.within(chosen[1:], Startup(at(0), at(1))) == chosen[1:]


def test_a_run_long_after_the_boot_waited_for_nothing() -> None:
    shown = drawn(startup=Startup(at(0), at(1.5)))
    assert bars(shown, Part.FOLLOWED) == {}
    assert shown.notes == ("The run began after all units of this boot had started.",)


def test_without_a_start_of_user_space_times_are_those_of_the_kernel() -> None:
    shown = timeline.drawn(boot_of(RECORD), boot_of(RECORD).runs, Surroundings())
    assert (shown.since, shown.zero) == ("kernel", 0.0)
    assert shown.ready == at(2.11)
    assert (shown.last, shown.kubelets) == ("", ())


def test_the_steps_of_an_earlier_release_are_shown_one_after_the_other() -> None:
    old = replace(RECORD, moments=None, early=(), steps=(Step("inputs", 0.5), Step("tuned", 1.5)))
    shown = timeline.drawn(boot_of(old), boot_of(old).runs, Surroundings())
    assert [(bar.name, bar.at, bar.seconds) for bar in shown.bars] == [
        ("inputs", 0.0, 0.5), ("tuned", 0.5, 1.5),
    ]  # fmt: skip
    assert (shown.since, shown.ready) == ("run", None)


def test_of_many_steps_the_longest_are_shown_in_their_order() -> None:
    steps = tuple(Step(f"s{n}", 0.001 * (n + 1), at(2.006)) for n in range(STEPS + 5))
    shown = drawn(replace(RECORD, steps=steps))
    names = [bar.name for bar in shown.bars if bar.part is Part.RUN]
    # The moment of READY=1 is the shortest of all, and stays.
    assert names == [*(f"s{n}" for n in range(5, STEPS + 5)), "READY=1"]
    assert shown.notes == ("The shortest steps are not shown: 5.",)


def test_a_chain_is_bounded_and_a_circle_ends() -> None:
    circle = {f"u{n}.service": Started(f"u{n}.service", at(0.1), at(0.1),
                                       tuple(f"u{m}.service" for m in range(40)))
              for n in range(40)}  # fmt: skip
    units = {**UNITS, **circle, GO: replace(UNITS[GO], after=("u0.service",))}
    followed = bars(drawn(units=units), Part.FOLLOWED)
    assert len(followed) == MOST
    two = {
        "a.target": Started("a.target", at(0.1), at(0.1), ("b.target",)),
        "b.target": Started("b.target", at(0.1), at(0.1), ("a.target",)),
    }
    units = {**UNITS, **two, GO: replace(UNITS[GO], after=("a.target",))}
    assert list(bars(drawn(units=units), Part.FOLLOWED)) == ["b.target", "a.target", GO]


RUNS = boot_of(RECORD).runs
BOOTS = [Boot(f"b{number}", boot_of(RECORD).runs) for number in range(3)]


@pytest.mark.parametrize(
    ("wanted", "this", "expected"),
    [("0", "b2", "b2"), ("-1", "b2", "b1"), ("-2", "b2", "b0"), ("b1", "b2", "b1"),
     # Nothing was done in this boot yet, or the boots of a kernel after a soft-reboot.
     ("-1", "new", "b2"), ("-1", "b0", "b2")],
)  # fmt: skip
def test_a_boot_is_named_by_its_distance_or_its_id(wanted: str, this: str, expected: str) -> None:
    assert timeline.chosen(BOOTS, this, wanted).boot_id == expected


def test_a_boot_id_may_be_written_as_journalctl_does() -> None:
    (boot,) = boots = [Boot("0f6a-4d2c+1", RUNS)]
    assert timeline.chosen(boots, "x", "0f6a4d2c+1") == boot


@pytest.mark.parametrize("wanted", ["-3", "1", "x", "", "--"])
def test_an_unknown_boot_is_refused_with_those_that_are_known(wanted: str) -> None:
    known = r"known boots: 0 \(b2\), -1 \(b1\), -2 \(b0\)\n"
    with pytest.raises(HostError, match=known) as error:
        timeline.chosen(BOOTS, "b2", wanted)
    assert f"nothing is recorded of boot {wanted!r}" in error.value.message
    with pytest.raises(HostError, match="known boots: none"):
        timeline.chosen([], "b2", wanted)


def host(tmp_path: Path, boot_id: str) -> Paths:
    paths = Paths(tmp_path)
    paths.boot_id.parent.mkdir(parents=True, exist_ok=True)
    paths.boot_id.write_text(f"{boot_id}\n")
    return paths


def test_it_is_read_from_the_history(tmp_path: Path) -> None:
    paths = host(tmp_path, "b1")
    history.add(paths, replace(RECORD, boot_id="b0"))
    history.add(paths, replace(RECORD, boot_id="b1", profile="other"))
    assert timeline.look(paths, "0").profile == "other"
    before = timeline.look(paths, "-1")
    assert (before.boot_id, before.profile) == ("b0", RECORD.profile)
    # The units of this machine are not those of that folder.
    assert [bar.part for bar in before.bars if bar.part in (Part.FOLLOWED, Part.WAITED)] == []
    assert before.ready == pytest.approx(at(2.11))


def test_a_run_that_is_under_way_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    from ocp_tuned_boot.record import store

    paths = host(tmp_path, "b1")
    paths.run.mkdir(parents=True)
    running = replace(RECORD, boot_id="b1", result=Result.APPLYING, moments=Moments(at(2.005)))
    store.write(paths, running)
    assert "applying" in [bar.name for bar in timeline.look(paths, "0").bars]


def test_the_steps_of_an_old_history_are_read(tmp_path: Path) -> None:
    paths = host(tmp_path, "b1")
    paths.history.mkdir(parents=True)
    texts = ("started", "action", "reason", "result", "profile", "image", "image_id",
             "fingerprint", "summary")  # fmt: skip
    runs = [{**dict.fromkeys(texts, ""), "seconds": 1.5}]
    content = json.dumps({"version": 1, "runs": runs})
    (paths.history / "000001-b1.json").write_text(content)
    shown = timeline.look(paths, "0")
    assert shown.bars == ()
    assert "An earlier release recorded this boot" in shown.notes[0]


def test_systemd_that_does_not_answer_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object, **__: object) -> None:
        raise HostError("no answer within 5.0 s")

    paths = host(tmp_path, "b1")
    history.add(paths, replace(RECORD, boot_id="b1"))
    monkeypatch.setattr(starts, "startup", silent)
    # The folder stands for the root of this machine.
    monkeypatch.setattr(timeline, "Paths", lambda: paths)
    shown = timeline.look(paths, "0")
    assert shown.notes == ("The times of units are not known: no answer within 5.0 s.",)
    assert "READY=1" in [bar.name for bar in shown.bars]


def test_the_unit_itself_is_not_among_those_that_waited() -> None:
    mine = {**UNITS, "ocp-tuned-notice.service": Started("ocp-tuned-notice.service", at(2.2))}
    mine[UNIT] = replace(mine[UNIT], before=(*mine[UNIT].before, "ocp-tuned-notice.service"))
    assert "ocp-tuned-notice.service" not in bars(drawn(units=mine), Part.WAITED)
