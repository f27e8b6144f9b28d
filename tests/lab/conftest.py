"""What lab tests share: a running node, and a root of its own in it for each test."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import pytest

from tests.lab import host as hosts
from tests.lab.host import KNOB_FILE, Host
from tests.lab.node import Node

# A shell starts what is to run in the background with SIGINT ignored, and each process passes that
# on. The tests send it to processes that must not ignore it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _root_only() -> None:
    if os.geteuid() != 0:
        pytest.exit("the lab boots nodes and sets kernel settings of this machine: run it as root")


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A node that has come up, for all tests of a module."""
    with Node() as booted:
        booted.boot()
        yield booted


@pytest.fixture
def host(node: Node, request: pytest.FixtureRequest) -> Iterator[Host]:
    """A root of its own for one test, in which `apply` succeeds. Nothing may be left after it."""
    node.run("sh", "-c", f"echo 60 > {KNOB_FILE}")
    furnished = hosts.furnish(node, "/var/tmp/" + re.sub(r"\W+", "-", request.node.name))
    yield furnished
    furnished.nothing_is_left()
