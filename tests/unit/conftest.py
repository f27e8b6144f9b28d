"""How hypothesis searches: the same examples in every run, however slow the machine is.

`make fuzz` searches elsewhere each time, and a hundred times as long.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("long", max_examples=10_000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))
