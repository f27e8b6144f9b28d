"""The kubelet's credentials: all of them are sent to Podman, and none is ever logged."""

from __future__ import annotations

import base64
import json
import logging
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.podman import credentials
from ocp_tuned_boot.podman.credentials import Found


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def config(auths: object) -> str:
    return json.dumps({"auths": auths})


def test_credentials_of_registries_and_of_paths_in_them() -> None:
    text = config({
        "quay.io": auth("a", "1"), "quay.io/team/": auth("b", "2:3"), "quay.io:443": auth("d", "5"),
        # It may be a mirror of quay.io.
        "mirror.lab:5000": auth("e", "6"),
    })  # fmt: skip
    assert credentials.parse(text) == Found({
        "quay.io": {"username": "a", "password": "1"},
        "quay.io/team": {"username": "b", "password": "2:3"},
        "quay.io:443": {"username": "d", "password": "5"},
        "mirror.lab:5000": {"username": "e", "password": "6"},
    })  # fmt: skip


#: The same password, however base64 is written: `base64` prints lines of 76 characters.
LONG = "x" * 200
ENCODED = base64.b64encode(f"user:{LONG}".encode()).decode()
WRITTEN = {
    "as it is": ENCODED,
    "with a newline at the end": ENCODED + "\n",
    "in lines": base64.encodebytes(f"user:{LONG}".encode()).decode(),
    "in lines as on Windows": ENCODED[:76] + "\r\n" + ENCODED[76:] + "\r\n",
    "with NULs, as Docker writes it": base64.b64encode(f"user:{LONG}\0\0".encode()).decode(),
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_a_password_is_the_same_however_it_is_written(written: str) -> None:
    found = credentials.parse(config({"quay.io": {"auth": written}}))
    assert found == Found({"quay.io": {"username": "user", "password": LONG}})


def test_the_case_of_a_fields_name_does_not_matter() -> None:
    entry = {"AUTH": ENCODED}
    for name in ("auths", "Auths", "AUTHS"):
        found = credentials.parse(json.dumps({name: {"quay.io": entry}}))
        assert found == Found({"quay.io": {"username": "user", "password": LONG}})


@pytest.mark.parametrize("nothing", [{}, {"auth": ""}, {"auth": "bm8tY29sb24="}, {"auth": "!"}])
def test_a_path_without_credentials_has_none_though_the_registry_has_some(
    nothing: dict[str, str],
) -> None:
    """As for Podman, which looks at the entry of the longest path only."""
    found = credentials.parse(config({"quay.io": auth("a", "1"), "quay.io/team/app": nothing}))
    assert found.credentials == {
        "quay.io": {"username": "a", "password": "1"},
        "quay.io/team/app": {"username": "", "password": ""},
    }
    # Without them there is nothing to hide.
    assert credentials.parse(config({"quay.io/team": nothing})).credentials == {}


def test_what_only_a_helper_knows_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = json.dumps({
        "auths": {"quay.io": auth("a", "1"), "ecr.lab": {}},
        "credHelpers": {"ecr.lab": "ecr-login", "gcr.lab": "gcr", "quay.io": "other"},
    })  # fmt: skip
    (value,) = headers(tmp_path, text).values()
    assert set(json.loads(base64.urlsafe_b64decode(value))) == {"quay.io"}
    assert "there are no credentials for: ecr.lab, gcr.lab" in caplog.text


@pytest.mark.parametrize("helpers", [None, [], [[]], "x", {"quay.io": None}])
def test_broken_helpers_do_not_affect_the_credentials(helpers: object) -> None:
    text = json.dumps({"auths": {"quay.io": auth("a", "1")}, "credHelpers": helpers})
    assert set(credentials.parse(text).credentials) == {"quay.io"}


def test_a_user_is_used_beside_an_identity_token() -> None:
    entry = {**auth("a", "1"), "identitytoken": "t"}
    assert credentials.parse(config({"quay.io": entry})) == Found(
        {"quay.io": {"username": "a", "password": "1"}}
    )


def test_a_large_file_is_sent_as_far_as_podman_takes_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """That of the image itself in any case."""
    auths = {f"r{number}.lab": auth("u", "x" * 700) for number in range(1050)}
    auths |= {"z.lab/team": auth("a", "1"), "z.lab": auth("b", "2")}
    text = config(auths)
    assert 980 * 1024 < len(text) < credentials.LIMIT
    paths = Paths(tmp_path)
    headers(tmp_path, text)
    (value,) = credentials.headers(paths, "z.lab/team/app:1").values()
    sent = json.loads(base64.urlsafe_b64decode(value))
    assert len(value) <= credentials.HEADER_LIMIT
    assert {"z.lab/team", "z.lab"} <= set(sent)
    assert 700 < len(sent) < 1052
    assert f"the credentials of {1052 - len(sent)} of 1052 registries are too long" in caplog.text


def test_a_file_that_is_too_large_is_said_to_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert headers(tmp_path, " " * (credentials.LIMIT + 1)) == {}
    assert "config.json: it is larger than 1048576 bytes; pulling without" in caplog.text


def test_an_address_means_the_whole_registry() -> None:
    text = config({
        "quay.io": auth("plain", "1"), "https://quay.io/v1/": auth("address", "2"),
        "https://index.docker.io/v1/": auth("hub", "3"), "http://other.io/v2/x": auth("o", "4"),
    })  # fmt: skip
    found = credentials.parse(text)
    users = {key: entry["username"] for key, entry in found.credentials.items()}
    assert users == {"quay.io": "plain", "docker.io": "hub", "other.io": "o"}
    assert found.unusable == ()


@pytest.mark.parametrize(
    "broken",
    [
        {"quay.io": {"auth": "not base64"}}, {"quay.io": {"auth": "bm8tY29sb24="}},
        {"quay.io": None}, {"quay.io": {"identitytoken": "t", "auth": ""}},
        # Because of one of these Podman would refuse the whole pull.
        {"quay.io/x@sha256:ab": auth("a", "1")}, {"quay.io/x:tag": auth("a", "1")},
        {"": auth("a", "1")},
    ],
)  # fmt: skip
def test_a_broken_entry_does_not_affect_others(broken: dict[str, object]) -> None:
    good = {"other.io": auth("a", "1")}
    found = credentials.parse(config({**broken, **good}))
    assert set(found.credentials) == {"other.io"}
    assert found.unusable == tuple(broken)


def headers(root: Path, text: str) -> dict[str, str]:
    paths = Paths(root)
    paths.kubelet_config.parent.mkdir(parents=True, exist_ok=True)
    paths.kubelet_config.write_text(text)
    return credentials.headers(paths)


def test_credentials_are_sent_in_a_header(tmp_path: Path) -> None:
    found = headers(tmp_path, config({"quay.io/team": auth("a", "1")}))
    (value,) = found.values()
    assert list(found) == ["X-Registry-Config"]
    assert json.loads(base64.urlsafe_b64decode(value)) == {
        "quay.io/team": {"username": "a", "password": "1"}
    }


def test_without_credentials_there_is_no_header(tmp_path: Path) -> None:
    assert credentials.headers(Paths(tmp_path)) == {}
    assert headers(tmp_path, "{}") == {}


@pytest.mark.parametrize(
    "text",
    [
        "", "torn {", "[]", config({"quay.io": {"auth": "not base64 kept-secret"}}),
        config({"quay.io": {"auth": base64.b64encode(b"kept-secret").decode()}}),
        config({"quay.io": "kept-secret"}), config(["kept-secret"]), config({"quay.io": None}),
    ],
)  # fmt: skip
def test_a_broken_file_is_reported_without_its_content(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert headers(tmp_path, text) == {}
    assert "config.json: found no " in caplog.text
    assert "secret" not in caplog.text
    assert "a2VwdC1zZWNyZXQ" not in caplog.text


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=10)))
def test_any_entry_is_read_or_refused(auths: dict[str, str]) -> None:
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        credentials.parse(config({"quay.io": auths}))
    found = credentials.parse(config({"quay.io": auths, "x.io": auth("a", "1")}))
    assert set(found.credentials) >= {"x.io"}
