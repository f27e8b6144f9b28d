"""How hypothesis searches: the same examples in every run, however slow the machine is.

`make fuzz` searches elsewhere each time, and a hundred times as long.
"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("long", max_examples=10_000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@pytest.fixture(scope="session", autouse=True)
def _signals_as_in_a_shell() -> None:
    """Programs of the tests inherit which signals are ignored: nohup ignores SIGHUP, and a shell
    SIGINT for what it starts in the background."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
