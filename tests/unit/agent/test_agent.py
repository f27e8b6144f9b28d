"""The agent against a server in a thread: from objects to files, and from the record to status.

The same with a real server, a real kubelet and real knobs: the lab.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot.agent import agent as story
from ocp_tuned_boot.agent import state, tell
from ocp_tuned_boot.agent.agent import Agent, Options
from ocp_tuned_boot.agent.kube import Kube, Server
from ocp_tuned_boot.agent.recommend import DEFAULT
from ocp_tuned_boot.agent.told import Event
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record import store
from ocp_tuned_boot.record.model import Deferred, InForce, Record, now
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.tuned.judge import Result
from tests.unit.agent import answers
from tests.unit.agent.answers import Answer
from tests.unit.agent.fake_api import Api, serving
from tests.unit.agent.made import (
    DATA,
    IMAGE,
    NAMESPACE,
    Json,
    annotated,
    host,
    node,
    profile,
    rule,
    tuned,
)
from tests.unit.patience import PATIENCE, eventually

pytest.importorskip("kubernetes", reason="the agent's client is not in this environment")

OPTIONS = Options("node-1", NAMESPACE, IMAGE)
EVALUATE = replace(OPTIONS, evaluate=True)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for that a test is not about."""
    monkeypatch.setattr(story, "TICK", 0.02)
    monkeypatch.setattr("ocp_tuned_boot.agent.follow.FIRST", 0.02)
    monkeypatch.setattr("ocp_tuned_boot.agent.follow.LONGEST", 0.02)
    monkeypatch.setattr("ocp_tuned_boot.agent.follow.BRIEF", 0.0)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return host(tmp_path)


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as found:
        found.put("nodes", node())
        yield found


