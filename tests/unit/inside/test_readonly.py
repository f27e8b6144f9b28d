"""What makes all mounts read-only does so for itself only, wherever it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: In namespaces of its own even if `everything` should forget that.
_ENTER = ("unshare", "--mount", "--propagation=private")
_TRIES = """
import os, sys
from ocp_tuned_boot.inside import readonly
try:
    readonly.everything()
except OSError as error:
    # The root of some machines cannot be mounted again.
    if error.filename != "/":
        raise
for path in sys.argv[1:]:
    try:
        open(path, "w").close()
    except OSError as error:
        print(error.errno)
    else:
        print("written")
print(os.readlink("/proc/self/ns/mnt"))
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has mounts of its own")


def test_nothing_can_be_written_by_this_process_and_all_else_by_others() -> None:
    folder = Path(__file__).resolve().parents[3]
    program = [sys.executable, "-c", _TRIES, "/proc/self/comm", "/sys/kernel/mm/ksm/run"]
    inside = 'readlink /proc/self/ns/mnt; "$@" && echo x > /proc/self/comm && echo still'
    done = subprocess.run(
        [*_ENTER, "sh", "-c", inside, "sh", *program], cwd=folder, check=True, text=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    outer, *tried, inner, still = done.stdout.splitlines()
    assert tried == ["30", "30"]
    assert (inner != outer, still) == (True, "still")
