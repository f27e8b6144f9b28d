"""Every situation that the real TuneD can be brought into, in two versions and both contracts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from tests.lab import host as hosts
from tests.lab import operatorimage
from tests.lab.host import KNOB_FILE
from tests.lab.node import Node
from tests.lab.situations import FOLDER, RETRIED, SITUATIONS, first_kind

pytestmark = pytest.mark.lab


#: TuneD's suite and the contract. The operator's way of laying out profiles needs TuneD 2.24.
PARTS = [("trixie", "tuned"), ("trixie", "operand"), ("bookworm", "tuned")]


@pytest.fixture(scope="module", params=PARTS, ids="-".join)
def parts(request: pytest.FixtureRequest) -> Iterator[tuple[Node, str, str]]:
    """A node with the TuneD of this suite, the contract, and the image for that."""
    suite, contract = request.param
    with Node(image=suite) as booted:
        booted.boot()
        image = f"localhost/tuned:{suite}"
        if contract == "operand":
            image = operatorimage.make(booted, image)
        yield booted, contract, image


@pytest.mark.parametrize("name", SITUATIONS)
def test_situation(parts: tuple[Node, str, str], name: str) -> None:
    node, contract, image = parts
    situation = SITUATIONS[name]
    node.run("sh", "-c", f"echo 60 > {KNOB_FILE}")
    host = hosts.furnish(node, "/var/tmp/" + re.sub(r"\W+", "-", f"{name} {contract}"), image)
    host.profile(situation.conf, situation.script)
    for path, text in situation.files.items():
        host.write(path, text)
    host.write(
        "etc/ocp-tuned-boot/boot.conf",
        situation.boot_conf.replace("[tuning]\n", f"[tuning]\ncontract = {contract}\n"),
    )

    done = host.run("apply")

    status = host.status()
    old = situation.since_2_24 and node.image == "bookworm"
    findings = situation.operand if contract == "operand" and situation.operand else (
        () if old else situation.findings
    )  # fmt: skip
    expected = [(kind, subject.format(folder=FOLDER[contract])) for kind, subject in findings]
    found = [(finding["kind"], finding["subject"]) for finding in status["findings"]]
    if situation.boot_conf == RETRIED:
        assert first_kind(status) == expected[0][0], host.messages()
    else:
        assert found == expected, host.messages()
    assert status["result"] == ("applied" if old else situation.result)
    assert done.returncode == {"applied": 0, "degraded": 0, "failed": 1}[status["result"]] or (
        name in ("hang", "killed") and done.returncode == os.EX_TEMPFAIL
    )
    host.nothing_is_left()
