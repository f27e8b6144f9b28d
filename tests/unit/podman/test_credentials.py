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
    assert credentials.parse(text) == ({
        "quay.io": {"username": "a", "password": "1"},
        "quay.io/team": {"username": "b", "password": "2:3"},
        "quay.io:443": {"username": "d", "password": "5"},
        "mirror.lab:5000": {"username": "e", "password": "6"},
    }, 0)  # fmt: skip


def test_an_address_means_the_whole_registry() -> None:
    text = config({
        "quay.io": auth("plain", "1"), "https://quay.io/v1/": auth("address", "2"),
        "https://index.docker.io/v1/": auth("hub", "3"), "http://other.io/v2/x": auth("o", "4"),
    })  # fmt: skip
    found, left_out = credentials.parse(text)
    users = {key: entry["username"] for key, entry in found.items()}
    assert users == {"quay.io": "plain", "docker.io": "hub", "other.io": "o"}
    assert left_out == 0


@pytest.mark.parametrize(
    "broken",
    [
        {"quay.io": {"auth": "not base64"}}, {"quay.io": {"auth": "bm8tY29sb24="}},
        {"quay.io": None}, {"quay.io": {}}, {"quay.io": {"identitytoken": "t", "auth": ""}},
        # Because of one of these Podman would refuse the whole pull.
        {"quay.io/x@sha256:ab": auth("a", "1")}, {"quay.io/x:tag": auth("a", "1")},
        {"": auth("a", "1")},
    ],
)  # fmt: skip
def test_a_broken_entry_does_not_affect_others(broken: dict[str, object]) -> None:
    good = {"other.io": auth("a", "1")}
    found, left_out = credentials.parse(config({**broken, **good}))
    assert (set(found), left_out) == ({"other.io"}, 1)


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
    assert set(credentials.parse(config({"quay.io": auths, "x.io": auth("a", "1")}))[0]) >= {"x.io"}
