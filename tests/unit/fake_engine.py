"""A Podman that has one image and makes one container of it, for runs of the whole program without
Podman and TuneD. What the container does when it is started is the test's to say.
"""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Optional

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.tuned import container
from ocp_tuned_boot.tuned.container import ContainerSpec
from ocp_tuned_boot.tuned.layout import Layout
from tests.unit.fake_podman import listening, reply

_PROGRAM = Path(__file__).with_name("fake_program.py")
#: What conmon puts before each line of TuneD's.
HEAD = b"2026-11-23T22:30:36.0+00:00 stderr F "
#: What TuneD says when it has applied the profile `site`.
APPLIED = (
    HEAD + b"2026-11-23 22:30:36,610 INFO     tuned.daemon.daemon: "
    b"static tuning from profile 'site' applied\n"
    + HEAD + b"2026-11-23 22:30:36,710 INFO     tuned.daemon.daemon: "
    b"terminating TuneD in one-shot mode\n"
)  # fmt: skip

#: What a profile without sections means, and that it holds (inside/program.py).
MEANING: dict[str, Any] = {
    "version": 1, "kind": "asked", "tuned": "2.25", "python": "3.13", "profile": "site",
    "sections": [], "left": 0, "profiles": [["site", "/etc/tuned/site/tuned.conf"]],
    "absent_profiles": [], "files": [], "absent": [], "commands": [], "warnings": [],
}  # fmt: skip
HELD: dict[str, Any] = {
    "version": 1, "kind": "verified", "rows": [], "left": 0, "refused": [], "warnings": [],
}  # fmt: skip

#: From a request to the answer in the place of the usual one; None: the usual one.
Instead = Callable[[str], Optional[bytes]]


def inspected(spec: ContainerSpec) -> dict[str, Any]:
    """What Podman says of exactly this container."""
    return {
        "ProcessLabel": "",
        "Config": {"Entrypoint": list(spec.entrypoint), "Umask": "0022"},
        "HostConfig": {
            "Privileged": True,
            "NetworkMode": "host",
            "PidMode": "host",
            "IpcMode": "host",
            "UTSMode": "host",
            "UsernsMode": "",
            "LogConfig": {"Type": "k8s-file", "Path": spec.log, "Tag": ""},
        },
        "Mounts": [
            {
                "Source": mount.source,
                "Destination": mount.target,
                "RW": not mount.read_only,
                "Propagation": "rslave",
            }
            for mount in spec.mounts
        ],
    }


class Engine:
    """A Podman that has to pull, whose container says `log`, and whose image has `labels`."""

    def __init__(self, paths: Paths, log: bytes = APPLIED, labels: object = "") -> None:
        self.paths = paths
        self._labels = labels
        self._created = self._pulled = False
        self.log = log
        #: What TuneD leaves beside its log, by the name of the file in /etc/tuned.
        self.leaves = {"active_profile": "site\n", "bootcmdline": "TUNED_BOOT_CMDLINE=\n"}
        #: The process ID of the container's first process; 0: it has exited.
        self.pid = 0
        #: What the container is made for, and of.
        self.contract, self.layout = "tuned", Layout()
        #: What the program in it says: what the profile means (None: it exits before), what holds.
        #: The usual meaning has the sections of the profile `site`.
        self.meaning: Optional[dict[str, Any]] = MEANING
        self.held: dict[str, Any] = HELD
        self._asked = False
        self._process: Optional[subprocess.Popen[bytes]] = None
        #: Asked first with each request.
        self.instead: Instead = lambda _: None
        #: Each request's method and path.
        self.requests: list[str] = []

    def pull(self) -> None:
        """As if the image had been pulled by now."""
        self._pulled = True

    def create(self) -> None:
        """As if the container had been created by now."""
        self._created = True

    def answer(self, request: str) -> bytes:
        method, path, _ = request.split(" ")
        self.requests.append(f"{method} {path}")
        return self.instead(f"{method} {path}") or self._usual(method, path)

    def _usual(self, method: str, path: str) -> bytes:
        if "/images/pull" in path:
            self._pulled = True
            return reply(200, '{"status": "\\u001b[2J", "id": "\\u009b"}')
        if "/images/" in path and self._pulled:
            return reply(200, json.dumps({"Id": "id", "Labels": self._labels}))
        if path.endswith("/containers/create"):
            self._asked = (self.paths.conversation / "apply").exists()
            self._created = True
            return reply(201, '{"Id": "c1", "Warnings": []}')
        if method == "DELETE":
            self._created = False
            return reply(200, "[]")
        if path.endswith("/start"):
            self._start()
        if path.endswith("/wait") and self._process is not None:
            self._process.wait()
        if path.endswith("/json") and self._created:
            return reply(200, json.dumps(self._container()))
        found = 200 if path.endswith(("/_ping", "sbin%2Ftuned")) else 404
        return reply(found if method in ("GET", "HEAD") else 204, "")

    def _start(self) -> None:
        folder = self.paths.etc_tuned
        left = {str(folder / name): text for name, text in self.leaves.items()}
        left[str(self.paths.container_log)] = self.log.decode()
        self.paths.container_log.touch()
        if (self.paths.conversation / "verify").exists() and self.meaning is not None:
            self._say("verify", self.meaning, {})
        elif not self._asked:
            for name, text in left.items():
                Path(name).write_text(text)
        elif self.meaning is not None:
            says = self.meaning
            if says is MEANING:
                says = {**says, "sections": self._sections()}
            self._say("apply", says, left)

    def _say(self, mode: str, says: dict[str, Any], left: dict[str, str]) -> None:
        content = json.dumps({"says": says, "then": self.held, "files": left})
        where = str(self.paths.conversation / mode)
        command = [sys.executable, "-SE", str(_PROGRAM), where]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert self._process.stdin is not None
        self._process.stdin.write(content.encode())
        self._process.stdin.close()

    def _sections(self) -> list[dict[str, Any]]:
        """Those of the profile `site`, which includes no other."""
        parser = configparser.RawConfigParser(delimiters=("=",), strict=False)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read(self.paths.etc_tuned / "site/tuned.conf")
        usual = {"devices": "*", "conditions": {}, "priority": 0, "left_out": ""}
        return [
            {**usual, "name": name, "type": name, "options": [
                {"option": option, "value": value} for option, value in parser.items(name)
            ]}
            for name in parser.sections() if name != "main"
        ]  # fmt: skip

    def _container(self) -> dict[str, Any]:
        guarded = self.paths.guard.exists()
        spec = container.specify(
            self.paths, self.contract, "id", self.layout, guarded=guarded, asked=self._asked
        )
        pid = self.pid
        if self._process is not None and self._process.poll() is None:
            pid = self._process.pid
        status = "running" if pid else "exited"
        state = {"Status": status, "StartedAt": "2026", "ExitCode": 0, "Pid": pid}
        said = {**inspected(spec), "Id": "c1", "State": state}
        said["Config"]["Labels"] = spec.labels
        return said


@contextmanager
def serving(engine: Engine, conf: str = "[tuning]\ntimeout = 600\n") -> Iterator[Path]:
    """A boot.conf that names its socket; `conf` is the rest of it."""
    with listening(engine.answer) as socket:
        path = socket.with_name("boot.conf")
        path.write_text(f"{conf}[podman]\nsocket = {socket}\n")
        yield path
