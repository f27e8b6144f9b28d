"""What one agent asks the API server for, request by request. docs/scale.md multiplies it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from ocp_tuned_boot.agent import agent as story
from ocp_tuned_boot.agent.agent import Options
from ocp_tuned_boot.agent.kube import SPREAD, WATCH, Kube, Resource, Server, lasts
from tests.unit.agent.fake_api import Api, serving
from tests.unit.agent.made import IMAGE, NAMESPACE, host, node, profile, rule, tuned
from tests.unit.agent.test_agent import APPLIED, UNKNOWN, applies, conditions, running, wanted
from tests.unit.patience import eventually

pytest.importorskip("kubernetes", reason="the agent's client is not in this environment")

PAGE = (Path(__file__).parents[2] / "docs/scale.md").read_text()
OPERATOR = Options("node-1", NAMESPACE, IMAGE)
EVALUATE = Options("node-1", NAMESPACE, IMAGE, evaluate=True)
DATA = {"site": "[main]\nsummary=x\n", "other": "[main]\nsummary=y\n"}

FOLLOWED = ("profiles", "tuneds", "nodes")


def follows(*plurals: str) -> dict[str, int]:
    return {f"{verb} {each}": 1 for verb in ("LIST", "WATCH") for each in plurals}


STATUS = {"PUT profiles/status": 1}
#: An Event, and with it the status.
REPORTED = {**STATUS, "POST events": 1}
ANNOTATED = {"PATCH nodes": 1}
#: What is asked for: with an operator, and without one.
START = ({**follows("profiles"), **STATUS},
         {**follows(*FOLLOWED), "POST profiles": 1, **STATUS})  # fmt: skip
BOOTED = ({**REPORTED, **ANNOTATED, "GET nodes": 1}, {**REPORTED, **ANNOTATED})
CHANGE = (REPORTED, {**REPORTED, "PUT profiles": 1})
RESTART = ({**follows("profiles"), "GET nodes": 1, "POST events": 1},
           {**follows(*FOLLOWED), "POST events": 1})  # fmt: skip


def asked(api: Api, expected: dict[str, int], maybe: str = "") -> None:
    """So far exactly this is asked for; then it is counted anew. `maybe`: what may be asked for
    besides, once."""

    def counted() -> Counter[str]:
        return Counter(request.says for request in list(api.requests))

    eventually(lambda: not Counter(expected) - counted())
    assert counted() - Counter(expected) in (Counter(), Counter([maybe]))
    api.requests.clear()


@pytest.mark.parametrize("mode", [0, 1], ids=["operator", "evaluate"])
def test_from_the_start_to_a_change_and_a_restart(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story, "TICK", 0.02)
    options, paths = (OPERATOR, EVALUATE)[mode], host(tmp_path)
    with serving() as api:
        api.put("nodes", node())
        if options.evaluate:
            api.put("tuneds", tuned("default", rule("site", 20), profiles=DATA))
        else:
            api.put("profiles", profile("site", DATA))
        with running(paths, api, options):
            eventually(lambda: wanted(paths) == "site" and conditions(api) == UNKNOWN)
            asked(api, START[mode])
            applies(paths)
            eventually(lambda: conditions(api) == APPLIED)
            asked(api, BOOTED[mode])
            if options.evaluate:
                api.put("tuneds", tuned("default", rule("other", 20), profiles=DATA))
            else:
                new = profile("other", DATA)["spec"]
                api.put("profiles", {**api.get("profiles", "node-1"), "spec": new})
            eventually(lambda: wanted(paths) == "other")
            applies(paths)
            eventually(lambda: api.status().get("tunedProfile") == "other")
            asked(api, CHANGE[mode])
        with running(paths, api, options):
            # What is recorded may be read before the list of nodes has come.
            asked(api, RESTART[mode], maybe="GET nodes" if options.evaluate else "")


def test_watches_that_began_together_do_not_end_together() -> None:
    lengths = [lasts(WATCH) for _ in range(200)]
    assert WATCH <= min(lengths) < WATCH * 1.1
    assert WATCH * (SPREAD - 0.1) < max(lengths) <= WATCH * SPREAD


def test_the_server_is_asked_for_a_watch_of_that_length() -> None:
    with serving() as api:
        api.longest_watch = 0.0
        kube, profiles = Kube(Server(api.url)), Resource("profiles", "tuned.openshift.io",
                                                         namespace=NAMESPACE)  # fmt: skip
        for _ in range(20):
            list(kube.watch(profiles, "200"))
        lengths = {int(each.query["timeoutSeconds"]) for each in api.said("WATCH profiles")}
    assert len(lengths) > 3
    assert all(WATCH <= each <= WATCH * SPREAD for each in lengths)


def _rows() -> dict[str, list[float]]:
    """The table of requests, by what happens: with an operator, without one, and of 5,000."""
    found = {}
    for line in PAGE.partition("## The agents")[2].splitlines():
        cells = [each.strip() for each in line.strip("|").split("|")]
        if len(cells) >= 3 and re.match(r"\d", cells[1]):
            found[cells[0]] = [
                float(re.sub(r"[^\d.]", "", each.split()[0])) for each in cells[1:] if each
            ]
    return found


def test_the_page_has_these_numbers() -> None:
    rows = _rows()
    for what, counts in {
        "the agent starts, nothing is recorded yet": START,
        "the profile is applied in a boot": BOOTED,
        "the profile is changed, and applied": CHANGE,
        "the pod is replaced": RESTART,
    }.items():
        expected = [float(sum(each.values())) for each in counts]
        assert rows[what] == [*expected, *(each * 5000 for each in expected)], what
    minutes = 60 / (WATCH * (1 + SPREAD) / 2)
    for mode, watched in enumerate((1, len(FOLLOWED))):
        each = 2 * watched * minutes
        assert rows["nothing happens: in a minute"][mode] == round(each, 1)
        assert rows["nothing happens: in a second, 5,000 nodes"][mode] == round(each * 5000 / 60)
