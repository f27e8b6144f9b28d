"""What a Profile says → what the files say; what the host would refuse is not written."""

from __future__ import annotations

import json

import pytest

from ocp_tuned_boot.agent import objects, recommend, wanted
from ocp_tuned_boot.agent.wanted import Wanted
from ocp_tuned_boot.errors import ConfigurationError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.requested import inputs
from tests.unit.agent.made import (
    DATA,
    IMAGE,
    NAMESPACE,
    Json,
    annotated,
    node,
    profile,
    rule,
    tuned,
)


def of(content: Json, image: str = IMAGE) -> Wanted:
    return wanted.of_profile(objects.profile(content), image)


def test_all_files() -> None:
    content = profile("site", {"site": DATA, "b": "b"}, 7, providerName="aws")
    found = of(annotated(content, deferred="update", bootcmdline_deps="4.22.0,default:1"))
    assert found.files == {
        "provider": b"aws",
        "profiles/site/tuned.conf": DATA.encode(),
        "profiles/b/tuned.conf": b"b",
        "recommend.d/50-openshift.conf": b"[site]\n",
        "on_change": b"update\n",
        "reapply_sysctl": b"true\n",
        "image.env": f"NTO_IMAGE={IMAGE}\n".encode(),
    }
    assert (set(found.names), found.generation) == ({"site", "b"}, 7)
    assert (found.deps, found.notes) == ("4.22.0,default:1", ())


def test_what_the_profile_does_not_say_is_not_written() -> None:
    found = of(profile(), image="")
    assert set(found.files) == {
        "profiles/site/tuned.conf", "recommend.d/50-openshift.conf", "on_change", "reapply_sysctl",
    }  # fmt: skip
    assert found.deps is None


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [(None, "never"), ("never", "never"), ("always", "always"), ("update", "update"),
     ("Always", "never"), ("", "never")],
)  # fmt: skip
def test_an_unknown_annotation_means_at_once(annotation: str | None, expected: str) -> None:
    content = profile() if annotation is None else annotated(profile(), deferred=annotation)
    assert of(content).files["on_change"] == f"{expected}\n".encode()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, b"true\n"),
        ({"reapply_sysctl": True}, b"true\n"),
        ({"reapply_sysctl": False}, b"false\n"),
    ],
)
def test_reapply_sysctl(config: Json, expected: bytes) -> None:
    assert of(profile(tunedConfig=config)).files["reapply_sysctl"] == expected


@pytest.mark.parametrize(
    "name", ["../../etc", "a/b", "", ".", "..", "a b", "bootcmdline", "x" * 256]
)
def test_a_profile_whose_name_is_a_path_is_never_written_and_that_is_said(name: str) -> None:
    found = of(profile("site", {"site": DATA, name: DATA}))
    assert found.names == {"site"}
    (note,) = found.notes
    assert "has no effect: TuneD accepts no profile of this name" in note
    with pytest.raises(ConfigurationError, match=r"spec\.config\.tunedProfile: found"):
        of(profile(name))


def test_a_name_twice() -> None:
    content = profile()
    content["spec"]["profile"] *= 2
    assert of(content).names == {"site"}
    content["spec"]["profile"][1] = {"name": "site", "data": "[other]\n"}
    with pytest.raises(ConfigurationError, match=r"'site' of spec\.profile is there twice"):
        of(content)


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        ({"a": "x" * (files.LIMIT + 1)}, "is larger than 1048576 bytes"),
        ({"a": "x" * files.LIMIT, "b": "x" * files.LIMIT, "c": "x"}, "2097152 bytes together"),
        (
            {f"p{number}": "" for number in range(1251)},
            "found 1251 profiles, expected at most 1250",
        ),
        ({f"{'n' * 250}-{number:04}": "" for number in range(500)}, ""),
        ({"a": json.loads('"\\ud800"')}, "found a character that UTF-8 does not have"),
    ],
)
def test_the_limits_are_those_of_the_host(profiles: Json, message: str) -> None:
    if not message:
        assert len(of(profile("a", profiles)).names) == 500
        return
    with pytest.raises(ConfigurationError, match=message):
        of(profile("a", profiles))


def test_data_that_is_no_profile_is_for_tuned_to_judge() -> None:
    assert of(profile("a", {"a": "\0[[["})).files["profiles/a/tuned.conf"] == b"\0[[["


def test_a_provider_of_two_lines_and_an_image_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match=r"providerName: found 'a\\nb', expected one line"):
        of(profile(providerName="a\nb"))
    with pytest.raises(ConfigurationError, match="the image of TuneD: found"):
        of(profile(), image="no image")


def test_debug_has_no_effect_and_that_is_said() -> None:
    assert "debug: true has no effect" in of(profile(debug=True)).notes[0]


def choice(deferred: str = "", labels: dict[str, str] | None = None) -> recommend.Choice:
    operand = {"tunedConfig": {"reapply_sysctl": False}, "verbosity": 2}
    content = tuned("default", rule("site", 40, operand=operand), profiles={"site": DATA})
    content = annotated(content, deferred=deferred) if deferred else content
    return recommend.choose([objects.tuned(content)], objects.node(node(labels)))


def test_the_profile_that_is_made_is_that_of_the_operator() -> None:
    here = objects.node(node(providerID="aws:///i-1"))
    made = wanted.new_profile(choice("always"), here, NAMESPACE)
    assert made["metadata"]["annotations"] == {"tuned.openshift.io/deferred": "always"}
    assert made["metadata"]["ownerReferences"][0]["uid"] == "d4bba57f"
    assert made["spec"] == {
        "config": {
            "tunedProfile": "site",
            "debug": False,
            "verbosity": 2,
            "tunedConfig": {"reapply_sysctl": False},
            "providerName": "aws",
        },
        "profile": [{"name": "site", "data": DATA}],
    }
    assert set(of(made).files) > {"provider", "profiles/site/tuned.conf"}


def test_a_profile_is_updated_only_where_it_differs() -> None:
    here = objects.node(node())
    made = wanted.new_profile(choice("always"), here, NAMESPACE)
    assert wanted.changed_profile(choice("always"), here, made) is None
    changed = wanted.changed_profile(choice(), here, made)
    assert changed is not None
    assert changed["metadata"]["annotations"] == {}
    # What others have added stays.
    other = {**made, "metadata": {**made["metadata"], "annotations": {"mine": "x"}}, "status": {}}
    changed = wanted.changed_profile(choice("update"), here, other)
    assert changed is not None
    assert changed["metadata"]["annotations"] == {
        "mine": "x", "tuned.openshift.io/deferred": "update",
    }  # fmt: skip
    assert changed["status"] == {}
    tampered = {**made, "spec": {**made["spec"], "profile": []}}
    mended = wanted.changed_profile(choice("always"), here, tampered)
    assert mended is not None
    assert mended["spec"] == made["spec"]


def test_inputs_knows_the_words() -> None:
    assert wanted.AT_ONCE in inputs.ON_CHANGE
