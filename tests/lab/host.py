"""A root of its own for one test, inside a running node, with all that `apply` needs in it.

The whole flow runs against the node's real Podman and TuneD; only the files of the host contract
lie under the test's root, so that many tests share one node.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from tests.lab.node import Node

IMAGE = "localhost/tuned:trixie"
PROFILE = "lab"
#: A setting of the node's own network namespace: no other node, nor this machine, sees it.
KNOB = "net.ipv4.tcp_fin_timeout"
KNOB_FILE = "/proc/sys/net/ipv4/tcp_fin_timeout"
TUNED_CONF = f"[main]\nsummary=for tests\n[sysctl]\n{KNOB}=33\n"
SCRIPT_CONF = TUNED_CONF + "[script]\nscript=${i:PROFILE_DIR}/script.sh\n"


@dataclass
class Host:
    """A root inside a node. Paths are the host contract's, without a leading slash."""

    node: Node
    root: str

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        self.node.write(f"{self.root}/{path}", text, mode)

    def read(self, path: str) -> str:
        return self.node.read(f"{self.root}/{path}")

    def profile(self, tuned_conf: str, script: str = "") -> None:
        """The custom profile that is asked for."""
        folder = f"var/lib/ocp-tuned/profiles/{PROFILE}"
        self.write(f"{folder}/tuned.conf", tuned_conf)
        if script:
            self.write(f"{folder}/script.sh", "#!/bin/sh\n" + script, 0o755)

    def command(self, *arguments: str) -> list[str]:
        return ["ocp-tuned-boot", "--root", self.root, *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `ocp-tuned-boot` under this root, to its end."""
        return self.node.run(*self.command(*arguments), check=False)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Runs `ocp-tuned-boot` under this root beside the test."""
        return self.node.popen(*self.command(*arguments))

    def send(self, signal: str) -> None:
        """Sends a signal to the `apply` of this host, and not to what it was started with."""
        self.node.run("pkill", f"-{signal}", "-f", f"bin/{' '.join(self.command('apply'))}")

    def nothing_is_left(self) -> None:
        """Whatever happened: no container, no TuneD, no PID file."""
        assert self.node.run("podman", "ps", "-aq").stdout == ""
        assert self.node.run("pgrep", "-f", "sbin/tuned", check=False).stdout == ""
        assert ".pid" not in self.node.run("sh", "-c", f"ls {self.root}/run/tuned || :").stdout

    def knob(self) -> str:
        return self.node.read(KNOB_FILE).strip()

    def status(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.read("run/ocp-tuned-boot/status.json"))
        return content

    def messages(self) -> str:
        """All findings on record, as text."""
        return "\n".join(finding["message"] for finding in self.status()["findings"])


def unwrapped(text: str) -> str:
    """What was printed for people, in one line: as if nothing was wrapped and indented."""
    return " ".join(text.split())


def furnish(node: Node, root: str, image: str = IMAGE) -> Host:
    """A root in which `apply` succeeds."""
    host = Host(node, root)
    host.write("proc/sys/kernel/random/boot_id", node.read("/proc/sys/kernel/random/boot_id"))
    host.write("var/lib/ocp-tuned/image.env", f"NTO_IMAGE={image}\n")
    host.write("var/lib/ocp-tuned/recommend.d/50-openshift.conf", f"[{PROFILE}]\n")
    host.profile(TUNED_CONF)
    # What TuneD sets in the container is read back under this root.
    node.run("ln", "-s", "/proc/sys/net", f"{root}/proc/sys/net")
    return host
