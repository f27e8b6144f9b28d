"""The kubelet's credentials: for the registry that is asked, and told to nobody else."""

from __future__ import annotations

import base64
import json
import logging
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot import credentials
from ocp_tuned_boot.paths import Paths


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def config(auths: object) -> str:
    return json.dumps({"auths": auths})


def test_those_of_the_registry_and_of_paths_in_it() -> None:
    text = config({
        "quay.io": auth("a", "1"), "quay.io/team": auth("b", "2:3"),
        "https://quay.io/old/": auth("c", "4"), "quay.io:443": auth("d", "5"),
        "other.io": auth("e", "6"), "quay.io/token": {"identitytoken": "t", "auth": ""},
    })  # fmt: skip
    assert credentials.parse(text, "quay.io") == {
        "quay.io": {"username": "a", "password": "1"},
        "quay.io/team": {"username": "b", "password": "2:3"},
        "quay.io/old": {"username": "c", "password": "4"},
        "quay.io/token": {"identitytoken": "t"},
    }
    assert set(credentials.parse(text, "quay.io:443")) == {"quay.io:443"}


def headers(root: Path, text: str) -> dict[str, str]:
    paths = Paths(root)
    paths.kubelet_config.parent.mkdir(parents=True, exist_ok=True)
    paths.kubelet_config.write_text(text)
    return credentials.headers(paths, "quay.io/team/tuned:1")


def test_they_go_in_a_header(tmp_path: Path) -> None:
    found = headers(tmp_path, config({"quay.io/team": auth("a", "1")}))
    (value,) = found.values()
    assert list(found) == ["X-Registry-Config"]
    assert json.loads(base64.urlsafe_b64decode(value)) == {
        "quay.io/team": {"username": "a", "password": "1"}
    }


def test_none_are_none(tmp_path: Path) -> None:
    assert credentials.headers(Paths(tmp_path), "quay.io/x:1") == {}
    assert headers(tmp_path, "{}") == {}
    assert headers(tmp_path, config({"other.io": auth("a", "1")})) == {}


@pytest.mark.parametrize(
    "text",
    [
        "", "torn {", "[]", config({"quay.io": {"auth": "not base64 kept-secret"}}),
        config({"quay.io": {"auth": base64.b64encode(b"kept-secret").decode()}}),
        config({"quay.io": "kept-secret"}), config(["kept-secret"]), config({"quay.io": None}),
    ],
)  # fmt: skip
def test_what_is_broken_is_told_without_what_is_in_it(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert headers(tmp_path, text) == {}
    assert "config.json: found no credentials" in caplog.text
    assert "secret" not in caplog.text
    assert "a2VwdC1zZWNyZXQ" not in caplog.text


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=10)))
def test_whatever_is_in_it_is_read_or_refused(auths: dict[str, str]) -> None:
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        credentials.parse(config({"quay.io": auths}), "quay.io")
