"""What commands show for programs, and lists for people."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema

from ocp_tuned_boot.commands import plan_text, report
from ocp_tuned_boot.commands.status import Named, Now
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Stored
from ocp_tuned_boot.host.units import Unit
from ocp_tuned_boot.preview import Preview
from ocp_tuned_boot.record import store
from ocp_tuned_boot.record.history import Boot, Run
from ocp_tuned_boot.record.model import (
    Action,
    Decision,
    Deferred,
    HandedOver,
    Hold,
    InForce,
    Moments,
    Record,
    Residue,
    State,
    Value,
)
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.settings.drift import Drifted
from ocp_tuned_boot.tuned import container
from ocp_tuned_boot.tuned.findings import make
from ocp_tuned_boot.tuned.judge import Result
from ocp_tuned_boot.tuned.layout import Layout
from ocp_tuned_boot.tuned.profilefile import ProfileFile
from tests.unit.commands.shown import lines

TREE = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((TREE / "docs/status.schema.json").read_text())
ASKED = Inputs("localhost/a", "site", "tuned", "boot", files=(ProfileFile("site/f", b""),))
WHOLE = Record(
    Result.DEGRADED, "12:00", "boot", "apply", "because", "site", "localhost/a", "id", "tuned", "f",
    (make("no-such-setting", "vm.x", "none"),), units={"kubelet.service": "active"},
    values=(Value("vm.x", "verified", "1"),),
    in_force=InForce("boot", Result.DEGRADED, "site", "localhost/a", "id", "f", "12:00",
                     holds=(Hold("rtentsk"),), profiles=("site",)),
    deferred=Deferred("profile", "f", "new", "localhost/a", "12:00"), moments=Moments(1.0),
    handover=(HandedOver("net.x", "left-out", "1", "0", "1"),),
    residue=(Residue("vm.y", "put-back", "1", "5", "1"),), left_out={"values": 1},
)  # fmt: skip
NOW = Now(
    {"ocp-tuned.service": Unit("active", text="Applied")},
    (Drifted("vm.x", "/proc/sys/vm/x", "1", "2", "12:00", "12:01"),), "it waits",
    (State(Hold("rtentsk")),), Stored(1, ("x",)), 7, named=Named("a", "b", "c", "d", ("e",)),
    left=1.5,
)  # fmt: skip


def test_the_json_of_status_is_as_its_schema_says() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    check = jsonschema.Draft202012Validator(SCHEMA)
    for done, now in ((WHOLE, NOW), (None, Now()), (Record(Result.FAILED, "12:00"), Now())):
        check.validate(json.loads(report.status_json(done, now)))


def test_the_schema_has_every_field_and_no_other() -> None:
    content = json.loads(report.status_json(WHOLE, NOW))
    assert set(SCHEMA["properties"]) == set(SCHEMA["required"]) == set(content)
    assert SCHEMA["properties"]["version"]["const"] == report.STATUS_VERSION
    record = SCHEMA["$defs"]["record"]
    assert set(record["properties"]) == set(record["required"]) == set(content["record"])
    assert record["properties"]["version"]["const"] == store.FORMAT.version


def test_the_record_in_it_is_the_content_of_status_json() -> None:
    content = json.loads(report.status_json(WHOLE, NOW))
    assert content["record"] == json.loads(store.encode(WHOLE))
    assert [each["type"] for each in content["record"]["conditions"]] == ["Applied", "Degraded"]


def preview(root: Path) -> Preview:
    (root / "etc/sysctl.d").mkdir(parents=True)
    spec = container.specify(Paths(root), "tuned", "id", Layout())
    return Preview(Decision(Action.APPLY, "because"), ASKED, "in Podman's store", spec)


def test_a_plan_shows_the_decision_and_the_whole_container(tmp_path: Path) -> None:
    shown = preview(tmp_path)
    text = "\n".join(lines(plan_text.rows(shown)))
    assert text.startswith("apply: because\n")
    for words in (
        "site (custom profile files: 1)", "localhost/a (in Podman's store)", ASKED.fingerprint,
        "openshift-tuned: /usr/sbin/tuned --no-dbus", "privileged",
        f"{tmp_path}/etc/sysctl.d at /etc/sysctl.d (read-only)\n",
        f"{tmp_path}/var/lib/tuned at /var/lib/tuned",
    ):  # fmt: skip
        assert words in text
    content = json.loads(report.plan_json(shown))
    assert content["decision"] == {
        "action": "apply", "reason": "because", "guarded": False, "waits": "", "changed": False,
        "advice": "",
    }  # fmt: skip
    assert content["files"] == ["site/f"]
    assert len(content["container"]["mounts"]) == text.count("\n  mount ")


def test_a_plan_shows_what_is_used_instead_of_the_requested_image_and_profile() -> None:
    doubt = make("torn-image-env", "image.env", "image.env: it is empty")
    instead = make("profile-fallback", "site", "site is used instead")
    requested = replace(ASKED, doubts=(doubt,), fallback=(instead,))
    shown = Preview(Decision(Action.APPLY, "because"), requested, "in Podman's store", None)
    text = "\n".join(lines(plan_text.rows(shown)))
    assert "\n  finding      torn-image-env: image.env: it is empty\n" in text
    assert f"\n  finding      profile-fallback: site is used instead\n{' ' * 15}The last" in text
    found = json.loads(report.plan_json(shown))["findings"]
    assert [each["kind"] for each in found] == ["torn-image-env", "profile-fallback"]


def test_a_plan_to_keep_has_no_container() -> None:
    shown = Preview(Decision(Action.KEEP, "because"), ASKED, "not checked", None)
    assert "container" not in "\n".join(lines(plan_text.rows(shown)))
    assert json.loads(report.plan_json(shown))["container"] is None


def test_history_for_people() -> None:
    assert lines(report.history(())) == ["No run has been recorded."]
    run = Run("12:00", "apply", "because", "applied", "site", "i", "id", "f", 0.5, "Applied: site")
    undecided = replace(run, action="", summary="Failed")
    assert lines(report.history((Boot("b0", (run, undecided)), Boot("b1", ())))) == [
        "boot b0",
        "  apply        12:00  Applied: site",
        "  -            12:00  Failed",
        "boot b1",
    ]
