"""`make shell`: a root shell in a lab node that has booted with the demo's profile.

Commands may also come from a file or a pipe. The exit status is the shell's.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from types import FrameType
from typing import Optional

from tests.lab.activity import activity
from tests.lab.demo import PROFILE_FILE, demo_node, tell_what_is_done
from tests.lab.node import Node
from tests.lab.workload import has_ended

WELCOME = f"""
You are root in the node. The profile is applied. Try:

  systemctl status ocp-tuned             what happened, in a few lines
  ocp-tuned-boot status                  whether the node is tuned, and with what
  sed -i s/fin_timeout=37/fin_timeout=40/ {PROFILE_FILE}
  systemctl reload ocp-tuned             apply the profile as it is now
  sysctl net.ipv4.tcp_fin_timeout

Leave it with "exit": the node is removed, the kernel settings of this machine are restored.
"""


def shell(node: Node) -> int:
    """Returns its exit status when it exits."""
    if not sys.stdin.isatty():
        return node.attach("bash")
    print(WELCOME, flush=True)
    # The terminal is this machine's; the shell needs one of the node's.
    env = {"TERM": os.environ.get("TERM", "linux")}
    return node.attach("script", "-qec", "bash -l", "/dev/null", env=env)


def leave(number: int, _frame: Optional[FrameType]) -> None:
    sys.exit(128 + number)


def main() -> int:
    parser = argparse.ArgumentParser(description="Boots a lab node and starts a shell in it.")
    parser.add_argument("--suite", default="trixie", help="the node's Debian: trixie or bookworm")
    options = parser.parse_args()
    # A terminal that is closed must not leave a node behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    tell_what_is_done()
    with demo_node(options.suite) as node:
        with activity("Booting the node"):
            node.boot()
            has_ended(node)
        return shell(node)


if __name__ == "__main__":
    sys.exit(main())
