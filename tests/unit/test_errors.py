"""What is said of a failure: no password, and no time that a pod can make long."""

from __future__ import annotations

import time

import pytest

from ocp_tuned_boot.errors import BootError, without_passwords


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("proxy http://user:secret@proxy.example:3128 refused",
         "proxy http://…@proxy.example:3128 refused"),
        ("http://token@proxy.example/", "http://…@proxy.example/"),
        ("http://user:p@ss/w@rd@proxy.example", "http://…@proxy.example"),
        ('Get "https://u:p@r.example/v2/": no', 'Get "https://…@r.example/v2/": no'),
        ("docker://r.example:5000/tuned@sha256:abc", "docker://r.example:5000/tuned@sha256:abc"),
        ("docker://u:p@r.example/tuned@sha256:abc", "docker://…@r.example/tuned@sha256:abc"),
        ("https://r.example/path@v2 is not there", "https://r.example/path@v2 is not there"),
        ('parse "http://u:p": invalid port ":p" after host',
         'parse "http://u:p": invalid port "…" after host'),
    ],
)  # fmt: skip
def test_an_address_has_no_password(text: str, expected: str) -> None:
    assert without_passwords(text) == expected


@pytest.mark.parametrize(
    "piece", ["a://", "a://:", "a://b:", "@sha1:", "a://@sha1:", ":@", 'invalid port "']
)
def test_a_long_text_takes_no_time(piece: str) -> None:
    text = "x://" + piece * (1_000_000 // len(piece))
    began = time.process_time()
    BootError(text)
    assert time.process_time() - began < 2
