"""status.json: what was written is read back, and nothing else is taken for it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot import __version__
from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host.clock import Step
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record import store as record
from ocp_tuned_boot.record.model import (
    Attempt,
    Deferred,
    HandedOver,
    Hold,
    InForce,
    Moments,
    Record,
    Residue,
    Value,
)
from ocp_tuned_boot.tuned.findings import Finding, make
from ocp_tuned_boot.tuned.judge import Result

FINDING = Finding("setting-refused", "vm.x", "no…", "do this")
IN_FORCE = InForce("boot", Result.DEGRADED, "site", "localhost/a", "id", "f" * 64, "12:00",
                   (FINDING,), (Hold("force_latency", "cstate.id:1", "2", "12:00"),))  # fmt: skip
FULL = Record(
    Result.DEGRADED, "12:00", "boot", "apply", "because", "site", "localhost/a", "id", "tuned",
    "f" * 64, (FINDING,), (Step("inputs", 0.1, 4.0), Step("tuned", 0.2, 4.1)),
    seconds=0.3, moments=Moments(4.0, 1.0, 4.3), early=(Step("prepare", 0.1, 1.5),),
    units={"kubelet.service": "active"}, kernel_arguments=("a=1",),
    attempts=(Attempt(0.2, "podman", "no socket"),),
    values=(Value("vm.x", "verified", "1", "1"),), in_force=IN_FORCE, late=("crio.service",),
    deferred=Deferred("profile", "g", "new", "localhost/b", "13:00"),
    handover=(HandedOver("net.x", "left-out", "1", "0", "1"),),
    residue=(Residue("vm.y", "put-back", "1", "5", "1"),),
)  # fmt: skip
PLAIN = replace(FULL, late=(), deferred=None)
FORCE = replace(IN_FORCE, holds=())
KEPT = replace(PLAIN, result=Result.APPLIED, findings=(), action="keep", in_force=FORCE)
QUOTED = make("setting-refused", "vm.x", 'TuneD logged: "[Errno 22]"')
TEXT = st.text(max_size=20)
RECORDS = st.builds(
    replace,
    st.just(FULL),
    result=st.sampled_from(Result),
    profile=TEXT,
    findings=st.lists(st.builds(Finding, TEXT, TEXT, TEXT, TEXT, st.booleans())).map(tuple),
    steps=st.lists(st.builds(Step, TEXT, st.floats(0, 1e6))).map(tuple),
    seconds=st.floats(0, 1e6),
    units=st.dictionaries(TEXT, TEXT),
    values=st.sampled_from([None, (), FULL.values]),
    in_force=st.sampled_from([None, IN_FORCE]),
)


@given(RECORDS)
def test_what_is_written_is_read_back(done: Record) -> None:
    assert record.decode(record.encode(done), "x") == done


def test_it_is_json_for_agents() -> None:
    content = json.loads(record.encode(FULL))
    assert content["version"] == record.FORMAT.version
    assert content["program"] == __version__
    assert content["result"] == "degraded"
    assert content["steps"][0] == {"name": "inputs", "seconds": 0.1, "at": 4.0}
    assert content["findings"][0]["kind"] == "setting-refused"
    assert content["in_force"]["image_id"] == "id"


def test_what_an_earlier_release_has_written_is_read() -> None:
    # An upgrade must not lose the record of what is applied.
    content = json.loads(record.encode(FULL))
    for new in ("late", "deferred", "handover", "residue"):
        del content[new]
    del content["in_force"]["holds"]
    for value in content["values"]:
        del value["path"]
    found = record.decode(json.dumps(content), "x")
    assert FULL.in_force is not None
    in_force = replace(FULL.in_force, holds=())
    assert found == replace(
        FULL, late=(), deferred=None, handover=(), residue=(), in_force=in_force
    )


@pytest.mark.parametrize(("waits", "reason"), [("profile", "Deferred"), ("image", "AsExpected")])
def test_a_profile_that_waits_is_in_the_conditions_and_an_image_is_not(
    waits: str, reason: str
) -> None:
    assert FULL.deferred is not None
    done = replace(FULL, deferred=replace(FULL.deferred, waits=waits))
    applied = json.loads(record.encode(done))["conditions"][0]
    assert applied["reason"] == reason


def test_a_record_that_is_torn_is_none() -> None:
    text = record.encode(FULL).rstrip()
    for end in range(len(text)):
        with pytest.raises(HostError, match=r"^/x: found no record of a run"):
            record.decode(text[:end], "/x")


def test_what_a_later_release_has_added_is_passed_over() -> None:
    content = json.loads(record.encode(FULL))
    for part in (content, content["in_force"], content["findings"][0], content["steps"][0]):
        part["surprise"] = 1
    assert record.decode(json.dumps(content), "/x") == FULL


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0}, {"version": None}, {"result": "splendid"}, {"findings": None},
        {"findings": [{"kind": 1}]}, {"steps": [1]}, {"in_force": {"boot_id": "x"}},
        {"in_force": 1}
    ],
)  # fmt: skip
def test_what_this_version_did_not_write_is_refused(change: dict[str, object]) -> None:
    content = {**json.loads(record.encode(FULL)), **change}
    with pytest.raises(HostError, match=r"^/x: found "):
        record.decode(json.dumps(content), "/x")


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": "soon"}, {"profile": 5}, {"boot_id": None}, {"units": ["x"]},
        {"kernel_arguments": "abc"}, {"steps": [{"name": "x", "seconds": "y"}]},
        {"attempts": [{"at": "x", "kind": "x", "message": "x"}]}, {"steps": {}},
        {"findings": [{"kind": 1, "subject": 2, "message": 3}]}, {"in_force": []},
    ],
)  # fmt: skip
def test_a_field_of_another_type_is_refused(change: dict[str, object]) -> None:
    content = {**json.loads(record.encode(FULL)), **change}
    with pytest.raises(HostError, match=r"^/x: found "):
        record.decode(json.dumps(content), "/x")


def test_json_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(HostError, match=r"^/x: found no record of a run"):
        record.decode("[" * 100_000, "/x")


@pytest.mark.parametrize("text", ["", "[]", "null", "1", '"x"', "{}"])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(HostError, match=r"^/x: found no record of a run"):
        record.decode(text, "/x")


def test_no_file_is_no_record(tmp_path: Path) -> None:
    assert record.read(Paths(tmp_path)) is None
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    record.write(paths, FULL)
    assert record.read(paths) == FULL
    assert [path.name for path in paths.run.iterdir()] == ["status.json"]


@pytest.mark.parametrize(
    ("done", "line"),
    [
        (replace(FULL, result=Result.APPLIED, findings=()),
         "Applied: site in 0.30 s; late: crio.service was already running"),
        (replace(FULL, result=Result.APPLIED, findings=(), late=()), "Applied: site in 0.30 s"),
        (PLAIN, "Degraded: {0}: no…. do this. Profile site in 0.30 s"),
        (replace(PLAIN, findings=(FINDING,) * 2),
         "Degraded: {0} (and 1 more): no…. do this. Profile site in 0.30 s"),
        (replace(PLAIN, findings=(FINDING,) * 3),
         "Degraded: {0} (and 2 more): no…. do this. Profile site in 0.30 s"),
        (replace(FULL, result=Result.FAILED), "Failed: {0}: no…. do this"),
        (replace(PLAIN, action="keep"),
         ("Degraded: {0}: no…. do this. Nothing has changed: nothing was applied. "
          "Profile site. Unchanged since 12:00")),
        (replace(PLAIN, action="keep", in_force=None),
         "Degraded: {0}: no…. do this. Profile site in 0.30 s"),
        (replace(FULL, action="defer"),
         ("Degraded: {0}: no…. do this. "
          "Another profile waits for the next boot or a reload: new. "
          "To apply it now: systemctl reload ocp-tuned. Profile site. Unchanged since 12:00")),
        # The finding of a reload that has failed says what waits, and that command has just failed.
        (replace(FULL, action="change-failed", findings=(replace(FINDING, kind="change-failed"),)),
         "Degraded: change-failed vm.x: no…. do this. Profile site. Unchanged since 12:00"),
        (replace(FULL, action="keep", deferred=Deferred("image", "f", "site", "new", "13:00")),
         ("Degraded: {0}: no…. do this. Another image waits for the next boot or a reload: new. "
          "To apply it now: systemctl reload ocp-tuned. Profile site. Unchanged since 12:00")),
        # The pager of systemctl cuts the line: what waits is before the time.
        (replace(FULL, result=Result.APPLIED, findings=(), action="defer"),
         ("Applied: site; another profile waits for the next boot or a reload: new. "
          "To apply it now: systemctl reload ocp-tuned. Unchanged since 12:00")),
        (replace(KEPT, in_force=replace(FORCE, holds=(Hold("rtentsk", "", "socket", "11:00"),))),
         "Applied: site. Nothing has changed: nothing was applied. Unchanged since 12:00"),
        # A file descriptor that was lost, and is held again.
        (replace(KEPT, in_force=replace(FORCE, holds=(Hold("rtentsk", "", "socket", "13:00"),))),
         "Applied: site. Nothing has changed. Restored: rtentsk (socket). Unchanged since 12:00"),
        (replace(PLAIN, findings=(QUOTED,)),
         ('Degraded: setting-refused vm.x: The value was refused, and the previous one remains. '
          'Fix it in the profile, then: systemctl reload ocp-tuned. TuneD logged: "[Errno 22]". '
          "Profile site in 0.30 s")),
        (replace(FULL, result=Result.DEFERRED),
         ("Deferred: site waits for the next boot or a reload: because. "
          "To apply it now: systemctl reload ocp-tuned")),
        (replace(FULL, result=Result.APPLYING, findings=()),
         "Unfinished: TuneD is applying site, or was interrupted"),
    ],
)  # fmt: skip
def test_the_line_for_systemctl_status(done: Record, line: str) -> None:
    assert done.summary() == line.format(FINDING.about)


def test_a_record_of_an_earlier_release_has_no_times() -> None:
    content = json.loads(record.encode(FULL))
    del content["moments"], content["early"], content["steps"][0]["at"]
    old = record.decode(json.dumps(content), "status.json")
    assert (old.moments, old.early) == (None, ())
    assert old.steps[0] == Step("inputs", 0.1)