@contextmanager
def running(paths: Paths, api: Api, options: Options = OPTIONS, watch: int = 30) -> Iterator[Agent]:
    agent = Agent(paths, options, Kube(Server(api.url), watch=watch, grace=1.0))
    stop = threading.Event()
    thread = threading.Thread(target=agent.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield agent
    finally:
        stop.set()
        agent.desk.wake()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def wanted(paths: Paths) -> str:
    """The profile that the host would apply; empty while files are being replaced."""
    if any((paths.agent / each).exists() for each in ("making", "next", "gone")):
        return ""
    return inputs.read_profile(paths)


def frozen(paths: Paths) -> dict[Path, tuple[int, int, int]]:
    """Each file and folder of the agent, and what tells whether it was touched."""
    found = {path: path.stat() for path in sorted(paths.agent.rglob("*"))}
    return {path: (it.st_ino, it.st_mtime_ns, it.st_ctime_ns) for path, it in found.items()}


def applies(paths: Paths, *found: Any, **more: Any) -> Record:
    """What a run of ocp-tuned-boot records that has applied what the files say."""
    requested = inputs.following(paths, inputs.read(paths, "tuned"), "agent", "agent")
    result = Result.DEGRADED if found else Result.APPLIED
    done = Record(
        result, now(), requested.boot_id, "apply", profile=requested.profile,
        contract="tuned", fingerprint=requested.fingerprint, findings=tuple(found),
        kernel_arguments=("skew_tick=1",), seconds=1.0,
    )  # fmt: skip
    in_force = InForce(
        requested.boot_id, result, requested.profile, IMAGE, "id", requested.fingerprint, now(),
        tuple(found),
    )  # fmt: skip
    done = replace(done, in_force=in_force)
    done = replace(done, **more)
    store.write(paths, done)
    return done


def conditions(api: Api) -> dict[str, tuple[str, str]]:
    found = api.status().get("conditions", [])
    return {each["type"]: (each["status"], each["reason"]) for each in found}


APPLIED = {"Applied": ("True", "AsExpected"), "Degraded": ("False", "AsExpected")}
UNKNOWN = {"Applied": ("Unknown", ""), "Degraded": ("Unknown", "")}


def site_is_applied(paths: Paths, api: Api) -> None:
    """The profile `site` is requested, the host applies it, and that is reported."""
    eventually(lambda: wanted(paths) == "site")
    applies(paths)
    eventually(lambda: conditions(api) == APPLIED)


def observed(api: Api) -> Any:
    return api.status().get("observedGeneration")


def reasons(api: Api) -> list[str]:
    return [each["reason"] for each in api.objects.get("events", {}).values()]


def test_from_a_profile_to_the_files_and_from_the_record_to_the_status(
    paths: Paths, api: Api
) -> None:
    api.put("profiles", annotated(profile(), bootcmdline_deps="4.22.0,default:1"))
    with running(paths, api):
        eventually(lambda: wanted(paths) == "site")
        eventually(lambda: conditions(api) == UNKNOWN)
        assert observed(api) is None
        assert "has not run in this boot" in api.status()["conditions"][0]["message"]
        applies(paths)
        eventually(lambda: conditions(api) == APPLIED)
        assert (api.status()["tunedProfile"], observed(api)) == ("site", 1)
        eventually(lambda: "annotations" in api.get("nodes", "node-1")["metadata"])
        assert api.get("nodes", "node-1")["metadata"]["annotations"] == {
            "tuned.openshift.io/bootcmdline": "skew_tick=1",
            "tuned.openshift.io/bootcmdline-deps": "4.22.0,default:1",
        }
        eventually(lambda: reasons(api) == ["TunedApplied"])
    # Only its own objects, and by name.
    for request in api.said("LIST profiles"):
        assert request.query["fieldSelector"] == "metadata.name=node-1"
    assert not api.said("LIST tuneds")
    assert not api.said("LIST pods")


def test_a_change_is_observed_when_it_is_on_record(paths: Paths, api: Api) -> None:
    api.put("profiles", profile())
    with running(paths, api):
        eventually(lambda: wanted(paths) == "site")
        applies(paths)
        eventually(lambda: observed(api) == 1)
        api.put("profiles", {**api.get("profiles", "node-1"), "spec": profile("other")["spec"]})
        eventually(lambda: wanted(paths) == "other")
        # The host has not seen it yet.
        assert (observed(api), conditions(api)) == (1, APPLIED)
        old = store.read(paths)
        assert old is not None
        assert old.in_force is not None
        waits = Deferred("profile", state.fingerprint(paths, "tuned"), "other", IMAGE, now())
        applies(paths, deferred=waits, in_force=old.in_force)
        eventually(lambda: observed(api) == 2)
        assert conditions(api)["Applied"] == ("False", "Deferred")
        assert api.status()["tunedProfile"] == "site"
        applies(paths)
        eventually(lambda: conditions(api) == APPLIED)
        assert api.status()["tunedProfile"] == "other"
        eventually(lambda: sorted(reasons(api)) == ["TunedApplied"] * 2 + ["TunedDeferred"])


def test_a_restart_touches_no_file_and_writes_nothing(paths: Paths, api: Api) -> None:
    api.put("profiles", profile())
    with running(paths, api):
        eventually(lambda: wanted(paths) == "site")
        applies(paths)
        eventually(lambda: conditions(api) == APPLIED and reasons(api))
        eventually(lambda: api.get("nodes", "node-1")["metadata"].get("annotations"))
    before = frozen(paths)
    for _ in range(5):
        api.requests.clear()
        with running(paths, api):
            eventually(lambda: api.said("GET nodes") and api.said("POST events"))
    assert frozen(paths) == before
    # That the Event exists already is answered by the server.
    assert {each.method for each in api.requests} == {"GET", "POST"}
    assert len(api.objects["events"]) == 1


def test_files_are_not_removed_because_an_object_or_the_api_has_gone(
    paths: Paths, api: Api
) -> None:
    api.put("profiles", profile())
    with running(paths, api, watch=1):
        site_is_applied(paths, api)
        before = frozen(paths)
        api.missing.add("profiles")
        api.delete("profiles", "node-1")
        eventually(lambda: len(api.said("LIST profiles")) > 5)
        assert frozen(paths) == before
        # It is made again, by an operator who knows nothing yet.
        api.missing.clear()
        api.put("profiles", profile())
        eventually(lambda: conditions(api) == APPLIED)
        assert observed(api) == 1
        assert frozen(paths) == before


def test_the_api_is_away_at_the_start_and_for_an_hour(paths: Paths, api: Api) -> None:
    api.put("profiles", profile())
    api.wrong = lambda _: Answer(cut=True)
    with running(paths, api):
        eventually(lambda: len(api.requests) > 20)
        assert wanted(paths) == ""
        api.wrong = lambda _: None
        eventually(lambda: wanted(paths) == "site")
        # What happens meanwhile is told when it is back.
        api.wrong = lambda _: Answer(cut=True)
        applies(paths)
        number = len(api.requests)
        eventually(lambda: len(api.requests) > number + 5)
        api.wrong = lambda _: None
        eventually(lambda: conditions(api) == APPLIED)


@pytest.mark.parametrize(
    "wrong",
    [
        [answers.CONFLICT] * 12,
        [answers.FORBIDDEN, answers.INITIALIZING],
        [answers.DEADLINE, answers.ETCD],
        [answers.UNAUTHORIZED] * 3,
        [answers.NO_CRD],
        [Answer(cut=True)] * 3,
    ],
    ids=["409 storm", "starting", "etcd away", "token", "404", "lost"],
)
def test_a_status_that_could_not_be_written_is_tried_until_it_is(
    paths: Paths, api: Api, wrong: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocp_tuned_boot.agent.follow.PATIENT", 0.02)
    api.put("profiles", profile())
    with running(paths, api):
        eventually(lambda: wanted(paths) == "site" and conditions(api) == UNKNOWN)
        api.once("PUT profiles/status", *wrong)
        applies(paths)
        eventually(lambda: conditions(api) == APPLIED)


def test_a_conflict_is_answered_by_reading_again(paths: Paths, api: Api) -> None:
    """What somebody else has written in between stays."""
    api.put("profiles", profile())
    with running(paths, api):
        eventually(lambda: wanted(paths) == "site" and conditions(api) == UNKNOWN)

        def wrong(request: Any) -> None:
            if request.says == "PUT profiles/status" and not done:
                done.append(request)
                api.edit("profiles", "node-1", lambda it: it["metadata"].update(labels={"a": "b"}))

        done: list[Any] = []
        api.wrong = wrong
        applies(paths)
        eventually(lambda: conditions(api) == APPLIED)
        assert api.get("profiles", "node-1")["metadata"]["labels"] == {"a": "b"}
        # At once: not only when the change is reported.
        assert api.said("GET profiles")


def test_what_is_reported_while_the_server_answers_counts(paths: Paths, api: Api) -> None:
    """Else the answer would hide it until the next report, which may take a minute."""
    agent = Agent(paths, OPTIONS, Kube(Server(api.url)))
    content = api.put("profiles", profile())

    def wrong(request: Any) -> None:
        if request.says == "PUT profiles/status" and not reported:
            reported.append({**content, "spec": profile("other")["spec"]})
            agent.desk.put("profiles", {(NAMESPACE, "node-1"): reported[0]})

    reported: list[Json] = []
    api.wrong = wrong
    agent.desk.put("profiles", {(NAMESPACE, "node-1"): content})
    agent.step()
    assert wanted(paths) == "site"
    agent.step()
    assert wanted(paths) == "other"


def test_what_the_server_refuses_is_not_sent_again_before_something_changes(
    paths: Paths, api: Api
) -> None:
    api.put("profiles", profile())
    with running(paths, api, watch=1):
        eventually(lambda: wanted(paths) == "site" and conditions(api) == UNKNOWN)
        api.wrong = lambda it: answers.DENIED if it.says == "PUT profiles/status" else None
        sent = len(api.said("PUT profiles/status"))
        applies(paths)
        eventually(lambda: len(api.said("PUT profiles/status")) > sent)
        lists = len(api.said("LIST profiles"))
        eventually(lambda: len(api.said("LIST profiles")) > lists + 1)
        assert len(api.said("PUT profiles/status")) == sent + 1
        api.wrong = lambda _: None
        api.edit("profiles", "node-1", lambda it: it["metadata"].update(labels={"a": "b"}))
        eventually(lambda: conditions(api) == APPLIED)


def test_a_status_that_somebody_overwrites_is_restored(paths: Paths, api: Api) -> None:
    api.put("profiles", profile())
    with running(paths, api):
        site_is_applied(paths, api)
        good = api.status()
        api.edit("profiles", "node-1", lambda it: it["status"].update(conditions=[]))
        eventually(lambda: conditions(api) == APPLIED)
        api.edit("profiles", "node-1", lambda it: it["status"].update(tunedProfile="evil"))
        eventually(lambda: api.status()["tunedProfile"] == "site")
        assert set(api.status()) == set(good)


def test_a_record_of_another_boot_or_of_a_later_release_is_unknown_in_words(
    paths: Paths, api: Api
) -> None:
    api.put("profiles", profile())
    with running(paths, api):
        eventually(lambda: wanted(paths) == "site")
        done = applies(paths)
        eventually(lambda: conditions(api) == APPLIED)
        # After a reboot, /run is empty.
        paths.status.unlink()
        eventually(lambda: conditions(api) == UNKNOWN)
        assert "has not run in this boot" in api.status()["conditions"][0]["message"]
        assert (observed(api), api.status()["tunedProfile"]) == (1, "site")
        store.write(paths, done)
        eventually(lambda: conditions(api) == APPLIED)
        # After a soft-reboot it is not.
        paths.restarts.write_text(".")
        eventually(lambda: conditions(api) == UNKNOWN)
        assert "User space was started again" in api.status()["conditions"][0]["message"]
        applies(paths)
        eventually(lambda: conditions(api) == APPLIED)
        paths.status.write_text('{"version": 2, "new": true}')
        eventually(lambda: "later release" in api.status()["conditions"][0]["message"])
        paths.status.write_text("{")
        eventually(lambda: "found no record" in api.status()["conditions"][0]["message"])
        applies(paths)
        eventually(lambda: conditions(api) == APPLIED)


def test_a_record_of_a_program_that_is_older_or_a_little_newer_is_read(
    paths: Paths, api: Api
) -> None:
    """Fields that this agent does not know are ignored, and some that it knows are not there."""
    api.put("profiles", profile())
    with running(paths, api):
        site_is_applied(paths, api)
        content = json.loads(paths.status.read_text())
        for name in ("deferred", "handover", "residue", "left_out", "late"):
            del content[name]
        degraded = {"kind": "of-later", "subject": "x", "message": "new words", "advice": ""}
        paths.status.write_text(
            json.dumps({**content, "later": {}, "result": "degraded", "findings": [degraded]})
        )
        eventually(lambda: conditions(api)["Degraded"] == ("True", "TunedError"))
        assert "new words" in api.status()["conditions"][1]["message"]


def test_a_run_of_a_moment_changes_no_condition(
    paths: Paths, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.put("profiles", profile())
    with running(paths, api):
        eventually(lambda: wanted(paths) == "site")
        done = applies(paths)
        eventually(lambda: conditions(api) == APPLIED)
        sent = len(api.said("PUT profiles/status"))
        store.write(paths, replace(done, result=Result.APPLYING, in_force=None))
        store.write(paths, done)
        api.edit("profiles", "node-1", lambda it: it["status"].update(tunedProfile="x"))
        eventually(lambda: api.status()["tunedProfile"] == "site")
        assert len(api.said("PUT profiles/status")) == sent + 1
        monkeypatch.setattr("ocp_tuned_boot.agent.recorded.PATIENCE", 0.0)
        store.write(paths, replace(done, result=Result.APPLYING, in_force=None))
        eventually(lambda: conditions(api) == UNKNOWN)


def test_a_profile_that_cannot_be_written_is_told_and_tried_again(
    paths: Paths, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.put("profiles", profile())
    with running(paths, api):
        site_is_applied(paths, api)

        def opened(*_: object, **__: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as full:
            full.setattr("ocp_tuned_boot.host.files._without_name", opened)
            api.put("profiles", {**api.get("profiles", "node-1"), "spec": profile("new")["spec"]})
            eventually(lambda: conditions(api)["Degraded"] == ("True", "TunedError"))
            assert "No space left on device" in api.status()["conditions"][1]["message"]
            assert (observed(api), wanted(paths)) == (1, "site")
            eventually(lambda: "TunedAgentProblem" in reasons(api))
        eventually(lambda: wanted(paths) == "new")
        applies(paths)
        eventually(lambda: observed(api) == 2)
        assert conditions(api) == APPLIED


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (profile("../../etc"), "spec.config.tunedProfile: found"),
        (profile("a", {"a": "x" * 1_500_000}), "larger than 1048576 bytes"),
        (profile("a", {f"p{number}": "" for number in range(1251)}), "at most 1250"),
        (profile(debug="yes"), "expected true or false"),
        ({**profile(), "spec": {}}, "found no tunedProfile"),
    ],
    ids=["path", "large", "many", "type", "empty"],
)
def test_a_profile_that_the_host_would_refuse_is_not_written_and_that_is_told(
    paths: Paths, api: Api, content: Json, words: str
) -> None:
    api.put("profiles", profile())
    with running(paths, api):
        site_is_applied(paths, api)
        before = frozen(paths)
        api.put("profiles", {**api.get("profiles", "node-1"), "spec": content["spec"]})
        eventually(lambda: conditions(api)["Applied"] == ("False", "Failed"))
        assert words in api.status()["conditions"][1]["message"]
        assert observed(api) == 1
        assert frozen(paths) == before
        # It is fixed by what was there before.
        api.put("profiles", {**api.get("profiles", "node-1"), "spec": profile()["spec"]})
        eventually(lambda: observed(api) == 3)
        assert conditions(api) == APPLIED


def test_what_others_do_to_the_files_is_set_right(
    paths: Paths, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As upstream's operand beside this one would: now and then, not in a race."""
    api.put("profiles", profile())
    monkeypatch.setattr(story, "COMPARE", 0.0)
    with running(paths, api):
        eventually(lambda: wanted(paths) == "site")
        paths.recommend.write_text("[evil]\n")
        eventually(lambda: wanted(paths) == "site")
        paths.image_env.unlink()
        eventually(paths.image_env.exists)


def test_two_agents_on_one_node(paths: Paths, api: Api) -> None:
    api.put("profiles", profile())
    with running(paths, api), running(paths, api):
        site_is_applied(paths, api)
        for name in ("other", "third", "site"):
            content = {**api.get("profiles", "node-1"), "spec": profile(name, {name: DATA})["spec"]}
            api.put("profiles", content)
            eventually(lambda name=name: wanted(paths) == name)  # type: ignore[misc]
            applies(paths)
            eventually(lambda name=name: api.status()["tunedProfile"] == name)  # type: ignore[misc]
        eventually(lambda: len(reasons(api)) == 4)


def test_a_defect_does_not_end_it(paths: Paths, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.put("profiles", profile())

    def breaks(*_: object) -> None:
        raise AttributeError("a mistake")

    with running(paths, api):
        with monkeypatch.context() as broken:
            broken.setattr("ocp_tuned_boot.agent.told.events", breaks)
            site_is_applied(paths, api)


# Without an operator.

TUNED = tuned(
    DEFAULT, rule("cp", 30, match=[{"label": "control-plane"}]), rule("site", 40),
    profiles={"site": DATA},
)  # fmt: skip
WEB = tuned("web", rule("web", 20, match=[{"label": "app", "value": "web", "type": "pod"}]),
            profiles={"web": DATA})  # fmt: skip


def pod(name: str, **labels: str) -> Json:
    metadata = {"name": name, "namespace": "work", "labels": labels}
    return {"metadata": metadata, "spec": {"nodeName": "node-1"}}


def test_without_an_operator_the_node_gets_a_profile_of_its_own(paths: Paths, api: Api) -> None:
    api.put("tuneds", {**TUNED, "metadata": {**TUNED["metadata"], "generation": 1}})
    with running(paths, api, EVALUATE):
        eventually(lambda: api.objects.get("profiles"))
        made = api.get("profiles", "node-1")
        assert made["spec"]["config"]["tunedProfile"] == "site"
        site_is_applied(paths, api)
        assert observed(api) == 1
        # The node gets a label, and another profile.
        api.edit("nodes", "node-1", lambda it: it["metadata"].update(labels={"control-plane": ""}))
        eventually(lambda: wanted(paths) == "cp")
        applies(paths)
        eventually(lambda: api.status()["tunedProfile"] == "cp")
        assert observed(api) == 2
        assert not api.said("LIST pods")
        eventually(lambda: api.get("nodes", "node-1")["metadata"].get("annotations"))
    assert not api.said("GET nodes")


def test_pods_are_followed_only_while_a_rule_asks_for_them(paths: Paths, api: Api) -> None:
    api.put("tuneds", TUNED)
    api.put("pods", pod("db", app="db"))
    with running(paths, api, EVALUATE, watch=1):
        eventually(lambda: wanted(paths) == "site")
        api.put("tuneds", WEB)
        eventually(lambda: api.said("WATCH pods"))
        assert wanted(paths) == "site"
        api.put("pods", pod("web", app="web"))
        eventually(lambda: wanted(paths) == "web")
        api.delete("pods", "web")
        eventually(lambda: wanted(paths) == "site")
        api.put("pods", pod("web", app="web"))
        eventually(lambda: wanted(paths) == "web")
        api.delete("tuneds", "web")
        eventually(lambda: wanted(paths) == "site")
        tuneds = len(api.said("LIST tuneds"))
        eventually(lambda: len(api.said("LIST tuneds")) > tuneds + 1)
        pods = len(api.said("LIST pods"))
        eventually(lambda: len(api.said("LIST tuneds")) > tuneds + 3)
        assert len(api.said("LIST pods")) == pods
    selected = {each.query.get("fieldSelector") for each in api.said("LIST pods")}
    assert selected == {"spec.nodeName=node-1"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (tuned("other", profiles={"site": "[other]\n"}), "have different content"),
        (tuned("other", rule("x", 1, match=[{"label": "a", "match": 5}])), "expected a list"),
    ],
    ids=["duplicate", "broken"],
)
def test_what_cannot_be_evaluated_keeps_the_last_state_and_is_said(
    paths: Paths, api: Api, wrong: Json, words: str
) -> None:
    api.put("tuneds", TUNED)
    with running(paths, api, EVALUATE):
        site_is_applied(paths, api)
        before = frozen(paths)
        generation = api.get("profiles", "node-1")["metadata"]["generation"]
        api.put("tuneds", wrong)
        eventually(lambda: "TunedNotEvaluated" in reasons(api))
        (said,) = [
            each["message"]
            for each in api.objects["events"].values()
            if each["reason"] == "TunedNotEvaluated"
        ]
        assert words in said
        assert frozen(paths) == before
        assert api.get("profiles", "node-1")["metadata"]["generation"] == generation
        assert conditions(api) == APPLIED
        # And when it is fixed, what has changed meanwhile counts.
        api.edit("nodes", "node-1", lambda it: it["metadata"].update(labels={"control-plane": ""}))
        api.delete("tuneds", "other")
        eventually(lambda: wanted(paths) == "cp")


def test_all_tuneds_are_deleted_with_their_crd(paths: Paths, api: Api) -> None:
    api.put("tuneds", TUNED)
    with running(paths, api, EVALUATE, watch=1):
        eventually(lambda: wanted(paths) == "site")
        before = frozen(paths)
        api.missing |= {"tuneds", "profiles"}
        api.delete("tuneds", DEFAULT)
        api.delete("profiles", "node-1")
        lists = len(api.said("LIST profiles"))
        eventually(lambda: len(api.said("LIST profiles")) > lists + 5)
        assert frozen(paths) == before
        api.missing.clear()
        api.put("tuneds", TUNED)
        eventually(lambda: api.objects.get("profiles"))
        assert frozen(paths) == before


def test_a_profile_that_somebody_changes_or_deletes_is_made_again(paths: Paths, api: Api) -> None:
    api.put("tuneds", annotated(TUNED, deferred="update"))
    with running(paths, api, EVALUATE):
        eventually(lambda: api.objects.get("profiles"))
        good = api.get("profiles", "node-1")["spec"]
        api.edit("profiles", "node-1", lambda it: it["spec"].update(profile=[]))
        eventually(lambda: api.get("profiles", "node-1")["spec"] == good)
        api.delete("profiles", "node-1")
        eventually(lambda: api.objects.get("profiles"))
        assert paths.agent_on_change.read_text() == "update\n"
        # The annotation is taken away, and with it what it says.
        api.put("tuneds", TUNED)
        eventually(lambda: paths.agent_on_change.read_text() == "never\n")


def test_where_the_server_takes_no_profile_the_node_is_tuned_all_the_same(
    paths: Paths, api: Api
) -> None:
    api.put("tuneds", TUNED)
    api.wrong = lambda it: answers.FORBIDDEN if it.says == "POST profiles" else None
    with running(paths, api, EVALUATE):
        eventually(lambda: wanted(paths) == "site")
        assert not api.objects.get("profiles")
        api.wrong = lambda _: None
        eventually(lambda: api.objects.get("profiles"))


def test_rules_that_can_never_match_are_said(paths: Paths, api: Api) -> None:
    pools = {"machineConfigLabels": {"machineconfiguration.openshift.io/role": "rt"}}
    api.put("tuneds", TUNED)
    api.put("tuneds", tuned("rt", rule("rt", 1, **pools)))
    with running(paths, api, EVALUATE):
        eventually(lambda: "TunedRule" in reasons(api))
        assert wanted(paths) == "site"


def test_an_event_about_what_happened_long_ago_is_no_news() -> None:
    old = tell.stamp(tell.now() - tell.NEWS * 2)
    event = Event("key", False, "TunedApplied", "message", old)
    assert not tell._is_news(event)
    assert tell._is_news(replace(event, at=now()))
    assert tell._is_news(replace(event, at="a clock that says nothing"))
    # The clock of this node may be behind.
    assert tell._is_news(replace(event, at="2999-01-01T00:00:00Z"))


# The command.


def command(paths: Paths, api: Api, *more: str) -> list[str]:
    return [sys.executable, "-m", "ocp_tuned_boot.agent", "--root", str(paths.root),
            "--node", "node-1", "--image", IMAGE, "--server", api.url, *more]  # fmt: skip


def test_the_command_runs_until_sigterm(paths: Paths, api: Api) -> None:
    api.put("profiles", profile())
    process = subprocess.Popen(command(paths, api), stdout=subprocess.PIPE, text=True)
    try:
        eventually(lambda: wanted(paths) == "site")
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "node node-1, following the operator's Profile" in said


def test_verbosity_is_that_of_the_log(paths: Paths, api: Api) -> None:
    calls: list[bool] = []
    agent = Agent(paths, OPTIONS, Kube(Server(api.url)), set_verbose=calls.append)
    for verbosity in (0, 1, 0):
        content = api.put("profiles", profile(verbosity=verbosity))
        agent.desk.put("profiles", {(NAMESPACE, "node-1"): content})
        agent.step()
    assert calls == [False, True, False]


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        ([], {}, "found no name of a node"),
        (["--node", "n"], {}, "KUBERNETES_SERVICE_HOST"),
        (["--node", "n", "--image", "no image"], {}, "--image: found 'no image'"),
    ],
)
def test_what_the_command_needs(
    arguments: list[str], environment: dict[str, str], words: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ocp_tuned_boot.agent", *arguments],
        env={**environment, "PATH": "/usr/bin"}, check=False, capture_output=True, text=True,
        timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == os.EX_USAGE
    assert words in done.stderr
    assert "Traceback" not in done.stderr
